"""Fourier analysis of real functions on a uniform grid of a periodic box."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from variform.errors import InputError


@dataclass(frozen=True)
class PeriodicBox:
    """The grid x_i = lower + i (upper - lower) / N and its wave vectors; arrays are float64 on the device.

    Fields have shape (..., *N), their coefficients (..., *M) with M = N but N // 2 + 1 on the last axis, N even.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    shape: tuple[int, ...]
    device: torch.device

    def __post_init__(self) -> None:
        if len(self.lower) != len(self.upper) or not all(a < b for a, b in zip(self.lower, self.upper, strict=True)):
            raise InputError(f"lower must be below upper on every axis of a box, got {self.lower} and {self.upper}")

    @property
    def dim(self) -> int:
        return len(self.shape)

    @cached_property
    def x(self) -> Tensor:
        """Coordinates [m], shape (dim, *N)."""
        axes = [
            low + (high - low) / n * torch.arange(n, dtype=torch.float64, device=self.device)
            for low, high, n in zip(self.lower, self.upper, self.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))

    @cached_property
    def modes(self) -> Tensor:
        """Periods in the box along each axis [-], shape (dim, *M)."""
        numbers = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=self.device) for n in self.shape]
        numbers[-1] = torch.fft.rfftfreq(self.shape[-1], 1 / self.shape[-1], dtype=torch.float64, device=self.device)
        return torch.stack(torch.meshgrid(*numbers, indexing="ij"))

    @cached_property
    def k(self) -> Tensor:
        """Wave vectors [rad/m], shape (dim, *M)."""
        lengths = [high - low for low, high in zip(self.lower, self.upper, strict=True)]
        return self.modes * self._per_axis([2 * math.pi / length for length in lengths])

    @cached_property
    def nyquist(self) -> Tensor:
        """Which components of k are of the Nyquist mode, whose sign a grid cannot tell; shape (dim, *M)."""
        return self.modes.abs() * 2 == self._per_axis(self.shape)

    @cached_property
    def resolved(self) -> Tensor:
        """Modes below a third of N on every axis: products of two of them leave these modes free of aliasing."""
        return (3 * self.modes.abs() < self._per_axis(self.shape)).all(dim=0)

    def fft(self, u: Tensor) -> Tensor:
        return torch.fft.rfftn(u, dim=tuple(range(-self.dim, 0)))

    def ifft(self, u_hat: Tensor) -> Tensor:
        return torch.fft.irfftn(u_hat, s=self.shape, dim=tuple(range(-self.dim, 0)))

    def gradient(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The map (..., *N) to (dim, ..., *N) of fields of that type to their gradients."""
        ik = (1j * torch.where(self.nyquist, 0.0, self.k)).to(dtype.to_complex())

        def grad(u: Tensor) -> Tensor:
            factors = ik.reshape(self.dim, *[1] * (u.ndim - self.dim), *ik.shape[1:])
            return self.ifft(factors * self.fft(u))

        return grad

    def derivatives(self, like: Tensor) -> Tensor:
        """i k, without the Nyquist modes, of the type of some coefficients and with their number of axes after dim."""
        if like.dtype not in self._ik:
            self._ik[like.dtype] = (1j * torch.where(self.nyquist, 0.0, self.k)).to(like.dtype)
        ik = self._ik[like.dtype]
        return ik.reshape(self.dim, *[1] * (like.ndim - self.dim), *ik.shape[1:])

    @cached_property
    def _ik(self) -> dict[torch.dtype, Tensor]:
        return {}

    @staticmethod
    def stack(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts)

    def symbol(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """The symbol `of(k)` of an operator on real functions, shape (..., *M).

        The mean over both signs of a Nyquist mode stands for it: u = cos(pi N x / length) has no first derivative
        on the grid, but a second one.
        """
        signs = list(itertools.product((1.0, -1.0), repeat=self.dim))
        values = [torch.as_tensor(of(torch.where(self.nyquist, self._per_axis(s) * self.k, self.k))) for s in signs]
        return sum(values[1:], values[0]) / len(signs)

    def _per_axis(self, numbers: tuple[float, ...] | list[float]) -> Tensor:
        values = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return values.reshape(-1, *[1] * self.dim)
