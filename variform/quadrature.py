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
    return {"interval": "point", "triangle": "interval", "tetrahedron": "triangle"}[cell_type]


def facet_points(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Reference-cell coordinates of reference-facet points, on each local facet: (dim + 1, q, dim)."""
    vertices = basix.geometry(basix.CellType[mesh.cell_type])[mesh.facet_vertices]
    return vertices[:, :1] + np.einsum("qk,fkd->fqd", points, vertices[:, 1:] - vertices[:, :1])


def jacobians(mesh: Mesh, cells: np.ndarray | slice = slice(None)) -> np.ndarray:
    """dx/dX of the affine map from the reference cell, shape (num_cells, dim, dim), of straight cells."""
    if mesh.order > 1:
        raise InputError("the cells of this mesh are curved: only finite elements take them")
    x = mesh.points[mesh.cells[cells]]
    return np.swapaxes(x[:, 1:] - x[:, :1], 1, 2)


def reference_map(mesh: Mesh, X: np.ndarray, cells: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Points x (m, q, dim) and dx/dX (m, q, dim, dim) in m cells.

    Args:
        X: reference coordinates, the same in each cell (q, dim) or for each its own (m, q, dim).
    """
    nodes = mesh.points[mesh.nodes[cells]]
    element = basix.create_element(
        basix.ElementFamily.P, basix.CellType[mesh.cell_type], mesh.order, basix.LagrangeVariant.equispaced
    )
    table = element.tabulate(1, X.reshape(-1, mesh.dim))[..., 0].reshape(mesh.dim + 1, *X.shape[:-1], -1)
    points = "q" if X.ndim == 2 else "mq"
    x = np.einsum(f"{points}n,mni->mqi", table[0], nodes)
    return x, np.einsum(f"d{points}n,mni->mqid", table[1:], nodes)


def facet_tangents(mesh: Mesh) -> np.ndarray:
    """dX/ds of the map from the reference facet to each local facet, shape (dim + 1, dim, dim - 1)."""
    vertices = basix.geometry(basix.CellType[mesh.cell_type])[mesh.facet_vertices]
    return np.swapaxes(vertices[:, 1:] - vertices[:, :1], 1, 2)


def facet_scale_and_normal(mesh: Mesh, facets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratio of physical to reference measure (k,), and outward unit normal (k, dim), of (cell, local facet) rows."""
    x = mesh.points[mesh.vertices_of(facets)]
    edges = x[:, 1:] - x[:, :1]
    scale = np.sqrt(np.linalg.det(edges @ np.swapaxes(edges, 1, 2))) if mesh.dim > 1 else np.ones(len(facets))
    opposite = facets[:, 1] if mesh.dim > 1 else 1 - facets[:, 1]
    # The barycentric coordinate of the opposite vertex falls towards the facet.
    reference = np.vstack([-np.ones(mesh.dim), np.eye(mesh.dim)])[opposite]
    outward = -np.einsum("kj,kji->ki", reference, np.linalg.inv(jacobians(mesh, facets[:, 0])))
    return scale, outward / np.linalg.norm(outward, axis=1, keepdims=True)


def cell_quadrature(mesh: Mesh, degree: int, cells: np.ndarray | slice = slice(None)) -> Quadrature:
    """A rule of the given degree in each cell, points in the order of the cells."""
    points, weights = reference_rule(mesh.cell_type, degree)
    x, J = reference_map(mesh, points, cells)
    return Quadrature(x.reshape(-1, mesh.dim).T, (np.abs(np.linalg.det(J)) * weights).ravel())


def facet_quadrature(mesh: Mesh, degree: int, facets: np.ndarray) -> Quadrature:
    """A rule of the given degree on each (cell, local facet) row."""
    points, weights = reference_rule(facet_type(mesh.cell_type), degree)
    x, J = reference_map(mesh, facet_points(mesh, points)[facets[:, 1]], facets[:, 0])
    tangents = np.einsum("mqij,mjk->mqik", J, facet_tangents(mesh)[facets[:, 1]])
    scale = np.sqrt(np.linalg.det(np.einsum("mqik,mqil->mqkl", tangents, tangents))) if mesh.dim > 1 else 1.0
    # The barycentric coordinate of the opposite vertex falls towards the facet.
    opposite = facets[:, 1] if mesh.dim > 1 else 1 - facets[:, 1]
    gradient = np.vstack([-np.ones(mesh.dim), np.eye(mesh.dim)])[opposite]
    normal = -np.einsum("mj,mqji->mqi", gradient, np.linalg.inv(J))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    w = np.ones(x.shape[:2]) * scale * weights
    return Quadrature(x.reshape(-1, mesh.dim).T, w.ravel(), normal.reshape(-1, mesh.dim).T)
