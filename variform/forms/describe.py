"""Forms as text that people read: components written out and simplified by sympy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import sympy
from ufl import classes

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE
from variform.forms.interpret import FUNCTIONS, Interpreter, lower
from variform.forms.pointwise import PointwiseForm, names_of
from variform.forms.sides import Side, free_components, interfaces_of, is_periodic, sides_of
from variform.problem import Problem

AXES = "xyz"
MEASURES = {"cell": "dx", "exterior_facet": "ds", "interior_facet": "dS"}
LONG = 1200
"""Characters of a strong form beyond which it is left as a divergence."""
MEDIUM, SHORT = 400, 40
"""Characters of an expression beyond which its parts are given names, and those of the least such part."""
Line = tuple[str | sympy.Expr, ...]
_SYMPY = {classes.Ln: sympy.log, classes.Abs: sympy.Abs} | {
    kind: getattr(sympy, kind.__name__.lower()) for kind in FUNCTIONS if kind not in (classes.Ln, classes.Abs)
}


def weak_text(problem: Problem) -> str:
    """The residual F(u; v), or the energy E where the problem states one; one integral a line."""
    form = _form(problem)
    energy = problem.energy(form.symbols)
    of, name = (problem.residual(form.symbols, form.v), "F") if energy is None else (energy, "E")
    symbolic, lines = _Symbolic(form), []
    for integral in of.integrals():
        measure = MEASURES.get(integral.integral_type(), integral.integral_type())
        names = form.regions if measure == "dx" else form.boundaries
        numbers = integral.subdomain_id()
        if numbers != EVERYWHERE:
            chosen = numbers if isinstance(numbers, tuple) else (numbers,)
            measure += f"({', '.join(names[n - 1] for n in chosen)})"
        integrand = _exact(symbolic.scalar(lower(integral.integrand())))
        lines.append(("  + [" if lines else f"{name} = [", integrand, f"] {measure}"))
    return _text(lines)


def strong_text(problem: Problem) -> str:
    """The strong residual that is derived from the weak form, one component and region a line, or why there is none."""
    form = _form(problem)
    return _text(_named(form.regions, "in", lambda f, r: _strong(form, f, form.regions.index(r) + 1), problem.fields))


def natural_text(problem: Problem) -> str:
    """What vanishes on each part of the boundary where a field, or at fourth order its normal derivative, is free."""
    form = _form(problem)
    sides = sides_of(problem.geometry(problem.p))
    return _text(_named(form.boundaries, "on", lambda f, b: _natural(form, f, b, sides[b]), problem.fields))


def interface_text(problem: Problem) -> str:
    """What is the same on both sides of each interface between regions: the normal flux."""
    form, lines = _form(problem), []
    for pair in interfaces_of(problem.geometry(problem.p)):
        numbers = [form.regions.index(region) + 1 for region in pair]
        for field in (name for name, spec in problem.fields.items() if spec.element != "Real"):
            try:
                for derived in (form.normal_flux, form.normal_moment):
                    here, there = (_components(form, derived(field, number)) for number in numbers)
                    pairs = zip(here.values(), there.values(), strict=True)
                    lines += [(a, f" in {pair[0]} = ", b, f" in {pair[1]}") for a, b in pairs if a != 0 or b != 0]
            except InputError as error:
                lines.append((f"{field}: {error}",))
    return _text(lines)


def _strong(form: PointwiseForm, field: str, region: int) -> Iterator[Line]:
    parts = _components(form, form.strong(field, region))
    if all(len(_simplified(part)) <= LONG for part in parts.values()):
        yield from ((part, " = 0") for part in parts.values())
        return
    source = _components(form, form.source_and_flux(field, region).source)
    flux = _components(form, form.flux(field, region))
    names = {c: f"Q{'' if len(form.v) == 1 else field}_{''.join(map(str, c[:-1]))}{AXES[c[-1]]}" for c in flux}
    for c, part in source.items():
        divergence = "".join(f" - d{AXES[j]}({names[*c, j]})" for j in range(form.dim) if flux[*c, j] != 0)
        yield (part, f"{divergence} = 0") if part != 0 else (f"-{divergence[3:]} = 0",)
    yield from ((f"{names[c]} = ", part) for c, part in flux.items() if part != 0)


def _natural(form: PointwiseForm, field: str, boundary: str, side: Side) -> Iterator[Line]:
    if form.problem.fields[field].element == "Real":
        return
    number, weakly = form.boundaries.index(boundary) + 1, form.is_held_weakly(field, boundary)
    if weakly:
        what = f"the normal derivative of {field}" if form.order(field) == 2 else field
        yield (f"{what} is held by the terms that finite elements add",)
    if weakly and form.order(field) < 2:
        return
    free = free_components(form.problem, field, boundary, side)
    normal = side.normal if form.order(field) == 2 else None  # in general coordinates plates fill pages
    sloping = not (weakly or is_periodic(form.problem, field, side))
    for name in side.regions:
        region, at = form.regions.index(name) + 1, f"   in {name}" if len(side.regions) > 1 else ""
        parts = _components(form, form.natural(field, region, number), normal) if free else {}
        vanishing = [part for c, part in parts.items() if c in free]
        if sloping:
            vanishing += _components(form, form.natural_moment(field, region, number), normal).values()
        yield from ((part, f" = 0{at}") for part in vanishing if part != 0)


def _components(
    form: PointwiseForm, expression: Any, normal: tuple[float, ...] | None = None
) -> dict[tuple[int, ...], sympy.Expr]:
    """The components in sympy symbols, a given normal put in."""
    parts = {c: _exact(part) for c, part in _Symbolic(form).components(expression)}
    if normal is None:
        return parts
    numbers = {sympy.Symbol(f"n_{axis}"): sympy.Integer(int(n)) for axis, n in zip(AXES, normal, strict=False)}
    return {c: part.subs(numbers) for c, part in parts.items()}


def _named(
    places: tuple[str, ...], word: str, lines_of: Callable[[str, str], Iterator[Line]], fields: Iterable[str]
) -> list[Line]:
    """The lines of each field with the places where they hold, or with the reason why there are none."""
    result: list[Line] = []
    for field in fields:
        where: dict[tuple[Line, ...], list[str]] = {}
        for place in places:
            try:
                lines = tuple(lines_of(field, place))
            except InputError as error:
                lines = ((str(error) if repr(field) in str(error) else f"{field}: {error}",),)
            where.setdefault(lines, []).append(place)
        for lines, names in where.items():
            at = "" if word == "in" and len(names) == len(places) else f"   {word} {', '.join(names)}"
            result += [(*line, at) for line in lines]
    return result


class _Symbolic(Interpreter):
    """Evaluates in sympy symbols: u_xy is a second derivative of u, u_t its rate."""

    def __init__(self, form: PointwiseForm, side: str = "") -> None:
        self.names = {unknown: name for name, unknown in form.symbols.u.items()}
        rates = [(name, u.rate) for name, u in form.symbols.u.items() if hasattr(u, "rate")]
        self.names |= {rate: f"{name}_t" for name, rate in rates}
        self.names |= {rate.rate: f"{name}_tt" for name, rate in rates}
        self.names |= {v: "v" if len(form.v) == 1 else f"v{name}" for name, v in form.v.items()}
        self.names[form.symbols.t] = "t"
        for name, spec in form.problem.parameters.items():
            symbol = getattr(form.symbols.p, name)
            self.names |= {s: f"{name}[{r}]" for r, s in symbol.items()} if spec.per_region else {symbol: name}
        self.side = f"({side})" if side else ""
        super().__init__(self._symbol, {} if side else {side: _Symbolic(form, side) for side in "+-"})

    def _symbol(self, o: Any, component: tuple[int, ...], directions: tuple[int, ...]) -> sympy.Symbol:
        if isinstance(o, classes.SpatialCoordinate):
            return sympy.Symbol(AXES[component[0]])
        if isinstance(o, classes.FacetNormal):
            return sympy.Symbol(f"n_{AXES[component[0]]}{self.side}")
        base = self.names.get(o, str(o))
        suffix = "".join(map(str, component)) + "".join(AXES[d] for d in directions)
        joined = base if "_t" in base and suffix else f"{base}_" if suffix else base
        return sympy.Symbol(joined + suffix + ("" if isinstance(o, classes.Constant) else self.side))

    def _scalar_operation(self, o: Any, kind: type, a: Any, b: Any = 0.0) -> Any:
        if kind in _SYMPY:
            return _SYMPY[kind](a)
        if kind is classes.Atan2:
            return sympy.atan2(a, b)
        if kind in (classes.MinValue, classes.MaxValue):
            return (sympy.Min if kind is classes.MinValue else sympy.Max)(a, b)
        return super()._scalar_operation(o, kind, a, b)

    def _conditional(self, operands: Any, component: tuple[int, ...], indices: dict[int, int]) -> Any:
        yes, no = (self._evaluate(operand, component, indices) for operand in operands[1:])
        return sympy.Piecewise((yes, self._test(operands[0], indices)), (no, True))


def _form(problem: Problem) -> PointwiseForm:
    return PointwiseForm(problem, problem.geometry(problem.p).dim, *names_of(problem))


def _text(lines: list[Line]) -> str:
    """The lines written out; where one is long, subexpressions that occur more than once get names and lines."""
    expressions = [part for line in lines for part in line if isinstance(part, sympy.Expr)]
    written = {e: _simplified(e) for e in expressions}
    named: list[str] = []
    if any(len(text) > MEDIUM for text in written.values()):
        taken = {symbol for e in expressions for symbol in e.free_symbols}
        shared, reduced = _shared(expressions, taken)
        written = {e: _simplified(short) for e, short in zip(expressions, reduced, strict=True)}
        named = [f"where {name} = {_simplified(e)}" for name, e in shared.items()]
    return "\n".join(["".join(p if isinstance(p, str) else written[p] for p in line) for line in lines] + named)


def _shared(
    expressions: list[sympy.Expr], taken: set[sympy.Symbol]
) -> tuple[dict[sympy.Symbol, sympy.Expr], list[sympy.Expr]]:
    """Common subexpressions by new names, and the expressions in terms of them."""
    found, reduced = sympy.cse(expressions, sympy.numbered_symbols("_"))
    names = sympy.numbered_symbols("s", start=1, exclude=taken)
    known: dict[sympy.Symbol, sympy.Expr] = {}
    shared: dict[sympy.Symbol, sympy.Expr] = {}
    for symbol, e in found:
        e = e.xreplace(known)
        known[symbol] = e if len(str(e)) < SHORT else next(names)
        if known[symbol] is not e:
            shared[known[symbol]] = e
    return shared, [e.xreplace(known) for e in reduced]


def _exact(expression: Any) -> sympy.Expr:
    """The expression with fractions and multiples of pi in place of floats."""
    expression = sympy.sympify(expression)
    return expression.xreplace({number: _fraction(number) for number in expression.atoms(sympy.Float)})


@cache
def _simplified(expression: sympy.Expr) -> str:
    return str(sympy.factor_terms(expression)).replace("**", "^")


def _fraction(number: sympy.Float) -> Any:
    """A float that is a simple fraction, or such a multiple of pi or pi^2, as what it is."""
    if not number:
        return sympy.S.Zero
    for power in range(3):
        fraction = sympy.Rational(float(number / sympy.pi**power)).limit_denominator(1000)
        if fraction and abs(float(fraction * sympy.pi**power) / float(number) - 1) < 1e-14:
            return fraction * sympy.pi**power
    return number


__all__ = ["interface_text", "natural_text", "strong_text", "weak_text"]
