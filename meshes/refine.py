"""Refinement: of all cells, each cut into 2^dim at the middles of its edges, or of some, by bisection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from variform.mesh import EDGES, Mesh
from variform.meshes.bisect import bisect

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


def refine(mesh: Mesh, cells: np.ndarray | None = None) -> Mesh:
    """The mesh with all edges halved, 2, 4 or 8 cells for one; or with the given cells, and few others, bisected.

    Regions and boundaries keep their names, and the old points come first. If all cells are cut, the children of cell c
    are the cells 2^dim c, 2^dim c + 1, ...; those of curved cells lie on the same curve.

    Args:
        cells: numbers of cells, shape (k,), or a mask, shape (num_cells,): each is cut at its longest edge, and so are
            neighbours until the mesh conforms (`bisect`).

    Raises:
        InputError: some cells of a curved mesh are to be cut, or cells that do not exist.

    Example:
        >>> coarse = Mesh(np.array([[0.0], [1.0]]), np.array([[0, 1]]))
        >>> refine(coarse).cells.tolist()
        [[0, 2], [2, 1]]
    """
    if cells is not None:
        return bisect(mesh, np.asarray(cells))
    dim, whole = mesh.dim, mesh.second_order
    table = _child_nodes(mesh)
    fine = Mesh(
        points=whole.points,
        cells=whole.nodes[:, table].reshape(-1, dim + 1),
        regions={name: _children(members, len(table)) for name, members in mesh.regions.items()},
        boundaries={name: _on_facets(mesh, facets) for name, facets in mesh.boundaries.items()},
    )
    return fine if mesh.order == 1 else _curved(fine, whole, table)


def _child_nodes(mesh: Mesh) -> np.ndarray:
    """Places of the children's vertices in `Mesh.nodes` of second order, shape (2^dim, dim + 1)."""
    edges = EDGES[mesh.cell_type]
    column = {f"{i}{i}": i for i in range(mesh.dim + 1)}
    column |= {f"{i}{j}": mesh.dim + 1 + k for k, (i, j) in enumerate(edges)}
    return np.array([[column[label] for label in child.split()] for child in CHILDREN[mesh.dim]])


def _curved(fine: Mesh, coarse: Mesh, table: np.ndarray) -> Mesh:
    """The refined mesh with a node on each edge, where the coarse cell's quadratic map takes the edge's middle."""
    edges = np.array(EDGES[fine.cell_type])
    corners = np.eye(fine.dim + 1)
    barycentric = np.vstack([corners, corners[edges].mean(axis=1)])
    middles = barycentric[table][:, edges].mean(axis=2).reshape(-1, fine.dim + 1)
    shape = np.hstack([middles * (2 * middles - 1), 4 * middles[:, edges].prod(axis=2)])
    points = np.einsum("an,cni->cai", shape, coarse.points[coarse.nodes]).reshape(-1, fine.dim)
    ends = np.sort(fine.cells[:, edges], axis=2).reshape(-1, 2)
    _, first, number = np.unique(ends @ [len(fine.points), 1], return_index=True, return_inverse=True)
    edge_nodes = len(fine.points) + number.reshape(len(fine.cells), len(edges))
    return replace(fine, points=np.vstack([fine.points, points[first]]), edge_nodes=edge_nodes)


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
