"""Gaussian random fields on any mesh: a stochastic PDE by finite elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch
from scipy.spatial import cKDTree
from ufl import grad, inner

from variform.errors import InputError, unknown
from variform.forms.spaces import Space
from variform.forms.weak import WeakForm
from variform.location import locate
from variform.meshes.geometry import Geometry
from variform.problem import Dirichlet, Field, Problem
from variform.quadrature import cell_quadrature, reference_rule
from variform.solvers.batched.direct import inverse
from variform.solvers.batched.inputs import Inputs
from variform.solvers.batched.system import System

BOUNDARIES = ("robin", "neumann", "dirichlet")
ROBIN = 1.42
"""kappa g + 1.42 dg/dn = 0 leaves the variance nearly as it is in the middle: Roininen et al. 2014, section 3."""


@dataclass(frozen=True, eq=False)
class WhittleMatern:
    """(kappa^2 - Laplace)^(alpha / 2) g = white noise on a domain of any shape: Gaussian, mean zero, Matern covariance.

    Far from the boundary the covariance is sigma^2 2^(1 - nu) / Gamma(nu) (kappa r)^nu K_nu(kappa r), with
    nu = alpha - dim / 2 and kappa = sqrt(8 nu) / length; within `length` of it, it depends on the boundary condition.
    Distances are those within the domain: the field knows of holes and slits. A sample belongs to its mesh; beyond it,
    it keeps the value at the nearest node.

    Args:
        geometry: of the domain.
        length: where correlation has fallen to about 0.1 [m].
        sigma: standard deviation far from the boundary.
        alpha: 2, 4, ..: as many solves as half of it. In the plane nu is 1, 3, ..
        boundary: what holds there: "robin" keeps the variance nearly even, "neumann" doubles it, "dirichlet" is zero.
        cells: of the mesh, a side; there should be three or more in `length`.
        degree: of the elements.

    Raises:
        InputError: no such boundary, an odd alpha or one that is too low for a finite variance, a length that is not
            above 0.

    Source: Lindgren, Rue and Lindstrom, J. R. Stat. Soc. B 73 (2011) 423, section 2; the noise as in Croci et al., SIAM
    J. Sci. Comput. 40 (2018) A3630, with a factor of the mass matrix that comes from quadrature.
    """

    geometry: Geometry
    length: float
    sigma: float = 1.0
    alpha: int = 2
    boundary: Literal["robin", "neumann", "dirichlet"] = "robin"
    cells: int = 64
    degree: int = 1

    def __post_init__(self) -> None:
        if self.boundary not in BOUNDARIES:
            raise unknown("boundary of a Whittle-Matern field", self.boundary, BOUNDARIES)
        if self.alpha % 2 or self.nu <= 0:
            raise InputError(f"alpha of a Whittle-Matern field must be even and above dim / 2, got {self.alpha}")
        if not self.length > 0:
            raise InputError(f"the length of a Whittle-Matern field must be above 0, got {self.length}")

    @property
    def nu(self) -> float:
        """Smoothness: derivatives of order below nu exist in mean square."""
        return self.alpha - self.geometry.dim / 2

    @property
    def kappa(self) -> float:
        """[1/m]"""
        return math.sqrt(8 * self.nu) / self.length

    def sample(self, rng: np.random.Generator) -> OnSpace:
        return OnSpace(self.space, self._from_noise(rng.standard_normal(self._noise.shape[1])))

    def covariance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """E g(x) g(y) of the discrete field at points (dim, n) and (dim, m), shape (n, m)."""
        at_x, at_y = (self.space.matrix(points).toarray().T for points in (x, y))  # A and M are symmetric
        solved_x, solved_y = (self._solve(at, self.alpha // 2) for at in (at_x, at_y))
        return self._scale**2 * solved_x.T @ (self._noise @ (self._noise.T @ solved_y))

    @cached_property
    def space(self) -> Interpolated:
        return Interpolated(Space(self.geometry.mesh(self.cells), self.degree))

    @cached_property
    def _scale(self) -> float:
        d, nu = self.geometry.dim, self.nu
        variance = math.gamma(nu) / (math.gamma(self.alpha) * (4 * math.pi) ** (d / 2) * self.kappa ** (2 * nu))
        return self.sigma / math.sqrt(variance)

    def _from_noise(self, z: np.ndarray) -> np.ndarray:
        return self._scale * self._solve(self._noise @ z, self.alpha // 2)

    def _solve(self, right: np.ndarray, times: int) -> np.ndarray:
        """(A^-1 M)^(times - 1) A^-1 of right-hand sides (num_dofs, ...)."""
        for i in range(times):
            x = self._inverse(right)
            right = x if i == times - 1 else self._noise @ (self._noise.T @ x)
        return right

    @cached_property
    def _noise(self) -> sp.csr_array:
        """N with N N^T the mass matrix, shape (num_dofs, points): N z is white noise against the test functions."""
        space = self.space.space
        X, _ = reference_rule(space.mesh.cell_type, 2 * self.degree)
        w = cell_quadrature(space.mesh, 2 * self.degree).w
        basis = space.tabulate(X, 0)[()][..., 0]
        cells, points = len(space.mesh.cells), len(X)
        values = np.tile(basis, (cells, 1)) * np.sqrt(w.reshape(cells, points)).reshape(-1, 1)
        rows = np.repeat(space.dofmap, points, axis=0)
        columns = np.broadcast_to(np.arange(cells * points)[:, None], rows.shape)
        shape = (space.num_dofs, cells * points)
        return sp.csr_array((values.ravel(), (rows.ravel(), columns.ravel())), shape=shape)

    @cached_property
    def _inverse(self) -> Callable[[np.ndarray], np.ndarray]:
        """A^-1 on the free dofs, zero on the others."""
        weak = WeakForm(_Operator(self), self.space.space.mesh, degree=self.degree)
        system = System(weak)
        zeros = torch.zeros(1, weak.linearised.size, dtype=weak.dtype)
        solve, free = inverse(system.operator(zeros, Inputs.of(weak, None))), system.conditions.free

        def extended(right: np.ndarray) -> np.ndarray:
            x = np.zeros_like(right)
            x[free] = solve(right[free])
            return x

        return extended

    def __getstate__(self) -> dict[str, Any]:
        """Without what is made when it is needed: factorisations cannot be sent to another process."""
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}


class _Operator(Problem):
    """(kappa^2 - Laplace) g under the boundary condition of a law."""

    fields = {"g": Field("Gaussian field")}

    def __init__(self, law: WhittleMatern) -> None:
        self.law = law
        self.conditions = [Dirichlet("g", 0.0)] if law.boundary == "dirichlet" else []
        super().__init__()

    def residual(self, s: Any, v: dict[str, Any]) -> Any:
        g, w, kappa = s.u["g"], v["g"], self.law.kappa
        form = (inner(grad(g), grad(w)) + kappa**2 * inner(g, w)) * s.dx
        return form + kappa / ROBIN * inner(g, w) * s.ds if self.law.boundary == "robin" else form


class Interpolated:
    """Values of the functions of a space at points, which are found once."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._known: tuple[np.ndarray, sp.csr_array] | None = None

    def matrix(self, x: np.ndarray) -> sp.csr_array:
        """From dofs to values at x (dim, n); that of the last points is kept, since many samples are seen there."""
        if self._known is None or not np.array_equal(self._known[0], x):
            self._known = x.copy(), self._made(x)
        return self._known[1]

    def _made(self, x: np.ndarray) -> sp.csr_array:
        space = self.space
        cells, X = locate(space.mesh, x)
        inside = np.flatnonzero(cells >= 0)
        basis, dofs = space.tabulate(X[inside], 0)[()][..., 0], space.dofmap[cells[inside]]
        outside = np.flatnonzero(cells < 0)
        nearest = cKDTree(space.x.T).query(x[:, outside].T)[1] if len(outside) else np.empty(0, dtype=int)
        values = np.concatenate([basis.ravel(), np.ones(len(outside))])
        rows = np.concatenate([np.repeat(inside, dofs.shape[1]), outside])
        columns = np.concatenate([dofs.ravel(), nearest])
        return sp.csr_array((values, (rows, columns)), shape=(x.shape[1], space.num_dofs))


@dataclass(frozen=True, eq=False)
class OnSpace:
    """The function with these dofs, shape (num_dofs,)."""

    space: Interpolated
    dofs: np.ndarray

    def __call__(self, x: Any) -> Any:
        """Values at x (dim, ...), shape (...); of torch's tensors too, without a derivative."""
        if isinstance(x, torch.Tensor):
            return torch.as_tensor(self(x.detach().cpu().numpy()), dtype=x.dtype, device=x.device)
        return (self.space.matrix(x.reshape(len(x), -1)) @ self.dofs).reshape(x.shape[1:])
