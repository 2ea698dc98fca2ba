"""Quadrature points of a mesh: the same rules that FFCx takes, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import basix
import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh


@dataclass(frozen=True)
class Quadrature:
    """Points x (dim, n) [m], weights w (n,) [m^d], and on facets the outward unit normal (dim, n)."""

    x: np.ndarray
    w: np.ndarray
    normal: np.ndarray | None = None


def quadrature_degree(degree: int) -> int:
    """The degree that every back end takes for elements of this degree: stiffness with a coefficient of like degree."""
    return 2 * degree + 1


def reference_rule(cell_type: str, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (q, tdim) and weights (q,) on the reference cell; one point of weight 1 on a vertex."""
    if cell_type == "point":
        return np.zeros((1, 0)), np.ones(1)
    points, weights = basix.make_quadrature(basix.CellType[cell_type], degree)
    return points.reshape(len(weights), -1), weights


def facet_type(cell_type: str) -> str:
    return {
        "interval": "point",
        "triangle": "interval",
        "quadrilateral": "interval",
        "tetrahedron": "triangle",
        "hexahedron": "quadrilateral",
    }[cell_type]


def facet_points(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Reference-cell coordinates of reference-facet points, on each local facet: (facets a cell, q, dim)."""
    first = reference_vertices(mesh.cell_type)[mesh.facet_vertices[:, 0]]
    return first[:, None] + np.einsum("qk,fdk->fqd", points, facet_tangents(mesh))


def facet_tangents(mesh: Mesh) -> np.ndarray:
    """dX/ds of the map from the reference facet to each local facet, shape (facets a cell, dim, dim - 1)."""
    vertices = reference_vertices(mesh.cell_type)[mesh.facet_vertices]
    # Along the axes of the reference facet, be it a simplex or a square, lie its vertices 1 to dim - 1.
    return np.swapaxes(vertices[:, 1 : mesh.dim] - vertices[:, :1], 1, 2)


def reference_vertices(cell_type: str) -> np.ndarray:
    """Vertices of the reference cell, shape (vertices a cell, dim)."""
    return basix.geometry(basix.CellType[cell_type])


def reference_nodes(cell_type: str, order: int) -> np.ndarray:
    """Nodes of `Mesh.nodes` in the reference cell, shape (nodes a cell, dim)."""
    return np.zeros((1, 0)) if cell_type == "point" else _geometry_element(cell_type, order).points


def node_places(X: np.ndarray, cell_type: str, order: int) -> np.ndarray:
    """Which of the `reference_nodes` lie at X (..., dim), shape (...)."""
    return np.abs(X[..., None, :] - reference_nodes(cell_type, order)).sum(axis=-1).argmin(axis=-1)


def _geometry_element(cell_type: str, order: int) -> basix.finite_element.FiniteElement:
    return basix.create_element(
        basix.ElementFamily.P, basix.CellType[cell_type], order, basix.LagrangeVariant.equispaced
    )


def jacobians(mesh: Mesh, cells: np.ndarray | slice = slice(None)) -> np.ndarray:
    """dx/dX of the affine map from the reference cell, shape (num_cells, dim, dim), of straight simplices.

    Raises:
        InputError: the cells are curved, or quadrilaterals or hexahedra: dx/dX varies over them (`reference_map`).
    """
    if not mesh.affine:
        curved = "curved " if mesh.order > 1 else ""
        raise InputError(
            f"the cells of this mesh are {curved}{mesh.cell_type} cells, whose maps are not affine; "
            "allowed are straight intervals, triangles and tetrahedra"
        )
    x = mesh.points[mesh.cells[cells]]
    return np.swapaxes(x[:, 1:] - x[:, :1], 1, 2)


def reference_map(mesh: Mesh, X: np.ndarray, cells: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Points x (m, q, dim) and dx/dX (m, q, dim, dim) in m cells.

    Args:
        X: reference coordinates, the same in each cell (q, dim) or for each its own (m, q, dim).
    """
    nodes = mesh.points[mesh.nodes[cells]]
    element = _geometry_element(mesh.cell_type, mesh.order)
    table = element.tabulate(1, X.reshape(-1, mesh.dim))[..., 0].reshape(mesh.dim + 1, *X.shape[:-1], element.dim)
    points = "q" if X.ndim == 2 else "mq"
    x = np.einsum(f"{points}n,mni->mqi", table[0], nodes)
    return x, np.einsum(f"d{points}n,mni->mqid", table[1:], nodes)


def facet_scale_and_normal(mesh: Mesh, facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of physical to reference measure (k,), and outward unit normal (k, dim), of (cell, local facet) rows.

    Raises:
        InputError: cells that are no straight simplices.
    """
    return _scale_and_normal(mesh, jacobians(mesh, facets[:, 0]), facets[:, 1])


def pull_back(mesh: Mesh, x: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Reference coordinates X (m, dim) of points x (m, dim) [m], each in a cell of its own, by Newton's method.

    Far outside a cell that is not affine there may be none: the search ends where it leaves the cell's neighbourhood.
    """
    X = np.repeat(reference_vertices(mesh.cell_type).mean(axis=0, keepdims=True), len(x), axis=0)
    todo = np.arange(len(x))
    for _ in range(1 if mesh.affine else 20):
        at, J = reference_map(mesh, X[todo, None], cells[todo])
        J[np.linalg.det(J) == 0] = np.nan  # LAPACK would refuse all cells for one that is singular
        step = np.einsum("mqij,mqj->mi", np.linalg.inv(J), x[todo, None] - at)
        X[todo] += step
        todo = todo[np.any(np.abs(step) > 1e-12, axis=1) & np.all(np.abs(X[todo]) < 4, axis=1)]
    return X


def distance_outside(mesh: Mesh, X: np.ndarray) -> np.ndarray:
    """How far X (m, dim) lies outside the reference cell, by its facets' planes, shape (m,); inside it is negative."""
    kind = basix.CellType[mesh.cell_type]
    first = reference_vertices(mesh.cell_type)[mesh.facet_vertices[:, 0]]
    outward = basix.cell.facet_outward_normals(kind)
    return np.max(X @ outward.T - np.sum(first * outward, axis=1), axis=1)


def _scale_and_normal(mesh: Mesh, J: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same from dx/dX on facets, shape (k, ..., dim, dim), and their local numbers (k,)."""
    each = (slice(None), *[None] * (J.ndim - 3))
    tangents = J @ facet_tangents(mesh)[local][each]
    scale = np.sqrt(np.linalg.det(np.swapaxes(tangents, -1, -2) @ tangents))
    # Covariant: inside and outside stay what they are even where the map turns the cell round.
    outward = basix.cell.facet_outward_normals(basix.CellType[mesh.cell_type])[local][each]
    normal = np.einsum("...j,...ji->...i", outward, np.linalg.inv(J))
    return scale, normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def cell_quadrature(mesh: Mesh, degree: int, cells: np.ndarray | slice = slice(None)) -> Quadrature:
    """A rule of the given degree in each cell, points in the order of the cells."""
    points, weights = reference_rule(mesh.cell_type, degree)
    x, J = reference_map(mesh, points, cells)
    return Quadrature(x.reshape(-1, mesh.dim).T, (np.abs(np.linalg.det(J)) * weights).ravel())


def facet_quadrature(mesh: Mesh, degree: int, facets: np.ndarray) -> Quadrature:
    """A rule of the given degree on each (cell, local facet) row."""
    points, weights = reference_rule(facet_type(mesh.cell_type), degree)
    x, J = reference_map(mesh, facet_points(mesh, points)[facets[:, 1]], facets[:, 0])
    scale, normal = _scale_and_normal(mesh, J, facets[:, 1])
    return Quadrature(x.reshape(-1, mesh.dim).T, (scale * weights).ravel(), normal.reshape(-1, mesh.dim).T)
