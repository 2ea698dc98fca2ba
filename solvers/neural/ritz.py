"""Ritz's method with a network as trial function: the energy is minimised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.pointwise import EVERYWHERE
from variform.mesh import Mesh
from variform.problem import Problem
from variform.solution import Stopwatch
from variform.solvers.neural.gauss_newton import Quadratic, minimise
from variform.solvers.neural.points import Points, in_regions, on_boundaries
from variform.solvers.neural.solution import NetworkSolution, geometry_and_mesh, record
from variform.solvers.neural.trial import Prepared, Trial


def solve(
    problem: Problem,
    *,
    mesh: Mesh | int | None = None,
    width: int = 24,
    depth: int = 2,
    max_steps: int = 100,
    seed: int = 0,
    quadrature_degree: int = 3,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> NetworkSolution:
    """Minimise the energy by its natural gradient: steps -(D2E(u)[du, du'])^-1 dE, du the tangents of the network.

    Dirichlet and periodic conditions hold exactly (see `Trial`); integrals are sums over the quadrature points of a
    mesh.

    Args:
        mesh: a mesh, or the number of cells a side, whose quadrature points are the integration points.
        width, depth: of the hidden tanh layers.
        max_steps: steps.
        seed: of the initial parameters.

    Raises:
        InputError: the problem has no energy.

    Source: E and Yu, Commun. Math. Stat. 6 (2018), 1 (deep Ritz); Mueller and Zeinhofer, ICML 2023 (energy natural
    gradient).
    """
    watch = Stopwatch()
    if problem.time is not None:
        raise InputError(f"{problem.name} is an evolution: it has no energy whose minimum is its solution; use pinn")
    geometry, mesh = geometry_and_mesh(problem, mesh)
    with watch("prepare"):
        trial = Trial(problem, geometry, mesh, width, depth)
        parts = _parts(trial, quadrature_degree)
    theta = trial.network.initial(seed)

    def model(theta: Tensor) -> Quadratic:
        P = len(theta)  # noqa: N806
        total, gradient, curvature = 0.0, theta.new_zeros(P), theta.new_zeros(P, P)
        for jet, density, data in parts:
            z = torch.func.vmap(jet, in_dims=(None, -1))(theta, data)
            J = torch.func.vmap(torch.func.jacrev(jet), in_dims=(None, -1))(theta, data)  # noqa: N806
            slope, value = torch.func.vmap(torch.func.grad_and_value(density), in_dims=(0, -1))(z, data)
            H = torch.func.vmap(torch.func.hessian(density), in_dims=(0, -1))(z, data)  # noqa: N806
            total += float(value.sum())
            gradient += J.reshape(-1, P).T @ slope.reshape(-1)
            curvature += J.reshape(-1, P).T @ (H @ J).reshape(-1, P)
        return Quadratic(total, gradient, curvature)

    def energy(theta: Tensor) -> float:
        total = 0.0
        for jet, density, data in parts:
            z = torch.func.vmap(jet, in_dims=(None, -1))(theta, data)
            total += float(torch.func.vmap(density, in_dims=(0, -1))(z, data).sum())
        return total

    with watch("train"):
        theta, history = minimise(model, energy, theta, max_steps=max_steps, rtol=1e-12, progress=progress)
    points = sum(data["w"].shape[-1] for _, _, data in parts)
    discretization = record(trial, seed=seed, integration_points=points, steps=len(history) - 1, energy=history[-1][1])
    return NetworkSolution(trial, theta, watch.cost(parameters=len(theta)), discretization, history)


Part = tuple[Callable[[Tensor, Any], Tensor], Callable[[Tensor, Any], Tensor], Prepared]
"""At one point: the derivatives z that the density takes, (theta, data) to (k,); the weighted density of z; the data."""


def _parts(trial: Trial, degree: int) -> list[Part]:
    densities = trial.form.energy()
    sets = [("cell", points.region, points) for points in in_regions(trial.mesh, degree)]
    sets += [("exterior_facet", points.boundary, points) for points in on_boundaries(trial.mesh, degree)]
    parts = []
    for kind, number, points in sets:
        acting = [density for (k, on), density in densities if k == kind and on in (EVERYWHERE, number)]
        if acting:
            parts.append(_part(trial, sum(acting[1:], acting[0]), points))
    return parts


def _part(trial: Trial, density: Any, points: Points) -> Part:
    directions, fields = trial.form.directions(density)
    data = trial.prepare(points, directions, fields)
    keys = [(field, component, axes) for field, component in trial.outputs for axes in sorted(directions)]

    def jet(theta: Tensor, data: Prepared) -> Tensor:
        values = trial.jet(theta, data)
        return torch.stack([values[key] for key in keys])

    def weighted(z: Tensor, data: Prepared) -> Tensor:
        return data["w"] * trial.form.evaluate(density, dict(zip(keys, z, strict=True)), trial.at(data))[()]

    return jet, weighted, data
