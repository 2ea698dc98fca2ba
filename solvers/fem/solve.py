"""One instance by finite elements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from variform.errors import ComputationError, InputError
from variform.mesh import Mesh
from variform.problem import Problem, degrees_of
from variform.solution import Stopwatch
from variform.solvers.fem import checkpoint
from variform.solvers.fem.complex import solve_complex
from variform.solvers.fem.discretize import Discrete, discretize
from variform.solvers.fem.eigen import EigenSolution, solve_eigen
from variform.solvers.fem.linear import parse
from variform.solvers.fem.mesh import distribute
from variform.solvers.fem.observe import Observer
from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.stationary import solve_stationary
from variform.solvers.fem.transient import Evolution, set_initial_values


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    degree: int | None = None,
    scheme: str = "",
    steps: int | None = None,
    tolerance: float | None = None,
    rho_infinity: float | None = None,
    snapshots: int = 1,
    probes: str = "",
    checkpoints: str = "",
    checkpoint_every: int = 50,
    count: int = 6,
    target: str = "",
    rtol: float = 1e-10,
    petsc: str = "",
    start: str = "",
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> FemSolution:
    """Galerkin's method in space; in time by default SDIRK of order 2, for Dt(Dt(u)) generalised alpha.

    Args:
        mesh: a mesh, or the number of cells a side of the problem's own domain, by default what the domain says.
        degree: of the field of highest degree, the others keep their distance to it; each field's own by default.
        scheme: in time, one of `variform.solvers.fem.time.SCHEMES`; the problem's own by default.
        steps: time steps, all of one length; the problem's own by default. With a tolerance, the first is that long.
        tolerance: of the local error of a step, relative to the largest value of the field: steps as long as it allows.
        rho_infinity: of scheme generalized_alpha, what a step leaves of the highest frequencies.
        snapshots: how many states to keep, evenly spaced in time; the initial one is kept too.
        probes: points "x,y x,y" where all fields are recorded after every step, in `history`.
        checkpoints: a folder; where it holds a checkpoint of the same run already, that goes on and ends as if it had
            never stopped.
        checkpoint_every: steps between checkpoints.
        count, target: of an eigenproblem, how many eigenvalues next above which real number.
        rtol: relative tolerance of Newton's method and of the linear solver.
        petsc: PETSc options that override the chosen solver, such as "ksp_type=gmres pc_type=ilu".
        start: a checkpoint (solution.h5) of the same fields: its mesh is taken, and Newton's method, or the evolution,
            starts from it.

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
    if petsc and (problem.is_eigenproblem or problem.is_complex):
        kind = "an eigenproblem" if problem.is_eigenproblem else "complex"
        raise InputError(f"{problem.name} is {kind}, which is solved directly: options of PETSc are for other problems")
    if problem.is_eigenproblem:
        values, modes, residuals, counts = solve_eigen(discrete, count=count, target=target, rtol=rtol, watch=watch)
        cost = watch.cost(dofs=discrete.num_dofs)
        return EigenSolution(discrete, values, modes, residuals, cost, _described(discrete, {"rtol": rtol, **counts}))
    if problem.is_complex:
        counts = solve_complex(discrete, watch=watch)
        return _solution(discrete, [(None, _copy(discrete))], watch, counts, "done")
    try:
        if problem.time is None:
            system, counts = solve_stationary(discrete, rtol=rtol, petsc=options, watch=watch)
            states = [(None, _copy(discrete))]
        else:
            observer = Observer(discrete, probes)

            def initial() -> None:
                set_initial_values(discrete)
                if stored is not None:
                    checkpoint.fill(discrete, stored)

            evolution = Evolution(
                discrete,
                scheme=scheme or None,
                steps=steps,
                snapshots=snapshots,
                tolerance=tolerance,
                observe=observer,
                folder=Path(checkpoints) if checkpoints else None,
                every=checkpoint_every,
                rho_infinity=rho_infinity,
                rtol=rtol,
                petsc=options,
                watch=watch,
            )
            evolution.run(initial, progress)
            solution = _solution(
                discrete,
                evolution.states,
                watch,
                {"rtol": rtol, "residual": evolution.stepper.residual_norm(), **evolution.counts},
                "done",
            )
            solution.history = evolution.history
            return solution
    except ComputationError as error:
        time = None if problem.time is None else float(discrete.symbols.t.value)
        error.solution = _solution(discrete, [(time, _copy(discrete))], watch, {"rtol": rtol}, "failed")
        raise
    return _solution(discrete, states, watch, {"rtol": rtol, "residual": system.residual_norm(), **counts}, "done")


def _solution(discrete: Discrete, states: list, watch: Stopwatch, more: dict, status: str) -> FemSolution:
    return FemSolution(discrete, states, watch.cost(dofs=discrete.num_dofs), _described(discrete, more), status)


def _described(discrete: Discrete, more: dict) -> dict:
    """What the record says of the discretisation."""
    mesh, problem = discrete.domain.source, discrete.problem
    return {
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


def _copy(discrete: Discrete) -> dict:
    return {name: u.x.array.copy() for name, u in discrete.u.items()}
