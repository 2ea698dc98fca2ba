"""Classical solvers on the samples of a test set, on other discretisations than that of the data.

They start from what a network is given: coefficients, or the frame before the first one predicted. Only the solve is
timed, after a batch that does not count; evaluation where the data lie is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.signal import resample

from variform.benchmarks.closure import no_closure
from variform.data.dataset import Dataset
from variform.data.solved import Plan, Population, prepare
from variform.errors import ComputationError, InputError, unknown
from variform.evolution import Evolution
from variform.operators.examples import Channels, Examples
from variform.solution import Cost
from variform.solvers.batched import BatchedSolver
from variform.solvers.batched.solution import BatchedSolution
from variform.solvers.spectral import integrate

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Solved:
    """Of a test set.

    Args:
        values: (n, T, C, *N), where and when the truth is.
        seconds: of all solves.
        dofs: unknowns of one state.
    """

    values: np.ndarray
    seconds: float
    dofs: int


@dataclass(frozen=True)
class Instances:
    """The samples to solve.

    Args:
        plan: of the data set; `indices` are numbers in its random stream.
        test: the samples themselves, as networks are measured on them: `examples`.
        settings: the discretisation: `mesh` and further fields of a plan.
    """

    population: Population
    plan: Plan
    indices: Sequence[int]
    test: Dataset
    examples: Examples
    settings: dict[str, Any]

    @property
    def batches(self) -> list[np.ndarray]:
        """Positions in the test set."""
        size = self.settings.get("batch", self.plan.batch)
        return np.array_split(np.arange(len(self.test)), -(-len(self.test) // size))

    def chosen(self, at: Sequence[int]) -> list[Any]:
        return [self.population.instance(self.plan.seed, self.indices[i]) for i in at]

    @property
    def window(self) -> tuple[int, list[int]]:
        """Numbers of the frame that is given and of those that are predicted."""
        s, last = self.examples.settings, len(self.test.times) - 1
        if self.examples.learn == "solution":
            return 0, [last]
        first = (s.frames - 1) * s.stride
        return first, [first + s.stride * (i + 1) for i in range(s.ahead)]


def check(method: str, settings: dict[str, Any]) -> None:
    """Raise InputError for settings that a method does not have, or lacks."""
    for key, value in settings.items():
        if key not in SETTINGS[method]:
            raise unknown(f"setting of {method}", key, SETTINGS[method])
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InputError(f"{key} must be a number above 0, got {value!r}")
    if "mesh" in SETTINGS[method] - settings.keys():
        raise InputError(f"{method} needs mesh, the cells or points a side")


def solve(method: str, instances: Instances, progress: Progress) -> Solved:
    """By a key of `METHODS`.

    Raises:
        InputError: the method does not take the data, or the settings.
        ComputationError: a solve did not converge.
    """
    return METHODS[method](instances, progress)


def _fem(instances: Instances, progress: Progress) -> Solved:
    """Finite elements on one mesh, a batch at once."""
    plan = replace(instances.plan, method="fem-batched", device=device(), **instances.settings)
    solved = prepare(instances.population, plan)
    names, solver = Channels.of(instances.test).unknowns, solved.solver
    if instances.test.times is not None:
        raise InputError("method 'fem-batched' is a row of stationary data sets; use spectral")

    def run(at: Sequence[int]) -> tuple[np.ndarray, float]:
        p = solved.parameters(instances.chosen(at))
        with torch.no_grad():
            batch, seconds = _timed(lambda: solver.solve(p, rtol=plan.rtol))
        if not bool(batch.converged.all()):
            raise ComputationError(f"{int((~batch.converged).sum())} of {len(at)} solves did not converge")
        states = {n: u.expand(len(at), *u.shape[1:]).cpu().numpy() for n, u in batch.u.items()}
        fields = [_channels(solved.on_mesh.interpolation(n, states[n])[:, None], instances.test, n) for n in names]
        return np.concatenate(fields, axis=2), seconds

    dofs = sum(int(np.prod(shape)) for shape in solver.weak.shapes.values())
    return _in_batches(instances, run, progress, dofs)


def _fem_on_meshes(instances: Instances, progress: Progress) -> Solved:
    """Finite elements on a coarser mesh of each sample, one after the other; at points outside it, the nearest node."""
    plan = replace(instances.plan, **instances.settings)
    dofs = 0

    def run(at: Sequence[int]) -> tuple[np.ndarray, float]:
        nonlocal dofs
        found, seconds = [], 0.0
        for place, instance in zip(at, instances.chosen(at), strict=True):
            mesh = instance.geometry(instance.p).mesh(plan.mesh)

            def once(instance: Any = instance, mesh: Any = mesh) -> tuple[BatchedSolver, Any]:
                solver = BatchedSolver(instance, mesh, degree=plan.degree, device=device())
                return solver, solver.solve(rtol=plan.rtol)

            with torch.no_grad():
                (solver, batch), passed = _timed(once)
            seconds += passed
            dofs = sum(int(np.prod(shape)) for shape in solver.weak.shapes.values())
            states = [(None, {n: u[0] for n, u in batch.u.items()})]
            solution = BatchedSolution(solver.weak, states, Cost(0.0), {})
            x = instances.test.source.mesh(int(place)).points.T
            found.append(np.concatenate([_everywhere(solution, x, n) for n in Channels.of(instances.test).unknowns]))
        return np.stack(found)[:, None], seconds

    solved = _in_batches(instances, run, progress, 0)
    return replace(solved, dofs=dofs)


def _everywhere(solution: BatchedSolution, x: np.ndarray, name: str) -> np.ndarray:
    """(C, n): values at points; at those outside the mesh the value at the nearest node."""
    from scipy.spatial import cKDTree

    values = np.atleast_2d(solution.at(x, field=name))
    outside = ~np.isfinite(values).all(axis=0)
    if outside.any():
        _, nearest = cKDTree(solution.drawn.points).query(x[:, outside].T)
        values[:, outside] = np.atleast_2d(solution.nodal(name))[:, nearest]
    return values


def _spectral(instances: Instances, progress: Progress) -> Solved:
    """ETDRK4 on a Fourier grid of `mesh` points an axis, `steps` between two frames, from the last frame given."""
    task, given = instances.population.task, instances.settings
    if not isinstance(task, Evolution):
        raise InputError(f"{task.name} has no symbol form: method 'spectral' does not take it")
    points, substeps = given["mesh"], given.get("steps", 1)
    start, frames = instances.window
    times, count = instances.test.times, len(frames)
    end, dim = frames[-1], len(instances.test.coordinates)
    channels = Channels.of(instances.test).unknowns

    def run(at: Sequence[int]) -> tuple[np.ndarray, float]:
        first = [_channels(instances.test.read(n, at, slice(start, start + 1)), instances.test, n) for n in channels]
        u0 = torch.as_tensor(_resampled(np.concatenate(first, axis=2)[:, 0], points, dim), device=device())
        p = [instance.p for instance in instances.chosen(at)]
        window = (float(times[start]), float(times[end]))
        steps = count * substeps

        def once() -> Any:
            return integrate(task, u0, p, steps=steps, snapshots=count, time=window, mark=True).cpu()

        with torch.no_grad():
            u, seconds = _timed(once)
        grid = instances.test.grid
        return _resampled(u.numpy()[:, 1:], grid[0], dim), seconds

    return _in_batches(instances, run, progress, sum(channels.values()) * points**dim)


def _coarse(instances: Instances, progress: Progress) -> Solved:
    """The known part of a multiscale system alone, without what the unresolved scales do to it."""
    s = instances.examples.settings
    if s.frames > 1:
        raise InputError("method 'coarse' starts from the first frame: give one, frames=1")
    rollout = partial(no_closure, instances.test, s.ahead, stride=s.stride)
    rollout()
    values, seconds = _timed(rollout)
    progress(1.0)
    return Solved(values, seconds, int(np.prod(values.shape[2:])))


SETTINGS = {
    "fem-batched": {"mesh", "degree", "rtol", "batch"},
    "fem-meshes": {"mesh", "degree", "rtol"},
    "spectral": {"mesh", "steps", "batch"},
    "coarse": set(),
}
"""What a row of a method may say; `mesh` it must."""

METHODS: dict[str, Callable[[Instances, Progress], Solved]] = {
    "fem-batched": _fem,
    "fem-meshes": _fem_on_meshes,
    "spectral": _spectral,
    "coarse": _coarse,
}
"""Name -> what solves all samples."""


def _in_batches(
    instances: Instances, run: Callable[[Sequence[int]], tuple[np.ndarray, float]], progress: Progress, dofs: int
) -> Solved:
    batches = instances.batches
    run(batches[0])
    parts, seconds = [], 0.0
    for i, at in enumerate(batches):
        values, passed = run(at)
        parts.append(values)
        seconds += passed
        progress((i + 1) / len(batches))
    return Solved(np.concatenate(parts), seconds, dofs)


def device() -> str:
    """Where networks predict, and classical solvers solve."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def _channels(values: np.ndarray, data: Dataset, name: str) -> np.ndarray:
    """(n, T, *N, *shape) to (n, T, C, *N)."""
    shape = data.fields[name].shape
    values = values.reshape(*values.shape[: values.ndim - len(shape)], -1)
    return np.moveaxis(values, -1, 2)


def _resampled(u: np.ndarray, points: int, dim: int) -> np.ndarray:
    """Periodic grid functions (.., *N) on `points` an axis, by their Fourier coefficients; in double precision."""
    u = np.asarray(u, dtype=np.float64)
    for axis in range(-dim, 0):
        if u.shape[axis] != points:
            u = resample(u, points, axis=axis)
    return np.ascontiguousarray(u)
