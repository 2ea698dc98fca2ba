"""Random inputs: the laws that random instances of a task follow.

A law draws from a generator that belongs to one (seed, index, stream), so that every sample is the same on every
machine, whatever else is drawn. Fields are functions of x, known everywhere: a finer mesh sees the same sample.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from array_api_compat import array_namespace

from variform.errors import InputError, unknown

Boundary = Literal["neumann", "dirichlet", "periodic"]
BOUNDARIES = ("neumann", "dirichlet", "periodic")


def generator(seed: int, index: int, stream: str = "") -> np.random.Generator:
    """A counter-based stream of its own for each (seed, index, stream), the same on every machine."""
    key = np.array([seed, 1 + zlib.crc32(stream.encode()) if stream else 0], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))


@dataclass(frozen=True)
class Uniform:
    """A number, evenly distributed between two."""

    low: float
    high: float

    def sample(self, rng: np.random.Generator) -> float:
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class Choice:
    """One of a few numbers, each as likely."""

    values: tuple[float, ...]

    def sample(self, rng: np.random.Generator) -> float:
        return float(rng.choice(self.values))


@dataclass(frozen=True, eq=False)
class Series:
    """g(x) = sum_k c_k prod_i b_i,k_i(x_i) on a box, b orthonormal functions in each direction.

    "neumann": 1, sqrt(2) cos(pi k x); "dirichlet": sqrt(2) sin(pi k x), k from 1; "periodic": 1, and sqrt(2) cos and
    sqrt(2) sin(2 pi k x) in turn; x scaled to the unit box.

    Args:
        coefficients: c, one axis a dimension.
        boundary: of each dimension.
        lower, upper: corners of the box [m].
    """

    coefficients: np.ndarray
    boundary: tuple[Boundary, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    def __call__(self, x: Any) -> Any:
        """Values at x (dim, ...), shape (...), by NumPy or torch, as x is."""
        if isinstance(x, np.ndarray):
            return evaluate_many([self], x)[0]
        xp = array_namespace(x)
        g = xp.asarray(self.coefficients, dtype=x.dtype, device=x.device)
        for i in range(self.coefficients.ndim):
            b = self.basis(xp, i, x[i].reshape((1, -1)))
            # The first axis of g becomes an axis of points, shared by every later dimension.
            g = xp.einsum("k...p,kp->...p" if i else "k...,kp->...p", g, b)
        return g.reshape(x.shape[1:])

    def basis(self, xp: Any, axis: int, x: Any) -> Any:
        """The functions of one direction at x (1, n), shape (modes, n)."""
        count, kind = self.coefficients.shape[axis], self.boundary[axis]
        first = 1 if kind == "dirichlet" else 0
        number = xp.arange(first, first + count, dtype=x.dtype, device=getattr(x, "device", None)).reshape((-1, 1))
        s = (x - self.lower[axis]) / (self.upper[axis] - self.lower[axis])
        # Arithmetic with Python's numbers keeps the precision of x; torch's `where` would not.
        constant = xp.asarray(number == 0, dtype=x.dtype)
        size = math.sqrt(2) + (1 - math.sqrt(2)) * constant
        if kind == "neumann":
            return size * xp.cos(math.pi * number * s)
        if kind == "dirichlet":
            return size * xp.sin(math.pi * number * s)
        # 1, cos 1, sin 1, cos 2, sin 2, ...: sin(a) = cos(a - pi / 2)
        sine = xp.asarray(number % 2 == 0, dtype=x.dtype) - constant
        return size * xp.cos(2 * math.pi * xp.floor((number + 1) / 2) * s - math.pi / 2 * sine)

    def _like(self, other: Any) -> bool:
        """They have the same functions, and only the coefficients differ."""
        return isinstance(other, Series) and (
            (self.coefficients.shape, self.boundary, self.lower, self.upper)
            == (other.coefficients.shape, other.boundary, other.lower, other.upper)
        )


@dataclass(frozen=True)
class GaussianField:
    """Gaussian, mean zero, covariance scale^2 (tau^2 - Laplace)^(-alpha) on a box, by its Karhunen-Loeve series.

    Args:
        dim: dimension of the box.
        boundary: of all directions, or of each: what the Laplacian has there.
        alpha: exponent [-]; the deviation of a coefficient is scale (tau^2 + eigenvalue)^(-alpha / 2).
        tau: inverse length [1/m].
        scale: of the deviations; None for a mean variance of sigma^2.
        sigma: standard deviation, as a mean over the box; only where scale is None.
        modes: wave numbers a direction, from 0 or 1; the series ends there, and every sample is smooth.
        zero_mean: the constant is left out.
        lower, upper: corners of the box [m]; the unit box by default.

    Source: Li et al. 2021, arXiv:2010.08895, section 5; Lindgren, Rue and Lindstrom 2011, for the Laplacian's ends.
    """

    dim: int = 2
    boundary: Boundary | tuple[Boundary, ...] = "neumann"
    alpha: float = 2.0
    tau: float = 3.0
    scale: float | None = None
    sigma: float = 1.0
    modes: int = 32
    zero_mean: bool = True
    lower: tuple[float, ...] | None = None
    upper: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for kind in self.boundaries:
            if kind not in BOUNDARIES:
                raise unknown("boundary of a Gaussian field", kind, BOUNDARIES)
        if len(self.boundaries) != self.dim or self.modes < 1:
            raise InputError(f"a Gaussian field needs {self.dim} boundaries and modes of 1 or more")

    @property
    def boundaries(self) -> tuple[Boundary, ...]:
        return (self.boundary,) * self.dim if isinstance(self.boundary, str) else tuple(self.boundary)

    @cached_property
    def corners(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.lower or (0.0,) * self.dim, self.upper or (1.0,) * self.dim

    @cached_property
    def deviations(self) -> np.ndarray:
        """Of the coefficients of the orthonormal functions on the unit box, one axis a dimension."""
        squares = []
        for kind, a, b in zip(self.boundaries, *self.corners, strict=True):
            k = np.arange(self.modes + 1)
            wave = {"neumann": k, "dirichlet": k[1:], "periodic": 2 * np.concatenate([[0], np.repeat(k[1:], 2)])}[kind]
            squares.append((math.pi * wave / (b - a)) ** 2)
        eigenvalues = sum(np.meshgrid(*squares, indexing="ij"))
        deviations = (self.tau**2 + eigenvalues) ** (-self.alpha / 2)
        if self.zero_mean and "dirichlet" not in self.boundaries:
            deviations.flat[0] = 0.0
        if self.scale is None:
            return deviations * self.sigma / math.sqrt((deviations**2).sum())
        volume = math.prod(b - a for a, b in zip(*self.corners, strict=True))
        return deviations * self.scale / math.sqrt(volume)

    def sample(self, rng: np.random.Generator) -> Series:
        deviations = self.deviations
        return Series(deviations * rng.standard_normal(deviations.shape), self.boundaries, *self.corners)

    def covariance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """E g(x) g(y) at points (dim, n) and (dim, m), shape (n, m): the series itself."""
        series, b = Series(self.deviations, self.boundaries, *self.corners), []
        for points in (x, y):
            rows = [series.basis(np, i, points[i][None]) for i in range(self.dim)]
            waves = rows[0]
            for row in rows[1:]:
                waves = (waves[:, None] * row[None]).reshape(-1, waves.shape[-1])
            b.append(waves)
        return np.einsum("kn,k,km->nm", b[0], self.deviations.ravel() ** 2, b[1], optimize=True)


@dataclass(frozen=True, eq=False)
class Composed:
    """outer(inner(x)); outer works on values alone."""

    inner: Callable[[Any], Any]
    outer: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        return self.outer(self.inner(x))


@dataclass(frozen=True)
class Exponential:
    """exp of a value, times a factor."""

    factor: float = 1.0

    def __call__(self, values: Any) -> Any:
        return self.factor * array_namespace(values).exp(values)


@dataclass(frozen=True)
class Steps:
    """values[i] where i of the levels lie at or below the argument; levels increase, one fewer than values."""

    levels: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, values: Any) -> Any:
        xp = array_namespace(values)
        result = 0 * values + self.values[0]
        for level, value in zip(self.levels, self.values[1:], strict=True):
            result = xp.where(values >= level, xp.asarray(value, dtype=values.dtype), result)
        return result


@dataclass(frozen=True)
class Mapped:
    """A law of fields whose values go through a function: `Exponential` (log-normal), `Steps` (phases)."""

    law: Any
    outer: Callable[[Any], Any]

    def sample(self, rng: np.random.Generator) -> Composed:
        return Composed(self.law.sample(rng), self.outer)


def two_phase(low: float, high: float, law: GaussianField) -> Mapped:
    """`high` where the Gaussian field is at least 0, `low` elsewhere."""
    return Mapped(law, Steps((0.0,), (low, high)))


@dataclass(frozen=True, eq=False)
class Sum:
    """A sum of terms of one kind, each a row of the arrays: see `Bumps` and `Sinusoids`."""

    kind: Literal["bump", "sine"]
    amplitudes: np.ndarray
    places: np.ndarray
    sizes: np.ndarray

    def __call__(self, x: Any) -> Any:
        xp, total = array_namespace(x), 0 * x[0]
        for a, place, size in zip(self.amplitudes, self.places, self.sizes, strict=True):
            if self.kind == "bump":
                square = sum((x[i] - float(c)) ** 2 for i, c in enumerate(place))
                total = total + float(a) * xp.exp(-square / (2 * float(size) ** 2))
            else:
                phase = sum(float(k) * x[i] for i, k in enumerate(place))
                total = total + float(a) * xp.sin(phase + float(size))
        return total


@dataclass(frozen=True)
class Bumps:
    """A sum of Gaussian bumps exp(-|x - c|^2 / (2 w^2)): centres evenly distributed, widths and amplitudes too.

    Args:
        count: of the bumps.
        width, amplitude: least and greatest.
        lower, upper: corners of the box of the centres [m].
    """

    count: int = 5
    width: tuple[float, float] = (0.05, 0.15)
    amplitude: tuple[float, float] = (-1.0, 1.0)
    lower: tuple[float, ...] = (0.0, 0.0)
    upper: tuple[float, ...] = (1.0, 1.0)

    def sample(self, rng: np.random.Generator) -> Sum:
        centres = rng.uniform(self.lower, self.upper, size=(self.count, len(self.lower)))
        return Sum("bump", rng.uniform(*self.amplitude, self.count), centres, rng.uniform(*self.width, self.count))


@dataclass(frozen=True)
class Sinusoids:
    """sum_j A_j sin(2 pi n_j . x / L + phi_j), n_j whole: periodic on the box.

    Args:
        count: of the terms.
        waves: least and greatest |n| in each direction; the signs are random.
        amplitude: least and greatest.
        period: L of each direction [m].
    """

    count: int = 5
    waves: tuple[int, int] = (1, 2)
    amplitude: tuple[float, float] = (-0.5, 0.5)
    period: tuple[float, ...] = (1.0,)

    def sample(self, rng: np.random.Generator) -> Sum:
        shape = (self.count, len(self.period))
        n = rng.integers(self.waves[0], self.waves[1] + 1, size=shape) * rng.choice([-1, 1], size=shape)
        n = abs(n) if len(self.period) == 1 else n
        k = 2 * math.pi * n / np.asarray(self.period)
        return Sum("sine", rng.uniform(*self.amplitude, self.count), k, rng.uniform(0, 2 * math.pi, self.count))


@dataclass(frozen=True, eq=False)
class InEllipses:
    """`inside` in the ellipses, `outside` elsewhere.

    Args:
        centres, axes: of each ellipse [m], shape (count, 2); angles: of the first axis [rad], (count,).
    """

    centres: np.ndarray
    axes: np.ndarray
    angles: np.ndarray
    inside: float
    outside: float

    def __call__(self, x: Any) -> Any:
        xp, value = array_namespace(x), 0 * x[0] + self.outside
        for (cx, cy), (a, b), angle in zip(
            self.centres.tolist(), self.axes.tolist(), self.angles.tolist(), strict=True
        ):
            dx, dy = x[0] - cx, x[1] - cy
            along, across = (
                math.cos(angle) * dx + math.sin(angle) * dy,
                -math.sin(angle) * dx + math.cos(angle) * dy,
            )
            value = xp.where(
                (along / a) ** 2 + (across / b) ** 2 < 1, xp.asarray(self.inside, dtype=value.dtype), value
            )
        return value


@dataclass(frozen=True)
class Ellipses:
    """Random ellipses in the unit square that do not touch: their circumscribed circles keep a distance.

    Args:
        count: least and greatest number.
        axis: least and greatest half axis [m].
        gap: between two, and to the boundary [m].
        inside, outside: values of the field.
    """

    count: tuple[int, int] = (2, 5)
    axis: tuple[float, float] = (0.05, 0.15)
    gap: float = 0.04
    inside: float = 10.0
    outside: float = 1.0

    def sample(self, rng: np.random.Generator) -> InEllipses:
        wanted = int(rng.integers(self.count[0], self.count[1] + 1))
        centres: list[np.ndarray] = []
        axes: list[np.ndarray] = []
        for _ in range(1000):  # where there is no room for as many, there are fewer
            if len(centres) == wanted:
                break
            size = rng.uniform(*self.axis, size=2)
            reach = size.max() + self.gap
            centre = rng.uniform(reach, 1 - reach, size=2)
            others = zip(centres, axes, strict=True)
            if all(np.linalg.norm(centre - c) > reach + a.max() for c, a in others):
                centres.append(centre)
                axes.append(size)
        angles = rng.uniform(0, math.pi, len(centres))
        return InEllipses(np.array(centres), np.array(axes), angles, self.inside, self.outside)


@dataclass(frozen=True, eq=False)
class OfDirection:
    """A function of the angle about a point, as a field of the plane.

    Args:
        of: angles (1, ...) [rad], from 0 to 2 pi, to values (...).
        centre: [m].
    """

    of: Callable[[Any], Any]
    centre: tuple[float, float] = (0.5, 0.5)

    def __call__(self, x: Any) -> Any:
        xp = array_namespace(x)
        angle = xp.atan2(x[1] - self.centre[1], x[0] - self.centre[0])
        return self.of((angle % (2 * math.pi))[None])


@dataclass(frozen=True)
class Logistic:
    """low + (high - low) / (1 + exp(value))."""

    low: float
    high: float

    def __call__(self, values: Any) -> Any:
        return self.low + (self.high - self.low) / (1 + array_namespace(values).exp(values))


@dataclass(frozen=True)
class SmoothRadius:
    """The radius of a void between two bounds: a logistic function of a Gaussian field on the circle.

    Covariance 4^2 (3^2 - Laplace)^(-alpha). With alpha = 1, that of the source, corners are rough; 2 is smooth.

    Source: Li et al., Fourier Neural Operator with Learned Deformations (2022), section on elasticity.
    """

    low: float = 0.2
    high: float = 0.4
    alpha: float = 2.0
    modes: int = 8

    def sample(self, rng: np.random.Generator) -> OfDirection:
        field = GaussianField(
            1,
            "periodic",
            self.alpha,
            3.0,
            scale=4.0,
            modes=self.modes,
            zero_mean=False,
            upper=(2 * math.pi,),
            lower=(0.0,),
        )
        return OfDirection(Composed(field.sample(rng), Logistic(self.low, self.high)))


@dataclass(frozen=True)
class EllipticRadius:
    """The radius of an ellipse about the middle of the unit square, with random half axes [m] and direction."""

    axis: tuple[float, float] = (0.1, 0.35)

    def sample(self, rng: np.random.Generator) -> OfDirection:
        (a, b), turn = rng.uniform(*self.axis, size=2), rng.uniform(0, math.pi)
        return OfDirection(_Ellipse(float(a), float(b), float(turn)))


@dataclass(frozen=True)
class _Ellipse:
    a: float
    b: float
    turn: float

    def __call__(self, angle: Any) -> Any:
        xp, t = array_namespace(angle), angle[0] - self.turn
        return self.a * self.b / xp.sqrt((self.b * xp.cos(t)) ** 2 + (self.a * xp.sin(t)) ** 2)


@dataclass(frozen=True)
class Normal:
    """sigma g: g as of `LogNormal`, band-limited: the same on every mesh."""

    dim: int = 2
    sigma: float = 1.0
    modes: int = 16
    alpha: float = 0.0
    tau: float = 1.0

    def sample(self, rng: np.random.Generator) -> Series:
        return self.field.sample(rng)

    @cached_property
    def field(self) -> GaussianField:
        return GaussianField(self.dim, "neumann", self.alpha, self.tau, sigma=self.sigma, modes=self.modes - 1)


@dataclass(frozen=True)
class LogNormal:
    """exp(sigma g): g Gaussian on the unit box, covariance ~ (tau^2 - Laplace)^(-alpha), Neumann, unit mean variance.

    The Karhunen-Loeve series of g ends at `modes` cosines a direction, so that every sample is smooth.

    Args:
        dim: dimension of the box.
        sigma: standard deviation of the logarithm [-].
        modes: cosines a direction.
        alpha: smoothness exponent [-].
        tau: inverse length scale [1/m].

    Source: the covariance of the operator-learning literature (Li et al. 2021, arXiv:2010.08895, section 5.2).
    """

    dim: int = 2
    sigma: float = 0.5
    modes: int = 8
    alpha: float = 2.0
    tau: float = 3.0

    def sample(self, rng: np.random.Generator) -> Composed:
        field = GaussianField(self.dim, "neumann", self.alpha, self.tau, sigma=self.sigma, modes=self.modes - 1)
        return Composed(field.sample(rng), Exponential())


def evaluate_many(functions: Sequence[Callable[[Any], Any] | float], x: np.ndarray) -> np.ndarray:
    """Values of many fields, or numbers, at the same points.

    Args:
        x: points (dim, ...).

    Returns:
        Shape (len(functions), ...). Series of one law are summed together, on the axes alone where the points are those
        of a few tensor grids, as nodes and midpoints of box meshes are.
    """
    first = functions[0]
    if isinstance(first, Composed) and all(isinstance(f, Composed) and f.outer == first.outer for f in functions):
        return first.outer(evaluate_many([f.inner for f in functions], x))
    if isinstance(first, Series) and all(first._like(f) for f in functions):
        values = _sums(first, np.stack([f.coefficients for f in functions]), x.reshape(len(x), -1))
        return values.reshape(len(functions), *x.shape[1:])
    return np.stack([f(x) if callable(f) else np.full(x.shape[1:], float(f)) for f in functions])


POINTS = 2**22
"""Numbers in the largest array of a sum."""


def _sums(like: Series, c: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Series with coefficients c (B, *modes) at x (dim, n): (B, n)."""
    axes, places = zip(*(_distinct(row) for row in x), strict=True)
    if math.prod(map(len, axes)) <= 8 * x.shape[1]:
        for i, axis in enumerate(axes):  # the axis of modes goes, one of coordinates comes last
            c = np.tensordot(c, like.basis(np, i, axis[None]), axes=(1, 0))
        return c[(slice(None), *places)]
    chunk = max(1, POINTS // (len(c) * max(1, math.prod(like.coefficients.shape[1:]))))
    parts = []
    for start in range(0, x.shape[1], chunk):
        g = c
        for i in range(len(x)):
            b = like.basis(np, i, x[i : i + 1, start : start + chunk])
            g = np.einsum("zk...p,kp->z...p" if i else "zk...,kp->z...p", g, b)
        parts.append(g)
    return np.concatenate(parts, axis=1)


def _distinct(coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values that differ by more than rounding, and the place of each coordinate among them."""
    size = max(1.0, float(abs(coordinates).max(initial=0.0)))
    _, first, place = np.unique(np.round(coordinates / size, 12), return_index=True, return_inverse=True)
    return coordinates[first], place
