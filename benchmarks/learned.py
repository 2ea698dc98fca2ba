"""Learned operators and classical solvers on one data set: each training once, all measured on the same samples."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from variform import __version__, data, operators, runs
from variform.benchmarks import classical, closure
from variform.benchmarks.code import code_digest, stale
from variform.benchmarks.scores import Scores, formulas, scores, spread
from variform.benchmarks.suite import Contestant, Samples, SetEntry, Shift, slug
from variform.data.dataset import Dataset
from variform.data.recipes import find
from variform.data.solved import Plan, Population
from variform.errors import ComputationError, InputError
from variform.forms.describe import strong_text, weak_text
from variform.operators.examples import Channels, Examples, resolve
from variform.operators.known import closures
from variform.operators.measure import TOGETHER, draw_samples, predictions
from variform.operators.train import CHECKPOINTS
from variform.problem import Problem

log = logging.getLogger(__name__)

Progress = Callable[[str, float, str], None]
"""(what, fraction done, detail)"""

CLASSICAL = (
    "classical rows solve the same instances on other discretisations, in batches, from what networks are given; "
    "their time is that of the solve alone"
)
RESULT, BEGUN = "result.json", "begun.json"
RUNS_OF_TIMING = 3


def run(entry: SetEntry, folder: Path, progress: Progress, *, command: str, refresh: bool = False) -> dict[str, Any]:
    """All rows of a set, as the report takes them; what was finished before is not done again.

    Args:
        refresh: but for what was measured with other code.
    """
    return Comparison(entry, folder / entry.name, progress, command, refresh).results()


class Comparison:
    """One set of a suite while it runs."""

    def __init__(self, entry: SetEntry, folder: Path, progress: Progress, command: str, refresh: bool) -> None:
        self.entry, self.folder, self.progress = entry, folder, progress
        self.command, self.refresh = command, refresh
        self.device = classical.device()
        folder.mkdir(parents=True, exist_ok=True)
        d = entry.data
        splits = {"train": d.train, "valid": d.valid, "test": d.test}
        self.plan = _plan(d, sum(splits.values()), {k: n for k, n in splits.items() if n}, resolution=d.resolution)
        self.path = self._path(self.plan, "data")
        self.data = self._made(self.plan, "data")
        self.tests = {"test": self.data.part("test")}
        for shift in entry.shifted:
            self.tests[shift.name] = self._made(self._shifted(shift), shift.name).part("test")

    def _shifted(self, shift: Shift) -> Plan:
        """Instances after those of the set: the random streams of another law are the same ones."""
        d, first = self.entry.data, self.plan.count
        resolution = shift.resolution or d.resolution
        return _plan(d, shift.count, {"test": shift.count}, resolution=resolution, variant=shift.variant, first=first)

    def _path(self, plan: Plan, name: str) -> Path:
        digest = hashlib.sha256(json.dumps(plan.json(), sort_keys=True, default=str).encode()).hexdigest()[:12]
        return self.folder / f"{slug(name)}-{digest}.h5"

    def _made(self, plan: Plan, name: str) -> Dataset:
        path = self._path(plan, name)
        label = f"{self.entry.name}: data, {name}"
        data.generate(plan, path, progress=lambda fraction, text: self.progress(label, fraction, text))
        return data.read(path, on=self.entry.data.on)

    @cached_property
    def population(self) -> Population:
        return find(self.entry.data.name).population(self.plan)

    def results(self) -> dict[str, Any]:
        rows = [
            self._classical(row) if row.method in classical.METHODS else self._learned(row) for row in self.entry.row
        ]
        is_problem = isinstance(self.population.task, Problem) and self.data.times is None
        errors = (self.data.info.get("refinement") or {}).get("relative_l2") or {}
        found = [float(np.median(v)) for v in errors.values() if len(v)]
        return {
            "name": self.entry.name,
            "title": self.entry.title,
            "description": self._description(),
            "form": weak_text(self.population.task) if is_problem else "",
            "strong": strong_text(self.population.task) if is_problem else "",
            "reference": {
                "method": f"{self.plan.method}, the solutions of the data set {self._where()}",
                "estimated_error": max(found, default=None),
            },
            "sets": self._sets(),
            "formulas": formulas(self.data),
            "classical": CLASSICAL,
            "rows": _compared(rows),
        }

    def _where(self) -> str:
        return f"on {' × '.join(map(str, self.data.grid))} points" if self.data.grid else "on meshes"

    def _sets(self) -> dict[str, dict[str, Any]]:
        shifts = {shift.name: shift for shift in self.entry.shifted}
        found = {}
        for name, part in self.tests.items():
            kind = "same" if name == "test" else "shifted" if shifts[name].variant else "resolution"
            found[name] = {"count": len(part), "points": part.grid[0] if part.grid else None, "kind": kind}
        return found

    def _description(self) -> str:
        d, card = self.entry.data, self.data.info.get("card", {})
        words = f"{d.train} samples to learn from, {d.test} to test."
        return f"{card.get('description', d.name).rstrip('.')}. {words}"

    # Networks

    def _learned(self, contestant: Contestant) -> dict[str, Any]:
        """A network, trained with every seed on the whole set, and with the first on smaller ones."""
        settings = {**self.entry.common, **contestant.settings}
        jobs = [(seed, 0) for seed in self.entry.seeds]
        jobs += [(self.entry.seeds[0], size) for size in self.entry.sizes if size < self.entry.data.train]
        budget = settings.get("seconds", 0)
        done = []
        for seed, size in jobs:
            part = {"seconds": budget * size / self.entry.data.train} if size and budget else {}
            done.append(self._training(contestant, {**settings, "seed": seed, "samples": size, **part}))
        whole = [result for result, (_, size) in zip(done, jobs, strict=True) if not size]
        good = [result for result in whole if result["status"] == "done"]
        row = self._row(contestant, whole)
        if not good:
            return row
        medians = [np.inf if (m := result["tests"]["test"]["median"]) is None else m for result in good]
        middle = good[np.argsort(medians, kind="stable")[(len(good) - 1) // 2]]
        sizes = [(self.entry.data.train, _pooled(good, "test")["median"])]
        sizes += [
            (size, result["tests"]["test"]["median"])
            for result, (_, size) in zip(done, jobs, strict=True)
            if size and result["status"] == "done"
        ]
        shown = ("figure", "worst", "history", "folder", "seed", "command")
        return {**row, "sizes": sorted(sizes), **{key: middle[key] for key in shown}}

    def _training(self, contestant: Contestant, given: dict[str, Any]) -> dict[str, Any]:
        """The result of one training, from its folder if it was finished before."""
        before: dict[str, Any] = {}
        if contestant.start:
            begin = self.folder / _name(contestant.start, operators.Settings.of(contestant.method, given))
            before, given = runs.read_record(begin, RESULT), {**given, "start": str(begin)}
        chosen = operators.Settings.of(contestant.method, given)
        folder = self.folder / _name(contestant.label, chosen)
        digest = self._digest({**chosen.json(), "start": before.get("digest")})
        if (known := self._known(folder, digest)) is not None:
            return known
        folder.mkdir(parents=True, exist_ok=True)
        label = f"{self.entry.name}: {contestant.label}, seed {chosen.seed}"
        result: dict[str, Any] = {"digest": digest, "code": code_digest(), "seed": chosen.seed, "folder": folder.name}
        result["command"] = self._training_command(contestant, given)
        try:
            operator = operators.train(
                self.data,
                chosen,
                folder=folder,
                resume=_was_begun(folder, result),
                progress=lambda fraction, text: self.progress(label, fraction, text),
            )
            operator.save(folder)
            result |= self._measured(operator, folder)
            result["cost"]["training_s"] += before.get("cost", {}).get("training_s", 0.0)
            result["status"] = "done"
        except Exception as error:
            result |= failed(error)
        runs.write_json(folder / RESULT, result)
        return json.loads((folder / RESULT).read_text())

    def _training_command(self, contestant: Contestant, given: dict[str, Any]) -> str:
        unset = operators.Settings(contestant.method).json()
        words = [f"--set {key}={value}" for key, value in given.items() if key not in unset or value != unset[key]]
        where = ["--on mesh"] if self.entry.data.on == "mesh" else []
        return " ".join(["variform train", contestant.method, str(self.path), *where, *words])

    def _measured(self, operator: operators.Operator, folder: Path) -> dict[str, Any]:
        """Errors on every test set by sample, the pictures, the cost of one prediction."""
        errors, more = {}, {}
        for name, part in self.tests.items():
            predicted, truth = predictions(operator, part, self.device)
            times = self._times(part, truth.shape[1])
            found = scores(predicted.double().numpy(), truth.double().numpy(), part, times)
            errors[name] = found.by_sample["relative_l2"]
            if name == "test":
                more = _stored(found, times) | self._climate(predicted.numpy(), truth.numpy())
                figure = draw_samples(operator, part, predicted, truth, folder / "samples.png")
                worst = draw_samples(operator, part, predicted, truth, folder / "worst.png", worst=True)
        labelled = operator.settings.loss != "none"
        return {
            "tests": {name: spread(values) for name, values in errors.items()},
            "errors": {name: values.tolist() for name, values in errors.items()},
            **more,
            "figure": str(figure.relative_to(self.folder.parent)),
            "worst": str(worst.relative_to(self.folder.parent)),
            "history": [(row["epoch"], row["loss"]) for row in operator.history],
            "cost": {
                "wall_s": self._seconds_a_sample(operator),
                "training_s": operator.info["training_s"],
                "data_s": self._data_s(operator) if labelled else None,
                "parameters": operator.num_parameters,
            },
        }

    def _seconds_a_sample(self, operator: operators.Operator) -> float:
        """Of predictions in batches that are on the device: the median of a few runs after one that does not count."""
        examples, learned = operator.examples(self.tests["test"]), operator.learned.to(self.device)
        parts = np.array_split(np.arange(len(examples)), -(-len(examples) // TOGETHER))
        batches, seconds = [examples.__getitems__(part).to(self.device) for part in parts], []
        for _ in range(1 + RUNS_OF_TIMING):
            start = time.perf_counter()
            for batch in batches:
                operator(batch)
            if self.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        learned.to("cpu")
        return float(np.median(seconds[1:])) / len(examples)

    def _climate(self, predicted: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        """Statistics of the trajectories of a system with a coarse part; nothing of other data."""
        if not closures(self.data):
            return {}
        times = self._times(self.tests["test"], truth.shape[1])
        found = {f"climate, {name}": value for name, value in closure.climate(predicted, truth).items()}
        found["valid time"] = float(np.median(closure.valid_time(predicted, truth, times)))
        return {"quantities": {name: {"value": value} for name, value in found.items()}}

    def _data_s(self, operator: operators.Operator) -> float:
        """What the solutions cost that it has learned from."""
        return self.data.info["solve_s"] * operator.info["samples"] / len(self.data)

    def _times(self, part: Dataset, count: int) -> np.ndarray | None:
        """Of the predicted frames, since the last one that was given [s]; None of stationary data."""
        if part.times is None:
            return None
        window = operators.Settings.of("fno", _window(self.entry))
        if resolve(window, part) == "solution":
            return part.times[-1:] - part.times[0]
        given = (window.frames - 1) * window.stride
        return part.times[given + window.stride * np.arange(1, count + 1)] - part.times[given]

    # Classical solvers

    def _classical(self, contestant: Contestant) -> dict[str, Any]:
        """A solver on another discretisation, for the instances of the test sets."""
        folder = self.folder / slug(contestant.label)
        digest = self._digest([contestant.method, contestant.settings, _window(self.entry)])
        result = self._known(folder, digest)
        if result is None:
            folder.mkdir(parents=True, exist_ok=True)
            result = {"digest": digest, "code": code_digest(), "seed": self.plan.seed, "folder": folder.name}
            result["command"] = self.command
            try:
                result |= self._solved(contestant)
                result["status"] = "done"
            except Exception as error:
                result |= failed(error)
            runs.write_json(folder / RESULT, result)
        return self._row(contestant, [result])

    def _solved(self, contestant: Contestant) -> dict[str, Any]:
        test, plan = self.tests["test"], self.plan
        begin = plan.first + plan.count - len(test)
        settings = operators.Settings.of("fno", _window(self.entry))
        examples = Examples(test, settings, measured=True, channels=Channels.of(test), dtype=torch.float64)
        truth = examples.__getitems__(range(len(examples))).target.numpy()
        indices = range(begin, begin + len(test))
        instances = classical.Instances(self.population, plan, indices, test, examples, contestant.settings)
        label = f"{self.entry.name}: {contestant.label}"
        solved = classical.solve(contestant.method, instances, lambda done: self.progress(label, done, ""))
        times = self._times(test, truth.shape[1])
        found = scores(solved.values, truth, test, times)
        values = found.by_sample["relative_l2"]
        return {
            "tests": {"test": spread(values)},
            "errors": {"test": values.tolist()},
            **_stored(found, times),
            **self._climate(solved.values, truth),
            "cost": {"wall_s": solved.seconds / len(test), "dofs": solved.dofs},
        }

    # Rows

    def _known(self, folder: Path, digest: str) -> dict[str, Any] | None:
        """A result that was finished before, of the same settings and data; failures are tried again."""
        try:
            known = runs.read_record(folder, RESULT)
        except InputError:
            return None
        if known.get("digest") != digest or known.get("status") != "done" or (self.refresh and stale(known)):
            return None
        return known

    def _digest(self, settings: Any) -> str:
        """What a result depends on."""
        content = [
            __version__,
            settings,
            self.data.info["digest"],
            {k: t.info["digest"] for k, t in self.tests.items()},
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()

    def _row(self, contestant: Contestant, results: list[dict[str, Any]]) -> dict[str, Any]:
        """A row of the report from all seeds; what failed stays in it."""
        good = [result for result in results if result["status"] == "done"]
        failures = [f"seed {r['seed']}: {r['reason']}" for r in results if r["status"] != "done"]
        row: dict[str, Any] = {"method": contestant.method, "label": contestant.label, "seeds": len(results)}
        row |= {"failures": failures, "stale": next(filter(None, map(stale, good)), None)}
        first = results[0]
        row |= {"folder": first["folder"], "seed": first["seed"], "command": first["command"]}
        if not good:
            return {**row, "status": first["status"], "reason": first["reason"], "metrics": {}, "cost": {}}
        tests = {name: _pooled(good, name) for name in good[0]["tests"]}
        return {
            **row,
            "status": "done",
            "reason": f"{len(failures)} of {len(results)} trainings failed" if failures else None,
            "metrics": {"relative_l2": tests["test"]["median"]},
            "tests": tests,
            "scores": {name: spread(_joined(good, "scores", name)) for name in good[0]["scores"]},
            "frames": _by_frame(good),
            "quantities": _quantities(good),
            "cost": {
                key: float(np.median([result["cost"][key] for result in good]))
                for key, value in good[0]["cost"].items()
                if value is not None
            },
        }


def _compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what a classical solver of equal error costs, and after how many solutions a training has paid."""
    measured = sorted(
        (row["metrics"]["relative_l2"], row["cost"]["wall_s"])
        for row in rows
        if row["method"] in classical.METHODS and row["status"] == "done"
    )
    for row in rows:
        if row["method"] in classical.METHODS or row["status"] != "done" or not measured:
            continue
        error, cost = row["metrics"]["relative_l2"], row["cost"]
        # The cheapest one that is at least as accurate; errors and costs are measured, nothing is interpolated.
        enough = [seconds for other, seconds in measured if other <= error]
        if not enough:
            continue
        equal = min(enough)
        saved = equal - cost["wall_s"]
        once = cost.get("training_s", 0.0) + (cost.get("data_s") or 0.0)
        row["equal"] = {"classical_s": equal, "speedup": equal / cost["wall_s"]}
        row["equal"]["pays_after"] = once / saved if saved > 0 else None
    return rows


def _plan(d: Samples, count: int, splits: dict[str, int], **others: Any) -> Plan:
    given = {"mesh": d.mesh, "steps": d.steps, "snapshots": d.snapshots}
    return data.plan_of(d.name, count, seed=d.seed, splits=splits, **given, **others)


def failed(error: Exception) -> dict[str, str]:
    """What a row says that did not end well, whatever it was: the other rows go on."""
    if isinstance(error, InputError | ComputationError):
        return {"status": "not applicable" if isinstance(error, InputError) else "failed", "reason": str(error)}
    log.exception("a row failed")
    return {"status": "failed", "reason": ": ".join([type(error).__name__, *str(error).splitlines()[:1]])}


WINDOW = ("learn", "frames", "ahead", "stride")


def _window(entry: SetEntry) -> dict[str, Any]:
    """Which frames are given and which are predicted, of all rows of a set."""
    found = {key: entry.common[key] for key in WINDOW if key in entry.common}
    return {**found, "learn": "next"} if found.get("learn") == "change" else found


def _stored(found: Scores, times: np.ndarray | None) -> dict[str, Any]:
    """All metrics by sample, and errors by sample and frame, as JSON content."""
    stored: dict[str, Any] = {"scores": {name: values.tolist() for name, values in found.by_sample.items()}}
    if found.by_frame is not None and times is not None:
        stored["frames"] = {"times": times.tolist(), "errors": found.by_frame.tolist()}
    return stored


def _joined(results: list[dict[str, Any]], key: str, name: str) -> np.ndarray:
    """One array of all seeds; what is no number in JSON is none here."""
    return np.concatenate([np.array(result[key][name], dtype=float) for result in results])


def _by_frame(results: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Quartiles of the errors at each time; None where there is one frame alone."""
    if "frames" not in results[0]:
        return None
    errors = _joined(results, "frames", "errors")
    errors = np.where(np.isfinite(errors), errors, np.inf)
    q1, median, q3 = np.quantile(errors, (0.25, 0.5, 0.75), axis=0, method="nearest")
    return {"times": results[0]["frames"]["times"], "median": median.tolist(), "q1": q1.tolist(), "q3": q3.tolist()}


def _quantities(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds."""
    names = results[0].get("quantities", {})
    values = {name: [r["quantities"][name]["value"] for r in results] for name in names}
    return {name: {"value": float(np.median(np.array(v, dtype=float)))} for name, v in values.items()}


def _name(label: str, settings: operators.Settings) -> str:
    """Of a training's folder."""
    return f"{slug(label)}-seed{settings.seed}" + (f"-{settings.samples}" if settings.samples else "")


def _was_begun(folder: Path, result: dict[str, Any]) -> bool:
    """Whether the state in the folder is of a training for this very result; if not, what is there is left behind."""
    begun = {key: result[key] for key in ("digest", "code")}
    try:
        if runs.read_record(folder, BEGUN) == begun:
            return True
    except InputError:
        pass
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    runs.write_json(folder / BEGUN, begun)
    return False


def _pooled(results: list[dict[str, Any]], test: str) -> dict[str, Any]:
    """Over the samples of all seeds."""
    return spread(_joined(results, "errors", test))
