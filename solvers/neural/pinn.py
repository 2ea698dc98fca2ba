"""Physics-informed networks: least squares of the strong residual that is derived from the weak form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.compiled import compiled
from variform.forms.derive import is_zero
from variform.forms.laplacian import only_laplacians, spread, with_laplacians
from variform.forms.pointwise import Directions
from variform.mesh import Mesh
from variform.problem import Problem
from variform.solution import Stopwatch
from variform.solvers.neural.gauss_newton import Quadratic, minimise
from variform.solvers.neural.networks import Tape, jacobian
from variform.solvers.neural.points import Points, in_regions, in_time, on_boundaries, on_interfaces, region_numbers
from variform.solvers.neural.solution import NetworkSolution, geometry_and_mesh, record
from variform.solvers.neural.trial import Trial

Residual = Callable[[Tensor], tuple[Tensor, list[Tape]]]
"""theta -> weighted residuals (rows, n) at n points, and the tapes of the network evaluations they come from."""


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    network: str = "mlp",
    width: int | None = None,
    depth: int = 2,
    max_steps: int = 100,
    seed: int = 0,
    quadrature_degree: int | None = None,
    time_points: int = 6,
    compile: bool = False,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> NetworkSolution:
    """Minimise 1/2 (integral of strong residual^2 + natural residual^2 on boundaries + flux jump^2 on interfaces).

    Dirichlet, periodic and initial conditions hold exactly (see `Trial`). Integrals are sums over the quadrature
    points of a mesh; an evolution is solved at once in space and time.

    Args:
        mesh: a mesh, or the number of cells a side, whose quadrature points are the collocation points; 12 by
            default, 8 in an evolution.
        network: mlp, kan (splines) or chebyshev (polynomials).
        width, depth: of the hidden layers; 24 wide by default, 6 where every edge is a function of its own (kan,
            chebyshev).
        max_steps: Gauss-Newton steps.
        seed: of the initial parameters.
        quadrature_degree: of the rule in each cell; 3 by default, 2 in evolutions and in three dimensions.
        time_points: Gauss points in time (evolutions only).
        compile: residual and Jacobian compiled to C++: about a minute first, then steps are faster.

    Raises:
        InputError: a form that has no strong form (interior-facet integrals), or a fourth-order one with a clamped or
            free boundary or several regions.

    Source: Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378 (2019), 686.
    """
    watch = Stopwatch()
    geometry, mesh = geometry_and_mesh(problem, mesh)
    with watch("prepare"):
        trial = Trial(problem, geometry, mesh, width or (24 if network == "mlp" else 6), depth, network)
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
        return gradient.detach(), curvature.detach()

    @torch.no_grad()
    def loss(theta: Tensor) -> Tensor:
        return sum(0.5 * (residual(theta)[0] ** 2).sum() for residual in residuals)

    if compile:
        with watch("compile"):
            model, loss = compiled(model, theta), compiled(loss, theta)
    with watch("train"):
        theta, history = minimise(
            [model], lambda q: float(loss(q)), theta, max_steps=max_steps, rtol=0.1, progress=progress
        )
    with torch.no_grad():
        points = sum(residual(theta)[0].shape[1] for residual in residuals)
    discretization = record(
        trial,
        network,
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

    bent = _fourth_order(trial)
    residuals = []
    for points in in_regions(mesh, degree):
        expressions = [form.strong(field, points.region) for field in problem.fields]
        residuals.append(_residual(trial, expressions, spread(points)))
    for points in on_boundaries(mesh, degree):
        free = [f for f in problem.fields if not _held(problem, mesh, f, points.boundary)]
        expressions = [form.natural(field, points.region, points.boundary) for field in free]
        expressions += [form.natural_moment(field, points.region, points.boundary) for field in bent]
        if expressions:
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


def _fourth_order(trial: Trial) -> list[str]:
    """The fields whose normal derivative is free on the boundary, where the bending moment vanishes.

    Raises:
        InputError: fourth-order problems whose conditions nothing here meets.
    """
    problem, form, mesh = trial.problem, trial.form, trial.mesh
    regions = {int(number) for number in region_numbers(mesh)}
    fields = [f for f in problem.fields if any(not is_zero(form.source_and_flux(f, r).moment) for r in regions)]
    if not fields:
        return []
    stabilisation = problem.stabilisation(form.symbols, form.v)
    if stabilisation is not None and any(i.integral_type() == "exterior_facet" for i in stabilisation.integrals()):
        raise InputError(
            f"{problem.name} holds the normal derivative on the boundary by its stabilisation, which only finite "
            "elements take: use fem"
        )
    if len(regions) > 1:
        raise InputError("fourth-order problems with several regions: use fem")
    boundaries = range(len(mesh.boundaries) + 1)
    if not all(_held(problem, mesh, f, b) for f in fields for b in boundaries if b or not mesh.boundaries):
        raise InputError("fourth-order problems with a free boundary, whose corners carry forces: use fem")
    return [f for f in fields if not problem.periodic_axes(f)]


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
    dim, carried = trial.mesh.dim, directions
    laplacians = only_laplacians(trial.form, expressions)
    if laplacians:
        carried = with_laplacians(directions, dim)
    data = trial.prepare(points, carried, fields)
    weight, at = torch.sqrt(data["w"]), trial.at(data)

    def residual(theta: Tensor) -> tuple[Tensor, list[Tape]]:
        tape: Tape = []
        jet = trial.jet(theta, data, tape)
        if laplacians:
            jet = spread(jet, dim)
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
