"""Plane domains with a mesh of their own: disk, annulus, L-shape, quadrilateral; `Family` is what all share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes.blocks import Block, assemble, bilinear, check_fineness
from variform.meshes.from_mesh import MeshGeometry
from variform.meshes.geometry import Geometry

if TYPE_CHECKING:
    from torch import Tensor


class Family(Geometry):
    """A plane domain of one region, "domain", that is meshed block by block; a subclass says by which blocks.

    Attributes:
        curved: whether a wall is.
        walls: cells a side of the mesh whose walls `distance` takes.
    """

    dim = 2
    regions = ("domain",)
    curved = True
    walls = 32

    def __init__(self, lower: Sequence[float], upper: Sequence[float]) -> None:
        self.lower, self.upper = np.array(lower, dtype=float), np.array(upper, dtype=float)
        self.lower.flags.writeable = self.upper.flags.writeable = False

    @abstractmethod
    def blocks(self, n: int) -> list[Block]:
        """The blocks of the mesh; with 2n cells a side each has twice as many along both of its directions."""

    def mesh(self, n: int, order: int = 1) -> Mesh:
        """A mesh of triangles with n cells a side, whose vertices are among those of the mesh with 2n.

        Args:
            order: 2 puts a node on every edge, on curved walls exactly on the curve; straight domains stay straight.

        Raises:
            InputError: n is not a positive integer, or the order is neither 1 nor 2.
        """
        blocks = self.blocks(check_fineness(n, order))
        return assemble(blocks, self.boundaries, order if self.curved else 1)

    @cached_property
    def _meshed(self) -> MeshGeometry:
        return MeshGeometry(self.mesh(self.walls))

    def distance(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        """That of a fine mesh of the domain: curved walls are polygons of chords."""
        return self._meshed.distance(x, self.known(names))


def positive(**lengths: float) -> None:
    """Raises InputError for a length that is not positive and finite."""
    for name, value in lengths.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be above 0 and finite, got {value}")


class Disk(Family):
    """The disk |x - centre| < radius [m]; its boundary is "wall". n cells along the radius, 6 n^2 in all."""

    boundaries = ("wall",)

    def __init__(self, centre: Sequence[float] = (0.0, 0.0), radius: float = 1.0) -> None:
        positive(radius=radius)
        self.centre, self.radius = np.array(centre, dtype=float), float(radius)
        super().__init__(self.centre - radius, self.centre + radius)

    def __repr__(self) -> str:
        return f"Disk({tuple(self.centre.tolist())}, {self.radius})"

    def blocks(self, n: int) -> list[Block]:
        """Three rhombi make a hexagon, which the radial map rounds: all triangles are nearly equilateral."""
        names = {"right": "wall", "top": "wall"}
        return [Block(lambda s, t, k=k: self._third(s, t, k), (n, n), names) for k in range(3)]

    def _third(self, s: np.ndarray, t: np.ndarray, third: int) -> np.ndarray:
        ring = np.maximum(s, t)
        # Along the ring one sixth of the circle belongs to t < s, where t/s runs, and one to s < t, where s/t falls.
        along = np.where(t <= s, t, 2 * t - s) / np.where(ring == 0, 1, ring)
        angle = np.pi / 3 * (2 * third + along)
        return self.centre + self.radius * ring[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)


class Annulus(Family):
    """The ring inner < |x - centre| < outer [m]; its circles are "inner" and "outer".

    All cells are similar: lengths grow with the distance from the centre. There are n or a multiple of n cells across
    the ring, and 8 n or more around it.
    """

    boundaries = ("inner", "outer")
    walls = 8

    def __init__(self, centre: Sequence[float] = (0.0, 0.0), inner: float = 0.5, outer: float = 1.0) -> None:
        positive(inner=inner, outer=outer)
        if inner >= outer:
            raise InputError(f"inner must be below outer, got {inner} and {outer}")
        self.centre, self.inner, self.outer = np.array(centre, dtype=float), float(inner), float(outer)
        super().__init__(self.centre - outer, self.centre + outer)

    def __repr__(self) -> str:
        return f"Annulus({tuple(self.centre.tolist())}, {self.inner}, {self.outer})"

    def blocks(self, n: int) -> list[Block]:
        growth = math.log(self.outer / self.inner)
        around = max(8, round(2 * math.pi / growth))
        across = max(1, round(growth * around / (2 * math.pi)))
        return [Block(self._polar, (across * n, around * n), {"left": "inner", "right": "outer"})]

    def _polar(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        radius = np.where(s == 1, self.outer, self.inner * (self.outer / self.inner) ** s)[..., None]
        return self.centre + radius * np.stack([np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=-1)


class LShape(Family):
    """(-1, 1)^2 without [0, 1] x [0, 1] [m], n cells a unit length.

    The two sides that meet at the re-entrant corner, the origin, are "reentrant"; the others are "outer".

    Args:
        grading: points at the distance r (in the largest coordinate) from the corner move to r^grading, so that cells
            have size r^(1 - 1/grading) h there; 1 leaves the grid uniform, 2 has angles of 18 degrees or more, 3 of 8.
    """

    boundaries = ("reentrant", "outer")
    curved = False
    walls = 1

    def __init__(self, grading: float = 1.0) -> None:
        if not 1 <= grading <= 10:
            raise InputError(f"grading must be from 1 to 10, got {grading}")
        self.grading = float(grading)
        super().__init__((-1.0, -1.0), (1.0, 1.0))

    def __repr__(self) -> str:
        return f"LShape({self.grading})"

    def blocks(self, n: int) -> list[Block]:
        sides = [{"bottom": "reentrant"}, {}, {"left": "reentrant"}]
        axes = np.array([[0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
        outer = {"right": "outer", "top": "outer"}
        return [
            Block(lambda s, t, a=axes[k], b=axes[k + 1]: self._square(s, t, a, b), (n, n), outer | sides[k])
            for k in range(3)
        ]

    def _square(self, s: np.ndarray, t: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shrink = np.maximum(s, t)[..., None] ** (self.grading - 1)
        return shrink * (s[..., None] * a + t[..., None] * b) + 0.0  # no negative zeros


class Quadrilateral(Family):
    """The convex quadrilateral with four corners [m], counter-clockwise, and n cells along each side.

    The sides from the first corner to the second, and so on, are "bottom", "right", "top" and "left".

    Example: Quadrilateral(((0, 0), (48, 44), (48, 60), (0, 44))) is Cook's membrane.
    """

    boundaries = ("bottom", "right", "top", "left")
    curved = False
    walls = 1

    def __init__(self, corners: Sequence[Sequence[float]]) -> None:
        self.corners = np.array(corners, dtype=float)
        if self.corners.shape != (4, 2) or not np.isfinite(self.corners).all():
            raise InputError(f"a quadrilateral has four corners of two coordinates, got {corners}")
        to, back = (np.roll(self.corners, k, axis=0) - self.corners for k in (-1, 1))
        turn = to[:, 0] * back[:, 1] - to[:, 1] * back[:, 0]
        if not np.all(turn > 1e-12 * np.abs(to).max() ** 2):
            raise InputError(f"the corners must go round a convex quadrilateral counter-clockwise, got {corners}")
        super().__init__(self.corners.min(axis=0), self.corners.max(axis=0))

    def __repr__(self) -> str:
        return f"Quadrilateral({self.corners.tolist()})"

    def blocks(self, n: int) -> list[Block]:
        return [Block(bilinear(self.corners), (n, n), {name: name for name in self.boundaries})]
