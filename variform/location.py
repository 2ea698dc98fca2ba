"""Which cell of a mesh a point lies in."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from variform.mesh import Mesh
from variform.quadrature import distance_outside, pull_back

TOLERANCE = 1e-8
"""How far outside a reference cell a point still counts as in it."""


def locate(mesh: Mesh, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cell of each point and its reference coordinates there.

    Args:
        x: points [m], shape (dim, n).

    Returns:
        Cell numbers (n,), -1 outside the mesh; reference coordinates (n, dim).
    """
    x = np.ascontiguousarray(x.T)
    corners = mesh.points[mesh.nodes]
    middles = corners.mean(axis=1)
    reach = 1.5 * np.linalg.norm(corners - middles[:, None], axis=2).max()
    tree = cKDTree(middles)
    cells, X = np.full(len(x), -1), np.zeros_like(x)
    depth = np.full(len(x), np.inf)
    todo, tried = np.arange(len(x)), 0
    while len(todo) and tried < len(mesh.cells):
        # Nearly always the point lies in one of the cells whose middles are nearest.
        count = min(len(mesh.cells), max(8, 4 * tried))
        distance, near = tree.query(x[todo], k=range(tried + 1, count + 1))
        point, place = np.nonzero(distance <= reach)
        candidates = near[point, place]
        at = pull_back(mesh, x[todo[point]], candidates)
        outside = distance_outside(mesh, at)
        outside[np.isnan(outside)] = np.inf
        order = np.argsort(-outside, kind="stable")  # the last one written lies deepest
        order = order[outside[order] < TOLERANCE]
        better = order[outside[order] < depth[todo[point[order]]]]
        chosen = todo[point[better]]
        cells[chosen], X[chosen], depth[chosen] = candidates[better], at[better], outside[better]
        todo = todo[(cells[todo] < 0) & (distance[:, -1] <= reach)]
        tried = count
    return cells, X
