"""Layers that several networks have in common."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with GELU between them; features last."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class Convolution(nn.Module):
    """An odd kernel on a grid (B, C, *N), which keeps its size: periodic axes wrap, others repeat their last values."""

    def __init__(self, inputs: int, outputs: int, periodic: tuple[bool, ...], kernel: int = 3) -> None:
        super().__init__()
        self.periodic, self.reach = periodic, kernel // 2
        self.kernel = CONVOLUTIONS[len(periodic)](inputs, outputs, kernel)

    def forward(self, u: Tensor) -> Tensor:
        for axis, wraps in enumerate(self.periodic):
            sides = [0, 0] * len(self.periodic)
            at = 2 * (len(self.periodic) - 1 - axis)  # torch counts axes from the last
            sides[at : at + 2] = [self.reach, self.reach]
            u = functional.pad(u, sides, mode="circular" if wraps else "replicate")
        return self.kernel(u)


def points(fields: Tensor, x: Tensor) -> Tensor:
    """Fields and coordinates of every point, (B, n, C + dim), of a grid or a mesh."""
    both = torch.cat([fields, x.to(fields.dtype).expand(len(fields), *x.shape[1:])], dim=1)
    return both.flatten(2).transpose(1, 2)


def places(values: Tensor, like: Tensor) -> Tensor:
    """Values of points (B, n, C) back on the grid or mesh of a tensor (B, .., *N): (B, C, *N)."""
    return values.transpose(1, 2).reshape(len(values), values.shape[2], *like.shape[2:])
