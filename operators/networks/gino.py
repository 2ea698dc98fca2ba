"""Geometry-informed neural operators, from `neuraloperator`: any points, by way of a uniform grid."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from variform.errors import InputError
from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import mlp, places, points

REACH = 1.75
"""Radius of a ball in spacings of the latent grid: every point has some ten latent points near it in the plane."""
FAINT = 0.1
"""Where the weights of a ball add up to less, what it gathers fades out."""


class Near(nn.Module):
    """Pairs of queries and of the data within a radius, weighted by w(d) = (1 + cos(pi d / radius)) / 2."""

    def forward(self, data: Tensor, queries: Tensor, radius: float) -> dict[str, Tensor]:
        """Of points (n, dim) and (m, dim)."""
        d = torch.cdist(queries, data, compute_mode="donot_use_mm_for_euclid_dist")
        to, of = torch.nonzero(d < radius, as_tuple=True)
        return {"to": to, "of": of, "weights": (1 + torch.cos(torch.pi * d[to, of] / radius)) / 2}


class Mean(nn.Module):
    """(sum_y w k(x, y) f(y)) / (sum_y w) over the y near x, k being a network.

    The library's own adds up balls one by one, and in single precision; and its weights end abruptly.
    """

    def __init__(self, kernel: nn.Module) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, y: Tensor, neighbors: dict[str, Tensor], x: Tensor, f_y: Tensor) -> Tensor:
        """f (B, n, C) at y to (B, m, C) at x; y and x are embedded, (n, D) and (m, D)."""
        to, of, w = neighbors["to"], neighbors["of"], neighbors["weights"]
        terms = (w[:, None] * self.kernel(torch.cat([y[of], x[to]], dim=1))) * f_y[:, of]
        total = f_y.new_zeros(f_y.shape[0], len(x), f_y.shape[2]).index_add(1, to, terms.to(f_y.dtype))
        weight = w.new_zeros(len(x)).index_add(0, to, w)
        return total / weight.clamp_min(FAINT)[:, None]


class GINO(nn.Module):
    """Points to a uniform grid in the box, a Fourier neural operator there, and back to the points.

    Both ways by means over balls, with learned kernels and weights that end smoothly at the radius, so that the order
    of the points does not matter, and their number little. On grids all points count as of a mesh. Where a latent
    point has no point near it, in holes for instance, it receives nothing.

    Args:
        modes: kept an axis; width: channels; depth: Fourier layers; latent: points of the latent grid an axis;
        radius: of the balls in the unit box, 0: 1.75 spacings of the latent grid; kernel: width of the kernels.

    Source: Li et al., Geometry-informed neural operator (NeurIPS 2023), arXiv:2309.00583; the smooth weights are those
    of Lin et al., Mollified graph neural operators (2025), arXiv:2504.08277.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid", "mesh")

    def __init__(
        self,
        layout: Layout,
        *,
        modes: int = 8,
        width: int = 32,
        depth: int = 4,
        latent: int = 16,
        radius: float = 0.0,
        kernel: int = 64,
    ) -> None:
        super().__init__()
        at_least(modes=modes, width=width, depth=depth, latent=latent, kernel=kernel)
        _check_latent(latent, modes, radius)
        self.lift = mlp(layout.inputs + layout.dim, width, width)
        self.network = _network(layout, modes, width, depth, kernel, radius or REACH / (latent - 1))
        axes = [torch.linspace(0, 1, latent)] * layout.dim
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        self.register_buffer("grid", grid[None], persistent=False)

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        values = self.lift(points(fields, support.x))
        x = support.x.flatten(2).transpose(1, 2)
        with torch.autocast(fields.device.type, enabled=False):  # transforms in half precision lose too much
            if values.dtype in (torch.bfloat16, torch.float16):
                values = values.float()
            x = x.to(values.dtype)
            each = [(values, x)] if len(x) == 1 else zip(values.split(1), x.split(1), strict=True)
            out = [self.network(place, self.grid.to(place.dtype), place, x=value) for value, place in each]
        return places(torch.cat(out), fields)


def _check_latent(latent: int, modes: int, radius: float) -> None:
    if not 2 <= modes <= latent:
        raise InputError(f"modes must be 2 or more and at most latent, got {modes} and {latent}")
    if radius < 0 or 0 < radius < 1 / (latent - 1):
        least = 1 / (latent - 1)
        raise InputError(f"radius must be 0, or at least a spacing of the latent grid, {least:.3g}, got {radius}")


def _network(layout: Layout, modes: int, width: int, depth: int, kernel: int, radius: float) -> nn.Module:
    from neuralop.models import GINO as Network  # a slow import

    from variform.operators.networks.spectral import SpectralConvolution

    embedding: dict[str, Any] = {"in_gno_pos_embed_type": "nerf", "out_gno_pos_embed_type": "nerf"}
    network = Network(
        in_channels=width,
        out_channels=layout.outputs,
        gno_coord_dim=layout.dim,
        in_gno_radius=radius,
        out_gno_radius=radius,
        fno_in_channels=width,
        fno_n_modes=(modes,) * layout.dim,
        fno_hidden_channels=width,
        fno_n_layers=depth,
        fno_conv_module=SpectralConvolution,
        gno_embed_channels=4,  # waves down to an eighth of the box's side
        in_gno_channel_mlp_hidden_layers=[kernel, kernel],
        out_gno_channel_mlp_hidden_layers=[kernel, kernel],
        gno_channel_mlp_non_linearity=functional.gelu,
        gno_use_open3d=False,
        gno_use_torch_scatter=False,
        **embedding,
    )
    for block in (network.gno_in, network.gno_out):
        block.neighbor_search, block.integral_transform = Near(), Mean(block.integral_transform.channel_mlp)
    return network
