"""Fourier neural operators on uniform grids, from `neuraloperator`."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import coordinates, num_coordinates, quiet


class OnBox(nn.Module):
    """A network for periodic grids put on boxes, whose grids hold both ends of each axis that is not periodic.

    Coordinates of such axes are appended, and beyond their upper ends everything goes back linearly to its values at
    the lower end, over `padding` times the side: a continuous periodic function that is the same at every resolution.
    Periodic axes get neither, so that the network commutes with shifts along them; with `places` they get the sine and
    cosine of their coordinate: for equations with forces that lie somewhere.
    """

    def __init__(self, network: nn.Module, periodic: tuple[bool, ...], padding: float, places: int = 0) -> None:
        super().__init__()
        self.network, self.periodic, self.padding, self.places = network, periodic, padding, places

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        N = fields.shape[2:]
        walls = [axis for axis, wraps in enumerate(self.periodic) if not wraps]
        x = coordinates(support.x, self.periodic, self.places).to(fields.dtype)
        closed = torch.cat([fields, x.expand(fields.shape[0], -1, *N)], dim=1)
        for axis in walls:
            closed = _close(closed, axis + 2, max(0, round((1 + self.padding) * (N[axis] - 1)) - N[axis]))
        with torch.autocast(fields.device.type, enabled=False):  # transforms in half precision lose too much
            out = self.network(closed.float() if closed.dtype in (torch.bfloat16, torch.float16) else closed)
        return out[(..., *map(slice, N))]


def _close(fields: Tensor, axis: int, count: int) -> Tensor:
    """Append points between the last value along an axis and the first."""
    first, last = fields.narrow(axis, 0, 1), fields.narrow(axis, -1, 1)
    weights = torch.arange(1, count + 1, dtype=fields.dtype, device=fields.device) / (count + 1)
    weights = weights.reshape(-1, *[1] * (fields.ndim - 1 - axis))
    return torch.cat([fields, last + weights * (first - last)], dim=axis)


def _network(layout: Layout, modes: int, width: int, depth: int, places: int, **more: Any) -> nn.Module:
    from neuralop.models import FNO as Network  # a slow import

    from variform.operators.networks.spectral import SpectralConvolution

    at_least(modes=modes, width=width, depth=depth)
    return Network(
        n_modes=(modes,) * layout.dim,
        in_channels=layout.inputs + num_coordinates(layout.periodic, places),
        out_channels=layout.outputs,
        hidden_channels=width,
        n_layers=depth,
        positional_embedding=None,
        conv_module=SpectralConvolution,
        **more,
    )


class FNO(OnBox):
    """A Fourier neural operator.

    Args:
        modes: kept an axis; width: channels; depth: layers; padding: what is added to each side, as a part of it;
        places: 1: coordinates of periodic axes are inputs too.

    Source: Li et al. 2021, arXiv:2010.08895.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)

    def __init__(
        self,
        layout: Layout,
        *,
        modes: int = 12,
        width: int = 32,
        depth: int = 4,
        padding: float = 0.25,
        places: int = 0,
    ) -> None:
        super().__init__(_network(layout, modes, width, depth, places), layout.periodic, padding, places)


class TFNO(OnBox):
    """The same with weights as Tucker tensors of a part `rank` of their size.

    Source: Kossaifi et al., Multi-grid tensorized Fourier neural operator, arXiv:2310.00120.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)

    def __init__(
        self,
        layout: Layout,
        *,
        modes: int = 12,
        width: int = 32,
        depth: int = 4,
        rank: float = 0.1,
        padding: float = 0.25,
        places: int = 0,
    ) -> None:
        more = {"factorization": "tucker", "implementation": "factorized", "rank": rank}
        super().__init__(_network(layout, modes, width, depth, places, **more), layout.periodic, padding, places)


class UNO(OnBox):
    """A U-shaped one: half of the points and twice the channels in the middle.

    Source: Rahman, Ross and Azizzadenesheli, U-NO, arXiv:2204.11127.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)

    def __init__(
        self, layout: Layout, *, modes: int = 12, width: int = 32, padding: float = 0.25, places: int = 0
    ) -> None:
        from neuralop.layers.fno_block import FNOBlocks
        from neuralop.models import UNO as Network

        from variform.operators.networks.spectral import SpectralConvolution

        at_least(modes=modes, width=width)
        dim, few = layout.dim, max(1, modes // 2)
        with quiet():
            network = Network(
                in_channels=layout.inputs + num_coordinates(layout.periodic, places),
                out_channels=layout.outputs,
                hidden_channels=width,
                n_layers=5,
                uno_out_channels=[width, 2 * width, 2 * width, 2 * width, width],
                uno_n_modes=[[m] * dim for m in (modes, few, few, few, modes)],
                uno_scalings=[[s] * dim for s in (1.0, 0.5, 1.0, 1.0, 2.0)],
                channel_mlp_skip="linear",
                positional_embedding=None,
                operator_block=partial(FNOBlocks, conv_module=SpectralConvolution),
            )
        super().__init__(network, layout.periodic, padding, places)
