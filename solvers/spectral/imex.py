"""Runge-Kutta schemes that are implicit in L and explicit in N; L is diagonal, so that nothing is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STAGES = (0.0, 1 / 2, 2 / 3, 1 / 2, 1.0)
IMPLICIT = ((1 / 2,), (1 / 6, 1 / 2), (-1 / 2, 1 / 2, 1 / 2), (3 / 2, -3 / 2, 1 / 2, 1 / 2))
EXPLICIT = ((1 / 2,), (11 / 18, 1 / 18), (5 / 6, -5 / 6, 1 / 2), (1 / 4, 7 / 4, 3 / 4, -7 / 4))


@dataclass(frozen=True)
class Imex3:
    """Order 3 with four stages, L-stable in L.

    Source: Ascher, Ruuth and Spiteri, Appl. Numer. Math. 25 (1997), 151: ARS(4, 4, 3).
    """

    L: Tensor
    inverse: Tensor
    dt: float

    @classmethod
    def of(cls, L: Tensor, dt: float, dtype: torch.dtype = torch.float64) -> Imex3:
        """L: diagonal of the linear part [1/s]; dt: time step [s]."""
        kept = dtype.to_complex() if L.is_complex() else dtype
        return cls(L.to(kept), (1 / (1 - dt * L / 2)).to(kept), dt)

    def step(self, v: Tensor, N: Callable[[Tensor, float], Tensor] | None) -> Tensor:
        stage, linear, other = v, [], []
        for c, implicit, explicit in zip(STAGES, IMPLICIT, EXPLICIT, strict=False):
            if N is not None:
                other.append(N(stage, c))
            right = v + self.dt * sum(a * f for a, f in zip(implicit[:-1], linear, strict=True))
            if other:
                right = right + self.dt * sum(a * f for a, f in zip(explicit, other, strict=True))
            stage = self.inverse * right
            linear.append(self.L * stage)
        return stage
