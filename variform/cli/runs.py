"""Run folders: which there are, and removing them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from variform.cli.output import print_json, print_table
from variform.errors import InputError, unknown

ACTIONS = ("clean", "list")


def runs(
    action: Annotated[str, typer.Argument(help="list or clean.")] = "list",
    folder: Annotated[Path, typer.Option(help="Where the runs lie.")] = Path("runs"),
    failed: Annotated[bool, typer.Option("--failed", help="clean: only runs that failed or were interrupted.")] = False,
    older_than: Annotated[float | None, typer.Option(help="clean: only runs of more than so many days ago.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="clean: do not ask.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the run folders, newest first, or remove some. Example: variform runs clean --failed --older-than 7."""
    if action not in ACTIONS:
        raise unknown("action of runs", action, ACTIONS)
    if action == "list" and (failed or older_than is not None or yes):
        raise InputError("--failed, --older-than and --yes are for: variform runs clean")
    if older_than is not None and not older_than >= 0:
        raise InputError(f"--older-than must be 0 days or more, got {older_than}")
    if not folder.is_dir() and folder != Path("runs"):
        raise InputError(f"no folder {folder}")
    found = sorted(_found(folder), key=lambda run: run["created"], reverse=True)
    if action == "clean":
        _clean([run for run in found if _chosen(run, failed, older_than)], yes=yes, json=json)
    elif json:
        print_json(found)
    else:
        _print(found)


def _found(folder: Path) -> Iterator[dict[str, Any]]:
    """What is told of each run; folders without a record of ours are passed over."""
    from variform.runs import RECORD, read_record

    for path in sorted(folder.glob(f"*/{RECORD}")):
        try:
            record = read_record(path.parent)
        except InputError:
            continue
        if path.parent.is_symlink() or not {"problem", "method", "status", "created"} <= set(record):
            continue
        yield {
            "name": path.parent.name,
            "folder": str(path.parent),
            **{key: str(record[key]) for key in ("problem", "method", "status", "created")},
            "dofs": _within(record, "cost", "dofs"),
            "relative_l2": _within(record, "metrics", "relative_l2"),
            "bytes": sum(p.lstat().st_size for p in path.parent.rglob("*") if not p.is_dir()),
        }


def _within(record: dict[str, Any], part: str, key: str) -> float | None:
    value = record[part].get(key) if isinstance(record.get(part), dict) else None
    return value if isinstance(value, (int, float)) else None


def _chosen(run: dict[str, Any], failed: bool, older_than: float | None) -> bool:
    from datetime import UTC, datetime, timedelta

    if failed and run["status"] == "done":
        return False
    if older_than is None:
        return True
    try:
        created = datetime.fromisoformat(run["created"])
    except ValueError:
        return False  # of unknown age: it stays
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    try:
        return created < datetime.now(UTC) - timedelta(days=older_than)
    except OverflowError:
        return False


def _clean(chosen: list[dict[str, Any]], *, yes: bool, json: bool) -> None:
    """Remove the runs, after asking.

    Raises:
        InputError: there is no one to ask.
    """
    import shutil

    if chosen and not yes:
        if json or not sys.stdin.isatty():
            raise InputError(f"{len(chosen)} runs would be removed: say --yes")
        _print(chosen)
        typer.confirm(f"Remove these {len(chosen)} runs?", abort=True)
    for run in chosen:
        shutil.rmtree(run["folder"])
    if json:
        print_json([run["folder"] for run in chosen])
    else:
        typer.echo(f"removed {len(chosen)} runs, {_size(sum(run['bytes'] for run in chosen))}")


def _print(found: list[dict[str, Any]]) -> None:
    header = ("run", "problem", "method", "status", "created", "dofs", "L2 error", "size")
    rows = [
        (
            run["name"],
            run["problem"],
            run["method"],
            run["status"],
            run["created"][:16].replace("T", " "),
            str(run["dofs"] or "-"),
            "-" if run["relative_l2"] is None else f"{run['relative_l2']:.1e}",
            _size(run["bytes"]),
        )
        for run in found
    ]
    if rows:
        print_table("", rows, header)
    else:
        typer.echo("no runs here; variform solve makes one")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
