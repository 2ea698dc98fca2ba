"""Lagrange spaces on plain-array meshes, for torch."""

from __future__ import annotations

from functools import cached_property

import basix
import basix.ufl
import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh


class Space:
    """Continuous Lagrange elements of degree 1 or 2, or one constant a cell (degree 0).

    Degree 1: dof i is vertex i. Degree 2: vertices, then edges by their sorted vertex numbers.

    Attributes:
        dofmap: dofs of each cell, shape (num_cells, dofs a cell), in basix order.
        x: dof coordinates [m], shape (dim, num_dofs); for degree 0 the midpoints.
    """

    def __init__(self, mesh: Mesh, degree: int) -> None:
        if degree not in (0, 1, 2):
            raise InputError(f"torch spaces have degree 0, 1 or 2, got {degree}")
        self.mesh, self.degree = mesh, degree
        if degree == 0:
            self.dofmap = np.arange(len(mesh.cells))[:, None]
            self.x = mesh.points[mesh.cells].mean(axis=1).T
        elif degree == 1:
            self.dofmap, self.x = mesh.cells, mesh.points.T
        else:
            local = np.array(basix.topology(basix.CellType[mesh.cell_type])[1])
            edges = np.sort(mesh.cells[:, local].reshape(-1, 2), axis=1)
            unique, number = np.unique(edges, axis=0, return_inverse=True)
            self.dofmap = np.hstack([mesh.cells, len(mesh.points) + number.reshape(len(mesh.cells), -1)])
            self.x = np.vstack([mesh.points, mesh.points[unique].mean(axis=1)]).T

    @property
    def num_dofs(self) -> int:
        return self.x.shape[1]

    @cached_property
    def element(self) -> basix.ufl._ElementBase:
        family = "DG" if self.degree == 0 else "Lagrange"
        return basix.ufl.element(family, self.mesh.cell_type, self.degree)

    def tabulate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Basis values (q, k) and reference gradients (q, k, dim) at reference points (q, dim)."""
        table = self.element.tabulate(1, points)
        return table[0], np.moveaxis(table[1:], 0, -1)
