"""U-Net on uniform grids of one to three dimensions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import Convolution, coordinates, num_coordinates


class Double(nn.Module):
    """Two convolutions with group normalisation and GELU, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        groups = next(g for g in (8, 4, 2, 1) if outputs % g == 0)
        layers: list[nn.Module] = []
        for a, b in ((inputs, outputs), (outputs, outputs)):
            layers += [Convolution(a, b, periodic), nn.GroupNorm(groups, b), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.shortcut = Convolution(inputs, outputs, periodic, kernel=1)

    def forward(self, u: Tensor) -> Tensor:
        return self.layers(u) + self.shortcut(u)


class UNet(nn.Module):
    """Convolutions on grids that are halved and doubled again, with shortcuts at every size.

    Coordinates of axes that are not periodic are appended, and with `places` those of periodic ones. Grids of any size
    are continued to one that can be halved.

    Args:
        width: channels of the finest grid, doubled with each halving; depth: halvings.

    Source: Ronneberger, Fischer and Brox 2015; as a solver in Gupta and Brandstetter, arXiv:2209.15616.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)

    def __init__(self, layout: Layout, *, width: int = 32, depth: int = 3, places: int = 0) -> None:
        super().__init__()
        at_least(width=width, depth=depth)
        self.periodic, self.places, self.factor = layout.periodic, places, 2**depth
        widths = [width * 2**i for i in range(depth + 1)]
        inputs = layout.inputs + num_coordinates(layout.periodic, places)
        self.enter = Double(inputs, width, layout.periodic)
        self.down = nn.ModuleList(Double(a, 2 * a, layout.periodic) for a in widths[:-1])
        self.up = nn.ModuleList(Double(3 * a, a, layout.periodic) for a in reversed(widths[:-1]))
        self.leave = Convolution(width, layout.outputs, layout.periodic, kernel=1)

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        N, dim = fields.shape[2:], len(self.periodic)
        x = coordinates(support.x, self.periodic, self.places).to(fields.dtype)
        u = torch.cat([fields, x.expand(fields.shape[0], -1, *N)], dim=1)
        for axis, wraps in enumerate(self.periodic):
            more = -N[axis] % self.factor
            sides = [0, 0] * dim
            sides[2 * (dim - 1 - axis) + 1] = more
            u = functional.pad(u, sides, mode="circular" if wraps else "replicate")
        pool = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[dim]
        u, skipped = self.enter(u), []
        for down in self.down:
            skipped.append(u)
            u = down(pool(u, 2))
        for up in self.up:
            u = functional.interpolate(u, scale_factor=2.0, mode="nearest")
            u = up(torch.cat([u, skipped.pop()], dim=1))
        return self.leave(u)[(..., *map(slice, N))]
