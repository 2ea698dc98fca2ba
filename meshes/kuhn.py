"""Structured grids of simplices: every box of a grid is cut alike, in dim! simplices, and neighbours conform."""

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


def grid(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Points and cells of the grid with the given coordinates along each axis.

    Args:
        lines: for each axis, increasing coordinates [m], shape (n_axis + 1,).

    Returns:
        points [m], shape (num_points, dim), and cells, shape (num_boxes * dim!, dim + 1), box by box; the last
        axis runs fastest in both.
    """
    dim, shape = len(lines), [len(line) for line in lines]
    points = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, dim)
    number = np.arange(len(points)).reshape(shape)
    corner = number[(slice(-1),) * dim].reshape(-1, 1, 1)
    cells = corner + simplices(dim) @ np.array([number[tuple(axis)] for axis in np.eye(dim, dtype=np.int64)])
    return points, cells.reshape(-1, dim + 1)


def side(shape: Sequence[int], axis: int, upper: bool, facet_vertices: np.ndarray) -> np.ndarray:
    """Facets on one side of a grid, shape (k, 2), each row (cell, local facet).

    Args:
        shape: boxes along each axis.
        axis, upper: which side.
        facet_vertices: local vertices of each local facet, shape (dim + 1, dim).
    """
    paths = simplices(len(shape))
    boxes = np.arange(np.prod(shape)).reshape(shape).take(-1 if upper else 0, axis=axis).reshape(-1, 1)
    rows = [
        np.hstack([boxes * len(paths) + s, np.full_like(boxes, f)])
        for s, f in product(range(len(paths)), range(len(facet_vertices)))
        if np.all(paths[s, facet_vertices[f], axis] == upper)
    ]
    return np.concatenate(rows)
