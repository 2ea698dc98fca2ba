"""Physics-informed networks: least squares of the strong residual that is derived from the weak form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.pointwise import Directions
from variform.mesh import Mesh
from variform.problem import Problem
from variform.solution import Stopwatch
from variform.solvers.neural.gauss_newton import Quadratic, minimise
from variform.solvers.neural.mlp import Tape, jacobian
from variform.solvers.neural.points import Points, in_regions, in_time, on_boundaries, on_interfaces
from variform.solvers.neural.solution import NetworkSolution, geometry_and_mesh, record
from variform.solvers.neural.trial import Trial

Residual = Callable[[Tensor], tuple[Tensor, list[Tape]]]
"""theta -> weighted residuals (rows, n) at n points, and the tapes of the network evaluations they come from."""


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
        quadrature_degree: of the rule in each cell; 3 by default, 2 in evolutions and in three dimensions.
        time_points: Gauss points in time (evolutions only).

    Raises:
        InputError: a form that has no strong form (interior-facet integrals, second derivatives of v).

    Source: Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378 (2019), 686.
    """
    watch = Stopwatch()
    geometry, mesh = geometry_and_mesh(problem, mesh)
    with watch("prepare"):
        trial = Trial(problem, geometry, mesh, width, depth)
        residuals = _residuals(trial, quadrature_degree or (2 if problem.time or mesh.dim == 3 else 3), time_points)
    theta = trial.network.initial(seed)

    def model(theta: Tensor) -> Quadratic:
        theta = theta.detach().requires_grad_()
        gradient, curvature = torch.zeros_like(theta), theta.new_zeros(len(theta), len(theta))
        for residual in residuals:
            r, tapes = residual(theta)
            J = sum(jacobian(r, tape) for tape in tapes).reshape(-1, len(theta))
            r = r.detach().reshape(-1)
            gradient += J.T @ r
            curvature += J.T @ J
        return gradient.detach(), curvature

    @torch.no_grad()
    def loss(theta: Tensor) -> float:
        return sum(0.5 * float((residual(theta)[0] ** 2).sum()) for residual in residuals)

    with watch("train"):
        theta, history = minimise([model], loss, theta, max_steps=max_steps, rtol=0.1, progress=progress)
    with torch.no_grad():
        points = sum(residual(theta)[0].shape[1] for residual in residuals)
    discretization = record(
        trial,
        seed=seed,
        collocation_points=points,
        steps=len(history) - 1,
        residual=(2 * history[-1][1]) ** 0.5,  # the L2 norm that was minimised
    )
    return NetworkSolution(trial, theta, watch.cost(parameters=len(theta)), discretization, history)


def _residuals(trial: Trial, degree: int, time_points: int) -> list[Residual]:
    mesh, problem, form = trial.mesh, trial.problem, trial.form

    def spread(points: Points) -> Points:
        return points if problem.time is None else in_time(points, problem.time, time_points)

    residuals = []
    for points in in_regions(mesh, degree):
        expressions = [form.strong(field, points.region) for field in problem.fields]
        residuals.append(_residual(trial, expressions, spread(points)))
    for points in on_boundaries(mesh, degree):
        free = [f for f in problem.fields if not _held(problem, mesh, f, points.boundary)]
        if free:
            expressions = [form.natural(field, points.region, points.boundary) for field in free]
            residuals.append(_residual(trial, expressions, spread(points)))
    for here, there in on_interfaces(mesh, degree):
        residuals.append(
            _difference(
                *(
                    _residual(trial, [form.normal_flux(field, side.region) for field in problem.fields], spread(side))
                    for side in (here, there)
                )
            )
        )
    return residuals


def _residual(trial: Trial, expressions: list[Any], points: Points) -> Residual:
    """Expressions of the form at the points, each times the square root of the point's weight."""
    directions: set[Directions] = set()
    fields: dict[str, set[Directions]] = {}
    for expression in expressions:
        unknowns, parameters = trial.form.directions(expression)
        directions |= unknowns
        for name, axes in parameters.items():
            fields.setdefault(name, set()).update(axes)
    for name, axes in fields.items():
        if any(axes) and not trial.problem.parameters[name].smooth:
            raise InputError(
                f"the strong form takes the gradient of {name!r}, which is not smooth; use fem or ritz, which do not"
            )
    data = trial.prepare(points, directions, fields)
    weight, at = torch.sqrt(data["w"]), trial.at(data)

    def residual(theta: Tensor) -> tuple[Tensor, list[Tape]]:
        tape: Tape = []
        jet = trial.jet(theta, data, tape)
        values = [v for e in expressions for v in trial.form.evaluate(e, jet, at).values()]
        return torch.stack([weight * v for v in values]), [tape]

    return residual


def _difference(first: Residual, second: Residual) -> Residual:
    def residual(theta: Tensor) -> tuple[Tensor, list[Tape]]:
        (a, tapes), (b, more) = first(theta), second(theta)
        return a - b, tapes + more

    return residual


def _held(problem: Problem, mesh: Mesh, field: str, boundary: int) -> bool:
    """A Dirichlet or periodic condition holds for the field on this boundary."""
    if problem.periodic_axes(field):
        return True  # along every axis, as `Trial` makes sure
    name = [None, *mesh.boundaries][boundary]
    return any(name in c.names or "boundary" in c.names for c in problem.dirichlet(field))
