"""Forms as text that people read: components written out and simplified by sympy."""

from __future__ import annotations

from typing import Any

import sympy
from ufl import classes

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE
from variform.forms.interpret import FUNCTIONS, Interpreter, lower
from variform.forms.pointwise import PointwiseForm, names_of
from variform.problem import Problem

AXES = "xyz"
_SYMPY = {classes.Ln: sympy.log, classes.Abs: sympy.Abs} | {
    kind: getattr(sympy, kind.__name__.lower()) for kind in FUNCTIONS if kind not in (classes.Ln, classes.Abs)
}


def weak_text(problem: Problem) -> str:
    """The residual F(u; v), or the energy E where the problem states one; one integral a line."""
    form = _form(problem)
    energy = problem.energy(form.symbols)
    of, name = (problem.residual(form.symbols, form.v), "F") if energy is None else (energy, "E")
    lines = []
    for integral in of.integrals():
        kind = {"cell": "dx", "exterior_facet": "ds"}.get(integral.integral_type(), integral.integral_type())
        names = form.regions if kind == "dx" else form.boundaries
        numbers = integral.subdomain_id()
        if numbers != EVERYWHERE:
            chosen = numbers if isinstance(numbers, tuple) else (numbers,)
            kind += f"({', '.join(names[n - 1] for n in chosen)})"
        integrand = _Symbolic(form).scalar(lower(integral.integrand()))
        lines.append(f"[{_simplified(integrand)}] {kind}")
    return f"{name} = " + "\n  + ".join(lines)


def strong_text(problem: Problem) -> str:
    """The strong residual that is derived from the weak form, one region a line, or why there is none."""
    form = _form(problem)
    lines = []
    for field in problem.fields:
        for number, region in enumerate(form.regions, start=1):
            try:
                parts = _Symbolic(form).components(form.strong(field, number))
            except InputError as error:
                return str(error)
            where = f"   in {region}" if len(form.regions) > 1 else ""
            lines += [f"{_simplified(part)} = 0{where}" for _, part in parts]
    return "\n".join(lines)


class _Symbolic(Interpreter):
    """Evaluates in sympy symbols: u_xy is a second derivative of u, u_t its rate."""

    def __init__(self, form: PointwiseForm) -> None:
        self.names = {unknown: name for name, unknown in form.symbols.u.items()}
        self.names |= {u.rate: f"{name}_t" for name, u in form.symbols.u.items() if hasattr(u, "rate")}
        self.names |= {v: "v" if len(form.v) == 1 else f"v{name}" for name, v in form.v.items()}
        self.names[form.symbols.t] = "t"
        for name, spec in form.problem.parameters.items():
            symbol = getattr(form.symbols.p, name)
            self.names |= {s: f"{name}[{r}]" for r, s in symbol.items()} if spec.per_region else {symbol: name}
        super().__init__(self._symbol)

    def _symbol(self, o: Any, component: tuple[int, ...], directions: tuple[int, ...]) -> sympy.Symbol:
        if isinstance(o, classes.SpatialCoordinate):
            return sympy.Symbol(AXES[component[0]])
        base = self.names.get(o, "n" if isinstance(o, classes.FacetNormal) else str(o))
        suffix = "".join(map(str, component)) + "".join(AXES[d] for d in directions)
        joined = base if "_t" in base and suffix else f"{base}_" if suffix else base
        return sympy.Symbol(joined + suffix)

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


def _simplified(expression: Any) -> str:
    expression = sympy.sympify(expression)
    exact = expression.xreplace({number: _exact(number) for number in expression.atoms(sympy.Float)})
    return str(sympy.factor_terms(exact)).replace("**", "^")


def _exact(number: sympy.Float) -> Any:
    """A float that is a simple fraction, or such a multiple of pi or pi^2, as what it is."""
    for power in range(3):
        fraction = sympy.Rational(float(number / sympy.pi**power)).limit_denominator(1000)
        if fraction and abs(float(fraction * sympy.pi**power) / float(number) - 1) < 1e-14:
            return fraction * sympy.pi**power
    return number


__all__ = ["strong_text", "weak_text"]
