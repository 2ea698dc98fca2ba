"""From the weak form: source and flux per measure, the strong form, the natural boundary residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ufl
from ufl.algorithms import expand_derivatives, expand_indices
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.classes import Argument, Conditional, Grad, SpatialCoordinate
from ufl.corealg.map_dag import map_expr_dag
from ufl.corealg.multifunction import MultiFunction
from ufl.corealg.traversal import unique_pre_traversal

from variform.errors import InputError

EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Term:
    """The integrand of one measure, linear in v: source . v + flux : grad v.

    source has the shape of v; flux one axis more (the derivative's). Both are lowered UFL expressions.
    """

    source: Any
    flux: Any


def terms(form: ufl.Form, v: Any) -> dict[tuple[str, int | str], Term]:
    """Source and flux with respect to the test function v, by (integral type, subdomain number).

    source = dI/dv, flux = dI/d(grad v). The number is EVERYWHERE for a term over all of a measure; one over several
    numbers appears under each.

    Raises:
        InputError: derivatives of v above the first, or interior-facet integrals.
    """
    integrands: dict[tuple[str, int | str], Any] = {}
    for integral in form.integrals():
        if integral.integral_type() not in ("cell", "exterior_facet"):
            raise InputError(f"no strong or torch form of {integral.integral_type()} integrals: use finite elements")
        numbers = integral.subdomain_id()
        for number in numbers if isinstance(numbers, tuple) else (numbers,):
            key = (integral.integral_type(), number)
            integrands[key] = integrands.get(key, 0) + integral.integrand()
    split = {key: _split(integrand, v) for key, integrand in integrands.items()}
    return {key: term for key, term in split.items() if not (_is_zero(term.source) and _is_zero(term.flux))}


def _split(integrand: Any, v: Any) -> Term:
    lowered = expand_derivatives(apply_algebra_lowering(integrand))
    dim = ufl.domain.extract_unique_domain(v).geometric_dimension

    def coefficient(of_value: Any, of_gradient: Any) -> Any:
        return expand_indices(map_expr_dag(_Substitute(v, of_value, of_gradient), lowered))

    zero, zero_gradient = ufl.zero(v.ufl_shape), ufl.zero((*v.ufl_shape, dim))
    components = list(_indices(v.ufl_shape))
    source = {c: coefficient(_unit(v.ufl_shape, c), zero_gradient) for c in components}
    flux = {(*c, j): coefficient(zero, _unit((*v.ufl_shape, dim), (*c, j))) for c in components for j in range(dim)}
    return Term(_tensor(source, v.ufl_shape), _tensor(flux, (*v.ufl_shape, dim)))


class _Substitute(MultiFunction):
    """Puts constant tensors for a test function and its gradient, zero for the other test functions."""

    def __init__(self, v: Any, value: Any, gradient: Any) -> None:
        super().__init__()
        self.v, self.by_order = v, (value, gradient)

    expr = MultiFunction.reuse_if_untouched

    def argument(self, o: Any) -> Any:
        return self.by_order[0] if o == self.v else ufl.zero(o.ufl_shape)

    def grad(self, o: Any) -> Any:
        operand, order = o, 0
        while isinstance(operand, Grad):
            operand, order = operand.ufl_operands[0], order + 1
        if not isinstance(operand, Argument):
            return o
        if operand != self.v:
            return ufl.zero(o.ufl_shape)
        if order > 1:
            raise InputError("second derivatives of the test function: only finite elements solve fourth-order forms")
        return self.by_order[1]


def strong_form(by_measure: dict[tuple[str, int | str], Term], region: int) -> Any:
    """source - div(flux) in one region; valid where the coefficients are continuously differentiable.

    Raises:
        InputError: a coefficient of the flux jumps where a condition in the coordinates says so.
    """
    total = term_in(by_measure, region)
    if any(_tests_place(node) for node in unique_pre_traversal(total.flux)):
        raise InputError(
            "a coefficient of the flux is a conditional in the coordinates: the strong form would miss its jump; "
            "use fem or ritz, or regions"
        )
    return _lowered(total.source - ufl.div(total.flux))


def _tests_place(node: Any) -> bool:
    """A conditional whose condition compares coordinates."""
    return isinstance(node, Conditional) and any(
        isinstance(part, SpatialCoordinate) for part in unique_pre_traversal(node.ufl_operands[0])
    )


def term_in(by_measure: dict[tuple[str, int | str], Term], region: int) -> Term:
    """Source and flux of all terms over a region.

    Raises:
        InputError: there are none.
    """
    term = _in(by_measure, "cell", region)
    if term is None:
        raise InputError("the form has no integral over this region")
    return term


def natural_residual(by_measure: dict[tuple[str, int | str], Term], region: int, boundary: int, n: Any) -> Any:
    """flux . n + dg/dv with g the boundary integrand: zero where no Dirichlet condition holds."""
    residual = ufl.dot(term_in(by_measure, region).flux, n)
    on_boundary = _in(by_measure, "exterior_facet", boundary)
    if on_boundary is not None:
        residual = residual + on_boundary.source
    return _lowered(residual)


def _in(by_measure: dict[tuple[str, int | str], Term], kind: str, number: int) -> Term | None:
    """All terms of one kind that act on one subdomain."""
    acting = [by_measure[key] for key in ((kind, EVERYWHERE), (kind, number)) if key in by_measure]
    if not acting:
        return None
    return Term(
        sum((t.source for t in acting[1:]), acting[0].source), sum((t.flux for t in acting[1:]), acting[0].flux)
    )


def _lowered(expression: Any) -> Any:
    """Tensor algebra, derivatives and sums written out: what is multiplied by zero is gone."""
    lowered = expand_derivatives(apply_algebra_lowering(expression))
    components = {c: expand_indices(lowered[c] if c else lowered) for c in _indices(lowered.ufl_shape)}
    return _tensor(components, lowered.ufl_shape)


def _indices(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.ndindex(*shape)


def _unit(shape: tuple[int, ...], component: tuple[int, ...]) -> Any:
    return _tensor({c: ufl.as_ufl(float(c == component)) for c in _indices(shape)}, shape)


def _tensor(entries: dict[tuple[int, ...], Any], shape: tuple[int, ...], prefix: tuple[int, ...] = ()) -> Any:
    if len(prefix) == len(shape):
        return entries[prefix]
    return ufl.as_tensor([_tensor(entries, shape, (*prefix, i)) for i in range(shape[len(prefix)])])


def _is_zero(expression: Any) -> bool:
    if isinstance(expression, ufl.classes.Zero):
        return True
    return isinstance(expression, ufl.classes.ListTensor) and all(_is_zero(e) for e in expression.ufl_operands)
