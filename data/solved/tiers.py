"""A batch of systems in tiers by the classical method of Runge and Kutta: the slow variables, and what drives them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from variform.data.dataset import FieldInfo
from variform.data.solved import Plan, Population, is_checked
from variform.data.store import Header
from variform.errors import InputError
from variform.problems.lorenz96 import Lorenz96, rk4

SLOW, COUPLING = "X", "coupling"


class Solved:
    """See `variform.data.solved.Solved`. What is stored begins after the spin-up, in steps of the same size.

    Beside X, (T, K), the coupling term of dX/dt is stored at the same times; `info["closures"]` names it.
    """

    def __init__(self, population: Population, plan: Plan) -> None:
        task = population.task
        if not isinstance(task, Lorenz96):
            raise InputError(f"{task.name} has no tiers: method 'tiers' does not take it")
        if plan.resolution < 4:
            raise InputError(f"resolution, the number of X, must be 4 or more, got {plan.resolution}")
        from variform.data.recipes import find

        self.population, self.plan, self.task = population, plan, task
        values = {name: v for name, v in task.values.items() if isinstance(v, float)}
        self.numbers = [name for name in population.laws if not task.parameters[name].field]
        K = plan.resolution
        self.x = np.arange(K) / K
        self.header = Header(
            name=task.name,
            fields={
                SLOW: FieldInfo("output", time_varying=True, unit="-"),
                COUPLING: FieldInfo("output", time_varying=True, unit="-"),
            },
            coordinates=(self.x,),
            times=np.linspace(*task.time, plan.snapshots + 1),
            periodic=(True,),
            constants={name: v for name, v in values.items() if name not in population.laws},
            info={
                "varying": self.numbers,
                "problem": find(plan.name).problem,
                "values": values,
                "closures": {SLOW: COUPLING},
                "discretization": {"method": "tiers", "scheme": "rk4", "steps": plan.steps},
            },
        )

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        instances = [self.population.instance(self.plan.seed, index) for index in indices]
        p = SimpleNamespace(**{**vars(self.task.p), **self._columns(instances)})
        with np.errstate(over="ignore", invalid="ignore"):  # samples that are lost are marked
            u = self._trajectories(instances, p)
            driven = self.task.coupling(u["Y"], p)
        failed = ~np.isfinite(u[SLOW]).all(axis=(1, 2))
        rows: dict[str, np.ndarray] = {"index": np.asarray(indices, dtype=np.int64), "failed": failed}
        rows[f"fields/{SLOW}"], rows[f"fields/{COUPLING}"] = u[SLOW].astype(np.float32), driven.astype(np.float32)
        for name in self.numbers:
            rows[f"parameter/{name}"] = np.array([instance.values[name] for instance in instances])
        return rows | self._checks(u, indices, failed)

    def _trajectories(self, instances: Sequence[Lorenz96], p: SimpleNamespace) -> dict[str, np.ndarray]:
        """By tier, (B, T, n), after the spin-up."""
        plan, task = self.plan, self.task
        starts = [instance.initial_state(self.x[None], instance.p) for instance in instances]
        state = tuple(np.stack(part) for part in zip(*starts, strict=True))
        begin, end = task.time
        dt = (end - begin) / plan.steps
        state = _steps(task, state, p, dt, round(task.values["spin_up"] / dt))
        whole = [state]
        for _ in range(plan.snapshots):
            whole.append(state := _steps(task, state, p, dt, plan.steps // plan.snapshots))
        return {name: np.stack([u[i] for u in whole], axis=1) for i, name in enumerate(task.tiers)}

    def _checks(self, u: dict[str, np.ndarray], indices: Sequence[int], failed: np.ndarray) -> dict[str, np.ndarray]:
        """All tiers at two consecutive times, of some samples."""
        starts = [is_checked(self.plan.seed, i, self.plan.snapshots) for i in indices]
        kept = [(row, n) for row, n in enumerate(starts) if n is not None and not failed[row]]
        rows = {
            "check/sample": np.array([indices[row] for row, _ in kept], dtype=np.int64),
            "check/snapshot": np.array([n for _, n in kept], dtype=np.int64),
        }
        for name, values in u.items():
            pairs = [values[row, n : n + 2] for row, n in kept]
            rows[f"check/state/{name}"] = np.array(pairs).reshape(len(kept), 2, values.shape[-1])
        return rows

    def _columns(self, instances: Sequence[Lorenz96]) -> dict[str, np.ndarray]:
        """Numbers that differ between samples, (B, 1)."""
        return {name: np.array([[instance.values[name]] for instance in instances]) for name in self.numbers}

    def refined(self) -> None:
        """Chaos leaves no solution to compare with: halved steps give another trajectory."""


def advance(
    task: Lorenz96, u: dict[str, np.ndarray], p: SimpleNamespace, time: tuple[float, float], plan: Plan
) -> dict[str, np.ndarray]:
    """The state by tier, one snapshot later."""
    steps = plan.steps // plan.snapshots
    state = tuple(u[name] for name in task.tiers)
    return dict(zip(task.tiers, _steps(task, state, p, (time[1] - time[0]) / steps, steps), strict=True))


def _steps(task: Lorenz96, state: tuple, p: SimpleNamespace, dt: float, count: int) -> tuple:
    for _ in range(count):
        state = rk4(lambda u: task.rates(u, p), state, dt)
    return state
