"""A mesh as plain arrays: what every back end (DOLFINx, torch, VTK) starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import basix
import numpy as np

from variform.errors import InputError

DIMENSION = {"interval": 1, "triangle": 2, "quadrilateral": 2, "tetrahedron": 3, "hexahedron": 3}
"""Dimension of each supported cell type."""

SIMPLICES = {1: "interval", 2: "triangle", 3: "tetrahedron"}
"""The simplex of each dimension."""

TOPOLOGY = {kind: basix.topology(basix.CellType[kind]) for kind in DIMENSION}
"""Vertices of the entities of each cell type, by dimension, as basix numbers them; those of quadrilaterals and
hexahedra run like digits, along the first axis fastest: (0, 0), (1, 0), (0, 1), (1, 1)."""

VERTICES = {kind: len(topology[0]) for kind, topology in TOPOLOGY.items()}
EDGES = {kind: tuple(map(tuple, topology[1])) for kind, topology in TOPOLOGY.items()}

CARRIERS = {
    kind: [np.array(TOPOLOGY[kind][d]) for d in range(1, 2 if kind == SIMPLICES[dim] else dim + 1)]
    for kind, dim in DIMENSION.items()
}
"""Vertices of the entities with a node of second order in their middle: edges; and of quadrilaterals and hexahedra the
faces and the cell itself. One array (entities, vertices) a dimension."""


@dataclass(frozen=True)
class Mesh:
    """Cells of one type, straight or of second order, with named regions and named parts of the boundary.

    Args:
        points: coordinates [m], shape (num_points, dim), float64; dim is that of the cells. Vertices come first.
        cells: vertex numbers in the order of `TOPOLOGY`, shape (num_cells, vertices a cell), int64.
        regions: name -> cell numbers, shape (k,); regions do not overlap.
        boundaries: name -> exterior facets, shape (k, 2), each row (cell, local facet); they do not overlap.
        edge_nodes: for second-order geometry, the points in the middle of each cell's edges, and of its other
            `CARRIERS`, shape (num_cells, 1, 3, 5, 6 or 19), int64: x is quadratic on a cell. None: straight cells.
    """

    points: np.ndarray
    cells: np.ndarray
    regions: dict[str, np.ndarray] = field(default_factory=dict)
    boundaries: dict[str, np.ndarray] = field(default_factory=dict)
    edge_nodes: np.ndarray | None = None

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    @cached_property
    def cell_type(self) -> str:
        """A key of DIMENSION; raises InputError where no cell type has that many vertices in that dimension."""
        for kind, dim in DIMENSION.items():
            if (dim, VERTICES[kind]) == (self.dim, self.cells.shape[1]):
                return kind
        known = ", ".join(f"{kind} ({VERTICES[kind]} in {dim})" for kind, dim in DIMENSION.items())
        raise InputError(f"no cell has {self.cells.shape[1]} vertices in dimension {self.dim}; allowed are {known}")

    @property
    def order(self) -> int:
        """Degree of the map from the reference cell: 1 for straight cells, 2 for curved ones."""
        return 1 if self.edge_nodes is None else 2

    @property
    def affine(self) -> bool:
        """Whether dx/dX is constant in every cell because of its type: straight simplices."""
        return self.order == 1 and self.cell_type == SIMPLICES[self.dim]

    @property
    def nodes(self) -> np.ndarray:
        """Points of each cell's geometry in basix's order, shape (num_cells, nodes a cell)."""
        return self.cells if self.edge_nodes is None else np.hstack([self.cells, self.edge_nodes])

    @property
    def straight(self) -> Mesh:
        """The same mesh with straight edges, and no points but vertices."""
        if self.edge_nodes is None:
            return self
        return replace(self, points=self.points[: self.cells.max() + 1], edge_nodes=None)

    @cached_property
    def second_order(self) -> Mesh:
        """The same domain with a node in the middle of every edge, and of the other `CARRIERS`."""
        if self.edge_nodes is not None:
            return self
        points, nodes = self.points, []
        for carriers in CARRIERS[self.cell_type]:
            vertices, number = _distinct(np.sort(self.cells[:, carriers], axis=2))
            nodes.append(len(points) + number)
            points = np.vstack([points, self.points[vertices].mean(axis=1)])
        return replace(self, points=points, edge_nodes=np.hstack(nodes))

    @cached_property
    def facet_vertices(self) -> np.ndarray:
        """Local vertices of each local facet, shape (facets a cell, vertices a facet), in basix's order."""
        return np.array(TOPOLOGY[self.cell_type][self.dim - 1])

    @cached_property
    def exterior_facets(self) -> np.ndarray:
        """Facets of one cell only, shape (k, 2), each row (cell, local facet)."""
        return np.argwhere(self.cells_about_facets == 1)

    @cached_property
    def interior_facets(self) -> np.ndarray:
        """Facets of two cells, shape (k, 2, 2): a row (cell, local facet) for each, that of the lower cell first."""
        number = self._facet_numbers.ravel()
        both = np.flatnonzero(self.cells_about_facets.ravel() == 2)
        pairs = both[np.argsort(number[both], kind="stable")].reshape(-1, 2)
        return np.stack(np.divmod(pairs[np.argsort(pairs[:, 0])], len(self.facet_vertices)), axis=-1)

    @cached_property
    def cells_about_facets(self) -> np.ndarray:
        """How many cells have each facet of each cell, shape (num_cells, facets a cell): 1 or 2 in a sound mesh."""
        return np.bincount(self._facet_numbers.ravel())[self._facet_numbers]

    @cached_property
    def _facet_numbers(self) -> np.ndarray:
        return _distinct(np.sort(self.cells[:, self.facet_vertices], axis=2))[1]

    def vertices_of(self, facets: np.ndarray) -> np.ndarray:
        """Vertex numbers of (cell, local facet) rows, shape (k, vertices a facet)."""
        return self.cells[facets[:, :1], self.facet_vertices[facets[:, 1]]]


def _distinct(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows along the last axis, in lexicographic order, and the number of each row among them."""
    rows = vertices.reshape(-1, vertices.shape[-1])
    order = np.lexsort(rows.T[::-1])  # np.unique(axis=0) takes several times as long
    new = np.append(True, np.any(rows[order[1:]] != rows[order[:-1]], axis=1))[: len(rows)]
    number = np.empty(len(rows), np.int64)
    number[order] = np.cumsum(new) - 1
    return rows[order[new]], number.reshape(vertices.shape[:-1])
