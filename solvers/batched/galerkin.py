"""One multigrid hierarchy a sample, for coefficients of high contrast: the structure is shared, the numbers are not.

Coarse unknowns are chosen once, on the mean operator. Each sample has its own interpolation, read off its own matrix,
so that it follows the jumps of its own coefficient, and its own Galerkin products P^T A P, their terms listed once.
All in double precision: single costs more iterations than it saves time at a contrast of 1e4, and fails at 1e6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.solvers.batched.layout import Layout, index_tensor, jagged, jagged_layout
from variform.solvers.batched.multigrid import Cycle, Level, SharedMatrix, import_pyamg
from variform.solvers.batched.operator import Operator, Pattern

COARSEST = 120
"""Unknowns below which a level is solved densely, sample by sample."""

STRENGTH = 0.25
"""A neighbour interpolates if its entry is at least this part of the row's largest (Ruge and Stueben)."""

DEGREE = 2
"""Of the smoother."""

CANCELLED = 1e-13
"""Entries below this part of their diagonals cancelled in assembly: they would only lengthen the lists of products."""


@dataclass(frozen=True, eq=False)
class Products:
    """C = A B for a batch of sparse matrices: entry of C = sum of (entry of A) (entry of B), batch last."""

    left: tuple[Tensor, ...]
    right: tuple[Tensor, ...]
    unsort: Tensor | None
    size: int

    @classmethod
    def of(
        cls, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], width: int
    ) -> tuple[Products, np.ndarray]:
        """The products, and rows and columns of C as keys row * width + column, increasing.

        Args:
            a, b: rows and columns of the entries; those of b sorted by rows.
            width: columns of B.
        """
        counts = np.bincount(b[0], minlength=a[1].max() + 1)
        first = np.cumsum(counts) - counts
        repeats = counts[a[1]]
        left = np.repeat(np.arange(len(a[0])), repeats)
        right = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats) + first[a[1]][left]
        keys, number = np.unique(a[0][left] * width + b[1][right], return_inverse=True)
        order = np.argsort(number, kind="stable")
        groups, unsort = jagged(number[order], len(keys))
        pick = [order[group] for group in groups]
        tensors = (tuple(index_tensor(side[p]) for p in pick) for side in (left, right))
        return cls(*tensors, unsort, len(keys)), keys

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Entries (nnz, B) of A and B to those of C."""
        c = a.new_zeros(self.size, a.shape[1])
        for left, right in zip(self.left, self.right, strict=True):
            c[: len(left)].addcmul_(a.index_select(0, left), b.index_select(0, right))
        return c if self.unsort is None else c.index_select(0, self.unsort)

    def to(self, device: torch.device) -> Products:
        left, right = (tuple(t.to(device) for t in side) for side in (self.left, self.right))
        return Products(left, right, None if self.unsort is None else self.unsort.to(device), self.size)


@dataclass(frozen=True, eq=False)
class Coarsening:
    """From a level to the next: what is the same for all samples. Entries are those of the level's pattern.

    Interpolation is direct: an unknown that is not coarse is the mean of its strong coarse neighbours, weighted by its
    own row, e_i = - (sum_j a_ij^- / sum_C a_ik^-) (sum_C a_ik^- e_k) / (a_ii + sum_j a_ij^+).

    Source: Stueben, J. Comput. Appl. Math. 128 (2001) 281, section 7.2.1.
    """

    layout: Layout
    row_sums: SharedMatrix
    coarse_sums: SharedMatrix
    diagonal: Tensor
    sources: Tensor
    targets: Tensor
    fine_rows: Tensor
    num_weights: int
    prolongation: Layout
    restriction: Layout
    product: Products
    triple: Products

    def to(self, device: torch.device) -> Coarsening:
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "num_weights"}
        return replace(self, **{name: part.to(device) for name, part in parts.items()})

    def weights(self, values: Tensor) -> Tensor:
        """The prolongation's entries, from those of the matrix."""
        off = values.index_fill(0, self.diagonal, 0)
        negative = off.clamp(max=0)
        pivot = values.index_select(0, self.diagonal) + self.row_sums @ (off - negative)
        coarse = self.coarse_sums @ negative
        ratio = torch.where(coarse < 0, -(self.row_sums @ negative) / coarse / pivot, 0)
        weights = values.new_ones(self.num_weights, values.shape[1])  # a coarse unknown is its own
        return weights.index_copy_(
            0, self.targets, ratio.index_select(0, self.fine_rows) * negative.index_select(0, self.sources)
        )

    def level(self, values: Tensor) -> tuple[Level, Tensor]:
        """The level of each sample, and the entries of its next coarser matrix."""
        A, weights = self.layout.store(values), self.weights(values)
        level = Level(
            A, 1 / A.absolute_row_sums(), self.prolongation.store(weights), self.restriction.store(weights), DEGREE
        )
        return level, self.triple(weights, self.product(values, weights))


@dataclass(frozen=True, eq=False)
class SampleMultigrid:
    """A V-cycle of its own for each sample of a pattern, by `prepare`."""

    entries: np.ndarray
    coarsenings: tuple[Coarsening, ...]
    coarsest: Pattern

    @classmethod
    def of(cls, pattern: Pattern, mean: sp.csr_array, like: Tensor) -> SampleMultigrid:
        """The structure for a pattern, from the mean operator.

        Args:
            like: gives the device.

        Raises:
            InputError: pyamg is not installed.
        """
        root = np.sqrt(np.abs(mean.diagonal()))
        entries = np.flatnonzero(np.abs(mean.data) > CANCELLED * root[pattern.rows] * root[pattern.indices])
        kept = sp.csr_array((mean.data[entries], (pattern.rows[entries], pattern.indices[entries])), shape=mean.shape)
        level, values, coarsenings = Pattern.of(kept), torch.from_numpy(kept.data)[:, None], []
        while level.n > COARSEST:
            coarsening, coarse = _coarsen(level, values[:, 0].numpy())
            if coarse.n > 0.9 * level.n:
                break
            coarsenings.append(coarsening)
            values, level = coarsening.level(values)[1], coarse
        return cls(entries, tuple(c.to(like.device) for c in coarsenings), level)

    def prepare(self, A: Operator) -> Cycle:
        values, levels = A.entries(self.entries).T, []
        for coarsening in self.coarsenings:
            level, values = coarsening.level(values)
            levels.append(level)
        matrix = values.new_zeros(values.shape[1], self.coarsest.n**2)
        places = torch.from_numpy(self.coarsest.rows * self.coarsest.n + self.coarsest.indices)
        matrix[:, places.to(values.device)] = values.T
        inverse = torch.linalg.inv_ex(matrix.view(-1, self.coarsest.n, self.coarsest.n))[0]
        return Cycle(tuple(levels), inverse)


def _coarsen(pattern: Pattern, mean: np.ndarray) -> tuple[Coarsening, Pattern]:
    """The coarsening of a level, and the pattern of the next."""
    pyamg, matrix = import_pyamg(), sp.csr_matrix(pattern.matrix(mean))
    strong = pyamg.strength.classical_strength_of_connection(matrix, STRENGTH)
    is_coarse = pyamg.classical.split.RS(strong).astype(bool)
    rows, columns, n = pattern.rows, pattern.indices, pattern.n
    is_strong = np.isin(rows * n + columns, np.repeat(np.arange(n), np.diff(strong.indptr)) * n + strong.indices)
    interpolates = is_strong & is_coarse[columns] & ~is_coarse[rows] & (mean < 0)
    sources = np.flatnonzero(interpolates)
    coarse_number = np.cumsum(is_coarse) - 1
    p_rows = np.concatenate([rows[sources], np.flatnonzero(is_coarse)])
    p_columns = coarse_number[np.concatenate([columns[sources], np.flatnonzero(is_coarse)])]
    order = np.lexsort((p_columns, p_rows))
    place = np.argsort(order)
    p_rows, p_columns, num_coarse = p_rows[order], p_columns[order], int(is_coarse.sum())
    product, keys = Products.of((rows, columns), (p_rows, p_columns), num_coarse)
    triple, coarse_keys = Products.of((p_columns, p_rows), np.divmod(keys, num_coarse), num_coarse)
    coarse_rows, coarse_columns = np.divmod(coarse_keys, num_coarse)
    coarse = Pattern(num_coarse, np.searchsorted(coarse_rows, np.arange(num_coarse + 1)), coarse_columns)
    return Coarsening(
        layout=pattern.layout(symmetric=True, device=torch.device("cpu")),
        row_sums=_row_sums(pattern, np.arange(pattern.nnz)),
        coarse_sums=_row_sums(pattern, sources),
        diagonal=torch.from_numpy(pattern.diagonal),
        sources=torch.from_numpy(sources),
        targets=torch.from_numpy(place[: len(sources)]),
        fine_rows=torch.from_numpy(rows[sources]),
        num_weights=len(order),
        prolongation=jagged_layout(p_rows, p_columns, (n, num_coarse)),
        restriction=_transposed(p_rows, p_columns, (n, num_coarse)),
        product=product,
        triple=triple,
    ), coarse


def _transposed(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Layout:
    """The layout of the transpose, for the same entries."""
    order = np.lexsort((rows, columns))
    layout = jagged_layout(columns[order], rows[order], shape[::-1])
    return replace(layout, entries=torch.from_numpy(order)[layout.entries])


def _row_sums(pattern: Pattern, entries: np.ndarray) -> SharedMatrix:
    """The sums of some entries of each row, as a matrix (n, nnz) for values (nnz, B)."""
    ones = sp.csr_array((np.ones(len(entries)), (pattern.rows[entries], entries)), shape=(pattern.n, pattern.nnz))
    return SharedMatrix.of(ones, torch.zeros(0, dtype=torch.float64))
