"""UFL expressions evaluated in torch: every scalar of the expression is one tensor over the points.

Tensor-valued UFL is taken apart into scalars (structure of arrays), so that no small tensor axes reach torch, zeros
disappear, and only the derivatives that the expression really contains are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor
from ufl import classes
from ufl.algorithms import expand_derivatives
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering

from variform.errors import InputError

Scalar = Tensor | float
Leaf = Callable[[Any, tuple[int, ...], tuple[int, ...]], Scalar]
"""(terminal, component, derivative directions) -> values at the points."""

FUNCTIONS: dict[type, tuple[Callable[[Tensor], Tensor], Callable[[float], float]]] = {
    classes.Sqrt: (torch.sqrt, math.sqrt),
    classes.Exp: (torch.exp, math.exp),
    classes.Ln: (torch.log, math.log),
    classes.Sin: (torch.sin, math.sin),
    classes.Cos: (torch.cos, math.cos),
    classes.Tan: (torch.tan, math.tan),
    classes.Sinh: (torch.sinh, math.sinh),
    classes.Cosh: (torch.cosh, math.cosh),
    classes.Tanh: (torch.tanh, math.tanh),
    classes.Asin: (torch.asin, math.asin),
    classes.Acos: (torch.acos, math.acos),
    classes.Atan: (torch.atan, math.atan),
    classes.Erf: (torch.erf, math.erf),
    classes.Abs: (torch.abs, abs),
}
BINARY: dict[type, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[float, float], float]]] = {
    classes.MinValue: (torch.minimum, min),
    classes.MaxValue: (torch.maximum, max),
    classes.Atan2: (torch.atan2, math.atan2),
}
COMPLEX: dict[type, tuple[Callable[[Tensor], Tensor], Callable[[Any], Any]]] = {
    classes.Conj: (lambda a: torch.conj(a).resolve_conj(), lambda a: a.conjugate()),
    classes.Real: (torch.real, lambda a: a.real),
    classes.Imag: (torch.imag, lambda a: a.imag if not isinstance(a, Tensor) else 0.0),
}
COMPARISONS: dict[type, Callable[[Any, Any], Any]] = {
    classes.LT: lambda a, b: a < b,
    classes.LE: lambda a, b: a <= b,
    classes.GT: lambda a, b: a > b,
    classes.GE: lambda a, b: a >= b,
    classes.EQ: lambda a, b: a == b,
    classes.NE: lambda a, b: a != b,
}


def lower(expression: Any) -> Any:
    """Tensor algebra written out and derivatives carried out: what `Interpreter` takes."""
    return expand_derivatives(apply_algebra_lowering(ufl.as_ufl(expression)))


class Interpreter:
    """Evaluates lowered expressions; shared subexpressions are computed once an instance.

    Args:
        leaf: gives the value of coefficients, constants and geometry, and of their spatial derivatives.
        sides: on interior facets, the interpreters of what is restricted to the sides "+" and "-".
    """

    def __init__(self, leaf: Leaf, sides: Mapping[str, Interpreter] | None = None) -> None:
        self.leaf, self.sides = leaf, sides or {}
        self._known: dict[Any, Scalar] = {}

    def scalar(self, expression: Any, component: tuple[int, ...] = ()) -> Scalar:
        """One component of an expression without free indices."""
        return self._evaluate(expression, component, {})

    def components(self, expression: Any) -> Iterator[tuple[tuple[int, ...], Scalar]]:
        """Every component with its index."""
        for component in np.ndindex(*expression.ufl_shape):
            yield component, self.scalar(expression, component)

    def _evaluate(self, o: Any, component: tuple[int, ...], indices: dict[int, int]) -> Scalar:
        bound = tuple(indices[i] for i in o.ufl_free_indices)
        key = (o, component, bound)
        if key not in self._known:
            self._known[key] = self._compute(o, component, indices)
        return self._known[key]

    def _compute(self, o: Any, component: tuple[int, ...], indices: dict[int, int]) -> Scalar:
        kind = type(o)
        if isinstance(o, classes.Zero):
            return 0.0
        if isinstance(o, classes.ScalarValue):
            return _number(o)
        if isinstance(o, classes.Identity):
            return float(component[0] == component[1])
        if isinstance(o, classes.Grad) or o._ufl_is_terminal_:
            return self._leaf(o, component)
        operands = o.ufl_operands
        if kind is classes.Indexed:
            tensor, multi_index = operands
            return self._evaluate(tensor, tuple(_position(i, indices) for i in multi_index), indices)
        if kind is classes.IndexSum:
            summand, index = operands
            terms = (self._evaluate(summand, component, {**indices, index[0].count(): i}) for i in range(o.dimension()))
            return _sum(terms)
        if kind is classes.ComponentTensor:
            inner, multi_index = operands
            counts = [i.count() for i in multi_index]
            depth = len(counts)
            return self._evaluate(
                inner, component[depth:], {**indices, **dict(zip(counts, component[:depth], strict=True))}
            )
        if kind is classes.ListTensor:
            return self._evaluate(operands[component[0]], component[1:], indices)
        if isinstance(o, classes.Restricted):
            if o.side() not in self.sides:
                raise InputError(f"{o} is restricted to one side of a facet: only integrals over s.dS have two")
            return self.sides[o.side()]._evaluate(operands[0], component, indices)
        if kind is classes.Variable:
            return self._evaluate(operands[0], component, indices)
        if kind in COMPLEX:
            of_tensor, of_float = COMPLEX[kind]
            a = self._evaluate(operands[0], component, indices)
            return of_tensor(a) if isinstance(a, Tensor) and a.is_complex() else a if _is_real(a, kind) else of_float(a)
        if kind is classes.Sum:
            return _sum(self._evaluate(term, component, indices) for term in operands)
        if kind is classes.Conditional:
            return self._conditional(operands, component, indices)
        a, *rest = (self._evaluate(operand, (), indices) for operand in operands)
        return self._scalar_operation(o, kind, a, *rest)

    def _scalar_operation(self, o: Any, kind: type, a: Scalar, b: Scalar = 0.0) -> Scalar:
        if kind is classes.Product:
            return _product(a, b)
        if kind is classes.Division:
            if _is(a, 0.0):
                return 0.0
            return a * math.inf if _is(b, 0.0) else a / b  # as tensors divide: a conditional may not take this branch
        if kind is classes.Power:
            return a**b
        if kind in FUNCTIONS:
            of_tensor, of_float = FUNCTIONS[kind]
            return of_tensor(a) if isinstance(a, Tensor) else of_float(a)
        if kind in BINARY:
            of_tensors, of_floats = BINARY[kind]
            like = next((value for value in (a, b) if isinstance(value, Tensor)), None)
            return of_floats(a, b) if like is None else of_tensors(_tensor(a, like), _tensor(b, like))
        raise InputError(f"the torch compiler does not know the UFL node {kind.__name__} (in {o})")

    def _conditional(self, operands: Any, component: tuple[int, ...], indices: dict[int, int]) -> Scalar:
        test = self._test(operands[0], indices)
        yes, no = (self._evaluate(operand, component, indices) for operand in operands[1:])
        if not isinstance(test, Tensor):
            return yes if test else no
        like = next(value for value in (yes, no, *self._compared(operands[0], indices)) if isinstance(value, Tensor))
        return torch.where(test, _tensor(yes, like), _tensor(no, like))

    def _test(self, o: Any, indices: dict[int, int]) -> Any:
        kind = type(o)
        if kind in COMPARISONS:
            return COMPARISONS[kind](*(self._evaluate(operand, (), indices) for operand in o.ufl_operands))
        if kind is classes.NotCondition:
            test = self._test(o.ufl_operands[0], indices)
            return ~test if isinstance(test, Tensor) else not test
        if kind in (classes.AndCondition, classes.OrCondition):
            a, b = (self._test(operand, indices) for operand in o.ufl_operands)
            return a & b if kind is classes.AndCondition else a | b
        raise InputError(f"the torch compiler does not know the UFL condition {kind.__name__}")

    def _compared(self, o: Any, indices: dict[int, int]) -> Iterator[Scalar]:
        """What a condition compares."""
        for operand in o.ufl_operands:
            if isinstance(operand, classes.Condition):
                yield from self._compared(operand, indices)
            else:
                yield self._evaluate(operand, (), indices)

    def _leaf(self, o: Any, component: tuple[int, ...]) -> Scalar:
        order = 0
        while isinstance(o, classes.Grad):
            o, order = o.ufl_operands[0], order + 1
        split = len(component) - order
        # Partial derivatives commute: one name for u_xy and u_yx.
        return self.leaf(o, component[:split], tuple(sorted(component[split:])))


def _position(index: Any, indices: dict[int, int]) -> int:
    return int(index) if isinstance(index, classes.FixedIndex) else indices[index.count()]


def _number(o: Any) -> float | complex:
    value = complex(o)
    return value if value.imag else value.real


def _is_real(a: Scalar, kind: type) -> bool:
    """Real values are their own conjugate and real part."""
    return kind is not classes.Imag and not isinstance(a, complex)


def _is(a: Scalar, number: float) -> bool:
    return not isinstance(a, Tensor) and a == number


def _sum(terms: Any) -> Scalar:
    total: Scalar = 0.0
    for term in terms:
        total = term if _is(total, 0.0) else total if _is(term, 0.0) else total + term
    return total


def _product(a: Scalar, b: Scalar) -> Scalar:
    if _is(a, 0.0) or _is(b, 0.0):
        return 0.0
    return b if _is(a, 1.0) else a if _is(b, 1.0) else a * b


def _tensor(a: Scalar, like: Tensor) -> Tensor:
    return a if isinstance(a, Tensor) else torch.as_tensor(a, dtype=like.dtype, device=like.device)
