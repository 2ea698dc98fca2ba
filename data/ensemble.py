"""Many instances of one problem, over a grid of parameters or at random: a table of the quantities they measure.

Every instance depends on its number alone: how many processes share the work changes no digit. What is finished is on
disk, one line of JSON each, before it is counted.
"""

from __future__ import annotations

import csv
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from variform import problems, runs, solvers
from variform.data.inputs import NumberLaw
from variform.data.processes import Died, results
from variform.errors import ComputationError, InputError
from variform.problem import Problem
from variform.random import generator

PERCENTILES = (5, 25, 50, 75, 95)

Measure = Callable[[Problem, Any], dict[str, float]]
"""(instance, its solution) -> quantities by name; a function of a module, so that processes can be told of it."""


@dataclass(frozen=True)
class Instance:
    """One member of an ensemble.

    Args:
        shown: what tells it apart, by key: numbers, words, "sample:SEED:INDEX" for a random field.
        values: of the problem's parameters.
        options: of the method.
    """

    shown: dict[str, Any]
    values: dict[str, Any]
    options: dict[str, Any]


@dataclass(frozen=True)
class Ensemble:
    """A grid over parameters and options, or random instances.

    Args:
        problem: catalogue name, or path/to/file.py[:Class].
        method: name of the method.
        values, options: what all instances have in common.
        axes: key (parameter, parameter.region or option) -> values; the last varies fastest.
        samples: random instances, where there are no axes: the problem's random fields that `values` leaves open, and
            the numbers that follow `laws`.
        seed: of the random instances, at least 0 and below 2^64.
        laws: key (parameter or parameter.region) -> law.
    """

    problem: str
    method: str = "fem"
    values: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    samples: int = 0
    seed: int = 0
    laws: Mapping[str, NumberLaw] = field(default_factory=dict)

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values())) if self.axes else self.samples

    @property
    def random_fields(self) -> list[str]:
        return [] if self.axes else [name for name in kind_of(self.problem).random if name not in self.fixed]

    @property
    def fixed(self) -> set[str]:
        return {*self.values, *self.laws}

    def instance(self, index: int) -> Instance:
        """Number `index`; the same on every machine."""
        drawn: dict[str, Any] = {}
        if self.axes:
            shown: dict[str, Any] = dict(zip(self.axes, self._point(index), strict=True))
        else:
            shown = {key: law.sample(generator(self.seed, index, key)) for key, law in self.laws.items()}
            laws = kind_of(self.problem).random
            drawn = {name: laws[name].sample(generator(self.seed, index, name)) for name in self.random_fields}
        values, options = {**self.values, **drawn}, dict(self.options)
        parameters = kind_of(self.problem).parameters
        for key, value in shown.items():
            name, _, region = key.partition(".")
            if name not in parameters:
                options[key] = value
            elif region:
                values[name] = {**_by_region(values.get(name, {}), parameters[name].default), region: value}
            else:
                values[name] = value
        fields = dict.fromkeys(drawn, f"sample:{self.seed}:{index}")
        return Instance({**shown, **fields}, values, options)

    def _point(self, index: int) -> list[Any]:
        axes = list(self.axes.values())
        position = np.unravel_index(index, [len(axis) for axis in axes])
        return [axis[i] for axis, i in zip(axes, position, strict=True)]

    def solve(self, index: int, measure: Measure) -> dict[str, Any]:
        """One row: quantities, status "done" or "failed" with the reason, wall time [s]. Nothing is raised."""
        start, quantities, error = time.perf_counter(), {}, ""
        try:
            instance = self.instance(index)
            problem = kind_of(self.problem)(**instance.values)
            solution = solvers.solve(problem, self.method, **instance.options)
            quantities = {name: float(v) for name, v in measure(problem, solution).items()}
        except (InputError, ComputationError) as failure:
            error = str(failure) or type(failure).__name__
        except Exception as failure:  # out of memory, or an error in a user's own form: the others go on
            error = f"{type(failure).__name__}: {failure}"
        return _row(index, quantities, error, time.perf_counter() - start)


def _by_region(value: Any, default: Mapping[str, float]) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else dict.fromkeys(default, value)


@cache
def kind_of(problem: str) -> type[Problem]:
    """The problem class of a name; a user's file is run once a process."""
    return problems.load(problem)


def measured(problem: Problem, solution: Any) -> dict[str, float]:
    """What the problem measures."""
    return problem.measure(solution)


def _row(index: int, quantities: dict[str, float], error: str, wall_s: float) -> dict[str, Any]:
    status, error = "failed" if error else "done", " ".join(error.split())
    return {"index": index, "status": status, "quantities": quantities, "error": error, "wall_s": wall_s}


def run(
    ensemble: Ensemble,
    path: Path,
    *,
    workers: int = 1,
    measure: Measure = measured,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> list[dict[str, Any]]:
    """Solve every instance that the file does not hold yet, or that failed, and append each as it ends.

    Args:
        path: lines of JSON, created if need be. A kill loses the instances in flight, no other.
        workers: processes.

    Returns:
        A row an instance, in their order: index, status "done" or "failed", quantities, error, wall_s [s].

    Raises:
        InputError: no such problem, less than one worker, or another process is writing the file.
    """
    if workers < 1:
        raise InputError(f"workers must be 1 or more, got {workers}")
    kind_of(ensemble.problem)
    with _opened(path) as file:
        rows = {row["index"]: row for row in map(json.loads, file)}
        rows = {i: row for i, row in rows.items() if row["status"] == "done" and i < len(ensemble)}
        todo, failed = [i for i in range(len(ensemble)) if i not in rows], 0
        with closing(results(partial(ensemble.solve, measure=measure), todo, workers)) as found:
            for index, result in found:
                died = isinstance(result, Died)
                row = _row(index, {}, f"its process ended by {result}", math.nan) if died else result
                line = json.dumps(runs.strict(row), allow_nan=False)
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                rows[index] = json.loads(line)
                failed += row["status"] == "failed"
                said = f"{len(rows)} of {len(ensemble)}" + (f", {failed} failed" if failed else "")
                progress(len(rows) / len(ensemble), said)
    return [rows[index] for index in sorted(rows)]


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file of rows for this process alone, without a last line that a kill cut short."""
    with open(path, "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another process is writing {path}") from None
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0)
        yield file


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The quantities of all rows, in the order in which they are first met."""
    return list(dict.fromkeys(name for row in rows for name in row["quantities"]))


def column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """One quantity over the rows, shape (n,); not a number where it is missing."""
    values = [row["quantities"].get(name) for row in rows]
    return np.array([math.nan if v is None else v for v in values], dtype=float)


def statistics(values: np.ndarray) -> dict[str, Any]:
    """Of the finite numbers among the values (n,): mean, its standard error, deviation, percentiles by name.

    The deviation is that of the sample, with n - 1; it and the error are not a number for one value alone. Percentiles
    are interpolated linearly. All are not a number where there is no value.
    """
    used = values[np.isfinite(values)]
    n, nan = len(used), math.nan
    deviation = float(used.std(ddof=1)) if n > 1 else nan
    quantiles = np.percentile(used, PERCENTILES) if n else [nan] * len(PERCENTILES)
    return {
        "mean": float(used.mean()) if n else nan,
        "standard_error": deviation / math.sqrt(n) if n else nan,
        "deviation": deviation,
        "percentiles": {str(q): float(v) for q, v in zip(PERCENTILES, quantiles, strict=True)},
        "used": n,
        "attempted": len(values),
    }


def write_table(path: Path, ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Index, what tells an instance apart, quantities, status, error, wall_s; numbers in full precision."""
    quantities = names_of(rows)
    with runs.atomic(path) as temporary, open(temporary, "w", newline="") as file:
        table = csv.writer(file)
        keys = list(ensemble.instance(0).shown)
        table.writerow(["index", *keys, *quantities, "status", "error", "wall_s"])
        for row in rows:
            shown = ensemble.instance(row["index"]).shown.values()
            found = [row["quantities"].get(name) for name in quantities]
            cells = [row["index"], *shown, *found, row["status"], row["error"], row["wall_s"]]
            table.writerow(["" if c is None else repr(c) if isinstance(c, float) else c for c in cells])
    return path
