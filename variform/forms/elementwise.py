"""Functions of one number with all their derivatives, for `jets.compose`: (a, order) -> [f(a), f'(a), ...]."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.jets import Elementwise


def tanh(a: Tensor, order: int) -> list[Tensor]:
    """With y = tanh a every derivative is a polynomial in y: y' = 1 - y^2."""
    y = torch.tanh(a)
    if order > 2:
        return _in_value(y, (1, 0, -1), order)
    slope = 1 - y * y
    return [y, slope, -2 * y * slope][: order + 1]


def sigmoid(a: Tensor, order: int) -> list[Tensor]:
    """With y = 1 / (1 + e^-a) every derivative is a polynomial in y: y' = y - y^2."""
    return _in_value(torch.sigmoid(a), (0, 1, -1), order)


def silu(a: Tensor, order: int) -> list[Tensor]:
    """a sigmoid(a)."""
    return _times_argument(a, sigmoid(a, order))


def softplus(a: Tensor, order: int) -> list[Tensor]:
    """log(1 + e^a), whose derivative is the sigmoid."""
    return [torch.nn.functional.softplus(a), *(sigmoid(a, order - 1) if order else [])]


def gelu(a: Tensor, order: int) -> list[Tensor]:
    """a Phi(a), Phi the normal distribution function; Phi^(k+1) = (-1)^k He_k phi."""
    phi = torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    hermite = [torch.ones_like(a), a]
    for k in range(1, order):
        hermite.append(a * hermite[k] - k * hermite[k - 1])
    normal = torch.special.ndtr(a)
    return _times_argument(a, [normal, *((-1) ** k * hermite[k] * phi for k in range(order))])


def sin(a: Tensor, order: int) -> list[Tensor]:
    """sin, cos, -sin, -cos, ..."""
    s = torch.sin(a)
    c = torch.cos(a) if order else s
    return [(s, c, -s, -c)[k % 4] for k in range(order + 1)]


def exp(a: Tensor, order: int) -> list[Tensor]:
    """Its own derivatives."""
    return [torch.exp(a)] * (order + 1)


ACTIVATIONS: dict[str, Elementwise] = {
    "tanh": tanh,
    "sin": sin,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
    "sigmoid": sigmoid,
    "exp": exp,
}
"""By name: what a network may put between its layers."""


def polynomial(*coefficients: float) -> Elementwise:
    """c_0 + c_1 a + c_2 a^2 + ... by Horner's rule."""

    def function(a: Tensor, order: int) -> list[Tensor]:
        derived, result = tuple(coefficients), []
        for _ in range(order + 1):
            result.append(_horner(derived, a))
            derived = _derivative(derived)
        return result

    return function


def chebyshev(degree: int) -> Elementwise:
    """T_0, ..., T_degree, along a new first axis: T_(k+1) = 2 a T_k - T_(k-1), differentiated."""

    def function(a: Tensor, order: int) -> list[Tensor]:
        one, zero = torch.ones_like(a), torch.zeros_like(a)
        rows = [[one] + [zero] * order, ([a, one] + [zero] * order)[: order + 1]][: degree + 1]
        for k in range(1, degree):
            last, before = rows[k], rows[k - 1]
            rows.append([2 * a * last[m] + (2 * m * last[m - 1] if m else 0.0) - before[m] for m in range(order + 1)])
        return [torch.stack([row[m] for row in rows]) for m in range(order + 1)]

    return function


def bspline(intervals: int, degree: int) -> Elementwise:
    """The intervals + degree B-splines that live on [-1, 1], along a new first axis, zero away from it.

    Knots are uniform and go on for `degree` intervals past each end. Cox and de Boor's recursion gives the values;
    derivatives are differences of splines of lower degree.

    Raises:
        InputError: by the function, derivatives that the splines do not have: they have degree - 1 continuous ones.

    Source: de Boor, A Practical Guide to Splines, ch. IX and X.
    """

    def function(a: Tensor, order: int) -> list[Tensor]:
        if order >= degree and order:
            raise InputError(f"B-splines of degree {degree} have {degree - 1} continuous derivatives, not {order}")
        h = 2 / intervals
        knots = torch.arange(intervals + 2 * degree, dtype=a.dtype, device=a.device) - degree
        s = (a + 1) / h - knots.reshape(-1, *[1] * a.dim())  # distance to the first knot of each spline, in intervals
        levels = [((s >= 0) & (s < 1)).to(a.dtype)]
        for k in range(1, degree + 1):
            lower = levels[-1]
            t = s[: len(lower) - 1]
            levels.append((t * lower[:-1] + (k + 1 - t) * lower[1:]) / k)
        return [_differences(levels[degree - m], m) / h**m for m in range(order + 1)]

    return function


def _differences(splines: Tensor, times: int) -> Tensor:
    for _ in range(times):
        splines = splines[:-1] - splines[1:]
    return splines


def _times_argument(a: Tensor, f: list[Tensor]) -> list[Tensor]:
    """(a f)^(k) = a f^(k) + k f^(k-1)."""
    return [a * f[0], *(a * f[k] + k * f[k - 1] for k in range(1, len(f)))]


def _in_value(y: Tensor, slope: tuple[float, ...], order: int) -> list[Tensor]:
    """y and its derivatives where y' is a polynomial in y."""
    return [y, *(_horner(p, y) for p in _derivatives_in_value(slope, order))]


@cache
def _derivatives_in_value(slope: tuple[float, ...], order: int) -> list[tuple[float, ...]]:
    """y^(k+1) = (d y^(k) / dy) y', as coefficients in y."""
    result = [slope]
    while len(result) < order:
        result.append(tuple(np.convolve(_derivative(result[-1]), slope).tolist()))
    return result[:order]


def _derivative(coefficients: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(k * c for k, c in enumerate(coefficients))[1:] or (0.0,)


def _horner(coefficients: tuple[float, ...], a: Tensor) -> Tensor:
    total = torch.full_like(a, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * a + c
    return total
