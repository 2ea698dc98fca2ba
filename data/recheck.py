"""The equation computed again from what a file of ours holds, believing nothing else in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from variform import problems
from variform.data import store
from variform.data.solved import Plan
from variform.data.solved.on_mesh import Interpolation
from variform.errors import InputError
from variform.forms.tree import from_json
from variform.mesh import Mesh
from variform.problem import Problem
from variform.solvers.batched import BatchedSolver
from variform.solvers.batched.dual import DualNorm

Progress = Callable[[float, str], None]

ROWS = 32
"""Samples that are computed at once."""
FLOAT32 = 4 * 1.2e-7
"""Relative distance, in the largest norm, of values rounded to single precision from those that they were."""
LOOSENED = 1e3
"""The residual is allowed this much more than the tolerance of the solver: its norm is another."""


@dataclass(frozen=True)
class Test:
    """One quantity of every sample that was computed again.

    Args:
        values: by sample; NaN where it was not computed.
        allowed: above it a sample fails.
    """

    name: str
    what: str
    samples: np.ndarray
    values: np.ndarray
    allowed: float

    @property
    def largest(self) -> float:
        return float(self.values.max()) if len(self.values) else 0.0

    @property
    def failed(self) -> np.ndarray:
        return self.samples[~(self.values <= self.allowed)]


@dataclass(frozen=True)
class Recheck:
    """What was tested, and what not, with the reason."""

    tests: list[Test]
    left_out: dict[str, str] = field(default_factory=dict)


def recheck(stored: store.Stored, progress: Progress) -> Recheck:
    """Compute again what the file allows.

    Raises:
        InputError: the file does not allow it; the reason.
    """
    plan, form = stored.header["info"].get("plan"), stored.json("form")
    if plan is None:
        raise InputError("the file does not say how it was made")
    if form is not None and stored.shared_mesh is not None:
        problem = from_json(form)
        return _evolution(stored, problem, progress) if problem.time else _stationary(stored, problem, progress)
    if plan["method"] in ("spectral", "tiers"):
        return _by_name(stored, Plan(**plan), progress)
    raise InputError("the file holds no form and no mesh that all samples share")


def _stationary(stored: store.Stored, problem: Problem, progress: Progress) -> Recheck:
    """Dual norms of the residual, and the fields on the grid, from the dofs."""
    info, count = stored.header["info"], int(stored.file.open().attrs["n_trajectories"])
    if stored.array("points", slice(0, 1)) is not None:
        return _on_meshes(stored, problem, progress)
    solver, data = _solver(stored, problem), stored.dataset()
    grid = Interpolation(solver.weak, data.coordinates)
    dual, failed = DualNorm(solver), stored.array("failed")
    samples, residuals, rounding = [], [], []
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        rows = rows[~failed[rows]]
        if not len(rows):
            continue
        u = {name: torch.as_tensor(stored.array(f"state/{name}", rows)) for name in solver.weak.shapes}
        with torch.no_grad():
            residuals.append(dual.of(u, _parameters(stored, rows)).numpy())
        rounding.append(
            np.max([_distance(grid(name, dofs.numpy()), data.read(name, rows)) for name, dofs in u.items()], axis=0)
        )
        samples.append(rows)
        progress((rows[-1] + 1) / count, f"residuals of {rows[-1] + 1} of {count} samples")
    numbers = np.concatenate(samples)
    allowed = LOOSENED * float(info["plan"]["rtol"])
    return Recheck(
        [
            Test("residual", "dual norm of the residual, relative", numbers, np.concatenate(residuals), allowed),
            Test("fields", "distance of the fields from the dofs", numbers, np.concatenate(rounding), FLOAT32),
        ]
    )


def _on_meshes(stored: store.Stored, problem: Problem, progress: Progress) -> Recheck:
    """The same, one sample after the other, each on its mesh."""
    info, data, meshes = stored.header["info"], stored.dataset(), store.OnMeshes(stored)
    samples, residuals, rounding = data.good, [], []
    for i in samples.tolist():
        solver, row = _solver(stored, problem, meshes.mesh(i)), np.array([i])
        u = {name: torch.as_tensor(stored.array(f"state/{name}", row)) for name in solver.weak.shapes}
        with torch.no_grad():
            residuals.append(float(DualNorm(solver).of(u, _parameters(stored, row))[0]))
        grid = Interpolation(solver.weak, data.coordinates)
        rounding.append(max(_distance(grid(n, dofs.numpy()), data.read(n, row))[0] for n, dofs in u.items()))
        progress((i + 1) / len(data), f"residuals of {i + 1} of {len(data)} samples")
    allowed = LOOSENED * float(info["plan"]["rtol"])
    return Recheck(
        [
            Test("residual", "dual norm of the residual, relative", samples, np.array(residuals), allowed),
            Test("fields", "distance of the fields from the dofs", samples, np.array(rounding), FLOAT32),
        ]
    )


def _solver(stored: store.Stored, problem: Problem, mesh: Mesh | None = None) -> BatchedSolver:
    info = stored.header["info"]["discretization"]
    return BatchedSolver(
        problem, mesh or stored.shared_mesh, degree=info["degree"], quadrature_degree=info["quadrature_degree"]
    )


def _parameters(stored: store.Stored, rows: np.ndarray) -> dict[str, Any]:
    found = {}
    for kind in ("input", "parameter"):
        for name in stored.names(kind):
            found[name] = torch.as_tensor(stored.array(f"{kind}/{name}", rows))
    return found


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Largest difference over the largest value, of every sample."""
    a, b = a.reshape(len(a), -1), b.reshape(len(b), -1).astype(np.float64)
    return abs(a - b).max(axis=1) / np.maximum(abs(a).max(axis=1), np.finfo(float).tiny)


def _evolution(stored: store.Stored, problem: Problem, progress: Progress) -> Recheck:
    """From one stored state to the next, by the same steps."""
    plan = stored.header["info"]["plan"]
    solver, data = _solver(stored, problem), stored.dataset()

    def again(u: dict[str, np.ndarray], row: int, begin: float, end: float) -> dict[str, np.ndarray]:
        initial = {name: torch.as_tensor(values)[None] for name, values in u.items()}
        p = _parameters(stored, np.array([row]))
        with torch.no_grad():
            batch = solver.evolve(
                p, initial=initial, steps=plan["steps"] // plan["snapshots"], rtol=plan["rtol"], time=(begin, end)
            )
        return {name: values[0, -1].numpy() for name, values in batch.u.items()}

    return _pairs(stored, data, again, progress)


def _by_name(stored: store.Stored, plan: Plan, progress: Progress) -> Recheck:
    """As `_evolution`; the equation is that of the catalogue: it has no weak form that a file could hold."""
    from variform.data.solved import spectral, tiers

    advance = tiers.advance if plan.method == "tiers" else spectral.advance
    kind = stored.header["info"]["problem"]
    if kind not in {**problems.CATALOGUE, **problems.EVOLUTIONS, **problems.SYSTEMS}:
        raise InputError(f"its equation is code of a user's file, {kind}, which a data file cannot make run")
    data = stored.dataset()
    task = problems.load(kind)(**stored.header["info"]["values"])
    numbers = {name: stored.array(f"parameter/{name}") for name in stored.names("parameter")}

    def again(u: dict[str, np.ndarray], row: int, begin: float, end: float) -> dict[str, np.ndarray]:
        p = SimpleNamespace(**{**vars(task.p), **{name: float(column[row]) for name, column in numbers.items()}})
        return advance(task, u, p, (begin, end), plan)

    return _pairs(stored, data, again, progress)


def _pairs(stored: store.Stored, data: Any, again: Callable[..., dict[str, np.ndarray]], progress: Progress) -> Recheck:
    """Integrate from every stored state that has its successor beside it."""
    indices, starts = stored.array("check/sample"), stored.array("check/snapshot")
    if indices is None or not len(indices):
        raise InputError("the file holds no state in double precision to start from")
    place = {int(index): row for row, index in enumerate(stored.array("index"))}
    failed, samples, errors = stored.array("failed"), [], []
    for k, (index, n) in enumerate(zip(indices.tolist(), starts.tolist(), strict=True)):
        row = place[index]
        if failed[row]:
            continue
        pair = {name: stored.array(f"check/state/{name}", k) for name in stored.names("check/state")}
        begin, end = (float(data.times[i]) for i in (n, n + 1))
        found = again({name: values[0] for name, values in pair.items()}, row, begin, end)
        errors.append(max(_distance(found[name][None], pair[name][1:])[0] for name in pair))
        samples.append(row)
        progress((k + 1) / len(indices), f"integrated {k + 1} of {len(indices)} samples again")
    tested = Test(
        "re-integration",
        f"distance from the stored state, of {len(samples)} samples integrated again over one snapshot",
        np.array(samples, dtype=int),
        np.array(errors),
        1e-7,
    )
    return Recheck([tested])
