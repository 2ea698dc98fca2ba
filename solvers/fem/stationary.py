"""Stationary problems by finite elements."""

from __future__ import annotations

from typing import Any

from variform.errors import ComputationError
from variform.solution import Stopwatch
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.system import System

SMALLEST_STEP = 1e-3
"""Of a continuation, as a part of the way from the start to the wanted value."""


def solve_stationary(
    discrete: Discrete, *, rtol: float, petsc: dict[str, Any] | None = None, watch: Stopwatch | None = None
) -> tuple[System, dict[str, int]]:
    """Galerkin's method: find u_h with F(u_h; v) = 0 for every basis function v.

    The L2 error is O(h^(degree + 1)) for smooth u. Where Newton's method fails and the problem names a parameter for
    it, the solution is followed from an easy value to the wanted one.

    Source: Brenner and Scott, ch. 5.
    """
    system = System(discrete, discrete.residual(), rtol=rtol, petsc=petsc, watch=watch)
    start = _state(discrete)
    try:
        newton, linear = system.solve()
    except ComputationError:
        if system.is_linear or discrete.problem.continuation is None:
            raise
        _restore(discrete, start)
        return system, _follow(system)
    return system, {"newton_steps": newton, "linear_iterations": linear}


def _follow(system: System) -> dict[str, int]:
    """Steps from the easy to the wanted value: halved where Newton's method fails, doubled where it does not.

    Raises:
        ComputationError: no convergence even with the smallest step; u holds the last solution that was reached.
    """
    discrete, path = system.discrete, system.discrete.problem.continuation
    wanted = discrete.problem.values[path.parameter]

    def value(part: float) -> float:
        if path.geometric:
            return path.start ** (1 - part) * wanted**part
        return (1 - part) * path.start + part * wanted

    done, step, counts = 0.0, 0.0, {"newton_steps": 0, "linear_iterations": 0, "continuation_steps": 0}
    reached = _state(discrete)
    while done < 1.0:
        target = min(1.0, done + step)
        discrete.set_parameter(path.parameter, value(target))
        try:
            newton, linear = system.solve()
        except ComputationError as error:
            _restore(discrete, reached)
            step = step / 2 if step else 0.0
            if step < SMALLEST_STEP:
                discrete.set_parameter(path.parameter, value(done))
                raise ComputationError(
                    f"{error} (continuation in {path.parameter!r} from {path.start:g} to {wanted:g} "
                    f"reached {value(done):g})"
                ) from None
            continue
        done, reached = target, _state(discrete)
        step = 2 * step if step else 0.25
        counts["newton_steps"] += newton
        counts["linear_iterations"] += linear
        counts["continuation_steps"] += 1
    return counts


def _state(discrete: Discrete) -> dict[str, Any]:
    return {name: u.x.array.copy() for name, u in discrete.u.items()}


def _restore(discrete: Discrete, state: dict[str, Any]) -> None:
    for name, u in discrete.u.items():
        u.x.array[:] = state[name]
