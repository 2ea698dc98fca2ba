"""Layers that several networks have in common."""

from __future__ import annotations

import contextlib
import io
import math
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


def quiet() -> contextlib.AbstractContextManager[io.StringIO]:
    """Keeps what a library prints while a network is made off the screen."""
    return contextlib.redirect_stdout(io.StringIO())


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


def num_coordinates(periodic: tuple[bool, ...], places: int) -> int:
    """Channels that `coordinates` gives."""
    return periodic.count(False) + (2 * periodic.count(True) if places else 0)


def coordinates(x: Tensor, periodic: tuple[bool, ...], places: int) -> Tensor:
    """Coordinates (B, channels, *N) of axes that are not periodic; with `places` sine and cosine of the others."""
    found = [x[:, axis] for axis, wraps in enumerate(periodic) if not wraps]
    if places:
        angles = [2 * math.pi * x[:, axis] for axis, wraps in enumerate(periodic) if wraps]
        found += [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.stack(found, dim=1) if found else x[:, :0]


def points(fields: Tensor, x: Tensor) -> Tensor:
    """Fields and coordinates of every point, (B, n, C + dim), of a grid or a mesh."""
    both = torch.cat([fields, x.to(fields.dtype).expand(fields.shape[0], *x.shape[1:])], dim=1)
    return both.flatten(2).transpose(1, 2)


def places(values: Tensor, like: Tensor) -> Tensor:
    """Values of points (B, n, C) back on the grid or mesh of a tensor (B, .., *N): (B, C, *N)."""
    return values.transpose(1, 2).reshape(values.shape[0], values.shape[2], *like.shape[2:])
