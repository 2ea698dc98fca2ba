"""The weak form as a loss: r^T A0^-1 r of what a network predicts, with the form that lies in the data file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.data.dataset import Dataset, Part
from variform.data.solved.on_mesh import Interpolation
from variform.data.store import Stored
from variform.errors import InputError
from variform.forms.tree import from_json
from variform.operators.examples import periodic
from variform.solvers.batched import BatchedSolver
from variform.solvers.batched.dual import DualNorm
from variform.solvers.batched.inputs import Inputs

MOST_UNKNOWNS = 8192
"""Of the grid, up to which the inverse of A0 is held as a dense matrix."""
TOGETHER = 32
"""Samples whose matrices are assembled at once."""


class WeakResidual:
    """The dual norm of the residual of grid functions, or half its square, sample by sample.

    A grid function is the multilinear interpolant of its values, as a function on the file's finer mesh: its residual
    is taken there, with the coefficients as they are on that mesh, against the test functions that are such
    interpolants too. So the minimum is the Galerkin solution of the grid with exact coefficients. Prescribed values
    are put in their places first. For linear forms the matrices of all samples on the grid are made once.

    The inner product A0 of the dual norm is the mean operator of the samples, which is also what preconditions their
    solves. Both kinds have one minimum; the norm goes on falling where its square is small already: on two-phase flow
    (10 or 5, 29^2 points, 300 samples, 16 epochs) it left half of the error.

    Args:
        data: a part of a data file of ours, of a stationary problem on a box.
        device: where predictions lie.
        kind: "norm", over that at u = 0; or "half_square", over its mean at u = 0.

    Raises:
        InputError: the file holds no form, no shared mesh, or a form that is not linear; too many points.

    Source: the Riesz map as a preconditioner in Mardal and Winther, Numer. Linear Algebra Appl. 18 (2011) 1.
    """

    def __init__(self, data: Dataset, device: torch.device | str, kind: str = "norm") -> None:
        stored, self._rows = _origin(data)
        self.kind = kind
        form = stored.json("form")
        if form is None or stored.shared_mesh is None:
            raise InputError(f"{data.name} holds no weak form on one mesh: the residual cannot be a loss")
        info = stored.header["info"]["discretization"]
        self.problem = from_json(form)
        if self.problem.time is not None:
            raise InputError(f"{self.problem.name} evolves: the residual is a loss for stationary problems")
        self.solver = BatchedSolver(
            self.problem,
            stored.shared_mesh,
            degree=info["degree"],
            quadrature_degree=info["quadrature_degree"],
        )
        if not self.solver.weak.linearised.constant:
            raise InputError(f"{self.problem.name} is not linear: the residual is a loss for linear forms")
        self.grid = Grid.of(self.solver, data)
        if (count := np.count_nonzero(self.grid.free)) > MOST_UNKNOWNS:
            raise InputError(
                f"the residual is a loss for grids of up to {MOST_UNKNOWNS} free values, these have {count}"
            )
        self._assemble(stored, torch.device(device))

    def _assemble(self, stored: Stored, device: torch.device) -> None:
        """Matrices and loads of all samples on the grid, the inverse of A0 there, and what is prescribed."""
        system, grid = self.solver.system, self.grid
        entries, self._row, self._column = grid.products(system.pattern)
        matrices, loads, held = [], [], []
        for begin in range(0, len(self._rows), TOGETHER):
            rows = self._rows[begin : begin + TOGETHER]
            inputs = Inputs.of(self.solver.weak, _parameters(stored, rows))
            g = system.conditions.values(inputs)
            g = g.expand(len(rows), -1)
            values = system.operator(g, inputs).values.expand(len(rows), -1)
            (residual,) = system.assembled_residuals([g], inputs)
            matrices.append((entries @ values.numpy().T).T)
            loads.append((grid.test.T @ system.conditions.restrict(residual).numpy().T).T)
            held.append(grid.at_points(g.numpy()))
        self.matrices = torch.as_tensor(np.concatenate(matrices), device=device)
        self.loads = torch.as_tensor(np.concatenate(loads), device=device)
        self.held = torch.as_tensor(np.concatenate(held), device=device)
        self.free = torch.as_tensor(grid.free, device=device)
        self._row, self._column = (torch.as_tensor(i, device=device) for i in (self._row, self._column))
        self.inverse = torch.as_tensor(np.linalg.inv(self._riesz()), device=device)
        self.scale = float(self._half_norm(self.loads).mean().clamp_min(1e-300))

    def _riesz(self) -> np.ndarray:
        """A0 on the free values: the mean operator of all samples where that is an inner product, else that of H1."""
        row, column, free = (i.cpu().numpy() for i in (self._row, self._column, self.free))
        mean = np.zeros((np.count_nonzero(free), len(free)))
        mean[row, column] = self.matrices.mean(dim=0).cpu().numpy()
        mean = mean[:, free]
        if np.allclose(mean, mean.T, rtol=0, atol=1e-10 * abs(mean).max()) and np.linalg.eigvalsh(mean)[0] > 0:
            return mean
        inner, test = DualNorm(self.solver).inner, self.grid.test
        return (test.T @ inner.pattern.matrix(inner.values[0].numpy()) @ test).toarray()

    def prescribed(self, shape: tuple[int, ...]) -> Tensor:
        """Values that all solutions have in common, (C, *N); NaN where they are free.

        Raises:
            InputError: they differ between samples.
        """
        if float((self.held - self.held[:1]).abs().max()) > 0:
            raise InputError(f"the prescribed values of {self.problem.name} differ between samples")
        nothing = torch.full_like(self.held[0], torch.nan)
        return torch.where(self.free, nothing, self.held[0]).reshape(shape)

    def fixed(self, u: Tensor, samples: Tensor) -> Tensor:
        """Predictions (B, C, *N) with the prescribed values in their places."""
        held = self.held[samples.to(self.held.device)].reshape(u.shape).to(u.dtype)
        return torch.where(self.free.reshape(u.shape[1:]), u, held)

    def __call__(self, u: Tensor, samples: Tensor) -> Tensor:
        """Of predictions (B, C, *N) for samples (B,) of the data, (B,)."""
        samples = samples.to(self.matrices.device)
        x = self.fixed(u, samples).flatten(1).double()
        change = self.matrices[samples] * x[:, self._column]
        half_square = self._half_norm(self.loads[samples].index_add(1, self._row, change))
        if self.kind == "half_square":
            return half_square / self.scale
        # At 0 the root has no slope.
        return (half_square / self._half_norm(self.loads[samples]).clamp_min(1e-300)).clamp_min(1e-24).sqrt()

    def _half_norm(self, r: Tensor) -> Tensor:
        return ((r @ self.inverse) * r).sum(dim=1) / 2


@dataclass(frozen=True)
class Grid:
    """Functions on a grid as functions on a mesh.

    Args:
        free: whether the value at a point of the grid is free, (C * points,).
        prolong: to the free unknowns of the mesh, (unknowns, C * points).
        test: its columns of free points.
        points: at which dof of the mesh each value of the grid lies, (C * points,).
    """

    free: np.ndarray
    prolong: sp.csr_array
    test: sp.csr_array
    points: np.ndarray

    @classmethod
    def of(cls, solver: BatchedSolver, data: Dataset) -> Grid:
        """Raise InputError where the points of the grid are no nodes of the mesh."""
        weak, conditions = solver.weak, solver.system.conditions
        on_grid = Interpolation(weak, data.coordinates)
        prolongs, points, offset = [], [], 0
        for name, space in weak.spaces.items():
            block = _multilinear(data.coordinates, space.x, periodic(data))
            matrix = on_grid._matrix(space).tocsr()
            largest = np.asarray(matrix.argmax(axis=1)).ravel()
            if not np.allclose(matrix[np.arange(matrix.shape[0]), largest], 1.0):
                raise InputError(f"the grid of {data.name} has points that are no nodes of its mesh")
            copies = int(np.prod(weak.shapes[name][:-1], dtype=int))
            for copy in range(copies):
                points.append(offset + copy * space.num_dofs + largest)
            prolongs += [block] * copies
            offset += copies * space.num_dofs
        P = sp.csr_array(sp.block_diag(prolongs, format="csr"))
        points_ = np.concatenate(points)
        free = conditions.number[points_] >= 0
        first = conditions.free  # periodic partners agree
        prolong = sp.csr_array(P[first])
        return cls(free, prolong, sp.csr_array(prolong[:, np.flatnonzero(free)]), points_)

    def at_points(self, dofs: np.ndarray) -> np.ndarray:
        """Values (B, C * points) of dofs (B, n)."""
        return dofs[:, self.points]

    def products(self, pattern: Any) -> tuple[sp.csr_array, np.ndarray, np.ndarray]:
        """S with entries of test^T A prolong = S (entries of A), and their rows and columns."""
        rows, columns = np.repeat(np.arange(pattern.n), np.diff(pattern.indptr)), pattern.indices
        (i, a), (j, b) = _padded(self.test), _padded(self.prolong)
        key = i[rows][:, :, None] * self.prolong.shape[1] + j[columns][:, None, :]
        weight = a[rows][:, :, None] * b[columns][:, None, :]
        used = weight != 0
        entry = np.broadcast_to(np.arange(len(rows))[:, None, None], key.shape)[used]
        found, place = np.unique(key[used], return_inverse=True)
        S = sp.csr_array((weight[used], (place.ravel(), entry)), shape=(len(found), len(rows)))
        return S, found // self.prolong.shape[1], found % self.prolong.shape[1]


def _padded(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Columns and entries of each row, filled up with zeros: (rows, most entries)."""
    counts = np.diff(matrix.indptr)
    place = np.arange(counts.max(initial=1))
    used = place < counts[:, None]
    columns, entries = np.zeros(used.shape, dtype=np.int64), np.zeros(used.shape)
    columns[used], entries[used] = matrix.indices, matrix.data
    return columns, entries


def _multilinear(axes: tuple[np.ndarray, ...], x: np.ndarray, wrapped: tuple[bool, ...]) -> sp.csr_array:
    """From values on a grid to those of its multilinear interpolant at points x (dim, n)."""
    rows, columns, values = [np.arange(x.shape[1])], [np.zeros(x.shape[1], dtype=np.int64)], [np.ones(x.shape[1])]
    for axis, at, wraps in zip(axes, x, wrapped, strict=True):
        n, h = len(axis), axis[1] - axis[0]
        cell = np.clip(np.floor((at - axis[0]) / h + 1e-9).astype(np.int64), 0, n - 1 if wraps else n - 2)
        part = np.clip((at - axis[0]) / h - cell, 0.0, 1.0)
        ends = [(cell, 1 - part), ((cell + 1) % n, part)]
        rows, columns, values = (
            [r for r in rows for _ in ends],
            [c * n + e for c in columns for e, _ in ends],
            [v * w for v in values for _, w in ends],
        )
    flat = tuple(np.concatenate(parts) for parts in (values, rows, columns))
    size = int(np.prod([len(a) for a in axes]))
    matrix = sp.csr_array((flat[0], (flat[1], flat[2])), shape=(x.shape[1], size))
    matrix.sum_duplicates()
    matrix.data[abs(matrix.data) < 1e-12] = 0.0
    matrix.eliminate_zeros()
    return matrix


def _origin(data: Dataset) -> tuple[Stored, np.ndarray]:
    """The file of ours that samples lie in, and their rows there.

    Raises:
        InputError: they come from elsewhere.
    """
    rows, source = np.arange(len(data)), data.source
    while isinstance(source, Part):
        rows, source = source.numbers[rows], source.whole
    if not isinstance(source, Stored):
        raise InputError(f"{data.name} is no data file of ours, and holds no form: the residual cannot be a loss")
    return source, rows


def _parameters(stored: Stored, rows: np.ndarray) -> dict[str, Tensor]:
    order, back = np.unique(rows, return_inverse=True)
    return {
        name: torch.as_tensor(stored.array(f"{kind}/{name}", order)[back])
        for kind in ("input", "parameter")
        for name in stored.names(kind)
    }
