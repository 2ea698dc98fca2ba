"""One instance to a solution: the methods by name."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from variform.errors import InputError, unknown
from variform.problem import Problem
from variform.solution import Solution

METHODS = {
    "fem": ("variform.solvers.fem", "finite elements (DOLFINx, PETSc)"),
    "fem-adaptive": ("variform.solvers.fem.adaptive", "finite elements on meshes refined where the error is (--adapt)"),
    "fem-batched": ("variform.solvers.batched", "the same finite elements in torch, on CPU or GPU, differentiable"),
    "pinn": ("variform.solvers.neural.pinn", "a network trained on the strong residual"),
    "ritz": ("variform.solvers.neural.ritz", "a network trained on the energy"),
    "spectral": ("variform.solvers.spectral", "Fourier pseudo-spectral, ETDRK4 (periodic boxes)"),
}
"""Name on the command line -> module with `solve(problem, *, ...)`, and what it is."""


def solve(problem: Problem, method: str = "fem", **options: Any) -> Solution:
    """Solve one instance by the method of this name; options are those of its `solve`.

    Raises:
        InputError: no such method or option; and what the method itself refuses.
        ComputationError: the method did not converge.
    """
    allowed = options_of(method)
    for name in options:
        if name not in allowed and name != "progress":
            raise unknown(f"option of method {method!r}", name, allowed)
    if problem.is_eigenproblem and method not in ("fem", "fem-adaptive"):
        raise InputError(f"{problem.name} is an eigenproblem: solve it with method 'fem', not {method!r}")
    if problem.is_complex and method not in ("fem", "fem-adaptive", "fem-batched"):
        raise InputError(f"{problem.name} has complex fields: solve it with 'fem' or 'fem-batched', not {method!r}")
    return _module(method).solve(problem, **options)


def options_of(method: str) -> dict[str, inspect.Parameter]:
    """The options of a method's `solve`, by name.

    Raises:
        InputError: no such method, or its library is missing.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    parameters = inspect.signature(_module(method).solve).parameters
    return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and name != "progress"}


def _module(method: str) -> Any:
    name, _ = METHODS[method]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("variform"):
            raise
        raise InputError(f"method {method!r} needs {error.name}: install variform[fem]") from error
