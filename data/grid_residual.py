"""How well foreign data obey an equation, by differences on their own grid: an estimate, with its truncation error.

The residual of smooth data falls with the grid; so it is compared with the same data seen on every second point, where
it must be larger by the order of the differences. Fluxes are differenced, not coefficients: central differences of a
coefficient that jumps tell nothing. And since a factor that is wrong does not fall with the grid, the factors of the
terms that fit the data best are told as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from variform.data.dataset import Dataset
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.data.check import Finding

LARGE = 0.3
"""A residual that is this part of its own terms is no truncation error."""
SMALL = 0.01
"""Relative residual that passes even where it does not fall with the grid: the error of who made the data."""
SAMPLES = 50
LEAST_POINTS, LEAST_TIMES = 9, 7
"""Of an axis, so that every second point still has differences inside."""

Terms = list[np.ndarray]
"""Their sum is zero; all of one shape, and without the edges of the grid."""
Sampled = Callable[[int, int], list[Terms]]
"""(sample, stride) -> terms of each equation of the system, on every stride-th point."""


@dataclass(frozen=True)
class Equation:
    """What may hold for a data set.

    Args:
        name: the equation, in words.
        applies: whether a data set looks like it.
        prepare: what its terms are; raises InputError where the data set does not allow to say.
    """

    name: str
    applies: Callable[[Dataset], bool]
    prepare: Callable[[Dataset], Sampled]


def finding(data: Dataset) -> Finding:
    """The outcome as one of `variform.data.check`."""
    from variform.data.check import Finding

    equation = next((e for e in EQUATIONS if e.applies(data)), None)
    if equation is None:
        return Finding("equation", "not checkable", f"the file does not say which equation it obeys ({data.layout})")
    try:
        _check_grid(data)
        terms = equation.prepare(data)
    except InputError as error:
        return Finding("equation", "not checkable", f"{equation.name}: {error}")
    numbers = range(min(SAMPLES, len(data)))
    fine, coarse = (np.array([_relative(terms(i, stride)) for i in numbers]) for stride in (1, 2))
    middle, double = float(np.median(fine)), float(np.median(coarse))
    order = np.log2(double / middle) if middle > 0 else np.inf
    several = f"median of {len(numbers)} samples, largest {fine.max():.1e}" if len(numbers) > 1 else "one sample"
    text = (
        f"{equation.name}: residual by differences {middle:.1e} of its terms ({several}), {double:.1e} on every second "
        f"point (order {order:.1f}); best factors of the terms: {_factors([terms(i, 1) for i in numbers[:5]])}"
    )
    if extra := _beyond_principle(data):
        return Finding("equation", "failed", f"{text}; {extra[0]}", extra[1], middle)
    if middle < LARGE and order > 0.5:
        return Finding("equation", "passed", f"{text}: an estimate", (), middle)
    if middle < SMALL:
        return Finding(
            "equation", "passed", f"{text}: an estimate; the rest is no error of the differences", (), middle
        )
    reason = "it does not fall with the grid, or is large: the grid is too coarse to judge, or the equation is another"
    return Finding("equation", "not checkable", f"{text}; {reason}", (), middle)


def _check_grid(data: Dataset) -> None:
    lines = {"xyz"[i]: (axis, LEAST_POINTS) for i, axis in enumerate(data.coordinates)}
    if data.times is not None:
        lines["t"] = data.times, LEAST_TIMES
    for name, (line, least) in lines.items():
        if len(line) < least:
            raise InputError(f"differences need {least} values of {name}, there are {len(line)}")
        steps = np.diff(line)
        if np.ptp(steps) > 1e-2 * steps.mean():  # coordinates are often in single precision
            raise InputError(f"the values of {name} are not evenly spaced")


def _relative(system: list[Terms]) -> float:
    """The largest of the equations."""
    sizes = [sum(np.linalg.norm(term) for term in terms) for terms in system]
    norms = [np.linalg.norm(sum(terms)) for terms in system]
    return max(float(norm / size) if size else 0.0 for norm, size in zip(norms, sizes, strict=True))


def _factors(samples: list[list[Terms]]) -> str:
    """By least squares, all samples together: those of the later terms that balance the first."""
    found = []
    for one in zip(*samples, strict=True):
        columns = [np.concatenate([terms[k].ravel() for terms in one]) for k in range(len(one[0]))]
        factors = np.linalg.lstsq(np.stack(columns[1:], axis=1), -columns[0])[0]
        found.append("1, " + ", ".join(f"{factor:.3g}" for factor in factors))
    return "; ".join(found)


def _step(line: np.ndarray, stride: int) -> float:
    return float(line[-1] - line[0]) / (len(line) - 1) * stride


def _evolving(data: Dataset, name: str, sample: int, stride: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Values (T, *grid) of a field at inner times, du/dt there, and the steps in space."""
    cut = (slice(None, None, stride),) * (1 + len(data.coordinates))
    u = data.read(name, sample)[cut].astype(float)
    rate = (u[2:] - u[:-2]) / (2 * _step(data.times, stride))
    return u[1:-1], rate, [_step(axis, stride) for axis in data.coordinates]


def _inside(*terms: np.ndarray) -> Terms:
    """Without the points whose differences reach around the edges; the first axis is that of times."""
    return [term[(slice(None), *(slice(2, -2),) * (term.ndim - 1))] for term in terms]


def _first(u: np.ndarray, h: float, axis: int = 1) -> np.ndarray:
    """Of order four."""
    at = [np.roll(u, k, axis) for k in (2, 1, -1, -2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)


def _second(u: np.ndarray, h: float, axis: int = 1) -> np.ndarray:
    """Of order four."""
    at = [np.roll(u, k, axis) for k in (2, 1, -1, -2)]
    return (16 * (at[1] + at[2]) - at[0] - at[3] - 30 * u) / (12 * h**2)


def _scalar(rest: Callable[[np.ndarray, float, dict[str, float]], Terms]) -> Callable[[Dataset], Sampled]:
    """u_t + rest = 0 in one dimension."""

    def prepare(data: Dataset) -> Sampled:
        def terms(sample: int, stride: int) -> list[Terms]:
            u, rate, (h,) = _evolving(data, data.named("output")[0], sample, stride)
            numbers = {name: float(column[sample]) for name, column in data.parameters.items()}
            return [_inside(rate, *rest(u, h, numbers))]

        return terms

    return prepare


def _reaction(data: Dataset) -> Sampled:
    """A + 2 B -> C, as the README of the data states it."""

    def terms(sample: int, stride: int) -> list[Terms]:
        (a, a_t, (h,)), (b, b_t, _) = (_evolving(data, name, sample, stride) for name in ("Ca", "Cb"))
        rate = a * b**2
        return [_inside(a_t, -2e-3 * _second(a, h), 0.1 * rate), _inside(b_t, -2e-3 * _second(b, h), 0.2 * rate)]

    return terms


def _fitzhugh_nagumo(data: Dataset) -> Sampled:
    """PDEBench's 2D diffusion-reaction; its numbers are in the configuration of the file.

    Source: Takamoto et al. 2022, appendix D: Du = 1e-3, Dv = 5e-3, k = 5e-3.
    """
    stated = {"Du": 1e-3, "Dv": 5e-3, "k": 5e-3}
    for name in stated:
        if found := re.search(rf"^\s*{name}:\s*([0-9.eE+-]+)\s*$", data.info.get("config", ""), re.MULTILINE):
            stated[name] = float(found[1])

    def terms(sample: int, stride: int) -> list[Terms]:
        (u, u_t, steps), (v, v_t, _) = (_evolving(data, name, sample, stride) for name in ("u0", "u1"))
        spread = [sum(_second(w, h, axis) for axis, h in enumerate(steps, start=1)) for w in (u, v)]
        return [
            _inside(u_t, -stated["Du"] * spread[0], -(u - u**3 - stated["k"] - v)),
            _inside(v_t, -stated["Dv"] * spread[1], -(u - v)),
        ]

    return terms


def _flux(a: np.ndarray, u: np.ndarray, steps: list[float]) -> np.ndarray:
    """-div(a grad u) at interior points; a on faces is the harmonic mean."""
    total = 0.0
    for axis, h in enumerate(steps):
        low, high = (np.take(a, range(i, a.shape[axis] - 1 + i), axis) for i in (0, 1))
        flux = 2 * low * high / (low + high) * np.diff(u, axis=axis) / h
        inside = tuple(slice(None) if i == axis else slice(1, -1) for i in range(u.ndim))
        total = total - np.diff(flux, axis=axis)[inside] / h
    return total


def _darcy(data: Dataset) -> Sampled:
    def terms(sample: int, stride: int) -> list[Terms]:
        cut = (slice(None, None, stride),) * 2
        a, u = (data.read(name, sample)[cut].astype(float) for name in ("nu", "u"))
        flux = _flux(a, u, [_step(axis, stride) for axis in data.coordinates])
        return [[np.full_like(flux, -float(data.parameters["beta"][sample])), flux]]

    return terms


def _two_phases(data: Dataset) -> Sampled:
    """Darcy flow that states neither its conductivities nor its source: as if the source were 1, the conductivities
    are those for which the equation holds where nine points around have the same."""
    steps = [_step(axis, 1) for axis in data.coordinates]
    mask = data.read("x", slice(0, SAMPLES)) > 0.5
    y = data.read("y", slice(0, SAMPLES)).astype(float)
    around = np.lib.stride_tricks.sliding_window_view(mask, (3, 3), (1, 2))
    load = np.stack([_flux(np.ones_like(one), one, steps) for one in y])
    loads = {}
    for phase, where in ((True, around.all((-1, -2))), (False, ~around.any((-1, -2)))):
        if where.sum() < 10 or (value := float(np.median(load[where]))) <= 0:
            raise InputError("it does not state its conductivities, and the data do not tell them")
        loads[phase] = value

    def terms(sample: int, stride: int) -> list[Terms]:
        cut = (slice(None, None, stride),) * 2
        x, u = data.read("x", sample)[cut] > 0.5, data.read("y", sample)[cut].astype(float)
        flux = _flux(np.where(x, 1 / loads[True], 1 / loads[False]), u, [stride * h for h in steps])
        return [[np.full_like(flux, -1.0), flux]]

    return terms


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


def _one_dimension(*parameters: str, without: tuple[str, ...] = ()) -> Callable[[Dataset], bool]:
    return lambda d: (
        d.layout == "pdebench"
        and len(d.coordinates) == 1
        and d.times is not None
        and set(parameters) <= set(d.parameters)
        and not set(without) & set(d.parameters)
    )


EQUATIONS = (
    Equation(
        "u_t + beta u_x = 0",
        _one_dimension("beta", without=("Nu", "nu")),
        _scalar(lambda u, h, p: [p["beta"] * _first(u, h)]),
    ),
    Equation(
        "u_t + (u^2 / 2)_x = Nu / pi u_xx",
        _one_dimension("Nu", without=("rho", "Rho")),
        _scalar(lambda u, h, p: [_first(u**2 / 2, h), -p["Nu"] / np.pi * _second(u, h)]),
    ),
    Equation(
        "u_t - Nu u_xx - rho u (1 - u) = 0",
        _one_dimension("Nu", "rho"),
        _scalar(lambda u, h, p: [-p["Nu"] * _second(u, h), -p["rho"] * u * (1 - u)]),
    ),
    Equation(
        "-div(nu grad u) = beta",
        lambda d: d.layout == "pdebench" and set(d.fields) == {"nu", "u"} and "beta" in d.parameters,
        _darcy,
    ),
    Equation(
        "u_t = Du lap u + u - u^3 - k - v, v_t = Dv lap v + u - v",
        lambda d: (
            d.layout == "pdebench"
            and len(d.coordinates) == 2
            and set(d.fields) == {"u0", "u1"}
            and ("diff-react" in d.name or "Du:" in d.info.get("config", ""))
        ),
        _fitzhugh_nagumo,
    ),
    Equation(
        "-div(a grad y) = f, a of two values by x (Darcy; none stated in the file)",
        lambda d: d.layout == "neuraloperator" and set(d.fields) == {"x", "y"} and len(d.grid) == 2,
        _two_phases,
    ),
    Equation(
        "Ca_t = 2e-3 Ca_xx - 0.1 Ca Cb^2, Cb_t = 2e-3 Cb_xx - 0.2 Ca Cb^2",
        lambda d: set(d.fields) == {"Ca", "Cb"} and d.times is not None and len(d.grid) == 1,
        _reaction,
    ),
)
"""The first that applies is tried."""
