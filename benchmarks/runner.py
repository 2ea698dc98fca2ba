"""Run a suite: every row once, in a folder of its own; what is finished is not done again."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from variform import __version__, figures, problems, runs, solvers
from variform.benchmarks import classical, learned
from variform.benchmarks.code import code_digest, stale
from variform.benchmarks.metrics import Truth
from variform.benchmarks.record import describe
from variform.benchmarks.report import write_report
from variform.benchmarks.suite import Reference, Row, Suite, TaskEntry, slug
from variform.errors import ComputationError, InputError
from variform.forms.describe import strong_text, weak_text
from variform.mesh import Mesh
from variform.meshes import refine
from variform.problem import Problem
from variform.solution import Solution

Progress = Callable[[str, float, str], None]
"""(what, fraction done, detail)"""


class Task:
    """One task of a suite while it runs."""

    def __init__(
        self, entry: TaskEntry, problem: Problem, folder: Path, progress: Progress, *, refresh: bool = False
    ) -> None:
        self.entry, self.problem, self.folder, self.progress = entry, problem, folder, progress
        self.refresh = refresh

    @cached_property
    def reference(self) -> Solution:
        """The finite-element solution that every row is measured against."""
        return self._solve_reference(self.entry.reference)

    @cached_property
    def truth(self) -> Truth:
        """Its values where errors are measured."""
        return Truth.of_solution(self.reference)

    @cached_property
    def picture_mesh(self) -> Mesh:
        """Where pictures are drawn: the reference's mesh, or a coarser one of a box, which no one can tell apart."""
        own = self.entry.reference.mesh
        return self.problem.geometry(self.problem.p).mesh(min(own, 64)) if own else self.reference.mesh

    @cached_property
    def picture(self) -> np.ndarray:
        """The reference's values there."""
        return self.reference.at(self.picture_mesh.points.T)

    def describe_reference(self) -> dict[str, Any]:
        """What the report says of the reference; its error is estimated from a coarser solve."""
        spec = self.entry.reference
        stored = self.folder / "reference.json"
        digest = _digest(spec, self.entry, self.problem)
        if stored.is_file() and (known := json.loads(stored.read_text()))["digest"] == digest:
            return known
        self.folder.mkdir(parents=True, exist_ok=True)
        figure = figures.field(
            self.picture_mesh, self.picture, self.folder / "reference.png", title="Reference", unit=self._unit
        )
        known = {
            "digest": digest,
            "method": self._reference_name(),
            "estimated_error": self._estimated_error(),
            "figure": str(figure.relative_to(self.folder.parent)),
        }
        runs.write_json(stored, known)
        return known

    def _estimated_error(self) -> float | None:
        """From the difference to a solve with half the cells and steps; None on a mesh file: it has no coarser mesh.

        The difference is 2^k - 1 times the error at order k: a third of it is an upper estimate at order 2 and above.
        """
        spec = self.entry.reference
        if spec.mesh is None:
            return None
        coarser = spec.model_copy(update={"mesh": spec.mesh // 2, "steps": max(spec.steps // 2, 1)})
        return self.truth.errors(self._solve_reference(coarser))["relative_l2"] / 3

    def run(self, row: Row) -> dict[str, Any]:
        """One row of the report, from its folder if it was finished before."""
        folder = self.folder / slug(row.label)
        digest = _digest(row, self.entry, self.problem)
        try:
            known = runs.read_record(folder)
            old = stale(known)
            if known.get("digest") == digest and known["status"] != "failed" and not (old and self.refresh):
                return {**known["row"], "stale": old}
        except InputError:
            pass
        folder.mkdir(parents=True, exist_ok=True)
        try:
            result = self._compute(row, folder)
            status, reason = "done", None
        except Exception as error:
            failed = learned.failed(error)
            result, status, reason = {}, failed["status"], failed["reason"]
        shown = {"method": row.method, "label": row.label, "status": status, "reason": reason, "stale": None}
        shown["command"] = self._command(row)
        entry = {**shown, "metrics": {}, "quantities": {}, "cost": {}, **result, "folder": str(folder.name)}
        record = entry.pop("record", {})
        marks = {"status": status, "digest": digest, "code": code_digest()}
        runs.write_json(folder / runs.RECORD, {**record, **marks, "row": entry})
        return entry

    def _compute(self, row: Row, folder: Path) -> dict[str, Any]:
        def progress(fraction: float, text: str) -> None:
            self.progress(f"{self.entry.name}: {row.label}", fraction, text)

        solution = solvers.solve(self.problem, row.method, progress=progress, **row.options)
        record = describe(self.problem, self.entry.problem, row.method, solution, self.truth.errors(solution))
        values = solution.at(self.picture_mesh.points.T)
        figure = figures.comparison(self.picture_mesh, self.picture, values, folder / "comparison.png", unit=self._unit)
        quantities = record["metrics"].pop("quantities")
        return {
            "record": record,
            "metrics": record["metrics"],
            "quantities": quantities,
            "cost": record["cost"],
            "seed": solution.discretization.get("seed"),
            "figure": str(figure.relative_to(self.folder.parent)),
            "history": _curve(getattr(solution, "training", None)),
        }

    def _solve_reference(self, spec: Reference) -> Solution:
        mesh: Any = self.problem.geometry(self.problem.p).mesh(spec.mesh or 0)
        for _ in range(spec.refine):
            mesh = refine(mesh)
        options = {"steps": spec.steps} if self.problem.time else {}

        def progress(fraction: float, text: str) -> None:
            self.progress(f"{self.entry.name}: reference", fraction, text)

        return solvers.solve(self.problem, "fem", mesh=mesh, degree=spec.degree, progress=progress, **options)

    def _reference_name(self) -> str:
        spec = self.entry.reference
        where = f"{spec.mesh} cells a side" if spec.mesh else f"the mesh refined {spec.refine} times"
        return f"FEM P{spec.degree}, {where}" + (f", {spec.steps} steps" if self.problem.time else "")

    def _command(self, row: Row) -> str:
        """What reproduces the row on a command line."""
        name = self.entry.problem
        where = name if name in problems.CATALOGUE else os.path.relpath(inspect.getfile(type(self.problem)))
        words = ["variform solve", where, f"--method {row.method}"]
        words += [f"--mesh {row.options['mesh']}"] if "mesh" in row.options else []
        fixed: dict[str, Any] = {}
        for key, value in self.entry.set.items():
            fixed |= {f"{key}.{r}": v for r, v in value.items()} if isinstance(value, dict) else {key: value}
        settings = {**fixed, **{k: v for k, v in row.options.items() if k != "mesh"}}
        if self.entry.sample:
            drawn = f"sample:{self.entry.sample.seed}:{self.entry.sample.index}"
            settings |= dict.fromkeys(self.problem.random, drawn)
        return " ".join(words + [f"--set {key}={value}" for key, value in settings.items()])

    @property
    def _unit(self) -> str:
        unit = next(iter(self.problem.fields.values())).unit
        return "" if unit == "-" else unit


def run(
    name: str,
    suite: Suite,
    folder: Path,
    files: dict[str, type[Problem]],
    *,
    quick: bool,
    progress: Progress,
    refresh: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Run what is not finished yet and write results.json and report.html.

    Args:
        name, suite: from `suite.load`.
        folder: may hold an earlier, unfinished run of the same suite.
        files: stem -> problem class of the user's files that were named on the command line.
        quick: take the `quick` options of each row.
        refresh: rows that were measured with other code are measured again; otherwise they are marked.

    Returns:
        The report's path and its content.
    """
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "suite": name,
        "title": suite.title,
        "created": runs.now(),
        "command": runs.command_line(),
        "environment": _environment(),
        "tasks": [],
    }
    runs.write_json(folder / "results.json", results)  # marks the folder as this suite's
    for entry in suite.task:
        results["tasks"].append(_run_task(entry, folder, files, quick, progress, refresh))
        results["wall_s"] = time.perf_counter() - start
        runs.write_json(folder / "results.json", results)
    for entry in suite.set:
        chosen = entry.reduced() if quick else entry
        command = runs.command_line()
        results["tasks"].append(learned.run(chosen, folder, progress, command=command, refresh=refresh))
        results["wall_s"] = time.perf_counter() - start
        runs.write_json(folder / "results.json", results)
    return write_report(results, folder), results


def _environment() -> dict[str, Any]:
    """Of rows on a GPU too."""
    found = runs.environment()
    if classical.device() == "cuda":
        import torch

        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _run_task(
    entry: TaskEntry,
    folder: Path,
    files: dict[str, type[Problem]],
    quick: bool,
    progress: Progress,
    refresh: bool,
) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": entry.name, "title": entry.title}
    if entry.problem not in problems.CATALOGUE and entry.problem not in files:
        reason = f"its problem is a file of yours: name it, --problem path/to/{entry.problem}.py"
        rows = [{"method": r.method, "label": r.label, "status": "not applicable", "reason": reason} for r in entry.row]
        return {**shown, "description": "", "rows": rows}
    kind = files.get(entry.problem) or problems.load(entry.problem)
    problem = kind(**entry.set)
    if entry.sample:
        problem = problem.sample(entry.sample.seed, entry.sample.index)
    task = Task(entry, problem, folder / entry.name, progress, refresh=refresh)
    rows = [task.run(_quickened(row) if quick else row) for row in entry.row]
    try:
        reference = task.describe_reference()
    except (ComputationError, InputError) as error:  # the rows say so too; other tasks go on
        reference = {"method": f"none: {error}"}
    return {
        **shown,
        "description": _first_paragraph(kind.__doc__ or ""),
        "form": weak_text(problem),
        "strong": strong_text(problem),
        "reference": reference,
        "rows": rows,
    }


def _curve(history: list[tuple[int, float]] | None) -> list[tuple[int, float]] | None:
    """A training curve for a logarithmic axis: an energy, which may be negative, as its height above the last."""
    if not history or min(value for _, value in history) > 0:
        return history
    return [(step, value - history[-1][1]) for step, value in history[:-1]]


def _quickened(row: Row) -> Row:
    return row.model_copy(update={"options": {**row.options, **row.quick}})


def _digest(spec: Any, entry: TaskEntry, problem: Problem) -> str:
    """What a stored result depends on: its settings, the task's, the version, and the file that states the problem."""
    content = [spec.model_dump(), entry.reference.model_dump(), entry.set, entry.sample and entry.sample.model_dump()]
    text = json.dumps([__version__, type(problem).__qualname__, *content], sort_keys=True, default=str)
    return hashlib.sha256(text.encode() + Path(inspect.getfile(type(problem))).read_bytes()).hexdigest()


def _first_paragraph(text: str) -> str:
    paragraphs = [" ".join(p.split()) for p in text.strip().split("\n\n")]
    return " ".join(p for p in paragraphs if not p.startswith("Source:"))
