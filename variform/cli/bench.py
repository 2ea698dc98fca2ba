"""Compare methods in a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import print_table, progress_bar
from variform.errors import InputError, unknown

if TYPE_CHECKING:
    from variform.benchmarks.suite import Contestant, Row, SetEntry, Suite, TaskEntry
    from variform.problem import Problem


def bench(
    suite: Annotated[str, typer.Argument(help="Name of a suite (demo, darcy, ...), a TOML file, or: compare.")],
    folders: Annotated[list[Path] | None, typer.Argument(help="compare: the folders of two reports.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The suite's small settings.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; a started one is taken up. bench-SUITE by default.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Measure rows again that were measured with other code, or failed.")
    ] = False,
    problem: Annotated[
        list[Path] | None, typer.Option(help="A problem file of yours that the suite names; it is run as code.")
    ] = None,
) -> None:
    """Run every method of a suite and write report.html. Example: variform bench demo --out report."""
    from variform import runs

    if suite == "compare":
        _compare(folders or [])
        return
    if folders:
        raise InputError(f"unexpected {folders[0]}: only compare takes folders; the report goes to --out")
    from variform.benchmarks import runner
    from variform.benchmarks.suite import load

    name, content = load(suite)
    files = {path.stem: _file_of(content, path) for path in problem or []}
    for task in content.task:
        try:
            _check(task, files.get(task.problem))
        except InputError as error:
            raise InputError(f"suite {name}, task {task.name!r}: {error}") from error
    for entry in content.set:
        try:
            _check_set(entry)
        except InputError as error:
            raise InputError(f"suite {name}, set {entry.name!r}: {error}") from error
    folder = out or Path(f"bench-{name}")
    runs.check_parents(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "results.json").is_file())):
        raise InputError(f"{folder} exists and holds no earlier run of a suite; choose another --out")
    with progress_bar(name) as bar:
        report, results = runner.run(
            name,
            content,
            folder,
            files,
            quick=quick,
            refresh=refresh,
            progress=lambda what, fraction, text: bar(fraction, f"{what}  {text}"),
        )
    for task in results["tasks"]:
        rows = [_row(row) for row in task["rows"]]
        print_table(task["title"], rows, ("method", "relative L2 error", "time to solution", "training and data"))
    typer.echo(f"report: {report}")
    if any(row["status"] == "failed" for task in results["tasks"] for row in task["rows"]):
        raise typer.Exit(1)


def _compare(folders: list[Path]) -> None:
    """Print two reports row by row."""
    from variform.benchmarks.compare import compare
    from variform.cli.output import number

    if len(folders) != 2:
        raise InputError(f"bench compare takes the folders of two reports, got {len(folders)}")

    def shown(pair: list[float | None], status: list[str], i: int) -> str:
        return number(pair[i]) if status[i] == "done" else status[i]

    rows = [
        (
            f"{row['task']}: {row['label']}",
            *(shown(row["relative_l2"], row["status"], i) for i in (0, 1)),
            "-" if row["error_ratio"] is None else f"{row['error_ratio']:.3g}",
            *(number(row["wall_s"][i]) for i in (0, 1)),
            "-" if row["time_ratio"] is None else f"{row['time_ratio']:.3g}",
        )
        for row in compare(*folders)
    ]
    print_table("", rows, ("row", "error A", "error B", "B / A", "seconds A", "seconds B", "B / A"))


def _file_of(suite: Suite, path: Path) -> type[Problem]:
    """The class in a user's file, which is run only if the suite names it."""
    from variform import problems

    if ".py" not in path.name:
        raise InputError(f"--problem must be a file, path/to/file.py, got {path}")
    if path.stem not in (names := {task.problem for task in suite.task}):
        raise unknown("problem file: the suite has no problem", path.stem, names)
    return problems.load(str(path))


def _check(task: TaskEntry, kind: type[Problem] | None) -> None:
    """Refuse, before anything is written, settings with which nothing can run."""
    from variform import problems

    for row in task.row:
        try:
            _check_options(row)
        except InputError as error:
            raise InputError(f"row {row.label!r}: {error}") from error
    if kind is None and task.problem not in problems.CATALOGUE:
        return  # a user's file that was not named: the report says so
    instance = (kind or problems.load(task.problem))(**task.set)
    if task.sample and not instance.random:
        raise InputError(f"{task.problem} has no random parameter: leave out sample")
    if task.reference.mesh is None:
        instance.geometry(instance.p).mesh(0)  # refused but where the domain is a mesh


def _check_set(entry: SetEntry) -> None:
    """The same of a data set and its rows."""
    from pydantic import ValidationError

    from variform import data
    from variform.data.recipes import find

    try:
        both = (entry, entry.reduced())
    except ValidationError as error:
        raise InputError(f"quick: {error.errors()[0]['msg']}") from None
    for chosen in both:
        for variant in {"", *(shift.variant for shift in chosen.shifted)}:
            plan = data.plan_of(chosen.data.name, chosen.data.train, resolution=chosen.data.resolution, variant=variant)
            find(plan.name).population(plan)
        for row in chosen.row:
            try:
                _check_contestant(row, chosen.common)
            except InputError as error:
                raise InputError(f"row {row.label!r}: {error}") from error


def _check_contestant(row: Contestant, common: dict[str, Any]) -> None:
    from variform.benchmarks import classical
    from variform.benchmarks.learned import WINDOW
    from variform.operators import Settings
    from variform.operators.networks import NETWORKS

    if row.method in classical.METHODS:
        classical.check(row.method, row.settings)
        return
    if row.method not in NETWORKS:
        raise unknown("method", row.method, {*NETWORKS, *classical.METHODS})
    Settings.of(row.method, {**common, **row.settings})
    for key in WINDOW:
        # Next frames and changes end in the same frames.
        if key in row.settings and (key != "learn" or "solution" in (row.settings[key], common.get(key))):
            raise InputError(f"{key} is the same for all rows of a set: put it into common")


def _check_options(row: Row) -> None:
    from variform import solvers
    from variform.cli.settings import check_option

    if row.method not in solvers.METHODS:
        raise unknown("method", row.method, solvers.METHODS)
    try:
        options = solvers.options_of(row.method)
    except InputError:
        return  # its library is missing: the report says so
    for key, value in (*row.options.items(), *row.quick.items()):
        if key not in options:
            raise unknown(f"option of {row.method}", key, options)
        check_option(key, value, options[key])


def _row(row: dict) -> tuple[str, ...]:
    if row["status"] != "done":
        return row["label"], row["status"], "", (row["reason"] or "")[:80]
    cost, error = row["cost"], row["metrics"]["relative_l2"]
    once = sum(cost.get(key) or 0.0 for key in ("training_s", "data_s"))
    return (
        row["label"],
        "-" if error is None else f"{error:.2e}",
        f"{cost['wall_s']:.3g} s",
        f"{once:.3g} s" if once else "",
    )
