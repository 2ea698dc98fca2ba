"""Refinement: of all cells, each cut into 2^dim at the middles of its edges, or of some, by bisection."""

from __future__ import annotations

from dataclasses import replace

import basix
import numpy as np

from variform.mesh import CARRIERS, Mesh
from variform.meshes.bisect import bisect
from variform.quadrature import node_places, reference_map, reference_nodes, reference_vertices

CHILDREN = {
    "interval": ("00 01", "01 11"),
    "triangle": ("00 01 02", "01 11 12", "02 12 22", "01 12 02"),
    "quadrilateral": [" ".join(f"{i}{j}" for j in range(4)) for i in range(4)],
    "tetrahedron": (
        *("00 01 02 03", "01 11 12 13", "02 12 22 23", "03 13 23 33"),
        *("01 02 03 13", "01 13 12 02", "02 03 13 23", "02 23 13 12"),
    ),
    "hexahedron": [" ".join(f"{i}{j}" for j in range(8)) for i in range(8)],
}
"""Vertices of each child: "ij" is the midpoint of vertices i and j, "ii" a vertex. Children are oriented like their
parent; in a tetrahedron the octahedron in the middle is always cut along 02-13, and each child's order of vertices
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
        InputError: some cells of a mesh that is curved, or not of simplices, are to be cut, or cells that do not exist.

    Example:
        >>> coarse = Mesh(np.array([[0.0], [1.0]]), np.array([[0, 1]]))
        >>> refine(coarse).cells.tolist()
        [[0, 2], [2, 1]]
    """
    if cells is not None:
        return bisect(mesh, np.asarray(cells))
    whole, table = mesh.second_order, _child_nodes(mesh.cell_type)
    fine = Mesh(
        points=whole.points,
        cells=whole.nodes[:, table].reshape(-1, table.shape[1]),
        regions={name: _children(members, len(table)) for name, members in mesh.regions.items()},
        boundaries={name: _on_facets(mesh, facets) for name, facets in mesh.boundaries.items()},
    )
    return fine if mesh.order == 1 else _curved(fine, whole, table)


def _child_nodes(cell_type: str) -> np.ndarray:
    """Places of the children's vertices in `Mesh.nodes` of second order, shape (2^dim, vertices a cell)."""
    pairs = np.array([[[int(v) for v in label] for label in child.split()] for child in CHILDREN[cell_type]])
    return node_places(reference_vertices(cell_type)[pairs].mean(axis=2), cell_type, 2)


def _curved(fine: Mesh, coarse: Mesh, table: np.ndarray) -> Mesh:
    """The refined mesh with the nodes of second order where the coarse cell's quadratic map takes them."""
    vertices = reference_nodes(fine.cell_type, 2)[table]
    middles = [vertices[:, carriers].mean(axis=2) for carriers in CARRIERS[fine.cell_type]]
    x, _ = reference_map(coarse, np.concatenate(middles, axis=1).reshape(-1, fine.dim))
    shared = fine.second_order
    points = shared.points.copy()
    points[shared.edge_nodes.ravel()] = x.reshape(-1, fine.dim)
    return replace(shared, points=points)


def _children(cells: np.ndarray, count: int) -> np.ndarray:
    return (cells[:, None] * count + np.arange(count)).reshape(-1)


def _on_facets(mesh: Mesh, facets: np.ndarray) -> np.ndarray:
    """The children of facets: rows (cell, local facet) to 2^(dim - 1) as many."""
    children = reference_nodes(mesh.cell_type, 2)[_child_nodes(mesh.cell_type)]
    first = reference_vertices(mesh.cell_type)[mesh.facet_vertices[:, 0]]
    outward = basix.cell.facet_outward_normals(basix.CellType[mesh.cell_type])
    height = np.einsum("pd,cfvpd->pcfv", outward, children[:, mesh.facet_vertices, None] - first)
    table = np.array([np.argwhere(np.all(np.abs(h) < 1e-12, axis=-1)) for h in height])
    cell, local = table[facets[:, 1]].transpose(2, 0, 1)
    return np.stack([facets[:, :1] * len(children) + cell, local], axis=-1).reshape(-1, 2)
