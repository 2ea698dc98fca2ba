"""Integrated by parts: the strong form, natural residuals on boundaries, what is continuous across interfaces.

With M = dI/d(grad grad v) and Q = dI/d(grad v) - div M, a form with integrand I in a region is

    int (source - div Q) . v + oint (Q n - div_s T) . v + oint M_nn . d_n v,    M_nn = n . M n,  T = M n - M_nn n,

where div_s is the divergence along the boundary (in two dimensions T = M_ns s and div_s T = d_s M_ns, s the tangent),
and the jumps of M_ns at corners times v. Faces are straight: on curved ones curvature would come in, since the normal
is held constant under derivatives. Without second derivatives of v, M and T are zero and Q is the flux.

Source: Ciarlet, The Finite Element Method for Elliptic Problems, section 1.2 (plates).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import ufl
from ufl.algorithms import expand_derivatives, expand_indices
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.classes import Conditional, SpatialCoordinate
from ufl.corealg.traversal import unique_pre_traversal

from variform.errors import InputError
from variform.forms.derive import Term, Where, acting, is_zero, tensor

NOWHERE = -1
"""The number of no boundary."""


@dataclass(frozen=True)
class ByParts:
    """A form in one test function, integrated by parts: UFL expressions at points, of the shape of v.

    Args:
        terms: the coefficients of v and its derivatives, by measure.
        n: the outward normal.
        rough: names of the coefficients that jump from cell to cell, which have no derivatives at points.

    All methods raise InputError where the form has integrals over interior facets or none over the region, or where
    they would differentiate what jumps: a rough coefficient, or a conditional in the coordinates.
    """

    terms: Mapping[Where, Term]
    n: Any
    rough: Mapping[Any, str]

    def term(self, region: int) -> Term:
        """The coefficients of all terms over a region."""
        if any(where.kind == "interior_facet" for where in self.terms):
            raise InputError("a form with interior_facet integrals says nothing at single points: use finite elements")
        term = acting(self.terms, "cell", region)
        if term is None:
            raise InputError("the form has no integral over this region")
        return term

    @property
    def order(self) -> int:
        """The highest derivative of v inside."""
        return max((term.order for where, term in self.terms.items() if where.kind == "cell"), default=0)

    def flux(self, region: int) -> Any:
        """Q: the strong form is source - div Q."""
        return written_out(self._flux(self.term(region)))

    def strong(self, region: int) -> Any:
        """source - div(flux) + div(div(moment)): zero in a region."""
        term = self.term(region)
        return written_out(term.source - self._divergence(self._flux(term)))

    def natural(self, region: int, boundary: int) -> Any:
        """What multiplies v on a boundary, its own integrand included: zero there where v is free."""
        term, own = self.term(region), self._on_boundary(boundary)
        along = _tangential(own.flux + ufl.dot(term.moment, self.n), self.n)
        normal = ufl.dot(self._flux(term), self.n)
        return written_out(own.source + normal - _divergence_along(along, self.n))

    def natural_moment(self, region: int, boundary: int) -> Any:
        """What multiplies d_n v on a boundary, its own integrand included: zero there where d_n v is free."""
        own = self._on_boundary(boundary)
        return written_out(ufl.dot(own.flux + ufl.dot(self.term(region).moment, self.n), self.n))

    def twisting_moment(self, region: int, boundary: int) -> Any:
        """M_ns in the plane, s the normal turned to the left by a right angle, with the boundary's own part.

        Where v is free at a corner, M_ns before it equals M_ns after it.
        """
        if len(self.n) != 2:
            raise InputError(f"twisting moments are those of plane domains, not of {len(self.n)} dimensions")
        tangent, own = ufl.as_vector([-self.n[1], self.n[0]]), self._on_boundary(boundary)
        return written_out(ufl.dot(own.flux + ufl.dot(self.term(region).moment, self.n), tangent))

    def normal_flux(self, region: int) -> Any:
        """Q n - div_s T seen from one region: it is the same on both sides of an interface."""
        return self.natural(region, NOWHERE)

    def normal_moment(self, region: int) -> Any:
        """M_nn seen from one region: it is the same on both sides of an interface."""
        return self.natural_moment(region, NOWHERE)

    def _flux(self, term: Term) -> Any:
        """Q = flux - div M."""
        return term.flux - self._divergence(term.moment)

    def _divergence(self, flux: Any) -> Any:
        """div(flux), refused where the flux jumps inside a region."""
        for node in unique_pre_traversal(flux):
            if node in self.rough:
                raise InputError(
                    f"the flux depends on {self.rough[node]!r}, which is not smooth: the strong form would miss its "
                    "jumps; use fem or ritz, which differentiate only the unknown"
                )
            if _tests_place(node):
                raise InputError(
                    "a coefficient of the flux is a conditional in the coordinates: the strong form would miss its "
                    "jump; use fem or ritz, or regions"
                )
        return _zero_or(ufl.div, flux)

    def _on_boundary(self, boundary: int) -> Term:
        own = acting(self.terms, "exterior_facet", boundary) if boundary != NOWHERE else None
        if own is None:
            some = next(iter(self.terms.values()))
            return Term(*(ufl.zero(c.ufl_shape) for c in (some.source, some.flux, some.moment)))
        if not is_zero(own.moment):
            raise InputError("second derivatives of a test function in an integral over the boundary")
        return own


def _tangential(vector: Any, n: Any) -> Any:
    """The part of a vector (its last axis) along the boundary; a boundary that is a point has no such direction."""
    if is_zero(vector) or len(n) == 1:
        return ufl.zero(vector.ufl_shape)
    return vector - ufl.outer(ufl.dot(vector, n), n)


def _divergence_along(vector: Any, n: Any) -> Any:
    """The divergence along a flat boundary of a field that is tangential there."""
    return _zero_or(lambda q: ufl.div(q) - ufl.dot(ufl.dot(ufl.grad(q), n), n), vector)


def _zero_or(divergence: Any, vector: Any) -> Any:
    """Zeros have no domain, which UFL's derivatives ask for."""
    return ufl.zero(vector.ufl_shape[:-1]) if is_zero(vector) else divergence(vector)


def _tests_place(node: Any) -> bool:
    """A conditional whose condition compares coordinates."""
    return isinstance(node, Conditional) and any(
        isinstance(part, SpatialCoordinate) for part in unique_pre_traversal(node.ufl_operands[0])
    )


def written_out(expression: Any) -> Any:
    """Tensor algebra, derivatives and sums written out: what is multiplied by zero is gone."""
    lowered = expand_derivatives(apply_algebra_lowering(expression))
    components = {c: expand_indices(lowered[c] if c else lowered) for c in np.ndindex(*lowered.ufl_shape)}
    return tensor(components, lowered.ufl_shape)
