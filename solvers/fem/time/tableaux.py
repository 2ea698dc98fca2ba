"""Runge-Kutta methods, by their coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Row = tuple[float, ...]


@dataclass(frozen=True)
class Implicit:
    """A stiffly accurate, singly diagonally implicit method: the last stage is the new value.

    Args:
        a: row i holds a_i0 to a_ii; the diagonal is constant.
        embedded: weights of a method of order one less, whose difference estimates the error; None for none.
    """

    order: int
    a: tuple[Row, ...]
    embedded: Row | None = None

    @property
    def diagonal(self) -> float:
        return self.a[0][0]

    @property
    def c(self) -> Row:
        return tuple(sum(row) for row in self.a)

    @property
    def error(self) -> Row | None:
        """Weights of the stage rates in the error estimate, over dt."""
        return None if self.embedded is None else tuple(np.subtract(self.a[-1], self.embedded))


@dataclass(frozen=True)
class Explicit:
    """An explicit method: row i of `a` holds a_i0 to a_i(i-1), the first is empty; weights `b`."""

    order: int
    a: tuple[Row, ...]
    b: Row
    embedded: Row | None = None

    @property
    def c(self) -> Row:
        return tuple(sum(row) for row in self.a)

    @property
    def error(self) -> Row | None:
        return None if self.embedded is None else tuple(np.subtract(self.b, self.embedded))

    def amplification(self, z: np.ndarray) -> np.ndarray:
        """R(z): what a step makes of u' = lambda u, with z = lambda dt."""
        stages: list[np.ndarray] = []
        for row in self.a:
            stages.append(1 + z * sum((a * k for a, k in zip(row, stages, strict=True)), np.zeros_like(z)))
        return 1 + z * sum(b * k for b, k in zip(self.b, stages, strict=True))


@dataclass(frozen=True)
class Pair:
    """An implicit and an explicit method with the same stage times; the last stage of both is the new value."""

    implicit: Implicit
    explicit: tuple[Row, ...]

    @property
    def order(self) -> int:
        return self.implicit.order


IMPLICIT_EULER = Implicit(1, ((1.0,),))

_G2 = 1 - 1 / math.sqrt(2)
SDIRK2 = Implicit(2, ((_G2,), (1 - _G2, _G2)), embedded=(1.0, 0.0))
"""L-stable. Alexander, SIAM J. Numer. Anal. 14 (1977), 1006."""

_G3 = 0.43586652150845899942
"""Root of x^3 - 3 x^2 + 3/2 x - 1/6 between 1/6 and 1/2."""
_B1, _B2 = -(6 * _G3**2 - 16 * _G3 + 1) / 4, (6 * _G3**2 - 20 * _G3 + 5) / 4
_E2 = (0.5 - _G3) / ((1 - _G3) / 2)
SDIRK3 = Implicit(3, ((_G3,), ((1 - _G3) / 2, _G3), (_B1, _B2, _G3)), embedded=(1 - _E2, _E2, 0.0))
"""L-stable. Alexander (1977). The embedded weights meet both conditions of order 2 with the first two stages."""

SDIRK4 = Implicit(
    4,
    (
        (1 / 4,),
        (1 / 2, 1 / 4),
        (17 / 50, -1 / 25, 1 / 4),
        (371 / 1360, -137 / 2720, 15 / 544, 1 / 4),
        (25 / 24, -49 / 48, 125 / 16, -85 / 12, 1 / 4),
    ),
    embedded=(59 / 48, -17 / 96, 225 / 32, -85 / 12, 0.0),
)
"""L-stable. Hairer and Wanner, Solving Ordinary Differential Equations II, equation IV.6.16."""

HEUN = Explicit(2, ((), (1.0,)), (0.5, 0.5), embedded=(1.0, 0.0))
SSPRK3 = Explicit(3, ((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3), embedded=(0.5, 0.5, 0.0))
"""Keeps what one Euler step keeps. Shu and Osher, J. Comput. Phys. 77 (1988), 439."""
RK4 = Explicit(4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

_D2 = 1 - 1 / (2 * _G2)
IMEX2 = Pair(SDIRK2, ((), (_G2,), (_D2, 1 - _D2)))
"""ARS(2,2,2). Ascher, Ruuth and Spiteri, Appl. Numer. Math. 25 (1997), 151, section 2.6."""
IMEX3 = Pair(
    Implicit(3, ((1 / 2,), (1 / 6, 1 / 2), (-1 / 2, 1 / 2, 1 / 2), (3 / 2, -3 / 2, 1 / 2, 1 / 2))),
    ((), (1 / 2,), (11 / 18, 1 / 18), (5 / 6, -5 / 6, 1 / 2), (1 / 4, 7 / 4, 3 / 4, -7 / 4)),
)
"""ARS(4,4,3), section 2.8 there."""
