"""What is drawn: checked values, their magnitudes and the scale of their colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh

SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"  # perceptually uniform; told apart by colour-blind readers


@dataclass(frozen=True)
class Scale:
    low: float
    high: float
    colours: str


def checked(mesh: Mesh, values: np.ndarray, name: str) -> np.ndarray:
    """Real values at the points, shape (n,) or (dim, n), NaN where not finite."""
    values, n = np.asarray(values), len(mesh.points)
    if values.shape not in ((n,), (mesh.dim, n)):
        raise InputError(f"{name} must have shape ({n},) or ({mesh.dim}, {n}), got {values.shape}")
    if np.iscomplexobj(values):
        raise InputError(f"{name} must be real, got {values.dtype}: draw the real part, the magnitude or the phase")
    finite = np.isfinite(values)
    if not finite.reshape(-1, n).all(axis=0).any():
        raise InputError(f"{name} has no finite number to draw")
    return np.where(finite, values, np.nan).astype(np.float64)


def magnitude_of(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 1 else np.linalg.norm(values, axis=0)


def limits(*values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value; a little around a constant."""
    low, high = min(np.nanmin(v) for v in values), max(np.nanmax(v) for v in values)
    pad = 0.0 if high - low > 1e-12 * max(abs(low), abs(high)) else max(0.1 * abs(high), 1e-300)
    return float(low - pad), float(high + pad)


def largest_of(error: np.ndarray) -> float:
    """The largest magnitude of an error; 1 if there is no error, so that a scale has two ends."""
    magnitude = np.abs(magnitude_of(error))
    return float(np.nanmax(magnitude, initial=0.0)) or 1.0
