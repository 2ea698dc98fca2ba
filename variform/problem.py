"""A problem: a weak form in UFL with its fields, conditions and parameters; no mesh, no torch, no DOLFINx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import ufl

from variform.errors import InputError, unknown
from variform.task import Task

Value = float | Callable[[Any, Any, Any], Any]
"""A number, or a callable (x, t, p) -> UFL expression."""


@dataclass(frozen=True)
class Field:
    """An unknown. shape () is a scalar; (dim,) a vector. Continuous Lagrange elements of the given degree."""

    description: str
    unit: str = "-"
    shape: tuple[int, ...] = ()
    degree: int = 1


@dataclass(frozen=True)
class Dirichlet:
    """field = value on the named parts of the boundary; "boundary" is all of it."""

    field: str
    value: Value
    on: str | tuple[str, ...] = "boundary"

    @property
    def names(self) -> tuple[str, ...]:
        return (self.on,) if isinstance(self.on, str) else tuple(self.on)


@dataclass(frozen=True)
class Periodic:
    """field is periodic along the given coordinate axes of a box."""

    field: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class NamedMeasure:
    """A UFL measure whose parts are called by name: `f * s.dx`, `f * s.dx("steel")`.

    Args:
        measure: over everything.
        tags: name -> subdomain number of the measure.
        kind: what the names are ("region", "boundary"), for the error message.
    """

    measure: ufl.Measure
    tags: Mapping[str, int]
    kind: str

    def __call__(self, *names: str) -> ufl.Measure:
        for name in names:
            if name not in self.tags:
                raise unknown(f"{self.kind} of the mesh", name, self.tags)
        return self.measure(tuple(self.tags[name] for name in names) if len(names) > 1 else self.tags[names[0]])

    def __rmul__(self, integrand: Any) -> ufl.Form:
        return integrand * self.measure


@dataclass(frozen=True)
class Symbols:
    """The symbols in which a back end wants the form written.

    u: field name -> unknown; x: coordinates [m]; t: time [s]; p: parameters by name (a per-region one is a
    dict); n: outward unit normal; h: cell diameter; dx, ds: measures over regions and parts of the boundary.
    """

    u: dict[str, Any]
    x: Any
    t: Any
    p: SimpleNamespace
    n: Any
    h: Any
    dx: NamedMeasure
    ds: NamedMeasure


def Dt(u: Any) -> Any:
    """The time derivative of an unknown, or, by the chain rule, of an expression in unknowns.

    It is a placeholder: the back end stores in `rate` of each unknown what its time stepper or network puts there.
    """
    if hasattr(u, "rate"):
        return u.rate
    unknowns = [c for c in ufl.algorithms.extract_coefficients(u) if hasattr(c, "rate")]
    if not unknowns:
        raise InputError(f"Dt needs an expression in an unknown, got {u}")
    return sum(ufl.derivative(u, c, c.rate) for c in unknowns)


class Problem(Task):
    """Subclasses state `fields`, `parameters`, `conditions`, a geometry and `residual` or `energy`."""

    fields: dict[str, Field] = {}
    conditions: list[Dirichlet | Periodic] = []
    time: tuple[float, float] | None = None
    """First and last time [s] of an evolution; None for a stationary problem."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for condition in self.conditions:
            if condition.field not in self.fields:
                raise unknown(f"field in a condition of {self.name}", condition.field, self.fields)

    def geometry(self, p: SimpleNamespace) -> Any:
        """The domain, a `variform.meshes.Geometry`: regions and boundaries by name."""
        raise InputError(f"{self.name} has no geometry of its own: give a mesh file")

    def residual(self, s: Symbols, v: dict[str, Any]) -> ufl.Form:
        """The weak form, linear in the test functions v; its zero is the solution. Default: the energy's derivative."""
        energy = self.energy(s)
        if energy is None:
            raise InputError(f"{self.name} defines neither residual(s, v) nor energy(s)")
        return sum((ufl.derivative(energy, s.u[f], v[f]) for f in self.fields), ufl.Form([]))

    def energy(self, s: Symbols) -> ufl.Form | None:
        """A functional, bounded below, whose minimum is the solution; None if there is none."""
        return None

    def stabilisation(self, s: Symbols, v: dict[str, Any]) -> ufl.Form | None:
        """Terms that only finite elements need and that vanish at the exact solution."""
        return None

    def initial(self, x: Any, p: SimpleNamespace) -> Any:
        """Initial values of an evolution: one expression, or a dict by field."""
        return None

    def exact(self, x: Any, t: Any, p: SimpleNamespace) -> Any:
        """The exact solution, where one is known: one expression, or a dict by field."""
        return None

    def dirichlet(self, field: str) -> list[Dirichlet]:
        return [c for c in self.conditions if isinstance(c, Dirichlet) and c.field == field]

    def periodic_axes(self, field: str) -> tuple[int, ...]:
        return tuple(a for c in self.conditions if isinstance(c, Periodic) and c.field == field for a in c.axes)

    def by_field(self, value: Any) -> dict[str, Any]:
        """A dict by field of what `initial` or `exact` returned; empty for None."""
        if value is None:
            return {}
        return dict(value) if isinstance(value, Mapping) else {next(iter(self.fields)): value}


def resolve(condition: Dirichlet, shape: tuple[int, ...], x: Any, t: Any, p: SimpleNamespace) -> Any:
    """A condition's value as a UFL expression of the field's shape in the symbols x, t, p.

    Raises:
        InputError: the value is no number or expression, or has another shape; a number serves every component.
    """
    value = condition.value(x, t, p) if callable(condition.value) else condition.value
    try:
        expression = ufl.as_ufl(value)
    except (TypeError, ValueError):
        raise InputError(
            f"the Dirichlet value of {condition.field!r} must be a number or a UFL expression, got {value!r}"
        ) from None
    if expression.ufl_shape == () and shape:
        return ufl.as_tensor(_filled(expression, shape))
    if expression.ufl_shape != shape:
        raise InputError(
            f"the Dirichlet value of {condition.field!r} has shape {expression.ufl_shape}, the field {shape}"
        )
    return expression


def _filled(entry: Any, shape: tuple[int, ...]) -> Any:
    return [_filled(entry, shape[1:]) for _ in range(shape[0])] if shape else entry
