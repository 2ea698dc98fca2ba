"""Boxes in one, two and three dimensions, in one piece or in layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError, unknown
from variform.mesh import DIMENSION, Mesh
from variform.meshes import kuhn
from variform.meshes.geometry import Geometry

if TYPE_CHECKING:
    from torch import Tensor

SIDES = {
    1: (("left", "right"),),
    2: (("left", "right"), ("bottom", "top")),
    3: (("left", "right"), ("front", "back"), ("bottom", "top")),
}
"""Names of the lower and the upper side along each axis, by dimension."""

PIECES = {
    "interval": kuhn.simplices,
    "triangle": kuhn.simplices,
    "quadrilateral": kuhn.whole,
    "tetrahedron": kuhn.simplices,
    "hexahedron": kuhn.whole,
}
"""How a box of the grid is cut into cells of each type."""


@dataclass(frozen=True)
class Layers:
    """Regions of a box, one above the other along an axis.

    Args:
        axis: the axis across the layers, from 0.
        at: coordinates of the interfaces [m], increasing, strictly inside the box.
        names: one name a layer, one more than interfaces.
    """

    axis: int
    at: tuple[float, ...]
    names: tuple[str, ...]


class Box(Geometry):
    """The box lower < x < upper. Sides: left, right along x; bottom, top along y in the plane; in space front, back
    along y and bottom, top along z.

    Args:
        lower, upper: opposite corners [m], one number an axis.
        layers: regions separated by planes; without them the one region is called "domain".

    Raises:
        InputError: the corners or the layers do not describe a box.
    """

    def __init__(
        self, lower: float | Sequence[float], upper: float | Sequence[float], layers: Layers | None = None
    ) -> None:
        self.lower = np.atleast_1d(np.array(lower, dtype=float))
        self.upper = np.atleast_1d(np.array(upper, dtype=float))
        self.dim, self.layers = self.lower.size, layers
        self.default_cells = 16 if self.dim == 3 else 32
        if self.dim not in SIDES or self.lower.shape != (self.dim,) or self.upper.shape != (self.dim,):
            raise InputError(f"a box has corners of 1 to 3 coordinates, got lower {lower} and upper {upper}")
        if not (np.isfinite([self.lower, self.upper]).all() and np.all(self.lower < self.upper)):
            raise InputError(f"a box needs finite corners with lower < upper, got lower {lower} and upper {upper}")
        if layers is not None:
            self._check(layers)
        self.regions = ("domain",) if layers is None else tuple(layers.names)
        self.boundaries = tuple(name for pair in SIDES[self.dim] for name in pair)
        self.lower.flags.writeable = self.upper.flags.writeable = False

    def _check(self, layers: Layers) -> None:
        if layers.axis not in range(self.dim):
            raise InputError(f"the axis across the layers must be 0 to {self.dim - 1}, got {layers.axis}")
        levels = np.array([self.lower[layers.axis], *layers.at, self.upper[layers.axis]])
        if not np.all(np.diff(levels) > 0):
            raise InputError(f"interfaces must increase strictly inside the box, got {layers.at}")
        if len(set(layers.names)) != len(layers.names) or len(layers.names) != len(layers.at) + 1:
            raise InputError(
                f"{len(layers.at)} interfaces need {len(layers.at) + 1} different names, got {layers.names}"
            )

    def __repr__(self) -> str:
        layers = f", {self.layers}" if self.layers else ""
        return f"Box({tuple(self.lower.tolist())}, {tuple(self.upper.tolist())}{layers})"

    def mesh(self, n: int, order: int = 1, cell_type: str | None = None) -> Mesh:
        """A uniform mesh with n cells along each axis; it is straight, whatever the order.

        Across layers the n cells are shared out in proportion to the thicknesses, at least one a layer: interfaces lie
        on grid lines for every n.

        Args:
            cell_type: a key of PIECES; "quadrilateral" and "hexahedron" are the boxes of the grid themselves. Simplices
                by default, dim! a box.

        Raises:
            InputError: n is not a positive integer, or no such cells fill a box of this dimension.
        """
        pieces = self._pieces(cell_type)
        if n != int(n) or n < 1:
            raise InputError(f"a mesh needs a whole number of cells a side, 1 or more, got {n}")
        lines = [np.linspace(a, b, int(n) + 1) for a, b in zip(self.lower, self.upper, strict=True)]
        if self.layers:
            levels, counts = self._levels, self._shares(int(n))
            parts = [np.linspace(a, b, k + 1)[:-1] for a, b, k in zip(levels, levels[1:], counts, strict=False)]
            lines[self.layers.axis] = np.append(np.concatenate(parts), levels[-1])
        shape = [len(line) - 1 for line in lines]
        mesh = Mesh(*kuhn.grid(lines, pieces))
        boundaries = {
            name: kuhn.side(shape, axis, upper, pieces, mesh.facet_vertices)
            for axis, pair in enumerate(SIDES[self.dim])
            for upper, name in enumerate(pair)
        }
        return replace(mesh, regions=self._regions_of(mesh, shape, int(n)), boundaries=boundaries)

    def _pieces(self, cell_type: str | None) -> np.ndarray:
        """The cells of each box of the grid, by their corners."""
        allowed = {kind: cut for kind, cut in PIECES.items() if DIMENSION[kind] == self.dim}
        if cell_type is None:
            return kuhn.simplices(self.dim)
        if cell_type not in allowed:
            raise unknown(f"cell type in dimension {self.dim}", cell_type, allowed)
        return allowed[cell_type](self.dim)

    @property
    def _levels(self) -> np.ndarray:
        axis = self.layers.axis
        return np.array([self.lower[axis], *self.layers.at, self.upper[axis]])

    def _shares(self, n: int) -> np.ndarray:
        """Cells of each layer: one at least, and beyond that each to the layer whose cells are thickest."""
        thickness = np.diff(self._levels)
        spare = max(0, n - len(thickness))
        counts = np.maximum(1, np.floor(spare * (thickness / thickness.sum()))).astype(np.int64)
        while counts.sum() < n:
            counts[np.argmax(thickness / counts)] += 1
        return counts

    def _regions_of(self, mesh: Mesh, shape: list[int], n: int) -> dict[str, np.ndarray]:
        if self.layers is None:
            return {"domain": np.arange(len(mesh.cells))}
        counts = self._shares(n)
        layer = np.repeat(np.arange(len(counts)), counts)
        layer = np.expand_dims(layer, [axis for axis in range(self.dim) if axis != self.layers.axis])
        layer = np.repeat(np.broadcast_to(layer, shape).reshape(-1), len(mesh.cells) // np.prod(shape))
        return {name: np.flatnonzero(layer == i) for i, name in enumerate(self.regions)}

    def distance(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        """The distances x_i - lower_i and upper_i - x_i to the named sides, joined by R-equivalence (`join`)."""
        from variform.meshes.distance import join  # torch: imported late, so that everything else does without

        names = self.known(names)
        linear = [
            x[axis] - float(self.lower[axis]) if upper == 0 else float(self.upper[axis]) - x[axis]
            for axis, pair in enumerate(SIDES[self.dim])
            for upper, name in enumerate(pair)
            if name in names or "boundary" in names
        ]
        return join(linear) if linear else 0 * x[0] + 1

    def level_sets(self, x: Tensor) -> list[Tensor]:
        return [x[self.layers.axis] - float(level) for level in self.layers.at] if self.layers else []


class GradedInterval(Box):
    """(lower, upper) [m] with cells that grow away from a point, where they are smallest; its ends are left and right.

    On a side of length L cell ends lie at L sinh(g s) / sinh(g) from the point, s evenly spaced in (0, 1).

    Args:
        centre: the point, strictly inside; a mesh vertex where the number of cells is even and it is the middle.
        grading: g; cells at the point are g / sinh(g) times as long as on average.

    Raises:
        InputError: the point does not lie inside, or the grading is not positive.
    """

    def __init__(self, lower: float, upper: float, centre: float, grading: float = 4.0) -> None:
        super().__init__((lower,), (upper,))
        if not lower < centre < upper or not 0 < grading < 50:
            raise InputError(f"a graded interval needs lower < centre < upper and grading > 0, got {centre}, {grading}")
        self.centre, self.grading = float(centre), float(grading)

    def __repr__(self) -> str:
        return f"GradedInterval({self.lower[0]}, {self.upper[0]}, {self.centre}, {self.grading})"

    def mesh(self, n: int, order: int = 1, cell_type: str | None = None) -> Mesh:
        """n cells."""
        mesh = super().mesh(n, order, cell_type)
        left, right = self.centre - float(self.lower[0]), float(self.upper[0]) - self.centre
        # As many cells on either side as their lengths ask for: s is linear in where the uniform mesh has its ends.
        share = np.clip(round(n * left / (left + right)), 1, max(n - 1, 1)) / n
        position = (mesh.points[:, 0] - self.lower[0]) / (self.upper[0] - self.lower[0])
        s = np.where(position < share, position / share - 1, (position - share) / max(1 - share, 1 / n))
        length = np.where(s < 0, left, right)
        x = self.centre + length * np.sinh(self.grading * s) / np.sinh(self.grading)
        return replace(mesh, points=x[:, None])


def Interval(lower: float = 0.0, upper: float = 1.0, layers: Layers | None = None) -> Box:
    """The interval (lower, upper) [m]; its ends are left and right."""
    return Box((lower,), (upper,), layers)


def Rectangle(
    lower: tuple[float, float] = (0.0, 0.0), upper: tuple[float, float] = (1.0, 1.0), layers: Layers | None = None
) -> Box:
    """The rectangle between two corners [m]; its sides are left, right, bottom and top."""
    return Box(lower, upper, layers)


def UnitSquare(layers: Layers | None = None) -> Box:
    """(0, 1)^2."""
    return Rectangle(layers=layers)


def UnitCube(layers: Layers | None = None) -> Box:
    """(0, 1)^3."""
    return Box((0.0,) * 3, (1.0,) * 3, layers)
