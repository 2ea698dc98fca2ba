"""A batch by the spectral method, on a periodic box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from variform.data.dataset import FieldInfo
from variform.data.solved import Plan, Population, is_checked
from variform.data.store import Header
from variform.errors import InputError
from variform.evolution import Evolution
from variform.solvers.spectral import integrate


class Solved:
    """See `variform.data.solved.Solved`. Samples whose values are lost are marked as failed."""

    def __init__(self, population: Population, plan: Plan) -> None:
        task = population.task
        if not isinstance(task, Evolution):
            raise InputError(f"{task.name} has no symbol form: method 'spectral' does not take it")
        if plan.mesh % plan.resolution or plan.mesh % 2:
            raise InputError(
                f"mesh must be even and a multiple of resolution for the spectral method, got {plan.mesh} and "
                f"{plan.resolution}"
            )
        self.population, self.plan, self.task = population, plan, task
        lower, upper = task.box(task.p)
        self.axes = tuple(
            a + (b - a) / plan.resolution * np.arange(plan.resolution) for a, b in zip(lower, upper, strict=True)
        )
        solver_axes = [a + (b - a) / plan.mesh * np.arange(plan.mesh) for a, b in zip(lower, upper, strict=True)]
        self.x = np.stack(np.meshgrid(*solver_axes, indexing="ij"))
        self.numbers = [name for name in population.laws if not task.parameters[name].field]
        values = {name: v for name, v in task.values.items() if isinstance(v, int | float)}
        from variform.data.recipes import find

        self.header = Header(
            name=task.name,
            fields={
                name: FieldInfo("output", shape=f.shape, time_varying=True, unit=f.unit)
                for name, f in task.fields.items()
            },
            coordinates=self.axes,
            times=np.linspace(*task.time, plan.snapshots + 1),
            periodic=(True,) * len(lower),
            constants={name: v for name, v in values.items() if name not in population.laws},
            info={
                "varying": self.numbers,
                "problem": find(plan.name).problem,
                "values": values,
                "discretization": {"method": "spectral", "scheme": "etdrk4", "points": plan.mesh, "steps": plan.steps},
            },
        )

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        plan, task = self.plan, self.task
        instances = [self.population.instance(plan.seed, index) for index in indices]
        u0 = torch.as_tensor(np.stack([np.asarray(i.initial_values(self.x, i.p)) for i in instances]))
        p = [instance.p for instance in instances]
        with torch.no_grad():
            u = integrate(
                task,
                u0.to(plan.device, torch.float64),
                p,
                steps=plan.steps,
                snapshots=plan.snapshots,
                mark=True,
            ).cpu()
        values = u.numpy()
        failed = ~np.isfinite(values).reshape(len(indices), -1).all(axis=1)
        every = (..., *[slice(None, None, plan.mesh // plan.resolution)] * len(self.axes))
        rows: dict[str, np.ndarray] = {"index": np.asarray(indices, dtype=np.int64), "failed": failed}
        for name, part in task.channels.items():
            stored = values[:, :, part][every]
            shape = task.fields[name].shape
            stored = np.moveaxis(stored, 2, -1).reshape(*stored.shape[:2], *stored.shape[3:], *shape)
            rows[f"fields/{name}"] = stored.astype(np.float32)
        for name in self.numbers:
            rows[f"parameter/{name}"] = np.array([instance.values[name] for instance in instances])
        starts = [is_checked(plan.seed, i, plan.snapshots) for i in indices]
        kept = [(row, n) for row, n in enumerate(starts) if n is not None and not failed[row]]
        rows["check/sample"] = np.array([indices[row] for row, _ in kept], dtype=np.int64)
        rows["check/snapshot"] = np.array([n for _, n in kept], dtype=np.int64)
        for name, part in task.channels.items():
            pairs = [values[row, n : n + 2, part] for row, n in kept]
            rows[f"check/state/{name}"] = np.array(pairs).reshape(
                len(kept), 2, part.stop - part.start, *self.x.shape[1:]
            )
        return rows

    def refined(self) -> Solved:
        return Solved(self.population, replace(self.plan, mesh=2 * self.plan.mesh, steps=2 * self.plan.steps))


def advance(
    task: Evolution, u: dict[str, np.ndarray], p: SimpleNamespace, time: tuple[float, float], plan: Plan
) -> dict[str, np.ndarray]:
    """The state (C, *N) by field, one snapshot later."""
    u0 = torch.as_tensor(np.concatenate([u[name] for name in task.channels]))[None]
    with torch.no_grad():
        end = integrate(task, u0, p, steps=plan.steps // plan.snapshots, time=time)[0, -1].numpy()
    return {name: end[part] for name, part in task.channels.items()}
