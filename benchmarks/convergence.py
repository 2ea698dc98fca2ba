"""Convergence studies: one problem on ever finer meshes by finite elements, observed orders beside those of theory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from variform import solvers
from variform.benchmarks.metrics import Extrapolation, extrapolate
from variform.mesh import Mesh
from variform.meshes import MeshGeometry, refine
from variform.problem import Problem
from variform.quadrature import cell_quadrature
from variform.solution import Solution

NORMS = ("relative_l2", "relative_h1", "relative_energy")
TOLERANCE = 0.1
"""By how much a last rate may differ from theory."""
ROUNDING = 1e-11
"""Relative errors below it are rounding: there is no rate to see."""
TIME_ORDER = 2
"""Of the time stepper: an evolution, whose steps are halved with the mesh, converges no faster."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Verdict:
    """A last observed rate beside theory: `error` is NaN where there are too few levels."""

    field: str
    norm: str
    rate: float
    theory: float
    error: float

    @property
    def ok(self) -> bool:
        return self.error < ROUNDING or abs(self.rate - self.theory) <= TOLERANCE

    def __str__(self) -> str:
        start = f"{self.field} {self.norm}: "
        if self.error < ROUNDING:
            return start + f"exact to rounding ({self.error:.0e}): ok"
        found = "ok" if self.ok else f"off by {abs(self.rate - self.theory):.2g}"
        return start + f"last rate {self.rate:.2f}, theory {self.theory:g}: {found}"


@dataclass(frozen=True)
class Quantity:
    """One quantity on every level. reference: published or exact, None where there is none."""

    values: list[float]
    reference: float | None
    extrapolated: Extrapolation | None
    """Of the last three levels; None where there are fewer."""

    @property
    def target(self) -> float:
        """What errors are measured against: the reference, else Richardson's limit, else NaN."""
        if self.reference is not None:
            return self.reference
        return self.extrapolated.limit if self.extrapolated else float("nan")

    @property
    def errors(self) -> list[float]:
        """Relative to the target; absolute where that is zero."""
        return [abs(value - self.target) / (abs(self.target) or 1.0) for value in self.values]


@dataclass(frozen=True)
class Study:
    """A finished study; lists run over the levels, from coarse to fine.

    Args:
        h: mesh sizes [m]: (volume / cells)^(1 / dim).
        exact: fields whose errors are to the exact solution. Those of the others are the differences to the next
            finer level, one fewer, with the same rate.
        errors: field -> norm -> errors.
        orders: field -> norm -> the order that theory promises.
        finest: the solution on the last level.
    """

    h: list[float]
    cells: list[int]
    dofs: list[int]
    wall_s: list[float]
    exact: set[str]
    errors: dict[str, dict[str, list[float]]]
    orders: dict[str, dict[str, float]]
    quantities: dict[str, Quantity]
    finest: Solution

    def rates(self, errors: list[float]) -> list[float]:
        """Observed orders between successive levels; NaN where an error is zero, rounding or not known."""
        return [_rate(self.h[i : i + 2], errors[i : i + 2]) for i in range(len(errors) - 1)]

    @property
    def verdicts(self) -> list[Verdict]:
        return [
            Verdict(field, norm, rates[-1], self.orders[field][norm], errors[-1])
            for field, by_norm in self.errors.items()
            for norm, errors in by_norm.items()
            if norm in self.orders.get(field, {}) and (rates := self.rates(errors))
        ]

    def as_dict(self) -> dict[str, Any]:
        """For converge.json."""
        return {
            "levels": [
                {"h": h, "cells": cells, "dofs": dofs, "wall_s": wall}
                for h, cells, dofs, wall in zip(self.h, self.cells, self.dofs, self.wall_s, strict=True)
            ],
            "fields": {
                field: {
                    "kind": "error" if field in self.exact else "difference to the next level",
                    **{
                        norm: {
                            "errors": errors,
                            "rates": self.rates(errors),
                            "theory": self.orders.get(field, {}).get(norm),
                        }
                        for norm, errors in by_norm.items()
                    },
                }
                for field, by_norm in self.errors.items()
            },
            "quantities": {
                name: {
                    "values": q.values,
                    "reference": q.reference,
                    "errors": q.errors,
                    "rates": self.rates(q.errors),
                    "extrapolated": None if q.extrapolated is None else vars(q.extrapolated),
                }
                for name, q in self.quantities.items()
            },
            "verdicts": [{**vars(v), "ok": v.ok, "text": str(v)} for v in self.verdicts],
        }


def study(
    problem: Problem,
    *,
    levels: int = 4,
    mesh: Mesh | int | None = None,
    progress: Progress = lambda fraction, text: None,
    **options: Any,
) -> Study:
    """Solve on n, 2n, 4n, ... cells a side, or on a mesh and its uniform refinements; collective.

    An evolution takes twice as many time steps on each level.

    Args:
        levels: how many, two or more.
        mesh: the coarsest mesh, or its number of cells a side of the problem's own domain; a quarter of its
            usual number by default.
        options: of the finite-element `solve`.

    Raises:
        InputError: what the solver refuses.
        ComputationError: no convergence on some level.
    """
    solutions: list[Solution] = []
    for i, chosen in enumerate(_meshes(problem, mesh, levels)):
        if problem.time is not None:
            chosen["steps"] = options.get("steps", 50) * 2**i

        def report(fraction: float, text: str, i: int = i) -> None:
            progress((i + fraction) / levels, f"level {i + 1} of {levels}  {text}")

        report(0.0, "")
        solutions.append(solvers.solve(problem, "fem", progress=report, **{**options, **chosen}))
    own = mesh is None or isinstance(mesh, int)
    exact = {name: [s.exact_errors(name) for s in solutions] for name in problem.fields}
    errors = {name: found if found[0] else _differences(solutions, problem, name) for name, found in exact.items()}
    h = [_size(s.mesh) for s in solutions]
    return Study(
        h=h,
        cells=[len(s.mesh.cells) for s in solutions],
        dofs=[s.cost.dofs or 0 for s in solutions],
        wall_s=[s.cost.wall_s for s in solutions],
        exact={name for name, found in exact.items() if found[0]},
        errors={
            name: {n: [e[n] for e in found] for n in NORMS if n in found[0]} for name, found in errors.items() if found
        },
        orders=_orders(problem, solutions[-1]),
        quantities=_quantities(problem, solutions, h, problem.reference() if own else {}),
        finest=solutions[-1],
    )


def _meshes(problem: Problem, start: Mesh | int | None, levels: int) -> Iterator[dict[str, Any]]:
    """The solver's option `mesh` of each level."""
    if start is None or isinstance(start, int):
        geometry = problem.geometry(problem.p)
        if not isinstance(geometry, MeshGeometry):
            yield from ({"mesh": (start or max(1, geometry.default_cells // 4)) * 2**i} for i in range(levels))
            return
        start = geometry.given
    for i in range(levels):
        start = refine(start) if i else start
        yield {"mesh": start}


def _size(mesh: Mesh) -> float:
    """Celik's representative size [m]."""
    return float((cell_quadrature(mesh, 1).w.sum() / len(mesh.cells)) ** (1 / mesh.dim))


def _differences(solutions: list[Any], problem: Problem, field: str) -> list[dict[str, float]]:
    """Of each level to the next finer one; empty for a number, and for elements without nodes to compare at."""
    if problem.fields[field].element not in ("Lagrange", "DG"):
        return []
    return [coarse.errors(fine, field) for coarse, fine in pairwise(solutions)]


def _orders(problem: Problem, solution: Solution) -> dict[str, dict[str, float]]:
    elements = solution.discretization["elements"]
    degrees = {name: int(words.split()[1]) if " " in words else 0 for name, words in elements.items()}
    orders = problem.orders(degrees)
    if problem.time is None:
        return orders
    return {name: {norm: min(order, TIME_ORDER) for norm, order in o.items()} for name, o in orders.items()}


def _quantities(
    problem: Problem, solutions: list[Solution], h: list[float], reference: dict[str, float]
) -> dict[str, Quantity]:
    measured = [problem.measure(solution) for solution in solutions]
    result = {}
    for name in measured[-1]:
        values = [float(m.get(name, np.nan)) for m in measured]
        known = len(values) > 2 and np.isfinite(values[-3:]).all()
        result[name] = Quantity(values, reference.get(name), extrapolate(h, values) if known else None)
    return result


def _rate(h: list[float], errors: list[float]) -> float:
    """log(e1 / e2) / log(h1 / h2); NaN unless both errors are above rounding."""
    if not min(errors) > ROUNDING:
        return float("nan")
    return float(np.log(errors[0] / errors[1]) / np.log(h[0] / h[1]))
