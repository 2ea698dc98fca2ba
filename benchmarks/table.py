"""results.csv: the numbers of a benchmark for a spreadsheet, one line a task, row and test set."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from variform.benchmarks.schema import TEST, Results, Row, Spread, TaskResults, TestSet, checked, finite
from variform.runs import atomic

FILE = "results.csv"


def write_csv(results: dict[str, Any] | Results, folder: Path) -> Path:
    """Write the table beside results.json; a row without test sets, finished or not, has one line.

    `median`, `q1`, `q3` and `mean` are of the relative L2 error by sample; of a single solve, `median` is its error.
    Times are in seconds. Every score has a column for its median and one for each quartile, on the set "test".

    Raises:
        InputError: the results lack something or have it of another kind; the message names it.
    """
    content = results if isinstance(results, Results) else checked(results)
    lines = list(_lines(content))
    columns = list(dict.fromkeys(name for line in lines for name in line))
    with atomic(Path(folder) / FILE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(_empty()))
        writer.writeheader()
        writer.writerows(lines)
    return Path(folder) / FILE


def _lines(results: Results) -> Iterator[dict[str, Any]]:
    for task in results.tasks:
        for row in task.rows:
            alone = Spread(median=row.metrics.get("relative_l2"))
            for name, spread in (row.tests or {"": alone}).items():
                yield _line(task, row, name, spread)


def _line(task: TaskResults, row: Row, name: str, spread: Spread) -> dict[str, Any]:
    about = task.sets.get(name) or TestSet(count=0)
    known = name in task.sets
    counts = {"n": spread.n, "attempted": spread.attempted} if name else {}
    return _empty() | {
        "task": task.name,
        "method": row.method,
        "label": row.label,
        "status": row.status,
        "reason": row.reason,
        "stale": row.stale,
        "seed": row.seed,
        "seeds": row.seeds,
        "set": name,
        "kind": about.kind if known else "",
        "points": about.points,
        "count": about.count if known else "",
        **counts,
        "median": _number(spread.median),
        "q1": _number(spread.q1),
        "q3": _number(spread.q3),
        "mean": _number(spread.mean),
        "wall_s": _number(row.cost.wall_s),
        "training_s": _number(row.cost.training_s),
        "data_s": _number(row.cost.data_s),
        "unknowns": row.cost.unknowns,
        "peak_memory_mb": _number(row.cost.peak_memory_mb),
        "classical_s": _number(row.equal.classical_s) if row.equal else None,
        "speedup": _number(row.equal.speedup) if row.equal else None,
        "pays_after": _number(row.equal.pays_after) if row.equal else None,
        "command": row.command,
        **(_scores(row) if name in ("", TEST) else {}),
    }


def _scores(row: Row) -> dict[str, float | None]:
    metrics = {name: _number(value) for name, value in row.metrics.items() if name != "relative_l2"}
    parts = {
        f"{name}{ending}": _number(value)
        for name, spread in row.scores.items()
        for ending, value in (("", spread.median), ("_q1", spread.q1), ("_q3", spread.q3))
    }
    return metrics | parts


def _number(value: float | None) -> float | None:
    """Empty where there is no number."""
    return value if finite(value) else None


def _empty() -> dict[str, Any]:
    """The columns that every table has."""
    names = "task method label status reason stale seed seeds set kind points count n attempted median q1 q3 mean"
    costs = "wall_s training_s data_s unknowns peak_memory_mb classical_s speedup pays_after command"
    return dict.fromkeys(f"{names} {costs}".split(), "")
