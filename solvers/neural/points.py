"""Where a network is trained: quadrature points of a mesh, so that sums are integrals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.quadrature import Quadrature, cell_quadrature, facet_quadrature


@dataclass(frozen=True)
class Points:
    """Points of one region, or of one boundary seen from one region.

    x (dim, n) [m]; w (n,); t (n,) [s] or None; normal (dim, n) or None; numbers count names from 1, 0 for unnamed.
    """

    x: np.ndarray
    w: np.ndarray
    region: int
    boundary: int | None = None
    normal: np.ndarray | None = None
    t: np.ndarray | None = None


def in_regions(mesh: Mesh, degree: int) -> list[Points]:
    """Interior points, one set a region."""
    number = region_numbers(mesh)
    sets = []
    for region in np.unique(number):
        rule = cell_quadrature(mesh, degree, np.flatnonzero(number == region))
        if (rule.w < 0).any():  # a sum of squares or an energy would be unbounded below
            raise InputError(f"the quadrature rule of degree {degree} on a {mesh.cell_type} has negative weights")
        sets.append(Points(rule.x, rule.w, int(region)))
    return sets


def on_boundaries(mesh: Mesh, degree: int) -> list[Points]:
    """Boundary points, one set for each boundary and adjacent region; unnamed facets count as boundary 0."""
    facets = mesh.exterior_facets
    boundary = np.zeros(len(facets), dtype=int)
    row = {tuple(f): i for i, f in enumerate(facets.tolist())}
    for number, named in enumerate(mesh.boundaries.values(), start=1):
        boundary[[row[tuple(f)] for f in named.tolist()]] = number
    region = region_numbers(mesh)[facets[:, 0]]
    return [
        _facet_set(mesh, degree, facets[(boundary == b) & (region == r)], int(r), int(b))
        for b, r in sorted(set(zip(boundary.tolist(), region.tolist(), strict=True)))
    ]


def on_interfaces(mesh: Mesh, degree: int) -> list[tuple[Points, Points]]:
    """Points between two regions, the same points and normal (out of the first region) seen from both."""
    facets = mesh.interior_facets
    regions = region_numbers(mesh)[facets[:, :, 0]]
    pairs = []
    for low, high in sorted({tuple(sorted(pair)) for pair in regions.tolist() if pair[0] != pair[1]}):
        from_low = np.concatenate(
            [facets[(regions == (low, high)).all(axis=1), 0], facets[(regions == (high, low)).all(axis=1), 1]]
        )
        on = _facet_set(mesh, degree, from_low, low, 0)
        # Moved off the interface by rounding's scale, so that conditionals in the data see their own side.
        step = 1e-10 * float(np.ptp(mesh.points, axis=0).max()) * on.normal
        pairs.append((replace(on, x=on.x - step), replace(on, x=on.x + step, region=high)))
    return pairs


def in_time(points: Points, interval: tuple[float, float], count: int) -> Points:
    """The tensor product with Gauss-Legendre points in time."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    start, end = interval
    t = start + (end - start) * (nodes + 1) / 2
    n = points.x.shape[1]
    return replace(
        points,
        x=np.tile(points.x, (1, count)),
        w=np.kron(weights / 2, points.w),
        t=np.repeat(t, n),
        normal=None if points.normal is None else np.tile(points.normal, (1, count)),
    )


def region_numbers(mesh: Mesh) -> np.ndarray:
    number = np.zeros(len(mesh.cells), dtype=int)
    for i, cells in enumerate(mesh.regions.values(), start=1):
        number[cells] = i
    return number


def _facet_set(mesh: Mesh, degree: int, facets: np.ndarray, region: int, boundary: int) -> Points:
    rule: Quadrature = facet_quadrature(mesh, degree, facets)
    return Points(rule.x, rule.w, region, boundary, rule.normal)
