"""Smooth approximate distances to planes and to facets, and their union. The one module here that needs torch.

Every part of the boundary has its own approximate distance phi_i, and their union is R-equivalence of order one,

    1/phi = sum_i 1/phi_i,

which is smooth where no two phi_i vanish and keeps the normal derivative 1 on each part (Biswas and Shapiro,
Approximate distance fields with non-vanishing gradients, Graph. Models 66 (2004); Sukumar and Srivastava, CMAME 389
(2022), arXiv:2104.08426).

The segments and triangles of Sukumar and Srivastava do not serve for the facets of a mesh: joined, many small ones give
a phi that tends to zero inside as the mesh is refined. Here a facet counts by the angle Omega_i that it subtends at x,

    1/phi_i = Omega_i / (omega f_i),     omega = pi in the plane, 2 pi in space,

with f_i the distance to its line or plane. A whole plane gives phi = f, and cutting a facet in two changes nothing:
the sum is (1/omega) * integral of |x - y|^-dim over the named part, an L_p distance with p = 1 (Belyaev, Fayolle and
Pasko, Signed L_p-distance fields, Comput.-Aided Des. 45 (2013); theirs has the sign of n.(y - x), which an open or
re-entrant part of a boundary does not allow). Far from a part of size r that distance would grow like
|x|^dim / r^(dim - 1), so each connected part adds 1/sqrt(r^2 + |x - centre|^2), which keeps the growth linear and
vanishes against 1/phi_i on the part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SMALL_ANGLE = 0.02
"""tan(angle) below which Omega/f is summed as a series; its remainder is SMALL_ANGLE^10 / 11, under double roundoff."""


def join(distances: Sequence[Tensor] | Tensor) -> Tensor:
    """1 / sum_i 1/phi_i, shape (...), of distances phi_i [m], shape (K, ...).

    The smallest is factored out, phi = phi_k / (1 + sum_(i != k) phi_k/phi_i): finite, with both its derivatives,
    where one phi_i is zero. Where two are, phi is 0 and its derivatives are finite but mean nothing.
    """
    phi = distances if isinstance(distances, Tensor) else torch.stack(list(distances))
    number = torch.arange(len(phi), device=phi.device).reshape(-1, *[1] * (phi.dim() - 1))
    nearest = number == phi.argmin(dim=0)
    smallest = torch.where(nearest, phi, 0.0).sum(dim=0)
    others = torch.where(nearest | (phi == 0), 1.0, phi)
    return smallest / (1 + torch.where(nearest, 0.0, smallest / others).sum(dim=0))


def to_planes(x: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """Distances normal.x - offset [m] from the points x, shape (dim, P), to K planes, shape (K, P)."""
    return normals @ x - offsets[:, None]


def to_centres(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """sqrt(radius^2 + |x - centre|^2) [m], shape (K, P), for points x (dim, P), centres (K, dim) and radii (K,)."""
    away = x - centres[:, :, None]
    return (_dot(away, away) + radii[:, None] ** 2).sqrt()


def to_facets(x: Tensor, vertices: Tensor, normals: Tensor) -> Tensor:
    """Approximate distances [m] from the points x, shape (dim, P), to K facets, shape (K, P).

    phi = pi f / theta with theta = Omega in the plane, Omega/2 in space, and tan(theta) = M f / D.
    In the plane M is the length and D = a.b, in space M is twice the area and
    D = |a||b||c| + (a.b)|c| + (b.c)|a| + (c.a)|b|, with a, b, c from x to the vertices.

    Args:
        vertices: of each facet [m], shape (K, dim, dim), facet by facet, vertex by vertex.
        normals: unit normals into the domain, shape (K, dim).

    Source: van Oosterom and Strackee, The solid angle of a plane triangle, IEEE Trans. Biomed. Eng. 30 (1983).
    """
    to = [vertices[:, i, :, None] - x for i in range(len(x))]
    f = -_dot(normals[:, :, None].expand_as(to[0]), to[0])
    # Behind a facet, which happens in domains that are not convex, the distance counts; but roundoff on the facet
    # itself must not turn the derivative, so f keeps its sign there.
    scale = torch.finfo(x.dtype).eps * vertices.abs().amax()
    f = torch.where(f < -64 * scale, -f, f)
    D, M = _cotangent_and_measure(to, vertices)
    y = M[:, None] * f
    D = torch.where((D == 0) & (y == 0), -1.0, D)  # at a vertex: phi = f = 0
    flat = y.abs() < SMALL_ANGLE * D
    q = (torch.where(flat, y, 0.0) / torch.where(flat, D, 1.0)) ** 2
    far = math.pi * D / (M[:, None] * (1 - q * (1 / 3 - q * (1 / 5 - q * (1 / 7 - q / 9)))))
    # pi/2 - atan2(D, y) is atan2(y, D) without its jump at y = 0 > D, that is on the facet.
    theta = math.pi / 2 - torch.atan2(D, torch.where(flat, 1.0, y))
    return torch.where(flat, far, math.pi * f / theta)


def _cotangent_and_measure(to: list[Tensor], vertices: Tensor) -> tuple[Tensor, Tensor]:
    """D, shape (K, P), and M, shape (K,), of `to_facets`; on a line a point always sees the half circle."""
    if len(to) == 1:
        return torch.full_like(to[0][:, 0], -1.0), torch.ones_like(vertices[:, 0, 0])
    if len(to) == 2:
        a, b = to
        return _dot(a, b), torch.linalg.vector_norm(vertices[:, 1] - vertices[:, 0], dim=1)
    a, b, c = to
    length = [_norm(v) for v in to]
    D = length[0] * length[1] * length[2] + _dot(a, b) * length[2] + _dot(b, c) * length[0] + _dot(c, a) * length[1]
    edges = vertices[:, 1:] - vertices[:, :1]
    return D, torch.linalg.vector_norm(torch.linalg.cross(edges[:, 0], edges[:, 1]), dim=1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products of (K, dim, P) over dim."""
    return (a * b).sum(dim=1)


def _norm(a: Tensor) -> Tensor:
    """Lengths of (K, dim, P) over dim, with derivative 0 instead of NaN where they vanish."""
    square = _dot(a, a)
    zero = square == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, square).sqrt())
