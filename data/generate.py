"""Data sets of many instances: solved batch by batch, one file a batch until all are there.

HDF5 does not survive a kill while it writes, so that each batch goes to a file of its own, complete or not there at
all. A run that was killed goes on with the batches that are missing, and ends with the data that it would have had.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import inspect
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from variform import runs
from variform.data import store
from variform.data.processes import Died, results
from variform.data.recipes import Recipe, find
from variform.data.solved import Plan, Solved, prepare
from variform.errors import ComputationError, InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

REFINED = 4
"""Samples whose discretisation error is estimated."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """Of a generation.

    Args:
        path, digest: of the finished file.
        failed: numbers of the samples without a solution.
        solved: samples solved by this run; the others were there already.
        wall_s: of this run [s].
    """

    path: Path
    digest: str
    failed: tuple[int, ...]
    solved: int
    wall_s: float


def generate(
    plan: Plan,
    path: Path | str,
    *,
    workers: int = 1,
    progress: Progress = lambda fraction, text: None,
) -> Outcome:
    """Make the data set of a plan, or go on making it.

    Args:
        path: of the file; next to it lies `PATH.parts` until it is finished.
        workers: processes that solve batches. How many they are changes no digit: each works on one thread where there
            are several.
        progress: called after every batch.

    Raises:
        InputError: the file exists and holds something else, another run is writing it, the plan cannot be carried out.
        ComputationError: no sample could be solved; the disk is full: what is finished is kept.
    """
    path, start = Path(path), time.perf_counter()
    if path.exists():
        return _finished(plan, path)
    runs.check_parents(path)
    population = find(plan.name).population(plan)
    solved = prepare(population, plan)  # refuses before anything is written
    with _full_disk(path), _claimed(path, plan) as parts:
        done = len(plan.batches) - len(missing := _missing(parts, plan))
        count = 0
        task = BatchTask(plan, parts)
        with closing(_batches(task, missing, workers, solved)) as finished:
            for number, result in finished:
                if isinstance(result, Died):
                    raise ComputationError(f"the process of batch {number} ended by {result}; run the same again")
                if isinstance(result, Exception):
                    raise result
                done, count = done + 1, count + result
                samples = plan.batches[-1].stop if done == len(plan.batches) else done * plan.batch
                progress(done / len(plan.batches), f"{samples} of {plan.count} samples")
        outcome = _merge(path, parts, plan, solved)
        shutil.rmtree(parts)
    return replace(outcome, solved=count, wall_s=time.perf_counter() - start)


def plan_of(
    name: str,
    count: int | None = None,
    *,
    resolution: int | None = None,
    seed: int = 0,
    batch: int | None = None,
    splits: dict[str, int] | None = None,
    **others: Any,
) -> Plan:
    """A plan for a recipe or problem, with the recipe's settings for everything that is not given.

    Args:
        name: of a recipe, else of a catalogue problem with random inputs, or path/to/file.py[:Class].
        splits: name -> number of samples; by default a tenth each for "valid" and "test", the rest for "train".
        others: further fields of `Plan`; None stands for the default.

    Raises:
        InputError: no such name or option; a number that is not allowed.
    """
    recipe = find(name)
    given = {key: value for key, value in others.items() if value is not None}
    count = recipe.count if count is None else count
    resolution = recipe.resolution if resolution is None else resolution
    settings = {**recipe.settings(resolution), **given}
    plan = Plan(
        name=name,
        count=count,
        seed=seed,
        resolution=resolution,
        batch=recipe.batch if batch is None else batch,
        splits=_splits(count) if splits is None else splits,
        code=_code_of(recipe),
        **settings,
    )
    _check(plan, recipe)
    return plan


def _check(plan: Plan, recipe: Recipe) -> None:
    least = {"count": 1, "resolution": 2, "batch": 1, "mesh": 1, "seed": 0, "first": 0}
    if recipe.evolves(plan):
        least |= {"steps": 1, "snapshots": 1}
    for name, smallest in least.items():
        if getattr(plan, name) < smallest:
            raise InputError(f"{name} must be {smallest} or more, got {getattr(plan, name)}")
    try:
        torch.zeros(1, device=plan.device)
    except (AssertionError, RuntimeError) as error:
        raise InputError(f"device {plan.device!r} is not available: {str(error).splitlines()[0]}") from error
    if recipe.evolves(plan) and plan.steps % plan.snapshots:
        raise InputError(f"steps must be a multiple of snapshots, got {plan.steps} and {plan.snapshots}")
    if sum(plan.splits.values()) != plan.count or min(plan.splits.values(), default=0) < 0:
        raise InputError(f"the splits {plan.splits} must have {plan.count} samples together, as many as the data set")


def _splits(count: int) -> dict[str, int]:
    tenth = count // 10
    return {"train": count - 2 * tenth, "valid": tenth, "test": tenth}


def _code_of(recipe: Recipe) -> str:
    """Of a user's file: its code may be another when the run goes on."""
    kind = recipe.kind
    if not kind.__module__.startswith("variform_user_"):
        return ""
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()


@dataclass(frozen=True)
class BatchTask:
    """Solve one batch and write its file; returns the number of samples, or the error that stops everything."""

    plan: Plan
    parts: Path

    def __call__(self, number: int) -> int | Exception:
        try:
            return self.solve(number, _solver_in_this_process(json.dumps(self.plan.json())))
        except (InputError, ComputationError) as error:
            return error
        except OSError as error:
            return OSError(error.errno, error.strerror, error.filename)

    def solve(self, number: int, solved: Solved) -> int:
        start, places = time.perf_counter(), self.plan.batches[number]
        rows = solved.rows([self.plan.first + i for i in places])
        rows = store.with_digests(rows)
        with runs.atomic(_part(self.parts, number)) as temporary:
            np.savez(temporary, wall_s=time.perf_counter() - start, **rows)
        return len(places)


@cache
def _solver_in_this_process(plan: str) -> Solved:
    content = Plan(**json.loads(plan))
    return prepare(find(content.name).population(content), content)


def _batches(
    task: BatchTask, numbers: list[int], workers: int, solved: Solved
) -> Iterator[tuple[int, int | Exception]]:
    if workers > 1:
        yield from results(task, numbers, workers)
        return
    for number in numbers:
        yield number, task.solve(number, solved)


def _part(parts: Path, number: int) -> Path:
    return parts / f"batch-{number:06d}.npz"


def _missing(parts: Path, plan: Plan) -> list[int]:
    """Batches that are not finished; what a kill left unfinished is removed."""
    for left in parts.glob(".batch-*"):
        left.unlink(missing_ok=True)
    return [n for n in range(len(plan.batches)) if not _part(parts, n).is_file()]


@contextmanager
def _claimed(path: Path, plan: Plan) -> Iterator[Path]:
    """The folder of the parts, which this process alone writes to."""
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    with open(parts / "lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{path} is being written by another process; wait for it, or choose another --out"
            ) from None
        stated = parts / "plan.json"
        if stated.is_file():
            _refuse_other_plan(f"{parts} holds a run with other settings", runs.read_record(parts, "plan.json"), plan)
        else:
            runs.write_json(stated, plan.json())
        runs.remove_torn(path)
        yield parts


def _refuse_other_plan(message: str, before: dict[str, Any], plan: Plan) -> None:
    now = json.loads(json.dumps(runs.strict(plan.json())))
    changed = [f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if changed:
        raise InputError(f"{message}: {'; '.join(changed)}. Remove it, or choose another --out")


def _finished(plan: Plan, path: Path) -> Outcome:
    """What is there already, if it is what the plan asks for."""
    data = store.read(path)
    _refuse_other_plan(f"{path} exists already, with other settings", data.info.get("plan", {}), plan)
    parts = path.with_name(f"{path.name}.parts")
    shutil.rmtree(parts, ignore_errors=True)  # a kill after the last rename leaves it
    return Outcome(path, data.info["digest"], data.bad, 0, 0.0)


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises both
        number = getattr(error, "errno", None) or next((n for n in FULL if f"errno = {n}" in str(error)), None)
        if number not in FULL:
            raise
        raise ComputationError(
            f"{os.strerror(number)}: {path} could not be written; the finished batches are kept in {path}.parts: "
            "make room and run the same command again"
        ) from None


def _merge(path: Path, parts: Path, plan: Plan, solved: Solved) -> Outcome:
    """All parts to one file."""
    failed, wall_s = [], 0.0
    for number, places in enumerate(plan.batches):
        part = _read_part(parts, number)
        failed += [i for i, lost in zip(places, part["failed"], strict=True) if lost]
        wall_s += float(part["wall_s"])
    if len(failed) == plan.count:
        raise ComputationError(f"none of the {plan.count} samples of {plan.name} could be solved")
    begin, splits = 0, {}
    for name, size in plan.splits.items():
        splits[name], begin = np.arange(begin, begin + size), begin + size
    header, recipe = solved.header, find(plan.name)
    info = {
        **header.info,
        "plan": plan.json(),
        "card": recipe.card(plan),
        "solve_s": wall_s,
        "failed": failed,
        "refinement": _refinement(plan, solved),
        "created": runs.now(),
        "command": runs.command_line(),
        "environment": runs.environment(),
    }

    def chunks() -> Iterator[store.Rows]:
        for number in range(len(plan.batches)):
            rows = _read_part(parts, number)
            rows.pop("wall_s")
            before = rows.pop("digest")
            rows = store.with_digests(rows)
            if not np.array_equal(before, rows["digest"]):
                _part(parts, number).unlink()
                raise ComputationError(f"batch {number} was damaged on disk and has been removed; run the same again")
            yield rows

    _try_size(path, parts, header)
    digest = store.write_rows(path, replace(header, splits=splits, info=info), chunks(), plan.count)
    return Outcome(path, digest, tuple(failed), 0, 0.0)


def _try_size(path: Path, parts: Path, header: store.Header) -> None:
    """Raise OSError unless there is room for the file: HDF5 breaks down where the disk is full."""
    mesh = 0 if header.mesh is None else header.mesh.points.nbytes + header.mesh.cells.nbytes
    needed = sum(part.stat().st_size for part in parts.iterdir()) + mesh
    trial = parts / ".batch-size"
    try:
        with open(trial, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, needed + needed // 50 + 2**20)
    finally:
        trial.unlink(missing_ok=True)


def _read_part(parts: Path, number: int) -> dict[str, np.ndarray]:
    path = _part(parts, number)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        raise ComputationError(f"batch {number} was damaged on disk and has been removed; run the same again") from None


def _refinement(plan: Plan, solved: Solved) -> dict[str, Any] | None:
    """The discretisation error of a few samples: relative L2 distance, on the grid, to a solution twice as fine."""
    some = min(1 if plan.snapshots else REFINED, plan.count)
    indices = [plan.first + i for i in range(some)]
    coarse, finer = solved.rows(indices), solved.refined()
    if finer is None:
        return None
    fine = finer.rows(indices)
    outputs = [name for name, info in solved.header.fields.items() if info.role == "output"]
    errors = {}
    for name in outputs:
        a, b = (rows[f"fields/{name}"].reshape(len(indices), -1).astype(np.float64) for rows in (coarse, fine))
        with np.errstate(invalid="ignore", divide="ignore"):
            errors[name] = (np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).tolist()
    return {"samples": len(indices), "relative_l2": errors, "against": finer.header.info["discretization"]}
