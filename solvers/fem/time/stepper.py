"""What the loop over time steps knows of a method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import ufl
from dolfinx import fem

from variform.errors import InputError
from variform.solution import Stopwatch
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.time.stage import State


class Stepper(ABC):
    """Advances `discrete.u` from t to t + dt; its rates too, so that F(u, Dt(u), t + dt) can be evaluated there.

    Args:
        form: the residual in `discrete.u` and its rates.
        options: rtol, petsc and watch of the systems to solve.
    """

    order: int
    error_order: int | None = None
    """That of the local error which `step` estimates; None if it estimates none."""
    time_order = 1
    """The highest derivative in time that the form may have."""

    def __init__(self, discrete: Discrete, form: ufl.Form, **options: Any) -> None:
        self.discrete, self.form, self.options = discrete, form, options
        self.memory: dict[str, fem.Function] = {}
        """More than u and its rates that the next step depends on, by a name for the checkpoint."""

    def start(self, t: float, dt: float, steps: int | None) -> None:  # noqa: B027  # most methods need nothing
        """Called once with the initial values in u (and u.rate), before the first step; not when a run is resumed.

        Args:
            steps: how many steps of dt [s] there will be; None where the error decides.
        """

    def resume(self, t: float) -> None:  # noqa: B027
        """Called instead of `start` with the state of a checkpoint."""

    @abstractmethod
    def step(self, number: int, t: float, dt: float) -> State | None:
        """Step `number`, counted from 0, from t [s].

        Returns:
            An estimate of the local error by field, of those with a rate; None where the method has none.

        Raises:
            ComputationError: a stage has no solution, or was not found.
        """

    @property
    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Newton steps, linear iterations, factorisations so far."""

    def forget(self) -> None:  # noqa: B027
        """Assemble and factor anew for the next step, as a run does that is resumed here."""

    def residual_norm(self) -> float:
        """Euclidean norm of the last residual."""
        return 0.0


def evolving(discrete: Discrete, form: ufl.Form) -> list[str]:
    """Fields of which the form has the time derivative."""
    known = ufl.algorithms.expand_derivatives(form).coefficients()
    return [name for name, u in discrete.u.items() if u.rate in known]


def time_order(discrete: Discrete, form: ufl.Form) -> int:
    """The highest derivative in time of the form, 1 or 2.

    Raises:
        InputError: it has none.
    """
    known = ufl.algorithms.expand_derivatives(form).coefficients()
    if any(u.rate.rate in known for u in discrete.u.values()):
        return 2
    if any(u.rate in known for u in discrete.u.values()):
        return 1
    raise InputError(f"{discrete.problem.name} has a time, but its form has no Dt(u)")


def check_constant_mass(discrete: Discrete, form: ufl.Form, order: int, scheme: str) -> None:
    """Refuse a form in which what multiplies the highest time derivative depends on the unknowns or on it."""
    unknowns = list(discrete.u.values())
    for u in unknowns:
        rate = u.rate if order == 1 else u.rate.rate
        mass = ufl.algorithms.expand_derivatives(ufl.derivative(form, rate, ufl.TrialFunction(u.function_space)))
        moving = [*unknowns, *(w.rate for w in unknowns), *(w.rate.rate for w in unknowns)]
        if any(c in moving for c in mass.coefficients()):
            raise InputError(
                f"scheme {scheme!r} needs a form that is linear in the time derivative, with a coefficient that does "
                f"not depend on the solution; {discrete.problem.name} is not: choose an implicit scheme"
            )


def largest(arrays: State, comm: Any) -> dict[str, float]:
    """The largest absolute value of each field."""
    from mpi4py import MPI

    return {name: comm.allreduce(float(abs(a).max(initial=0.0)), op=MPI.MAX) for name, a in arrays.items()}


def total(counts: np.ndarray, factorisations: int) -> dict[str, int]:
    return {
        "newton_steps": int(counts[0]),
        "linear_iterations": int(counts[1]),
        "factorisations": factorisations,
    }


def watch_of(options: dict[str, Any]) -> Stopwatch:
    return options.get("watch") or Stopwatch()
