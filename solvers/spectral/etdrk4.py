"""ETDRK4: exponential time differencing on the stages of a Runge-Kutta scheme of order 4."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CONTOUR_POINTS = 32
"""On a circle of radius 2 the trapezoidal rule is then exact to round-off."""


@dataclass(frozen=True)
class Etdrk4:
    """Steps v' = L v + N(v) with L diagonal: exact where N = 0, of order 4 in dt otherwise.

    All coefficients are shaped as L; Q, f1, f2 and f3 include the factor dt [s].

    Source: Cox and Matthews 2002, doi:10.1006/jcph.2002.6995, equations 26 to 29, in the notation of Kassam and
    Trefethen 2005, doi:10.1137/S1064827502410633.
    """

    E: Tensor
    E_half: Tensor
    Q: Tensor
    f1: Tensor
    f2: Tensor
    f3: Tensor

    @classmethod
    def of(cls, L: Tensor, dt: float, dtype: torch.dtype = torch.float64) -> Etdrk4:
        """The coefficients for one step size, computed in double precision.

        Args:
            L: diagonal of the linear part [1/s], float64 or complex128, any shape.
            dt: time step [s].
            dtype: the real type that sets the precision of the stepping.
        """
        z = dt * L
        Q = dt * _entire(lambda z: (torch.exp(z / 2) - 1) / z, z)
        f1 = dt * _entire(lambda z: (-4 - z + torch.exp(z) * (4 - 3 * z + z**2)) / z**3, z)
        f2 = dt * _entire(lambda z: (2 + z + torch.exp(z) * (-2 + z)) / z**3, z)
        f3 = dt * _entire(lambda z: (-4 - 3 * z - z**2 + torch.exp(z) * (4 - z)) / z**3, z)
        kept = dtype.to_complex() if z.is_complex() else dtype
        return cls(*(c.to(kept) for c in (torch.exp(z), torch.exp(z / 2), Q, f1, f2, f3)))

    def step(self, v: Tensor, N: Callable[[Tensor, float], Tensor] | None) -> Tensor:
        """v one step later; None stands for N = 0.

        Args:
            N: of v and the part of the step that has passed, 0, 1/2 or 1.
        """
        if N is None:
            return self.E * v
        N_v = N(v, 0.0)
        half = self.E_half * v
        a = half + self.Q * N_v
        N_a = N(a, 0.5)
        N_b = N(half + self.Q * N_a, 0.5)
        N_c = N(self.E_half * a + self.Q * (2 * N_b - N_v), 1.0)
        return self.E * v + self.f1 * N_v + 2 * self.f2 * (N_a + N_b) + self.f3 * N_c


def _entire(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """An entire function whose formula cancels near 0: there its mean over a circle about z (Kassam and Trefethen).

    Away from 0 the formula itself is accurate, and the circle could run through 0.
    """
    near = z.abs() < 1
    points = [2 * math.e ** (2j * math.pi * (j + 0.5) / CONTOUR_POINTS) for j in range(CONTOUR_POINTS)]
    z_near = z[near].to(torch.complex128)
    mean = sum((f(z_near + r) for r in points), torch.zeros_like(z_near)) / CONTOUR_POINTS
    values = f(torch.where(near, torch.ones_like(z), z))
    values[near] = mean if z.is_complex() else mean.real
    return values


@dataclass(frozen=True)
class Etdrk2:
    """The scheme of order 2 of the same family, two evaluations of N a step.

    Source: Cox and Matthews 2002, equation 22.
    """

    E: Tensor
    f1: Tensor
    f2: Tensor

    @classmethod
    def of(cls, L: Tensor, dt: float, dtype: torch.dtype = torch.float64) -> Etdrk2:
        z = dt * L
        f1 = dt * _entire(lambda z: (torch.exp(z) - 1) / z, z)
        f2 = dt * _entire(lambda z: (torch.exp(z) - 1 - z) / z**2, z)
        kept = dtype.to_complex() if z.is_complex() else dtype
        return cls(*(c.to(kept) for c in (torch.exp(z), f1, f2)))

    def step(self, v: Tensor, N: Callable[[Tensor, float], Tensor] | None) -> Tensor:
        if N is None:
            return self.E * v
        N_v = N(v, 0.0)
        a = self.E * v + self.f1 * N_v
        return a + self.f2 * (N(a, 1.0) - N_v)
