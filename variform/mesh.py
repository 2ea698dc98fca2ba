"""A mesh as plain arrays: what every back end (DOLFINx, torch, VTK) starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

VERTICES = {"interval": 2, "triangle": 3, "tetrahedron": 4}
"""Vertices of each supported cell type; facet i lies opposite vertex i, except on an interval, where it is vertex i."""


EDGES = {
    "interval": ((0, 1),),
    "triangle": ((1, 2), (0, 2), (0, 1)),
    "tetrahedron": ((2, 3), (1, 3), (1, 2), (0, 3), (0, 2), (0, 1)),
}
"""Vertices of each edge of a cell, in basix's order."""


@dataclass(frozen=True)
class Mesh:
    """Simplices of one type, straight or with curved edges, with named regions and named parts of the boundary.

    Args:
        points: coordinates [m], shape (num_points, dim), float64; dim is that of the cells. Vertices come first.
        cells: vertex numbers, shape (num_cells, dim + 1), int64.
        regions: name -> cell numbers, shape (k,); regions do not overlap.
        boundaries: name -> exterior facets, shape (k, 2), each row (cell, local facet); they do not overlap.
        edge_nodes: for second-order geometry, the point in the middle of each edge of each cell, shape
            (num_cells, number of EDGES), int64: x is quadratic on a cell. None: straight cells.
    """

    points: np.ndarray
    cells: np.ndarray
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    boundaries: dict[str, np.ndarray] = field(default_factory=dict)
    edge_nodes: np.ndarray | None = None

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    @property
    def cell_type(self) -> str:
        return {1: "interval", 2: "triangle", 3: "tetrahedron"}[self.dim]

    @property
    def order(self) -> int:
        """Degree of the map from the reference cell: 1 for straight cells, 2 for curved ones."""
        return 1 if self.edge_nodes is None else 2

    @property
    def nodes(self) -> np.ndarray:
        """Points of each cell's geometry in basix's order, shape (num_cells, dim + 1 or more)."""
        return self.cells if self.edge_nodes is None else np.hstack([self.cells, self.edge_nodes])

    @property
    def straight(self) -> Mesh:
        """The same mesh with straight edges, and no points but vertices."""
        if self.edge_nodes is None:
            return self
        return replace(self, points=self.points[: self.cells.max() + 1], edge_nodes=None)

    @cached_property
    def second_order(self) -> Mesh:
        """The same domain with a node on every edge: in the middle of straight edges."""
        if self.edge_nodes is not None:
            return self
        ends = np.sort(self.cells[:, EDGES[self.cell_type]], axis=2)
        key, number = np.unique(ends[..., 0] * len(self.points) + ends[..., 1], return_inverse=True)
        middles = self.points[np.stack(np.divmod(key, len(self.points)))].mean(axis=0)
        edge_nodes = len(self.points) + number.reshape(ends.shape[:2])
        return replace(self, points=np.vstack([self.points, middles]), edge_nodes=edge_nodes)

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
