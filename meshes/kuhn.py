"""Structured grids: every box of a grid is one cell, or cut alike in dim! simplices, so that neighbours conform."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product

import numpy as np


def simplices(dim: int) -> np.ndarray:
    """Kuhn's simplices of the unit cube, shape (dim!, dim + 1, dim), entries 0 or 1, positively oriented.

    Each is a path from (0, ..., 0) to (1, ..., 1) along the axes in some order. In the plane this is the diagonal
    to the upper right. Odd permutations are turned by exchanging the second and the last vertex, which keeps the pair
    of edges that Bey's refinement joins (`refine`), so that refined grids are grids again.

    Source: Kuhn, Some combinatorial lemmas in topology, IBM J. Res. Dev. 4 (1960).
    """
    paths = []
    for order in permutations(range(dim)):
        steps = np.eye(dim, dtype=np.int64)[list(order)]
        path = np.vstack([np.zeros((1, dim), np.int64), np.cumsum(steps, axis=0)])
        if np.linalg.det(steps) < 0:
            path[[1, dim]] = path[[dim, 1]]
        paths.append(path)
    return np.array(paths)


def whole(dim: int) -> np.ndarray:
    """The unit interval, square or cube as one cell, shape (1, 2^dim, dim), entries 0 or 1, the first axis fastest."""
    return np.array([corner[::-1] for corner in product((0, 1), repeat=dim)])[None]


def grid(lines: Sequence[np.ndarray], pieces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and cells of the grid with the given coordinates along each axis.

    Args:
        lines: for each axis, increasing coordinates [m], shape (n_axis + 1,).
        pieces: corners of the cells of each box, shape (p, vertices a cell, dim): `simplices` or `whole`.

    Returns:
        points [m], shape (num_points, dim), and cells, shape (num_boxes * p, vertices a cell), box by box; the last
        axis runs fastest in both.
    """
    dim, shape = len(lines), [len(line) for line in lines]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, dim)
    number = np.arange(len(points)).reshape(shape)
    corner = number[(slice(-1),) * dim].reshape(-1, 1, 1)
    cells = corner + pieces @ np.array([number[tuple(axis)] for axis in np.eye(dim, dtype=np.int64)])
    return points, cells.reshape(-1, pieces.shape[1])


def side(shape: Sequence[int], axis: int, upper: bool, pieces: np.ndarray, facet_vertices: np.ndarray) -> np.ndarray:
    """Facets on one side of a grid, shape (k, 2), each row (cell, local facet).

    Args:
        shape: boxes along each axis.
        axis, upper: which side.
        pieces: as of `grid`.
        facet_vertices: local vertices of each local facet, shape (facets a cell, vertices a facet).
    """
    boxes = np.arange(np.prod(shape)).reshape(shape).take(-1 if upper else 0, axis=axis).reshape(-1, 1)
    rows = [
        np.hstack([boxes * len(pieces) + s, np.full_like(boxes, f)])
        for s, f in product(range(len(pieces)), range(len(facet_vertices)))
        if np.all(pieces[s, facet_vertices[f], axis] == upper)
    ]
    return np.concatenate(rows)
