"""Implicit methods of first order in Dt: diagonally implicit Runge-Kutta, Crank-Nicolson, BDF2."""

from __future__ import annotations

from typing import Any

import ufl
from dolfinx import fem

from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.time.stage import Stage, State, state_of
from variform.solvers.fem.time.stepper import Stepper, evolving, total
from variform.solvers.fem.time.tableaux import IMPLICIT_EULER, SDIRK2, Implicit


class OneStage(Stepper):
    """Methods that solve stages F(U, (U - base) / (a dt), t) = 0 one after another."""

    def __init__(self, discrete: Discrete, form: ufl.Form, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        self.stage = Stage(discrete, form, **options)
        self.evolving = evolving(discrete, form)

    @property
    def counts(self) -> dict[str, int]:
        return total(self.stage.counts, self.stage.newton.factorisations)

    def forget(self) -> None:
        self.stage.newton.forget()

    def resume(self, t: float) -> None:
        self.stage.newton.resume()

    def residual_norm(self) -> float:
        return self.stage.newton.system.residual_norm()

    def runge_kutta(self, tableau: Implicit, t: float, dt: float) -> list[State]:
        """One step of a DIRK method; the rates of its stages.

        Stage i solves for U_i with base_i = u_n + dt sum_(j<i) a_ij k_j and k_j = (U_j - base_j) / (a_jj dt) in the
        place of Dt(u).

        Source: Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.6.
        """
        before, last, rates = state_of(self.discrete), self.rates, []
        for row, c in zip(tableau.a, tableau.c, strict=True):
            base, scale = before, row[-1] * dt
            for a, k in zip(row[:-1], rates, strict=True):
                base = {name: u + dt * a * k[name] for name, u in base.items()}
            guess = {name: base[name] + scale * last[name] for name in self.evolving}
            constrained = {n: u + c * dt * last[n] for n, u in before.items() if n not in self.evolving}
            last = {**last, **self.stage.solve(t + c * dt, scale, base, guess | constrained)}
            for name in constrained:  # what no derivative in time acts on has no rate of its own to start from
                last[name] = (self.discrete.u[name].x.array - before[name]) / (c * dt)
            rates.append(last)
        self.rates = rates[-1]
        return rates

    @property
    def rates(self) -> State:
        """Dt(u), held in the functions that the form calls so."""
        return {name: u.rate.x.array.copy() for name, u in self.discrete.u.items()}

    @rates.setter
    def rates(self, values: State) -> None:
        for name, u in self.discrete.u.items():
            u.rate.x.array[:] = values[name]


class DIRK(OneStage):
    """A diagonally implicit Runge-Kutta method."""

    def __init__(self, discrete: Discrete, form: ufl.Form, tableau: Implicit, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        self.tableau, self.order = tableau, tableau.order
        self.error_order = tableau.order if tableau.embedded else None

    def step(self, number: int, t: float, dt: float) -> State | None:
        rates, weights = self.runge_kutta(self.tableau, t, dt), self.tableau.error
        if weights is None:
            return None
        return {name: dt * sum(w * k[name] for w, k in zip(weights, rates, strict=True)) for name in self.evolving}


class TwoLevels(OneStage):
    """Methods with one stage a step that predict it from the last two rates."""

    order = 2

    def __init__(self, discrete: Discrete, form: ufl.Form, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        self.old_rates = {name: fem.Function(u.function_space) for name, u in discrete.u.items()}
        self.memory |= {f"{name}_t_before": f for name, f in self.old_rates.items()}

    def solve(self, t: float, scale: float, base: State, dt: float) -> None:
        """The stage at t [s], the new time, from the prediction that Dt(u) goes on linearly."""
        before, last = state_of(self.discrete), self.rates
        guess = {name: u + dt * last[name] for name, u in before.items()}
        for name in self.evolving:
            guess[name] = base[name] + scale * (2 * last[name] - self.old_rates[name].x.array)
        rates = last | self.stage.solve(t, scale, base, guess)
        for name in before.keys() - set(self.evolving):
            rates[name] = (self.discrete.u[name].x.array - before[name]) / dt
        self.remember(last)
        self.rates = rates

    def remember(self, rates: State) -> None:
        for name, function in self.old_rates.items():
            function.x.array[:] = rates[name]


class CrankNicolson(TwoLevels):
    """The trapezoidal rule, started by four half steps of implicit Euler in the place of the first two.

    Rough initial values, or some that do not fit the boundary values, would leave an oscillation that the trapezoidal
    rule does not damp. Constraints (the pressure of a flow) are met at the new time.

    Source: Rannacher, Numer. Math. 43 (1984), 309.
    """

    damped = 2

    def step(self, number: int, t: float, dt: float) -> None:
        if number < self.damped:
            self.runge_kutta(IMPLICIT_EULER, t, dt / 2)
            self.remember(self.rates)
            self.runge_kutta(IMPLICIT_EULER, t + dt / 2, dt / 2)
            return
        base = {name: u + dt / 2 * self.rates[name] for name, u in state_of(self.discrete).items()}
        self.solve(t + dt, dt / 2, base, dt)


class BDF2(TwoLevels):
    """(3 u_(n+1) - 4 u_n + u_(n-1)) / (2 dt) in the place of Dt(u); the first step by SDIRK2.

    Source: Hairer and Wanner, section V.1.
    """

    def __init__(self, discrete: Discrete, form: ufl.Form, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        self.old = {name: fem.Function(u.function_space) for name, u in discrete.u.items()}
        self.memory |= {f"{name}_before": f for name, f in self.old.items()}

    def step(self, number: int, t: float, dt: float) -> None:
        before = state_of(self.discrete)
        if number == 0:
            self.remember(self.runge_kutta(SDIRK2, t, dt)[0])
        else:
            base = {name: (4 * u - self.old[name].x.array) / 3 for name, u in before.items()}
            self.solve(t + dt, 2 / 3 * dt, base, dt)
        for name, function in self.old.items():
            function.x.array[:] = before[name]
