"""Spectral convolutions by matrix products with the modes that are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from neuralop.layers.spectral_convolution import SpectralConv
from torch import Tensor


class SpectralConvolution(SpectralConv):
    """`neuraloperator`'s spectral convolution, with its weights: v_hat_k = W_k u_hat_k on the lowest modes, else 0.

    A few modes of many are reached quicker by matrix products than by a transform of all of them. Three things differ,
    the first two along all axes but the last: on grids with an odd number of points, frequencies are the right ones
    (version 2.0 takes fftshift for its own inverse, which moves them by one); onto another grid, negative frequencies
    go where they belong (it cuts or pads the upper end); and double precision stays double.
    """

    def forward(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        """(B, in_channels, *N) to (B, out_channels, *M); M = N unless resolution is scaled."""
        if self.separable or self.complex_data or self.fno_block_precision != "full":
            return super().forward(x, output_shape)
        N = list(x.shape[2:])
        M = list(output_shape) if output_shape is not None else self._scaled(N)
        there = [*N[:-1], N[-1] // 2 + 1]
        kept = [min(sizes) for sizes in zip(there, self.n_modes, self.max_n_modes, strict=True)]
        v = self._contract(_modes_of(x, kept), self.weight[self._slices(kept)], separable=False)
        y = _on_grid(v, M)
        return y if self.bias is None else y + self.bias

    def _scaled(self, N: list[int]) -> list[int]:
        if self.resolution_scaling_factor is None:
            return N
        return [round(n * r) for n, r in zip(N, self.resolution_scaling_factor, strict=True)]

    def _slices(self, kept: list[int]) -> tuple[slice, ...]:
        """Of the weights: the middle of all axes but the last, whose frequencies are centred there."""
        starts = [(most - k) // 2 for most, k in zip(self.max_n_modes[:-1], kept[:-1], strict=True)]
        lower = [slice(start, start + k) for start, k in zip(starts, kept[:-1], strict=True)]
        return (slice(None), slice(None), *lower, slice(kept[-1]))


def _modes_of(x: Tensor, kept: list[int]) -> Tensor:
    """Fourier coefficients (B, C, *kept), over the number of points, of real fields (B, C, *N)."""
    cos, sin = _waves(range(kept[-1]), x.shape[-1], x)
    pairs = torch.stack([cos, -sin], dim=-1).flatten(1) / x.shape[-1]  # (N, 2 kept)
    u = torch.view_as_complex((x @ pairs).unflatten(-1, (kept[-1], 2)))
    for axis in range(x.ndim - 2, 1, -1):
        n = x.shape[axis]
        wave = torch.complex(*_waves(_centred(kept[axis - 2]), n, x)).conj().resolve_conj() / n
        u = torch.movedim(torch.movedim(u, axis, -1) @ wave, -1, axis)
    return u


def _on_grid(v: Tensor, M: list[int]) -> Tensor:
    """Real fields (B, C, *M) with the coefficients (B, C, *kept): each mode of the last axis and its conjugate."""
    for axis in range(2, v.ndim - 1):
        wave = torch.complex(*_waves(_centred(v.shape[axis]), M[axis - 2], v.real)).T
        v = torch.movedim(torch.movedim(v, axis, -1) @ wave, -1, axis)
    kept, n = v.shape[-1], M[-1]
    cos, sin = _waves(range(kept), n, v.real)
    twice = [1.0 if 2 * k in (0, n) else 2.0 for k in range(kept)]
    pairs = torch.stack([cos, -sin], dim=-1) * torch.tensor(twice, dtype=cos.dtype, device=cos.device)[:, None]
    return torch.view_as_real(v.resolve_conj().contiguous()).flatten(-2) @ pairs.flatten(1).T


def _centred(count: int) -> range:
    """Frequencies as the library has them: -3, .., 2 of six, -2, .., 2 of five."""
    return range(-(count // 2), count - count // 2)


def _waves(frequencies: range, n: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of 2 pi k j / n, (n, frequencies), in the type of another tensor."""
    j = torch.arange(n, device=like.device)
    k = torch.arange(frequencies.start, frequencies.stop, device=like.device)
    phase = torch.remainder(j[:, None] * k, n).double() * (2 * math.pi / n)
    return phase.cos().to(like.dtype), phase.sin().to(like.dtype)
