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
from variform.forms.derive import Term, natural_residual, strong_form, term_in, terms
from variform.forms.interpret import Interpreter, lower
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
        form = checked_residual(problem, self.symbols, self.v)
        self._terms = {name: terms(form, v) for name, v in self.v.items()}

    def source_and_flux(self, field: str, region: int) -> Term:
        """dI/dv and dI/d(grad v) of all terms over a region."""
        return term_in(self._terms[field], region)

    def strong(self, field: str, region: int) -> Any:
        """source - div(flux), shape of the field."""
        return strong_form(self._terms[field], region)

    def natural(self, field: str, region: int, boundary: int) -> Any:
        """flux . n + dg/dv on a boundary of a region, shape of the field."""
        return natural_residual(self._terms[field], region, boundary, self.symbols.n)

    def normal_flux(self, field: str, region: int) -> Any:
        """flux . n seen from one region: its jump across an interface vanishes."""
        return lower(ufl.dot(term_in(self._terms[field], region).flux, self.symbols.n))

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
            elif kind[0] == "rate":
                unknowns.add((*derivatives, self.dim))
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
                case "rate":
                    return u[kind[1], component, (*derivatives, self.dim)]
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
            for name, spec in self.problem.parameters.items():
                symbol, value = getattr(s.p, name), self.problem.values[name]
                if spec.per_region:
                    known |= {symbol[region]: ("constant", value[region]) for region in value}
                else:
                    known[symbol] = ("field", name) if spec.field else ("constant", value)
            self._known = known
        return self._known


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
