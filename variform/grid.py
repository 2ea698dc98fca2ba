"""Solutions on uniform grids: trigonometric interpolation where periodic, tensor-product splines elsewhere."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.interpolate import NdBSpline, make_interp_spline

from variform.errors import InputError, unknown
from variform.mesh import Mesh
from variform.solution import Cost, Solution, Status

DEGREE = {"linear": 1, "cubic": 3}
"""Degree of the splines by the name of the method."""

FILE = "solution.npz"


@dataclass(frozen=True)
class GridSolution(Solution):
    """Values of fields on a uniform tensor grid at some times.

    Periodic grids leave the upper end of each axis out, x_i = lower + i (upper - lower) / N, and are evaluated by
    their trigonometric interpolant, which repeats itself outside the box. Others hold both ends of each axis and
    are evaluated by the interpolating spline of `method`, of order degree + 1.

    Args:
        values: field name -> shape (T, *field shape, *N).
        times: increasing [s], shape (T,).
        lower: lower corner [m], one number per axis.
        upper: upper corner [m].
        method: splines between points of a grid that is not periodic.
        mesh: a mesh of the domain, which `integrate` and pictures need.
    """

    support: ClassVar[Literal["grid"]] = "grid"

    values: dict[str, np.ndarray]
    times: np.ndarray
    lower: Sequence[float]
    upper: Sequence[float]
    periodic: bool
    method: Literal["linear", "cubic"] = "cubic"
    mesh: Mesh | None = None
    status: Status = "done"
    cost: Cost = field(default_factory=lambda: Cost(wall_s=0.0))
    discretization: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in DEGREE:
            raise unknown("interpolation method", self.method, DEGREE)
        if len(self.lower) != len(self.upper) or not np.all(np.less(self.lower, self.upper)):
            raise InputError(f"lower must be below upper on every axis, got {self.lower} and {self.upper}")
        for name, values in self.values.items():
            if values.ndim < 1 + self.dim or len(values) != len(self.times) or values.shape[-self.dim :] != self.shape:
                expected = f"({len(self.times)}, ..., {', '.join(map(str, self.shape))})"
                raise InputError(f"values of {name!r} must have shape {expected}, got {values.shape}")
        fewest = 1 if self.periodic else DEGREE[self.method] + 1
        if min(self.shape) < fewest:
            raise InputError(f"{self.method} interpolation needs {fewest} or more points an axis, got {self.shape}")

    @property
    def dim(self) -> int:
        return len(self.lower)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return next(iter(self.values.values())).shape[-self.dim :]

    def at(
        self, x: np.ndarray, *, field: str | None = None, t: float | None = None, derivatives: int = 0
    ) -> np.ndarray:
        """Values or gradients; see `Solution.at`. The time must be a stored one."""
        field = next(iter(self.values)) if field is None else field
        if field not in self.values:
            raise unknown("field of the solution", field, self.values)
        if derivatives not in (0, 1):
            raise InputError(f"derivatives must be 0 or 1, got {derivatives}")
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or len(x) != self.dim:
            raise InputError(f"points must have shape ({self.dim}, n), got {x.shape}")
        values = self.values[field][self._index(t)]
        shape = values.shape[: -self.dim]
        values = values.reshape(-1, *self.shape).astype(np.float64)
        interpolate = self._trigonometric if self.periodic else self._spline
        if derivatives == 0:
            return interpolate(values, x, [0] * self.dim).reshape(*shape, -1)
        orders = np.eye(self.dim, dtype=int).tolist()
        return np.stack([interpolate(values, x, nu) for nu in orders], axis=1).reshape(*shape, self.dim, -1)

    def save(self, folder: str | Path) -> Path:
        """Write `solution.npz` to the folder, whole or not at all; return its path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "periodic": self.periodic,
            "method": self.method,
            "status": self.status,
            "cost": asdict(self.cost),
            "discretization": self.discretization,
        }
        arrays = {f"values/{name}": values for name, values in self.values.items()}
        unfinished = folder / f".{FILE}.{os.getpid()}"
        try:
            with unfinished.open("wb") as file:
                np.savez(
                    file, times=self.times, lower=self.lower, upper=self.upper, record=json.dumps(record), **arrays
                )
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(folder / FILE)
        finally:
            unfinished.unlink(missing_ok=True)
        return folder / FILE

    @classmethod
    def load(cls, folder: str | Path) -> GridSolution:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, or it is not one of ours.
        """
        path = Path(folder) / FILE
        try:
            with np.load(path, allow_pickle=False) as file:
                values = {k.removeprefix("values/"): file[k] for k in file.files if k.startswith("values/")}
                lower, upper = (tuple(file[k].tolist()) for k in ("lower", "upper"))
                record = json.loads(str(file["record"]))
                cost = Cost(**record.pop("cost"))
                return cls(values, file["times"], lower, upper, cost=cost, **record)
        except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"{path} is not a solution on a grid: {error}") from error

    def _index(self, t: float | None) -> int:
        """The snapshot at time t."""
        if t is None:
            return -1
        near = np.flatnonzero(np.abs(self.times - t) <= 1e-9 * np.max(np.abs(self.times)))
        if len(near) == 0:
            stored = [f"{s:g}" for s in self.times]
            stored = stored if len(stored) <= 12 else [*stored[:5], "...", *stored[-5:]]
            raise InputError(f"no snapshot at t = {t:g}; the stored times are {', '.join(stored)}")
        return int(near[0])

    def _spline(self, values: np.ndarray, x: np.ndarray, nu: list[int]) -> np.ndarray:
        """(S, *N) at points (dim, n), differentiated nu times along each axis; (S, n), NaN outside."""
        degree = DEGREE[self.method]
        coefficients, knots = np.moveaxis(values, 0, -1), []
        for low, high, n in zip(self.lower, self.upper, self.shape, strict=True):
            spline = make_interp_spline(np.linspace(low, high, n), coefficients, degree, axis=0)
            knots.append(spline.t)
            # Axis after axis comes to the front; after all of them the order is the first one again.
            coefficients = np.moveaxis(spline.c, 0, self.dim - 1)
        low, high = (np.array(corner, dtype=np.float64)[:, None] for corner in (self.lower, self.upper))
        inside = (np.abs(x - (low + high) / 2) <= (high - low) * (0.5 + 1e-12)).all(axis=0)
        u = np.full((len(values), x.shape[1]), np.nan)
        spline = NdBSpline(tuple(knots), np.ascontiguousarray(coefficients), degree)
        u[:, inside] = spline(np.clip(x, low, high).T[inside], nu=nu).T
        return u

    def _trigonometric(self, values: np.ndarray, x: np.ndarray, nu: list[int]) -> np.ndarray:
        """(S, *N) at points (dim, n), differentiated nu times along each axis; (S, n)."""
        coefficients = values
        for axis in range(1, values.ndim):
            coefficients = _fourier_coefficients(coefficients, axis)
        # Numbers a point in the largest intermediate, which is kept near 64 MB.
        width = max(coefficients[:, 0].size, *self.shape)
        chunk = max(1, 2**23 // width)
        u = np.empty((len(values), x.shape[1]))
        for start in range(0, x.shape[1], chunk):
            points = slice(start, start + chunk)
            bases = [
                _fourier_basis((x[i, points] - self.lower[i]) / (self.upper[i] - self.lower[i]), n, nu[i])
                / (self.upper[i] - self.lower[i]) ** nu[i]
                for i, n in enumerate(self.shape)
            ]
            partial = np.tensordot(bases[0], coefficients, axes=(1, 1))  # (points, S, *rest)
            for basis in bases[1:]:
                partial = np.einsum("psk...,pk->ps...", partial, basis)
            u[:, points] = partial.T
        return u


def _fourier_coefficients(values: np.ndarray, axis: int) -> np.ndarray:
    """N values along an axis to the N coefficients of `_fourier_basis`."""
    n = values.shape[axis]
    u_hat = np.moveaxis(np.fft.rfft(values, axis=axis, norm="forward"), axis, 0)
    sines = -2 * u_hat.imag[1 : (n + 1) // 2]
    cosines = 2 * u_hat.real
    cosines[0] /= 2
    if n % 2 == 0:  # the Nyquist mode is its own mirror image
        cosines[-1] /= 2
    return np.moveaxis(np.concatenate([cosines, sines]), 0, axis)


def _fourier_basis(x: np.ndarray, n: int, nu: int) -> np.ndarray:
    """cos(2 pi m x), m = 0 .. n // 2, then sin(2 pi m x), 0 < m < n / 2, or their derivatives; shape (points, n)."""
    m = 2 * np.pi * np.arange(n // 2 + 1)
    theta = (x % 1.0)[:, None] * m
    sines = slice(1, (n + 1) // 2)
    if nu == 0:
        return np.concatenate([np.cos(theta), np.sin(theta[:, sines])], axis=1)
    return np.concatenate([-m * np.sin(theta), m[sines] * np.cos(theta[:, sines])], axis=1)
