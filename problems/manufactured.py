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


Scalar = sympy.Expr
Vector = list[sympy.Expr]
Tensor = list[list[sympy.Expr]]


def to_ufl(expression: Scalar | Vector | Tensor, *parameters: sympy.Symbol) -> Callable[..., Any]:
    """A sympy expression in x, y, z, t, or nested lists of them, as a function (x, t, *parameters) of UFL symbols."""
    if isinstance(expression, (list, tuple)):
        entries = [to_ufl(entry, *parameters) for entry in expression]
        return lambda point, time=0.0, *values: ufl.as_tensor([entry(point, time, *values) for entry in entries])
    function = sympy.lambdify((x, y, z, t, *parameters), expression, modules=[_UFL])

    def call(point: Any, time: Any = 0.0, *values: Any) -> Any:
        coordinates = [point[i] for i in range(len(point))]
        return ufl.as_ufl(function(*coordinates, *[0.0] * (3 - len(coordinates)), time, *values))

    return call


def divergence(flux: Vector | Tensor) -> Any:
    """sum_i d(flux_i)/dx_i; of a tensor row by row: (div T)_i = sum_j d(T_ij)/dx_j."""
    if isinstance(flux[0], (list, tuple)):
        return [divergence(row) for row in flux]
    return sum(sympy.diff(q, c) for q, c in zip(flux, (x, y, z), strict=False))


def gradient(u: Scalar | Vector, dim: int = 2) -> Any:
    """(du/dx, du/dy, ...); of a vector row by row: (grad u)_ij = du_i/dx_j."""
    if isinstance(u, (list, tuple)):
        return [gradient(component, dim) for component in u]
    return [sympy.diff(u, c) for c in (x, y, z)[:dim]]


def laplacian(u: Scalar | Vector, dim: int = 2) -> Any:
    """div grad u, of a vector by component."""
    return divergence(gradient(u, dim))
