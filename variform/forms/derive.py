"""From the weak form: the coefficients of the test function and its derivatives, by measure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import ufl
from ufl.algorithms import expand_derivatives, expand_indices
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.classes import Argument, Grad, ListTensor, NegativeRestricted, PositiveRestricted, Zero
from ufl.corealg.map_dag import map_expr_dag
from ufl.corealg.multifunction import MultiFunction
from ufl.corealg.traversal import unique_pre_traversal

from variform.errors import InputError

EVERYWHERE = "everywhere"
KINDS = ("cell", "exterior_facet", "interior_facet")


class Where(NamedTuple):
    """The measure of an integrand.

    kind: cell, exterior_facet or interior_facet; number: of the subdomain, or EVERYWHERE; degree: of the quadrature,
    None where the form leaves it open; side: "+" or "-" of interior facets (whose test function it is), else "".
    """

    kind: str
    number: int | str
    degree: int | None = None
    side: str = ""


@dataclass(frozen=True)
class Term:
    """The integrand of one measure, linear in v: source . v + flux : grad v + moment : grad grad v.

    source has the shape of v, flux one axis of derivatives more, moment two, in which it is symmetric. All are lowered
    UFL expressions without v; on interior facets they keep their restrictions, each around a terminal or its gradient.
    """

    source: Any
    flux: Any
    moment: Any

    def __add__(self, other: Term) -> Term:
        return Term(self.source + other.source, self.flux + other.flux, self.moment + other.moment)

    @property
    def order(self) -> int | None:
        """The highest derivative of v that has a coefficient; None where all are zero."""
        coefficients = (self.source, self.flux, self.moment)
        return max((order for order, c in enumerate(coefficients) if not is_zero(c)), default=None)


def terms(form: ufl.Form, v: Any) -> dict[Where, Term]:
    """The coefficients of the test function v and of its first and second derivatives, by measure.

    An integral over several numbers appears under each. Interior facets have one term a side. Test functions are
    real, so that Conj(v) counts as v.

    Raises:
        InputError: derivatives of v above the second, a test function without a side on interior facets, or a measure
            that is none of KINDS.
    """
    integrands: dict[Where, Any] = {}
    for integral in form.integrals():
        for where in measures(integral):
            integrands[where] = integrands.get(where, 0) + integral.integrand()
    split = {where: _split(integrand, v, where.side) for where, integrand in integrands.items()}
    return {where: term for where, term in split.items() if term.order is not None}


def measures(integral: Any) -> Iterator[Where]:
    kind, numbers = integral.integral_type(), integral.subdomain_id()
    if kind not in KINDS:
        raise InputError(f"no torch form of integrals over {kind}: the measures are {', '.join(KINDS)}")
    degree = integral.metadata().get("quadrature_degree")
    degree = degree if isinstance(degree, int) and degree >= 0 else None
    for number in numbers if isinstance(numbers, tuple) else (numbers,):
        for side in "+-" if kind == "interior_facet" else ("",):
            yield Where(kind, number, degree, side)


def _split(integrand: Any, v: Any, side: str) -> Term:
    integrand = expand_derivatives(apply_algebra_lowering(integrand))
    orders = _orders(integrand, v)
    if max(orders, default=0) > 2:
        raise InputError(
            "the form takes third or higher derivatives of a test function: integrate it by parts until it has two"
        )
    rank, dim = len(v.ufl_shape), ufl.domain.extract_unique_domain(v).geometric_dimension
    shapes = [(*v.ufl_shape, *[dim] * order) for order in range(3)]

    def coefficient(order: int) -> Any:
        if order not in orders:
            return ufl.zero(shapes[order])
        entries: dict[tuple[int, ...], Any] = {}
        for c in np.ndindex(*shapes[order]):
            # v_xy is v_yx: each is half of the one derivative.
            twin = (*c[:rank], *reversed(c[rank:]))
            constants = [ufl.zero(shape) for shape in shapes]
            constants[order] = _numbers(shapes[order], {c: 1.0} if c == twin else {c: 0.5, twin: 0.5})
            if twin in entries:
                entries[c] = entries[twin]
            else:
                entries[c] = expand_indices(map_expr_dag(_Substitute(v, constants, side), integrand))
        return tensor(entries, shapes[order])

    return Term(*(coefficient(order) for order in range(3)))


def _orders(integrand: Any, v: Any) -> set[int]:
    """The orders of the derivatives of v that occur."""
    operands = (o for node in unique_pre_traversal(integrand) if not isinstance(node, Grad) for o in node.ufl_operands)
    found = (_differentiated(o) for o in (integrand, *operands))
    return {order for terminal, order in found if terminal == v}


def _differentiated(o: Any) -> tuple[Any, int]:
    """What is differentiated, and how often."""
    order = 0
    while isinstance(o, Grad):
        o, order = o.ufl_operands[0], order + 1
    return o, order


class _Substitute(MultiFunction):
    """Puts constant tensors for a test function and its derivatives, zero for the other test functions.

    On interior facets only the test function of one side is meant, and restrictions move in to the terminals.
    """

    def __init__(self, v: Any, constants: list[Any], side: str, inside: str = "") -> None:
        super().__init__()
        self.v, self.constants, self.side, self.inside = v, constants, side, inside

    expr = MultiFunction.reuse_if_untouched

    def argument(self, o: Any) -> Any:
        argument, order = _differentiated(o)
        if argument != self.v:
            return ufl.zero(o.ufl_shape)
        if self.side and not self.inside:
            raise InputError(
                f"a test function on interior facets needs a side: v('+'), v('-'), avg(v), jump(v); in {o}"
            )
        return self.constants[order] if self.inside == self.side else ufl.zero(o.ufl_shape)

    def grad(self, o: Any) -> Any:
        return self.argument(o) if isinstance(_differentiated(o)[0], Argument) else self.coefficient(o)

    def coefficient(self, o: Any) -> Any:
        return {"": lambda o: o, "+": PositiveRestricted, "-": NegativeRestricted}[self.inside](o)

    geometric_quantity = coefficient

    def positive_restricted(self, o: Any) -> Any:
        return map_expr_dag(_Substitute(self.v, self.constants, self.side, "+"), o.ufl_operands[0])

    def negative_restricted(self, o: Any) -> Any:
        return map_expr_dag(_Substitute(self.v, self.constants, self.side, "-"), o.ufl_operands[0])


def acting(by_measure: dict[Where, Term], kind: str, number: int) -> Term | None:
    """The sum of all terms of one kind on one subdomain, whatever their quadrature; None if there are none."""
    on = [term for where, term in by_measure.items() if where.kind == kind and where.number in (EVERYWHERE, number)]
    return sum(on[1:], on[0]) if on else None


def _numbers(shape: tuple[int, ...], entries: dict[tuple[int, ...], float]) -> Any:
    """A constant tensor that is zero but for some entries."""
    return tensor({c: ufl.as_ufl(entries.get(c, 0.0)) for c in np.ndindex(*shape)}, shape)


def tensor(entries: dict[tuple[int, ...], Any], shape: tuple[int, ...], prefix: tuple[int, ...] = ()) -> Any:
    """The expression of this shape with these scalars."""
    if len(prefix) == len(shape):
        return entries[prefix]
    return ufl.as_tensor([tensor(entries, shape, (*prefix, i)) for i in range(shape[len(prefix)])])


def is_zero(expression: Any) -> bool:
    """Whether an expression is zero by its form."""
    return isinstance(expression, Zero) or (
        isinstance(expression, ListTensor) and all(is_zero(e) for e in expression.ufl_operands)
    )
