"""Quadrature points of one integral in torch: coordinates, Jacobians, weights and normals by the mesh's points.

Everything is an array over the points of k cells or facets with q points each, of shape (q, k), or (1, k) where it is
the same at all points of a cell: cells come last, where memory is contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import basix
import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from variform import quadrature
from variform.errors import InputError
from variform.forms.spaces import Space, geometry_element
from variform.mesh import SIMPLICES, Mesh

Directions = tuple[int, ...]
"""Axes of differentiation, sorted; () is the value itself."""


@dataclass(frozen=True, eq=False)
class Entities:
    """k cells, or k facets seen from one cell each, with q quadrature points.

    Args:
        cells: cell numbers, shape (k,).
        X: points in the reference cell, shape (classes, q, dim): one class for cells; for facets one for each local
            facet and each order of its vertices.
        of_class: class of each entity, shape (k,).
        weights: of the rule on the reference cell or facet, shape (q,).
        facets: local facet of each entity, shape (k,); None for cells.
        dtype: a real one.
    """

    mesh: Mesh
    cells: np.ndarray
    X: np.ndarray
    of_class: np.ndarray
    weights: np.ndarray
    facets: np.ndarray | None
    dtype: torch.dtype
    device: torch.device

    @cached_property
    def all_cells(self) -> bool:
        """The cells of the whole mesh in its order."""
        return self.facets is None and np.array_equal(self.cells, np.arange(len(self.mesh.cells)))

    def tensor(self, array: np.ndarray) -> Tensor:
        """A real array as a tensor of this dtype; integers stay integers."""
        return torch.as_tensor(np.ascontiguousarray(array), device=self.device).to(
            torch.int64 if array.dtype.kind in "iu" else self.dtype
        )

    @cached_property
    def _tables(self) -> dict[Any, list[Tensor]]:
        return {}

    def tables(self, space: Space, directions: Directions) -> list[Tensor]:
        """Reference derivatives of the basis functions, one tensor a component: (q, dofs), or (q, dofs, k) where
        facets or orientations differ; q is 1 where all points agree.
        """
        key = (id(space), len(directions))
        if (key, directions) not in self._tables:
            by_class = [space.tabulate(X, len(directions)) for X in self.X]
            for axes in by_class[0]:
                if len(axes) == len(directions):
                    table = np.stack([t[axes] for t in by_class])
                    self._tables[key, axes] = [self._entities(space, table[..., c]) for c in range(table.shape[-1])]
        return self._tables[key, directions]

    def _entities(self, space: Space, table: np.ndarray) -> Tensor:
        """A table by class (classes, q, dofs) as (q, dofs) or (q, dofs, k)."""
        if np.ptp(table, axis=1).max(initial=0.0) < 1e-14 * max(1.0, abs(table).max(initial=0.0)):
            table = table[:, :1]
        if space.orientation is not None:
            matrices, of_cell = space.orientation
            together = np.stack([self.of_class, of_cell[self.cells]])
            pairs, of_pair = np.unique(together, axis=1, return_inverse=True)
            oriented = np.stack([table[a] @ matrices[b].T for a, b in pairs.T])
            return self.tensor(np.moveaxis(oriented[of_pair.ravel()], 0, -1))
        if len(table) == 1:
            return self.tensor(table[0])
        return self.tensor(np.moveaxis(table[self.of_class], 0, -1))

    def dofmap(self, space: Space) -> Tensor:
        """Dofs of the entities' cells, shape (dofs a cell, k)."""
        if id(space) not in self._dofmaps:
            self._dofmaps[id(space)] = self.tensor(space.dofmap[self.cells].T)
        return self._dofmaps[id(space)]

    @cached_property
    def _dofmaps(self) -> dict[int, Tensor]:
        return {}

    @cached_property
    def _nodes(self) -> Tensor:
        return self.tensor(self.mesh.nodes[self.cells].T)

    @cached_property
    def _geometry_space(self) -> Space:
        return GeometrySpace(self.mesh)

    def geometry(self, points: Tensor) -> Geometry:
        """The geometry at the quadrature points, differentiable in the mesh's points (num_points, dim)."""
        dim, space = self.mesh.dim, self._geometry_space
        nodes = points.T[:, self._nodes]  # (dim, nodes a cell, k)
        x = list(contract(self.tables(space, ())[0], nodes))
        J = [[contract(self.tables(space, (d,))[0], nodes[j]) for d in range(dim)] for j in range(dim)]
        det, K = inverse(J)
        weights = self.tensor(self.weights)[:, None]
        if self.facets is None:
            return Geometry(self, nodes, x, J, K, det, weights * det.abs(), None)
        normals = self.tensor(basix.cell.facet_outward_normals(basix.CellType[self.mesh.cell_type])[self.facets].T)
        # Nanson's formula: n ds = det(J) J^-T N dS.
        outward = [sum(K[d][j] * normals[d] for d in range(dim)) for j in range(dim)]
        length = torch.sqrt(sum(o * o for o in outward))
        stretch = self.tensor(_facet_scale(self.mesh)[self.facets])
        return Geometry(
            self, nodes, x, J, K, det, weights * stretch * det.abs() * length, [o / length for o in outward]
        )


@dataclass(frozen=True, eq=False)
class Geometry:
    """Coordinates x[j], Jacobian J[j][d] = dx_j/dX_d, its inverse K[d][j], determinant, weights w, normal n[j] or None;
    nodes (dim, nodes a cell, k).
    """

    entities: Entities
    nodes: Tensor
    x: list[Tensor]
    J: list[list[Tensor]]
    K: list[list[Tensor]]
    det: Tensor
    w: Tensor
    n: list[Tensor] | None

    @cached_property
    def slope_of_K(self) -> list[list[list[Tensor]]] | None:
        """d K[a][m] / d x_n as [a][m][n]; None where cells are straight simplices: it is zero.

        From K J = I: dK = -K (dJ) K.
        """
        entities, dim = self.entities, self.entities.mesh.dim
        if entities.mesh.affine:
            return None
        space, K, axes = entities._geometry_space, self.K, range(dim)
        bend = [
            [[contract(entities.tables(space, tuple(sorted((b, c))))[0], self.nodes[j]) for c in axes] for b in axes]
            for j in axes
        ]  # d2 x_j / dX_b dX_c
        along = [[[sum(bend[j][b][c] * K[c][n] for c in axes) for n in axes] for b in axes] for j in axes]
        return [
            [[-sum(K[a][j] * along[j][b][n] * K[b][m] for j in axes for b in axes) for n in axes] for m in axes]
            for a in axes
        ]

    @cached_property
    def cell_diameter(self) -> Tensor:
        """Largest distance of two vertices of the cell, (1, k)."""
        vertices = self.nodes[:, : self.entities.mesh.cells.shape[1]]
        first, second = np.triu_indices(vertices.shape[1], 1)
        return ((vertices[:, first] - vertices[:, second]) ** 2).sum(0).amax(0, keepdim=True).sqrt()

    @cached_property
    def cell_volume(self) -> Tensor:
        """Of straight simplices, (1, k)."""
        mesh = self.entities.mesh
        if not mesh.affine:
            raise InputError(f"CellVolume is for straight simplices, not for cells of type {mesh.cell_type} here")
        return self.det.abs() * float(basix.cell.volume(basix.CellType[mesh.cell_type]))

    @cached_property
    def facet_area(self) -> Tensor:
        """(1, k)."""
        return self.w.sum(0, keepdim=True)

    def expansion(self, space: Space, component: tuple[int, ...], directions: Directions) -> list[Part]:
        """A physical derivative as a sum of reference derivatives.

        Returns:
            (component, directions, factor) in the reference cell. Of scalar elements the component is 0.

        Raises:
            InputError: third derivatives; derivatives of RT, BDM or N1curl on cells that are not affine.
        """
        mapped = self._mapped(space, component)
        if not directions:
            return [(c, (), factor) for c, factor in mapped]
        if space.piola and (len(directions) > 1 or not self.entities.mesh.affine):
            raise InputError(
                f"no derivatives of {space.family} elements "
                + ("above the first" if len(directions) > 1 else "on curved cells, quadrilaterals or hexahedra")
            )
        axes = range(self.entities.mesh.dim)
        if len(directions) == 1:
            (j,) = directions
            return [(c, (d,), _times(factor, self.K[d][j])) for c, factor in mapped for d in axes]
        if len(directions) > 2:
            raise InputError("derivatives above the second in the weak form: integrate by parts")
        m, n = directions
        parts: dict[Directions, Any] = {}
        for a in axes:
            for b in axes:
                key = (min(a, b), max(a, b))
                parts[key] = parts.get(key, 0.0) + self.K[a][m] * self.K[b][n]
            if self.slope_of_K is not None:
                parts[(a,)] = self.slope_of_K[a][m][n]
        return [(0, key, factor) for key, factor in parts.items()]

    def _mapped(self, space: Space, component: tuple[int, ...]) -> list[tuple[int, Tensor | float]]:
        """A component of the value by those of the reference element: Piola's maps, or the value itself."""
        if space.piola is None:
            return [(0, 1.0)]
        (j,) = component
        axes = range(self.entities.mesh.dim)
        if space.piola == "contravariant":
            return [(c, self.J[j][c] / self.det) for c in axes]
        return [(c, self.K[c][j]) for c in axes]


Part = tuple[int, Directions, Tensor | float]


class GeometrySpace(Space):
    """The Lagrange element that maps the reference cell, with equispaced nodes."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh, mesh.order)

    @cached_property
    def element(self) -> basix.finite_element.FiniteElement:
        return geometry_element(self.mesh)

    orientation = None


def cells_of(mesh: Mesh, cells: np.ndarray, degree: int, dtype: torch.dtype, device: torch.device) -> Entities:
    """Cells with the rule of a degree."""
    X, weights = quadrature.reference_rule(mesh.cell_type, degree)
    return Entities(mesh, cells, X[None], np.zeros(len(cells), dtype=np.int64), weights, None, dtype, device)


def facets_of(mesh: Mesh, rows: np.ndarray, degree: int, dtype: torch.dtype, device: torch.device) -> Entities:
    """Facets, rows (cell, local facet), with the rule of a degree. Two cells see the same points in the same order."""
    points, weights = quadrature.reference_rule(quadrature.facet_type(mesh.cell_type), degree)
    cells, local = rows.T
    order = _vertex_order(mesh.vertices_of(rows), simplex=mesh.cell_type == SIMPLICES[mesh.dim])
    classes, of_class = np.unique(np.column_stack([local, order]), axis=0, return_inverse=True)
    shape = _vertex_functions(points, simplex=mesh.cell_type == SIMPLICES[mesh.dim])
    corners = quadrature.reference_vertices(mesh.cell_type)
    X = np.array([shape @ corners[mesh.facet_vertices[c[0]][c[1:]]] for c in classes])
    X = X.reshape(len(classes), len(weights), mesh.dim)
    return Entities(mesh, cells, X, of_class.ravel(), weights, local, dtype, device)


def _vertex_order(vertices: np.ndarray, simplex: bool) -> np.ndarray:
    """The order of each facet's vertices (k, vertices) that depends on their numbers alone: rising; of quadrilaterals
    from the lowest over its lower neighbour to its higher one and the opposite vertex.
    """
    if simplex or vertices.shape[1] == 2:
        return np.argsort(vertices, axis=1)
    lowest = vertices.argmin(axis=1)
    neighbours = np.array([[1, 2], [0, 3], [0, 3], [1, 2]])[lowest]
    by_number = np.argsort(np.take_along_axis(vertices, neighbours, axis=1), axis=1)
    return np.column_stack([lowest, np.take_along_axis(neighbours, by_number, axis=1), 3 - lowest])


def _vertex_functions(points: np.ndarray, simplex: bool) -> np.ndarray:
    """Weights of a facet's vertices at the points of the reference facet, shape (q, vertices)."""
    if simplex or points.shape[1] == 1:
        return np.column_stack([1 - points.sum(axis=1), points])
    s, t = points.T
    return np.column_stack([(1 - s) * (1 - t), s * (1 - t), (1 - s) * t, s * t])


def _facet_scale(mesh: Mesh) -> np.ndarray:
    """Measure in the reference cell over that of the reference facet, by local facet."""
    if mesh.dim == 1:
        return np.ones(2)
    tangents = quadrature.facet_tangents(mesh)
    return np.sqrt(np.linalg.det(np.swapaxes(tangents, 1, 2) @ tangents))


def inverse(J: list[list[Tensor]]) -> tuple[Tensor, list[list[Tensor]]]:
    """Determinant and inverse of a matrix of arrays, by cofactors; at most 3 x 3."""
    dim = len(J)
    if dim == 1:
        return J[0][0], [[1 / J[0][0]]]
    if dim == 2:
        (a, b), (c, d) = J
        det = a * d - b * c
        return det, [[d / det, -b / det], [-c / det, a / det]]

    def minor(i: int, j: int) -> Tensor:
        # Cyclic indices give the sign.
        (r, s), (p, q) = [((i + 1) % 3, (i + 2) % 3), ((j + 1) % 3, (j + 2) % 3)]
        return J[r][p] * J[s][q] - J[r][q] * J[s][p]

    cofactors = [[minor(i, j) for j in range(3)] for i in range(3)]
    det = sum(J[0][j] * cofactors[0][j] for j in range(3))
    return det, [[cofactors[j][i] / det for j in range(3)] for i in range(3)]


def contract(table: Tensor, x: Tensor) -> Tensor:
    """sum_i table[q, i] x[i] in every cell: tables (q, i) or (q, i, k) and x (..., i, k) to (..., q, k)."""
    if x.is_complex():
        return torch.complex(contract(table, x.real), contract(table, x.imag))
    if _is_written_out(table):
        return sum(table[:, i, None] * x[..., i : i + 1, :] for i in range(table.shape[1]))
    return table @ x if table.ndim == 2 else torch.einsum("qik,...ik->...qk", table, x)


def integrate(table: Tensor, f: Tensor) -> Tensor:
    """sum_q table[q, i] f[q] in every cell, the adjoint of `contract`: f (..., q, k) to (..., i, k)."""
    if f.is_complex():
        return torch.complex(integrate(table, f.real), integrate(table, f.imag))
    if table.shape[0] == 1:
        f = f.sum(-2, keepdim=True)
    if _is_written_out(table):
        return torch.stack([(table[:, i, None] * f).sum(-2) for i in range(table.shape[1])], -2)
    return table.T @ f if table.ndim == 2 else torch.einsum("qik,...qk->...ik", table, f)


MOST_WRITTEN_OUT = 32
"""Basis functions up to which a compiler gets sums, which it fuses with all around them, in place of `matmul`."""


def _is_written_out(table: Tensor) -> bool:
    return table.ndim == 2 and table.shape[1] <= MOST_WRITTEN_OUT and get_proxy_mode() is not None


def _times(a: Tensor | float, b: Tensor) -> Tensor:
    return b if isinstance(a, float) and a == 1.0 else a * b
