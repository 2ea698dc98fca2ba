"""How the benchmarks time, and the record they write."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from variform import runs

RESULTS = Path(__file__).parent / "results"
REPEATS = 9


def compare(
    name: str, ours: Callable[[], Any], floor: str, other: Callable[[], Any], repeats: int = REPEATS
) -> dict[str, Any]:
    """Medians [s] of alternating runs, after one of each that does not count."""
    ours(), other()
    a, b = [], []
    for _ in range(repeats):
        a.append(seconds(ours))
        b.append(seconds(other))
    return figure(name, statistics.median(a), floor, statistics.median(b))


def figure(name: str, ours_s: float, floor: str, floor_s: float) -> dict[str, Any]:
    return {"name": name, "ours_s": ours_s, "floor": floor, "floor_s": floor_s, "ratio": ours_s / floor_s}


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def write(name: str, figures: list[dict[str, Any]], **more: Any) -> None:
    """The record results/NAME.json: figures and what a reader needs to judge them."""
    RESULTS.mkdir(exist_ok=True)
    record = {"environment": {**runs.environment(), "threads": 1, **more}, "created": runs.now(), "figures": figures}
    runs.write_json(RESULTS / f"{name}.json", record)
