"""The networks by name, from `neuraloperator` where it has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class FNOSettings:
    """Fourier neural operator: modes kept an axis, channels, layers, what is padded as a part of each side."""

    modes: int = 12
    width: int = 32
    depth: int = 4
    padding: float = 0.25


class OnBox(nn.Module):
    """A network for periodic grids put on boxes, whose grids hold both ends of each axis.

    Coordinates are appended, and beyond the upper end of each axis everything goes back linearly to its values at the
    lower end, over `padding` times the side: a continuous periodic function that is the same at every resolution. The
    padding and the coordinates of neuraloperator differ between such grids; errors grew with the resolution.
    """

    def __init__(self, network: nn.Module, padding: float) -> None:
        super().__init__()
        self.network, self.padding = network, padding

    def forward(self, fields: Tensor) -> Tensor:
        """(B, C, *N) to (B, outputs, *N)."""
        N = fields.shape[2:]
        axes = [torch.linspace(0, 1, n, dtype=fields.dtype, device=fields.device) for n in N]
        x = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(len(fields), -1, *N)
        closed = torch.cat([fields, x], dim=1)
        for axis, n in enumerate(N, start=2):
            closed = _close(closed, axis, max(0, round((1 + self.padding) * (n - 1)) - n))
        return self.network(closed)[(..., *map(slice, N))]


def _close(fields: Tensor, axis: int, count: int) -> Tensor:
    """Append points between the last value along an axis and the first."""
    first, last = fields.narrow(axis, 0, 1), fields.narrow(axis, -1, 1)
    weights = torch.arange(1, count + 1, dtype=fields.dtype, device=fields.device) / (count + 1)
    weights = weights.reshape(-1, *[1] * (fields.ndim - 1 - axis))
    return torch.cat([fields, last + weights * (first - last)], dim=axis)


def fno(in_channels: int, out_channels: int, dim: int, settings: FNOSettings) -> nn.Module:
    """A Fourier neural operator on uniform grids of a box.

    Source: Li et al. 2021, arXiv:2010.08895.
    """
    from neuralop.models import FNO  # a slow import

    network = FNO(
        n_modes=(settings.modes,) * dim,
        in_channels=in_channels + dim,
        out_channels=out_channels,
        hidden_channels=settings.width,
        n_layers=settings.depth,
        positional_embedding=None,
    )
    return OnBox(network, settings.padding)
