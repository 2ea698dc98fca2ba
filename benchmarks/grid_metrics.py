"""What learned operators are measured by on uniform grids: one number a sample, each named with its formula.

Predictions p and truth y have shape (n, T, C, *N): samples, frames, channels, points along 1 to 3 axes; e = p - y.
Where a metric reads a frame of p that is not finite everywhere, it is NaN: such a sample is to be counted, not dropped.
It is not finite either where it is relative to a truth that is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from variform.errors import InputError

TOGETHER = 2**22
"""Values of samples that are measured at once: it takes several times their memory."""

SMALL = 1e-7
"""What The Well adds to a square that it divides by."""

CORRELATED = 0.8
"""Of Pearson's r, above which a frame counts as predicted."""

LOW, HIGH = 4, 12
"""Wave numbers at which PDEBench's middle band and its high one begin."""


@dataclass(frozen=True)
class Grid:
    """A uniform tensor grid over a box.

    Args:
        lengths: of the box [m], one an axis.
        periodic: for each axis; a periodic axis leaves its upper end out, another one holds both ends.
    """

    lengths: tuple[float, ...]
    periodic: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.lengths) <= 3 or not all(0 < length < np.inf for length in self.lengths):
            raise InputError(f"a grid has 1 to 3 axes of positive length, got {self.lengths}")
        if len(self.periodic) != len(self.lengths):
            raise InputError(f"periodic must have an entry for each of {len(self.lengths)} axes, got {self.periodic}")

    @classmethod
    def of(cls, coordinates: Sequence[np.ndarray], periodic: Sequence[bool] = ()) -> Grid:
        """The grid of a data set; no axis is periodic where that is not told.

        Raises:
            InputError: the points of an axis are not equidistant.
        """
        periodic = tuple(map(bool, periodic)) or (False,) * len(coordinates)
        lengths = []
        for x, wraps in zip(coordinates, periodic, strict=True):
            h = np.diff(np.asarray(x, dtype=np.float64))
            if not len(h) or not np.allclose(h, h.mean(), rtol=1e-2, atol=0):  # coordinates may be float32
                raise InputError(f"the metrics need two or more equidistant points along each axis, got {x}")
            lengths.append(float(h.sum() + wraps * h.mean()))
        return cls(tuple(lengths), periodic)

    def spacings(self, shape: Sequence[int]) -> list[float]:
        """Of the points along each axis [m]."""
        return [L / (n if wraps else n - 1) for L, n, wraps in zip(self.lengths, shape, self.periodic, strict=True)]

    def weights(self, shape: Sequence[int]) -> np.ndarray:
        """Of the trapezoidal rule over the box [m^dim], of this shape."""
        axes = []
        for n, h, wraps in zip(shape, self.spacings(shape), self.periodic, strict=True):
            axes.append(np.full(n, h))
            if not wraps:
                axes[-1][[0, -1]] = h / 2
        return reduce(np.multiply.outer, axes)


@dataclass(frozen=True)
class Block:
    """Predictions and truth of some samples, in float64, (n, T, C, *N).

    Args:
        times: of the frames, since the last frame that was given [s], (T,).
    """

    p: np.ndarray
    y: np.ndarray
    grid: Grid
    times: np.ndarray

    @cached_property
    def e(self) -> np.ndarray:
        return self.p - self.y

    @cached_property
    def spectrum(self) -> np.ndarray:
        """|FFT(e)|^2 over the axes of the grid, periodic or not, (n, T, C, *N)."""
        return np.abs(np.fft.fftn(self.e, axes=self.space)) ** 2

    @property
    def frames(self) -> int:
        return self.y.shape[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return self.y.shape[3:]

    @property
    def dim(self) -> int:
        return len(self.shape)

    @property
    def space(self) -> tuple[int, ...]:
        """The axes of the arrays that are axes of the grid."""
        return tuple(range(3, self.y.ndim))


def measured(p: np.ndarray, y: np.ndarray, grid: Grid, times: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All of METRICS that apply, by name, each of shape (n,).

    Args:
        p, y: predictions and truth, (n, T, C, *N), T = 1 of a stationary task.
        times: of the frames, since the last frame that was given [s], (T,); without them they are counted: 1 to T.

    Raises:
        InputError: shapes that do not fit.
    """
    _check(p, y)
    if y.ndim - 3 != len(grid.lengths) or min(y.shape[3:]) < 2:
        raise InputError(f"a grid of {len(grid.lengths)} axes needs two or more points along each, got {y.shape[3:]}")
    times = np.arange(1.0, y.shape[1] + 1) if times is None else np.asarray(times, dtype=np.float64)
    if times.shape != (y.shape[1],) or not np.all(np.diff(times, prepend=0) > 0):
        raise InputError(f"times must be positive and increase, one for each of {y.shape[1]} frames, got {times}")
    parts = []
    count = max(1, TOGETHER // y[0].size)
    for begin in range(0, len(y), count):
        block = Block(*(_finite(u[begin : begin + count]) for u in (p, y)), grid, times)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            parts.append({name: m.function(block) for name, m in METRICS.items() if m.applies(block)})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def error_by_frame(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """||p_t - y_t||_2 / ||y_t||_2 of every frame t, over channels and points, (n, T)."""
    _check(p, y)
    p, y = _finite(p), _finite(y)
    axes = tuple(range(2, y.ndim))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.sqrt(((p - y) ** 2).sum(axis=axes) / (y**2).sum(axis=axes))


def _check(p: np.ndarray, y: np.ndarray) -> None:
    if np.shape(p) != np.shape(y) or not 4 <= np.ndim(y) <= 6 or 0 in np.shape(y):
        raise InputError(f"p and y must both have one shape (n, T, C, *N), got {np.shape(p)} and {np.shape(y)}")


def _finite(u: np.ndarray) -> np.ndarray:
    """In float64; a channel of a frame that is not finite somewhere is NaN everywhere."""
    u = np.asarray(u, dtype=np.float64)
    return np.where(np.isfinite(u).all(axis=tuple(range(3, u.ndim)), keepdims=True), u, np.nan)


# The whole predicted block of a sample


def _total(u: np.ndarray) -> np.ndarray:
    """The sum over all but samples, (n,)."""
    return u.sum(axis=tuple(range(1, u.ndim)))


def relative_l2(b: Block) -> np.ndarray:
    return np.sqrt(_total(b.e**2) / _total(b.y**2))


def relative_l2_trapezoidal(b: Block) -> np.ndarray:
    w = b.grid.weights(b.shape)
    return np.sqrt(_total(w * b.e**2) / _total(w * b.y**2))


def relative_h1(b: Block) -> np.ndarray:
    return np.sqrt(_slopes(b, b.e) / _slopes(b, b.y))


def _slopes(b: Block, u: np.ndarray) -> np.ndarray:
    """Mean square of the gradient by differences of neighbours, (n,).

    Central differences, over two points, would not see an error that alternates from point to point.
    """
    found = np.zeros(len(u))
    for axis, h, wraps in zip(b.space, b.grid.spacings(b.shape), b.grid.periodic, strict=True):
        first = {"append": u.take([0], axis)} if wraps else {}
        found += ((np.diff(u, axis=axis, **first) / h) ** 2).mean(axis=tuple(range(1, u.ndim)))
    return found


def conserved_drift(b: Block) -> np.ndarray:
    w = b.grid.weights(b.shape)
    drift, scale = (np.tensordot(u, w, b.dim) for u in (b.e, np.abs(b.y)))  # (n, T, C)
    return (np.abs(drift).max(axis=1) / scale.mean(axis=1)).max(axis=1)


def accumulated_error(b: Block) -> np.ndarray:
    return _total(b.e**2) / b.shape[0]


# PDEBench: the mean over frames and channels of what each of them has


def _mean_square(b: Block, u: np.ndarray) -> np.ndarray:
    """Over points, (n, T, C)."""
    return (u**2).mean(axis=b.space)


def _average(values: np.ndarray) -> np.ndarray:
    """Over frames and channels: (n, T, C) to (n,)."""
    return values.mean(axis=(1, 2))


def pdebench_rmse(b: Block) -> np.ndarray:
    return _average(np.sqrt(_mean_square(b, b.e)))


def pdebench_nrmse(b: Block) -> np.ndarray:
    return _average(np.sqrt(_mean_square(b, b.e)) / np.sqrt(_mean_square(b, b.y)))


def pdebench_crmse(b: Block) -> np.ndarray:
    return _average(np.abs(b.e.mean(axis=b.space)))


def largest_error(b: Block) -> np.ndarray:
    return _average(np.abs(b.e).max(axis=b.space))


def pdebench_brmse(b: Block) -> np.ndarray:
    sides = [b.e.take(end, axis).reshape(*b.e.shape[:3], -1) for axis in b.space for end in (0, -1)]
    return _average(np.sqrt((np.concatenate(sides, axis=3) ** 2).mean(axis=3)))


def pdebench_frmse(b: Block, first: int, last: int | None) -> np.ndarray:
    scale = np.prod(b.grid.lengths) / np.prod(b.shape)
    return _average(_shells(b)[..., first:last].mean(axis=3) * scale)


def _shells(b: Block) -> np.ndarray:
    """Root of the sum of |FFT(e)|^2 over floor|k| = 0, 1, .. of wave numbers that are not negative, (n, T, C, bins)."""
    half = _half(b)
    square = b.spectrum[(..., *map(slice, half))].reshape(*b.spectrum.shape[:3], -1)
    k = np.floor(np.sqrt((np.indices(half) ** 2).sum(axis=0))).ravel()
    return np.sqrt(square @ (k[:, None] == np.arange(min(half))).astype(float))


def _half(b: Block) -> list[int]:
    """How many wave numbers PDEBench takes of each axis: the largest one, N / 2, in 1-D only."""
    return [n // 2 + (b.dim == 1) for n in b.shape]


# The Well: the mean over frames and channels as well


def well_mse(b: Block) -> np.ndarray:
    return _average(_mean_square(b, b.e))


def _well_nmse(b: Block) -> np.ndarray:
    return _mean_square(b, b.e) / (_mean_square(b, b.y) + SMALL)


def well_nmse(b: Block) -> np.ndarray:
    return _average(_well_nmse(b))


def well_nrmse(b: Block) -> np.ndarray:
    return _average(np.sqrt(_well_nmse(b)))


def _well_vrmse(b: Block) -> np.ndarray:
    return np.sqrt(_mean_square(b, b.e) / (b.y.var(axis=b.space, ddof=1) + SMALL))


def well_vrmse(b: Block, first: int = 0, last: int | None = None) -> np.ndarray:
    return _average(_well_vrmse(b)[:, first:last])


def well_pearson(b: Block) -> np.ndarray:
    p, y = (u - u.mean(axis=b.space, keepdims=True) for u in (b.p, b.y))
    deviations = p.std(axis=b.space, ddof=1) * y.std(axis=b.space, ddof=1)
    return _average((p * y).mean(axis=b.space) / (deviations + SMALL))


def well_spectral_mse(b: Block, band: int) -> np.ndarray:
    k = np.sqrt(sum(np.square(axis) for axis in np.ix_(*(2 * np.pi * np.fft.fftfreq(n) for n in b.shape))))
    ends = np.geomspace(2 * np.pi / max(b.shape), np.pi * np.sqrt(b.dim) + 1e-6, 4)[1:3]
    return _average(b.spectrum[..., np.digitize(k, ends) == band].sum(axis=3) / k.size**2)


# Rollouts


def correlation(b: Block) -> np.ndarray:
    """Pearson's r of each frame over channels and points, (n, T); 0 where p or y is constant."""
    p, y = (u.reshape(*u.shape[:2], -1) for u in (b.p, b.y))
    constant = (np.ptp(p, axis=2) == 0) | (np.ptp(y, axis=2) == 0)
    p, y = (u - u.mean(axis=2, keepdims=True) for u in (p, y))
    r = (p * y).sum(axis=2) / np.sqrt((p**2).sum(axis=2) * (y**2).sum(axis=2))
    return np.where(constant, 0.0, r)


def frames_correlated(b: Block) -> np.ndarray:
    """How many frames come before r is first below CORRELATED, (n,); NaN where the first such frame is not finite."""
    r = np.pad(correlation(b), ((0, 0), (0, 1)), constant_values=-1.0)
    first = np.argmin(r >= CORRELATED, axis=1)
    return np.where(np.isnan(r[np.arange(len(r)), first]), np.nan, first)


def high_correlation_time(b: Block) -> np.ndarray:
    return np.interp(frames_correlated(b), np.arange(b.frames + 1), [0.0, *b.times])


def stays_correlated(b: Block) -> np.ndarray:
    count = frames_correlated(b)
    return np.where(np.isnan(count), np.nan, count == b.frames)


# Where they apply


def _always(b: Block) -> bool:
    return True


def _bounded(b: Block) -> bool:
    return not all(b.grid.periodic)


def _line_or_plane(b: Block) -> bool:
    return b.dim < 3


def _evolves(b: Block) -> bool:
    return b.frames > 1


@dataclass(frozen=True)
class Metric:
    """One number a sample.

    Args:
        formula: <.>_i is a mean over i; x runs over points, k over wave numbers, c over channels, t over frames.
        source: who defines it so.
        function: block -> (n,).
        applies: whether there is such a number.
        better: at which end of its range a prediction is good.
    """

    formula: str
    source: str
    function: Callable[[Block], np.ndarray]
    applies: Callable[[Block], bool] = _always
    better: str = "low"


PDEBENCH = "Takamoto et al., PDEBench, arXiv:2210.07182"
WELL = "Ohana et al., The Well, arXiv:2412.00568"
LE_PDE = "Wu, Maruyama and Leskovec, LE-PDE, NeurIPS 2022"
REFINER = "Lippe et al., PDE-Refiner, arXiv:2308.05732"
OWN = "variform"

METRICS: dict[str, Metric] = {
    "relative_l2": Metric(
        "sqrt(sum e^2 / sum y^2), plain sums over t, c, x together",
        "common use; neuraloperator's LpLoss without its 1e-8",
        relative_l2,
    ),
    "relative_l2_trapezoidal": Metric(
        "sqrt(sum w e^2 / sum w y^2) over t, c, x together, w the weights of the trapezoidal rule: half at an end that "
        "is not periodic; only where there is one",
        OWN,
        relative_l2_trapezoidal,
        _bounded,
    ),
    "relative_h1": Metric(
        "sqrt(sum_a <(d_a e)^2> / sum_a <(d_a y)^2>), the seminorm; d_a u = (u_(i+1) - u_i) / h_a along axis a, round "
        "the end where it is periodic; means over t, c, x together",
        OWN,
        relative_h1,
    ),
    "nse": Metric(
        "sum e^2 / sum y^2 over t, c, x together: relative_l2 squared", LE_PDE, lambda b: relative_l2(b) ** 2
    ),
    "conserved_drift": Metric(
        "max_(t,c) |int p - int y| / <int |y|>_t, the integrals over the box by the trapezoidal rule",
        OWN,
        conserved_drift,
    ),
    "accumulated_error": Metric(
        "sum_(t,c,x) e^2 / number of points; 1-D rollouts only",
        LE_PDE,
        accumulated_error,
        lambda b: b.dim == 1 < b.frames,
    ),
    "pdebench_rmse": Metric("< sqrt<e^2>_x >_(c,t)", PDEBENCH, pdebench_rmse),
    "pdebench_nrmse": Metric("< sqrt<e^2>_x / sqrt<y^2>_x >_(c,t)", PDEBENCH, pdebench_nrmse),
    "pdebench_crmse": Metric(
        "< |sum_x p - sum_x y| / number of points >_(c,t); published: the root of the mean square over samples before "
        "the mean over c, t",
        PDEBENCH,
        pdebench_crmse,
    ),
    "pdebench_max_error": Metric(
        "< max_x |e| >_(c,t); published: the maximum over samples too before the mean over c, t",
        PDEBENCH,
        largest_error,
    ),
    "pdebench_brmse": Metric(
        "< sqrt<e^2>_(points of all sides) >_(c,t), corners of a rectangle twice, periodic axes too; 1-D and 2-D only",
        PDEBENCH,
        pdebench_brmse,
        _line_or_plane,
    ),
    **{
        f"pdebench_frmse_{name}": Metric(
            f"< <E_k>_({text}) >_(c,t); 1-D: E_k = |FFT(e)_k| L / N; 2-D, 3-D: E_k = sqrt(sum |FFT(e)|^2 over indices "
            "0 <= k_a < N_a / 2 with floor|k| = k) prod L / prod N, k < min N_a / 2; published: the root of the mean "
            "square over samples in place of E_k; only on grids that have such k",
            PDEBENCH,
            lambda b, first=first, last=last: pdebench_frmse(b, first, last),
            lambda b, first=first: min(_half(b)) > first,
        )
        for name, text, first, last in (
            ("low", f"k < {LOW}", 0, LOW),
            ("middle", f"{LOW} <= k < {HIGH}", LOW, HIGH),
            ("high", f"{HIGH} <= k", HIGH, None),
        )
    },
    "well_mse": Metric("< <e^2>_x >_(c,t)", WELL, well_mse),
    "well_nmse": Metric("< <e^2>_x / (<y^2>_x + 1e-7) >_(c,t)", WELL, well_nmse),
    "well_nrmse": Metric("< sqrt(<e^2>_x / (<y^2>_x + 1e-7)) >_(c,t)", WELL, well_nrmse),
    "well_vrmse": Metric(
        "< sqrt(<e^2>_x / (s^2 + 1e-7)) >_(c,t), s^2 the variance of y over x with n - 1; the mean of y scores about 1",
        WELL,
        well_vrmse,
    ),
    "well_linf": Metric("< max_x |e| >_(c,t)", WELL, largest_error),
    "well_pearson": Metric(
        "< cov_x(p, y) / (s_p s_y + 1e-7) >_(c,t), the covariance with n, the deviations with n - 1",
        WELL,
        well_pearson,
        better="high",
    ),
    **{
        f"well_spectral_mse_{name}": Metric(
            f"< sum |FFT(e)_k|^2 / N^2 over |k| in band {band + 1} of 3 >_(c,t), k per point, ends of the bands at "
            "equal ratios from 2 pi / max N_a to pi sqrt(dim), k = 0 in the first; the three sum to well_mse",
            WELL,
            lambda b, band=band: well_spectral_mse(b, band),
        )
        for band, name in enumerate(("low", "middle", "high"))
    },
    **{
        f"well_vrmse_{first}_{last}": Metric(
            f"well_vrmse of frames {first} to {last - 1}, counted from 0; only where there are {last} frames",
            WELL,
            lambda b, first=first, last=last: well_vrmse(b, first, last),
            lambda b, last=last: b.frames >= last,
        )
        for first, last in ((6, 12), (13, 30))
    },
    "high_correlation_time": Metric(
        f"the last time before r(t) is first below {CORRELATED}, since the last frame that was given; r is Pearson's "
        "over c and x, 0 where p or y is constant; the horizon where it never is (see stays_correlated); rollouts only",
        REFINER,
        high_correlation_time,
        _evolves,
        better="high",
    ),
    "stays_correlated": Metric(
        f"1 where r(t) is never below {CORRELATED}, else 0: high_correlation_time is then the horizon; rollouts only",
        OWN,
        stays_correlated,
        _evolves,
        better="high",
    ),
}
