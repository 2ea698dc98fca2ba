"""Transformers whose tokens are slices of the physical domain, learnt with the rest: on grids and meshes."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from variform.errors import InputError
from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import Convolution, mlp, places, points


class Slices(nn.Module):
    """Points to a few tokens and back: soft slices with a learned temperature, head by head.

    On grids, what decides the slices and what goes into them see the eight (or two, or 26) neighbours of a point.

    Args:
        width: features of a point; heads divide it.
        slices: tokens.
        periodic: axes of a grid; None on a mesh.
    """

    def __init__(self, width: int, heads: int, slices: int, periodic: tuple[bool, ...] | None) -> None:
        super().__init__()
        self.heads, self.periodic = heads, periodic
        make = (lambda: nn.Linear(width, width)) if periodic is None else (lambda: Convolution(width, width, periodic))
        self.where, self.what = make(), make()
        self.logits = nn.Linear(width // heads, slices)
        nn.init.orthogonal_(self.logits.weight)
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 0.5))

    def weights(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Of each point's slices, (B, heads, n, slices); they add up to one."""
        logits = self.logits(self._heads(self._seen(self.where, u, grid)))
        return torch.softmax(logits / self.temperature.clamp(0.1, 5.0), dim=-1)

    def forward(self, u: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Tokens (B, heads, slices, features) of points (B, n, width), and the weights that lead back."""
        w, values = self.weights(u, grid), self._heads(self._seen(self.what, u, grid))
        return (w.transpose(2, 3) @ values) / (w.sum(dim=2)[..., None] + 1e-5), w

    @staticmethod
    def back(tokens: Tensor, weights: Tensor) -> Tensor:
        """(B, n, width)"""
        return (weights @ tokens).transpose(1, 2).flatten(2)

    def _heads(self, u: Tensor) -> Tensor:
        return u.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def _seen(self, layer: nn.Module, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        if self.periodic is None:
            return layer(u)
        return layer(u.transpose(1, 2).reshape(u.shape[0], -1, *grid)).flatten(2).transpose(1, 2)


class PhysicsAttention(nn.Module):
    """Attention among slices."""

    def __init__(self, width: int, heads: int, slices: int, periodic: tuple[bool, ...] | None) -> None:
        super().__init__()
        self.slices, size = Slices(width, heads, slices, periodic), width // heads
        self.q, self.k, self.v = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        tokens, weights = self.slices(u, grid)
        mixed = functional.scaled_dot_product_attention(self.q(tokens), self.k(tokens), self.v(tokens))
        return self.out(Slices.back(mixed, weights))


class Block(nn.Module):
    """A mixing layer and a feed-forward network, each after a normalisation and beside a shortcut."""

    def __init__(self, mixing: nn.Module, width: int, ratio: int) -> None:
        super().__init__()
        self.mixing, self.ahead = mixing, mlp(width, ratio * width, width)
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        u = u + self.mixing(self.first(u), grid)
        return u + self.ahead(self.second(u))


class Sliced(nn.Module):
    """What lifts points, applies blocks to them, and projects to the outputs."""

    takes: ClassVar[tuple[str, ...]] = ("grid", "mesh")

    def __init__(self, layout: Layout, width: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.lift = mlp(layout.inputs + layout.dim, 2 * width, width)
        self.start = nn.Parameter(torch.rand(width) / width)
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.project = nn.LayerNorm(width), nn.Linear(width, layout.outputs)

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        u = self.lift(points(fields, support.x)) + self.start
        for block in self.blocks:
            u = block(u, tuple(fields.shape[2:]))
        return places(self.project(self.norm(u)), fields)


class Transolver(Sliced):
    """Attention among learned slices of the domain instead of among points: linear in their number.

    Args:
        width: features of a point; depth: blocks; heads; slices: tokens of a head; ratio: of the feed-forward layers;
        local: 1: on grids, slices are decided by neighbourhoods (the structured version), 0: by points alone.

    Source: Wu et al., Transolver (ICML 2024), section 3.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: int = 128,
        depth: int = 8,
        heads: int = 8,
        slices: int = 64,
        ratio: int = 1,
        local: int = 1,
    ) -> None:
        at_least(width=width, depth=depth, heads=heads, slices=slices, ratio=ratio)
        divides(heads, width)
        periodic = layout.periodic if layout.periodic and local else None
        attention = [PhysicsAttention(width, heads, slices, periodic) for _ in range(depth)]
        super().__init__(layout, width, [Block(layer, width, ratio) for layer in attention])


def divides(heads: int, width: int) -> None:
    """Raise InputError where they do not."""
    if width % heads:
        raise InputError(f"heads must divide width, got {heads} and {width}")
