"""How well foreign data obey an equation, by differences on their own grid: an estimate, with its truncation error.

The residual of smooth data falls with the grid; so it is compared with the same data seen on every second point, where
it must be larger by the order of the differences. Fluxes are differenced, not coefficients: central differences of a
coefficient that jumps tell nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from variform.data.dataset import Dataset

LARGE = 0.3
"""A residual that is this part of its own terms is no truncation error."""
SAMPLES = 50


@dataclass(frozen=True)
class Equation:
    """What may hold for a data set.

    Args:
        name: the equation, in words.
        applies: whether a data set looks like it.
        terms: (data, sample, stride) -> terms whose sum is zero, each of one shape, on every stride-th point.
    """

    name: str
    applies: Callable[[Dataset], bool]
    terms: Callable[[Dataset, int, int], list[np.ndarray]]


def finding(data: Dataset):
    """The outcome as one of `variform.data.check`."""
    from variform.data.check import Finding

    equation = next((e for e in EQUATIONS if e.applies(data)), None)
    if equation is None:
        return Finding("equation", "not checkable", f"the file does not say which equation it obeys ({data.layout})")
    extra = _beyond_principle(data)
    numbers = np.arange(min(SAMPLES, len(data)))
    fine, coarse = (np.array([_relative(equation.terms(data, int(i), s)) for i in numbers]) for s in (1, 2))
    middle, double = float(np.median(fine)), float(np.median(coarse))
    order = np.log2(double / middle) if middle > 0 else np.inf
    text = (
        f"{equation.name}: residual by differences {middle:.1e} of its terms (median of {len(numbers)} samples), "
        f"{double:.1e} on every second point (order {order:.1f})"
    )
    if extra:
        return Finding("equation", "failed", f"{text}; {extra[0]}", extra[1], middle)
    if middle < LARGE and (order > 0.5 or middle < 1e-3):
        return Finding("equation", "passed", f"{text}: an estimate", (), middle)
    reason = "it does not fall with the grid, or is large: the grid is too coarse to judge, or the equation is another"
    return Finding("equation", "not checkable", f"{text}; {reason}", (), middle)


def _relative(terms: list[np.ndarray]) -> float:
    size = sum(np.linalg.norm(term) for term in terms)
    return float(np.linalg.norm(sum(terms)) / size) if size else 0.0


def _centre(data: Dataset, name: str, sample: int, stride: int) -> tuple[np.ndarray, float, float]:
    """Values (T, X) of a field in one dimension, and both steps."""
    u = data.read(name, sample)[::stride, ::stride].astype(float)
    return u, float(data.times[stride] - data.times[0]), float(data.coordinates[0][stride] - data.coordinates[0][0])


def _evolution(rest: Callable[[np.ndarray, float, float], list[np.ndarray]]) -> Callable:
    """u_t + rest = 0 for the first output, fourth-order differences in space, second in time."""

    def terms(data: Dataset, sample: int, stride: int) -> list[np.ndarray]:
        u, dt, dx = _centre(data, data.named("output")[0], sample, stride)
        number = {name: float(column[sample]) for name, column in data.parameters.items()}
        parts = [(u[2:] - u[:-2]) / (2 * dt), *(part[1:-1] for part in rest(u, dx, number))]
        cut = slice(2, -2)
        return [part[:, cut] for part in parts]

    return terms


def _first(u: np.ndarray, dx: float) -> np.ndarray:
    r = np.roll
    return (8 * (r(u, -1, 1) - r(u, 1, 1)) - (r(u, -2, 1) - r(u, 2, 1))) / (12 * dx)


def _second(u: np.ndarray, dx: float) -> np.ndarray:
    r = np.roll
    return (16 * (r(u, -1, 1) + r(u, 1, 1)) - (r(u, -2, 1) + r(u, 2, 1)) - 30 * u) / (12 * dx**2)


def _one_dimension(*parameters: str, without: tuple[str, ...] = ()) -> Callable[[Dataset], bool]:
    return lambda d: (
        d.layout == "pdebench"
        and len(d.coordinates) == 1
        and d.times is not None
        and set(parameters) <= set(d.parameters)
        and not set(without) & set(d.parameters)
    )


def _flux(a: np.ndarray, u: np.ndarray, steps: tuple[float, ...]) -> list[np.ndarray]:
    """-d_i(a d_i u) at interior points, one term a direction; a on faces is the harmonic mean."""
    terms = []
    for axis, h in enumerate(steps):
        low, high = (np.take(a, range(i, a.shape[axis] - 1 + i), axis) for i in (0, 1))
        flux = 2 * low * high / (low + high) * np.diff(u, axis=axis) / h
        inside = tuple(slice(None) if i == axis else slice(1, -1) for i in range(u.ndim))
        terms.append(-np.diff(flux, axis=axis)[inside] / h)
    return terms


def _darcy(data: Dataset, sample: int, stride: int) -> list[np.ndarray]:
    cut = (slice(None, None, stride),) * 2
    a, u = data.read("nu", sample)[cut].astype(float), data.read("u", sample)[cut].astype(float)
    steps = tuple(float(axis[stride] - axis[0]) for axis in data.coordinates)
    terms = _flux(a, u, steps)
    return [*terms, np.full_like(terms[0], -float(data.parameters["beta"][sample]))]


def _fitted_darcy(data: Dataset, sample: int, stride: int) -> list[np.ndarray]:
    """Two conductivities and a source that the file does not state: the ratio that fits best, both ways round."""
    cut = (slice(None, None, stride),) * 2
    mask, u = data.read("x", sample)[cut] > 0.5, data.read("y", sample)[cut].astype(float)
    steps = tuple(float(axis[stride] - axis[0]) for axis in data.coordinates)
    best: list[np.ndarray] = []
    for ratio in (12 / 3, 3 / 12, 10 / 5, 5 / 10, 1e-1, 1e1):
        terms = _flux(np.where(mask, ratio, 1.0), u, steps)
        f = float(np.median(sum(terms)))
        found = [*terms, np.full_like(terms[0], -f)]
        if not best or _relative(found) < _relative(best):
            best = found
    return best


def _beyond_principle(data: Dataset) -> tuple[str, tuple[int, ...]] | None:
    """With a source of one sign and zero on the boundary the solution has that sign."""
    if data.layout != "neuraloperator" or set(data.fields) != {"x", "y"}:
        return None
    y = data.read("y").reshape(len(data), -1)
    below = np.flatnonzero(y.min(axis=1) < -1e-3 * abs(y).max(axis=1))
    if not len(below):
        return None
    return (
        f"{len(below)} of {len(data)} solutions are negative somewhere (least {y.min():.3g}), which the maximum "
        "principle forbids for a positive source",
        tuple(below.tolist()),
    )


def _reaction(data: Dataset, sample: int, stride: int) -> list[np.ndarray]:
    """A + 2 B -> C with the rates that its README states, of Ca."""
    a, dt, dx = _centre(data, "Ca", sample, stride)
    b, _, _ = _centre(data, "Cb", sample, stride)
    parts = [(a[2:] - a[:-2]) / (2 * dt), -2e-3 * _second(a, dx)[1:-1], (0.1 * a * b**2)[1:-1]]
    return [part[:, 2:-2] for part in parts]


EQUATIONS = (
    Equation(
        "u_t + beta u_x = 0",
        _one_dimension("beta", without=("Nu", "nu")),
        _evolution(lambda u, dx, p: [p["beta"] * _first(u, dx)]),
    ),
    Equation(
        "u_t + (u^2 / 2)_x = Nu / pi u_xx",
        _one_dimension("Nu", without=("rho", "Rho")),
        _evolution(lambda u, dx, p: [_first(u**2 / 2, dx), -p["Nu"] / np.pi * _second(u, dx)]),
    ),
    Equation(
        "u_t - Nu u_xx - rho u (1 - u) = 0",
        _one_dimension("Nu", "rho"),
        _evolution(lambda u, dx, p: [-p["Nu"] * _second(u, dx), -p["rho"] * u * (1 - u)]),
    ),
    Equation(
        "-div(nu grad u) = beta",
        lambda d: d.layout == "pdebench" and set(d.fields) == {"nu", "u"} and "beta" in d.parameters,
        _darcy,
    ),
    Equation(
        "-div(a grad y) = f, a of two values by x (Darcy; none stated in the file)",
        lambda d: d.layout == "neuraloperator" and set(d.fields) == {"x", "y"} and len(d.grid) == 2,
        _fitted_darcy,
    ),
    Equation(
        "Ca_t = 2e-3 Ca_xx - 0.1 Ca Cb^2",
        lambda d: set(d.fields) == {"Ca", "Cb"} and d.times is not None and len(d.grid) == 1,
        _reaction,
    ),
)
"""The first that applies is tried."""
