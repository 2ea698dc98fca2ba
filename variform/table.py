"""A field given as a table: a CSV file of points and values."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from variform.errors import InputError
from variform.task import Parameter

AXES = "xyz"


class Table:
    """Piecewise linear between the points of a table; outside of them the value of the nearest one.

    Args:
        axes: the coordinates that the points have, numbers below 3, increasing; the field is constant along others.
        points: shape (n, len(axes)) [m].
        values: shape (n,).
        name: of the file, for error messages.

    Raises:
        InputError: points in a plane that lie on one line, or in space in one plane.

    Source: Delaunay's triangulation and barycentric coordinates, as in scipy's LinearNDInterpolator.
    """

    def __init__(self, axes: tuple[int, ...], points: np.ndarray, values: np.ndarray, name: str = "table") -> None:
        self.axes, self.name = axes, name
        self._pieces = _Line(points[:, 0], values) if len(axes) == 1 else _Cloud(points, values, name)

    def __call__(self, x: Any) -> Any:
        """Values at x (dim, ...) [m], shape (...), by NumPy or torch, as x is; torch can take their gradient.

        Raises:
            InputError: the table has a coordinate that x lacks.
        """
        if self.axes[-1] >= len(x):
            raise InputError(
                f"{self.name} has a column {AXES[self.axes[-1]]!r}, but the domain has {len(x)} dimensions"
            )
        xp = array_namespace(x)
        where = np.stack([_plain(x[axis]) for axis in self.axes], axis=-1)
        anchor, value, slope = self._pieces(where.reshape(-1, len(self.axes)))

        def like(a: np.ndarray) -> Any:
            return xp.asarray(a.reshape(where.shape[:-1]), dtype=x.dtype, device=x.device)

        result = like(value)
        for j, axis in enumerate(self.axes):
            result = result + like(slope[:, j]) * (x[axis] - like(anchor[:, j]))
        return result


class _Line:
    """The linear pieces of a table of one coordinate."""

    def __init__(self, points: np.ndarray, values: np.ndarray) -> None:
        order = np.argsort(points)
        self._x, self._values = points[order], values[order]
        self._slopes = np.diff(self._values) / np.diff(self._x)

    def __call__(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At each point q (n, 1): anchor (n, 1), value (n,) and slope (n, 1) of value + slope (q - anchor)."""
        clipped = np.clip(q[:, 0], self._x[0], self._x[-1])
        i = np.clip(np.searchsorted(self._x, clipped, side="right") - 1, 0, len(self._slopes) - 1)
        slope = self._slopes[i]
        value = self._values[i] + slope * (clipped - self._x[i])
        return clipped[:, None], value, np.where(clipped == q[:, 0], slope, 0.0)[:, None]


class _Cloud:
    """The linear pieces of scattered points: one a simplex of their Delaunay triangulation."""

    def __init__(self, points: np.ndarray, values: np.ndarray, name: str) -> None:
        from scipy.spatial import Delaunay, QhullError, cKDTree  # slow

        try:
            self._simplices = Delaunay(points)
        except QhullError:
            what = "line" if points.shape[1] == 2 else "plane"
            raise InputError(f"{name}: the points are too few, or lie on one {what}: nothing is between them") from None
        self._values, self._nearest = values, cKDTree(points)

    def __call__(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At each point q (n, k): anchor (n, k), value (n,) and slope (n, k) of value + slope . (q - anchor)."""
        k, simplex = q.shape[1], self._simplices.find_simplex(q)
        corner = self._values[self._simplices.simplices[simplex]]
        inverse, anchor = self._simplices.transform[simplex, :k], self._simplices.transform[simplex, k]
        slope = np.einsum("nij,ni->nj", inverse, corner[:, :k] - corner[:, k:])
        value, outside = corner[:, k], simplex < 0
        value[outside] = self._values[self._nearest.query(q[outside])[1]]
        slope[outside] = 0.0
        return anchor, value, slope


def read(path: Path, name: str, parameter: Parameter) -> Table:
    """The table of a field parameter: columns among x, y, z, and `value` or the parameter's name.

    Args:
        name: of the parameter.
        parameter: its allowed values.

    Raises:
        InputError: no such file, no header, a missing or unknown column, an entry that is no number or not allowed,
            fewer than two rows, a point that is there twice.
    """
    rows = _rows(path)
    header = [word.strip() for word in rows[0][1]] if rows else []
    axes, column = _columns(path, name, header)
    points: dict[tuple[float, ...], int] = {}
    values = []
    for line, words in rows[1:]:
        if len(words) != len(header):
            raise InputError(f"{path}, line {line}: {len(header)} entries are needed, {','.join(header)}, got {words}")
        numbers = [_number(f"{path}, line {line}", key, word) for key, word in zip(header, words, strict=True)]
        point = tuple(numbers[header.index(AXES[axis])] for axis in axes)
        if point in points:
            raise InputError(f"{path}, line {line}: the point {point} is on line {points[point]} already")
        points[point] = line
        values.append(parameter.validate(f"{path}, line {line}: {name}", numbers[header.index(column)]))
    if len(values) < 2:
        raise InputError(f"{path} must have two rows of numbers or more below the header, got {len(values)}")
    return Table(axes, np.array(list(points)), np.array(values), str(path))


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line numbers and words of the lines that are not empty."""
    if not path.is_file():
        raise InputError(f"no table {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            return [(reader.line_num, words) for words in reader if any(word.strip() for word in words)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file: {error}") from None


def _columns(path: Path, name: str, header: list[str]) -> tuple[tuple[int, ...], str]:
    """The coordinates, and the column of the values."""
    wanted = f"a header of columns among x, y, z, and 'value' or {name!r}"
    if not header:
        raise InputError(f"{path} is empty; it needs {wanted}")
    if all(_is_number(word) for word in header):
        raise InputError(f"{path} has no header; it needs {wanted}")
    there = f"there are {', '.join(map(repr, header))}"
    axes = tuple(i for i, axis in enumerate(AXES) if axis in header)
    values = [key for key in header if key in ("value", name)]
    if not axes or not values:
        missing = " and ".join(["a coordinate (x, y or z)"] * (not axes) + [f"'value' (or {name!r})"] * (not values))
        raise InputError(f"{path} lacks the column of {missing}; {there}")
    if len(header) != len(axes) + 1:
        raise InputError(f"{path} needs {wanted}, each once and no others; {there}")
    return axes, values[0]


def _number(where: str, key: str, word: str) -> float:
    if not _is_number(word):
        raise InputError(f"{where}: {key} must be a number, got {word.strip()!r}")
    if not math.isfinite(number := float(word)):
        raise InputError(f"{where}: {key} must be finite, got {word.strip()}")
    return number


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _plain(x: Any) -> np.ndarray:
    """A NumPy array of a NumPy array or a torch tensor, which may carry a gradient."""
    return np.asarray(x if isinstance(x, np.ndarray) else x.detach().cpu())
