"""Predictions at the points of a mesh, as finite-element solutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from variform.errors import InputError
from variform.forms.weak import WeakForm
from variform.mesh import Mesh
from variform.problem import Problem, degrees_of
from variform.solution import Cost
from variform.solvers.batched.solution import BatchedSolution


def mesh_of(problem: Problem, mesh: Mesh | int) -> Mesh:
    """A mesh; of a number of cells a side that of the problem's domain, with points for elements of its degree."""
    if isinstance(mesh, Mesh):
        return mesh
    order = min(2, max(1, *degrees_of(problem, None).values()))
    made = problem.geometry(problem.p).mesh(mesh, order)
    return made.second_order if order == 2 else made


def solution_at_points(
    problem: Problem, mesh: Mesh, values: Mapping[str, np.ndarray], cost: Cost, discretization: dict[str, Any]
) -> BatchedSolution:
    """The solution with these values at the points of the mesh: P1 on straight cells, P2 on those of second order.

    Args:
        values: of every field, (*field shape, points).

    Raises:
        InputError: a field whose element has no values at the points.
    """
    weak = WeakForm(problem, mesh, degree=mesh.order)
    points, dofs = cKDTree(mesh.points), {}
    for name, space in weak.spaces.items():
        distance, nearest = points.query(space.x.T)
        if name not in values or distance.max() > 1e-9 * np.ptp(mesh.points):
            raise InputError(f"field {name!r} of {problem.name} is not given at the points of the mesh")
        dofs[name] = torch.as_tensor(values[name][..., nearest], dtype=weak.dtype)
    return BatchedSolution(weak, [(None, dofs)], cost, discretization)
