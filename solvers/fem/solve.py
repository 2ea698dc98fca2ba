"""One instance by finite elements."""

from __future__ import annotations

from collections.abc import Callable

from variform.mesh import Mesh
from variform.problem import Problem
from variform.solution import Stopwatch
from variform.solvers.fem.discretize import discretize
from variform.solvers.fem.mesh import distribute
from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.stationary import solve_stationary
from variform.solvers.fem.transient import solve_transient


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int = 32,
    degree: int | None = None,
    steps: int = 50,
    snapshots: int = 1,
    rtol: float = 1e-10,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> FemSolution:
    """Galerkin's method in space, SDIRK of order 2 in time.

    Args:
        mesh: a mesh, or the number of cells a side of the problem's own domain.
        degree: of the elements; each field's own by default.
        steps, snapshots: time steps, and how many states to keep (evolutions only).
        rtol: relative tolerance of Newton's method and of the linear solver.

    Raises:
        InputError: a name that the mesh lacks, a form that is not linear in the test function.
        ComputationError: no convergence.
    """
    watch = Stopwatch()
    if isinstance(mesh, int):
        mesh = problem.geometry(problem.p).mesh(mesh)
    with watch("mesh"):
        domain = distribute(mesh)
    with watch("discretise"):
        discrete = discretize(problem, domain, degree)
    with watch("solve"):
        if problem.time is None:
            system, counts = solve_stationary(discrete, rtol=rtol)
            states = [(None, {name: u.x.array.copy() for name, u in discrete.u.items()})]
        else:
            system, counts, states = solve_transient(
                discrete, steps=steps, snapshots=snapshots, rtol=rtol, progress=progress
            )
    discretization = {
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "elements": {name: f"Lagrange {k}" for name, k in discrete.degrees.items()},
        "quadrature_degree": discrete.quadrature_degree,
        "rtol": rtol,
        "residual": system.residual_norm(),
        **counts,
    }
    return FemSolution(discrete, states, watch.cost(dofs=discrete.num_dofs), discretization)
