"""Multigrid for a batch, batch last: one hierarchy for all samples, or one structure with each sample's own numbers.

Both smooth with Chebyshev's polynomials of the fourth kind in D^-1 A, D the sums of absolute values of the rows: so
the spectrum lies below 1 whatever the mesh and nothing need be estimated. The cycle is symmetric.
Source: Lottes, Numer. Linear Algebra Appl. 30 (2023) e2518, for the smoother.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.errors import InputError
from variform.solvers.batched.layout import index_tensor
from variform.solvers.batched.operator import Operator

COARSEST = 300
"""Unknowns below which a level is solved densely."""

MOST_COMPLEX, MOST_CYCLES = 5.0, 20
"""Entries of all levels over those of the finest, and cycles to 1e-6, above which classical coarsening serves badly."""


class Matrix(Protocol):
    def __matmul__(self, x: Tensor) -> Tensor: ...

    def select(self, samples: Tensor) -> Matrix: ...


@dataclass(frozen=True, eq=False)
class Level:
    """A level above the coarsest: `scale` is D^-1, shape (n, B) or (n, 1); `degree` is the smoother's."""

    A: Matrix
    scale: Tensor
    prolongation: Matrix
    restriction: Matrix
    degree: int

    def smooth(self, f: Tensor, x: Tensor | None) -> Tensor:
        """Chebyshev's iteration; x None: from zero, which saves a product."""
        r = f if x is None else f - self.A @ x
        step = (4 / 3) * self.scale * r
        x = step if x is None else x + step
        for k in range(2, self.degree + 1):
            r = r - self.A @ step
            step = (2 * k - 3) / (2 * k + 1) * step + (8 * k - 4) / (2 * k + 1) * self.scale * r
            x = x + step
        return x

    def select(self, samples: Tensor) -> Level:
        scale = self.scale if self.scale.shape[1] == 1 else self.scale[:, samples]
        A, prolongation, restriction = (m.select(samples) for m in (self.A, self.prolongation, self.restriction))
        return Level(A, scale, prolongation, restriction, self.degree)


@dataclass(frozen=True, eq=False)
class Cycle:
    """A symmetric V-cycle; `coarsest` is the inverse on the coarsest level, shape (n, n) or (B, n, n)."""

    levels: tuple[Level, ...]
    coarsest: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.coarsest.dtype

    def __call__(self, r: Tensor, depth: int = 0) -> Tensor:
        if depth == len(self.levels):
            return self._solve(r)
        level = self.levels[depth]
        z = level.smooth(r, None)
        coarse = self(level.restriction @ (r - level.A @ z), depth + 1)
        return level.smooth(r, z + level.prolongation @ coarse)

    def _solve(self, r: Tensor) -> Tensor:
        return self.coarsest @ r if self.coarsest.ndim == 2 else torch.bmm(self.coarsest, r.T[..., None])[..., 0].T

    def select(self, samples: Tensor) -> Cycle:
        coarsest = self.coarsest if self.coarsest.ndim == 2 else self.coarsest[samples]
        return Cycle(tuple(level.select(samples) for level in self.levels), coarsest)

    def prepare(self, A: Operator) -> Cycle:
        return self


@dataclass(frozen=True, eq=False)
class SharedMatrix:
    """One sparse matrix for all samples."""

    matrix: Tensor

    @classmethod
    def of(cls, matrix: sp.csr_array, like: Tensor) -> SharedMatrix:
        csr = sp.csr_array(matrix, copy=True)
        csr.sum_duplicates()  # sorts, too
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support", UserWarning)
            parts = index_tensor(csr.indptr), index_tensor(csr.indices), torch.from_numpy(csr.data)
            kind = {"dtype": like.dtype, "device": like.device, "check_invariants": True}
            return cls(torch.sparse_csr_tensor(*parts, size=csr.shape, **kind))

    def __matmul__(self, x: Tensor) -> Tensor:
        return self.matrix @ x

    def select(self, samples: Tensor) -> SharedMatrix:
        return self

    def to(self, device: torch.device) -> SharedMatrix:
        return SharedMatrix(self.matrix.to(device))


def algebraic_multigrid(mean: sp.csr_array, like: Tensor) -> Cycle:
    """A V-cycle for one symmetric positive definite matrix, its hierarchy by pyamg.

    Classical coarsening is the better one for scalar equations; where it serves badly (elasticity, high degrees),
    smoothed aggregation takes its place.

    Args:
        like: gives dtype and device.

    Source: Ruge and Stueben (1987); Vanek, Mandel and Brezina, Computing 56 (1996) 179.

    Raises:
        InputError: pyamg is not installed.
    """
    pyamg, matrix = import_pyamg(), sp.csr_matrix(mean)
    classical = pyamg.ruge_stuben_solver(matrix, max_coarse=COARSEST)
    if _serves(classical, matrix):
        return _cycle(classical, 1, like)
    return _cycle(pyamg.smoothed_aggregation_solver(matrix, max_coarse=COARSEST, symmetry="symmetric"), 2, like)


def _serves(hierarchy, matrix: sp.csr_matrix) -> bool:
    if hierarchy.operator_complexity() > MOST_COMPLEX or hierarchy.levels[-1].A.shape[0] > 4 * COARSEST:
        return False
    f, residuals = np.random.default_rng(0).standard_normal(matrix.shape[0]), []
    hierarchy.solve(f, accel="cg", tol=1e-6, maxiter=MOST_CYCLES, residuals=residuals)
    return residuals[-1] <= 1e-6 * residuals[0]


def _cycle(hierarchy, degree: int, like: Tensor) -> Cycle:
    levels = []
    for level in hierarchy.levels[:-1]:
        A, P, R = (SharedMatrix.of(m, like) for m in (level.A, level.P, level.P.T))
        scale = torch.from_numpy(1 / np.asarray(abs(level.A).sum(axis=1)).reshape(-1, 1)).to(like)
        levels.append(Level(A, scale, P, R, degree))
    coarsest = np.linalg.pinv(hierarchy.levels[-1].A.toarray(), hermitian=True)
    return Cycle(tuple(levels), torch.from_numpy(coarsest).to(like))


def import_pyamg():
    """pyamg, which only meshes other than boxes and high contrasts need."""
    try:
        import pyamg
    except ImportError:
        raise InputError("meshes other than boxes, and contrasts above 100, need pyamg: pip install pyamg") from None
    return pyamg
