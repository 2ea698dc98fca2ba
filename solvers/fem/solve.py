"""One instance by finite elements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from variform.errors import ComputationError, InputError
from variform.mesh import Mesh
from variform.problem import Problem, degrees_of
from variform.solution import Stopwatch
from variform.solvers.fem import checkpoint
from variform.solvers.fem.discretize import Discrete, discretize
from variform.solvers.fem.linear import parse
from variform.solvers.fem.mesh import distribute
from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.stationary import solve_stationary
from variform.solvers.fem.transient import solve_transient


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    degree: int | None = None,
    steps: int = 50,
    snapshots: int = 1,
    rtol: float = 1e-10,
    petsc: str = "",
    start: str = "",
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> FemSolution:
    """Galerkin's method in space, SDIRK of order 2 in time.

    Args:
        mesh: a mesh, or the number of cells a side of the problem's own domain, by default what the domain says.
        degree: of the field of highest degree, the others keep their distance to it; each field's own by default.
        steps, snapshots: time steps, and how many states to keep (evolutions only).
        rtol: relative tolerance of Newton's method and of the linear solver.
        petsc: PETSc options that override the chosen solver, such as "ksp_type=gmres pc_type=ilu".
        start: a checkpoint (solution.h5) of the same problem: its mesh is taken, and Newton's method starts from it.

    Raises:
        InputError: a name that the mesh lacks, a form that is not linear in the test function.
        ComputationError: no convergence; its `solution` is the last iterate.
    """
    watch = Stopwatch()
    options = parse(petsc)
    stored = checkpoint.read(Path(start)) if start else None
    with watch("mesh"):
        if stored is not None:
            mesh = stored.mesh
        elif not isinstance(mesh, Mesh):
            geometry, order = problem.geometry(problem.p), min(2, max(degrees_of(problem, degree).values()) or 1)
            mesh = geometry.mesh(mesh or geometry.default_cells, order)
        domain = distribute(mesh)
    with watch("discretise"):
        discrete = discretize(problem, domain, degree)
        if stored is not None:
            checkpoint.fill(discrete, stored)
    try:
        if problem.time is None:
            system, counts = solve_stationary(discrete, rtol=rtol, petsc=options, watch=watch)
            states = [(None, _copy(discrete))]
        else:
            if stored is not None:
                raise InputError("an evolution cannot start from a checkpoint yet")
            system, counts, states = solve_transient(
                discrete, steps=steps, snapshots=snapshots, rtol=rtol, petsc=options, watch=watch, progress=progress
            )
    except ComputationError as error:
        time = None if problem.time is None else float(discrete.symbols.t.value)
        error.solution = _solution(discrete, [(time, _copy(discrete))], watch, {"rtol": rtol}, "failed")
        raise
    return _solution(discrete, states, watch, {"rtol": rtol, "residual": system.residual_norm(), **counts}, "done")


def _solution(discrete: Discrete, states: list, watch: Stopwatch, more: dict, status: str) -> FemSolution:
    mesh, problem = discrete.domain.source, discrete.problem
    discretization = {
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "geometry_order": mesh.order,
        "elements": {
            name: " ".join([f.element, *([str(discrete.degrees[name])] if f.element != "Real" else [])])
            for name, f in problem.fields.items()
        },
        "quadrature_degree": discrete.quadrature_degree,
        **more,
    }
    return FemSolution(discrete, states, watch.cost(dofs=discrete.num_dofs), discretization, status)


def _copy(discrete: Discrete) -> dict:
    return {name: u.x.array.copy() for name, u in discrete.u.items()}
