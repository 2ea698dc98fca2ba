"""Evolutions by finite elements: diagonally implicit Runge-Kutta methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dolfinx import fem

from variform.errors import InputError
from variform.solution import Stopwatch
from variform.solvers.fem.discretize import Discrete, interpolate
from variform.solvers.fem.system import System, switches

Snapshots = list[tuple[float, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Tableau:
    """A stiffly accurate DIRK method with one diagonal entry: the last stage is the new value."""

    a: tuple[tuple[float, ...], ...]
    order: int

    @property
    def c(self) -> tuple[float, ...]:
        return tuple(sum(row) for row in self.a)


_GAMMA = 1 - 1 / math.sqrt(2)
# L-stable, second order: Alexander, SIAM J. Numer. Anal. 14 (1977), 1006.
SDIRK2 = Tableau(a=((_GAMMA,), (1 - _GAMMA, _GAMMA)), order=2)


def solve_transient(
    discrete: Discrete,
    *,
    steps: int,
    snapshots: int,
    rtol: float,
    progress: Callable[[float, str], None],
    petsc: dict[str, Any] | None = None,
    watch: Stopwatch | None = None,
    tableau: Tableau = SDIRK2,
) -> tuple[System, dict[str, int], Snapshots]:
    """Step from the first to the last time of the problem with constant steps.

    Stage i solves F(U_i, (U_i - base_i) / (a_ii dt), t + c_i dt) = 0 for the stage value U_i, with
    base_i = u_n + dt sum_(j<i) a_ij k_j and k_j = (U_j - base_j) / (a_jj dt) in the place of Dt(u).

    Args:
        snapshots: how many later states to keep, evenly spaced; the initial state is kept too.

    Source: Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.6.
    """
    problem = discrete.problem
    if steps < 1 or snapshots < 1 or steps % snapshots:
        raise InputError(f"steps must be a positive multiple of snapshots, got {steps} steps, {snapshots} snapshots")
    start, end = problem.time
    dt = (end - start) / steps
    diagonal = tableau.a[0][0]
    base = {name: fem.Function(u.function_space) for name, u in discrete.u.items()}
    weight = fem.Constant(discrete.domain.mesh, 1.0 / (diagonal * dt))
    for name, u in discrete.u.items():
        u.rate = weight * (u - base[name])
    system = System(
        discrete, discrete.residual(), rtol=rtol, constant=_is_autonomous(discrete), petsc=petsc, watch=watch
    )

    set_initial_values(discrete)
    states: Snapshots = [(start, _copy(discrete))]
    iterations = np.zeros(2, dtype=int)
    for step in range(steps):
        t = start + step * dt
        before = _copy(discrete)
        rates: list[dict[str, np.ndarray]] = []
        for row, c in zip(tableau.a, tableau.c, strict=True):
            for name, u in discrete.u.items():
                base[name].x.array[:] = before[name] + dt * sum(
                    a * k[name] for a, k in zip(row[:-1], rates, strict=True)
                )
                u.x.array[:] = base[name].x.array
            discrete.set_time(t + c * dt)
            iterations += system.solve()
            rates.append({name: (u.x.array - base[name].x.array) / (diagonal * dt) for name, u in discrete.u.items()})
        if (step + 1) % (steps // snapshots) == 0:
            states.append((start + (step + 1) * dt, _copy(discrete)))
        progress((step + 1) / steps, f"step {step + 1} of {steps}")
    counts = {"steps": steps, "newton_steps": int(iterations[0]), "linear_iterations": int(iterations[1])}
    return system, counts, states


def set_initial_values(discrete: Discrete) -> None:
    """Nodal interpolation of the problem's initial values; absent ones are zero."""
    problem, s = discrete.problem, discrete.symbols
    for name, value in problem.by_field(problem.initial(s.x, s.p)).items():
        interpolate(discrete.u[name], value)


def _is_autonomous(discrete: Discrete) -> bool:
    """The Jacobian does not change in time: linear form, coefficients without t."""
    import ufl
    from dolfinx.fem import petsc as fp

    form = discrete.residual()
    if len(discrete.u) > 1:
        return False
    J = ufl.algorithms.expand_derivatives(fp.derivative_block(form, next(iter(discrete.u.values()))))
    if switches(form, list(discrete.u.values())):
        return False
    return not any(u in J.coefficients() for u in discrete.u.values()) and discrete.symbols.t not in J.constants()


def _copy(discrete: Discrete) -> dict[str, np.ndarray]:
    return {name: u.x.array.copy() for name, u in discrete.u.items()}
