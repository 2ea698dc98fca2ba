"""Quadrature points of a mesh: the same rules that FFCx takes, on plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import basix
import numpy as np

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
    """dx/dX of the affine map from the reference cell, shape (num_cells, dim, dim)."""
    x = mesh.points[mesh.cells[cells]]
    return np.swapaxes(x[:, 1:] - x[:, :1], 1, 2)


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
    J = jacobians(mesh, cells)
    x = mesh.points[mesh.cells[cells][:, 0]][:, None] + np.einsum("mij,qj->mqi", J, points)
    w = np.abs(np.linalg.det(J))[:, None] * weights
    return Quadrature(x.reshape(-1, mesh.dim).T, w.ravel())


def facet_quadrature(mesh: Mesh, degree: int, facets: np.ndarray) -> Quadrature:
    """A rule of the given degree on each (cell, local facet) row."""
    points, weights = reference_rule(facet_type(mesh.cell_type), degree)
    reference = facet_points(mesh, points)[facets[:, 1]]
    J = jacobians(mesh, facets[:, 0])
    x = mesh.points[mesh.cells[facets[:, 0], 0]][:, None] + np.einsum("mij,mqj->mqi", J, reference)
    scale, normal = facet_scale_and_normal(mesh, facets)
    return Quadrature(
        x.reshape(-1, mesh.dim).T, (scale[:, None] * weights).ravel(), np.repeat(normal, len(weights), axis=0).T
    )
