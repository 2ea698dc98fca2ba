"""All metrics of the predictions of a test set, sample by sample, and what a report says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from variform.benchmarks import grid_metrics, mesh_metrics
from variform.data.dataset import Dataset


@dataclass(frozen=True)
class Scores:
    """Of n samples.

    Args:
        by_sample: metric -> (n,).
        by_frame: relative L2 errors (n, T), of evolutions on grids; None elsewhere.
    """

    by_sample: dict[str, np.ndarray]
    by_frame: np.ndarray | None


def formulas(data: Dataset) -> dict[str, str]:
    """Metric -> its formula, of all that may apply to predictions of a data set."""
    if not data.coordinates:
        return mesh_metrics.FORMULAS
    return {name: metric.formula for name, metric in grid_metrics.METRICS.items()}


def scores(predicted: np.ndarray, truth: np.ndarray, data: Dataset, times: np.ndarray | None = None) -> Scores:
    """Of predictions (n, T, C, *N) for all samples of a data set, in order, at times (T,)."""
    if not data.coordinates:
        return Scores(mesh_metrics.measured(data.source.mesh, predicted, truth), None)
    grid = grid_metrics.Grid.of(data.coordinates, data.periodic)
    by_frame = grid_metrics.error_by_frame(predicted, truth) if truth.shape[1] > 1 else None
    return Scores(grid_metrics.measured(predicted, truth, grid, times), by_frame)


def spread(values: np.ndarray) -> dict[str, Any]:
    """Median, quartiles and mean of the finite ones, and how many these are of how many."""
    finite = values[np.isfinite(values)]
    q1, median, q3 = np.quantile(finite, (0.25, 0.5, 0.75)) if len(finite) else (np.nan,) * 3
    mean = float(finite.mean()) if len(finite) else float("nan")
    found = {"median": float(median), "q1": float(q1), "q3": float(q3), "mean": mean}
    return {**found, "n": len(finite), "attempted": len(values)}
