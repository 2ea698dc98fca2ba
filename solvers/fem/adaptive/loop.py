"""The adaptive loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from variform.errors import ComputationError, InputError, unknown
from variform.mesh import Mesh
from variform.meshes import refine
from variform.problem import Periodic, Problem, degrees_of
from variform.solution import Stopwatch
from variform.solvers.fem.adaptive.equilibrated import EquilibratedFlux
from variform.solvers.fem.adaptive.goal import DualWeighted
from variform.solvers.fem.adaptive.residual import derivatives, residual_indicators
from variform.solvers.fem.discretize import Discrete, discretize
from variform.solvers.fem.eigen import EigenSolution
from variform.solvers.fem.linear import parse
from variform.solvers.fem.mesh import distribute
from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.solve import solve as solve_once
from variform.solvers.fem.stationary import solve_stationary

ESTIMATORS = {
    "equilibrated": "guaranteed bound of the energy error of diffusion, relative to the energy of the solution",
    "goal": "dual-weighted estimate of the error of the problem's goal, relative to its value",
    "residual": "derived from the form; relative error in H1 (in H2 of fourth order, of the first eigenvalue of an "
    "eigenproblem), calibrated",
}


def solve(
    problem: Problem,
    *,
    target: float | None = None,
    estimator: str = "",
    mesh: Mesh | int | None = None,
    degree: int | None = None,
    theta: float = 0.5,
    max_dofs: int = 100_000,
    count: int = 6,
    shift: str = "",
    rtol: float = 1e-10,
    petsc: str = "",
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> FemSolution:
    """Solve, estimate the error, refine where it comes from, until it is below the target.

    Args:
        target: relative error to reach; without one, as many steps as `max_dofs` allows.
        estimator: one of ESTIMATORS; by default "equilibrated" where it fits, else "residual".
        mesh: the first mesh; by default an eighth of the problem's cells a side.
        theta: cells are marked that make this part of the estimate (Dörfler).
        max_dofs: no mesh with more is refined.
        count, shift: of an eigenproblem, how many eigenvalues above which number; the first one's error is estimated.
        rtol, petsc: as of `fem.solve`.

    Returns:
        The last solution; its `adaptation` lists cells, dofs, estimate (relative) and, where an exact solution is
        known, error and effectivity of every step.

    Raises:
        InputError: an evolution, or an estimator that does not fit the problem.
        ComputationError: the target was missed; its `solution` is the last one.

    Source: Dörfler, SIAM J. Numer. Anal. 33 (1996), 1106.
    """
    _check(problem, estimator, target, theta)
    options = {"rtol": rtol, "petsc": petsc}
    if problem.is_eigenproblem:
        options |= {"count": count, "target": shift}
    if not isinstance(mesh, Mesh):
        geometry, order = problem.geometry(problem.p), min(2, max(degrees_of(problem, degree).values()) or 1)
        mesh = geometry.mesh(mesh or max(2, geometry.default_cells // 8), order)
    if mesh.order > 1:
        raise InputError("a curved mesh can only be refined everywhere: adapt on domains with straight sides")
    steps: list[dict[str, Any]] = []
    watch, calibration, solution = Stopwatch(), None, None
    while True:
        solution = _solve(problem, mesh, degree, options, solution)
        estimator = estimator or _fitting(solution)
        with watch("estimate"):
            if estimator == "residual" and calibration is None:
                calibration = _calibrate(problem, solution, degree, options)
            relative, squares = _estimate(solution, estimator, calibration)
        steps.append(_row(problem, solution, relative, estimator))
        met = target is not None and relative <= target
        progress(_fraction(steps, target), f"{solution.cost.dofs} dofs, estimate {relative:.2e}")
        if met or solution.cost.dofs > max_dofs or relative == 0:
            break
        with watch("refine"):
            mesh = refine(mesh, mark(_gathered(solution, squares), theta))
    _finish(solution, steps, watch, estimator, calibration)
    if target is not None and not met:
        error = ComputationError(
            f"the target {target:g} was missed: the estimate is {relative:.3g} with {solution.cost.dofs} dofs; raise "
            "max_dofs, or the degree"
        )
        error.solution = solution
        raise error
    return solution


def _solve(
    problem: Problem, mesh: Mesh, degree: int | None, options: dict[str, Any], before: FemSolution | None
) -> FemSolution:
    """On the next mesh: Newton's method starts from the solution on the last one."""
    if before is None or before.discretization.get("newton_steps", 0) < 2:
        return solve_once(problem, mesh=mesh, degree=degree, **options)
    watch = Stopwatch()
    discrete = discretize(problem, distribute(mesh), degree)
    before.restore()
    for name, u in discrete.u.items():
        if problem.fields[name].element == "Real":
            u.x.array[:] = before.discrete.u[name].x.array
        else:
            _transfer(before.discrete.u[name], u)
    try:
        system, counts = solve_stationary(discrete, rtol=options["rtol"], petsc=parse(options["petsc"]), watch=watch)
    except ComputationError:  # a good start need not be one for a problem with several solutions
        return solve_once(problem, mesh=mesh, degree=degree, **options)
    state = {name: u.x.array.copy() for name, u in discrete.u.items()}
    more = {"cells": len(mesh.cells), "residual": system.residual_norm(), **counts}
    cost = watch.cost(dofs=discrete.num_dofs)
    return FemSolution(discrete, [(None, state)], cost, before.discretization | more, "done")


def _fraction(steps: list[dict[str, Any]], target: float | None) -> float:
    """How much of the way to the target is done, in powers of ten."""
    first, last = steps[0]["estimate"], steps[-1]["estimate"]
    if target is None:
        return 0.0
    return 1.0 if last <= target else max(0.0, math.log(first / last) / math.log(first / target))


def _transfer(source: fem.Function, target: fem.Function) -> None:
    """Interpolate to another mesh of the same domain."""
    V = target.function_space
    cells = np.arange(V.mesh.topology.index_map(V.mesh.topology.dim).size_local, dtype=np.int32)
    data = fem.create_interpolation_data(V, source.function_space, cells, padding=1e-8)
    target.interpolate_nonmatching(source, cells, data)
    target.x.scatter_forward()


def mark(squares: np.ndarray, theta: float) -> np.ndarray:
    """The fewest cells whose indicators make up theta of the sum: their numbers.

    Args:
        squares: of the indicators, shape (num_cells,), not negative.
    """
    order = np.argsort(-squares, kind="stable")
    total = np.cumsum(squares[order])
    return order[: int(np.searchsorted(total, theta * total[-1] * (1 - 1e-12))) + 1]


def _check(problem: Problem, estimator: str, target: float | None, theta: float) -> None:
    if problem.time is not None:
        raise InputError(
            f"{problem.name} is an evolution: adaptive meshes are for stationary problems and eigenproblems"
        )
    if problem.is_complex:
        raise InputError(f"{problem.name} is complex: adaptive meshes are for real problems")
    if problem.conditions_of(Periodic):
        raise InputError(f"{problem.name} is periodic: refined meshes would not match from side to side")
    if estimator and estimator not in ESTIMATORS:
        raise unknown("estimator", estimator, ESTIMATORS)
    if problem.is_eigenproblem and estimator not in ("", "residual"):
        raise InputError(f"estimator {estimator!r} is not for eigenproblems: take 'residual'")
    if target is not None and not 0 < target < math.inf:
        raise InputError(f"the target must be above 0, got {target}")
    if not 0 < theta <= 1:
        raise InputError(f"theta must be above 0 and at most 1, got {theta}")


def _fitting(solution: FemSolution) -> str:
    if isinstance(solution, EigenSolution):
        return "residual"
    try:
        EquilibratedFlux(solution.discrete)
    except InputError:
        return "residual"
    return "equilibrated"


def _estimate(solution: FemSolution, estimator: str, calibration: float | None) -> tuple[float, np.ndarray]:
    """The relative estimate, and the squares of the indicators of this rank's cells."""
    discrete = solution.discrete
    solution.restore()
    if estimator == "equilibrated":
        flux = EquilibratedFlux(discrete)
        squares = flux.indicators()
        solution.guaranteed = flux.guaranteed
        return math.sqrt(_sum(discrete, squares) / flux.energy()), squares
    if estimator == "goal":
        dual = DualWeighted(discrete)
        return abs(dual.error / dual.value) if dual.value else abs(dual.error), dual.indicators()
    squares = residual_indicators(discrete, _eigen_residual(solution))
    total = _sum(discrete, squares)
    if isinstance(solution, EigenSolution):
        return float(calibration * total / abs(solution.eigenvalues[0])), squares
    return calibration * math.sqrt(total) / _seminorm(solution), squares


def _eigen_residual(solution: FemSolution) -> Any:
    """a - lambda m at the first mode; None for other problems."""
    if not isinstance(solution, EigenSolution):
        return None
    discrete = solution.discrete
    a, m = discrete.problem.eigen(discrete.symbols, discrete.v)
    return a - fem.Constant(discrete.domain.mesh, float(solution.eigenvalues[0])) * m


def _calibrate(problem: Problem, solution: FemSolution, degree: int | None, options: dict[str, Any]) -> float:
    """The error by a solution of one degree more on the first mesh, over the estimator there."""
    top = max(solution.discrete.degrees.values())
    finer = solve_once(problem, mesh=solution.mesh, degree=top + 1, **options)
    solution.restore()
    total = _sum(solution.discrete, residual_indicators(solution.discrete, _eigen_residual(solution)))
    if isinstance(solution, EigenSolution):
        return float(abs(solution.eigenvalues[0] - finer.eigenvalues[0]) / total)
    return _distance(solution, finer) / math.sqrt(total)


def _distance(solution: FemSolution, finer: FemSolution) -> float:
    """Between two solutions, in the seminorm of the energy."""
    name = _measured(solution)
    solution.restore()
    finer.restore()
    coarse, fine = solution.discrete.u[name], finer.discrete.u[name]
    difference = fem.Function(fine.function_space)
    _transfer(coarse, difference)
    return _seminorm(finer, lambda u: u - difference)


def _measured(solution: FemSolution) -> str:
    return next(n for n, f in solution.discrete.problem.fields.items() if f.element == "Lagrange")


def _seminorm(solution: FemSolution, of: Callable[[Any], Any] = lambda u: u) -> float:
    """Of as many derivatives as the energy has, in the cells."""
    name, order = _measured(solution), derivatives(solution.discrete)

    def square(s: Any) -> Any:
        f = ufl.grad(of(s.u[name]))
        f = ufl.grad(f) if order == 2 else f
        return ufl.inner(f, f) * s.dx

    return math.sqrt(solution.functional(square))


def _row(problem: Problem, solution: FemSolution, relative: float, estimator: str) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": len(solution.mesh.cells), "dofs": solution.cost.dofs, "estimate": relative}
    if isinstance(solution, EigenSolution):
        exact = problem.reference().get("eigenvalue_1")
        error = abs(solution.eigenvalues[0] / exact - 1) if exact else None
    elif estimator == "goal":
        return row
    else:
        errors = solution.exact_errors()
        error = errors.get("relative_energy" if estimator == "equilibrated" else "relative_h1")
        if errors and derivatives(solution.discrete) == 2:
            s = solution.discrete.symbols
            exact = problem.by_field(problem.exact(s.x, s.t, s.p))[_measured(solution)]
            error = _seminorm(solution, lambda u: u - exact) / _seminorm(solution)
    if error:
        row |= {"error": float(error), "effectivity": float(relative / error)}
    return row


def _gathered(solution: FemSolution, squares: np.ndarray) -> np.ndarray:
    """The squares of all ranks, in the order of the mesh's cells."""
    topology, comm = solution.discrete.domain.mesh.topology, solution.discrete.comm
    result = np.zeros(len(solution.mesh.cells))
    for cells, part in comm.allgather((topology.original_cell_index[: len(squares)], squares)):
        result[cells] = part
    return result


def _sum(discrete: Discrete, squares: np.ndarray) -> float:
    return float(discrete.comm.allreduce(squares.sum()))


def _finish(
    solution: FemSolution, steps: list[dict[str, Any]], watch: Stopwatch, estimator: str, calibration: float | None
) -> None:
    """Put what was done into the solution's record."""
    solution.adaptation = steps
    discrete = solution.discrete
    doubled = isinstance(solution, EigenSolution) or estimator == "goal"  # they are quadratic in the error
    powers = max(discrete.degrees.values()) + 1 - derivatives(discrete)
    solution.optimal_rate = (2 if doubled else 1) * powers / solution.mesh.dim
    kind = "bound" if getattr(solution, "guaranteed", False) else "estimate"
    solution.discretization |= {"estimator": estimator, kind: steps[-1]["estimate"], "adaptation": steps}
    if calibration is not None:
        solution.discretization |= {"calibration": calibration}
    solution.cost = watch.cost(dofs=solution.cost.dofs)
