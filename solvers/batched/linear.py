"""Thousands of linear systems A_b x_b = f_b on one mesh: which method, in which portions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from variform.errors import InputError
from variform.solvers.batched.direct import solve_direct
from variform.solvers.batched.galerkin import SampleMultigrid
from variform.solvers.batched.krylov import Inverse, conjugate_gradients, tolerance
from variform.solvers.batched.memory import in_halves
from variform.solvers.batched.multigrid import algebraic_multigrid
from variform.solvers.batched.operator import Operator
from variform.solvers.batched.transform import FastDiagonalization, TensorGrid

SHARED_CONTRAST = 100.0
"""Coefficient contrast up to which the mean operator's inverse serves all samples: its iterations grow as the root."""

PLANE_ENTRIES = 12
"""Entries a row up to which a mesh is taken for a plane one. There sparse LU, on the CPU, is quicker than a multigrid
set up for each sample (128^2: 26 against 10 samples/s) or than conjugate gradients for one operator."""

TRANSFORM_ITERATIONS = 20
"""Iterations to 1e-6 for the mean operator itself, above which fast diagonalisation is no good inverse of it."""

CACHE_BYTES = 2**21
"""Size of a vector of a whole portion on the CPU: some ten of them stay in a core's share of the cache."""


class Preconditioner(Protocol):
    """What depends on pattern and mean operator; `prepare` adds what depends on each sample."""

    def prepare(self, A: Operator) -> Inverse: ...


@dataclass(frozen=True)
class Result:
    """Solutions, and how each was reached.

    Args:
        x: shape (B, n).
        converged: the relative residual is at most rtol, or rounding; shape (B,), bool.
        iterations: of conjugate gradients, 0 for LU; shape (B,), int64.
        relative_residual: |f - A x| / |f| in the 2-norm [-], computed anew from x; shape (B,). |f| counts as 1 if zero.
        preconditioner: for the next call with operators like these; None for LU.
    """

    x: Tensor
    converged: Tensor
    iterations: Tensor
    relative_residual: Tensor
    preconditioner: Preconditioner | None


@torch.no_grad()
def solve(
    A: Operator,
    f: Tensor,
    *,
    definite: bool,
    rtol: float = 1e-10,
    x0: Tensor | None = None,
    contrast: float | None = None,
    grid: TensorGrid | None = None,
    preconditioner: Preconditioner | None = None,
    max_iterations: int = 500,
) -> Result:
    """Solve A_b x_b = f_b for every sample of a batch, each to its own convergence.

    Symmetric positive definite real operators: conjugate gradients, with one preconditioner from the mean operator
    (fast diagonalisation on boxes, algebraic multigrid elsewhere) up to a coefficient contrast of 100, and a multigrid
    for each sample above. Sparse LU, factored once if the operator is the same for all samples, for everything
    indefinite, unsymmetric or complex, and where it is quicker: see `choose`. What memory cannot hold, halves do.

    Args:
        A: the operators of the free unknowns alone (`Pattern.submatrix`). float64, or complex.
        f: right-hand sides, shape (B, n), or (1, n) for all samples.
        definite: every A_b is symmetric positive definite. A sample that is not is reported as not converged.
        x0: first guesses, shape (B, n); None: zero.
        contrast: of the coefficient in a sample, largest over smallest [-]; None: estimated from the diagonals.
        grid: the box-shaped grid the unknowns stand on, if they do: `TensorGrid.of(points)`.
        preconditioner: of an earlier result with the same pattern and grid; it serves transposes too.

    Raises:
        InputError: shapes do not match, or pyamg is missing where it is needed.
        ComputationError: one sample alone does not fit into memory.
    """
    batch = _check(A, f, x0, grid)
    f = f.expand(batch, -1)

    def by_lu(samples: slice) -> Result:
        return _direct(A.part(samples), f[samples], rtol)

    if not definite or A.values.is_complex():
        return _concatenate(in_halves(by_lu, slice(0, batch)), None)
    if grid is not None and not np.array_equal(grid.order, np.arange(A.pattern.n)):
        settings = {
            "rtol": rtol,
            "contrast": contrast,
            "preconditioner": preconditioner,
            "max_iterations": max_iterations,
        }
        return _solve_in_order(grid, A, f, x0, **settings)
    if preconditioner is None:
        preconditioner = choose(A, contrast, grid)
    if preconditioner is None:
        return _concatenate(in_halves(by_lu, slice(0, batch)), None)
    x0 = torch.zeros_like(f) if x0 is None else x0

    def by_iteration(samples: slice) -> Result:
        return _iterate(A.part(samples), f[samples], x0[samples], preconditioner, rtol, max_iterations)

    portion = _portion(A, batch)
    starts = range(0, batch, portion)
    parts = [r for start in starts for r in in_halves(by_iteration, slice(start, min(start + portion, batch)))]
    return _concatenate(parts, preconditioner)


def choose(A: Operator, contrast: float | None = None, grid: TensorGrid | None = None) -> Preconditioner | None:
    """The preconditioner for symmetric positive definite operators, or None where sparse LU is the better way.

    Args:
        grid: the grid in whose order the unknowns already are.
    """
    if not A.finite().any():  # LU reports each sample
        return None
    mean = A.mean()
    like = torch.zeros(0, dtype=torch.float32, device=A.values.device)
    lu_is_cheap = like.device.type == "cpu" and A.pattern.nnz <= PLANE_ENTRIES * A.pattern.n
    if not A.shared and (_contrast(A) if contrast is None else contrast) > SHARED_CONTRAST:
        return None if lu_is_cheap else SampleMultigrid.of(A.pattern, mean, like)
    transform = None if grid is None else FastDiagonalization.nearest(mean, grid.shape, like)
    if transform is not None and _is_good(transform, A, mean.data):
        return transform
    return None if lu_is_cheap and A.shared else algebraic_multigrid(mean, like)


def _contrast(A: Operator) -> float:
    """Ratio of the diagonals' local scales within a sample: from below, since a diagonal averages over cells."""
    diagonal = A.diagonal()
    finite = A.finite()
    ratio = (diagonal / diagonal[finite].mean(dim=0))[finite]
    return float((ratio.amax(dim=1) / ratio.amin(dim=1)).amax())


def _is_good(transform: FastDiagonalization, A: Operator, mean: np.ndarray) -> bool:
    values = torch.from_numpy(mean).to(A.values)[None]
    matrix = Operator(A.pattern, values).batch_matrix(symmetric=True)
    f = torch.from_numpy(np.random.default_rng(0).standard_normal((A.pattern.n, 1))).to(A.values)
    result = conjugate_gradients(
        matrix, transform, f, torch.zeros_like(f), rtol=1e-6, max_iterations=TRANSFORM_ITERATIONS
    )
    return bool(result.converged.all())


def _iterate(
    A: Operator, f: Tensor, x0: Tensor, preconditioner: Preconditioner, rtol: float, max_iterations: int
) -> Result:
    matrix = A.batch_matrix(symmetric=True)
    f, x0 = f.T.contiguous(), x0.T.contiguous()
    inverse = preconditioner.prepare(A)
    r = conjugate_gradients(matrix, inverse, f, x0, rtol=rtol, max_iterations=max_iterations)
    return Result(r.x.T, r.converged, r.iterations, r.relative_residual, preconditioner)


def _direct(A: Operator, f: Tensor, rtol: float) -> Result:
    """LU, and one step of refinement where pivoting on the diagonal cost accuracy."""
    matrix = A.batch_matrix()
    norm = torch.linalg.vector_norm(f, dim=1)
    norm = torch.where(norm > 0, norm, 1)
    x = solve_direct(A, f)
    r = f - (matrix @ x.T).T
    rounding = 2 * torch.finfo(x.dtype).eps * matrix.spectral_bound() * torch.linalg.vector_norm(x, dim=1) / norm
    residual = torch.linalg.vector_norm(r, dim=1) / norm
    if (residual > rtol).any():
        better = x + solve_direct(A, r)
        r = f - (matrix @ better.T).T
        improved = torch.linalg.vector_norm(r, dim=1) / norm < residual
        x = torch.where(improved[:, None], better, x)
        residual = torch.where(improved, torch.linalg.vector_norm(r, dim=1) / norm, residual)
    converged = residual <= tolerance(rtol, rounding)
    return Result(x, converged, torch.zeros_like(residual, dtype=torch.int64), residual, None)


def _portion(A: Operator, batch: int) -> int:
    """Samples solved at once: what fits in the CPU's cache, or in half of the free memory of a GPU."""
    n, device = A.pattern.n, A.values.device
    if device.type != "cuda":
        return max(1, min(batch, CACHE_BYTES // (4 * n)))
    bytes_a_sample = 20 * A.pattern.nnz + 100 * n  # the matrix in both precisions; the vectors of the iteration
    return max(1, min(batch, torch.cuda.mem_get_info(device)[0] // (2 * bytes_a_sample)))


def _solve_in_order(grid: TensorGrid, A: Operator, f: Tensor, x0: Tensor | None, **settings) -> Result:
    """Solve in the grid's order, where fast diagonalisation works and the matrix consists of few diagonals."""
    cache, key = A.pattern.cache, ("grid", id(grid))
    if key not in cache:
        cache[key] = grid, replace(grid, order=np.arange(A.pattern.n)), *A.pattern.submatrix(grid.order)
    _, ordered_grid, pattern, entries = cache[key]
    order = torch.from_numpy(grid.order).to(f.device)
    x0 = None if x0 is None else x0[:, order]
    result = solve(
        Operator(pattern, A.entries(entries)), f[:, order], definite=True, x0=x0, grid=ordered_grid, **settings
    )
    return replace(result, x=result.x[:, torch.argsort(order)])


def _concatenate(parts: list[Result], preconditioner: Preconditioner | None) -> Result:
    names = [field.name for field in fields(Result) if field.name != "preconditioner"]
    return Result(
        **{name: torch.cat([getattr(p, name) for p in parts]) for name in names}, preconditioner=preconditioner
    )


def _check(A: Operator, f: Tensor, x0: Tensor | None, grid: TensorGrid | None) -> int:
    """The batch size."""
    n, batch = A.pattern.n, max(len(A.values), len(f))
    if f.ndim != 2 or f.shape[1] != n or len(f) not in (1, batch) or len(A.values) not in (1, batch):
        raise InputError(f"f must have shape ({len(A.values)}, {n}) or (1, {n}), got {tuple(f.shape)}")
    if x0 is not None and x0.shape != (batch, n):
        raise InputError(f"x0 must have shape ({batch}, {n}), got {tuple(x0.shape)}")
    if grid is not None and len(grid.order) != n:
        raise InputError(f"the grid must have as many points as there are unknowns, {n}, got {len(grid.order)}")
    if A.values.dtype not in (torch.float64, torch.complex128) or f.dtype != A.values.dtype:
        raise InputError(f"A and f must both be float64 or complex128, got {A.values.dtype} and {f.dtype}")
    return batch
