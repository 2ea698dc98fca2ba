"""Instances one after the other by DOLFINx, on one mesh; several processes share the batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from variform.data.solved import Plan, Population, is_checked
from variform.data.solved.batched import Solved as Batched
from variform.errors import ComputationError, InputError
from variform.solvers import fem
from variform.task import Task


class Solved(Batched):
    """See `variform.data.solved.Solved`. The residuals in the file are the batched solver's: another implementation.

    Samples that do not converge are marked as failed, with NaN for values.
    """

    def __init__(self, population: Population, plan: Plan) -> None:
        super().__init__(population, plan)
        for name, field in population.task.fields.items():
            if field.element != "Lagrange":  # the values at a node are those of all cells about it
                raise InputError(
                    f"{population.task.name}: method 'fem' takes Lagrange fields, {name!r} is {field.element}; "
                    f"'fem-batched' takes it"
                )

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        plan, evolves = self.plan, self.population.task.time is not None
        instances = [self.population.instance(plan.seed, index) for index in indices]
        solved = [self._dofs(instance) for instance in instances]
        weak, lead = self.solver.weak, (plan.snapshots + 1,) * evolves
        missing = {name: np.full((*lead, *shape), np.nan) for name, shape in weak.shapes.items()}
        states = {name: np.stack([(dofs or missing)[name] for dofs in solved]) for name in weak.shapes}
        failed = np.array([dofs is None for dofs in solved])
        starts = [is_checked(plan.seed, index, plan.snapshots) if evolves else None for index in indices]
        return self.on_mesh.rows(instances, indices, states, failed, self.parameters(instances), starts)

    def _dofs(self, instance: Task) -> dict[str, np.ndarray] | None:
        """By field, ([T,] *shape, num_dofs); None if there is no solution."""
        plan, weak, times = self.plan, self.solver.weak, self.header.times
        options = {} if times is None else {"scheme": "sdirk2", "steps": plan.steps, "snapshots": plan.snapshots}
        try:
            solution = fem.solve(instance, mesh=self.on_mesh.mesh, degree=plan.degree, rtol=plan.rtol, **options)
        except ComputationError:
            return None
        nodes = {name: weak.node_coordinates(space).cpu().numpy() for name, space in weak.spaces.items()}
        if times is None:
            return {name: solution.at(x, field=name) for name, x in nodes.items()}
        return {name: np.stack([solution.at(x, field=name, t=t) for t in times]) for name, x in nodes.items()}

    def refined(self) -> Solved:
        plan = self.plan
        return Solved(self.population, replace(plan, mesh=2 * plan.mesh, steps=2 * plan.steps))
