"""Which expressions take second derivatives of the unknowns only as Laplacians: then these are carried as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor
from ufl import as_ufl
from ufl.algorithms import expand_indices
from ufl.classes import Conj, Division, FixedIndex, Grad, Indexed, Product, Real, Sum
from ufl.corealg.traversal import unique_pre_traversal

from variform.forms.jets import Key, Laplacian
from variform.forms.pointwise import Directions, PointwiseForm

Coefficients = dict[tuple[Any, ...], Any]
"""What multiplies each second derivative, by (unknown, indices of component and derivatives)."""


def only_laplacians(form: PointwiseForm, expressions: Iterable[Any]) -> bool:
    """Second derivatives occur, and each as c (u_xx + u_yy + ...) with one c, by the structure of the expressions.

    Args:
        expressions: what `PointwiseForm.strong` and its like return.
    """
    unknowns = [*form.symbols.u.values()]
    found = False
    for expression in expressions:
        for component in np.ndindex(*expression.ufl_shape):
            coefficients = _coefficients(expand_indices(expression[component] if component else expression), {})
            if coefficients is None or any(u not in unknowns for u, *_ in coefficients):
                return False
            found |= bool(coefficients)
            if not _isotropic(coefficients, form.dim):
                return False
    return found


def with_laplacians(directions: Iterable[Directions], dim: int) -> set[Key]:
    """The keys to carry instead of second derivatives along one axis in space."""
    pure = {(i, i) for i in range(dim)}
    return {key for key in directions if key not in pure} | {Laplacian(dim)}


def spread(jet: dict[Any, Tensor], dim: int) -> dict[Any, Tensor | float]:
    """Second derivatives for an expression of which only their sum matters: the Laplacian for one, zero for others."""
    result: dict[Any, Tensor | float] = {}
    for (field, component, key), value in jet.items():
        if isinstance(key, Laplacian):
            result |= {(field, component, (i, i)): 0.0 if i else value for i in range(dim)}
        else:
            result[field, component, key] = value
    return result


def _isotropic(coefficients: Coefficients, dim: int) -> bool:
    remaining = dict(coefficients)
    while remaining:
        (unknown, *component, _, _), c = next(iter(remaining.items()))
        along = [remaining.pop((unknown, *component, i, i), None) for i in range(dim)]
        if not all(other is not None and other == c for other in along):
            return False
        if any(key[:-2] == (unknown, *component) for key in remaining):
            return False  # a mixed derivative
    return True


def _coefficients(o: Any, known: dict[Any, Coefficients | None]) -> Coefficients | None:
    """Of an expression that is affine in second derivatives by its sums, products and quotients; None of another."""
    if o not in known:
        known[o] = _find(o, known)
    return known[o]


def _find(o: Any, known: dict[Any, Coefficients | None]) -> Coefficients | None:
    if not any(isinstance(node, Grad) and isinstance(node.ufl_operands[0], Grad) for node in unique_pre_traversal(o)):
        return {}
    if isinstance(o, Indexed):
        return _leaf(o)
    if isinstance(o, (Conj, Real)):  # networks are real
        return _coefficients(o.ufl_operands[0], known)
    if not isinstance(o, (Sum, Product, Division)):
        return None
    parts = [_coefficients(operand, known) for operand in o.ufl_operands]
    if any(part is None for part in parts):
        return None
    if isinstance(o, Sum):
        return _added(*parts)
    a, b = o.ufl_operands
    of_a, of_b = parts
    if not of_b:
        return {key: c * b if isinstance(o, Product) else c / b for key, c in of_a.items()}
    return {key: a * c for key, c in of_b.items()} if isinstance(o, Product) and not of_a else None


def _leaf(o: Indexed) -> Coefficients | None:
    tensor, indices = o.ufl_operands
    order = 0
    while isinstance(tensor, Grad):
        tensor, order = tensor.ufl_operands[0], order + 1
    if order != 2 or not all(isinstance(i, FixedIndex) for i in indices):
        return None
    return {(tensor, *(int(i) for i in indices)): as_ufl(1.0)}


def _added(a: Coefficients, b: Coefficients) -> Coefficients:
    return {key: a[key] + b[key] if key in a and key in b else a.get(key, b.get(key)) for key in {**a, **b}}
