"""Products with a batch of sparse matrices of one pattern: vectors have shape (n, B), the batch last.

Entries are stored in slots, each a run of rows and one entry a row, so that y += v * x[columns] is one vectorised
operation for all rows of the slot and all samples. On a grid in its natural order the slots are the diagonals of the
matrix, whose columns are a slice of x; on any other mesh they are jagged diagonals, whose columns are gathered.

Source: Saad, Iterative Methods for Sparse Linear Systems, 2nd ed., section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

CANCELLED = 1e-14
"""A diagonal whose entries are all below this part of the main one cancelled in assembly, and is left out."""


@dataclass(frozen=True)
class Slot:
    """Rows start to stop of y; their columns; the slot's first value among those stored."""

    start: int
    stop: int
    columns: slice | Tensor
    first: int

    @property
    def values(self) -> slice:
        return slice(self.first, self.first + self.stop - self.start)

    def gather(self, x: Tensor) -> Tensor:
        return x[self.columns] if isinstance(self.columns, slice) else x.index_select(0, self.columns)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the entries of a sparse matrix are stored.

    Args:
        shape: rows and columns.
        slots: see `Slot`.
        entries: for each value stored, its number in the pattern.
        absent: the values stored that the pattern does not hold: zeros.
        unsort: puts the rows of a product into their order; None: they are.
    """

    shape: tuple[int, int]
    slots: tuple[Slot, ...]
    entries: Tensor
    absent: Tensor
    unsort: Tensor | None = None

    def to(self, device: torch.device) -> Layout:
        slots = tuple(
            s if isinstance(s.columns, slice) else replace(s, columns=s.columns.to(device)) for s in self.slots
        )
        unsort = None if self.unsort is None else self.unsort.to(device)
        return replace(self, slots=slots, entries=self.entries.to(device), absent=self.absent.to(device), unsort=unsort)

    def store(self, values: Tensor) -> BatchMatrix:
        """A matrix from its entries in the pattern's order, shape (nnz, B)."""
        stored = values.index_select(0, self.entries).index_fill_(0, self.absent, 0)
        return BatchMatrix(self._without_zero_diagonals(stored), stored)

    def _without_zero_diagonals(self, stored: Tensor) -> Layout:
        """Right-angled triangles have such diagonals: along the hypotenuses."""
        main = next((s for s in self.slots if isinstance(s.columns, slice) and s.columns == slice(0, s.stop)), None)
        if main is None:
            return self
        scale = stored[main.values].abs().amin() * CANCELLED
        largest = torch.stack([stored[s.values].abs().amax() for s in self.slots])
        kept = (~(largest <= scale)).tolist()  # a NaN stays
        return replace(self, slots=tuple(s for s, keep in zip(self.slots, kept, strict=True) if keep))


@dataclass(frozen=True, eq=False)
class BatchMatrix:
    """Matrices A_b; values: shape (stored, B), or (stored, 1) for one matrix."""

    layout: Layout
    values: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        """A_b x_b, (columns, B) to (rows, B)."""
        y = x.new_zeros(self.layout.shape[0], max(x.shape[1], self.values.shape[1]))
        for slot in self.layout.slots:
            y[slot.start : slot.stop].addcmul_(self.values[slot.values], slot.gather(x))
        return y if self.layout.unsort is None else y.index_select(0, self.layout.unsort)

    def to(self, dtype: torch.dtype) -> BatchMatrix:
        return replace(self, values=self.values.to(dtype))

    def absolute_row_sums(self) -> Tensor:
        """Sums of absolute values, shape (rows, B) or (rows, 1)."""
        ones = self.values.new_ones(self.layout.shape[1], 1)
        return replace(self, values=self.values.abs()) @ ones

    def spectral_bound(self) -> Tensor:
        """Most entries of a row times the largest entry: no eigenvalue is larger; shape (B,) or (1,)."""
        return len(self.layout.slots) * self.values.abs().amax(dim=0)

    def select(self, samples: Tensor) -> BatchMatrix:
        """The matrices of some samples."""
        return self if self.values.shape[1] == 1 else replace(self, values=self.values[:, samples])


def layout_of(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], *, symmetric: bool = False) -> Layout:
    """Diagonals where there are few of them, jagged diagonals otherwise.

    Args:
        rows, columns: of each entry, shape (nnz,), sorted by rows.
        symmetric: the values are: a diagonal below the main one is read from its mirror image.
    """
    offsets = np.unique(columns - rows)
    longest = np.bincount(rows, minlength=1).max()
    if shape[0] == shape[1] and len(offsets) <= 2 * longest:
        return diagonal_layout(rows, columns, shape[0], offsets, symmetric)
    return jagged_layout(rows, columns, shape)


def diagonal_layout(rows: np.ndarray, columns: np.ndarray, n: int, offsets: np.ndarray, symmetric: bool) -> Layout:
    """Slots are diagonals, of columns minus rows = offset."""
    slots, stored, first = [], [], {}
    for offset in sorted(offsets.tolist(), key=lambda k: (abs(k), -k)):  # k comes just before -k
        start, stop = max(0, -offset), n - max(0, offset)
        if not (symmetric and -offset in first):
            first[offset] = sum(map(len, stored))
            numbers = np.full(n, -1)
            on_it = np.flatnonzero(columns - rows == offset)
            numbers[rows[on_it]] = on_it
            stored.append(numbers[start:stop])
        slots.append(Slot(start, stop, slice(start + offset, stop + offset), first.get(offset, first.get(-offset))))
    entries = torch.from_numpy(np.concatenate(stored))
    return Layout((n, n), tuple(slots), entries.clamp(min=0), torch.nonzero(entries < 0)[:, 0])


def jagged_layout(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> Layout:
    """Slot j holds entry j of every row that has so many; rows are sorted by length, the longest first."""
    groups, unsort = jagged(rows, shape[0])
    first = np.cumsum([0, *map(len, groups)])
    slots = [
        Slot(0, len(group), index_tensor(columns[group]), int(start))
        for group, start in zip(groups, first, strict=False)
    ]
    entries = torch.from_numpy(np.concatenate([*groups, np.zeros(0, np.int64)]))
    return Layout(shape, tuple(slots), entries, torch.zeros(0, dtype=torch.int64), unsort)


def jagged(rows: np.ndarray, num_rows: int) -> tuple[Sequence[np.ndarray], Tensor | None]:
    """Entries in jagged order: group j holds entry j of each row that has so many, the rows with most entries first.

    Args:
        rows: of each entry, sorted.

    Returns:
        The groups of entry numbers, and for each row its place among the sorted ones (None: its own).
    """
    counts = np.bincount(rows, minlength=num_rows)
    first = np.cumsum(counts) - counts
    order = np.argsort(-counts, kind="stable")
    groups = [first[order[: np.count_nonzero(counts > j)]] + j for j in range(counts.max(initial=0))]
    if np.array_equal(order, np.arange(num_rows)):
        return groups, None
    place = np.empty(num_rows, np.int64)
    place[order] = np.arange(num_rows)
    return groups, index_tensor(place)


def index_tensor(index: np.ndarray) -> Tensor:
    """int32: half the traffic, and what torch's sparse products take on the CPU."""
    return torch.from_numpy(index.astype(np.int32))
