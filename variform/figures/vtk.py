"""Meshes as VTK sees them. Loads VTK's data model only, so that files are written where nothing can be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from variform.mesh import Mesh
from variform.quadrature import node_places, reference_map, reference_nodes, reference_vertices

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

# Position in basix's order of each of VTK's nodes of second order; the vertices come first. VTK goes round each face,
# and lists the edges of a tetrahedron as 01, 12, 20, 03, 13, 23.
NODES = {
    "interval": [0, 1, 2],
    "triangle": [0, 1, 2, 5, 3, 4],
    "quadrilateral": [0, 1, 3, 2, 4, 6, 7, 5, 8],
    "tetrahedron": [0, 1, 2, 3, 9, 6, 8, 7, 5, 4],
    "hexahedron": [
        *(0, 1, 3, 2, 4, 5, 7, 6, 8, 11, 13, 9, 16, 18, 19, 17, 10, 12, 15, 14),  # edges: below, above, upright
        *(22, 23, 21, 24, 20, 25, 26),
    ],
}
TYPES = {
    ("interval", 1): 3,
    ("triangle", 1): 5,
    ("quadrilateral", 1): 9,
    ("tetrahedron", 1): 10,
    ("hexahedron", 1): 12,
    ("interval", 2): 21,
    ("triangle", 2): 22,
    ("quadrilateral", 2): 28,
    ("tetrahedron", 2): 24,
    ("hexahedron", 2): 29,
}
"""VTK's number of a cell type by basix's name and order."""


def vtk_nodes(mesh: Mesh) -> np.ndarray:
    """`mesh.nodes` in VTK's order, shape (num_cells, nodes a cell), right-handed so that normals point outwards."""
    order = NODES[mesh.cell_type][: mesh.nodes.shape[1]]
    if mesh.dim == 1:
        return mesh.nodes[:, order]
    middle = reference_vertices(mesh.cell_type).mean(axis=0, keepdims=True)
    turned = np.linalg.det(reference_map(mesh, middle)[1][:, 0]) < 0
    return np.where(turned[:, None], mesh.nodes[:, _mirrored(mesh)], mesh.nodes)[:, order]


def _mirrored(mesh: Mesh) -> np.ndarray:
    """Places of the nodes in basix's order after the first two axes of the reference cell have changed places."""
    X = reference_nodes(mesh.cell_type, mesh.order)
    return node_places(X[:, [1, 0, *range(2, mesh.dim)]], mesh.cell_type, mesh.order)


def vtk_grid(mesh: Mesh, fields: dict[str, np.ndarray]) -> vtkUnstructuredGrid:
    """The mesh with values at its points.

    Args:
        fields: name -> shape (n,), (k, n) or (k, l, n), at most three components an axis; written with three.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkUnstructuredGrid

    grid, points, cells = vtkUnstructuredGrid(), vtkPoints(), vtkCellArray()
    points.SetDataTypeToDouble()
    points.SetData(numpy_to_vtk(in_space(mesh.points), deep=True))
    grid.SetPoints(points)
    nodes = vtk_nodes(mesh)
    offsets = np.arange(len(nodes) + 1) * nodes.shape[1]
    cells.SetData(*(numpy_to_vtkIdTypeArray(a.ravel().astype(np.int64), deep=True) for a in (offsets, nodes)))
    grid.SetCells(TYPES[mesh.cell_type, mesh.order], cells)
    for name, values in fields.items():
        array = numpy_to_vtk(_rows(np.asarray(values)), deep=True)
        array.SetName(name)
        grid.GetPointData().AddArray(array)
    return grid


def in_space(vectors: np.ndarray) -> np.ndarray:
    """Shape (n, 3) from (n, dim)."""
    return np.pad(vectors, ((0, 0), (0, 3 - vectors.shape[1])))


def _rows(values: np.ndarray) -> np.ndarray:
    """One row a point: 1, 3 or 9 numbers in float64, in C order."""
    padded = np.pad(values, [(0, 3 - k) for k in values.shape[:-1]] + [(0, 0)])
    rows = padded.reshape(-1, values.shape[-1]).T
    return np.ascontiguousarray(rows[:, 0] if values.ndim == 1 else rows, dtype=np.float64)
