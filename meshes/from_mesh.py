"""The geometry of a given mesh, such as one read from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes.geometry import Geometry
from variform.quadrature import facet_type

if TYPE_CHECKING:
    from torch import Tensor

MAX_PLANES = 12
"""Above that many sides a convex domain is rounded: joined by R-equivalence, so many planes would sink the distance."""
CHUNK = 2**20
"""Pairs (facet, point) whose distances are computed at once, to bound memory."""


class MeshGeometry(Geometry):
    """The domain that a mesh fills.

    Args:
        given: the mesh. Its named boundaries are the geometry's; "boundary" also holds the facets without a name.
            Distances are those to flat facets, be the mesh curved; a twisted quadrilateral counts as two triangles.
    """

    def __init__(self, given: Mesh) -> None:
        self.given = given
        self.dim, self.regions, self.boundaries = given.dim, tuple(given.regions), tuple(given.boundaries)
        self.lower, self.upper = given.points.min(axis=0), given.points.max(axis=0)
        self._parts: dict[tuple[str, ...], tuple[np.ndarray, ...]] = {}

    def __repr__(self) -> str:
        return f"MeshGeometry({len(self.given.cells)} cells, regions {self.regions}, boundaries {self.boundaries})"

    def mesh(self, n: int | None = None, order: int | None = None) -> Mesh:
        """The given mesh, whatever n and order are; `refine` makes finer ones."""
        return self.given

    def level_sets(self, x: Tensor) -> list[Tensor]:
        """Empty for one region.

        Raises:
            InputError: there are several regions: a mesh does not tell the distance to their interfaces.
        """
        if len(self.regions) > 1:
            raise InputError(
                f"a mesh of several regions ({', '.join(self.regions)}) has no level sets: use layers of a box"
            )
        return []

    def distance(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        """As for any geometry. A flat side that the domain lies on one side of, and that is named whole, counts by
        the distance to its plane; every other facet, and each connected piece of them, as `distance` says. Zeros are
        zeros up to roundoff.
        """
        import torch  # imported late, so that everything else does without

        from variform.meshes.distance import join, to_centres, to_facets, to_planes

        names = self.known(names)
        if names not in self._parts:
            self._parts[names] = self._split(self._facets(names))
        parts = (torch.as_tensor(part, dtype=x.dtype, device=x.device) for part in self._parts[names])
        middle, plane_normals, offsets, vertices, normals, centres, radii = parts
        count = len(offsets) + len(vertices)
        if count == 0:
            return 0 * x[0] + 1
        chunks = (x.reshape(self.dim, -1) - middle[:, None]).split(max(1, CHUNK // count), dim=1)
        joined = []
        for y in chunks:
            phi = [to_planes(y, plane_normals, offsets)]
            if len(vertices):
                phi += [to_facets(y, vertices, normals), to_centres(y, centres, radii)]
            joined.append(join(torch.cat(phi)))
        return torch.cat(joined).reshape(x.shape[1:])

    def _facets(self, names: tuple[str, ...]) -> np.ndarray:
        if "boundary" in names:
            return self.given.exterior_facets
        return np.concatenate([np.empty((0, 2), np.int64), *[self.given.boundaries[name] for name in names]])

    def _split(self, facets: np.ndarray) -> tuple[np.ndarray, ...]:
        """The middle of the domain; inward normals and offsets of the planes; vertices and inward normals of the other
        facets; centres and radii of their connected pieces.

        Coordinates are relative to the middle, which saves digits in single precision.
        """
        middle = (self.lower + self.upper) / 2
        numbers, vertices, normals = _with_normals(self.given, facets, middle)
        planes = self._planes(vertices, normals)
        if len(planes) > MAX_PLANES:
            planes = {}
        rest = np.setdiff1d(np.arange(len(numbers)), np.concatenate([np.empty(0, np.int64), *planes.values()]))
        n = normals[list(planes)]
        pieces = [vertices[rest[piece]].reshape(-1, self.dim) for piece in _connected(self.given, numbers[rest])]
        lower, upper = (np.array([f(p, axis=0) for p in pieces]).reshape(-1, self.dim) for f in (np.min, np.max))
        return (
            *(middle, n, np.sum(n * vertices[list(planes), 0], axis=1), vertices[rest], normals[rest]),
            *((lower + upper) / 2, np.linalg.norm(upper - lower, axis=1) / 2),
        )

    def _planes(self, vertices: np.ndarray, normals: np.ndarray) -> dict[int, np.ndarray]:
        """Planes that support the domain and hold only named facets: number of one facet -> numbers of all in it."""
        _, surface, _ = _with_normals(self.given, self.given.exterior_facets, (self.lower + self.upper) / 2)
        atol = 1e-10 * np.linalg.norm(self.upper - self.lower)
        planes, left = {}, np.ones(len(vertices), bool)
        while left.any() and len(planes) <= MAX_PLANES:
            first = int(np.argmax(left))
            n, offset = normals[first], normals[first] @ vertices[first, 0]
            ours = np.all(np.abs(vertices @ n - offset) < atol, axis=1)
            height = surface @ n - offset
            if height.min() > -atol and ours.sum() == np.all(height < atol, axis=1).sum():
                planes[first] = np.flatnonzero(ours)
            left &= ~ours
        return planes


def _with_normals(mesh: Mesh, facets: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The simplices that the facets consist of, two triangles for a quadrilateral, by the numbers of their vertices,
    shape (K, dim); the vertices relative to the centre, (K, dim, dim); and unit normals into the cell, (K, dim).
    """
    numbers = mesh.vertices_of(facets)
    if facet_type(mesh.cell_type) == "quadrilateral":
        numbers, facets = numbers[:, [[0, 1, 2], [3, 1, 2]]].reshape(-1, 3), np.repeat(facets, 2, axis=0)
    vertices = mesh.points[numbers] - centre
    inside = mesh.points[mesh.cells[facets[:, 0]]].mean(axis=1) - centre
    edges = vertices[:, 1:] - vertices[:, :1]
    if mesh.dim == 1:
        normals = np.ones((len(numbers), 1))
    elif mesh.dim == 2:
        normals = edges[:, 0, ::-1] * [-1.0, 1.0]
    else:
        normals = np.cross(edges[:, 0], edges[:, 1])
    normals = normals * np.sign(np.sum(normals * (inside - vertices[:, 0]), axis=1, keepdims=True))
    return numbers, vertices, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _connected(mesh: Mesh, vertices: np.ndarray) -> list[np.ndarray]:
    """Numbers of the facets, by their vertices (K, dim), of each piece that hangs together by vertices; none on a line,
    where facets are points.
    """
    if mesh.dim == 1 or len(vertices) == 0:
        return []
    from scipy.sparse import coo_array  # takes half a second, and few domains need it
    from scipy.sparse.csgraph import connected_components

    rows = np.repeat(np.arange(len(vertices)), mesh.dim)
    shape = (len(vertices), len(mesh.points))
    incidence = coo_array((np.ones(vertices.size), (rows, vertices.reshape(-1))), shape=shape).tocsr()
    count, piece = connected_components(incidence @ incidence.T, directed=False)
    return [np.flatnonzero(piece == i) for i in range(count)]
