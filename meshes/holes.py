"""Plates and channels with circular holes: spokes of cells about each hole, grids elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from variform.errors import InputError
from variform.meshes.blocks import Block, Map, bilinear, graded, spoke
from variform.meshes.families import Family, positive

SPLIT = 0.3
"""Of a plate longer than wide by more than this share, only a square is meshed about the hole."""


def about_hole(
    centre: Sequence[float],
    radius: float,
    lower: Sequence[float],
    upper: Sequence[float],
    cells: int,
    n: int,
    names: dict[str, str],
) -> list[Block]:
    """Four blocks that fill a box but for a disk.

    Args:
        lower, upper: corners of the box [m].
        cells: n times that many are on each quarter of the circle and each side of the box.
        names: of the sides "right", "top", "left", "bottom" and of the "hole", where they lie on the boundary.
    """
    (x0, y0), (x1, y1) = lower, upper
    corners = [(x1, y0), (x1, y1), (x0, y1), (x0, y0), (x1, y0)]
    away = (x1 - x0 + y1 - y0) / 4
    blocks = []
    for k, side in enumerate(("right", "top", "left", "bottom")):
        angles = ((2 * k - 1) * math.pi / 4, (2 * k + 1) * math.pi / 4)
        place = spoke(centre, radius, angles, corners[k : k + 2], away / radius)
        named = {"left": names["hole"]} | ({"right": names[side]} if side in names else {})
        blocks.append(Block(place, (n * layers(away / radius, math.pi / 2 / cells), n * cells), named))
    return blocks


def layers(ratio: float, angle: float) -> int:
    """Cells from a hole to `ratio` times its radius that are about as long as wide, with that angle [rad] each."""
    return max(1, round(math.log(ratio) / angle))


class PlateWithHole(Family):
    """A quarter of a plate with a circular hole: (0, width) x (0, height) without the disk about the origin [m].

    Sides: "left" (x = 0) and "bottom" (y = 0), the axes of symmetry, "right", "top" and the arc "hole", which has 4 n
    cells.
    """

    boundaries = ("left", "bottom", "right", "top", "hole")
    walls = 16

    def __init__(self, width: float = 1.0, height: float = 1.0, radius: float = 0.25) -> None:
        positive(width=width, height=height, radius=radius)
        if radius >= 0.95 * min(width, height):
            raise InputError(f"radius must be below 0.95 of width and height, got {radius} in {width} x {height}")
        self.width, self.height, self.radius = float(width), float(height), float(radius)
        super().__init__((0.0, 0.0), (width, height))

    def __repr__(self) -> str:
        return f"PlateWithHole({self.width}, {self.height}, {self.radius})"

    def blocks(self, n: int) -> list[Block]:
        square = min(self.width, self.height)
        w, h = (square if length > (1 + SPLIT) * square else length for length in (self.width, self.height))
        shape = (n * layers((w + h) / 2 / self.radius, math.pi / 8), 2 * n)
        ratio = (w + h) / 2 / self.radius
        low = spoke((0, 0), self.radius, (0, math.pi / 4), ((w, 0), (w, h)), ratio)
        high = spoke((0, 0), self.radius, (math.pi / 4, math.pi / 2), ((w, h), (0, h)), ratio)
        right = {"right": "right"} if w == self.width else {}
        top = {"right": "top"} if h == self.height else {}
        blocks = [
            Block(low, shape, {"left": "hole", "bottom": "bottom"} | right),
            Block(high, shape, {"left": "hole", "top": "left"} | top),
        ]
        if w < self.width:
            rest = n * round((self.width - w) / (h / 2))
            names = {"bottom": "bottom", "right": "right", "top": "top"}
            blocks.append(Block(_box((w, 0), (self.width, h)), (rest, 2 * n), names))
        if h < self.height:
            rest = n * round((self.height - h) / (w / 2))
            names = {"left": "left", "right": "right", "top": "top"}
            blocks.append(Block(_box((0, h), (w, self.height)), (2 * n, rest), names))
        return blocks


class PerforatedPlate(Family):
    """(0, width) x (0, height) with columns x rows circular holes, each in the middle of its rectangle [m].

    Sides: "left", "right", "bottom", "top" and "holes". A hole has 16 n cells about it.
    """

    boundaries = ("left", "right", "bottom", "top", "holes")
    walls = 2

    def __init__(
        self, width: float = 1.0, height: float = 1.0, columns: int = 2, rows: int = 2, radius: float = 0.1
    ) -> None:
        positive(width=width, height=height, radius=radius)
        if min(columns, rows) < 1:
            raise InputError(f"columns and rows must be 1 or more, got {columns} and {rows}")
        room = min(width / columns, height / rows) / 2
        if radius >= 0.95 * room:
            raise InputError(f"radius must be below {0.95 * room:g}, 0.95 of half the distance of holes, got {radius}")
        self.width, self.height, self.radius = float(width), float(height), float(radius)
        self.columns, self.rows = int(columns), int(rows)
        super().__init__((0.0, 0.0), (width, height))

    def __repr__(self) -> str:
        return f"PerforatedPlate({self.width}, {self.height}, {self.columns}, {self.rows}, {self.radius})"

    def blocks(self, n: int) -> list[Block]:
        x, y = np.linspace(0, self.width, self.columns + 1), np.linspace(0, self.height, self.rows + 1)
        blocks = []
        for i in range(self.columns):
            for j in range(self.rows):
                outside = {"left": i == 0, "right": i == self.columns - 1, "bottom": j == 0, "top": j == self.rows - 1}
                names = {"hole": "holes"} | {side: side for side, there in outside.items() if there}
                centre = ((x[i] + x[i + 1]) / 2, (y[j] + y[j + 1]) / 2)
                box = ((x[i], y[j]), (x[i + 1], y[j + 1]))
                blocks += about_hole(centre, self.radius, *box, cells=4, n=n, names=names)
        return blocks


class ChannelWithCylinder(Family):
    """The channel (0, 2.2) x (0, 0.41) [m] with a cylinder of radius 0.05 about (0.2, 0.2): the DFG benchmark.

    Parts: "inlet" (x = 0), "outlet" (x = 2.2), "walls" (below and above) and "cylinder", which has 24 n cells. They
    grow from it outwards and towards the outlet; there are 456 n^2 in all. (0.15, 0.2) and (0.25, 0.2), where the
    pressure is taken, are vertices.

    Source: Schäfer and Turek, Benchmark computations of laminar flow around a cylinder, Notes Numer. Fluid Mech. 52
    (1996).
    """

    boundaries = ("inlet", "outlet", "walls", "cylinder")
    walls = 2
    default_cells = 3
    length, height, centre, radius = 2.2, 0.41, (0.2, 0.2), 0.05

    def __init__(self) -> None:
        super().__init__((0.0, 0.0), (self.length, self.height))

    def __repr__(self) -> str:
        return "ChannelWithCylinder()"

    def blocks(self, n: int) -> list[Block]:
        names = {"hole": "cylinder", "left": "inlet", "bottom": "walls", "top": "walls"}
        square = (self.height, self.height)
        blocks = about_hole(self.centre, self.radius, (0.0, 0.0), square, cells=6, n=n, names=names)
        wake = _box((self.height, 0.0), (self.length, self.height), ratio=2.0)
        return [*blocks, Block(wake, (18 * n, 6 * n), {"bottom": "walls", "top": "walls", "right": "outlet"})]


def _box(lower: Sequence[float], upper: Sequence[float], ratio: float = 1.0) -> Map:
    """The map to a box, with cells along x that grow by that ratio."""
    (x0, y0), (x1, y1) = lower, upper
    place = bilinear(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    return lambda s, t: place(graded(s, ratio), t)
