"""Implicit-explicit methods: what is linear in the unknowns implicitly, what is not explicitly; one factorisation."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import ufl
from dolfinx import fem
from ufl.algorithms import expand_derivatives

from variform.errors import InputError
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.time.explicit import Mass, check_finite
from variform.solvers.fem.time.implicit import OneStage
from variform.solvers.fem.time.stage import state_of
from variform.solvers.fem.time.tableaux import SDIRK2, Pair


def split(form: ufl.Form, unknowns: list[Any], rates: list[Any], name: str) -> tuple[ufl.Form, ufl.Form]:
    """F = L + N, term by term: L is affine in the unknowns and has the rates, N is zero to second order at u = 0.

    A summand f of an integrand goes into L whole if its derivative does not depend on the unknowns; otherwise
    f(0) + f'(0) u does and the rest goes into N.

    Raises:
        InputError: everything is linear, or a rate is multiplied by an unknown.
    """
    zero = {u: ufl.classes.Zero(u.ufl_shape) for u in unknowns}
    linear, rest = [], []
    for integral in form.integrals():
        for summand in _summands(integral.integrand()):
            part = ufl.Form([integral.reconstruct(integrand=summand)])
            directions = expand_derivatives(
                sum((ufl.derivative(part, u, ufl.Coefficient(u.ufl_function_space())) for u in unknowns), ufl.Form([]))
            )
            if not any(u in directions.coefficients() for u in unknowns):
                linear.append(part)
                continue
            if any(rate in expand_derivatives(part).coefficients() for rate in rates):
                raise InputError(
                    f"implicit-explicit schemes need a time derivative with a coefficient that does not depend on the "
                    f"solution; {name} has another: choose an implicit scheme"
                )
            tangent = _tangent(part, unknowns, zero)
            base = expand_derivatives(ufl.replace(part, zero))
            for affine in (base, tangent):
                if not affine.empty():
                    linear.append(affine)
                    rest.append(-affine)
            rest.append(part)
    if not rest:
        raise InputError(f"{name} is linear: there is nothing to take explicitly; choose an implicit scheme")
    return sum(linear, ufl.Form([])), sum(rest, ufl.Form([]))


def _tangent(part: ufl.Form, unknowns: list[Any], zero: dict[Any, Any]) -> ufl.Form:
    """f'(0) u."""
    result = ufl.Form([])
    for u in unknowns:
        direction = ufl.Coefficient(u.ufl_function_space())
        slope = expand_derivatives(ufl.derivative(part, u, direction))
        slope = expand_derivatives(ufl.replace(slope, zero))
        if not slope.empty():
            result += ufl.replace(slope, {direction: u})
    return result


def _summands(integrand: Any) -> Iterator[Any]:
    """The terms of a sum, also of one that is multiplied by a test function."""
    operands = integrand.ufl_operands
    if isinstance(integrand, ufl.classes.Sum):
        for operand in operands:
            yield from _summands(operand)
    elif isinstance(integrand, ufl.classes.Division):
        yield from (term / operands[1] for term in _summands(operands[0]))
    elif isinstance(integrand, (ufl.classes.Product, ufl.classes.Inner, ufl.classes.Dot)):
        join = {ufl.classes.Inner: ufl.inner, ufl.classes.Dot: ufl.dot}.get(type(integrand), operator.mul)
        yield from (join(a, b) for a in _summands(operands[0]) for b in _summands(operands[1]))
    else:
        yield integrand


class Split(OneStage):
    """Methods that solve implicit stages of L with terms of N from earlier states."""

    def __init__(self, discrete: Discrete, form: ufl.Form, extra: Any, **options: Any) -> None:
        linear, self.nonlinear = split(
            form, list(discrete.u.values()), [u.rate for u in discrete.u.values()], discrete.problem.name
        )
        self.whole = form
        super().__init__(discrete, linear + extra(discrete, self.nonlinear), **options)


class ImexRungeKutta(Split):
    """A pair of an implicit and an explicit Runge-Kutta method.

    Stage i solves L(U_i, (U_i - base_i) / (a_ii dt), t_i) = 0 with base_i = u_n + dt sum_(j<i) (a_ij k_j + b_ij l_j),
    k_j the rate found so and M l_j = -N(U_j).

    Source: Ascher, Ruuth and Spiteri, Appl. Numer. Math. 25 (1997), 151.
    """

    def __init__(self, discrete: Discrete, form: ufl.Form, pair: Pair, *, scheme: str, **options: Any) -> None:
        super().__init__(discrete, form, lambda discrete, nonlinear: ufl.Form([]), **options)
        self.pair, self.order = pair, pair.order
        rates = _mass_terms(form, discrete)
        self.mass = _ExplicitPart(discrete, rates + self.nonlinear, 1, scheme=scheme, **options)

    def step(self, number: int, t: float, dt: float) -> None:
        before, explicit, implicit = state_of(self.discrete), [], []
        last, c = self.rates, (0.0, *self.pair.implicit.c)
        for i, row in enumerate(self.pair.implicit.a):
            self.discrete.set_time(t + c[i] * dt)
            explicit.append(self.mass.rates())
            base = dict(before)
            for a, k in zip(row[:-1], implicit, strict=True):
                base = {name: u + dt * a * k[name] for name, u in base.items()}
            for b, k in zip(self.pair.explicit[i + 1], explicit, strict=True):
                base = {name: u + dt * b * k[name] for name, u in base.items()}
            scale = row[-1] * dt
            guess = {n: u + scale * last[n] if n in self.evolving else before[n] for n, u in base.items()}
            last = self.stage.solve(t + c[i + 1] * dt, scale, base, guess)
            implicit.append(last)
        check_finite(self.discrete, t + dt)
        nonlinear = self.mass.rates()
        self.rates = {
            n: last[n] + nonlinear[n] if n in self.evolving else (u.x.array - before[n]) / dt
            for n, u in self.discrete.u.items()
        }


class _ExplicitPart(Mass):
    """The rates that N makes: they vanish where Dirichlet values hold, whose rates are in the implicit part."""

    def _held(self) -> Any:
        values, held = super()._held()
        values.set(0.0)
        return values, held


def _mass_terms(form: ufl.Form, discrete: Discrete) -> ufl.Form:
    """The terms with rates."""
    rates = [u.rate for u in discrete.u.values()]
    terms = []
    for integral in form.integrals():
        for summand in _summands(integral.integrand()):
            part = ufl.Form([integral.reconstruct(integrand=summand)])
            if any(rate in expand_derivatives(part).coefficients() for rate in rates):
                terms.append(part)
    return sum(terms, ufl.Form([]))


class SBDF2(Split):
    """BDF2 for L with N extrapolated: L((3 u_(n+1) - 4 u_n + u_(n-1)) / (2 dt)) + 2 N(u_n) - N(u_(n-1)) = 0.

    The first step is SDIRK2's with N(u_n), of first order in N, which leaves the method of second order.

    Source: Ascher, Ruuth and Wetton, SIAM J. Numer. Anal. 32 (1995), 797.
    """

    order = 2

    def __init__(self, discrete: Discrete, form: ufl.Form, *, scheme: str, **options: Any) -> None:
        mesh = discrete.domain.mesh
        self.levels = [{n: fem.Function(u.function_space) for n, u in discrete.u.items()} for _ in range(2)]
        self.weights = [fem.Constant(mesh, 1.0), fem.Constant(mesh, 0.0)]
        self.times = [fem.Constant(mesh, 0.0) for _ in range(2)]
        super().__init__(discrete, form, self._extrapolated, **options)
        self.memory |= {f"{name}_before": f for name, f in self.levels[1].items()}

    def _extrapolated(self, discrete: Discrete, nonlinear: ufl.Form) -> ufl.Form:
        total = ufl.Form([])
        for level, weight, time in zip(self.levels, self.weights, self.times, strict=True):
            at = {u: level[name] for name, u in discrete.u.items()} | {discrete.symbols.t: time}
            total += weight * ufl.replace(nonlinear, at)
        return total

    def step(self, number: int, t: float, dt: float) -> None:
        before, last = state_of(self.discrete), self.rates
        for name, function in self.levels[0].items():
            function.x.array[:] = before[name]
        for time, back in zip(self.times, (0.0, dt), strict=True):
            time.value = t - back
        if number == 0:
            self.weights[0].value, self.weights[1].value = 1.0, 0.0
            self.runge_kutta(SDIRK2, t, dt)
        else:
            self.weights[0].value, self.weights[1].value = 2.0, -1.0
            base = {name: (4 * u - self.levels[1][name].x.array) / 3 for name, u in before.items()}
            guess = {name: u + dt * last[name] for name, u in before.items()}
            rates = self.stage.solve(t + dt, 2 / 3 * dt, base, guess)
            for name in before.keys() - set(self.evolving):
                rates[name] = (self.discrete.u[name].x.array - before[name]) / dt
            self.rates = rates
        check_finite(self.discrete, t + dt)
        for name, function in self.levels[1].items():
            function.x.array[:] = before[name]
