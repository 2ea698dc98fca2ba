"""The generalised-alpha method for Dt(Dt(u))."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from variform.errors import InputError
from variform.solvers.fem.discretize import Boundary, Discrete
from variform.solvers.fem.time.explicit import Mass
from variform.solvers.fem.time.stage import newton, state_of
from variform.solvers.fem.time.stepper import Stepper, total


class GeneralisedAlpha(Stepper):
    """Second order; rho_infinity is what remains of the highest frequencies after a step: 1 conserves energy.

    F is taken at u_(n + 1 - alpha_f), Dt(u)_(n + 1 - alpha_f), Dt(Dt(u))_(n + 1 - alpha_m) and t_(n + 1 - alpha_f),
    with Newmark's relations between them. The first Dt(Dt(u)) comes from the form.

    Source: Chung and Hulbert, J. Appl. Mech. 60 (1993), 371.
    """

    order = 2
    time_order = 2

    def __init__(self, discrete: Discrete, form: ufl.Form, *, rho_infinity: float = 0.9, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        if not 0 <= rho_infinity <= 1:
            raise InputError(f"rho_infinity must be between 0 and 1, got {rho_infinity}")
        self.alpha_m = (2 * rho_infinity - 1) / (rho_infinity + 1)
        self.alpha_f = rho_infinity / (rho_infinity + 1)
        self.gamma = 0.5 - self.alpha_m + self.alpha_f
        self.beta = (1 - self.alpha_m + self.alpha_f) ** 2 / 4
        self.mass = Mass(discrete, form, 2, scheme="generalized_alpha", **options)
        mesh = discrete.domain.mesh
        self._dt = fem.Constant(mesh, 1.0)
        # The state at the old time, and what Newmark's relations say of the new one with Dt(Dt(u)) = 0.
        self._old, self._coast, self._coast_rate = (
            {name: fem.Function(u.function_space) for name, u in discrete.u.items()} for _ in range(3)
        )
        substitution = {}
        for name, u in discrete.u.items():
            second = (u - self._coast[name]) / (self.beta * self._dt**2)
            first = self._coast_rate[name] + self.gamma * self._dt * second
            af, am = self.alpha_f, self.alpha_m
            substitution[u.rate.rate] = (1 - am) * second + am * u.rate.rate
            substitution[u.rate] = (1 - af) * first + af * u.rate
            substitution[u] = (1 - af) * u + af * self._old[name]
        self.newton = newton(discrete, ufl.replace(form, substitution), **options)
        self._counts = np.zeros(2, dtype=int)

    @property
    def counts(self) -> dict[str, int]:
        return total(self._counts, self.newton.factorisations)

    def forget(self) -> None:
        self.newton.forget()

    def resume(self, t: float) -> None:
        self.newton.resume()

    def residual_norm(self) -> float:
        return self.newton.system.residual_norm()

    def start(self, t: float, dt: float, steps: int | None) -> None:
        self.discrete.set_time(t)
        for name, second in self.mass.rates().items():
            self.discrete.u[name].rate.rate.x.array[:] = second
        for boundary in self.discrete.boundaries:
            held, at = self._derivatives(boundary, t, dt), boundary.condition.dof_indices()[0]
            if held is not None:
                u = self.discrete.u[boundary.field]
                u.rate.x.array[at], u.rate.rate.x.array[at] = held[1][at], held[2][at]

    def step(self, number: int, t: float, dt: float) -> None:
        discrete, before = self.discrete, state_of(self.discrete)
        if self._dt.value != dt:
            self._dt.value = dt
            self.newton.forget()
        for name, u in discrete.u.items():
            first, second = u.rate.x.array, u.rate.rate.x.array
            self._old[name].x.array[:] = before[name]
            self._coast[name].x.array[:] = before[name] + dt * first + dt**2 * (0.5 - self.beta) * second
            self._coast_rate[name].x.array[:] = first + dt * (1 - self.gamma) * second
            u.x.array[:] = before[name] + dt * first + dt**2 / 2 * second
        discrete.set_time(t + dt)  # Dirichlet values hold at the new time, all else is taken before it
        self._hold(t + dt, dt)
        discrete.symbols.t.value = t + (1 - self.alpha_f) * dt
        self._counts += self.newton.solve()
        for name, u in discrete.u.items():
            second = (u.x.array - self._coast[name].x.array) / (self.beta * dt**2)
            u.rate.rate.x.array[:] = second
            u.rate.x.array[:] = self._coast_rate[name].x.array + self.gamma * dt * second
        discrete.symbols.t.value = t + dt

    def _hold(self, t: float, dt: float) -> None:
        """Dirichlet dofs get the time derivatives of their values: Newmark's would oscillate about them.

        His relations are made to give them, by what stands for the old state there.
        """
        for boundary in self.discrete.boundaries:
            held, at = self._derivatives(boundary, t, dt), boundary.condition.dof_indices()[0]
            if held is not None:
                value, first, second = (values[at] for values in held)
                self._coast[boundary.field].x.array[at] = value - self.beta * dt**2 * second
                self._coast_rate[boundary.field].x.array[at] = first - self.gamma * dt * second

    def _derivatives(self, boundary: Boundary, t: float, dt: float) -> list[np.ndarray] | None:
        """Values, rates and second rates of a condition, among all dofs of its field; None if they are not known.

        The method's Dt(Dt(u))_n is that of t_n + (alpha_m - alpha_f) dt.
        """
        held, time = [], self.discrete.symbols.t
        for order in range(3):
            time.value = t + (self.alpha_m - self.alpha_f) * dt if order == 2 else t
            condition = boundary.rate(order) if order else boundary.condition
            if condition is None:
                return None
            held.append(np.zeros_like(self.discrete.u[boundary.field].x.array))
            condition.set(held[-1])
        return held
