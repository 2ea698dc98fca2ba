"""Branch and trunk: the input function at sensors, and the coordinates, in separate networks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from variform.operators.networks import Layout, Support, at_least

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def at_sensors(fields: Tensor, sensors: int) -> Tensor:
    """Values on a grid of `sensors` points an axis by multilinear interpolation: (B, C, *N) to (B, C sensors^dim)."""
    dim = fields.ndim - 2
    values = functional.interpolate(fields, size=(sensors,) * dim, mode=MODES[dim], align_corners=True)
    return values.flatten(1)


def _stack(first: int, width: int, depth: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(first if i == 0 else width, width) for i in range(depth))


class MultiONet(nn.Module):
    """out = mean over the layers l of w_l <branch_l, trunk_l>, plus b: all layers of both networks meet.

    Args:
        width: of all layers; depth: layers; sensors: points an axis at which the branch sees the input.

    Source: Zang, Li and Bilionis, DGenNO (2025), section on MultiONet. There all w_l are zero at first, so that in the
    first step nothing but w and b learns; here they start at 1.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)
    every_layer = True

    def __init__(self, layout: Layout, *, width: int = 128, depth: int = 4, sensors: int = 16) -> None:
        super().__init__()
        at_least(width=width, depth=depth, sensors=sensors)
        self.outputs, self.sensors = layout.outputs, sensors
        self.branch = _stack(max(layout.inputs, 1) * sensors**layout.dim, width, depth)
        self.trunk = _stack(layout.dim, width, depth)
        heads = depth if self.every_layer else 1
        # Several outputs share the layers, and have maps of their own from what the branch says.
        several = layout.outputs > 1
        make = (lambda: nn.Linear(width, layout.outputs * width)) if several else nn.Identity
        self.heads = nn.ModuleList(make() for _ in range(heads))
        self.weights, self.bias = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.zeros(layout.outputs))

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        if not fields.shape[1]:
            fields = torch.zeros_like(support.x[:, :1]).expand(fields.shape[0], -1, *fields.shape[2:])
        b = at_sensors(fields, self.sensors)
        t = support.x.to(fields.dtype).flatten(2).transpose(1, 2)
        pairs = []
        last = len(self.branch) - 1
        for i, (of_input, of_place) in enumerate(zip(self.branch, self.trunk, strict=True)):
            b, t = of_input(b), torch.tanh(of_place(t))
            b = b if i == last else functional.gelu(b)
            pairs.append((b, t))
        pairs = pairs if self.every_layer else pairs[-1:]
        total: Tensor | float = 0.0
        for weight, head, (b, t) in zip(self.weights, self.heads, pairs, strict=True):
            c = head(b).unflatten(1, (self.outputs, -1))
            total = total + weight * torch.einsum("bcw,bnw->bcn", c, t.expand(b.shape[0], -1, -1))
        out = total / len(pairs) + self.bias[:, None]
        return out.reshape(fields.shape[0], self.outputs, *fields.shape[2:])


class DeepONet(MultiONet):
    """The same with the last layers alone.

    Source: Lu et al., Nature Machine Intelligence 3 (2021) 218.
    """

    every_layer = False
