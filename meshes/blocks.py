"""Plane meshes from blocks: squares of triangles, each moved into place by a smooth map, and joined at their sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh

Map = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From s and t in [0, 1], shape (...), to points [m], shape (..., 2)."""

SIDES = {"bottom": np.s_[:, 0], "right": np.s_[-1, :], "top": np.s_[:, -1], "left": np.s_[0, :]}
"""Where each side of a block, t = 0, s = 1, t = 1 and s = 0, lies in an array over (s, t)."""

AROUND = ((0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Corners and middles of the sides of a cell of a block, counter-clockwise, as indices into its lattice."""


@dataclass(frozen=True)
class Block:
    """A curved quadrilateral of triangles.

    Args:
        map: from the unit square, one to one, with a positive Jacobian determinant.
        shape: cells along s and along t.
        names: side ("bottom", "right", "top", "left") -> name of the part of the boundary that it belongs to.
    """

    map: Map
    shape: tuple[int, int]
    names: dict[str, str] = field(default_factory=dict)

    def lattice(self) -> np.ndarray:
        """Vertices (even indices) and middles of the edges (odd), shape (2 p + 1, 2 q + 1, 2)."""
        s, t = (np.linspace(0.0, 1.0, 2 * k + 1) for k in self.shape)
        return self.map(*np.meshgrid(s, t, indexing="ij"))


def check_fineness(n: int, order: int) -> int:
    """n as an int; raises InputError where it is no positive whole number, or the order is neither 1 nor 2."""
    if n != int(n) or n < 1:
        raise InputError(f"a mesh needs a whole number of cells a side, 1 or more, got {n}")
    if order not in (1, 2):
        raise InputError(f"the order of a geometry is 1 or 2, got {order}")
    return int(n)


def assemble(blocks: Sequence[Block], boundaries: Sequence[str], order: int = 1) -> Mesh:
    """The blocks as one mesh, with the region "domain"; points that coincide on their sides become one.

    Args:
        boundaries: the names of the blocks' sides, in the order wanted.
        order: of the geometry; 2 takes the middles of the edges from the maps too.
    """
    lattices = [block.lattice() for block in blocks]
    starts = np.cumsum([0, *[lattice[..., 0].size for lattice in lattices]])
    points = np.concatenate([lattice.reshape(-1, 2) for lattice in lattices])
    numbers = [
        start + np.arange(x[..., 0].size).reshape(x.shape[:2]) for start, x in zip(starts, lattices, strict=False)
    ]
    same = _joined(points, np.concatenate([n[where].ravel() for n in numbers for where in SIDES.values()]))
    nodes = same[np.concatenate([_triangles(points, n) for n in numbers])]
    corners = np.unique(nodes[:, :3])
    used = np.concatenate([corners, np.setdiff1d(nodes[:, 3:], corners)]) if order == 2 else corners
    number = np.full(len(points), -1)
    number[used] = np.arange(len(used))
    named: dict[str, list[np.ndarray]] = {name: [] for name in boundaries}
    for block, n in zip(blocks, numbers, strict=True):
        for side, name in block.names.items():
            ends = number[same[n[SIDES[side]][::2]]]
            named[name].append(np.stack([ends[:-1], ends[1:]], axis=1))
    mesh = Mesh(points[used], number[nodes[:, :3]], edge_nodes=number[nodes[:, 3:]] if order == 2 else None)
    found = {name: facets_between(mesh, np.concatenate(ends)) for name, ends in named.items()}
    return replace(mesh, regions={"domain": np.arange(len(nodes))}, boundaries=found)


def facets_between(mesh: Mesh, vertices: np.ndarray) -> np.ndarray:
    """The exterior facets (cell, local facet) of these vertices, shape (k, dim); each must be one."""
    exterior = mesh.exterior_facets
    keys = [
        np.sort(v, axis=1) @ len(mesh.points) ** np.arange(mesh.dim) for v in (mesh.vertices_of(exterior), vertices)
    ]
    by_key = np.argsort(keys[0])
    row = by_key[np.searchsorted(keys[0], keys[1], sorter=by_key)]
    assert np.array_equal(keys[0][row], keys[1]), "a named side lies inside"
    return exterior[row]


def _joined(points: np.ndarray, on_sides: np.ndarray) -> np.ndarray:
    """For each point the first one at the same place, shape (num_points,)."""
    from scipy.spatial import cKDTree  # a slow import

    on_sides = np.unique(on_sides)
    pairs = cKDTree(points[on_sides]).query_pairs(1e-9 * np.ptp(points, axis=0).max(), output_type="ndarray")
    pairs = np.sort(on_sides[pairs], axis=1)
    same = np.arange(len(points))
    np.minimum.at(same, pairs[:, 1], pairs[:, 0])
    return same


def _triangles(points: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Vertices and middles of the edges (opposite them) of a block's triangles, shape (2 p q, 6).

    Each quadrilateral is cut along the diagonal that leaves the larger smallest angle: with equal ones, the first.
    """
    p, q = number.shape
    a, ab, b, bc, c, cd, d, da = (number[i : p - 2 + i : 2, j : q - 2 + j : 2] for i, j in AROUND)
    middle = number[1::2, 1::2]
    first = ((a, b, c, bc, middle, ab), (a, c, d, cd, da, middle))
    second = ((a, b, d, middle, da, ab), (b, c, d, cd, middle, bc))
    cuts = [np.stack([np.stack(t, axis=-1) for t in cut], axis=2) for cut in (first, second)]
    worst = [smallest_angle(points[cut[..., :3]]).min(axis=2) for cut in cuts]
    return np.where((worst[0] > worst[1] - 1e-6)[..., None, None], *cuts).reshape(-1, 6)


def smallest_angle(x: np.ndarray) -> np.ndarray:
    """The smallest angle [rad] of convex polygons with vertices x (..., n, dim) in a cycle; shape (...)."""
    to, back = np.roll(x, -1, axis=-2) - x, np.roll(x, 1, axis=-2) - x
    lengths = np.linalg.norm(to, axis=-1) * np.linalg.norm(back, axis=-1)
    cosine = np.sum(to * back, axis=-1) / np.where(lengths == 0, 1, lengths)
    return np.arccos(np.clip(cosine, -1, 1)).min(axis=-1)


def graded(t: np.ndarray, ratio: float) -> np.ndarray:
    """[0, 1] onto itself, with cells that grow geometrically, the last `ratio` times as long as the first."""
    return t if abs(ratio - 1) < 1e-9 else (ratio**t - 1) / (ratio - 1)


def bilinear(corners: Sequence[Sequence[float]]) -> Map:
    """The map to the straight-sided quadrilateral with these corners [m], counter-clockwise."""
    a, b, c, d = np.asarray(corners, dtype=float)

    def place(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        s, t = s[..., None], t[..., None]
        return (1 - s) * (1 - t) * a + s * (1 - t) * b + s * t * c + (1 - s) * t * d

    return place


def spoke(
    centre: Sequence[float], radius: float, angles: tuple[float, float], side: Sequence[Sequence[float]], ratio: float
) -> Map:
    """The map to what lies between an arc (s = 0) and a straight side (s = 1), counter-clockwise along t.

    Args:
        angles: where the arc begins and ends [rad].
        side: the two ends of the side [m].
        ratio: of the last cell's length to the first one's, from the arc outward.
    """
    centre, first, last = (np.asarray(v, dtype=float) for v in (centre, *side))

    def place(s: np.ndarray, t: np.ndarray) -> np.ndarray:
        angle, g, t = angles[0] + (angles[1] - angles[0]) * t, graded(s, ratio)[..., None], t[..., None]
        arc = centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return (1 - g) * arc + g * ((1 - t) * first + t * last)

    return place
