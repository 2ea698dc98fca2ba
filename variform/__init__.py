"""variform: a PDE is written once, as a variational form in UFL; every method comes from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variform.problem import Problem
    from variform.solution import Solution

__version__ = "0.1.0.dev0"


def solve(problem: str | Problem, method: str = "fem", **options: Any) -> Solution:
    """Solve one instance: `variform.solve("poisson", mesh=64)`.

    Args:
        problem: a catalogue name, `path/to/file.py[:Class]`, or a Problem.
        method: a key of `variform.solvers.METHODS`.
        options: what the method's `solve` takes, for instance `mesh` or `degree`.

    Raises:
        InputError: unknown problem, method or option, or a value that is not allowed.
        ComputationError: the method did not converge.
    """
    from variform import problems, solvers

    return solvers.solve(problems.load(problem)() if isinstance(problem, str) else problem, method, **options)
