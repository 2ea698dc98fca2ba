"""Simplified Newton: the Jacobian and its factors are kept from one time step to the next."""

from __future__ import annotations

import math

from petsc4py import PETSc

from variform.errors import ComputationError
from variform.solvers.fem.system import System

MAX_STEPS = 12
KEEP = 5
"""A solve that took more steps than this has the Jacobian assembled anew for the next one."""


class SimplifiedNewton:
    """Solve a sequence of like systems with one factorisation for as long as it converges well.

    A form that is linear with coefficients that do not change takes one step with one factorisation for ever.

    Args:
        system: of which `u` holds the first guess and then the solution.
        constant: the Jacobian depends neither on the unknowns nor on time.

    Source: Hairer and Wanner, Solving Ordinary Differential Equations II, section IV.8.
    """

    def __init__(self, system: System, *, constant: bool, rtol: float) -> None:
        self.system, self.constant, self.rtol = system, constant, rtol
        self.factorisations = 0
        self._outdated, self._contraction = True, 0.5
        self._residual, self._update = system.vector(), system.vector()

    def forget(self) -> None:
        """The Jacobian has changed for good, or whoever resumes here will have none: assemble it for the next solve."""
        self._outdated, self._contraction = True, 0.5

    def resume(self) -> None:
        """The system has been solved before, in the run that is continued: go on as that would have."""
        self.system.checked = True

    def solve(self) -> tuple[int, int]:
        """Solve from the current u, in place.

        Returns:
            Newton steps and linear iterations.

        Raises:
            ComputationError: no convergence, also not of Newton's method with a line search.
        """
        system = self.system
        if not system.checked:  # what is singular, or an option unknown to PETSc, is found out there
            self._outdated = not self.constant
            self.factorisations += 1
            return system.solve()
        system.pull()
        start = system.unknown.copy()
        attempts = (True,) if self._outdated else (False, True)
        for rebuild in attempts:
            if rebuild:
                system.rebuild()
                self.factorisations += 1
                self._outdated = False
            found = self._iterate()
            if found is not None:
                system.push()
                self._outdated = not self.constant and found[0] > KEEP
                return found
            start.copy(system.unknown)
        system.push()
        self._outdated = True
        self.factorisations += 1
        return system.solve()

    def _iterate(self) -> tuple[int, int] | None:
        """Counts of Newton steps and linear iterations; None if it does not converge."""
        system, x, linear, before = self.system, self.system.unknown, 0, math.nan
        ksp = system.snes.getKSP()
        for step in range(1, MAX_STEPS + 1):
            system.assemble(x, self._residual)
            if not math.isfinite(self._residual.norm()):
                return None
            try:
                with system.watch("solve"):
                    ksp.solve(self._residual, self._update)
            except PETSc.Error as error:
                if error.__cause__ is not None and not isinstance(error.__cause__, PETSc.Error):
                    raise error.__cause__ from None
                return None
            linear += ksp.getIterationNumber()
            x.axpy(-1.0, self._update)
            if self.constant:
                return step, linear
            size, scale = self._update.norm(), x.norm()
            if step > 1 and before > 0:
                self._contraction = size / before
            if size <= 1e-15 * scale:
                return step, linear
            if self._contraction >= 1:
                return None
            if self._contraction / (1 - self._contraction) * size <= self.rtol * scale:
                # For the next solve, whose first step has no ratio of its own: what this one had, with some caution.
                self._contraction = max(self._contraction, 1e-3) ** 0.8
                return step, linear
            before = size
        return None


def failed(name: str, t: float, error: ComputationError) -> ComputationError:
    """The error of a step, with the time it happened."""
    return ComputationError(f"{name} at t = {t:.6g} s: {error}")
