"""Error norms and convergence rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.problem import Problem
from variform.quadrature import cell_quadrature
from variform.solution import Solution

DEGREE = 5
"""Of the quadrature in which errors are measured."""

Evaluate = Callable[[np.ndarray, int], np.ndarray]
"""(points (dim, n), order of derivatives) -> values."""


def relative_errors(solution: Solution, reference: Solution, field: str | None = None) -> dict[str, float]:
    """Errors against a finer solution, by quadrature on the mesh of the reference, at the last time of both.

    relative_l2 = ||u - u_ref|| / ||u_ref||; relative_h1 = ||grad u - grad u_ref|| / ||grad u_ref||, norms in L2.

    Raises:
        InputError: the solution is not defined in all of the reference's domain.
    """
    return _relative(
        reference.mesh,
        lambda x, d: solution.at(x, field=field, derivatives=d),
        lambda x, d: reference.at(x, field=field, derivatives=d),
    )


def exact_errors(problem: Problem, solution: Solution, field: str | None = None) -> dict[str, float]:
    """The same against the problem's exact solution; empty where none is known."""
    if type(problem).exact is Problem.exact:
        return {}
    import torch  # slow imports, spared where there is nothing to compare with
    import ufl

    from variform.forms import values

    name = field or next(iter(problem.fields))
    t = problem.time[1] if problem.time else 0.0

    def exact(x: np.ndarray, derivatives: int) -> np.ndarray:
        def function(point: Any, time: Any, p: Any) -> dict[str, Any]:
            u = problem.by_field(problem.exact(point, time, p))[name]
            return {name: ufl.grad(u) if derivatives else u}

        return values(problem, function, torch.as_tensor(x), t)[name].numpy()

    if not values(problem, problem.exact, torch.zeros(solution.mesh.dim, 1, dtype=torch.float64), t):
        return {}
    return _relative(solution.mesh, lambda x, d: solution.at(x, field=name, derivatives=d), exact)


def _relative(mesh: Mesh, u: Evaluate, v: Evaluate) -> dict[str, float]:
    rule = cell_quadrature(mesh, DEGREE)
    errors = {}
    for name, derivatives in (("relative_l2", 0), ("relative_h1", 1)):
        a, b = u(rule.x, derivatives), v(rule.x, derivatives)
        if not np.isfinite(a).all():
            raise InputError("the solution has no finite value at some points of the reference's domain")
        errors[name] = float(np.sqrt(((a - b) ** 2 @ rule.w).sum() / (b**2 @ rule.w).sum()))
    return errors


def observed_rates(h: Sequence[float], errors: Sequence[float]) -> np.ndarray:
    """Order of convergence between successive refinements.

    rate_i = log(e_i / e_(i+1)) / log(h_i / h_(i+1))

    Args:
        h: mesh sizes [m], shape (R,), decreasing.
        errors: one norm of the error at each size [unit of u], shape (R,), positive.

    Returns:
        Rates [-], shape (R - 1,).

    Raises:
        ValueError: fewer than two sizes, unequal lengths, or a value that is not positive.

    Example:
        >>> observed_rates([0.2, 0.1], [4e-2, 1e-2])
        array([2.])

    Source: Oberkampf and Roy, Verification and Validation in Scientific Computing, ch. 5.
    """
    h, errors = np.asarray(h), np.asarray(errors)
    if h.shape != errors.shape or len(h) < 2:
        raise ValueError(f"need two or more sizes and as many errors, got {h} and {errors}")
    if not (np.all(h > 0) and np.all(errors > 0)):
        raise ValueError(f"sizes and errors must be positive, got {h} and {errors}")
    return np.log(errors[:-1] / errors[1:]) / np.log(h[:-1] / h[1:])
