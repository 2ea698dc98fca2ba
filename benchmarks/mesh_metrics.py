"""What learned operators are measured by on meshes: errors of Lagrange functions, by quadrature.

Values p and y at the points of a mesh are those of continuous functions of its own degree, P1 on straight cells, P2
where edges have nodes: what a data set holds whose samples have meshes of their own. Where p is not finite, the errors
are NaN: such a sample is to be counted, not dropped. They are not finite either where the truth is zero, or constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from variform.errors import InputError
from variform.forms.spaces import geometry_element
from variform.mesh import SIMPLICES, Mesh
from variform.quadrature import reference_map, reference_rule

FORMULAS: dict[str, str] = {
    "relative_l2": "sqrt(int |p - y|^2 / int |y|^2) over the mesh, channels and frames together",
    "relative_h1": "sqrt(int |grad (p - y)|^2 / int |grad y|^2), the seminorm; channels and frames together",
}
"""The integrals are exact but for gradients on curved cells, which are no polynomials."""


def mesh_errors(mesh: Mesh, p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The errors of FORMULAS, of one sample.

    Args:
        mesh: of simplices, straight or of second order.
        p, y: prediction and truth, (..., num_points): channels, or frames and channels, come before the points.

    Raises:
        InputError: other cells; shapes that do not fit.
    """
    p, y = (np.asarray(u, dtype=np.float64) for u in (p, y))
    if mesh.cell_type != SIMPLICES[mesh.dim]:
        raise InputError(f"errors are taken on intervals, triangles and tetrahedra, got {mesh.cell_type} cells")
    if p.shape != y.shape or not y.ndim or y.shape[-1] != len(mesh.points):
        raise InputError(f"p and y must both have shape (..., {len(mesh.points)}), got {p.shape} and {y.shape}")
    p = np.where(np.isfinite(p), p, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error, norm = (_squares(mesh, u.reshape(-1, len(mesh.points))) for u in (p - y, y))
        return dict(zip(FORMULAS, np.sqrt(error / norm).tolist(), strict=True))


def measured(mesh: Callable[[int], Mesh], p: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The errors of FORMULAS by name, each of shape (n,).

    Args:
        mesh: the mesh of a sample: `data.source.mesh` of a data set.
        p, y: predictions and truth of n samples, each (T, C, num_points).
    """
    rows = [mesh_errors(mesh(i), *pair) for i, pair in enumerate(zip(p, y, strict=True))]
    return {name: np.array([row[name] for row in rows]) for name in FORMULAS}


def _squares(mesh: Mesh, u: np.ndarray) -> np.ndarray:
    """Integrals of u^2 and |grad u|^2, (2,), of functions by their values at the points, (k, num_points)."""
    # u^2 |det dx/dX| has this degree on a cell: that of dx/dX is order - 1.
    X, weights = reference_rule(mesh.cell_type, 2 * mesh.order + mesh.dim * (mesh.order - 1))
    J = reference_map(mesh, X)[1]
    w = np.abs(np.linalg.det(J)) * weights
    table = geometry_element(mesh).tabulate(1, X)[..., 0]
    at = np.einsum("dqa,kma->kmqd", table, u[:, mesh.nodes])
    gradients = np.einsum("kmqd,mqdi->kmqi", at[..., 1:], np.linalg.inv(J))
    return np.array([np.sum(w * at[..., 0] ** 2), np.sum(w[..., None] * gradients**2)])
