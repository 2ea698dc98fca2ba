"""Ritz's method with a network as trial function: the energy is minimised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE
from variform.mesh import Mesh
from variform.problem import Problem
from variform.quadrature import reference_rule
from variform.solution import Stopwatch
from variform.solvers.neural.gauss_newton import Quadratic, minimise
from variform.solvers.neural.networks import Tape, jacobian
from variform.solvers.neural.points import Points, in_regions, on_boundaries
from variform.solvers.neural.solution import NetworkSolution, geometry_and_mesh, record
from variform.solvers.neural.trial import Trial


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
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> NetworkSolution:
    """Minimise the energy by its natural gradient: steps -(D2E(u)[du, du'])^-1 dE, du the tangents of the network.

    Dirichlet and periodic conditions hold exactly (see `Trial`); integrals are sums over the quadrature points of a
    mesh.

    Between the points of one rule a network can fall below the energy's minimum: the steps take several rules in
    turn, and each must lower the mean of their sums.

    Args:
        mesh: a mesh, or the number of cells a side, whose quadrature points are the integration points; 12 by default.
        network: mlp, kan (splines) or chebyshev (polynomials).
        width, depth: of the hidden layers; 16 wide by default, 6 where every edge is a function of its own (kan,
            chebyshev).
        max_steps: steps.
        seed: of the initial parameters.
        quadrature_degree: of the first of three rules (two in 3D) in each cell; by default 8, 6, 2 in one, two,
            three dimensions.

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
        trial = Trial(problem, geometry, mesh, width or (16 if network == "mlp" else 6), depth, network)
        degree = quadrature_degree or {1: 8, 2: 6, 3: 2}[mesh.dim]
        rules = [_parts(trial, d) for d in _positive_degrees(mesh, degree)]
    theta = trial.network.initial(seed)

    def model(parts: list[Part], theta: Tensor) -> Quadratic:
        theta = theta.detach().requires_grad_()
        P = len(theta)
        gradient, curvature = theta.new_zeros(P), theta.new_zeros(P, P)
        for part in parts:
            tape: Tape = []
            z = part.jet(theta, tape)
            J = jacobian(z, tape).transpose(0, 1)
            slope, H = _derivatives(part, z.detach())
            gradient += J.reshape(-1, P).T @ slope.reshape(-1)
            curvature += J.reshape(-1, P).T @ (H @ J).reshape(-1, P)
        return gradient, curvature

    @torch.no_grad()
    def energy(theta: Tensor) -> float:
        sums = [sum(float(part.density(part.jet(theta)).sum()) for part in parts) for parts in rules]
        return sum(sums) / len(sums)

    with watch("train"):
        theta, history = minimise(
            [partial(model, parts) for parts in rules], energy, theta, max_steps=max_steps, rtol=1e-7, progress=progress
        )
    points = sum(part.num_points for parts in rules for part in parts)
    discretization = record(
        trial, network, seed=seed, integration_points=points, steps=len(history) - 1, energy=history[-1][1]
    )
    return NetworkSolution(trial, theta, watch.cost(parameters=len(theta)), discretization, history)


@dataclass(frozen=True)
class Part:
    """One term of the energy: a weighted density of derivatives z, summed over points.

    jet: (theta, tape) to z (k, n); density: z to (n,).
    """

    jet: Callable[..., Tensor]
    density: Callable[[Tensor], Tensor]
    num_points: int


def _positive_degrees(mesh: Mesh, lowest: int) -> list[int]:
    """The first degrees of rules that differ and have no negative weights: three, two where points are many (3D)."""
    count = 2 if mesh.dim == 3 else 3
    degrees: list[int] = []
    sizes: set[int] = set()
    for degree in range(lowest, lowest + 20):
        _, weights = reference_rule(mesh.cell_type, degree)
        if (weights > 0).all() and len(weights) not in sizes and len(degrees) < count:
            degrees.append(degree)
            sizes.add(len(weights))
    return degrees


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

    def jet(theta: Tensor, tape: Tape | None = None) -> Tensor:
        values = trial.jet(theta, data, tape)
        return torch.stack([values[key] for key in keys])

    at = trial.at(data)

    def weighted(z: Tensor) -> Tensor:
        return data["w"] * trial.form.evaluate(density, dict(zip(keys, z, strict=True)), at)[()]

    return Part(jet, weighted, len(data["w"]))


def _derivatives(part: Part, z: Tensor) -> tuple[Tensor, Tensor]:
    """First (n, k) and second (n, k, k) derivatives of the density in z, point by point."""
    z = z.requires_grad_()
    (slope,) = torch.autograd.grad(part.density(z).sum(), z, create_graph=True)
    rows = [
        torch.autograd.grad(row.sum(), z, retain_graph=True, materialize_grads=True)[0]
        if row.requires_grad
        else torch.zeros_like(z)
        for row in slope
    ]
    return slope.detach().T, torch.stack(rows).permute(2, 0, 1)
