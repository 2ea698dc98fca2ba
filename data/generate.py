"""Data sets of random instances, solved by finite elements."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from variform import solvers
from variform.data.store import Dataset, write
from variform.errors import InputError
from variform.problem import Problem
from variform.task import evaluate


def generate(
    problem: Problem,
    count: int,
    path: Path,
    *,
    resolution: int = 33,
    seed: int = 0,
    mesh: int | None = None,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> Dataset:
    """Solve `count` random instances and store inputs and solutions on a grid.

    Args:
        problem: stationary, on a box, with at least one parameter that has a law.
        resolution: grid points along each axis, ends included.
        mesh: cells a side of the solves; by default two for each interval of the grid.

    Raises:
        InputError: the problem has no random inputs, or evolves in time; a number that is too small.
    """
    if not problem.random or problem.time is not None:
        raise InputError(
            f"{problem.name} has no random instances to generate"
            if not problem.random
            else f"{problem.name} evolves in time: only stationary data sets are generated so far"
        )
    for name, value, least in (("count", count, 1), ("resolution", resolution, 2)):
        if value < least:
            raise InputError(f"{name} must be {least} or more, got {value}")
    geometry = problem.geometry(problem.p)
    axes = [np.linspace(a, b, resolution) for a, b in zip(geometry.lower, geometry.upper, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    cells = mesh or 2 * (resolution - 1)
    inputs = {name: np.empty((count, *grid.shape[1:])) for name in problem.random}
    outputs = {name: np.empty((count, *grid.shape[1:])) for name in problem.fields}
    start = time.perf_counter()
    for index in range(count):
        instance = problem.sample(seed, index)
        solution = solvers.solve(instance, "fem", mesh=cells)
        for name in inputs:
            inputs[name][index] = evaluate(instance.values[name], grid)
        for name in outputs:
            outputs[name][index] = solution.at(grid.reshape(len(axes), -1), field=name).reshape(grid.shape[1:])
        progress((index + 1) / count, f"instance {index + 1} of {count}")
    info = {
        "wall_s": time.perf_counter() - start,
        "seed": seed,
        "indices": [0, count],
        "mesh": cells,
        "discretization": solution.discretization,
    }
    data = Dataset(problem.name, tuple(axes), inputs, outputs, info)
    write(path, data)
    return data
