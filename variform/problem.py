"""A problem: a weak form in UFL with its fields, conditions and parameters; no mesh, no torch, no DOLFINx."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import ufl

from variform.errors import InputError, unknown
from variform.task import Task

Value = "float | Callable[[Any, Any, Any], Any] | Sampled"
"""A number, a callable (x, t, p) -> UFL expression, or values from NumPy."""


ELEMENTS = ("Lagrange", "DG", "RT", "BDM", "N1curl", "Real")
"""Finite elements a field may ask for; "Real" is one number for the whole domain, such as a Lagrange multiplier."""


@dataclass(frozen=True)
class Field:
    """An unknown. shape () is a scalar; (dim,) a vector.

    Args:
        description: what it is, in words.
        unit: SI unit, or "-".
        degree: polynomial degree by default; those of several fields keep their differences when it is raised.
        element: one of ELEMENTS. Only finite elements tell them apart; those of RT, BDM and N1curl are vectors.
        complex: has complex values: the form is sesquilinear, `inner(u, v)` conjugates v.
    """

    description: str
    unit: str = "-"
    shape: tuple[int, ...] = ()
    degree: int = 1
    element: str = "Lagrange"
    complex: bool = False


@dataclass(frozen=True)
class Sampled:
    """Dirichlet values that no formula gives, such as recorded ones: for finite elements only.

    Args:
        values: (x, t) -> values of the field's shape: NumPy coordinates (dim, n) [m], time [s] -> (*shape, n).
        rate, second_rate: the time derivatives of the values, likewise; where they are not known, schemes that need
            them take difference quotients of their own.
    """

    values: Callable[[Any, float], Any]
    rate: Callable[[Any, float], Any] | None = None
    second_rate: Callable[[Any, float], Any] | None = None


@dataclass(frozen=True)
class Dirichlet:
    """field = value on the named parts of the boundary; "boundary" is all of it. Where two meet, the later holds.

    With a component it holds for that one only. Of an RT or BDM field the normal component is prescribed.
    """

    field: str
    value: Value
    on: str | tuple[str, ...] = "boundary"
    component: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.on,) if isinstance(self.on, str) else tuple(self.on)


@dataclass(frozen=True)
class Point:
    """field = value at one point, which must be a node of every mesh; with a component, that one only."""

    field: str
    at: tuple[float, ...]
    value: float = 0.0
    component: int | None = None


@dataclass(frozen=True)
class Mean:
    """The mean of a scalar field over the domain, for a field that the equations leave free by a constant."""

    field: str
    value: float = 0.0


@dataclass(frozen=True)
class NoRigidMotion:
    """A displacement that the equations leave free by a rigid motion has none: zero mean and zero mean rotation."""

    field: str


@dataclass(frozen=True)
class Periodic:
    """field is periodic along the given coordinate axes of a box."""

    field: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class NamedMeasure:
    """A UFL measure whose parts are called by name: `f * s.dx`, `f * s.dx("steel")`.

    Args:
        make: gives the measure over everything; called when the measure is first used, since tags take time to make.
        tags: name -> subdomain number of the measure.
        kind: what the names are ("region", "boundary"), for the error message.
    """

    make: Callable[[], ufl.Measure]
    tags: Mapping[str, int]
    kind: str

    @cached_property
    def measure(self) -> ufl.Measure:
        return self.make()

    def __call__(self, *names: str, degree: int | None = None) -> ufl.Measure:
        """The measure of the named parts, or of all; degree: of the quadrature, if not that of the fields."""
        metadata = None if degree is None else {"quadrature_degree": degree}
        if not names:
            return self.measure(metadata=metadata)
        for name in names:
            if name not in self.tags:
                raise unknown(f"{self.kind} of the mesh", name, self.tags)
        numbers = tuple(self.tags[name] for name in names)
        return self.measure(numbers if len(numbers) > 1 else numbers[0], metadata=metadata)

    def __rmul__(self, integrand: Any) -> ufl.Form:
        return integrand * self.measure


@dataclass(frozen=True)
class Symbols:
    """The symbols in which a back end wants the form written.

    u: field name -> unknown; x: coordinates [m]; t: time [s]; p: parameters by name (a per-region one is a
    dict); n: outward unit normal; h: cell diameter; dx, ds: measures over regions and parts of the boundary;
    dS: over the facets between cells, for finite elements only; inverse_step: 1 / dt of a time stepper [1/s], 0 where
    there is none, for the parameters of stabilisations.
    """

    u: dict[str, Any]
    x: Any
    t: Any
    p: SimpleNamespace
    n: Any
    h: Any
    dx: NamedMeasure
    ds: NamedMeasure
    dS: ufl.Measure
    inverse_step: Any = 0.0


def Dt(u: Any) -> Any:
    """The time derivative of an unknown, or, by the chain rule, of an expression in unknowns; Dt(Dt(u)) is the second.

    It is a placeholder: the back end stores in `rate` of each unknown, and of each rate, what its time stepper or
    network puts there.
    """
    if hasattr(u, "rate"):
        return u.rate
    unknowns = [c for c in ufl.algorithms.extract_coefficients(u) if hasattr(c, "rate")]
    if not unknowns:
        raise InputError(f"Dt needs an expression in an unknown of an evolution, differentiated twice at most, got {u}")
    return sum(ufl.derivative(u, c, c.rate) for c in unknowns)


@dataclass(frozen=True)
class Continuation:
    """Where Newton's method fails at the wanted value of a parameter, approach it from one where it does not.

    Args:
        parameter: name of a number among the parameters.
        start: the easy value.
        geometric: take equal ratios instead of equal differences.
    """

    parameter: str
    start: float
    geometric: bool = False


class Problem(Task):
    """Subclasses state `fields`, `parameters`, `conditions`, a geometry and `residual` or `energy`."""

    fields: dict[str, Field] = {}
    conditions: list[Dirichlet | Periodic | Point | Mean | NoRigidMotion] = []
    continuation: Continuation | None = None
    time: tuple[float, float] | None = None
    """First and last time [s] of an evolution; None for a stationary problem."""
    scheme: str | None = None
    """Time scheme of finite elements by default, where another than theirs fits better."""
    steps: int = 50
    """Time steps by default."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        for name, field in self.fields.items():
            if field.element not in ELEMENTS:
                raise unknown(f"element of field {name!r}", field.element, ELEMENTS)
            if field.element == "Real" and field.shape:
                raise InputError(f"field {name!r}: a Real field is one number; state several fields")
        for condition in self.conditions:
            if condition.field not in self.fields:
                raise unknown(f"field in a condition of {self.name}", condition.field, self.fields)

    def geometry(self, p: SimpleNamespace) -> Any:
        """The domain, a `variform.meshes.Geometry`: regions and boundaries by name."""
        raise InputError(f"{self.name} has no geometry of its own: give a mesh file")

    def residual(self, s: Symbols, v: dict[str, Any]) -> ufl.Form:
        """The weak form, linear in the test functions v; its zero is the solution.

        By default the energy's derivative; of an eigenproblem its operator a.
        """
        if (eigen := self.eigen(s, v)) is not None:
            return eigen[0]
        energy = self.energy(s)
        if energy is None:
            raise InputError(f"{self.name} defines neither residual(s, v) nor energy(s)")
        return sum((ufl.derivative(energy, s.u[f], v[f]) for f in self.fields), ufl.Form([]))

    def energy(self, s: Symbols) -> ufl.Form | None:
        """A functional, bounded below, whose minimum is the solution; None if there is none."""
        return None

    def eigen(self, s: Symbols, v: dict[str, Any]) -> tuple[ufl.Form, ufl.Form] | None:
        """For an eigenproblem a(u, v) = lambda m(u, v): both forms, linear in the unknowns s.u and in v."""
        return None

    @property
    def is_complex(self) -> bool:
        return any(field.complex for field in self.fields.values())

    @property
    def is_eigenproblem(self) -> bool:
        return type(self).eigen is not Problem.eigen

    def stabilisation(self, s: Symbols, v: dict[str, Any]) -> ufl.Form | None:
        """Terms that only finite elements need, and that vanish for smooth u and v or at the exact solution.

        Streamline diffusion, interior penalty, grad-div: they stay out of the strong form.
        """
        return None

    def preconditioner(self, s: Symbols, u: dict[str, Any], v: dict[str, Any]) -> ufl.Form | None:
        """For a symmetric saddle point: a symmetric, positive form, block-diagonal in the fields, that is spectrally
        equivalent to the operator, such as velocity stiffness and (1/viscosity) pressure mass for Stokes.
        """
        return None

    def goal(self, s: Symbols) -> ufl.Form | None:
        """The quantity of interest, for meshes that are adapted to it: a functional of the unknowns."""
        return None

    def initial(self, x: Any, p: SimpleNamespace) -> Any:
        """Initial values of an evolution: one expression, or a dict by field."""
        return None

    def initial_rate(self, x: Any, p: SimpleNamespace) -> Any:
        """Initial values of Dt(u), where the form has Dt(Dt(u)): as `initial`; zero where there are none."""
        return None

    def exact(self, x: Any, t: Any, p: SimpleNamespace) -> Any:
        """The exact solution, where one is known: one expression, or a dict by field."""
        return None

    def orders(self, degrees: dict[str, int]) -> dict[str, dict[str, float]]:
        """Orders of convergence of each field that theory promises for a smooth solution: those of best approximation.

        Args:
            degrees: of the elements, by field.

        Returns:
            Field -> {"relative_l2": order, "relative_h1": order}, the latter for Lagrange elements only.
        """
        result: dict[str, dict[str, float]] = {}
        for name, field in self.fields.items():
            k = degrees[name]
            if field.element == "Lagrange":
                result[name] = {"relative_l2": k + 1, "relative_h1": k}
            elif field.element != "Real":
                result[name] = {"relative_l2": k if field.element in ("RT", "N1curl") else k + 1}
        return result

    def history(self, solution: Any) -> dict[str, float]:
        """Quantities of an evolution at one time, recorded at the first time and after every step.

        Args:
            solution: a `variform.solution.Solution` of the present state.
        """
        return {}

    def dirichlet(self, field: str) -> list[Dirichlet]:
        return [c for c in self.conditions if isinstance(c, Dirichlet) and c.field == field]

    def conditions_of(self, kind: type) -> list[Any]:
        return [c for c in self.conditions if isinstance(c, kind)]

    def periodic_axes(self, field: str) -> tuple[int, ...]:
        return tuple(a for c in self.conditions if isinstance(c, Periodic) and c.field == field for a in c.axes)

    def by_field(self, value: Any) -> dict[str, Any]:
        """A dict by field of what `initial` or `exact` returned; empty for None."""
        if value is None:
            return {}
        return dict(value) if isinstance(value, Mapping) else {next(iter(self.fields)): value}


LOWEST = {"DG": 0}
"""Lowest degree of an element family, where it is not 1."""


def degrees_of(problem: Problem, degree: int | None) -> dict[str, int]:
    """The degree of each field when that of highest degree gets this one; 0 for a number.

    Raises:
        InputError: so low a degree that a field would fall below the lowest of its family.
    """
    own = {name: f.degree for name, f in problem.fields.items() if f.element != "Real"}
    raised = 0 if degree is None or not own else degree - max(own.values())
    degrees = {name: k + raised for name, k in own.items()}
    for name, k in degrees.items():
        family = problem.fields[name].element
        if k < LOWEST.get(family, 1):
            least = max(own.values()) - min(own[n] - LOWEST.get(problem.fields[n].element, 1) for n in own)
            raise InputError(f"degree must be at least {least} for {problem.name}, got {degree}")
    return {name: degrees.get(name, 0) for name in problem.fields}


def resolve(condition: Dirichlet, shape: tuple[int, ...], x: Any, t: Any, p: SimpleNamespace) -> Any:
    """A condition's value as a UFL expression in the symbols x, t, p, of the given shape: the field's or a component's.

    Raises:
        InputError: the value is no number or expression, or has another shape; a number serves every component.
    """
    if isinstance(condition.value, Sampled):
        raise InputError(f"the Dirichlet value of {condition.field!r} is sampled: only finite elements (fem) take it")
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
