"""Learned operators and classical solvers on one data set: each training once, all measured on the same samples."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from variform import __version__, data, operators, runs
from variform.benchmarks.suite import Contestant, Samples, SetEntry, Shift, slug
from variform.data.dataset import Dataset
from variform.data.recipes import find
from variform.data.solved import METHODS, Plan, Population, prepare
from variform.errors import ComputationError, InputError
from variform.forms.describe import strong_text, weak_text
from variform.operators.measure import draw_samples, predictions, summary
from variform.problem import Problem

Progress = Callable[[str, float, str], None]
"""(what, fraction done, detail)"""

RESULT = "result.json"
RUNS_OF_TIMING = 3


def run(entry: SetEntry, folder: Path, progress: Progress, *, command: str) -> dict[str, Any]:
    """All rows of a set, as the report takes them; what was finished before is not done again."""
    return Comparison(entry, folder / entry.name, progress, command).results()


class Comparison:
    """One set of a suite while it runs."""

    def __init__(self, entry: SetEntry, folder: Path, progress: Progress, command: str) -> None:
        self.entry, self.folder, self.progress, self.command = entry, folder, progress, command
        folder.mkdir(parents=True, exist_ok=True)
        d = entry.data
        splits = {"train": d.train, "valid": d.valid, "test": d.test}
        self.plan = _plan(d, sum(splits.values()), {k: n for k, n in splits.items() if n}, resolution=d.resolution)
        self.data = self._made(self.plan, "data")
        self.tests = {"test": self.data.part("test")}
        for shift in entry.shifted:
            first = self.plan.count if not shift.variant else 0  # another law has samples of its own
            plan = self._shifted(shift, first)
            self.tests[shift.name] = self._made(plan, shift.name).part("test")

    def _shifted(self, shift: Shift, first: int) -> Plan:
        d = self.entry.data
        resolution = shift.resolution or d.resolution
        return _plan(d, shift.count, {"test": shift.count}, resolution=resolution, variant=shift.variant, first=first)

    def _made(self, plan: Plan, name: str) -> Dataset:
        digest = hashlib.sha256(json.dumps(plan.json(), sort_keys=True, default=str).encode()).hexdigest()[:12]
        path = self.folder / f"{slug(name)}-{digest}.h5"
        label = f"{self.entry.name}: data, {name}"
        data.generate(plan, path, progress=lambda fraction, text: self.progress(label, fraction, text))
        return data.read(path)

    def results(self) -> dict[str, Any]:
        rows = []
        for contestant in self.entry.row:
            runner = self._classical if contestant.method in METHODS else self._learned
            rows.append(runner(contestant))
        population = find(self.entry.data.name).population(self.plan)
        is_problem = isinstance(population.task, Problem)
        errors = (self.data.info.get("refinement") or {}).get("relative_l2") or {}
        found = [float(np.median(v)) for v in errors.values() if len(v)]
        return {
            "name": self.entry.name,
            "title": self.entry.title,
            "description": self._description(),
            "form": weak_text(population.task) if is_problem else "",
            "strong": strong_text(population.task) if is_problem else "",
            "reference": {
                "method": f"{self.plan.method}, the solutions of the data set on "
                f"{' × '.join(map(str, self.data.grid))} points",
                "estimated_error": max(found, default=None),
            },
            "sets": {name: len(part) for name, part in self.tests.items()},
            "rows": _compared(rows),
        }

    def _description(self) -> str:
        d, card = self.entry.data, self.data.info.get("card", {})
        words = f"{d.train} samples to learn from, {d.test} to test."
        return f"{card.get('description', d.name)}. {words}"

    # Networks

    def _learned(self, contestant: Contestant) -> dict[str, Any]:
        """A network, trained with every seed on the whole set, and with the first on smaller ones."""
        settings = {**self.entry.common, **contestant.settings}
        jobs = [(seed, 0) for seed in self.entry.seeds]
        jobs += [(self.entry.seeds[0], size) for size in self.entry.sizes if size < self.entry.data.train]
        done = [self._training(contestant, {**settings, "seed": seed, "samples": size}) for seed, size in jobs]
        whole = [result for result, (_, size) in zip(done, jobs, strict=True) if not size]
        good = [result for result in whole if result["status"] == "done"]
        row = self._row(contestant, whole)
        if not good:
            return row
        middle = sorted(good, key=lambda r: r["tests"]["test"]["median"])[(len(good) - 1) // 2]
        sizes = [(self.entry.data.train, _pooled(good, "test")["median"])]
        sizes += [
            (size, result["tests"]["test"]["median"])
            for result, (_, size) in zip(done, jobs, strict=True)
            if size and result["status"] == "done"
        ]
        return {
            **row,
            "sizes": sorted(sizes),
            "figure": middle["figure"],
            "history": middle["history"],
            "folder": middle["folder"],
            "seed": middle["seed"],
            "command": middle["command"],
        }

    def _training(self, contestant: Contestant, given: dict[str, Any]) -> dict[str, Any]:
        chosen = operators.Settings.of(contestant.method, given)
        name = f"{slug(contestant.label)}-seed{chosen.seed}" + (f"-{chosen.samples}" if chosen.samples else "")
        folder = self.folder / name
        digest = self._digest(chosen.json())
        if (known := _known(folder, digest)) is not None:
            return known
        folder.mkdir(parents=True, exist_ok=True)
        label = f"{self.entry.name}: {contestant.label}, seed {chosen.seed}"
        result: dict[str, Any] = {"digest": digest, "seed": chosen.seed, "folder": name}
        (path,) = self.folder.glob("data-*.h5")
        words = [f"--set {key}={value}" for key, value in given.items() if value not in ("", 0)]
        result["command"] = " ".join(["variform train", contestant.method, str(path), *words])
        try:
            operator = operators.train(
                self.data,
                chosen,
                folder=folder,
                resume=_is_same(folder, chosen),
                progress=lambda fraction, text: self.progress(label, fraction, text),
            )
            operator.save(folder)
            result |= self._measured(operator, folder)
            result["status"] = "done"
        except (ComputationError, InputError, MemoryError) as error:
            result |= {"status": "failed" if not isinstance(error, InputError) else "not applicable"}
            result["reason"] = str(error)
        runs.write_json(folder / RESULT, result)
        return json.loads((folder / RESULT).read_text())

    def _measured(self, operator: operators.Operator, folder: Path) -> dict[str, Any]:
        """Errors on every test set by sample, the picture, the cost of one prediction."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tests, values = {}, {}
        for name, part in self.tests.items():
            predicted, truth = predictions(operator, part, device)
            tests[name] = summary(predicted, truth)["relative_l2"]
            values[name] = _errors(predicted.double().numpy(), truth.double().numpy()).tolist()
            if name == "test":
                figure = draw_samples(operator, part, predicted, truth, folder / "samples.png")
        return {
            "tests": tests,
            "errors": values,
            "figure": str(figure.relative_to(self.folder.parent)),
            "history": [(row["epoch"], row["loss"]) for row in operator.history],
            "cost": {
                "wall_s": _seconds_a_sample(lambda: predictions(operator, self.tests["test"], device)[0]),
                "training_s": operator.info["training_s"],
                "data_s": self.data.info.get("solve_s"),
                "parameters": operator.num_parameters,
            },
        }

    # Classical solvers

    def _classical(self, contestant: Contestant) -> dict[str, Any]:
        """The solver of the data on other discretisations, for the instances of the test sets."""
        folder = self.folder / slug(contestant.label)
        digest = self._digest(contestant.settings)
        result = _known(folder, digest)
        if result is None:
            folder.mkdir(parents=True, exist_ok=True)
            result = {"digest": digest, "seed": self.plan.seed, "folder": folder.name, "command": self.command}
            try:
                result |= self._solved(contestant)
                result["status"] = "done"
            except (ComputationError, InputError, MemoryError) as error:
                result |= {"status": "failed", "reason": str(error)}
            runs.write_json(folder / RESULT, result)
        return self._row(contestant, [result])

    def _solved(self, contestant: Contestant) -> dict[str, Any]:
        population = find(self.entry.data.name).population(self.plan)
        plan = replace(self.plan, method=contestant.method, **contestant.settings)
        test = self.tests["test"]
        begin = self.plan.first + self.plan.count - len(test)
        indices = range(begin, begin + len(test))
        found, seconds = self._rows(population, plan, indices, contestant.label)
        outputs = test.named("output")
        predicted, truth = (
            np.stack([np.asarray(part[name], dtype=float) for name in outputs], axis=1)
            for part in (found, {name: test.read(name) for name in outputs})
        )
        values = _errors(predicted, truth)
        return {
            "tests": {"test": _summary(values)},
            "errors": {"test": values.tolist()},
            "cost": {"wall_s": seconds / len(test), "dofs": found["dofs"]},
        }

    def _rows(self, population: Population, plan: Plan, indices: range, label: str) -> tuple[dict[str, Any], float]:
        """Fields on the grid of the data, and the time of all solves [s], after one batch that does not count."""
        solved = prepare(population, plan)
        batches = [range(a, min(a + plan.batch, indices.stop)) for a in range(indices.start, indices.stop, plan.batch)]
        solved.rows(batches[0])
        parts, seconds = [], 0.0
        for i, batch in enumerate(batches):
            start = time.perf_counter()
            parts.append(solved.rows(batch))
            seconds += time.perf_counter() - start
            self.progress(f"{self.entry.name}: {label}", (i + 1) / len(batches), "")
        names = [name for name, info in solved.header.fields.items() if info.role == "output"]
        states = [part[f"state/{name}"] for part in parts[:1] for name in names if f"state/{name}" in part]
        dofs = sum(int(np.prod(s.shape[1:])) for s in states) or int(np.prod(parts[0][f"fields/{names[0]}"].shape[-2:]))
        return {name: np.concatenate([p[f"fields/{name}"] for p in parts]) for name in names} | {"dofs": dofs}, seconds

    # Rows

    def _digest(self, settings: dict[str, Any]) -> str:
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
        row: dict[str, Any] = {"method": contestant.method, "label": contestant.label}
        first = results[0]
        row |= {"folder": first["folder"], "seed": first["seed"], "command": first["command"]}
        if not good:
            return {**row, "status": first["status"], "reason": first["reason"], "metrics": {}, "cost": {}}
        tests = {name: _pooled(good, name) for name in good[0]["tests"]}
        failed = len(results) - len(good)
        return {
            **row,
            "status": "done",
            "reason": f"{failed} of {len(results)} trainings failed" if failed else None,
            "metrics": {"relative_l2": tests["test"]["median"]},
            "tests": tests,
            "cost": {
                key: float(np.median([result["cost"][key] for result in good]))
                for key, value in good[0]["cost"].items()
                if value is not None
            },
        }


def _compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With what a classical solver of equal error costs, and after how many solutions a training has paid."""
    classical = sorted(
        (row["metrics"]["relative_l2"], row["cost"]["wall_s"])
        for row in rows
        if row["method"] in METHODS and row["status"] == "done"
    )
    for row in rows:
        if row["method"] in METHODS or row["status"] != "done" or not classical:
            continue
        error, cost = row["metrics"]["relative_l2"], row["cost"]
        # The cheapest one that is at least as accurate; errors and costs are measured, nothing is interpolated.
        enough = [seconds for other, seconds in classical if other <= error]
        if not enough:
            continue
        equal = min(enough)
        saved = equal - cost["wall_s"]
        once = cost.get("training_s", 0.0) + (cost.get("data_s") or 0.0)
        row["equal"] = {"classical_s": equal, "speedup": equal / cost["wall_s"]}
        row["equal"]["pays_after"] = once / saved if saved > 0 else None
    return rows


def _plan(d: Samples, count: int, splits: dict[str, int], **others: Any) -> Plan:
    return data.plan_of(d.name, count, seed=d.seed, splits=splits, mesh=d.mesh, **others)


def _known(folder: Path, digest: str) -> dict[str, Any] | None:
    """A result that was finished before, of the same settings and data; failures are tried again."""
    try:
        known = runs.read_record(folder, RESULT)
    except InputError:
        return None
    return known if known.get("digest") == digest and known.get("status") == "done" else None


def _is_same(folder: Path, settings: operators.Settings) -> bool:
    """Whether there is a state of this training to go on from; one of another is left behind."""
    from variform.operators.checkpoint import RECORD
    from variform.operators.train import CHECKPOINTS

    try:
        record = runs.read_record(folder / CHECKPOINTS, RECORD)
        return not settings.differences(operators.Settings(**record["settings"]))
    except (InputError, KeyError, TypeError):
        return False


def _errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Relative L2 errors by sample, over everything else."""
    error, norm = (predicted - truth).reshape(len(truth), -1), truth.reshape(len(truth), -1)
    return np.linalg.norm(error, axis=1) / np.linalg.norm(norm, axis=1)


def _summary(values: np.ndarray) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    q1, median, q3 = np.quantile(finite, (0.25, 0.5, 0.75)) if len(finite) else (np.nan,) * 3
    mean = float(finite.mean()) if len(finite) else float("nan")
    found = {"median": float(median), "q1": float(q1), "q3": float(q3), "mean": mean}
    return {**found, "n": len(finite), "attempted": len(values)}


def _pooled(results: list[dict[str, Any]], test: str) -> dict[str, Any]:
    """Over the samples of all seeds."""
    return _summary(np.concatenate([np.array(r["errors"][test], dtype=float) for r in results]))


def _seconds_a_sample(predict: Callable[[], Any]) -> float:
    """Of predictions in batches; the median of a few runs after one that does not count."""
    count, seconds = len(predict()), []
    for _ in range(RUNS_OF_TIMING):
        start = time.perf_counter()
        predict()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)) / count
