"""How good a closure of a multiscale system is: tendencies, valid time, climate, stability.

Trajectories are arrays (n, T, C, K) at evenly spaced times, p predicted and y true; n trajectories, C components at K
places. A chaotic system cannot be followed for long, so that the statistics of long trajectories count beside errors.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import wasserstein_distance

from variform.data.dataset import Dataset
from variform.errors import InputError
from variform.operators.examples import Channels
from variform.operators.known import Known, closures
from variform.operators.learned import integrate
from variform.operators.settings import Settings

BINS = 60
"""Of histograms, over the range of the true values."""


def tendency_error(p: np.ndarray, y: np.ndarray) -> float:
    """||p - y|| / ||y - mean y|| over all values of two tendencies of any one shape; 1 is that of the mean alone."""
    y = np.asarray(y, dtype=float)
    return float(np.linalg.norm(p - y) / np.linalg.norm(y - y.mean()))


def valid_time(p: np.ndarray, y: np.ndarray, times: np.ndarray, threshold: float = 0.4) -> np.ndarray:
    """Time of each trajectory until ||p - y|| / sqrt(mean over all of ||y||^2) first passes a threshold.

    Args:
        p, y: (n, T, C, K); what is not finite has passed.
        times: (T,), from the start of the prediction.

    Returns:
        (n,): the last time before that, 0 where it is passed at once; the last time of all where it never is.

    Source: Pathak et al., Hybrid forecasting of chaotic processes, Chaos 28 (2018), 041101, with their threshold.
    """
    y = np.asarray(y, dtype=float)
    scale = np.sqrt((y**2).sum(axis=(2, 3)).mean())
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(((np.asarray(p, dtype=float) - y) ** 2).sum(axis=(2, 3))) / scale
    passed = ~(error <= threshold)
    first = np.where(passed.any(axis=1), passed.argmax(axis=1), len(times))
    return np.concatenate([[0.0], times])[first]


def climate(p: np.ndarray, y: np.ndarray, lags: int = 20) -> dict[str, float]:
    """Distances between the statistics of two sets of trajectories (n, T, C, K), over all values together.

    Trajectories that are not finite are left out, and counted by `finite`; without any left, distances are infinite.

    Returns:
        mean: |mean p - mean y| / deviation of y.
        variance: var p / var y - 1.
        wasserstein: of the distributions of values, over the deviation of y.
        hellinger: of their histograms in 60 bins over the range of y and two beyond: from 0 to 1.
        autocorrelation: root mean square over lags of 1 to `lags` frames of the difference of autocorrelations.
        finite: share of the trajectories of p.
    """
    p, y = np.asarray(p, dtype=float), np.asarray(y, dtype=float)
    good = finite(p)
    found = {"finite": float(good.mean())}
    if not good.any():
        return dict.fromkeys(("mean", "variance", "wasserstein", "hellinger", "autocorrelation"), np.inf) | found
    p, deviation = p[good], y.std()
    between = autocorrelation(p, lags) - autocorrelation(y, lags)
    return {
        "mean": float(abs(p.mean() - y.mean()) / deviation),
        "variance": float(p.var() / y.var() - 1),
        "wasserstein": float(wasserstein_distance(p.ravel(), y.ravel()) / deviation),
        "hellinger": hellinger(p, y),
        "autocorrelation": float(np.sqrt((between**2).mean())),
        **found,
    }


def hellinger(p: np.ndarray, y: np.ndarray, bins: int = BINS) -> float:
    """sqrt(1 - sum_i sqrt(a_i b_i)) of the histograms of two sets of values; two bins more lie beyond y."""
    edges = np.concatenate([[-np.inf], np.linspace(y.min(), np.nextafter(y.max(), np.inf), bins + 1), [np.inf]])
    a, b = (np.histogram(values, edges)[0] / values.size for values in (p, y))
    return float(np.sqrt(max(0.0, 1 - np.sqrt(a * b).sum())))


def autocorrelation(u: np.ndarray, lags: int) -> np.ndarray:
    """In time, at 1 to `lags` frames (no more than half of them), of (n, T, C, K) about their common mean: (lags,)."""
    u = u - u.mean()
    lags = min(lags, u.shape[1] // 2)
    return np.array([(u[:, :-n] * u[:, n:]).mean() for n in range(1, lags + 1)]) / (u**2).mean()


def finite(p: np.ndarray) -> np.ndarray:
    """Which trajectories (n, T, C, K) are, shape (n,)."""
    return np.isfinite(p).all(axis=(1, 2, 3))


def no_closure(data: Dataset, steps: int | None = None, *, stride: int = 1, scheme: str = "rk4") -> np.ndarray:
    """What the known tendency alone gives from the first frame on: the row of the coarse model, (n, steps, C, K).

    Args:
        data: made by a recipe of a system whose tendency is known, such as `lorenz96`.
        steps: as many as the data have after the first frame, by default.
        stride: frames of the data a step.

    Raises:
        InputError: the data do not say which system they are of.
    """
    if "problem" not in data.info:
        raise InputError(f"{data.name} does not say of which system its trajectories are")
    known = Known.of(data.info["problem"], data)
    settings = Settings("polynomial", learn="change", scheme=scheme)
    dt = float(data.times[stride] - data.times[0])
    u, before, found = torch.as_tensor(_first(data)), None, []
    for _ in range((len(data.times) - 1) // stride if steps is None else steps):
        u, before = integrate(known, u, dt, settings, before)
        found.append(u.numpy())
    return np.stack(found, axis=1)


def _first(data: Dataset) -> np.ndarray:
    """(n, C, K), double precision."""
    parts = [data.read(name, times=slice(0, 1))[:, 0] for name in Channels.of(data).unknowns]
    return np.stack(parts, axis=1).astype(np.float64)


def exact_coupling(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The unknowns and what their known tendencies lack, as they are stored: both (n, T, C, K).

    Raises:
        InputError: it is not stored.
    """
    stored = closures(data)
    if not stored:
        raise InputError(f"{data.name} does not hold what the known tendency lacks")
    return tuple(np.stack([data.read(n) for n in names], axis=2) for names in (list(stored), list(stored.values())))
