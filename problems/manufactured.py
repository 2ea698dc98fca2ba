"""Manufactured solutions: sources by sympy from the strong equation, independent of our compiler.

Expressions are text in x, y, z, t and named parameters, such as "sin(pi*x)*exp(y)"; vectors and tensors are nested
lists. sympy takes half a second to import, so it is imported only when an expression is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ufl

COORDINATES = ("x", "y", "z")

_UFL = {
    name: getattr(ufl, name) for name in ("sin", "cos", "tan", "exp", "sinh", "cosh", "tanh", "sqrt", "atan", "erf")
} | {"log": ufl.ln, "pi": ufl.pi}

Expression = Any
"""Text, a sympy expression, or (nested) lists of them."""


def symbolic(expression: Expression) -> Any:
    """A sympy expression, or lists of them, of text or of what is one already."""
    if isinstance(expression, (list, tuple)):
        return [symbolic(entry) for entry in expression]
    import sympy

    return sympy.sympify(expression, locals={name: symbol(name) for name in (*COORDINATES, "t")})


def symbol(name: str) -> Any:
    """A coordinate, the time or a parameter; parameters are positive."""
    import sympy

    return sympy.Symbol(name, real=True) if name in (*COORDINATES, "t") else sympy.Symbol(name, positive=True)


def to_ufl(expression: Expression, *parameters: str) -> Callable[..., Any]:
    """An expression as a function (x, t, *parameters) of UFL symbols."""
    if isinstance(expression, (list, tuple)):
        entries = [to_ufl(entry, *parameters) for entry in expression]
        return lambda point, time=0.0, *values: ufl.as_tensor([entry(point, time, *values) for entry in entries])
    import sympy

    arguments = [symbol(name) for name in (*COORDINATES, "t", *parameters)]
    function = sympy.lambdify(arguments, symbolic(expression), modules=[_UFL])

    def call(point: Any, time: Any = 0.0, *values: Any) -> Any:
        coordinates = [point[i] for i in range(len(point))]
        return ufl.as_ufl(function(*coordinates, *[0.0] * (3 - len(coordinates)), time, *values))

    return call


def divergence(flux: Expression) -> Any:
    """sum_i d(flux_i)/dx_i; of a tensor row by row: (div T)_i = sum_j d(T_ij)/dx_j."""
    if isinstance(flux[0], (list, tuple)):
        return [divergence(row) for row in flux]
    return sum(q.diff(symbol(c)) for q, c in zip(symbolic(flux), COORDINATES, strict=False))


def gradient(u: Expression, dim: int = 2) -> Any:
    """(du/dx, du/dy, ...); of a vector row by row: (grad u)_ij = du_i/dx_j."""
    if isinstance(u, (list, tuple)):
        return [gradient(component, dim) for component in u]
    return [symbolic(u).diff(symbol(c)) for c in COORDINATES[:dim]]


def laplacian(u: Expression, dim: int = 2) -> Any:
    """div grad u, of a vector by component."""
    return divergence(gradient(u, dim))


def rotation(stream: Expression) -> Any:
    """The plane velocity (d/dy, -d/dx) of a stream function: it has no divergence."""
    along_x, along_y = gradient(stream)
    return [along_y, -along_x]
