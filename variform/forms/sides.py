"""Which regions meet which part of the boundary and each other, and where no condition holds a field."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.problem import Problem


@dataclass(frozen=True)
class Side:
    """A part of the boundary: the regions that it bounds; and, of a flat side of the bounding box, its normal."""

    regions: tuple[str, ...]
    normal: tuple[float, ...] | None = None


def sides_of(geometry: Any) -> dict[str, Side]:
    """Each part of the boundary by name, found on a coarse mesh; where there is none, it may bound every region."""
    mesh = _coarse_mesh(geometry)
    if mesh is None:
        return {name: Side(tuple(geometry.regions)) for name in geometry.boundaries}
    return {name: _side(mesh, facets) for name, facets in mesh.boundaries.items()}


def interfaces_of(geometry: Any) -> list[tuple[str, str]]:
    """The pairs of regions that share facets."""
    if len(geometry.regions) == 1 or (mesh := _coarse_mesh(geometry)) is None:
        return list(combinations(geometry.regions, 2))
    region = np.zeros(len(mesh.cells), dtype=int)
    for number, cells in enumerate(mesh.regions.values()):
        region[cells] = number
    pairs = np.unique(np.sort(region[mesh.interior_facets[:, :, 0]]), axis=0)
    return [(geometry.regions[a], geometry.regions[b]) for a, b in pairs.tolist() if a != b]


def is_periodic(problem: Problem, field: str, side: Side) -> bool:
    """Whether a field is continued across a side of the box from the one opposite."""
    return side.normal is not None and any(side.normal[axis] for axis in problem.periodic_axes(field))


def free_components(problem: Problem, field: str, boundary: str, side: Side) -> list[tuple[int, ...]]:
    """The components of a field that no Dirichlet or periodic condition holds on a part of the boundary."""
    here = [c for c in problem.dirichlet(field) if boundary in c.names or "boundary" in c.names]
    if is_periodic(problem, field, side) or any(c.component is None for c in here):
        return []
    return [index for index in np.ndindex(*problem.fields[field].shape) if index not in {(c.component,) for c in here}]


def _coarse_mesh(geometry: Any) -> Mesh | None:
    try:
        return geometry.mesh(4).straight
    except InputError:  # for instance gmsh is not installed
        return None


def _side(mesh: Mesh, facets: np.ndarray) -> Side:
    regions = tuple(name for name, cells in mesh.regions.items() if np.isin(facets[:, 0], cells).any())
    points = mesh.points[mesh.vertices_of(facets)].reshape(-1, mesh.dim)
    for axis in range(mesh.dim):
        for sign, level in ((-1.0, mesh.points[:, axis].min()), (1.0, mesh.points[:, axis].max())):
            if np.allclose(points[:, axis], level, rtol=0, atol=1e-12 * np.ptp(mesh.points, axis=0).max()):
                return Side(regions, tuple(sign * float(i == axis) for i in range(mesh.dim)))
    return Side(regions)
