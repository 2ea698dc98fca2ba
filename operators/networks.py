"""The networks by name, from `neuraloperator` where it has them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class FNOSettings:
    """Fourier neural operator: modes kept an axis, channels, layers, zero padding as a part of the grid."""

    modes: int = 12
    width: int = 32
    depth: int = 4
    padding: float = 0.125


def fno(in_channels: int, out_channels: int, dim: int, settings: FNOSettings) -> nn.Module:
    """A Fourier neural operator on uniform grids, coordinates appended to its inputs.

    Source: Li et al. 2021, arXiv:2010.08895.
    """
    from neuralop.models import FNO  # a slow import

    return FNO(
        n_modes=(settings.modes,) * dim,
        in_channels=in_channels,
        out_channels=out_channels,
        hidden_channels=settings.width,
        n_layers=settings.depth,
        domain_padding=settings.padding,
        positional_embedding="grid",
    )
