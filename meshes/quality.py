"""How good a mesh is, and what is wrong with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from variform.errors import InputError
from variform.mesh import EDGES, SIMPLICES, Mesh
from variform.meshes.blocks import smallest_angle
from variform.quadrature import facet_type, reference_map, reference_rule, reference_vertices

PROBLEMS = {
    "inverted_cells": "cells that are folded, flat or turned against most others (read turns them back)",
    "duplicate_cells": "cells that appear twice",
    "orphan_points": "points without a cell",
    "non_manifold_facets": "facets of more than two cells",
    "non_finite_points": "points whose coordinates are not finite numbers",
}
"""Fields of `Quality` that should be 0, and what they count."""


@dataclass(frozen=True)
class Quality:
    """Figures of a mesh.

    Attributes:
        measure: length, area or volume [m^dim].
        edge_min, edge_max: lengths of the straight edges [m].
        shape_min, shape_mean: 1 for an interval, an equilateral cell, a square or a cube, 0 for a flat one (`shapes`).
        angle_min: the smallest angle of a cell in the plane, or of the faces of those in space [degrees].
        unnamed_facets: exterior facets without a name: no fault, as "boundary" holds them.
    """

    cells: int
    points: int
    order: int
    measure: float
    edge_min: float
    edge_max: float
    shape_min: float
    shape_mean: float
    angle_min: float | None
    inverted_cells: int
    duplicate_cells: int
    orphan_points: int
    non_manifold_facets: int
    non_finite_points: int
    unnamed_facets: int

    @property
    def problems(self) -> dict[str, int]:
        """What is wrong: a name of PROBLEMS -> how often."""
        return {name: getattr(self, name) for name in PROBLEMS if getattr(self, name)}

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def check(mesh: Mesh) -> Quality:
    """Figures of any mesh, be it broken: `read(path, lenient=True)` gives those of files as they are."""
    with np.errstate(all="ignore"):
        measures, smallest, orientation = _measures(mesh)
        edges = np.array(EDGES[mesh.cell_type])
        ends = mesh.points[mesh.cells[:, edges]]
        lengths = np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=2)
        shape = orientation * shapes(mesh)
    return Quality(
        cells=len(mesh.cells),
        points=len(mesh.points),
        order=mesh.order,
        measure=float(np.abs(measures).sum()),
        edge_min=float(lengths.min()),
        edge_max=float(lengths.max()),
        shape_min=float(shape.min()),
        shape_mean=float(shape.mean()),
        angle_min=_smallest_angle(mesh),
        inverted_cells=int(np.sum(~(smallest > 1e-14 * lengths.max(axis=1) ** mesh.dim))),
        duplicate_cells=len(mesh.cells) - len(np.unique(np.sort(mesh.cells, axis=1), axis=0)),
        orphan_points=len(mesh.points) - len(np.unique(mesh.nodes)),
        non_manifold_facets=_crowded_facets(mesh),
        non_finite_points=int(np.sum(~np.isfinite(mesh.points).all(axis=1))),
        unnamed_facets=len(mesh.exterior_facets) - sum(map(len, mesh.boundaries.values())),
    )


def refuse_broken(mesh: Mesh) -> None:
    """Refuse what no solver can take: cells that turn round inside, and facets of more than two cells.

    A whole cell may be turned either way. One whose vertices are in another order than `TOPOLOGY`'s, say a
    quadrilateral's counter-clockwise, has crossing edges.

    Raises:
        InputError: names the first such cell.
    """
    X = np.vstack([reference_rule(mesh.cell_type, 2 * mesh.dim)[0], reference_vertices(mesh.cell_type)])
    determinants = np.linalg.det(reference_map(mesh, X)[1])
    folded = ~(determinants.min(axis=1) * determinants.max(axis=1) > 0)
    if folded.any():
        order = "" if mesh.affine else "; are its vertices in tensor-product order, (0, 0), (1, 0), (0, 1), (1, 1)?"
        raise InputError(
            f"{folded.sum()} cells are folded or flat; the first is cell {np.argmax(folded)}, "
            f"a {mesh.cell_type} of vertices {mesh.cells[np.argmax(folded)].tolist()}{order}"
        )
    crowded = mesh.cells_about_facets > 2
    if crowded.any():
        cell, facet = np.argwhere(crowded)[0]
        raise InputError(
            f"facet {facet} of cell {cell}, of vertices {mesh.vertices_of(np.array([[cell, facet]]))[0].tolist()}, "
            f"belongs to {mesh.cells_about_facets[cell, facet]} cells; two is the most"
        )


def shapes(mesh: Mesh) -> np.ndarray:
    """Shape measure [-] of the cells with straight edges, shape (num_cells,): 1 if equilateral, or a square or cube,
    and 0 if flat.

    The mean ratio dim det(S)^(2/dim) / |S|^2 of the map S from the equilateral simplex; of quadrilaterals and hexahedra
    the smallest of those from the square or cube at the corners. Negative if inverted.

    Source: Knupp, Algebraic mesh quality metrics, SIAM J. Sci. Comput. 23 (2001); of simplices also Liu and Joe,
    Relationship between tetrahedron shape measures, BIT 34 (1994): their mean ratio.
    """
    dim = mesh.dim
    S = reference_map(mesh.straight, reference_vertices(mesh.cell_type))[1]
    if mesh.cell_type == SIMPLICES[dim]:
        S = S[:, :1] @ np.linalg.inv(_equilateral(dim))
    determinants = np.linalg.det(S)
    squares = np.sum(S**2, axis=(2, 3))
    squares = np.where(squares == 0, 1, squares)
    return np.min(dim * np.sign(determinants) * np.abs(determinants) ** (2 / dim) / squares, axis=1)


def _equilateral(dim: int) -> np.ndarray:
    """The edges from one vertex of an equilateral simplex as columns: any angle between two is 60 degrees."""
    return np.linalg.cholesky((np.eye(dim) + 1) / 2).T


def _crowded_facets(mesh: Mesh) -> int:
    """Number of facets that belong to more than two cells."""
    about = mesh.cells_about_facets
    return round(np.sum(1 / about[about > 2]))


def _measures(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each cell the signed measure, and the smallest Jacobian determinant at its corners and quadrature points; and
    the orientation of most cells, 1 or -1, which counts as positive.
    """
    X, w = reference_rule(mesh.cell_type, 2 * mesh.dim)
    determinants = np.linalg.det(reference_map(mesh, np.vstack([X, reference_vertices(mesh.cell_type)]))[1])
    measures = determinants[:, : len(w)] @ w
    orientation = -1.0 if np.sum(measures < 0) > len(measures) / 2 else 1.0
    return orientation * measures, (orientation * determinants).min(axis=1), orientation


def _smallest_angle(mesh: Mesh) -> float | None:
    if mesh.dim == 1:
        return None
    kind = mesh.cell_type if mesh.dim == 2 else facet_type(mesh.cell_type)
    faces = (
        mesh.cells if mesh.dim == 2 else mesh.cells[:, mesh.facet_vertices].reshape(-1, mesh.facet_vertices.shape[1])
    )
    around = faces if kind == "triangle" else faces[:, [0, 1, 3, 2]]
    return float(np.degrees(smallest_angle(mesh.points[around]).min()))
