"""How good a mesh is, and what is wrong with it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from variform.mesh import EDGES, Mesh
from variform.meshes.blocks import smallest_angle
from variform.quadrature import reference_map, reference_rule

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
        shape_min, shape_mean: 1 for an equilateral cell, 0 for a flat one (`shapes`); of an interval 1.
        angle_min: the smallest angle of a triangle, or of the triangular faces of the tetrahedra [degrees].
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
    facets = np.sort(mesh.cells[:, mesh.facet_vertices].reshape(-1, mesh.dim), axis=1)
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
        non_manifold_facets=int(np.sum(np.unique(facets, axis=0, return_counts=True)[1] > 2)),
        non_finite_points=int(np.sum(~np.isfinite(mesh.points).all(axis=1))),
        unnamed_facets=len(mesh.exterior_facets) - sum(map(len, mesh.boundaries.values())),
    )


def shapes(mesh: Mesh) -> np.ndarray:
    """Shape measure [-] of the cells with straight edges, shape (num_cells,): 1 if equilateral, 0 if flat.

    c volume^(2/dim) / (sum of the squared edges), and negative if inverted.

    Source: Liu and Joe, Relationship between tetrahedron shape measures, BIT 34 (1994): their mean ratio.
    """
    x = mesh.points[mesh.cells]
    dim = mesh.dim
    volume = np.linalg.det(x[:, 1:] - x[:, :1]) / math.factorial(dim)
    ends = x[:, np.array(EDGES[mesh.cell_type])]
    squares = np.sum((ends[:, :, 1] - ends[:, :, 0]) ** 2, axis=(1, 2))
    equilateral = {1: 1.0, 2: 4 * math.sqrt(3), 3: 12 * 3 ** (2 / 3)}[dim]
    squares = np.where(squares == 0, 1, squares)
    return np.sign(volume) * equilateral * np.abs(volume) ** (2 / dim) / squares


def _measures(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each cell the signed measure, and the smallest Jacobian determinant at its corners and quadrature points; and
    the orientation of most cells, 1 or -1, which counts as positive.
    """
    X, w = reference_rule(mesh.cell_type, 2 * mesh.dim)
    corners = np.vstack([np.zeros(mesh.dim), np.eye(mesh.dim)])
    determinants = np.linalg.det(reference_map(mesh, np.vstack([X, corners]))[1])
    measures = determinants[:, : len(w)] @ w
    orientation = -1.0 if np.sum(measures < 0) > len(measures) / 2 else 1.0
    return orientation * measures, (orientation * determinants).min(axis=1), orientation


def _smallest_angle(mesh: Mesh) -> float | None:
    if mesh.dim == 1:
        return None
    faces = mesh.cells if mesh.dim == 2 else mesh.cells[:, mesh.facet_vertices].reshape(-1, 3)
    return float(np.degrees(smallest_angle(mesh.points[faces]).min()))
