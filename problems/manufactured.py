"""Manufactured solutions: sources by sympy from the strong equation, independent of our compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy
import ufl

x, y, z, t = sympy.symbols("x y z t", real=True)

_UFL = {
    name: getattr(ufl, name) for name in ("sin", "cos", "tan", "exp", "sinh", "cosh", "tanh", "sqrt", "atan", "erf")
} | {"log": ufl.ln, "pi": ufl.pi}


def to_ufl(expression: sympy.Expr, *parameters: sympy.Symbol) -> Callable[..., Any]:
    """A sympy expression in x, y, z, t as a function (x, t, *parameters) of UFL symbols."""
    function = sympy.lambdify((x, y, z, t, *parameters), expression, modules=[_UFL])

    def call(point: Any, time: Any = 0.0, *values: Any) -> Any:
        coordinates = [point[i] for i in range(len(point))]
        return ufl.as_ufl(function(*coordinates, *[0.0] * (3 - len(coordinates)), time, *values))

    return call


def divergence(flux: list[sympy.Expr]) -> sympy.Expr:
    """sum_i d(flux_i)/dx_i."""
    return sum(sympy.diff(q, c) for q, c in zip(flux, (x, y, z), strict=False))


def gradient(u: sympy.Expr, dim: int = 2) -> list[sympy.Expr]:
    return [sympy.diff(u, c) for c in (x, y, z)[:dim]]
