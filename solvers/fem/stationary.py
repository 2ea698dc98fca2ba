"""Stationary problems by finite elements."""

from __future__ import annotations

from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.system import System


def solve_stationary(discrete: Discrete, *, rtol: float) -> tuple[System, dict[str, int]]:
    """Galerkin's method: find u_h with F(u_h; v) = 0 for every basis function v.

    The L2 error is O(h^(degree + 1)) for smooth u.

    Source: Brenner and Scott, ch. 5.
    """
    system = System(discrete, discrete.residual(), rtol=rtol)
    newton, linear = system.solve()
    return system, {"newton_steps": newton, "linear_iterations": linear}
