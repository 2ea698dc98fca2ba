"""Messages along the edges of a mesh."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import mlp, places, points


class Step(nn.Module):
    """Edges learn from their ends, points from the sum of their edges, each beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.edge = nn.Sequential(mlp(3 * width, width, width), nn.LayerNorm(width))
        self.node = nn.Sequential(mlp(2 * width, width, width), nn.LayerNorm(width))

    def forward(self, u: Tensor, e: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        e = e + self.edge(torch.cat([e, u[:, ends[0]], u[:, ends[1]]], dim=-1))
        received = torch.zeros_like(u).index_add(1, ends[1], e.to(u.dtype))
        return u + self.node(torch.cat([u, received], dim=-1)), e


class MeshGraph(nn.Module):
    """Encode, pass messages, decode; an edge knows the vector between its ends and its length.

    On a grid the edges join neighbours along the axes, around periodic ones too.

    Args:
        width: features; depth: rounds of messages.

    Source: Pfaff et al., Learning mesh-based simulation with graph networks (ICLR 2021), section 3.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid", "mesh")

    def __init__(self, layout: Layout, *, width: int = 128, depth: int = 15) -> None:
        super().__init__()
        at_least(width=width, depth=depth)
        self.periodic = layout.periodic
        self.encode = nn.Sequential(mlp(layout.inputs + layout.dim, width, width), nn.LayerNorm(width))
        self.measure = nn.Sequential(mlp(layout.dim + 1, width, width), nn.LayerNorm(width))
        self.steps = nn.ModuleList(Step(width) for _ in range(depth))
        self.decode = mlp(width, width, layout.outputs)

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        ends = support.edges if support.on_mesh else grid_edges(tuple(fields.shape[2:]), self.periodic, fields.device)
        x = support.x.to(fields.dtype).flatten(2).transpose(1, 2)
        between = x[:, ends[1]] - x[:, ends[0]]
        if self.periodic:
            wraps = torch.tensor(self.periodic, device=x.device)
            between = torch.where(wraps, between - between.round(), between)
        length = between.norm(dim=-1, keepdim=True)
        scale = length.mean()
        e = self.measure(torch.cat([between, length], dim=-1) / scale)
        u, e = self.encode(points(fields, support.x)), e.expand(fields.shape[0], -1, -1)
        for step in self.steps:
            u, e = step(u, e, ends)
        return places(self.decode(u), fields)


def grid_edges(grid: tuple[int, ...], periodic: tuple[bool, ...], device: torch.device | str = "cpu") -> Tensor:
    """Pairs of neighbours along each axis, both directions, (2, E)."""
    number = torch.arange(math.prod(grid), device=device).reshape(grid)
    pairs = []
    for axis, wraps in enumerate(periodic):
        following = torch.roll(number, -1, axis)
        keep = slice(None) if wraps and grid[axis] > 2 else slice(0, grid[axis] - 1)
        at = (*(slice(None),) * axis, keep)
        pair = torch.stack([number[at].flatten(), following[at].flatten()])
        pairs += [pair, pair.flip(0)]
    return torch.cat(pairs, dim=1)
