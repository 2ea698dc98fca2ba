"""Instances on meshes of their own, one after the other: the same cells, other points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from variform.data.dataset import FieldInfo
from variform.data.solved import Plan, Population
from variform.data.solved.on_mesh import Interpolation, OnMesh
from variform.data.store import Header
from variform.errors import InputError
from variform.problem import Problem
from variform.quadrature import cell_quadrature
from variform.solution import Cost
from variform.solvers.batched import BatchedSolver
from variform.solvers.batched.dual import DualNorm
from variform.solvers.batched.solution import BatchedSolution
from variform.task import Task, evaluate


class Solved:
    """See `variform.data.solved.Solved`. On the grid of the file, values outside a sample's domain are 0.

    The field `inside` tells where that is; `sampling/FIELD` is the relative L2 error of the grid's multilinear
    interpolant over the sample's mesh, as far as all four corners of a grid cell lie inside.
    """

    def __init__(self, population: Population, plan: Plan) -> None:
        problem = population.task
        if not isinstance(problem, Problem) or problem.time is not None:
            raise InputError(f"{problem.name}: method 'fem-meshes' takes stationary problems with a weak form")
        self.population, self.plan = population, plan
        self.on_mesh = OnMesh(population, plan)
        self.on_mesh.use(BatchedSolver(problem, self.on_mesh.mesh, degree=plan.degree, device=plan.device))
        header = self.on_mesh.header
        inside = {"inside": FieldInfo("input", unit="-")}
        outputs = {name: info for name, info in header.fields.items() if info.role == "output"}
        inputs = {name: info for name, info in header.fields.items() if info.role == "input" and name != "inside"}
        self.header: Header = replace(header, fields={**inputs, **inside, **outputs})

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        singles = [self._row(self.population.instance(self.plan.seed, index), index) for index in indices]
        return {name: np.stack([row[name] for row in singles]) for name in singles[0]}

    def _row(self, instance: Task, index: int) -> dict[str, np.ndarray]:
        plan, axes = self.plan, self.on_mesh.axes
        mesh = instance.geometry(instance.p).mesh(plan.mesh, self.on_mesh.mesh.order)
        if not np.array_equal(mesh.cells, self.on_mesh.mesh.cells):
            raise InputError(f"the meshes of {instance.name} differ in their cells, which files of data do not hold")
        solver = BatchedSolver(instance, mesh, degree=plan.degree, device=plan.device)
        weak, shape = solver.weak, tuple(map(len, axes))
        grid = Interpolation(weak, axes)
        inside = grid.inside.reshape(shape)
        p = {}
        for name in self.population.laws:
            value = instance.values[name]
            if name in weak.parameter_spaces:
                p[name] = weak.parameter_dofs(name, value)[None]
            else:
                p[name] = torch.as_tensor([value], dtype=weak.real, device=weak.device)
        with torch.no_grad():
            batch = solver.solve(p, rtol=plan.rtol)
            residual = float(DualNorm(solver).of(batch.u, p, assembled=True)[0])
        failed = not bool(batch.converged[0])
        row = {
            "index": np.int64(index),
            "failed": np.bool_(failed),
            "residual": np.float64(np.nan if failed else residual),
            "points": mesh.points,
            "fields/inside": inside.astype(np.float32),
        }
        solution = BatchedSolution(weak, [(None, {n: u[0] for n, u in batch.u.items()})], Cost(0.0), {})
        for name, u in batch.u.items():
            values = u[0].cpu().numpy() if not failed else np.full(u.shape[1:], np.nan)
            row[f"state/{name}"] = values
            row[f"fields/{name}"] = grid(name, values).astype(np.float32)
            nodal = solution.at(mesh.points.T, field=name)
            row[f"nodal/{name}"] = np.moveaxis(nodal, -1, 0)
            row[f"sampling/{name}"] = np.float64(_sampling_error(solution, name, row[f"fields/{name}"], inside, axes))
        for name, value in p.items():
            kind = "input" if name in weak.parameter_spaces else "parameter"
            row[f"{kind}/{name}"] = value[0].cpu().numpy()
            if kind == "input":
                on_grid = evaluate(instance.values[name], grid.x).reshape(shape)
                row[f"fields/{name}"] = (on_grid * inside).astype(np.float32)
                row[f"nodal/{name}"] = evaluate(instance.values[name], mesh.points.T)
        return row

    def refined(self) -> Solved:
        return Solved(self.population, replace(self.plan, mesh=2 * self.plan.mesh))


def _sampling_error(
    solution: BatchedSolution, name: str, values: np.ndarray, inside: np.ndarray, axes: tuple[np.ndarray, ...]
) -> float:
    """Relative L2 distance of the grid's bilinear interpolant from the solution, by quadrature."""
    from scipy.interpolate import RegularGridInterpolator

    rule = cell_quadrature(solution.mesh, 4)
    truth = np.moveaxis(solution.at(rule.x, field=name), -1, 0)
    known = RegularGridInterpolator(axes, inside.astype(float))(rule.x.T) > 1 - 1e-12
    found = RegularGridInterpolator(axes, values.astype(float))(rule.x.T)
    flat = ((found - truth) ** 2).reshape(len(truth), -1).sum(axis=1), (truth**2).reshape(len(truth), -1).sum(axis=1)
    error, size = (float(rule.w[known] @ part[known]) for part in flat)
    return float(np.sqrt(error / size)) if size else float("nan")
