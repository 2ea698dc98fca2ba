"""Equilibrated fluxes vertex by vertex: small mixed problems about each vertex, solved in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import basix
import dolfinx
import numpy as np
import ufl
from dolfinx import fem

from variform.forms.derive import is_zero
from variform.solvers.fem.discretize import JIT

BATCH = 4_000_000
"""Entries of the matrices that are solved together."""


@dataclass(frozen=True)
class Balance:
    """What is to be balanced: sigma near K grad u_h with div sigma = source in cells, sigma n = -natural on facets.

    Args:
        V, Q: Raviart-Thomas space on simplices, and discontinuous space of the divergences.
        flux, source, inverse: K grad u_h, the coefficient of v, and K^-1, UFL expressions.
        free: cell and local facet of each facet where sigma n is given, shape (n, 2).
        ds: their measure, with the numbers of the parts of the boundary and the quadrature of the form.
        natural: number of a part of the boundary -> the coefficient of v there, UFL expression or None.
        degree: of the quadrature, that of the form, so that u_h is in balance with each hat function.
    """

    V: fem.FunctionSpace
    Q: fem.FunctionSpace
    flux: Any
    source: Any
    inverse: Any
    free: np.ndarray
    ds: ufl.Measure
    natural: dict[int, Any]
    degree: int

    def solve(self) -> fem.Function:
        """The sum over all vertices a of the flux that is nearest to hat_a K grad u_h, of those in RT on the patch of
        a that have no normal part on its outer boundary and balance hat_a source + grad hat_a . K grad u_h.

        Source: Ern and Vohralik, SIAM J. Numer. Anal. 53 (2015), 1058, construction 3.4.
        """
        sigma = fem.Function(self.V)
        for patches in self._patches():
            sigma.x.array[:] += patches.solve()
        sigma.x.scatter_forward()
        return sigma

    def _patches(self) -> Iterator[_Patches]:
        """Vertices whose patches have as many cells and free facets, and have a facet at all where u is prescribed."""
        topology = self.V.mesh.topology
        dim = topology.dim
        for d in (dim, dim - 1):
            topology.create_connectivity(d, 0)
        vertices = topology.connectivity(dim, 0).array.reshape(-1, dim + 1)
        facets = topology.connectivity(dim - 1, 0).array.reshape(-1, dim)
        topology.create_connectivity(dim, dim - 1)
        given = np.zeros(len(facets), bool)
        given[topology.connectivity(dim, dim - 1).array.reshape(-1, dim + 1)[tuple(self.free.T)]] = True
        outer = np.zeros(len(facets), bool)
        outer[dolfinx.mesh.exterior_facet_indices(topology)] = True
        count = vertices.max() + 1
        touching = [np.bincount(facets[which].ravel(), minlength=count) for which in (~given, outer & ~given)]
        cells_about = np.bincount(vertices.ravel(), minlength=count)
        order = np.argsort(vertices.ravel(), kind="stable")  # places (cell, local vertex) by vertex
        first = np.cumsum(cells_about) - cells_about
        kinds, kind_of = np.unique(
            np.stack([cells_about, touching[0], touching[1] > 0], axis=1), axis=0, return_inverse=True
        )
        for number, (num_cells, num_facets, open_) in enumerate(kinds):
            about = np.flatnonzero(kind_of.ravel() == number)
            places = order[first[about, None] + np.arange(num_cells)]
            cells, local = np.divmod(places, dim + 1)
            unknowns = num_facets * len(self.elements.on_facet[0]) + num_cells * self.elements.inside
            size = unknowns + num_cells * self.elements.q.shape[1]
            step = max(1, BATCH // int(size) ** 2)
            for at in range(0, len(cells), step):
                yield _Patches(self, cells[at : at + step], local[at : at + step], int(unknowns), bool(open_))

    @cached_property
    def elements(self) -> Elements:
        return Elements(self)


@dataclass(frozen=True)
class _Patches:
    """Patches of one kind: cells and the local number of the vertex in each, shapes (patches, cells)."""

    balance: Balance
    cells: np.ndarray
    local: np.ndarray
    unknowns: int
    open: bool

    def solve(self) -> np.ndarray:
        """Their sum, by dof of the Raviart-Thomas space."""
        elements, V = self.balance.elements, self.balance.V
        count, about = self.cells.shape
        dofs = V.dofmap.list[self.cells]
        given, fixed = elements.given(self.cells, self.local)
        local, owner = self._numbered(dofs, given)
        A, B, G, D = elements.matrices(self.cells, self.local)
        n, m = self.unknowns, B.shape[-2]
        N = n + about * m
        matrix, right = np.zeros((count, N + 1, N + 1)), np.zeros((count, N + 1))
        # Dofs that are given have number N, a row and column that are dropped.
        patch = np.arange(count)[:, None, None]
        for c in range(about):
            rows = local[:, c]
            q = n + c * m + np.arange(m)
            matrix[patch, rows[:, :, None], rows[:, None, :]] += A[:, c]
            matrix[patch, q[None, :, None], rows[:, None, :]] = B[:, c]
            matrix[patch, rows[:, :, None], q[None, None, :]] = B[:, c].transpose(0, 2, 1)
            right[patch[..., 0], rows] += G[:, c] - (A[:, c] @ fixed[:, c, :, None])[..., 0]
            right[:, q] = D[:, c] - (B[:, c] @ fixed[:, c, :, None])[..., 0]
        if not self.open:  # the multiplier is free by a constant; the data are in balance
            mean = elements.integrals(self.cells).reshape(count, -1)
            matrix[:, n:N, n:N] -= mean[:, :, None] * mean[:, None, :] / np.sum(mean**2, axis=1)[:, None, None]
        x = np.linalg.solve(matrix[:, :N, :N], right[:, :N, None])[:, :n, 0]
        size = V.dofmap.index_map.size_local + V.dofmap.index_map.num_ghosts
        return np.bincount(owner.ravel(), x.ravel(), size) + np.bincount(dofs.ravel(), fixed.ravel(), size)

    def _numbered(self, dofs: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The place of each cell's dofs among the unknowns of its patch, and the dofs of those."""
        count, n = len(dofs), self.unknowns
        last = n + dofs.shape[1] * self.balance.elements.q.shape[1]
        flat = np.where(given, np.iinfo(dofs.dtype).max, dofs).reshape(count, -1)
        order = np.argsort(flat, axis=1, kind="stable")
        ordered = np.take_along_axis(flat, order, axis=1)
        new = np.ones_like(ordered, dtype=bool)
        new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        number = np.empty_like(order)
        np.put_along_axis(number, order, np.cumsum(new, axis=1) - 1, axis=1)
        owner = ordered[new & (ordered != np.iinfo(dofs.dtype).max)].reshape(count, n)
        return np.where(given, last, number.reshape(dofs.shape)), owner


class Elements:
    """Integrals over single cells, in DOLFINx's numbering and orientation of the basis."""

    def __init__(self, balance: Balance) -> None:
        self.balance, mesh = balance, balance.V.mesh
        self.mesh, self.dim = mesh, mesh.topology.dim
        cell = basix.CellType[mesh.basix_cell().name]
        self.points, self.weights = basix.make_quadrature(cell, balance.degree)
        element = balance.V.element.basix_element
        self.on_facet = [np.array(dofs) for dofs in element.entity_dofs[self.dim - 1]]
        self.inside = len(element.entity_dofs[self.dim][0])
        values = element.tabulate(1, self.points)
        self.phi = values[0]
        self.div = sum(values[1 + i, :, :, i] for i in range(self.dim))
        self.q = balance.Q.element.basix_element.tabulate(0, self.points)[0, :, :, 0]
        self.pairs = np.einsum("qmi,qnj->qijmn", self.phi, self.phi).reshape(-1, self.phi.shape[1] ** 2)
        self.divergence = np.einsum("q,qm,qn->mn", self.weights, self.q, self.div)
        self.hat = _hats(self.points)
        x = mesh.geometry.x[mesh.geometry.dofmaps[0], : self.dim]
        self.J = (x[:, 1:] - x[:, :1]).transpose(0, 2, 1)
        self.det = np.linalg.det(self.J)
        self._orient(balance.V.element)
        self.evaluate = {
            name: _evaluator(expression, self.points, mesh)
            for name, expression in (
                ("flux", balance.flux),
                ("source", balance.source),
                ("inverse", balance.inverse),
            )
        }
        self._facets()

    def _orient(self, element: Any) -> None:
        """The basis of a cell is its matrix times that of the reference: one for every pattern of orientations."""
        topology, n = self.mesh.topology, self.phi.shape[1]
        topology.create_entity_permutations()
        patterns, self.pattern = np.unique(topology.get_cell_permutation_info(), return_inverse=True)
        turned = []
        for pattern in patterns:
            matrix = np.eye(n).ravel()
            if element.needs_dof_transformations:
                element.T_apply(matrix, np.array([pattern], dtype=np.uint32), n)
            turned.append(matrix.reshape(n, n))
        self.turned = np.array(turned)

    def matrices(self, cells: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, ...]:
        """A = (K^-1 phi, phi), B = (q, div phi), G = (hat K^-1 flux, phi), D = (hat source + grad hat . flux, q).

        Args:
            cells, local: numbers of cells and of the vertex of the hat in each, of one shape.

        Returns:
            Of that shape with axes (dofs, dofs), (q, dofs), (dofs,), (q,).
        """
        shape, cells, local = cells.shape, cells.ravel(), local.ravel()
        J, det, T, w = self.J[cells], self.det[cells], self.turned[self.pattern[cells]], self.weights
        flux, source, inverse = (self.evaluate[name](cells) for name in ("flux", "source", "inverse"))
        hat, slope = self.hat[:, local].T, self._slopes(cells, local)
        # phi is J / det times that of the reference: products of matrices, cells by points and axes.
        n, back = self.phi.shape[1], J.transpose(0, 2, 1)[:, None]
        metric = back @ (inverse @ J[:, None]) * (w / abs(det)[:, None])[:, :, None, None]
        A = (metric.reshape(len(cells), -1) @ self.pairs).reshape(-1, n, n)
        pulled = (back @ (inverse @ flux[..., None]))[..., 0] * (np.sign(det)[:, None] * w * hat)[:, :, None]
        G = pulled.reshape(len(cells), -1) @ self.phi.transpose(0, 2, 1).reshape(-1, n)
        B = np.sign(det)[:, None, None] * self.divergence
        load = hat * source + (flux @ slope[:, :, None])[..., 0]
        D = (abs(det)[:, None] * w * load) @ self.q
        turned = (T @ A @ T.transpose(0, 2, 1), B @ T.transpose(0, 2, 1), (T @ G[:, :, None])[..., 0], D)
        return tuple(values.reshape(*shape, *values.shape[1:]) for values in turned)

    def integrals(self, cells: np.ndarray) -> np.ndarray:
        """Of each q over each cell."""
        return abs(self.det[cells])[..., None] * (self.weights @ self.q)

    def _slopes(self, cells: np.ndarray, local: np.ndarray) -> np.ndarray:
        """The gradient of a hat in each cell."""
        reference = np.vstack([-np.ones(self.dim), np.eye(self.dim)])[local]
        return np.linalg.solve(self.J[cells].transpose(0, 2, 1), reference[:, :, None])[:, :, 0]

    def given(self, cells: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which dofs the patch leaves no choice, and their values: shapes (*cells, dofs)."""
        n = self.phi.shape[1]
        given, values = np.zeros((*cells.shape, n), bool), np.zeros((*cells.shape, n))
        for facet, dofs in enumerate(self.on_facet):
            row = self.row[cells, facet]
            where = row >= 0
            given[..., dofs] = ((local == facet) | where)[..., None]  # facet i lies opposite vertex i
            block = values[where]
            block[:, dofs] = self.natural[row[where], local[where]]
            values[where] = block
        return given, values

    def _facets(self) -> None:
        """Where sigma n is given, the projections of -hat natural onto its traces, by row (facet) and local vertex."""
        balance, free = self.balance, self.balance.free
        self.row = np.full((len(self.J), self.dim + 1), -1)
        self.row[tuple(free.T)] = np.arange(len(free))
        self.natural = np.zeros((len(free), self.dim + 1, len(self.on_facet[0])))
        hats, n = fem.functionspace(self.mesh, ("Lagrange", 1)), ufl.FacetNormal(self.mesh)
        s, t, hat = ufl.TrialFunction(balance.V), ufl.TestFunction(balance.V), ufl.TrialFunction(hats)
        right = ufl.Form([])
        for number, natural in balance.natural.items():
            if natural is not None:
                right += -natural * hat * ufl.dot(t, n) * balance.ds(number)
        if right.empty():
            return
        mass, right = (
            fem.assemble_matrix(fem.form(form, jit_options=JIT)).to_scipy().tocsr()
            for form in (ufl.dot(s, n) * ufl.dot(t, n) * balance.ds(tuple(balance.natural)), right)
        )
        dofs = balance.V.dofmap.list[free[:, :1], np.array(self.on_facet)[free[:, 1]]]
        blocks = _entries(mass, dofs, dofs), _entries(right, dofs, hats.dofmap.list[free[:, 0]])
        self.natural = np.linalg.solve(*blocks).transpose(0, 2, 1)


def _entries(matrix: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Dense blocks, one for each row of both."""
    shape = (len(rows), rows.shape[1], columns.shape[1])
    i, j = np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(columns[:, None, :], shape)
    return np.asarray(matrix[i.ravel(), j.ravel()]).reshape(shape)


def _hats(points: np.ndarray) -> np.ndarray:
    """Barycentric coordinates, shape (points, dim + 1)."""
    return np.column_stack([1 - points.sum(axis=1), points])


def _evaluator(expression: Any, points: np.ndarray, mesh: Any) -> Any:
    """A function of cells that gives values at points of each."""
    shape = expression.ufl_shape
    if is_zero(expression):
        return lambda cells: np.zeros((len(cells), len(points), *shape))
    one = fem.Constant(mesh, 1.0)  # numbers know no mesh
    compiled = fem.Expression(one * expression, points, comm=mesh.comm, jit_options=JIT)
    return lambda cells: compiled.eval(mesh, cells.astype(np.int32)).reshape(len(cells), len(points), *shape)
