"""Every metric agrees with a calculation by hand, and with its published formula written out as loops."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import pi, sqrt

from variform.benchmarks import grid_metrics
from variform.benchmarks.grid_metrics import METRICS, Grid, error_by_frame, measured
from variform.errors import InputError

FEW = settings(max_examples=25, deadline=None)


def random_pair(shape, seed=0):
    return np.random.default_rng(seed).standard_normal((2, *shape))


def unit(dim, periodic=True):
    return Grid((1.0,) * dim, (periodic,) * dim)


def test_one_fourier_mode_of_error_on_another():
    """y = 2 sin(2 pi x / L), e = 0.1 cos(3 * 2 pi x / L), L = 5, at 32 points: <y^2> = 2, <e^2> = 1/200."""
    n = 32
    x = 2 * pi * np.arange(n) / n
    y = 2 * np.sin(x)[None, None, None]
    found = measured(y + 0.1 * np.cos(3 * x), y, Grid((5.0,), (True,)))
    s2 = 2 * n / (n - 1)
    expected = {
        "relative_l2": 0.05,
        # u_(i+1) - u_i of a mode k has the amplitude 2 sin(pi k / n)
        "relative_h1": 0.05 * np.sin(3 * pi / n) / np.sin(pi / n),
        "nse": 0.0025,
        "conserved_drift": 0,
        "pdebench_rmse": sqrt(1 / 200),
        "pdebench_nrmse": 0.05,
        "pdebench_crmse": 0,
        "pdebench_max_error": 0.1,
        # the first point has e = 0.1, the last one 0.1 cos(3 * 2 pi / n)
        "pdebench_brmse": 0.1 * sqrt((1 + np.cos(6 * pi / n) ** 2) / 2),
        # |FFT(e)_3| = 0.1 n / 2, times L / n: 0.25, one of four bins
        "pdebench_frmse_low": 0.0625,
        "pdebench_frmse_middle": 0,
        "pdebench_frmse_high": 0,
        "well_mse": 1 / 200,
        "well_nmse": 1 / 200 / (2 + 1e-7),
        "well_nrmse": sqrt(1 / 200 / (2 + 1e-7)),
        "well_vrmse": sqrt(1 / 200 / (s2 + 1e-7)),
        "well_linf": 0.1,
        # <p y> = <y^2>, the variance of p is that of y times 2.005 / 2
        "well_pearson": 2 / (s2 * sqrt(2.005 / 2) + 1e-7),
        # the bands end at 16^(1/3) = 2.5, 6.3 and 16 waves in the box
        "well_spectral_mse_low": 0,
        "well_spectral_mse_middle": 1 / 200,
        "well_spectral_mse_high": 0,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name] == pytest.approx([value], rel=1e-12, abs=1e-15), name


@pytest.mark.parametrize(("waves", "band"), [(4, "middle"), (11, "middle"), (12, "high"), (3, "low"), (0, "low")])
def test_bands_of_pdebench_begin_at_4_and_12(waves, band):
    x = 2 * pi * np.arange(32) / 32
    y = np.ones((1, 1, 1, 32))
    found = measured(y + np.cos(waves * x), y, unit(1))
    assert [found[f"pdebench_frmse_{b}"][0] > 1e-12 for b in ("low", "middle", "high")] == [
        b == band for b in ("low", "middle", "high")
    ]


def test_norms_and_integrals_on_a_box_with_one_periodic_axis():
    """y = x1 = 0, 2, 4 with both ends; e = 1 on one of four lines x2 = const, h2 = 1/2, of a periodic axis."""
    y = np.broadcast_to(np.array([0.0, 2.0, 4.0])[:, None], (1, 1, 1, 3, 4))
    found = measured(y + np.array([1.0, 0, 0, 0]), y, Grid((4.0, 2.0), (False, True)))
    assert found["relative_l2"] == pytest.approx(sqrt(3 / 80))
    # weights 1, 2, 1 and 1/2: int e^2 = int e = 2, int y^2 = 2 (2 * 4 + 16), int y = 2 (2 * 2 + 4)
    assert found["relative_l2_trapezoidal"] == pytest.approx(sqrt(2 / 48))
    assert found["conserved_drift"] == pytest.approx(2 / 16)
    # d1 y = 1, d2 e = -2, 0, 0 and, round the end, 2: mean square 2
    assert found["relative_h1"] == pytest.approx(sqrt(2))


def test_the_gradient_sees_an_error_that_alternates_from_point_to_point():
    n = 16
    y = np.sin(2 * pi * np.arange(n) / n)[None, None, None]
    found = measured(y + 0.01 * (-1.0) ** np.arange(n), y, unit(1))
    # 0.02 against 2 sin(pi / n) / sqrt(2)
    assert found["relative_h1"] == pytest.approx(0.02 / (sqrt(2) * np.sin(pi / n)))


def test_drift_is_that_of_the_worst_channel_and_frame_over_its_mean_size():
    y = np.array([[1.0, 10.0], [3.0, -30.0]])[None, :, :, None] * np.ones(5)
    e = np.array([[0.1, 3.0], [-0.4, 0.0]])[None, :, :, None]
    # 0.4 / <1, 3>, 3 / <10, 30>
    assert measured(y + e, y, unit(1))["conserved_drift"] == pytest.approx([0.2])


def test_rollouts_by_frame_by_window_and_summed():
    """e_t = t + 1 at all points and both channels, y the same everywhere with <y^2> = 1/2."""
    n = 16
    y = np.broadcast_to(np.sin(2 * pi * np.arange(n) / n), (1, 30, 2, n))
    e = np.arange(1.0, 31.0)[:, None, None]
    found, s = measured(y + e, y, unit(1)), sqrt(0.5 * n / (n - 1) + 1e-7)
    assert error_by_frame(y + e, y) == pytest.approx(np.arange(1.0, 31.0)[None] * sqrt(2))
    assert found["well_vrmse_6_12"] == pytest.approx([(7 + 12) / 2 / s])
    assert found["well_vrmse_13_30"] == pytest.approx([(14 + 30) / 2 / s])
    assert found["accumulated_error"] == pytest.approx([2 * 30 * 31 * 61 / 6])
    shorter = measured((y + e)[:, :29], y[:, :29], unit(1))
    assert set(found) - set(shorter) == {"well_vrmse_13_30"}


def rotated(r, n=16):
    """Truth and predictions (1, T, 1, n) whose correlations are r: sin(x) against sin(x + arccos r)."""
    x = 2 * pi * np.arange(n) / n
    return 5 + np.sin(x + np.arccos(r)[:, None])[None, :, None], np.broadcast_to(np.sin(x), (1, len(r), 1, n))


@pytest.mark.parametrize(
    ("r", "time", "stays"),
    [
        ([0.99, 0.9, 0.81, 0.79], 4.0, 0),
        ([0.9, 0.7, 0.9, 0.7], 0.5, 0),  # the first time counts
        ([0.7, 0.9, 0.9, 0.9], 0.0, 0),
        ([0.9, 0.9, 0.9, 0.81], 7.0, 1),
        ([0.9, -0.9, 0.9, 0.9], 0.5, 0),
        ([0.9, np.nan, 0.9, 0.9], np.nan, np.nan),
        ([0.9, 0.7, np.nan, 0.9], 0.5, 0),  # what comes after the first drop is not read
    ],
)
def test_high_correlation_time_is_the_last_before_the_first_drop(r, time, stays):
    p, y = rotated(np.array(r))
    found = measured(p, y, unit(1), times=np.array([0.5, 2.0, 4.0, 7.0]))
    assert found["high_correlation_time"] == pytest.approx([time], nan_ok=True)
    assert found["stays_correlated"] == pytest.approx([stays], nan_ok=True)
    counted = measured(p, y, unit(1))["high_correlation_time"]
    assert counted == pytest.approx([{0.0: 0, 0.5: 1, 4.0: 3, 7.0: 4}.get(time, time)], nan_ok=True)


def test_a_constant_field_is_not_correlated():
    p, y = rotated(np.array([0.9, 0.9, 0.9]))
    p[:, 1] = 0.1
    assert measured(p, y, unit(1))["high_correlation_time"] == pytest.approx([1])


# The formulas of section 2 of the facts on conventions, as loops


def frames(p, y):
    """Every (p, y) over the grid, frame by frame and channel by channel."""
    return [(p[t, c], y[t, c]) for t in range(len(p)) for c in range(p.shape[1])]


def fourier(e, k):
    """One coefficient of the discrete Fourier transform, from its definition."""
    phase = sum(k_a * j / n for k_a, j, n in zip(k, np.indices(e.shape), e.shape, strict=True))
    return (e * np.exp(-2j * pi * phase)).sum()


def pdebench(p, y, lengths):
    e, n = p - y, y.size
    found = {
        "rmse": sqrt((e**2).sum() / n),
        "nrmse": sqrt((e**2).sum() / n) / sqrt((y**2).sum() / n),
        "crmse": abs(p.sum() - y.sum()) / n,
        "max_error": max(abs(v) for v in e.ravel()),
    }
    if e.ndim == 1:
        found["brmse"] = sqrt((e[0] ** 2 + e[-1] ** 2) / 2)
        E = [abs(fourier(e, (k,))) * lengths[0] / n for k in range(n // 2 + 1)]
    else:
        if e.ndim == 2:
            sides = (e[0] ** 2).sum() + (e[-1] ** 2).sum() + (e[:, 0] ** 2).sum() + (e[:, -1] ** 2).sum()
            found["brmse"] = sqrt(sides / (2 * e.shape[0] + 2 * e.shape[1]))
        bins = np.zeros(min(m // 2 for m in e.shape))
        for k in itertools.product(*(range(m // 2) for m in e.shape)):
            if int(sqrt(sum(k_a**2 for k_a in k))) < len(bins):
                bins[int(sqrt(sum(k_a**2 for k_a in k)))] += abs(fourier(e, k)) ** 2
        E = np.sqrt(bins) * np.prod(lengths) / n
    for name, band in (("low", E[:4]), ("middle", E[4:12]), ("high", E[12:])):
        if len(band):
            found[f"frmse_{name}"] = sum(band) / len(band)
    return found


@pytest.mark.parametrize("shape", [(7,), (26,), (9, 26), (28, 26), (10, 11, 12), (8, 2, 4)])
def test_formulas_of_pdebench(shape):
    lengths = (2.0, 0.5, 3.0)[: len(shape)]
    p, y = random_pair((2, 2, 2, *shape))
    found = measured(p, y, Grid(lengths, (False,) * len(shape)))
    for i in range(2):
        rows = [pdebench(*pair, lengths) for pair in frames(p[i], y[i])]
        assert {f"pdebench_{name}" for name in rows[0]} == {name for name in found if name.startswith("pdebench")}
        for name in rows[0]:
            assert found[f"pdebench_{name}"][i] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-10), name


def well(p, y):
    e, n, D = p - y, y.size, y.ndim
    mse = sum(v**2 for v in e.ravel()) / n
    s_p, s_y = (sqrt(((u - u.sum() / n) ** 2).sum() / (n - 1)) for u in (p, y))
    found = {
        "mse": mse,
        "nmse": mse / ((y**2).sum() / n + 1e-7),
        "nrmse": sqrt(mse / ((y**2).sum() / n + 1e-7)),
        "vrmse": sqrt(mse / (s_y**2 + 1e-7)),
        "linf": max(abs(v) for v in e.ravel()),
        "pearson": ((p - p.mean()) * (y - y.mean())).sum() / n / (s_p * s_y + 1e-7),
    }
    ends = np.logspace(np.log10(2 * pi / max(e.shape)), np.log10(pi * sqrt(D) + 1e-6), 4)
    ends[0] = 0.0
    bands = dict.fromkeys(("low", "middle", "high"), 0.0)
    for k in itertools.product(*map(range, e.shape)):
        waves = [min(k_a, m - k_a) * 2 * pi / m for k_a, m in zip(k, e.shape, strict=True)]
        for name, low, high in zip(bands, ends, ends[1:], strict=False):
            if low <= sqrt(sum(w**2 for w in waves)) < high:
                bands[name] += abs(fourier(e, k)) ** 2 / n**2
    return found | {f"spectral_mse_{name}": value for name, value in bands.items()}


@pytest.mark.parametrize("shape", [(2,), (16,), (7, 12), (4, 3, 5)])
def test_formulas_of_the_well(shape):
    p, y = random_pair((2, 2, 2, *shape), seed=1)
    found = measured(p, 0.01 * y, unit(len(shape)))
    for i in range(2):
        rows = [well(*pair) for pair in frames(p[i], 0.01 * y[i])]
        assert {f"well_{name}" for name in rows[0]} == {name for name in found if name.startswith("well")}
        for name in rows[0]:
            assert found[f"well_{name}"][i] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-10), name


shapes = st.lists(st.integers(2, 9), min_size=1, max_size=3)


@FEW
@given(shapes, st.booleans(), st.integers(0, 2**32 - 1))
def test_the_bands_of_the_spectrum_sum_to_the_mean_square(shape, periodic, seed):
    found = measured(*random_pair((2, 2, 1, *shape), seed), unit(len(shape), periodic))
    bands = sum(found[f"well_spectral_mse_{name}"] for name in ("low", "middle", "high"))
    assert bands == pytest.approx(found["well_mse"], rel=1e-12)


# What a factor of all values does to a metric: its power. The Well's others are changed by their 1e-7.
DEGREES = dict.fromkeys(("relative_l2", "relative_l2_trapezoidal", "relative_h1", "nse", "conserved_drift"), 0)
DEGREES |= dict.fromkeys(("pdebench_nrmse", "high_correlation_time", "stays_correlated"), 0)
DEGREES |= {name: 1 for name in METRICS if name.startswith("pdebench") and name != "pdebench_nrmse"}
DEGREES |= {"well_mse": 2, "accumulated_error": 2, "well_linf": 1}


@FEW
@given(shapes, st.sampled_from([-1e-3, -1.0, 7.0, 1e6]), st.integers(0, 2**32 - 1))
def test_relative_errors_do_not_depend_on_the_unit(shape, factor, seed):
    grid = unit(len(shape), periodic=False)
    p, y = random_pair((3, 3, 2, *shape), seed)
    before, after = measured(p, y, grid), measured(factor * p, factor * y, grid)
    for name in before.keys() & DEGREES.keys():
        assert after[name] == pytest.approx(abs(factor) ** DEGREES[name] * before[name], rel=1e-9), name


def test_relative_h1_and_trapezoidal_norms_do_not_depend_on_the_unit_of_length():
    p, y = random_pair((2, 1, 1, 5, 6))
    small, large = (measured(p, y, Grid((f, 2 * f), (False, True))) for f in (1.0, 1e3))
    for name in ("relative_h1", "relative_l2_trapezoidal", "conserved_drift"):
        assert small[name] == pytest.approx(large[name], rel=1e-12)


def everything():
    """A pair to which every metric applies."""
    p, y = random_pair((5, 30, 2, 26))
    p = y + 0.3 * p
    return p, y, unit(1, periodic=False)


def test_samples_are_measured_each_by_itself(monkeypatch):
    p, y, grid = everything()
    whole, order = measured(p, y, grid), np.array([3, 0, 4, 2, 1])
    assert set(whole) == set(METRICS)
    assert all(values.shape == (5,) for values in whole.values())
    monkeypatch.setattr(grid_metrics, "TOGETHER", 2 * y[0].size)
    for name, values in measured(p[order], y[order], grid).items():
        assert values == pytest.approx(whole[name][order], rel=1e-12), name


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_has_no_finite_error_and_spoils_no_other(hole):
    p, y, grid = everything()
    whole = measured(p, y, grid)
    p[1, :, :, 7] = hole
    found = measured(p, y, grid)
    for name, values in found.items():
        assert np.isnan(values[1]), name
        assert np.array_equal(np.delete(values, 1), np.delete(whole[name], 1)), name
    assert np.isnan(error_by_frame(p, y)).tolist() == [[i == 1] * 30 for i in range(5)]


def test_one_value_that_is_not_finite_is_seen_by_all_that_read_its_frame():
    p, y, grid = everything()
    p[1, 29, 1, 7] = np.inf
    finite = {name for name, values in measured(p, y, grid).items() if np.isfinite(values[1])}
    # the run has lost its correlation nowhere before
    assert finite == {"well_vrmse_6_12"}


def test_an_error_relative_to_zero_is_not_finite_and_warns_of_nothing():
    p, y, grid = everything()
    y[0] = 0
    found = measured(p, y, grid)
    for name in ("relative_l2", "relative_l2_trapezoidal", "relative_h1", "nse", "conserved_drift", "pdebench_nrmse"):
        assert not np.isfinite(found[name][0]), name
        assert np.isfinite(found[name][1:]).all(), name


def test_metrics_apply_where_their_formulas_say():
    def names(*shape, periodic=False):
        dim = len(shape) - 3
        return set(METRICS) - set(measured(*random_pair(shape), unit(dim, periodic)))

    rollout = {"accumulated_error", "high_correlation_time", "stays_correlated", "well_vrmse_6_12", "well_vrmse_13_30"}
    assert names(1, 1, 1, 26) == rollout
    assert names(1, 30, 1, 26, 26, periodic=True) == {"accumulated_error", "relative_l2_trapezoidal"}
    bands = {"pdebench_frmse_middle", "pdebench_frmse_high"}
    assert names(1, 12, 1, 4, 4, 4) == {"accumulated_error", "well_vrmse_13_30", "pdebench_brmse"} | bands


def test_the_grid_of_a_data_set():
    ends, inner = np.linspace(1, 3, 5), np.linspace(0, 2, 4, endpoint=False).astype(np.float32)
    assert Grid.of((ends, inner), (False, True)) == Grid((2.0, 2.0), (False, True))
    assert Grid.of((ends,)) == Grid((2.0,), (False,))
    for x in (np.geomspace(1, 2, 5), [0.0]):
        with pytest.raises(InputError, match="equidistant"):
            Grid.of((x,))


@pytest.mark.parametrize(
    ("lengths", "periodic", "message"),
    [
        ((), (), "1 to 3 axes"),
        ((1.0,) * 4, (True,) * 4, "1 to 3 axes"),
        ((0.0,), (True,), "positive length"),
        ((1.0, 1.0), (True,), "an entry for each of 2 axes"),
    ],
)
def test_what_is_no_grid_is_refused(lengths, periodic, message):
    with pytest.raises(InputError, match=message):
        Grid(lengths, periodic)


def test_shapes_and_times_that_do_not_fit_are_refused():
    y = np.ones((2, 3, 1, 4))
    for p, truth in ((y[:1], y), (y[0], y[0]), (y[:0], y[:0])):
        with pytest.raises(InputError, match="one shape"):
            measured(p, truth, unit(1))
        with pytest.raises(InputError, match="one shape"):
            error_by_frame(p, truth)
    with pytest.raises(InputError, match="2 axes"):
        measured(y, y, unit(2))
    with pytest.raises(InputError, match="two or more points"):
        measured(y[..., :1], y[..., :1], unit(1))
    for times in ([1.0, 2.0], [0.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 2.0, np.nan]):
        with pytest.raises(InputError, match="times must be positive and increase"):
            measured(y, y, unit(1), np.array(times))
