"""Evolutions in symbol form, u_t = L u + N(u) on a periodic box: what spectral and particle steppers need."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from variform.errors import InputError
from variform.task import Task

if TYPE_CHECKING:
    from variform.problem import Field

Gradient = Callable[[Any], Any]
"""Spectral derivatives on the grid: (..., *grid) to (dim, ..., *grid) [1/m]."""


class Evolution(Task, ABC):
    """Find u with u_t = L u + N(u), L with constant coefficients, u periodic on a box and real.

    A grid array holds the C components of all `fields`, one after another, in its first axis: (C, *grid). Write
    arithmetic that NumPy and torch share (`array_api_compat.array_namespace(u)` gives functions of either). Where
    a batch is stepped at once, its axis stands between the two, (C, B, *grid), and numbers in `p` become arrays
    (B, 1, ...): index components as u[0], not u[:, 0], and both work.

    A class that has a weak form too inherits both: `class Heat(Problem, Evolution)`.
    """

    fields: dict[str, Field] = {}
    time: tuple[float, float] | None = None
    """First and last time [s]."""

    @abstractmethod
    def box(self, p: SimpleNamespace) -> tuple[Sequence[float], Sequence[float]]:
        """Lower and upper corner of the box [m], each one number per axis."""

    @abstractmethod
    def linear(self, k: Any, p: SimpleNamespace) -> Any:
        """The symbol of L [1/s]: L exp(i k.x) = linear(k) exp(i k.x).

        Args:
            k: wave vectors [rad/m], shape (dim, *grid); `(k**2).sum(0)` is the symbol of minus the Laplacian.

        Returns:
            Real or complex, shape (*grid) for all components alike, or (C, *grid).
        """

    def nonlinear(self, u: Any, p: SimpleNamespace, grad: Gradient) -> Any:
        """N(u) in physical space, shaped as u; None if there is none.

        Args:
            u: values [unit of each field], shape (C, *grid).
            grad: spectral derivatives; grad(u[0])[1] is the derivative of component 0 along axis 1.
        """
        return None

    def flux(self, u: Any, p: SimpleNamespace) -> Any:
        """F in N(u) = - div F(u) + what `nonlinear` gives: (C, *grid) to (dim, C, *grid); None if there is none.

        Its divergence is taken in Fourier space, which saves the transforms that derivatives on the grid take.
        """
        return None

    def coefficients(self, u_hat: Any, p: SimpleNamespace, box: Any) -> Any:
        """Further terms of N from and to Fourier coefficients (C, *M), where those need the fewest transforms.

        Args:
            box: a `variform.solvers.spectral.periodic.PeriodicBox`: its k, fft, ifft and derivatives.
        """
        return None

    def forcing(self, x: Any, p: SimpleNamespace) -> Any:
        """A source that changes neither with u nor in time, (dim, *grid) to (C, *grid); None if there is none."""
        return None

    def drive(self, x: Any, t: float, p: SimpleNamespace) -> Any:
        """A source that changes in time, (dim, *grid) to (C, *grid); None if there is none. Numbers in p may be
        arrays (B, 1, ...), which give (C, B, *grid).
        """
        return None

    def initial_values(self, x: Any, p: SimpleNamespace) -> Any:
        """u at the first time: coordinates x (dim, *grid) [m] to (C, *grid). By default a Problem's `initial`."""
        raise InputError(f"{self.name} has no initial_values(x, p)")

    @property
    def channels(self) -> dict[str, slice]:
        """Field name -> its components among the C of a grid array."""
        slices, start = {}, 0
        for name, field in self.fields.items():
            slices[name] = slice(start, start + math.prod(field.shape))
            start = slices[name].stop
        return slices
