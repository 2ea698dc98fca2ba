"""Two reports of one suite, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from variform import runs
from variform.errors import InputError

RESULTS = "results.json"


def compare(a: Path, b: Path) -> list[dict[str, Any]]:
    """What became of every row that either has: errors, times, and their ratios b / a (None where one is missing).

    Raises:
        InputError: one is no folder of a report, or the two are of different suites.
    """
    first, second = (runs.read_record(folder, RESULTS) for folder in (a, b))
    for folder, results in ((a, first), (b, second)):
        if "suite" not in results or "tasks" not in results:
            raise InputError(f"{folder / RESULTS} holds no results of a suite")
    if first["suite"] != second["suite"]:
        raise InputError(f"{a} is of suite {first['suite']!r}, {b} of {second['suite']!r}")
    rows: dict[tuple[str, str], list[dict[str, Any] | None]] = {}
    for i, results in enumerate((first, second)):
        for task in results["tasks"]:
            for row in task["rows"]:
                rows.setdefault((task["name"], row["label"]), [None, None])[i] = row
    return [
        {
            "task": task,
            "label": label,
            "status": [row["status"] if row else "missing" for row in pair],
            "relative_l2": (errors := [_of(row, "metrics", "relative_l2") for row in pair]),
            "wall_s": (times := [_of(row, "cost", "wall_s") for row in pair]),
            "error_ratio": _ratio(*errors),
            "time_ratio": _ratio(*times),
        }
        for (task, label), pair in rows.items()
    ]


def _of(row: dict[str, Any] | None, part: str, key: str) -> float | None:
    return (row or {}).get(part, {}).get(key)


def _ratio(a: float | None, b: float | None) -> float | None:
    return b / a if a and b is not None else None
