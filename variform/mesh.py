"""A mesh as plain arrays: what every back end (DOLFINx, torch, VTK) starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

VERTICES = {"interval": 2, "triangle": 3, "tetrahedron": 4}
"""Vertices of each supported cell type; facet i lies opposite vertex i, except on an interval, where it is vertex i."""


@dataclass(frozen=True)
class Mesh:
    """Straight-sided simplices of one type, with named regions and named parts of the boundary.

    Args:
        points: vertex coordinates [m], shape (num_points, dim), float64; dim is that of the cells.
        cells: vertex numbers, shape (num_cells, dim + 1), int64.
        regions: name -> cell numbers, shape (k,); regions do not overlap.
        boundaries: name -> exterior facets, shape (k, 2), each row (cell, local facet); they do not overlap.
    """

    points: np.ndarray
    cells: np.ndarray
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    boundaries: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    @property
    def cell_type(self) -> str:
        return {1: "interval", 2: "triangle", 3: "tetrahedron"}[self.dim]

    @cached_property
    def facet_vertices(self) -> np.ndarray:
        """Local vertices of each local facet, shape (dim + 1, dim), in basix order."""
        if self.dim == 1:
            return np.array([[0], [1]])
        return np.array([[v for v in range(self.dim + 1) if v != f] for f in range(self.dim + 1)])

    @cached_property
    def exterior_facets(self) -> np.ndarray:
        """Facets of one cell only, shape (k, 2), each row (cell, local facet)."""
        facets = np.sort(self.cells[:, self.facet_vertices].reshape(-1, self.dim), axis=1)
        _, first, count = np.unique(facets, axis=0, return_index=True, return_counts=True)
        outside = np.sort(first[count == 1])
        return np.stack(np.divmod(outside, self.dim + 1), axis=1)

    def vertices_of(self, facets: np.ndarray) -> np.ndarray:
        """Vertex numbers of (cell, local facet) rows, shape (k, dim)."""
        return self.cells[facets[:, :1], self.facet_vertices[facets[:, 1]]]
