"""Physics-informed networks: least squares of the strong residual that is derived from the weak form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from variform.forms.pointwise import Directions
from variform.mesh import Mesh
from variform.problem import Problem
from variform.solution import Stopwatch
from variform.solvers.neural.gauss_newton import Quadratic, minimise
from variform.solvers.neural.points import in_regions, in_time, on_boundaries, on_interfaces
from variform.solvers.neural.solution import NetworkSolution, geometry_and_mesh, record
from variform.solvers.neural.trial import Prepared, Trial

Row = tuple[Callable[[Tensor, Any], Tensor], Any]
"""A residual at one point, (theta, data) to (rows,), and the data of all points (points last)."""


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    width: int = 24,
    depth: int = 2,
    max_steps: int = 100,
    seed: int = 0,
    quadrature_degree: int | None = None,
    time_points: int = 6,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> NetworkSolution:
    """Minimise 1/2 (integral of strong residual^2 + natural residual^2 on boundaries + flux jump^2 on interfaces).

    Dirichlet, periodic and initial conditions hold exactly (see `Trial`). Integrals are sums over the quadrature
    points of a mesh; an evolution is solved at once in space and time.

    Args:
        mesh: a mesh, or the number of cells a side, whose quadrature points are the collocation points; 12 by
            default, 8 in an evolution.
        width, depth: of the hidden tanh layers.
        max_steps: Gauss-Newton steps.
        seed: of the initial parameters.
        quadrature_degree: of the rule in each cell; 3 by default, 2 in an evolution.
        time_points: Gauss points in time (evolutions only).

    Raises:
        InputError: a form that has no strong form (interior-facet integrals, second derivatives of v).

    Source: Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378 (2019), 686.
    """
    watch = Stopwatch()
    geometry, mesh = geometry_and_mesh(problem, mesh)
    with watch("prepare"):
        trial = Trial(problem, geometry, mesh, width, depth)
        rows = _rows(trial, quadrature_degree or (2 if problem.time else 3), time_points)
    theta = trial.network.initial(seed)

    def model(theta: Tensor) -> Quadratic:
        P = len(theta)  # noqa: N806
        total, gradient, curvature = 0.0, theta.new_zeros(P), theta.new_zeros(P, P)
        for residual, data in rows:
            r = torch.func.vmap(residual, in_dims=(None, -1))(theta, data)
            J = torch.func.vmap(torch.func.jacrev(residual), in_dims=(None, -1))(theta, data).reshape(-1, P)  # noqa: N806
            total += 0.5 * float((r * r).sum())
            gradient += J.T @ r.reshape(-1)
            curvature += J.T @ J
        return Quadratic(total, gradient, curvature)

    def loss(theta: Tensor) -> float:
        return sum(
            0.5 * float((torch.func.vmap(residual, in_dims=(None, -1))(theta, data) ** 2).sum())
            for residual, data in rows
        )

    with watch("train"):
        theta, history = minimise(model, loss, theta, max_steps=max_steps, rtol=0.1, progress=progress)
    points = sum(data[0]["w"].shape[-1] if isinstance(data, tuple) else data["w"].shape[-1] for _, data in rows)
    discretization = record(trial, seed=seed, collocation_points=points, steps=len(history) - 1, loss=history[-1][1])
    return NetworkSolution(trial, theta, watch.cost(parameters=len(theta)), discretization, history)


def _rows(trial: Trial, degree: int, time_points: int) -> list[Row]:
    mesh, problem, form = trial.mesh, trial.problem, trial.form

    def spread(points: Any) -> Any:
        return points if problem.time is None else in_time(points, problem.time, time_points)

    rows = []
    for points in in_regions(mesh, degree):
        expressions = [form.strong(field, points.region) for field in problem.fields]
        rows.append(_row(trial, expressions, spread(points)))
    for points in on_boundaries(mesh, degree):
        free = [f for f in problem.fields if not _held(problem, mesh, f, points.boundary)]
        if free:
            expressions = [form.natural(field, points.region, points.boundary) for field in free]
            rows.append(_row(trial, expressions, spread(points)))
    for here, there in on_interfaces(mesh, degree):
        sides = []
        for points in (here, there):
            expressions = [form.normal_flux(field, points.region) for field in problem.fields]
            sides.append(_row(trial, expressions, spread(points)))
        (first, first_data), (second, second_data) = sides
        rows.append((
            lambda theta, data, a=first, b=second: a(theta, data[0]) - b(theta, data[1]), (first_data, second_data)
        ))
    return rows


def _row(trial: Trial, expressions: list[Any], points: Any) -> Row:
    """The residuals of several fields at the points, each times the square root of the point's weight."""
    directions: set[Directions] = set()
    fields: dict[str, set[Directions]] = {}
    for expression in expressions:
        unknowns, parameters = trial.form.directions(expression)
        directions |= unknowns
        for name, axes in parameters.items():
            fields.setdefault(name, set()).update(axes)
    data = trial.prepare(points, directions, fields)

    def residual(theta: Tensor, data: Prepared) -> Tensor:
        jet, at = trial.jet(theta, data), trial.at(data)
        values = [v for e in expressions for v in trial.form.evaluate(e, jet, at).values()]
        zero = 0 * data["w"]
        return torch.sqrt(data["w"]) * torch.stack([v + zero for v in values])

    return residual, data


def _held(problem: Problem, mesh: Mesh, field: str, boundary: int) -> bool:
    """A Dirichlet or periodic condition holds for the field on this boundary."""
    if problem.periodic_axes(field):
        return True  # boxes periodic in some axes only are refused by `Trial`
    name = [None, *mesh.boundaries][boundary]
    return any(name in c.names or "boundary" in c.names for c in problem.dirichlet(field))
