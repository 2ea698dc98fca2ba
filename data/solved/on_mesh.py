"""What generation by finite elements on one mesh has in common: the grid of the file, the rows, the residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from variform.data.dataset import FieldInfo
from variform.data.solved import Plan, Population
from variform.data.store import Header
from variform.errors import InputError
from variform.forms.spaces import Space
from variform.forms.tree import to_json
from variform.forms.weak import WeakForm
from variform.location import locate
from variform.problem import Dirichlet, degrees_of
from variform.random import evaluate_many
from variform.solvers.batched.dual import DualNorm
from variform.task import Task

if TYPE_CHECKING:
    from variform.solvers.batched import BatchedSolver


class OnMesh:
    """From dofs on the mesh of a plan to rows of the store.

    The grid spans the box about the domain. Points outside the domain have value 0 and are marked in the field
    `inside`, which is there only if there are such points.
    """

    def __init__(self, population: Population, plan: Plan) -> None:
        problem = population.task
        self.population, self.plan, self.problem = population, plan, problem
        geometry, degree = problem.geometry(problem.p), max(degrees_of(problem, plan.degree).values())
        self.mesh = geometry.mesh(plan.mesh, min(2, max(degree, 1)))
        periodic = [set(problem.periodic_axes(name)) for name in problem.fields]
        self.periodic = tuple(all(axis in axes for axes in periodic) for axis in range(self.mesh.dim))
        lower, upper = self.mesh.points.min(axis=0), self.mesh.points.max(axis=0)
        self.axes = tuple(
            np.linspace(a, b, plan.resolution, endpoint=not p)
            for a, b, p in zip(lower, upper, self.periodic, strict=True)
        )
        for name, field in problem.fields.items():
            if field.element not in ("Lagrange", "DG") or field.complex:
                raise InputError(f"data of {problem.name}: field {name!r} is {field.element}, no real Lagrange field")

    def use(self, solver: BatchedSolver) -> None:
        """The solver whose spaces and residuals count."""
        self.solver, self.interpolation = solver, Interpolation(solver.weak, self.axes)

    @cached_property
    def header(self) -> Header:
        plan, problem = self.plan, self.problem
        evolves = problem.time is not None
        random = [name for name in self.population.laws if problem.parameters[name].field]
        fields = {name: FieldInfo("input", unit=problem.parameters[name].unit) for name in random}
        if (~self.interpolation.inside).any():
            fields["inside"] = FieldInfo("input", sample_varying=False, unit="-")
        fields |= {
            name: FieldInfo("output", shape=field.shape, time_varying=evolves, unit=field.unit)
            for name, field in problem.fields.items()
        }
        numbers = {name: float(v) for name, v in problem.values.items() if isinstance(v, int | float)}
        form = to_json(problem, self.mesh.dim, tuple(self.mesh.regions), tuple(self.mesh.boundaries))
        held = [c for c in problem.conditions if isinstance(c, Dirichlet) and "boundary" in c.names]
        return Header(
            name=problem.name,
            fields=fields,
            coordinates=self.axes,
            times=np.linspace(*problem.time, plan.snapshots + 1) if evolves else None,
            periodic=self.periodic,
            constants={k: v for k, v in numbers.items() if k not in self.population.laws},
            mesh=self.mesh,
            form=form,
            walls=(bool(held),) * self.mesh.dim,
            info={
                "varying": [name for name in self.population.laws if name not in random],
                "discretization": {
                    "method": plan.method,
                    "cells": len(self.mesh.cells),
                    "cell_type": self.mesh.cell_type,
                    "elements": {
                        name: f"{field.element} {self.solver.weak.degrees[name]}"
                        for name, field in problem.fields.items()
                    },
                    "quadrature_degree": self.solver.weak.quadrature_degree,
                    "degree": plan.degree,
                    "rtol": plan.rtol,
                    **({"scheme": "sdirk2", "steps": plan.steps} if evolves else {}),
                },
            },
        )

    @cached_property
    def dual(self) -> DualNorm:
        return DualNorm(self.solver)

    def rows(
        self,
        instances: Sequence[Task],
        indices: Sequence[int],
        states: Mapping[str, np.ndarray],
        failed: np.ndarray,
        p: Mapping[str, Any],
        starts: Sequence[int | None],
    ) -> dict[str, np.ndarray]:
        """Rows of the store.

        Args:
            states: by field, dofs (B, [T,] *shape, num_dofs), float64.
            failed: samples without a solution, shape (B,).
            p: parameters with a law as the solver takes them.
            starts: of an evolution, the snapshot whose state and the next are kept in double precision; or None.
        """
        import torch

        grid, evolves = tuple(map(len, self.axes)), self.problem.time is not None
        rows: dict[str, np.ndarray] = {"index": np.asarray(indices, dtype=np.int64), "failed": np.asarray(failed)}
        for name, info in self.header.fields.items():
            if info.role == "input" and info.sample_varying:
                values = evaluate_many([instance.values[name] for instance in instances], self.interpolation.x)
                rows[f"fields/{name}"] = (values * self.interpolation.inside).reshape(-1, *grid).astype(np.float32)
        if "inside" in self.header.fields:
            inside = self.interpolation.inside.astype(np.float32).reshape(grid)
            rows["fields/inside"] = np.broadcast_to(inside, (len(indices), *grid))
        for name, values in states.items():
            values[failed] = np.nan
            rows[f"fields/{name}"] = self.interpolation(name, values).astype(np.float32)
            if not evolves:
                rows[f"state/{name}"] = values
        for name, value in p.items():
            kind = "input" if self.problem.parameters[name].field else "parameter"
            rows[f"{kind}/{name}"] = value.cpu().numpy()
        if evolves:
            rows |= self._checks(states, indices, starts)
        else:
            u = {name: torch.as_tensor(values, device=self.solver.weak.device) for name, values in states.items()}
            rows["residual"] = np.where(failed, np.nan, self.dual.of(u, p, assembled=True).cpu().numpy())
        return rows

    def _checks(
        self, states: Mapping[str, np.ndarray], indices: Sequence[int], starts: Sequence[int | None]
    ) -> dict[str, np.ndarray]:
        kept = [(row, n) for row, n in enumerate(starts) if n is not None]
        rows = {
            "check/sample": np.array([indices[row] for row, _ in kept], dtype=np.int64),
            "check/snapshot": np.array([n for _, n in kept], dtype=np.int64),
        }
        for name, values in states.items():
            pairs = [values[row, n : n + 2] for row, n in kept]
            rows[f"check/state/{name}"] = np.array(pairs).reshape(len(kept), 2, *values.shape[2:])
        return rows


class Interpolation:
    """From dofs to values at the points of a uniform grid; 0 outside the mesh.

    Args:
        axes: coordinates [m] along each axis.

    Attributes:
        x: the points, shape (dim, n).
        inside: which of them the mesh holds, shape (n,).
    """

    def __init__(self, weak: WeakForm, axes: Sequence[np.ndarray]) -> None:
        self.weak, self.grid = weak, tuple(map(len, axes))
        self.x = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1)
        self._cells, self._X = locate(weak.mesh, self.x)
        self.inside = self._cells >= 0
        self._matrices: dict[int, scipy.sparse.csr_array] = {}

    def __call__(self, name: str, dofs: np.ndarray) -> np.ndarray:
        """Of a field: (..., *shape, num_dofs) to (..., *grid, *shape)."""
        shape = self.weak.problem.fields[name].shape
        flat = self._matrix(self.weak.spaces[name]) @ dofs.reshape(-1, dofs.shape[-1]).T
        lead = dofs.shape[: dofs.ndim - 1 - len(shape)]
        values = flat.T.reshape(*lead, *shape, *self.grid)
        for _ in shape:  # the axes of components go last
            values = np.moveaxis(values, len(lead), -1)
        return values

    def _matrix(self, space: Space) -> scipy.sparse.csr_array:
        """Rows of points outside are empty."""
        if id(space) not in self._matrices:
            points = np.flatnonzero(self.inside)
            basis = space.tabulate(self._X[points], 0)[()][..., 0]
            columns = space.dofmap[self._cells[points]]
            rows = np.repeat(points, columns.shape[1])
            shape = (self.x.shape[1], space.num_dofs)
            self._matrices[id(space)] = scipy.sparse.csr_array((basis.ravel(), (rows, columns.ravel())), shape=shape)
        return self._matrices[id(space)]
