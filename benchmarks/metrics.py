"""Error norms and convergence rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from variform.errors import InputError
from variform.mesh import Mesh
from variform.problem import Problem
from variform.quadrature import Quadrature, cell_quadrature
from variform.solution import Solution

DEGREE = {1: 5, 2: 5, 3: 6}
"""Of the quadrature in which errors are measured, by dimension: all points lie inside cells, where gradients are."""

Evaluate = Callable[[np.ndarray, int], np.ndarray]
"""(points (dim, n), order of derivatives) -> values."""


@dataclass(frozen=True)
class Truth:
    """Values (.., n) and gradients (.., dim, n) at the quadrature points of a mesh: computed once for many rows."""

    rule: Quadrature
    values: np.ndarray
    gradients: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh, evaluate: Evaluate) -> Truth:
        rule = cell_quadrature(mesh, DEGREE[mesh.dim])
        return cls(rule, evaluate(rule.x, 0), evaluate(rule.x, 1))

    @classmethod
    def of_solution(cls, reference: Solution, field: str | None = None) -> Truth:
        return cls.of(reference.mesh, lambda x, d: reference.at(x, field=field, derivatives=d))

    def errors(self, solution: Solution, field: str | None = None) -> dict[str, float]:
        """relative_l2 = ||u - u_ref|| / ||u_ref||; relative_h1 = ||grad u - grad u_ref|| / ||grad u_ref||, in L2.

        Raises:
            InputError: the solution has no finite value somewhere in the domain.
        """
        result = {}
        for name, derivatives, truth in (("relative_l2", 0, self.values), ("relative_h1", 1, self.gradients)):
            values = solution.at(self.rule.x, field=field, derivatives=derivatives)
            if not np.isfinite(values).all():
                raise InputError("the solution has no finite value at some points of the reference's domain")
            square, norm = (((values - truth) ** 2) @ self.rule.w).sum(), ((truth**2) @ self.rule.w).sum()
            result[name] = float(np.sqrt(square / norm)) if norm else float("nan")
        return result


def relative_errors(solution: Solution, reference: Solution, field: str | None = None) -> dict[str, float]:
    """Errors against a finer solution, by quadrature on the mesh of the reference, at the last time of both."""
    return Truth.of_solution(reference, field).errors(solution, field)


def exact_errors(problem: Problem, solution: Solution, field: str | None = None) -> dict[str, float]:
    """The same against the problem's exact solution; empty where none is known.

    Finite elements integrate in their own cells, and add relative_energy where there is an energy.
    """
    if type(problem).exact is Problem.exact:
        return {}
    if hasattr(solution, "exact_errors"):
        return solution.exact_errors(field)
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
    return Truth.of(solution.mesh, exact).errors(solution, name)


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


@dataclass(frozen=True)
class Extrapolation:
    """What three meshes say of a quantity; NaN where they do not say it.

    Args:
        kind: how the three values follow each other. Monotone: each difference is a part of the one before, of the
            same sign; oscillatory: of the other sign; divergent: they do not shrink; constant: the last two are equal.
        order: observed order of convergence [-].
        limit: Richardson's extrapolation to h = 0 [unit of the quantity], of monotone values only.
        gci: grid convergence index of the finest mesh, an estimated bound of its relative error [-].
    """

    kind: Literal["monotone", "oscillatory", "divergent", "constant"]
    order: float = float("nan")
    limit: float = float("nan")
    gci: float = float("nan")


SAFETY = 1.25
"""Factor of the grid convergence index for three meshes and an observed order."""


def extrapolate(h: Sequence[float], values: Sequence[float]) -> Extrapolation:
    """Richardson's extrapolation and the grid convergence index from the last three meshes.

    With f1, f2, f3 on the meshes h1 < h2 < h3, r21 = h2 / h1, r32 = h3 / h2 and s the sign of (f3 - f2) / (f2 - f1):

        p = (log|(f3 - f2) / (f2 - f1)| + q(p)) / log(r21),   q(p) = log((r21^p - s) / (r32^p - s)),
        limit = (r21^p f1 - f2) / (r21^p - 1),
        GCI = 1.25 |(f1 - f2) / f1| / (r21^p - 1).

    Args:
        h: mesh sizes [m], decreasing.
        values: the quantity on each mesh.

    Raises:
        ValueError: fewer than three sizes, unequal lengths, or sizes that do not decrease.

    Example:
        >>> extrapolate([0.4, 0.2, 0.1], [1.16, 1.04, 1.01]).limit  # 1 + h^2
        1.0

    Source: Celik et al., J. Fluids Eng. 130 (2008), 078001; Roache, J. Fluids Eng. 116 (1994), 405. Celik's absolute
    value in p is left out: it would give values that drift apart a positive order.
    """
    h, values = np.asarray(h, dtype=float), np.asarray(values, dtype=float)
    if h.shape != values.shape or len(h) < 3 or not (np.all(np.diff(h) < 0) and h[-1] > 0):
        raise ValueError(f"need three or more decreasing sizes and as many values, got {h} and {values}")
    (h3, h2, h1), (f3, f2, f1) = h[-3:], values[-3:]
    if abs(f2 - f1) <= 4 * np.finfo(float).eps * abs(f1):
        return Extrapolation("constant", limit=float(f1), gci=0.0)
    ratio, r21, r32 = (f3 - f2) / (f2 - f1), h2 / h1, h3 / h2
    order = _order(ratio, r21, r32)
    if not order > 0:
        return Extrapolation("divergent", order)
    gain = r21**order - 1
    gci = SAFETY * abs((f1 - f2) / f1) / gain if f1 else float("nan")
    if ratio < 0:
        return Extrapolation("oscillatory", order, gci=float(gci))
    return Extrapolation("monotone", order, float(f1 + (f1 - f2) / gain), float(gci))


def _order(ratio: float, r21: float, r32: float) -> float:
    """The order p with |ratio| = r21^p (r32^p - s) / (r21^p - s), which grows with p; zero or less where none is above.

    Celik's fixed-point iteration for it can run away where r21 and r32 differ.
    """
    if ratio == 0:
        return float("-inf")
    s = np.sign(ratio)

    def excess(p: float) -> float:
        return p * np.log(r21) + np.log((r32**p - s) / (r21**p - s)) - np.log(abs(ratio))

    least, most = 1e-8, 60 / np.log(max(r21, r32))
    if excess(least) >= 0:
        return float(min(0.0, np.log(abs(ratio)) / np.log(r21)))
    return float(brentq(excess, least, most)) if excess(most) > 0 else float("inf")
