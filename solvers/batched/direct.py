"""Sparse LU on the CPU: one factorisation for many right-hand sides, or one a sample, in one fill-reducing order."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.sparse.linalg import SuperLU, splu
from torch import Tensor

from variform.errors import ComputationError
from variform.solvers.batched.operator import Operator, Pattern

OPTIONS = {
    "diag_pivot_thresh": 0.1,  # the diagonal is the pivot unless below this part of its column: keeps the fill low
    "options": {"SymmetricMode": True},
    "relax": 1,
    "panel_size": 8,  # the widths are the quickest on a plane mesh of 16,000 unknowns
}


def solve_direct(A: Operator, f: Tensor) -> Tensor:
    """x_b with A_b x_b = f_b by LU with partial pivoting, (B, n) to (B, n); NaN where A_b is singular.

    A may be indefinite, unsymmetric or complex; f is of the same type. Samples share torch's number of threads.

    Source: Demmel et al., SIAM J. Matrix Anal. Appl. 20 (1999) 720 (SuperLU).
    """
    order, entries, pattern = _ordered(A.pattern)
    values, right = A.values.cpu().numpy()[:, entries], f.cpu().numpy()[:, order]
    x = np.empty_like(right)
    if A.shared:
        x[:, order] = _factor(pattern, values[0])(right.T).T
        return torch.from_numpy(x).to(f.device)

    def one(b: int) -> None:
        x[b, order] = _factor(pattern, values[b])(right[b])

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # SuperLU lets other threads run
        list(threads.map(one, range(len(right))))
    return torch.from_numpy(x).to(f.device)


def inverse(A: Operator) -> Callable[[np.ndarray], np.ndarray]:
    """The solution of A x = f, factorised once, for right-hand sides (n,) or (n, k); A is shared by all samples.

    Raises:
        ComputationError: A is singular.
    """
    try:
        return splu(A.pattern.matrix(A.values[0].cpu().numpy()).tocsc(), permc_spec="MMD_AT_PLUS_A", **OPTIONS).solve
    except RuntimeError as error:  # "Factor is exactly singular"
        raise ComputationError(f"the matrix of {A.pattern.n} unknowns is singular") from error


def _factor(pattern: Pattern, values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    if not np.isfinite(values).all():
        return lambda f: np.full_like(f, np.nan)
    try:
        return splu(pattern.matrix(values).tocsc(), permc_spec="NATURAL", **OPTIONS).solve
    except RuntimeError:  # "Factor is exactly singular"
        return lambda f: np.full_like(f, np.nan)


def _ordered(pattern: Pattern) -> tuple[np.ndarray, np.ndarray, Pattern]:
    """Minimum degree order of the unknowns, the entries in that order, and their pattern; found once a pattern."""
    if "direct" not in pattern.cache:
        stand_in = np.ones(pattern.nnz)  # the order depends on the pattern alone, and no pivot of this one vanishes
        stand_in[pattern.diagonal] = pattern.n
        lu: SuperLU = splu(pattern.matrix(stand_in).tocsc(), permc_spec="MMD_AT_PLUS_A", **OPTIONS)
        order = np.argsort(lu.perm_c)
        ordered, entries = pattern.submatrix(order)
        pattern.cache["direct"] = order, entries, ordered
    return pattern.cache["direct"]
