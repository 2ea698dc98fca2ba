"""One implicit stage: F(U, (U - base) / (a dt), t) = 0, where the second argument stands for Dt(u)."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fp

from variform.solution import Stopwatch
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.system import System
from variform.solvers.fem.time.newton import SimplifiedNewton

State = dict[str, np.ndarray]
"""Dofs on this rank by field."""


class Stage:
    """The system of a stage; every method that has one unknown state a stage is a sequence of them.

    Args:
        form: F in `discrete.u` and the rates, which are replaced.
        loads: terms in functions and constants of their own, added to F.
    """

    def __init__(
        self, discrete: Discrete, form: ufl.Form, *, rtol: float, petsc: dict[str, Any] | None, watch: Stopwatch | None
    ) -> None:
        self.discrete = discrete
        self.base = {name: fem.Function(u.function_space) for name, u in discrete.u.items()}
        self._weight = fem.Constant(discrete.domain.mesh, 1.0)
        rates = {u.rate: self._weight * (u - self.base[name]) for name, u in discrete.u.items()}
        self.newton = newton(discrete, ufl.replace(form, rates), rtol=rtol, petsc=petsc, watch=watch)
        self.counts = np.zeros(2, dtype=int)

    def solve(self, t: float, scale: float, base: State, guess: State) -> State:
        """Solve at time t [s] with scale = a dt [s].

        Returns:
            The rate (U - base) / scale; U is in `discrete.u`.
        """
        for name, u in self.discrete.u.items():
            self.base[name].x.array[:] = base[name]
            u.x.array[:] = guess[name]
        if self._weight.value != 1.0 / scale:
            self._weight.value = 1.0 / scale
            self.newton.forget()
        self.discrete.set_time(t)
        self.counts += self.newton.solve()
        return {name: (u.x.array - base[name]) / scale for name, u in self.discrete.u.items()}


def newton(
    discrete: Discrete, form: ufl.Form, *, rtol: float, petsc: dict[str, Any] | None, watch: Stopwatch | None
) -> SimplifiedNewton:
    """The solver of form = 0 for `discrete.u`."""
    system = System(discrete, form, rtol=rtol, petsc=petsc, watch=watch)
    constant = system.is_linear and not in_jacobian(form, discrete, discrete.symbols.t)
    return SimplifiedNewton(system, constant=constant, rtol=rtol)


def in_jacobian(form: ufl.Form, discrete: Discrete, constant: fem.Constant) -> bool:
    """The derivative of the form with respect to the unknowns has this constant."""
    unknowns = list(discrete.u.values())
    blocks: Any = form if len(unknowns) == 1 else [b for b in ufl.extract_blocks(form) if b is not None]
    J = fp.derivative_block(blocks, unknowns[0] if len(unknowns) == 1 else unknowns)
    rows = J if isinstance(J, (list, tuple)) else [[J]]
    return any(
        constant in ufl.algorithms.expand_derivatives(block).constants()
        for row in rows
        for block in row
        if block is not None and not block.empty()
    )


def state_of(discrete: Discrete) -> State:
    return {name: u.x.array.copy() for name, u in discrete.u.items()}
