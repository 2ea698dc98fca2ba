"""Compare methods in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variform.cli.output import print_table, progress_bar
from variform.errors import InputError


def bench(
    suite: Annotated[str, typer.Argument(help="Name of a suite (demo), or a TOML file.")],
    quick: Annotated[bool, typer.Option("--quick", help="The suite's small settings.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report; a started one is taken up. bench-SUITE by default.")
    ] = None,
    problem: Annotated[
        list[Path] | None, typer.Option(help="A problem file of yours that the suite names; it is run as code.")
    ] = None,
) -> None:
    """Run every method of a suite and write report.html. Example: variform bench demo --out report."""
    from variform import problems
    from variform.benchmarks import runner
    from variform.benchmarks.suite import load

    name, content = load(suite)
    files = {path.stem: problems.load(str(path)) for path in problem or []}
    folder = out or Path(f"bench-{name}")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "results.json").is_file())):
        raise InputError(f"{folder} exists and holds no earlier run of a suite; choose another --out")
    with progress_bar(name) as bar:
        report, results = runner.run(
            name,
            content,
            folder,
            files,
            quick=quick,
            progress=lambda what, fraction, text: bar(fraction, f"{what}  {text}"),
        )
    for task in results["tasks"]:
        rows = [_row(row) for row in task["rows"]]
        print_table(task["title"], rows, ("method", "relative L2 error", "time to solution", "training and data"))
    typer.echo(f"report: {report}")
    if any(row["status"] == "failed" for task in results["tasks"] for row in task["rows"]):
        raise typer.Exit(1)


def _row(row: dict) -> tuple[str, ...]:
    if row["status"] != "done":
        return row["label"], row["status"], "", (row["reason"] or "")[:80]
    cost = row["cost"]
    once = sum(cost.get(key) or 0.0 for key in ("training_s", "data_s"))
    return (
        row["label"],
        f"{row['metrics']['relative_l2']:.2e}",
        f"{cost['wall_s']:.3g} s",
        f"{once:.3g} s" if once else "",
    )
