"""Fast diagonalisation on boxes: the inverse of an operator that is a sum of Kronecker products of 1D operators.

On a uniform box with constant coefficients its transforms are the discrete sine and cosine transforms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.solvers.batched.operator import Operator

WIDEST_BAND = 4
"""Widest 1D operator looked at, in places off the diagonal: a periodic box, say, has wider ones."""

NEARLY_MIRRORED = 0.1
"""Relative distance from its mirror image below which an operator takes the mean of both: means of random fields do."""

ANGLES = np.linspace(0, np.pi, 32, endpoint=False)
"""Combinations cos t, sin t of two 1D operators among which a positive definite one is sought."""


@dataclass(frozen=True, eq=False)
class TensorGrid:
    """Unknowns that stand at all points of a box-shaped grid, uniform or graded.

    Args:
        lines: coordinates along each axis [m], increasing.
        order: unknowns in the grid's order, the last axis fastest; shape (n,).
    """

    lines: tuple[np.ndarray, ...]
    order: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(line) for line in self.lines)

    @classmethod
    def of(cls, points: np.ndarray) -> TensorGrid | None:
        """The grid on which the unknowns stand, from their points [m], shape (n, dim); None if they are not one."""
        lines, places = zip(*(_distinct(axis) for axis in points.T), strict=True)
        shape = tuple(len(line) for line in lines)
        if np.prod(shape) != len(points):
            return None
        number = np.ravel_multi_index(places, shape)
        order = np.argsort(number)
        return cls(lines, order) if np.array_equal(number[order], np.arange(len(points))) else None


def _distinct(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, increasing, and for each value its number among them; equal within rounding."""
    order = np.argsort(x)
    new = np.concatenate([[False], np.diff(x[order]) > 1e-9 * np.ptp(x)])
    place = np.empty(len(x), np.int64)
    place[order] = np.cumsum(new)
    return x[order][np.concatenate([[0], np.flatnonzero(new)])], place


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenvectors of a 1D operator, as columns: the even and the odd ones apart, where it mirrors itself.

    Half of the work: even + odd modes are two square matrices of half the size.
    """

    even: Tensor
    odd: Tensor | None

    @classmethod
    def of(cls, X: np.ndarray, like: Tensor) -> tuple[Modes, np.ndarray]:
        """The modes, and the order of columns of X they have."""
        n, scale = len(X), abs(X).max()
        tensor = lambda part: torch.from_numpy(np.ascontiguousarray(part)).to(like)  # noqa: E731
        is_even, is_odd = (abs(X - sign * X[::-1]).max(axis=0) < 1e-8 * scale for sign in (1, -1))
        if n < 3 or not (is_even ^ is_odd).all():
            return cls(tensor(X), None), np.arange(n)
        order = np.concatenate([np.flatnonzero(is_even), np.flatnonzero(is_odd)])
        half = X[: (n + 1) // 2]
        return cls(tensor(half[:, is_even]), tensor(half[:, is_odd])), order

    def forward(self, z: Tensor, axis: int) -> Tensor:
        """X^T along one axis of z (n1, n2, .., B)."""
        if self.odd is None:
            return _along(self.even.T, z, axis)
        n, upper = z.shape[axis], (z.shape[axis] + 1) // 2
        top, bottom = z.narrow(axis, 0, upper), z.narrow(axis, n - upper, upper).flip(axis)
        total = top + bottom
        if n % 2:
            total.select(axis, upper - 1).mul_(0.5)  # the middle, counted twice
        return torch.cat([_along(self.even.T, total, axis), _along(self.odd.T, top - bottom, axis)], dim=axis)

    def backward(self, z: Tensor, axis: int) -> Tensor:
        """X along one axis of z (n1, n2, .., B)."""
        if self.odd is None:
            return _along(self.even, z, axis)
        num_even, num_odd = self.even.shape[1], self.odd.shape[1]
        even = _along(self.even, z.narrow(axis, 0, num_even), axis)
        odd = _along(self.odd, z.narrow(axis, num_even, num_odd), axis)
        return torch.cat([even + odd, (even - odd).narrow(axis, 0, z.shape[axis] // 2).flip(axis)], dim=axis)


@dataclass(frozen=True, eq=False)
class FastDiagonalization:
    """z = (X1 x X2 x ..) diag(1 / eigenvalues) (X1 x X2 x ..)^T r: an exact solve for the separable operator.

    Args:
        modes: eigenvectors of the 1D operators, one set an axis.
        inverse_eigenvalues: shape (n1, n2, .., 1).

    Source: Lynch, Rice and Thomas, Numerische Mathematik 6 (1964) 185.
    """

    modes: tuple[Modes, ...]
    inverse_eigenvalues: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return self.inverse_eigenvalues.dtype

    def __call__(self, r: Tensor) -> Tensor:
        """(n, B) to (n, B), unknowns in the grid's order."""
        z = r.view(*self.inverse_eigenvalues.shape[:-1], r.shape[1])
        for axis, modes in enumerate(self.modes):
            z = modes.forward(z, axis)
        z = z * self.inverse_eigenvalues
        for axis, modes in enumerate(self.modes):
            z = modes.backward(z, axis)
        return z.reshape(r.shape)

    def select(self, samples: Tensor) -> FastDiagonalization:
        return self

    def prepare(self, A: Operator) -> FastDiagonalization:
        return self

    @classmethod
    def nearest(cls, matrix: sp.csr_array, shape: tuple[int, ...], like: Tensor) -> FastDiagonalization | None:
        """The inverse of the separable operator nearest to a symmetric positive definite one; None if there is none.

        The entries are a tensor with one index an axis, the entry of a 1D operator. The 1D operators of an axis are two
        means of it over the other axes, the rest is least squares, and one generalised eigenproblem an axis makes them
        diagonal. Exact for K1 x M2 + M1 x K2 and its kin in any dimension. (A truncated singular value decomposition is
        nearer in the sum of squares, and worthless where coefficients are not separable: 190 iterations for 13.)

        Args:
            matrix: shape (n, n), unknowns in the grid's order.
            like: gives dtype and device.

        Source: Van Loan and Pitsianis, Approximation with Kronecker products (1993), for the rearranged tensor.
        """
        scaling = _separable_scaling(matrix.diagonal().reshape(shape))
        scale = reduce(np.multiply.outer, scaling).ravel()
        scaled = sp.coo_array(sp.diags_array(scale) @ matrix @ sp.diags_array(scale))
        rows, columns = (np.stack(np.unravel_index(index, shape)) for index in scaled.coords)
        bands = abs(columns - rows).max(axis=1, initial=0)
        if bands.max() > WIDEST_BAND:
            return None
        rearranged, pairs = _rearrange(rows, columns, scaled.data, shape, bands)
        for axis in range(len(shape)):
            if _is_nearly_mirrored(rearranged, axis):
                rearranged = (rearranged + np.flip(rearranged, axis)) / 2
        modes, spectra, core = [], [], rearranged
        for axis, (size, (row, column)) in enumerate(zip(shape, pairs, strict=True)):
            basis = _line_operators(rearranged, pairs, axis)
            operators = np.zeros((basis.shape[1], size, size))
            operators[:, row, column] = basis.T
            diagonalised = _diagonalise(operators)
            if diagonalised is None:
                return None
            axis_modes, order = Modes.of(diagonalised[0] * scaling[axis][:, None], like)
            modes.append(axis_modes)
            spectra.append(diagonalised[1][:, order])
            core = np.moveaxis(np.tensordot(basis.T, core, (1, axis)), 0, axis)
        eigenvalues = core  # a number for each choice of 1D operators: now for each choice of their eigenvalues
        for axis, spectrum in enumerate(spectra):
            eigenvalues = np.moveaxis(np.tensordot(spectrum.T, eigenvalues, (1, axis)), 0, axis)
        if not eigenvalues.min() > 1e-13 * eigenvalues.max():
            return None
        return cls(tuple(modes), torch.from_numpy(1 / eigenvalues[..., None]).to(like))


def _along(matrix: Tensor, z: Tensor, axis: int) -> Tensor:
    """The matrix applied along one axis of z (n1, n2, .., B)."""
    before, after = z.shape[:axis], z.shape[axis + 1 :]
    shape = (*before, len(matrix), *after)
    if before.numel() == 1:
        return (matrix @ z.reshape(z.shape[axis], after.numel())).view(shape)
    blocks = z.reshape(before.numel(), z.shape[axis], after.numel())
    return torch.bmm(matrix.expand(len(blocks), *matrix.shape), blocks).view(shape)


def _line_operators(rearranged: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]], axis: int) -> np.ndarray:
    """An orthonormal basis, shape (entries, 1 or 2), of what the operator does along an axis.

    On functions constant along the other axes, and in the mean at single places of these: with K stiffness and M mass
    the one is near K, the other a sum of K and M.
    """
    on_constants = on_places = np.moveaxis(rearranged, axis, 0)
    for row, column in (pair for other, pair in enumerate(pairs) if other != axis):
        on_places = np.tensordot(on_places, row == column, (1, 0))
        on_constants = on_constants.sum(axis=1)
    u, s, _ = np.linalg.svd(np.stack([on_constants, on_places], axis=1), full_matrices=False)
    return u[:, s > 1e-10 * s[0]]


def _is_nearly_mirrored(rearranged: np.ndarray, axis: int) -> bool:
    """Entry by entry of the mean over other axes: a free side opposite to a fixed one differs at its ends alone."""
    mean = rearranged.mean(axis=tuple(a for a in range(rearranged.ndim) if a != axis))
    larger = np.maximum(abs(mean), abs(mean[::-1]))
    matters = larger > 1e-2 * larger.max()
    return bool((abs(mean - mean[::-1])[matters] < NEARLY_MIRRORED * larger[matters]).all())


def _separable_scaling(diagonal: np.ndarray) -> list[np.ndarray]:
    """Vectors s_i with (s_1 x s_2 x ..)^-2 nearest to the diagonal, in the mean of logarithms: makes it nearly one."""
    logarithm = np.log(np.maximum(diagonal, np.finfo(float).tiny))
    mean, dim = logarithm.mean(), diagonal.ndim
    others = [tuple(a for a in range(dim) if a != axis) for axis in range(dim)]
    lines = [logarithm.mean(axis=other) - mean + mean / dim for other in others]
    mirrored = [(line + line[::-1]) / 2 for line in lines]
    return [
        np.exp(-0.5 * (twin if abs(line - twin).max() < NEARLY_MIRRORED else line))
        for line, twin in zip(lines, mirrored, strict=True)
    ]


def _rearrange(
    rows: np.ndarray, columns: np.ndarray, values: np.ndarray, shape: tuple[int, ...], bands: np.ndarray
) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Entries as a tensor with one index an axis, and for each axis the (row, column) that its index stands for."""
    widths = 2 * bands + 1
    pairs, index = [], []
    for axis, (size, band, width) in enumerate(zip(shape, bands, widths, strict=True)):
        row, column = np.repeat(np.arange(size), width), np.arange(size * width) % width - band
        column = column + row
        inside = (column >= 0) & (column < size)
        number = np.cumsum(inside) - 1
        pairs.append((row[inside], column[inside]))
        index.append(number[rows[axis] * width + columns[axis] - rows[axis] + band])
    tensor = np.zeros([len(row) for row, _ in pairs])
    tensor[tuple(index)] = values
    return tensor, pairs


def _diagonalise(operators: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """X with X^T S X diagonal for both (or the one) symmetric S of shape (k, n, n), and those diagonals, (k, n).

    None: no combination of the two is positive definite.
    """
    if len(operators) == 1:
        values, X = scipy.linalg.eigh(operators[0])
        return X, values[None]
    candidates = np.cos(ANGLES)[:, None, None] * operators[0] + np.sin(ANGLES)[:, None, None] * operators[1]
    spectra = np.linalg.eigvalsh(candidates)
    roundness = np.maximum(spectra[:, 0] / spectra[:, -1], spectra[:, -1] / spectra[:, 0])
    best = int(np.argmax(roundness))
    if not roundness[best] > 1e-8:
        return None
    definite = candidates[best] * np.sign(spectra[best, 0])
    other = np.sin(ANGLES[best]) * operators[0] - np.cos(ANGLES[best]) * operators[1]
    X = scipy.linalg.eigh(other, definite)[1]
    return X, (X * (operators @ X)).sum(axis=1)
