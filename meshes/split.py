"""Cells of any kind that files hold, as simplices: quadrilaterals, hexahedra, prisms and pyramids are cut in pieces."""

from __future__ import annotations

import numpy as np

CORNERS = {
    "vertex": 1,
    "line": 2,
    "triangle": 3,
    "quad": 4,
    "tetra": 4,
    "pyramid": 5,
    "wedge": 6,
    "hexahedron": 8,
}
"""Vertices of each kind of cell, by meshio's name; cells of higher order have the same first."""

FACES = {
    "pyramid": ((0, 1, 2, 3), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)),
    "wedge": ((0, 1, 2), (3, 4, 5), (0, 1, 4, 3), (1, 2, 5, 4), (2, 0, 3, 5)),
    "hexahedron": ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)),
}
"""Vertices around each face, in the order of VTK and meshio."""

MIDDLES = {"line3": [2], "triangle6": [4, 5, 3], "tetra10": [9, 8, 5, 7, 6, 4]}
"""Where meshio's cells of second order have the middle of each of `EDGES`, in basix's order."""


def corner_kind(kind: str) -> str:
    """The kind of the straight cell with the same corners: triangle for triangle6."""
    return kind.rstrip("0123456789")


def split(kind: str, cells: np.ndarray, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Cut cells into simplices with the same vertices.

    Every quadrilateral, be it a face of a cell or of the boundary, is cut through its vertex of smallest number: cells
    that share a face agree. A cell in space is the union of the tetrahedra from its smallest vertex to the triangles
    of the faces that do not touch it.

    Args:
        kind: a key of CORNERS.
        cells: vertex numbers, shape (k, CORNERS[kind]).
        points: given for quadrilaterals that no other cell shares a face with, those of a plane mesh: they are cut
            along the shorter diagonal, if there is one.

    Returns:
        The simplices, shape (m, number of vertices), and the row of the cell each comes from, shape (m,).

    Source: Dompierre, Labbé, Vallet and Camarero, How to subdivide pyramids, prisms and hexahedra into tetrahedra, 8th
    International Meshing Roundtable (1999).
    """
    rows = np.arange(len(cells))
    if kind == "quad":
        return _in_two(cells, rows, points)
    if kind not in FACES:
        return cells, rows
    pieces, parents = [], []
    smallest = cells.argmin(axis=1)
    for apex in range(CORNERS[kind]):
        ours = np.flatnonzero(smallest == apex)
        for face in (face for face in FACES[kind] if apex not in face):
            corners = cells[ours][:, face]
            triangles, parent = (corners, ours) if len(face) == 3 else _in_two(corners, ours)
            pieces.append(np.hstack([triangles, cells[parent, apex][:, None]]))
            parents.append(parent)
    parent = np.concatenate(parents)
    order = np.argsort(parent, kind="stable")
    return np.concatenate(pieces)[order], parent[order]


def _in_two(quads: np.ndarray, rows: np.ndarray, points: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles for each quadrilateral, and the row of each."""
    through_first = quads.argmin(axis=1) % 2 == 0
    if points is not None:
        x = points[quads]
        first, second = (np.linalg.norm(x[:, i + 2] - x[:, i], axis=1) for i in (0, 1))
        tie = np.isclose(first, second, rtol=1e-9)
        through_first = np.where(tie, through_first, first < second)
    local = np.where(through_first[:, None], [0, 1, 2, 0, 2, 3], [1, 2, 3, 1, 3, 0])
    return np.take_along_axis(quads, local, axis=1).reshape(-1, 3), np.repeat(rows, 2)
