"""Finite-element spaces on plain-array meshes, for torch: degrees of freedom of every cell, basis functions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import basix
import basix.ufl
import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.problem import ELEMENTS

PIOLA = {"RT": "contravariant", "BDM": "contravariant", "N1curl": "covariant"}
"""Vector-valued families, and how their values are mapped from the reference cell."""


@dataclass(frozen=True)
class Space:
    """One family of basix on a mesh: Lagrange, DG, RT, BDM, N1curl of any degree, or Real, one number.

    Dofs are numbered entity by entity: vertices, edges, faces, cells, each in the order of its sorted vertices; on
    an entity from its lowest vertex number on, so that cells agree about them. Lagrange of degree 1: dof i is vertex i.

    Args:
        mesh: of any cell type, straight or curved.
        degree: polynomial degree, 0 only for DG.
        family: one of `variform.problem.ELEMENTS`. Degree 0 of any family is DG 0.

    Raises:
        InputError: a family or a degree that does not exist.
    """

    mesh: Mesh
    degree: int
    family: str = "Lagrange"

    def __post_init__(self) -> None:
        if self.family not in ELEMENTS:
            raise InputError(f"the element of a space must be one of {', '.join(ELEMENTS)}, got {self.family}")
        if self.degree < 0 or (self.degree == 0 and self.family in PIOLA):
            raise InputError(f"no element {self.family} of degree {self.degree}: its degree must be 1 or more")

    @cached_property
    def element(self) -> basix.finite_element.FiniteElement:
        """The element on the reference cell. Real is a constant that all cells share."""
        family = "DG" if self.degree == 0 or self.family == "Real" else self.family
        degree = 0 if self.family == "Real" else self.degree
        try:
            return basix.ufl.element(family, self.mesh.cell_type, degree).basix_element
        except RuntimeError as error:
            raise InputError(f"no element {family} of degree {degree} on a {self.mesh.cell_type}: {error}") from None

    @property
    def piola(self) -> str | None:
        """How values are mapped: "contravariant", "covariant", or None where they are scalars that stay as they are."""
        return PIOLA.get(self.family)

    @cached_property
    def dofmap(self) -> np.ndarray:
        """Dofs of each cell in the reference element's order, shape (num_cells, dofs a cell)."""
        if self.family == "Real":
            return np.zeros((len(self.mesh.cells), 1), dtype=np.int64)
        dofmap = np.empty((len(self.mesh.cells), self.element.dim), dtype=np.int64)
        start = 0
        for dim, of_entities in enumerate(self.element.entity_dofs):
            if not any(of_entities):
                continue
            each = len(of_entities[0])
            numbers, count = entities(self.mesh, dim)
            for entity, local in enumerate(of_entities):
                dofmap[:, local] = start + each * numbers[:, entity, None] + np.arange(each)
            start += each * count
        if self._permuted:
            # Row i of a permutation says which of the reference element's functions is that of dof i.
            dofmap = np.take_along_axis(dofmap, self._transformations.argmax(axis=1)[self._class_of_cell], axis=1)
        return dofmap

    @cached_property
    def num_dofs(self) -> int:
        return int(self.dofmap.max()) + 1

    @cached_property
    def orientation(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Where cells agree about a function only after a linear map T of the reference functions, and not after a
        permutation: T by class, shape (classes, dofs, dofs), and the class of each cell. None otherwise.
        """
        if self.element.dof_transformations_are_identity or self._permuted:
            return None
        return self._transformations, self._class_of_cell

    @property
    def _permuted(self) -> bool:
        element = self.element
        return element.dof_transformations_are_permutations and not element.dof_transformations_are_identity

    @cached_property
    def _orientations(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(cell_info(self.mesh), return_inverse=True)

    @property
    def _class_of_cell(self) -> np.ndarray:
        return self._orientations[1]

    @cached_property
    def _transformations(self) -> np.ndarray:
        size = self.element.dim
        result = np.tile(np.eye(size), (len(self._orientations[0]), 1, 1))
        for matrix, info in zip(result, self._orientations[0], strict=True):
            flat = matrix.ravel()
            self.element.T_apply(flat, size, int(info))
            matrix[:] = flat.reshape(size, size)
        return result

    @cached_property
    def interpolation(self) -> tuple[np.ndarray, np.ndarray]:
        """Each dof's point as weights of the points of its mesh, and which they are: both (num_dofs, nodes a cell).

        Raises:
            InputError: the dofs are no point values.
        """
        if self.piola or self.family == "Real":
            raise InputError(f"the degrees of freedom of {self.family} are no values at points")
        cell_of, local_of = np.empty(self.num_dofs, dtype=np.int64), np.empty(self.num_dofs, dtype=np.int64)
        cell_of[self.dofmap] = np.arange(len(self.dofmap))[:, None]
        local_of[self.dofmap] = np.arange(self.dofmap.shape[1])
        return geometry_functions(self.mesh, self.element.points)[local_of], self.mesh.nodes[cell_of]

    @cached_property
    def x(self) -> np.ndarray:
        """Points [m] whose values are the dofs, shape (dim, num_dofs); of constants the middles of the cells.

        Raises:
            InputError: the dofs are no point values.
        """
        weights, nodes = self.interpolation
        return np.einsum("nm,nmj->jn", weights, self.mesh.points[nodes])

    def on_facets(self, facets: np.ndarray) -> np.ndarray:
        """Dofs of the facets and of what bounds them, for (cell, local facet) rows, shape (k,), sorted."""
        closure = self.element.entity_closure_dofs[self.mesh.dim - 1]
        found = [self.dofmap[facets[facets[:, 1] == f, 0]][:, dofs].ravel() for f, dofs in enumerate(closure)]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def tabulate(self, X: np.ndarray, order: int) -> dict[tuple[int, ...], np.ndarray]:
        """Basis functions and their derivatives up to an order at reference points (q, dim).

        Returns:
            Directions of differentiation, sorted -> values, shape (q, dofs, components); one component for scalars.
        """
        table = self.element.tabulate(order, X)
        dim = X.shape[1]
        result = {}
        for counts in np.ndindex(*(order + 1,) * dim):
            if sum(counts) <= order:
                directions = tuple(d for d, count in enumerate(counts) for _ in range(count))
                result[directions] = table[basix.index(*counts)]
        return result


def geometry_element(mesh: Mesh) -> basix.finite_element.FiniteElement:
    """The Lagrange element with equispaced nodes that maps the reference cell."""
    return basix.create_element(
        basix.ElementFamily.P, basix.CellType[mesh.cell_type], mesh.order, basix.LagrangeVariant.equispaced
    )


def geometry_functions(mesh: Mesh, X: np.ndarray) -> np.ndarray:
    """Weights of a cell's nodes in the point that each reference point (q, dim) is mapped to, shape (q, nodes)."""
    return geometry_element(mesh).tabulate(0, X)[0, :, :, 0]


def entities(mesh: Mesh, dim: int) -> tuple[np.ndarray, int]:
    """Numbers of each cell's entities of a dimension, shape (num_cells, entities), and how many there are."""
    if dim == mesh.dim:
        return np.arange(len(mesh.cells))[:, None], len(mesh.cells)
    if dim == 0:
        return mesh.cells, int(mesh.cells.max()) + 1
    local = np.array(basix.topology(basix.CellType[mesh.cell_type])[dim])
    vertices = np.sort(mesh.cells[:, local].reshape(-1, local.shape[1]), axis=1)
    unique, numbers = np.unique(vertices, axis=0, return_inverse=True)
    return numbers.reshape(len(mesh.cells), -1), len(unique)


def cell_info(mesh: Mesh) -> np.ndarray:
    """How each cell's edges and faces lie against the order of the vertex numbers, in basix's bits, shape (num_cells,).

    Source: DOLFINx, cpp/dolfinx/mesh/permutationcomputation.cpp.
    """
    topology = basix.topology(basix.CellType[mesh.cell_type])
    info, bit = np.zeros(len(mesh.cells), dtype=np.int64), 0
    if mesh.dim == 3:
        for face in topology[2]:
            reflected, rotations = _lie_of_face(mesh.cells[:, face])
            info |= (reflected | rotations << 1) << bit
            bit += 3
    if mesh.dim > 1:
        for first, second in topology[1]:
            info |= (mesh.cells[:, first] > mesh.cells[:, second]).astype(np.int64) << bit
            bit += 1
    return info


# Of the corners of a face, by that of the lowest number: the next one each way round, and the rotations that bring it
# to the front, for a face that lies as its reference does and for one that is reflected.
_AROUND = {
    3: ((2, 1, 0, 0), (0, 2, 2, 1), (1, 0, 1, 2)),
    4: ((2, 1, 0, 0), (0, 3, 3, 1), (3, 0, 1, 3), (1, 2, 2, 2)),
}


def _lie_of_face(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each face (k, corners) is reflected, and how often it is rotated."""
    before, after, plain, mirrored = np.array(_AROUND[vertices.shape[1]])[vertices.argmin(axis=1)].T
    rows = np.arange(len(vertices))
    reflected = vertices[rows, after] > vertices[rows, before]
    return reflected.astype(np.int64), np.where(reflected, mirrored, plain)


__all__ = ["PIOLA", "Space", "cell_info", "entities"]
