"""One instance by the batched solver, as a method among others."""

from __future__ import annotations

from collections.abc import Callable

import torch

from variform.errors import ComputationError, InputError
from variform.mesh import Mesh
from variform.problem import Problem, degrees_of
from variform.solution import Stopwatch
from variform.solvers.batched.solution import BatchedSolution
from variform.solvers.batched.solver import BatchedSolver


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    degree: int | None = None,
    steps: int = 50,
    snapshots: int = 1,
    rtol: float = 1e-10,
    device: str = "cpu",
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> BatchedSolution:
    """Galerkin's method in torch, SDIRK of order 2 in time: the same equations as `fem`, without DOLFINx.

    Args:
        mesh: a mesh, or the number of cells a side of the problem's own domain, by default what the domain says.
        degree: of the field of highest degree; each field's own by default.
        steps, snapshots: time steps, and how many states to keep (evolutions only).
        rtol: relative tolerance of Newton's method and of the linear solver.
        device: "cpu", "cuda", "cuda:1".

    Raises:
        InputError: conditions or elements that the batched solver does not take; no such device.
        ComputationError: no convergence; its `solution` is the last iterate.
    """
    watch = Stopwatch()
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise InputError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error
    with watch("mesh"):
        if not isinstance(mesh, Mesh):
            geometry, order = problem.geometry(problem.p), min(2, max(degrees_of(problem, degree).values()) or 1)
            mesh = geometry.mesh(mesh or geometry.default_cells, order)
    with watch("compile"):
        solver = BatchedSolver(problem, mesh, degree=degree, device=device)
    with watch("solve"), torch.no_grad():
        if problem.time is None:
            batch = solver.solve(rtol=rtol)
            states = [(None, {name: u[0] for name, u in batch.u.items()})]
        else:
            batch = solver.evolve(steps=steps, snapshots=snapshots, rtol=rtol, progress=progress)
            begin, end = problem.time
            times = [begin + i * (end - begin) / snapshots for i in range(snapshots + 1)]
            states = [(t, {name: u[0, i] for name, u in batch.u.items()}) for i, t in enumerate(times)]
    weak = solver.weak
    discretization = {
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "geometry_order": mesh.order,
        "elements": {name: f"{f.element} {weak.degrees[name]}" for name, f in problem.fields.items()},
        "quadrature_degree": weak.quadrature_degree,
        "rtol": rtol,
        "residual": float(batch.residual[0]),
        "newton_steps": int(batch.newton_steps[0]),
        "linear_iterations": int(batch.linear_iterations[0]),
        "device": device,
        **({} if problem.time is None else {"steps": steps}),
    }
    done = bool(batch.converged[0])
    cost = watch.cost(dofs=weak.linearised.size)
    solution = BatchedSolution(weak, states, cost, discretization, "done" if done else "failed")
    if not done:
        error = ComputationError(
            f"Newton's method or the linear solver did not converge (relative residual {float(batch.residual[0]):.1e}, "
            f"after {int(batch.newton_steps[0])} steps): is the operator elliptic, do the conditions fix the solution?"
        )
        error.solution = solution
        raise error
    return solution
