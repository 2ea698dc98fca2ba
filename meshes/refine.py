"""Uniform refinement: every simplex is cut into 2^dim, at the midpoints of its edges."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from variform.mesh import Mesh

CHILDREN = {
    1: ("00 01", "01 11"),
    2: ("00 01 02", "01 11 12", "02 12 22", "01 12 02"),
    3: (
        *("00 01 02 03", "01 11 12 13", "02 12 22 23", "03 13 23 33"),
        *("01 02 03 13", "01 13 12 02", "02 03 13 23", "02 23 13 12"),
    ),
}
"""Vertices of each child, by dimension: "ij" is the midpoint of vertices i and j, "ii" a vertex. Children are oriented
like their parent; in space the octahedron in the middle is always cut along 02-13, and each child's order of vertices
is such that repeated refinement makes at most three shapes of tetrahedra.

Source: Bey, Tetrahedral grid refinement, Computing 55 (1995).
"""


def refine(mesh: Mesh) -> Mesh:
    """The mesh with all edges halved: 2, 4 or 8 cells for one. Regions and boundaries keep their names.

    The children of cell c are the cells 2^dim c, 2^dim c + 1, ...; the old points come first.

    Example:
        >>> coarse = Mesh(np.array([[0.0], [1.0]]), np.array([[0, 1]]))
        >>> refine(coarse).cells.tolist()
        [[0, 2], [2, 1]]
    """
    dim, num_points = mesh.dim, len(mesh.points)
    pairs = list(combinations(range(dim + 1), 2))
    ends = np.sort(mesh.cells[:, pairs].reshape(-1, 2), axis=1)
    key, number = np.unique(ends[:, 0] * num_points + ends[:, 1], return_inverse=True)
    midpoints = mesh.points[np.stack(np.divmod(key, num_points))].mean(axis=0)
    nodes = np.hstack([mesh.cells, num_points + number.reshape(len(mesh.cells), len(pairs))])
    column = {f"{i}{i}": i for i in range(dim + 1)} | {f"{i}{j}": dim + 1 + k for k, (i, j) in enumerate(pairs)}
    table = np.array([[column[label] for label in child.split()] for child in CHILDREN[dim]])
    return Mesh(
        points=np.vstack([mesh.points, midpoints]),
        cells=nodes[:, table].reshape(-1, dim + 1),
        regions={name: _children(cells, len(table)) for name, cells in mesh.regions.items()},
        boundaries={name: _on_facets(mesh, facets) for name, facets in mesh.boundaries.items()},
    )


def _children(cells: np.ndarray, count: int) -> np.ndarray:
    return (cells[:, None] * count + np.arange(count)).reshape(-1)


def _on_facets(mesh: Mesh, facets: np.ndarray) -> np.ndarray:
    """The children of facets: rows (cell, local facet) to 2^(dim - 1) as many."""
    children = [child.split() for child in CHILDREN[mesh.dim]]
    table = np.array(
        [
            [
                (c, f)
                for c, child in enumerate(children)
                for f, local in enumerate(mesh.facet_vertices)
                if set("".join(child[v] for v in local)) <= {str(v) for v in parent}
            ]
            for parent in mesh.facet_vertices
        ]
    )
    cell, local = table[facets[:, 1]].transpose(2, 0, 1)
    return np.stack([facets[:, :1] * len(children) + cell, local], axis=-1).reshape(-1, 2)
