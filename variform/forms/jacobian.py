"""The derivative of the weak form in its unknowns: sparse matrices of one pattern, batched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
import ufl
from torch import Tensor

from variform.errors import InputError
from variform.forms.derive import Where, terms
from variform.forms.geometry import Directions, integrate
from variform.forms.interpret import lower
from variform.forms.state import State

if TYPE_CHECKING:
    from variform.forms.weak import WeakForm

Jet = tuple[tuple[int, ...], Directions]
"""(component, directions) of a test or trial function."""

Key = tuple[int, Directions, int, Directions]
"""Reference derivatives of a test and a trial function: component and directions of each."""


@dataclass(frozen=True)
class Block:
    """What one integral contributes to the rows of one component of a field, and the columns of another's.

    Args:
        row, column: (field, component).
        where: the measure, on the test function's side; other: on that of the trial function.
        parts: (derivative of the test function, derivative of the trial function, coefficient).
    """

    row: tuple[str, tuple[int, ...]]
    column: tuple[str, tuple[int, ...]]
    where: Where
    other: Where
    parts: list[tuple[Jet, Jet, Any]]


class Jacobian:
    """dF/du + shift dF/d(rate) of a weak form.

    Attributes:
        pattern: scipy CSR of ones, shape (n, n): rows and columns run through the fields in order, through components
            before dofs. It is symmetric and has the whole diagonal.
    """

    def __init__(self, weak: WeakForm) -> None:
        self.weak = weak
        self._shift = ufl.Constant(ufl.domain.extract_unique_domain(weak.symbols.x))
        sizes = [int(np.prod(shape)) for shape in weak.shapes.values()]
        self.offsets = dict(zip(weak.shapes, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
        self.size = sum(sizes)
        self._directions = {name: ufl.Coefficient(u.ufl_function_space()) for name, u in weak.symbols.u.items()}
        self.blocks = self._find_blocks()
        self._products: dict[Any, Tensor] = {}

    def __call__(
        self,
        u: Mapping[str, Tensor],
        *,
        p: Mapping[str, Any] | None = None,
        t: float | Tensor = 0.0,
        rate: Mapping[str, Tensor] | None = None,
        shift: float | Tensor = 0.0,
        points: Tensor | None = None,
    ) -> Tensor:
        """The entries of the matrices in the pattern's order.

        Args:
            u, p, t, rate, points: as `WeakForm.residual` takes them.
            shift: 1 / dt in an implicit Euler step.

        Returns:
            Shape (..., nnz), without the batch axes of what the matrices do not depend on.
        """
        state = self.state(u, p=p, t=t, rate=rate, shift=shift, points=points)
        contributions = [(self.positions[i], self._local(b, state)) for i, b in enumerate(self.blocks)]
        contributions = [(positions, local) for positions, local in contributions if isinstance(local, Tensor)]
        batch = torch.broadcast_shapes(*(local.shape[:-2] for _, local in contributions))
        values = torch.zeros(*batch, self.pattern.nnz, dtype=self.weak.dtype, device=self.weak.device)
        for positions, local in contributions:
            local = local.expand(*batch, *local.shape[-2:]).reshape(*batch, -1)
            values = values.index_add(-1, positions, local.to(values.dtype))
        return values

    def state(
        self,
        u: Mapping[str, Tensor],
        *,
        p: Mapping[str, Any] | None = None,
        t: float | Tensor = 0.0,
        rate: Mapping[str, Tensor] | None = None,
        shift: float | Tensor = 0.0,
        points: Tensor | None = None,
    ) -> State:
        """Everything that the blocks depend on, from what a call takes."""
        state = self.weak.state(u, p, t, rate, points)
        return State(state.domains, state.dofs, {**state.constants, self._shift: shift}, points)

    @cached_property
    def num_local(self) -> int:
        """Entries of the largest block's element matrices: what one sample takes while they are made."""
        return max(len(positions) for positions in self.positions)

    @cached_property
    def constant(self) -> bool:
        """Whether the matrices depend neither on the unknowns nor on their rates: the form is linear in them."""
        unknowns = {u for symbol in self.weak.symbols.u.values() for u in (symbol, getattr(symbol, "rate", None))}
        return not any(
            unknowns & set(ufl.algorithms.extract_coefficients(coefficient))
            for block in self.blocks
            for _, _, coefficient in block.parts
        )

    def _find_blocks(self) -> list[Block]:
        from variform.forms.weak import coefficients

        weak, found = self.weak, {}
        for column, symbol in weak.symbols.u.items():
            w = self._directions[column]
            form = ufl.derivative(weak.form, symbol, w)
            if weak.dtype.is_complex:
                _check_holomorphic(form, w)
            if weak.problem.time:
                form = form + self._shift * ufl.derivative(weak.form, symbol.rate, w)
            for row, v in weak.v.items():
                for where, term in terms(form, v).items():
                    for component, directions, coefficient in coefficients(term, len(v.ufl_shape)):
                        for side, w_component, w_directions in jets_of(coefficient, w):
                            row_part = () if weak.spaces[row].piola else component
                            column_part = () if weak.spaces[column].piola else w_component
                            other = where._replace(side=side)
                            key = ((row, row_part), (column, column_part), where, other)
                            part = ((component, directions), (w_component, w_directions), coefficient)
                            found.setdefault(key, []).append(part)
        return [Block(*key, parts) for key, parts in found.items()]

    def coefficients(self, block: Block, state: State) -> Iterator[tuple[int, Tensor | float]]:
        """Number and coefficient, (..., q or 1, k or 1), of each part of a block that has one."""
        w = self._directions[block.column[0]]
        for i, (_, w_jet, coefficient) in enumerate(block.parts):
            value = state.interpreter(block.where, (w, block.other.side, *w_jet)).scalar(coefficient)
            if isinstance(value, Tensor) or value != 0.0:
                yield i, value

    def expansion(self, block: Block, part: int, state: State) -> Iterator[tuple[Key, Tensor | float]]:
        """The product of a part's derivatives by products of reference derivatives: which, and its factor."""
        row, column = (self.weak.spaces[name] for name, _ in (block.row, block.column))
        v_jet, w_jet, _ = block.parts[part]
        for c, axes, factor in state.side(block.where).geometry.expansion(row, *v_jet):
            for d, w_axes, w_factor in state.side(block.other).geometry.expansion(column, *w_jet):
                yield (c, axes, d, w_axes), factor * w_factor

    def _local(self, block: Block, state: State) -> Tensor | float:
        """Element matrices, (..., rows * columns a cell, k)."""
        reference: dict[Key, Any] = {}
        for part, value in self.coefficients(block, state):
            for key, factor in self.expansion(block, part, state):
                reference[key] = reference.get(key, 0.0) + value * factor
        w = state.side(block.where).geometry.w
        return sum((integrate(self.product(block, key, state), value * w) for key, value in reference.items()), 0.0)

    def product(self, block: Block, key: Key, state: State) -> Tensor:
        """Products of a test and a trial function's derivatives, (q, rows * columns) or with an axis k."""
        row, column = (self.weak.spaces[name] for name, _ in (block.row, block.column))
        side, other = state.side(block.where), state.side(block.other)
        known = (id(side.entities), id(other.entities), id(row), id(column), key)
        if known not in self._products:
            c, axes, d, w_axes = key
            a = side.entities.tables(row, axes)[c]
            b = other.entities.tables(column, w_axes)[d]
            if a.ndim != b.ndim:
                a, b = (x if x.ndim == 3 else x[..., None] for x in (a, b))
            table = a[:, :, None] * b[:, None]
            self._products[known] = table.reshape(table.shape[0], -1, *table.shape[3:])
        return self._products[known]

    @cached_property
    def _keys(self) -> list[np.ndarray]:
        """row * n + column of every entry of every block's element matrices, (rows a cell, columns a cell, k)."""
        return [
            self._dofs(block.row, block.where)[:, None] * self.size + self._dofs(block.column, block.other)[None]
            for block in self.blocks
        ]

    def _dofs(self, part: tuple[str, tuple[int, ...]], where: Where) -> np.ndarray:
        name, component = part
        *axes, count = self.weak.shapes[name]
        first = int(np.ravel_multi_index(component, axes)) if axes else 0
        dofmap = self.weak.spaces[name].dofmap[self.weak.domains.entities(where).cells].T
        return self.offsets[name] + first * count + dofmap

    @cached_property
    def _entries(self) -> np.ndarray:
        """Sorted keys of the pattern."""
        diagonal = np.arange(self.size) * (self.size + 1)
        keys = np.unique(np.concatenate([diagonal, *(np.unique(k) for k in self._keys)]))
        return np.unique(np.concatenate([keys, keys % self.size * self.size + keys // self.size]))

    @cached_property
    def pattern(self) -> sp.csr_array:
        rows, columns = np.divmod(self._entries, self.size)
        indptr = np.searchsorted(rows, np.arange(self.size + 1))
        return sp.csr_array((np.ones(len(rows)), columns, indptr), shape=(self.size, self.size))

    @cached_property
    def positions(self) -> list[Tensor]:
        """The pattern's entries that each block's element matrices add to, (rows * columns a cell * k,)."""
        return [
            torch.as_tensor(np.searchsorted(self._entries, key).ravel(), device=self.weak.device) for key in self._keys
        ]


def _check_holomorphic(form: ufl.Form, direction: Any) -> None:
    """Raise InputError where the derivative in a direction w has conj(w), |w|, .. : it is no matrix times w."""
    classes = ufl.classes
    waiting, seen = [(lower(integral.integrand()), False) for integral in form.integrals()], set()
    while waiting:
        node, conjugated = waiting.pop()
        if (node, conjugated) in seen:
            continue
        seen.add((node, conjugated))
        real = isinstance(node, classes.Real | classes.Imag | classes.Abs)
        if (node == direction and conjugated) or (real and direction in ufl.algorithms.extract_coefficients(node)):
            raise InputError(
                "a complex form must be differentiable in its unknowns, so not take conj, real, imag or abs of "
                "them: write inner(u, v), whose second argument is conjugated"
            )
        waiting += [(operand, conjugated != isinstance(node, classes.Conj)) for operand in node.ufl_operands]


def jets_of(expression: Any, symbol: Any) -> set[tuple[str, tuple[int, ...], Directions]]:
    """Derivatives of a symbol that may occur in an expression without free indices: (side, component, directions)."""
    found, seen, waiting = set(), set(), [(expression, "")]
    while waiting:
        node, side = waiting.pop()
        if (node, side) in seen:
            continue
        seen.add((node, side))
        if isinstance(node, ufl.classes.Restricted):
            waiting.append((node.ufl_operands[0], node.side()))
            continue
        o, index, order = node, (), 0
        if isinstance(o, ufl.classes.Indexed):
            o, multi_index = o.ufl_operands
            index = tuple(int(i) for i in multi_index)
            if isinstance(o, ufl.classes.Restricted):
                side, o = o.side(), o.ufl_operands[0]
        while isinstance(o, ufl.classes.Grad):
            o, order = o.ufl_operands[0], order + 1
        if o != symbol:
            waiting += [(operand, side) for operand in node.ufl_operands]
        elif len(index) == len(symbol.ufl_shape) + order:
            split = len(index) - order
            found.add((side, index[:split], tuple(sorted(index[split:]))))
    return found
