"""A batch by the batched finite-element solver, on one mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from variform.data.solved import Plan, Population, is_checked
from variform.data.solved.on_mesh import OnMesh
from variform.errors import InputError
from variform.problem import Problem
from variform.random import evaluate_many
from variform.solvers.batched import BatchedSolver
from variform.task import Task


class Solved:
    """See `variform.data.solved.Solved`. Samples that do not converge are marked as failed, with NaN for values."""

    def __init__(self, population: Population, plan: Plan) -> None:
        problem = population.task
        if not isinstance(problem, Problem):
            raise InputError(f"{problem.name} has no weak form: method 'fem-batched' does not take it")
        self.population, self.plan = population, plan
        self.on_mesh = OnMesh(population, plan)
        self.solver = BatchedSolver(problem, self.on_mesh.mesh, degree=plan.degree, device=plan.device)
        self.on_mesh.use(self.solver)
        self.header = self.on_mesh.header

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        plan, problem = self.plan, self.population.task
        instances = [self.population.instance(plan.seed, index) for index in indices]
        p = self.parameters(instances)
        self.solver.forget()
        with torch.no_grad():
            if problem.time is None:
                batch = self.solver.solve(p, rtol=plan.rtol)
            else:
                batch = self.solver.evolve(p, steps=plan.steps, snapshots=plan.snapshots, rtol=plan.rtol)
            states = {name: u.expand(len(indices), *u.shape[1:]).cpu().numpy() for name, u in batch.u.items()}
            failed = (~batch.converged).expand(len(indices)).cpu().numpy()
        starts = [is_checked(plan.seed, i, plan.snapshots) if problem.time else None for i in indices]
        return self.on_mesh.rows(instances, indices, states, failed, p, starts)

    def parameters(self, instances: Sequence[Task]) -> dict[str, Any]:
        """Those with a law, as the solver takes them: numbers (B,) and dofs (B, num_dofs)."""
        weak, p = self.solver.weak, {}
        for name in self.population.laws:
            values = [instance.values[name] for instance in instances]
            if name in weak.parameter_spaces:
                x = weak.node_coordinates(weak.parameter_spaces[name]).cpu().numpy()
                p[name] = torch.as_tensor(evaluate_many(values, x), dtype=weak.real, device=weak.device)
            else:
                p[name] = torch.as_tensor(values, dtype=weak.real, device=weak.device)
        return p

    def refined(self) -> Solved:
        plan = self.plan
        return Solved(self.population, replace(plan, mesh=2 * plan.mesh, steps=2 * plan.steps))
