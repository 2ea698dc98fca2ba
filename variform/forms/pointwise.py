"""The form at points: strong and natural residuals and energy densities of a function given by its derivatives.

This is what a network is trained on: it knows no mesh and no basis, only the values and derivatives (the jet) of the
unknowns and of the parameter fields at each point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import ufl
from torch import Tensor

from variform.errors import InputError
from variform.forms.derive import Term, acting, is_zero, terms
from variform.forms.interpret import Interpreter, lower
from variform.forms.strong import ByParts
from variform.forms.symbols import checked_residual, symbols_on
from variform.problem import Problem

Directions = tuple[int, ...]
"""Directions of differentiation: 0 to dim - 1 in space, dim in time; () is the value itself."""
Jet = Mapping[tuple[str, tuple[int, ...], Directions], Tensor]
"""(field, component, directions) -> values at the points."""


@dataclass(frozen=True)
class At:
    """What an expression is evaluated on, besides the unknowns: all shapes end in the axes of the points.

    x: coordinates by axis; t: time; n: outward normal by axis; parameters: jets of the parameter fields, keyed by
    (name, directions).
    """

    x: Tensor
    parameters: Mapping[tuple[str, Directions], Tensor]
    t: Tensor | float = 0.0
    n: Tensor | None = None


class PointwiseForm:
    """The expressions derived from a problem's form, by region and boundary number (names counted from 1).

    Raises:
        InputError: from the constructor, a form that is not linear in v; from the methods, what cannot be derived.
    """

    def __init__(self, problem: Problem, dim: int, regions: tuple[str, ...], boundaries: tuple[str, ...]) -> None:
        self.problem, self.dim, self.regions, self.boundaries = problem, dim, regions, boundaries
        self.symbols, self.v = symbols_on(problem, dim, regions, boundaries)
        self._form = checked_residual(problem, self.symbols, self.v)
        self._known_parts: dict[str, ByParts] = {}

    def source_and_flux(self, field: str, region: int) -> Term:
        """dI/dv, dI/d(grad v) and dI/d(grad grad v) of all terms over a region."""
        return self._by_parts(field).term(region)

    def flux(self, field: str, region: int) -> Any:
        """flux - div(moment): what the strong form takes the divergence of."""
        return self._by_parts(field).flux(region)

    def order(self, field: str) -> int:
        """The highest derivative of the field's test function inside: the equation's order is twice that."""
        return self._by_parts(field).order

    def is_held_weakly(self, field: str, boundary: str) -> bool:
        """Whether `stabilisation` imposes an essential condition on a boundary (Nitsche): it tests with grad v there.

        Then the natural condition of the residual that belongs to it is none of the problem.
        """
        extra = self.problem.stabilisation(self.symbols, self.v)
        if extra is None:
            return False
        own = acting(terms(extra, self.v[field]), "exterior_facet", self.boundaries.index(boundary) + 1)
        return own is not None and not is_zero(own.flux)

    def strong(self, field: str, region: int) -> Any:
        """source - div(flux) + div(div(moment)), shape of the field."""
        return self._by_parts(field).strong(region)

    def natural(self, field: str, region: int, boundary: int) -> Any:
        """What vanishes on a boundary of a region where the field is free, shape of the field: flux . n + dg/dv."""
        return self._by_parts(field).natural(region, boundary)

    def natural_moment(self, field: str, region: int, boundary: int) -> Any:
        """What vanishes there where the field's normal derivative is free: M_nn, at fourth order."""
        return self._by_parts(field).natural_moment(region, boundary)

    def twisting_moment(self, field: str, region: int, boundary: int) -> Any:
        """M_ns on a boundary of a plane region: what is the same on both sides of a corner where the field is free."""
        return self._by_parts(field).twisting_moment(region, boundary)

    def normal_flux(self, field: str, region: int) -> Any:
        """flux . n seen from one region: its jump across an interface vanishes."""
        return self._by_parts(field).normal_flux(region)

    def normal_moment(self, field: str, region: int) -> Any:
        """M_nn seen from one region: its jump across an interface vanishes, at fourth order."""
        return self._by_parts(field).normal_moment(region)

    def _by_parts(self, field: str) -> ByParts:
        if self.problem.fields[field].element == "Real":
            raise InputError(f"{field!r} is one number: its equation is an integral over the domain, not one at points")
        if field not in self._known_parts:
            parameters = self.problem.parameters.items()
            rough = {getattr(self.symbols.p, name): name for name, q in parameters if q.field and not q.smooth}
            self._known_parts[field] = ByParts(terms(self._form, self.v[field]), self.symbols.n, rough)
        return self._known_parts[field]

    def energy(self) -> list[tuple[tuple[str, int | str], Any]]:
        """Energy densities by (integral type, subdomain number or "everywhere")."""
        energy = self.problem.energy(self.symbols)
        if energy is None:
            raise InputError(f"{self.problem.name} has no energy to minimise; use a method that takes the residual")
        result = []
        for integral in energy.integrals():
            numbers = integral.subdomain_id()
            for number in numbers if isinstance(numbers, tuple) else (numbers,):
                result.append(((integral.integral_type(), number), lower(integral.integrand())))
        return result

    def directions(self, expression: Any) -> tuple[set[Directions], dict[str, set[Directions]]]:
        """Which derivatives an expression takes: of the unknowns (rates count as time), and of each parameter field."""
        unknowns: set[Directions] = set()
        fields: dict[str, set[Directions]] = {}

        def record(o: Any, component: tuple[int, ...], derivatives: Directions) -> Any:
            kind = self._kind(o)
            if kind[0] == "unknown":
                unknowns.add(derivatives)
            elif kind[0] in RATES:
                unknowns.add((*derivatives, *[self.dim] * RATES[kind[0]]))
            elif kind[0] == "field":
                fields.setdefault(kind[1], set()).add(derivatives)
            return _Anything(1.0)

        interpreter = Interpreter(record)
        for _ in interpreter.components(expression):
            pass
        return unknowns, fields

    def evaluate(self, expression: Any, u: Jet, at: At) -> dict[tuple[int, ...], Tensor | float]:
        """Every component of an expression at the points."""
        return dict(Interpreter(self._leaf(u, at)).components(expression))

    def _leaf(self, u: Jet, at: At) -> Any:
        def leaf(o: Any, component: tuple[int, ...], derivatives: Directions) -> Any:
            kind = self._kind(o)
            match kind[0]:
                case "unknown":
                    return u[kind[1], component, derivatives]
                case "rate" | "second_rate":
                    return u[kind[1], component, (*derivatives, *[self.dim] * RATES[kind[0]])]
                case "field":
                    return at.parameters[kind[1], derivatives]
                case "constant":
                    return kind[1]
                case "x":
                    return at.x[component[0]]
                case "t":
                    return at.t
                case "n" if at.n is not None:
                    return at.n[component[0]]
            raise InputError(f"the pointwise form does not know {o}")

        return leaf

    def _kind(self, o: Any) -> tuple[str, Any]:
        return self._terminals().get(o) or _geometry(o)

    def _terminals(self) -> dict[Any, tuple[str, Any]]:
        if not hasattr(self, "_known"):
            s, known = self.symbols, {self.symbols.t: ("t", None)}
            for name, unknown in s.u.items():
                known[unknown] = ("unknown", name)
                if self.problem.time:
                    known[unknown.rate] = ("rate", name)
                    known[unknown.rate.rate] = ("second_rate", name)
            for name, spec in self.problem.parameters.items():
                symbol, value = getattr(s.p, name), self.problem.values[name]
                if spec.per_region:
                    known |= {symbol[region]: ("constant", value[region]) for region in value}
                else:
                    known[symbol] = ("field", name) if spec.field else ("constant", value)
            self._known = known
        return self._known


RATES = {"rate": 1, "second_rate": 2}
"""Kinds of terminals that are time derivatives, and their order."""


class _Anything(float):
    """A number that never simplifies an expression away: stands for values that are not known yet."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = float.__hash__


def _geometry(o: Any) -> tuple[str, Any]:
    if isinstance(o, ufl.classes.SpatialCoordinate):
        return "x", None
    if isinstance(o, ufl.classes.FacetNormal):
        return "n", None
    raise InputError(f"{o} ({type(o).__name__}) has no meaning at points without a mesh")


def values(problem: Problem, function: Callable[[Any, Any, Any], Any], x: Tensor, t: float = 0.0) -> dict[str, Tensor]:
    """What `exact(x, t, p)` or a like function of UFL symbols is at points.

    Args:
        function: (x, t, p) -> a UFL expression, or a dict of them by field.
        x: points [m], shape (dim, ...).
        t: time [s].

    Returns:
        By field, shape (*field shape, ...); empty where the function returns None.
    """
    form = PointwiseForm(problem, len(x), *names_of(problem))
    s = form.symbols
    result = {}
    for field, expression in problem.by_field(function(s.x, s.t, s.p)).items():
        expression = lower(expression)
        parts = form.evaluate(expression, {}, At(x, {}, t)).values()
        result[field] = torch.stack([part + 0 * x[0] for part in parts]).reshape(*expression.ufl_shape, *x.shape[1:])
    return result


def names_of(problem: Problem) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Regions and boundaries of the problem's own geometry."""
    geometry = problem.geometry(problem.p)
    return tuple(geometry.regions), tuple(geometry.boundaries)
