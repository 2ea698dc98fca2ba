"""What a solver assembles of a linear form, without derivatives: matrices by one sparse product, and the load."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import ufl
from torch import Tensor

from variform.forms.derive import Term
from variform.forms.jacobian import Block, Jacobian
from variform.forms.state import State
from variform.solvers.batched.multigrid import SharedMatrix

MOST_TERMS = 2**24
"""Terms of the entries' sums up to which they are kept, at 12 bytes each."""


class LinearAssembly:
    """Matrices and loads of a form that is linear in its unknowns, for many samples on the mesh as it is.

    Entries are linear in the coefficients at the quadrature points, or in the cells where they are constant there:
    entries = S coefficients with sparse S, made once.
    """

    def __init__(self, jacobian: Jacobian) -> None:
        self.jacobian, self.weak = jacobian, jacobian.weak
        self._known: dict[Any, Sums] = {}

    def matrices(
        self, *, p: Mapping[str, Any], t: float = 0.0, shift: float = 0.0, points: Tensor | None = None
    ) -> Tensor:
        """The entries (B, nnz), batch last in memory; B = 1 where the samples agree. See `Jacobian.__call__`."""
        u, rate = self._zeros(), self._zeros() if self.weak.problem.time else None
        state = self.jacobian.state(u, p=p, t=t, rate=rate, shift=shift, points=points)
        pairs = [] if points is not None or self.weak.dtype.is_complex else self._coefficients(state)
        if not pairs or sum(self._terms(number, value) for number, _, value in pairs) > MOST_TERMS:
            return torch.atleast_2d(self.jacobian(u, p=p, t=t, rate=rate, shift=shift, points=points))
        products = (
            self._sums(number, parts, value.shape[-2] > 1, state) @ value.reshape(-1, value.shape[-2:].numel()).T
            for number, parts, value in pairs
        )
        return sum(products, 0.0).T

    def load(self, *, p: Mapping[str, Any], t: float = 0.0, points: Tensor | None = None) -> Tensor:
        """The residual (..., n) where all unknowns are zero, from the terms without unknowns alone."""
        weak, zeros = self.weak, self._zeros()
        state = weak.state(zeros, p, t, zeros if weak.problem.time else None, points)
        result = {}
        for name, by_measure in self._load_terms.items():
            parts: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for where, term in by_measure.items():
                side = state.side(where)
                for component, local in weak._local(name, term, side, state.interpreter(where)):
                    parts.setdefault(component, []).append((side.entities.dofmap(weak.spaces[name]), local))
            result[name] = weak._gather(name, parts, zeros[name])
        return weak.pack(result)

    @cached_property
    def _load_terms(self) -> dict[str, dict[Any, Term]]:
        symbols = [s for u in self.weak.symbols.u.values() for s in (u, getattr(u, "rate", None)) if s is not None]
        nothing = {symbol: ufl.zero(symbol.ufl_shape) for symbol in symbols}

        def without(term: Term) -> Term:
            return Term(*(ufl.replace(part, nothing) for part in (term.source, term.flux, term.moment)))

        found = {
            name: {where: without(term) for where, term in by_measure.items()}
            for name, by_measure in self.weak._terms.items()
        }
        return {name: {w: term for w, term in terms.items() if term.order is not None} for name, terms in found.items()}

    def _zeros(self) -> dict[str, Tensor]:
        weak = self.weak
        return {name: torch.zeros(shape, dtype=weak.dtype, device=weak.device) for name, shape in weak.shapes.items()}

    def _coefficients(self, state: State) -> list[tuple[int, tuple[int, ...], Tensor]]:
        """(block, its parts, their coefficient (..., q or 1, k)); parts of one coefficient together."""
        return [
            (number, tuple(parts), value)
            for number, block in enumerate(self.jacobian.blocks)
            for parts, value in self._distinct(block, state)
        ]

    def _distinct(self, block: Block, state: State) -> list[tuple[list[int], Tensor]]:
        found: list[tuple[list[int], Tensor]] = []
        w = state.side(block.where).geometry.w
        for part, value in self.jacobian.coefficients(block, state):
            value = value if isinstance(value, Tensor) else w.new_full((1, 1), value)
            value = value.expand(torch.broadcast_shapes(value.shape, (1, w.shape[-1])))
            same = next((parts for parts, other in found if torch.equal(value, other)), None)
            if same is None:
                found.append(([part], value))
            else:
                same.append(part)
        return found

    def _terms(self, number: int, value: Tensor) -> int:
        return len(self.jacobian.positions[number]) * value.shape[-2]

    def _sums(self, number: int, parts: tuple[int, ...], by_point: bool, state: State) -> Sums:
        """S for some parts of a block, whose coefficient differs from point to point or not."""
        key = number, parts, by_point
        if key not in self._known:
            jacobian, block = self.jacobian, self.jacobian.blocks[number]
            w = state.side(block.where).geometry.w
            local: Any = 0.0
            for part in parts:
                for reference, factor in jacobian.expansion(block, part, state):
                    table = jacobian.product(block, reference, state)
                    terms = (table if table.ndim == 3 else table[..., None]) * (factor * w)[:, None]
                    local = local + (terms if by_point else terms.sum(0, keepdim=True))
            self._known[key] = Sums.of(local, jacobian.positions[number], jacobian.pattern.nnz)
        return self._known[key]


class Sums:
    """S: coefficients (points * k, B) to entries (nnz, B)."""

    def __init__(self, matrix: sp.csr_array, device: torch.device) -> None:
        self._on_cpu = matrix if device.type == "cpu" else None
        self._on_device = (
            None
            if self._on_cpu is not None
            else SharedMatrix.of(matrix, torch.empty(0, device=device, dtype=torch.float64))
        )

    @classmethod
    def of(cls, local: Tensor, positions: Tensor, nnz: int) -> Sums:
        """From the element matrices for the coefficient 1 in one point, (points, entries, k), and their positions."""
        points, entries, k = local.shape
        columns = np.arange(points * k).reshape(points, 1, k) + np.zeros((1, entries, 1), np.int64)
        rows = np.broadcast_to(positions.cpu().numpy().reshape(1, entries, k), local.shape)
        matrix = sp.csr_array((local.cpu().numpy().ravel(), (rows.ravel(), columns.ravel())), shape=(nnz, points * k))
        return cls(matrix, local.device)

    def __matmul__(self, x: Tensor) -> Tensor:
        if self._on_cpu is None:
            return self._on_device @ x
        return torch.from_numpy(self._on_cpu @ x.contiguous().numpy())  # six times quicker than torch's product
