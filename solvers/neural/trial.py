"""Trial functions that meet Dirichlet, periodic and initial conditions exactly: u = lift + factor * network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform.errors import InputError, unknown
from variform.forms.interpret import Interpreter, lower
from variform.forms.jets import Jets, Key, add, closure, jet_of, product
from variform.forms.pointwise import At, Directions, PointwiseForm
from variform.mesh import Mesh
from variform.meshes import Geometry
from variform.problem import Dirichlet, Periodic, Problem, resolve
from variform.solvers.neural.networks import Tape, network_of
from variform.solvers.neural.points import Points, region_numbers
from variform.task import evaluate

Prepared = dict[str, Any]
"""What depends on the points alone, computed once; every tensor ends in the axis of the points."""


class Trial:
    """u = lift(x, t) + distance(x) tau(t) N(features(x, t)).

    The lift interpolates the Dirichlet values (inverse-distance weights) and starts at the initial values; tau
    vanishes at the first time. On an interface between regions the gradient may jump: the modulus of the signed
    distance to it is a further input (Tseng, Lin, Hu and Lai, J. Comput. Phys. 491 (2023), 112359).

    Source: Sukumar and Srivastava, Comput. Methods Appl. Mech. Engrg. 389 (2022), 114333.
    """

    def __init__(
        self, problem: Problem, geometry: Geometry, mesh: Mesh, width: int, depth: int, network: str = "mlp"
    ) -> None:
        check_conditions(problem)
        self.problem, self.geometry, self.mesh = problem, geometry, mesh
        self.form = PointwiseForm(problem, mesh.dim, tuple(mesh.regions), tuple(mesh.boundaries))
        self.outputs = [(f, c) for f, spec in problem.fields.items() for c in np.ndindex(*spec.shape)]
        self.axes = sorted({a for f in problem.fields for a in problem.periodic_axes(f)})
        if any(problem.periodic_axes(f) not in ((), tuple(range(mesh.dim))) for f in problem.fields) or (
            self.axes and not all(problem.periodic_axes(f) for f in problem.fields)
        ):
            raise InputError("networks take boxes that are periodic along every axis, in every field, or along none")
        self._sides = self._sides_of_regions()
        num_features = len(self._features(self._middle(), next(iter(self._sides.values()))))
        self.network = network_of(network, (num_features, *[width] * depth, len(self.outputs)))
        self._lifts = {f: self._lift_expressions(f) for f in problem.fields}

    def prepare(self, points: Points, directions: Iterable[Key], fields: dict[str, set[Directions]]) -> Prepared:
        """Jets of features, lift and factor, and of the parameter fields, at a set of points."""
        return self.prepare_at(
            torch.as_tensor(points.x),
            None if points.t is None else torch.as_tensor(points.t),
            self._sides[points.region],
            directions,
            fields,
        ) | {
            "w": torch.as_tensor(points.w),
            "n": torch.zeros_like(torch.as_tensor(points.x))
            if points.normal is None
            else torch.as_tensor(points.normal),
        }

    def prepare_at(
        self,
        x: Tensor,
        t: Tensor | None,
        sides: tuple[float, ...],
        directions: Iterable[Key],
        fields: dict[str, set[Directions]],
    ) -> Prepared:
        """The same without weights; sides holds the sign of every level set."""
        z = x if t is None else torch.cat([x, t[None]])
        needed = closure(directions)
        features = range(len(self._features(z[:, :1], sides)))
        return {
            "x": x,
            "t": torch.zeros_like(x[0]) if t is None else t,
            "features": _constants_once(
                _stacked(jet_of(lambda q, i=i: self._features(q, sides)[i], z, needed) for i in features)
            ),
            "lift": _stacked(jet_of(lambda q, f=f, c=c: self._lift(f, c, q), z, needed) for f, c in self.outputs),
            "factor": _stacked(jet_of(lambda q, f=f: self._factor(f, q), z, needed) for f, _ in self.outputs),
            "parameters": {
                (name, axes): value
                for name, asked in fields.items()
                for axes, value in jet_of(
                    lambda q, name=name: evaluate(self.problem.values[name], q[: self.mesh.dim]), z, asked
                ).items()
            },
        }

    def jet(
        self, theta: Tensor, data: Prepared, tape: Tape | None = None
    ) -> dict[tuple[str, tuple[int, ...], Key], Tensor]:
        """Values and derivatives (n,) of every component at the points that were prepared."""
        network = self.network.jet(theta, data["features"], tape)
        whole = add(data["lift"], product(data["factor"], network))
        return {
            (field, component, key): value[i]
            for key, value in whole.items()
            for i, (field, component) in enumerate(self.outputs)
        }

    def at(self, data: Prepared) -> At:
        """Where the form is evaluated."""
        return At(data["x"], data["parameters"], data["t"], data.get("n"))

    def sides_at(self, x: Tensor) -> Tensor:
        """The sign of every level set at points (dim, n), shape (levels, n)."""
        levels = self.geometry.level_sets(x)
        return torch.stack([torch.where(level < 0, -1.0, 1.0) for level in levels]) if levels else x[:0]

    def _features(self, z: Tensor, sides: tuple[float, ...]) -> list[Tensor]:
        lower, upper = (np.asarray(b, dtype=float) for b in (self.geometry.lower, self.geometry.upper))
        features = []
        for i in range(self.mesh.dim):
            unit = (z[i] - lower[i]) / (upper[i] - lower[i])
            if i in self.axes:
                features += [torch.sin(2 * torch.pi * unit), torch.cos(2 * torch.pi * unit)]
            else:
                features.append(2 * unit - 1)
        if self.problem.time:
            start, end = self.problem.time
            features.append(2 * (z[self.mesh.dim] - start) / (end - start) - 1)
        size = float((upper - lower).max())
        levels = self.geometry.level_sets(z[: self.mesh.dim])
        return features + [2 * side * level / size for side, level in zip(sides, levels, strict=True)]

    def _lift(self, field: str, component: tuple[int, ...], z: Tensor) -> Tensor:
        x, dim = z[: self.mesh.dim], self.mesh.dim
        conditions, values, initial = self._lifts[field]

        def boundary(t: Any) -> Tensor:
            if not conditions:
                return 0 * z[0]
            distances = [self.geometry.distance(x, c.names) for c in conditions]
            weights = _inverse_distance_weights(distances)
            terms = [w * self._value(g, component, x, t) for w, g in zip(weights, values, strict=True)]
            return sum(terms)

        if self.problem.time is None:
            return boundary(0.0)
        start = self.problem.time[0]
        return self._value(initial, component, x, start) + boundary(z[dim]) - boundary(start)

    def _factor(self, field: str, z: Tensor) -> Tensor:
        names = tuple(name for c in self.problem.dirichlet(field) for name in c.names)
        factor = self.geometry.distance(z[: self.mesh.dim], names) if names else torch.ones_like(z[0])
        if self.problem.time:
            start, end = self.problem.time
            factor = factor * (z[self.mesh.dim] - start) / (end - start)
        return factor + 0 * z[0]

    def _value(self, expression: Any, component: tuple[int, ...], x: Tensor, t: Any) -> Tensor:
        leaf = self.form._leaf({}, At(x, {}, t))
        return Interpreter(leaf).scalar(expression, component) + 0 * x[0]

    def _lift_expressions(self, field: str) -> tuple[list[Any], list[Any], Any]:
        s, problem = self.form.symbols, self.problem
        conditions = problem.dirichlet(field)
        known = {*self.mesh.boundaries, "boundary"}
        for name in (n for c in conditions for n in c.names):
            if name not in known:
                raise unknown("boundary of the mesh", name, self.mesh.boundaries)
        values = [lower(resolve(c, problem.fields[field].shape, s.x, s.t, s.p)) for c in conditions]
        initial = problem.by_field(problem.initial(s.x, s.p)).get(field) if problem.time else None
        shape = problem.fields[field].shape
        return conditions, values, lower(initial if initial is not None else ufl.zero(shape))

    def _sides_of_regions(self) -> dict[int, tuple[float, ...]]:
        middles = torch.as_tensor(self.mesh.points[self.mesh.cells].mean(axis=1).T.copy())
        signs = self.sides_at(middles).numpy()
        numbers = region_numbers(self.mesh)
        sides = {}
        for region in np.unique(numbers):
            own = signs[:, numbers == region]
            if (own != own[:, :1]).any():
                raise InputError("a region lies on both sides of an interface: it has no one-sided gradient there")
            sides[int(region)] = tuple(own[:, 0].tolist())
        return sides

    def _middle(self) -> Tensor:
        x = torch.as_tensor(self.mesh.points.mean(axis=0))[:, None]
        return torch.cat([x, torch.zeros_like(x[:1])]) if self.problem.time else x


def _inverse_distance_weights(distances: list[Tensor]) -> list[Tensor]:
    """w_i = prod_(j != i) d_j^2 / sum_k prod_(j != k) d_j^2: 1 on part i, 0 on the others."""
    if len(distances) == 1:
        return [torch.ones_like(distances[0])]
    squares = [d * d for d in distances]
    products = []
    for i in range(len(squares)):
        others = [s for j, s in enumerate(squares) if j != i]
        total = others[0]
        for other in others[1:]:
            total = total * other
        products.append(total)
    return [q / sum(products) for q in products]


def _stacked(jets: Iterable[Jets]) -> Jets:
    """One axis for the components ahead of the points."""
    jets = list(jets)
    return {key: torch.stack([jet[key] for jet in jets]) for key in jets[0]}


def _constants_once(a: Jets) -> Jets:
    """One point stands for all where a derivative is the same at all."""
    return {key: value[:, :1] if key != () and (value == value[:, :1]).all() else value for key, value in a.items()}


def check_conditions(problem: Problem) -> None:
    """Refuse what no trial function here meets: conditions on components, points and means, and H(div) or H(curl).

    Raises:
        InputError: with the condition or the element.
    """
    for name, field in problem.fields.items():
        if field.element not in ("Lagrange", "DG"):
            raise InputError(f"field {name!r} is of element {field.element}: only finite elements take it")
    for condition in problem.conditions:
        if not isinstance(condition, (Dirichlet, Periodic)):
            raise InputError(
                f"{type(condition).__name__}({condition.field!r}): only finite elements take this condition"
            )
        if isinstance(condition, Dirichlet) and condition.component is not None:
            raise InputError(
                f"a Dirichlet condition on component {condition.component} of {condition.field!r}: "
                "only finite elements take one on a single component"
            )
