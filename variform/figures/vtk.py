"""Meshes as VTK sees them. Loads VTK's data model only, so that files are written where nothing can be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from variform.mesh import Mesh

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

# Position in basix's order of each of VTK's nodes, by the number of nodes; VTK lists the edges 01, 12, 20, 03, 13, 23.
NODES = {3: [0, 1, 2], 4: [0, 1, 2, 3], 6: [0, 1, 2, 5, 3, 4], 10: [0, 1, 2, 3, 9, 6, 8, 7, 5, 4]}
# Places of VTK's nodes after vertices 1 and 2 have changed places.
MIRRORED = {3: [0, 2, 1], 4: [0, 2, 1, 3], 6: [0, 2, 1, 5, 4, 3], 10: [0, 2, 1, 3, 6, 5, 4, 7, 9, 8]}
TYPES = {(1, 1): 3, (2, 1): 5, (3, 1): 10, (1, 2): 21, (2, 2): 22, (3, 2): 24}
"""VTK's number of a cell type by dimension and order."""


def vtk_nodes(mesh: Mesh) -> np.ndarray:
    """`mesh.nodes` in VTK's order, shape (num_cells, nodes a cell), right-handed so that normals point outwards."""
    if mesh.dim == 1:
        return mesh.nodes
    nodes = mesh.nodes[:, NODES[mesh.nodes.shape[1]]]
    corners = mesh.points[mesh.cells]
    turned = np.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    return np.where(turned[:, None], nodes[:, MIRRORED[nodes.shape[1]]], nodes)


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
    grid.SetCells(TYPES[mesh.dim, mesh.order], cells)
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
