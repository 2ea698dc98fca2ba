"""Many sparse matrices of one pattern, as finite elements assemble them on one mesh."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.errors import InputError
from variform.solvers.batched.layout import BatchMatrix, Layout, layout_of


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where the entries of a square sparse matrix stand: scipy's CSR with sorted columns, none twice.

    Args:
        n: rows, and columns.
        indptr: shape (n + 1,), int64.
        indices: columns, shape (nnz,), int64.

    `cache` holds what is worked out once for a pattern (layouts, orders), by those who use it.
    """

    n: int
    indptr: np.ndarray
    indices: np.ndarray
    cache: dict = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, matrix: sp.sparray | sp.spmatrix) -> Pattern:
        """The pattern of a matrix (explicit zeros belong to it)."""
        csr = sp.csr_array(matrix, copy=True)
        csr.sum_duplicates()
        return cls(csr.shape[0], csr.indptr.astype(np.int64), csr.indices.astype(np.int64))

    @property
    def nnz(self) -> int:
        return len(self.indices)

    @cached_property
    def rows(self) -> np.ndarray:
        """Row of each entry, shape (nnz,)."""
        return np.repeat(np.arange(self.n), np.diff(self.indptr))

    @cached_property
    def transposition(self) -> np.ndarray:
        """The entry (j, i) for each entry (i, j), shape (nnz,).

        Raises:
            InputError: the pattern is not symmetric.
        """
        order = np.lexsort((self.rows, self.indices))
        if not (np.array_equal(self.indices[order], self.rows) and np.array_equal(self.rows[order], self.indices)):
            raise InputError("the sparsity pattern must be symmetric (values may be unsymmetric): add explicit zeros")
        return order

    @cached_property
    def diagonal(self) -> np.ndarray:
        """The entry (i, i) of each row, shape (n,).

        Raises:
            InputError: a row has none.
        """
        entries = np.flatnonzero(self.rows == self.indices)
        if len(entries) < self.n:
            raise InputError("the sparsity pattern must hold the whole diagonal: add explicit zeros")
        return entries

    def submatrix(self, unknowns: np.ndarray) -> tuple[Pattern, np.ndarray]:
        """The pattern of A[unknowns][:, unknowns], and its entries as numbers of entries of this pattern.

        Args:
            unknowns: row numbers in the order wanted (a permutation, or the free ones), or a mask of shape (n,).
        """
        unknowns = np.flatnonzero(unknowns) if unknowns.dtype == bool else np.asarray(unknowns)
        number = np.full(self.n, -1)
        number[unknowns] = np.arange(len(unknowns))
        rows, columns = number[self.rows], number[self.indices]
        entries = np.flatnonzero((rows >= 0) & (columns >= 0))
        entries = entries[np.lexsort((columns[entries], rows[entries]))]
        indptr = np.searchsorted(rows[entries], np.arange(len(unknowns) + 1))
        return Pattern(len(unknowns), indptr, columns[entries]), entries

    def matrix(self, values: np.ndarray) -> sp.csr_array:
        """One matrix, from its values of shape (nnz,)."""
        return sp.csr_array((values, self.indices, self.indptr), shape=(self.n, self.n))

    def layout(self, *, symmetric: bool, device: torch.device) -> Layout:
        """How products store the entries on a device; worked out once."""
        key = symmetric, str(device)
        if key not in self.cache:
            self.cache[key] = layout_of(self.rows, self.indices, (self.n, self.n), symmetric=symmetric).to(device)
        return self.cache[key]


@dataclass(frozen=True, eq=False)
class Operator:
    """A batch of matrices A_b with one pattern.

    Args:
        pattern: where the entries stand.
        values: the entries, shape (B, nnz), or (1, nnz) when all samples share one matrix. Products run batch last:
            a transposed (nnz, B) tensor is the quickest.
    """

    pattern: Pattern
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.pattern.nnz:
            raise InputError(f"values must have shape (B, {self.pattern.nnz}), got {tuple(self.values.shape)}")

    @property
    def shared(self) -> bool:
        """One matrix for all samples."""
        return len(self.values) == 1

    def batch_matrix(self, *, symmetric: bool = False) -> BatchMatrix:
        """The operator for vectors of shape (n, B)."""
        return self.pattern.layout(symmetric=symmetric, device=self.values.device).store(self.values.T)

    def matvec(self, x: Tensor) -> Tensor:
        """A_b x_b, (B, n) to (B, n)."""
        return (self.batch_matrix() @ x.T).T

    def diagonal(self) -> Tensor:
        """Shape (B, n), or (1, n) when shared."""
        return self.values[:, torch.from_numpy(self.pattern.diagonal).to(self.values.device)]

    def finite(self) -> Tensor:
        """Whether every entry is, shape (B,) or (1,)."""
        return self.values.sum(dim=1).isfinite()

    def mean(self) -> sp.csr_array:
        """The mean over the samples whose entries are all finite.

        Raises:
            InputError: no sample is finite.
        """
        finite = self.finite()
        if not finite.any():
            raise InputError("every sample of the operator has an entry that is not finite")
        values = self.values if finite.all() else self.values[finite]
        return self.pattern.matrix(values.mean(dim=0).cpu().numpy())

    def sample(self, b: int) -> sp.csr_array:
        """One matrix."""
        return self.pattern.matrix(self.values[0 if self.shared else b].cpu().numpy())

    def transpose(self) -> Operator:
        """The transposed matrices (not conjugated)."""
        return replace(self, values=self.entries(self.pattern.transposition))

    def submatrix(self, unknowns: np.ndarray) -> Operator:
        """A_b[unknowns][:, unknowns]: see `Pattern.submatrix`, which a caller with many operators uses itself."""
        pattern, entries = self.pattern.submatrix(unknowns)
        return Operator(pattern, self.entries(entries))

    def part(self, samples: slice | Tensor) -> Operator:
        """The operator of some samples."""
        return self if self.shared else replace(self, values=self.values[samples])

    def entries(self, entries: np.ndarray) -> Tensor:
        """The values of some entries, shape (B, len(entries))."""
        return self.values.T.index_select(0, torch.from_numpy(entries).to(self.values.device)).T
