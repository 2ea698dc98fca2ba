"""Bands: the quantile loss is the library's, what is guaranteed holds on samples never seen."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from variform import operators
from variform.data import Dataset
from variform.errors import InputError
from variform.operators import Settings
from variform.operators.uncertainty import Band, Level, coverage, load_band, quantile_loss, train_band

N, LEARN, CALIBRATE, FRESH = 40, 80, 200, 400
LEVEL = Level(alpha=0.1, delta=0.2)
SMALL = {"modes": 4, "width": 8, "depth": 2, "batch": 20, "learning_rate": 1e-2}


def noise(a, x):
    """Standard deviation of what no network can know."""
    return 0.02 + 0.3 * x * abs(a)


def scattered(count, seed):
    """a(x) to a smooth function of it plus noise that grows along the line and with a."""
    rng, x = np.random.default_rng(seed), np.linspace(0, 1, N)
    b, c = rng.uniform(-1, 1, (2, count, 1))
    a = b * np.cos(np.pi * x) + c
    u = np.sin(a) + x + noise(a, x) * rng.standard_normal((count, N))
    splits = {"train": np.arange(LEARN), "valid": np.arange(LEARN, count)}
    return Dataset.of("Scattered", (x,), {"a": a}, {"u": u}, splits=splits)


@pytest.fixture(scope="module")
def base():
    return operators.train(scattered(LEARN + 20, 0), "fno", **SMALL, epochs=40)


@pytest.fixture(scope="module")
def band(base):
    settings = Settings.of("fno", {**SMALL, "epochs": 60})
    return train_band(base, scattered(LEARN + CALIBRATE, 1), settings, LEVEL)


def covered(band, data):
    predicted, widths, truth = band.predictions(data)
    return coverage(band, predicted, widths, truth, data)


def test_the_quantile_loss_is_that_of_the_library():
    from neuralop.losses.data_losses import PointwiseQuantileLoss

    draw = torch.Generator().manual_seed(0)
    width, error = torch.rand(6, 1, 9, generator=draw), torch.randn(6, 1, 9, generator=draw)
    error = error / error.abs().max()
    ours = quantile_loss(width, error, 0.2)
    assert ours.shape == (6,)
    assert ours.sum().item() == pytest.approx(PointwiseQuantileLoss(0.2)(width, error).item(), rel=1e-6)


def test_the_least_loss_is_at_the_quantile():
    error, widths = torch.linspace(-1, 1, 2001, dtype=torch.float64)[:, None], torch.linspace(0.5, 1, 101)
    losses = [float(quantile_loss(torch.full_like(error, float(w)), error, 0.2).mean()) for w in widths]
    assert abs(float(widths[int(np.argmin(losses))]) - 0.8) < 0.006


def test_scores_and_factor_are_order_statistics():
    level = Level(alpha=0.25, delta=0.2)
    error, width = torch.tensor([[1.0, -2.0, 3.0, 8.0]]), torch.tensor([[1.0, 1.0, 2.0, 1.0]])
    assert level.scores(error, width) == [2.0]  # three of the four ratios 1, 2, 1.5, 8
    inside = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    assert level.scores(error, width, inside) == [1.5]  # both of 1 and 1.5
    assert level.factor(np.arange(1.0, 10.0)) == 8  # ceil(10 * 0.8)
    with pytest.raises(InputError, match=r"delta=0.2 takes 4 or more samples to calibrate on, there are 3"):
        level.factor(np.zeros(3))


def test_the_guarantee_holds_on_fresh_samples_and_only_after_calibration(band):
    """Of m fresh samples, beta-binomially many are covered: k = ceil((n + 1)(1 - delta)) of n for calibration makes
    the probability that one is follow the law Beta(k, n + 1 - k), with mean k / (n + 1) >= 1 - delta.
    """
    fresh = scattered(LEARN + FRESH, 2).only(np.arange(FRESH))
    k = math.ceil((CALIBRATE + 1) * (1 - LEVEL.delta))
    low, high = betabinom(FRESH, k, CALIBRATE + 1 - k).ppf([1e-4, 1 - 1e-4]) / FRESH
    found = covered(band, fresh)
    assert low <= found["samples"] <= high and found["points"] > 1 - LEVEL.alpha
    plain = covered(Band(band.base, band.width, band.least, band.level), fresh)
    assert plain["samples"] < low


def test_the_band_is_wide_where_the_noise_is(band):
    data = scattered(LEARN + 100, 3)
    _, widths, _ = band.predictions(data)
    true = noise(data.read("a"), data.coordinates[0])
    assert np.corrcoef(widths[:, 0, 0].numpy().ravel(), true.ravel())[0, 1] > 0.85


def test_a_saved_band_is_the_same(band, tmp_path):
    band.save(tmp_path)
    back, data = load_band(tmp_path), scattered(LEARN + 5, 4)
    for a, b in zip(back.predictions(data), band.predictions(data), strict=True):
        assert torch.equal(a, b)
    assert (back.level, back.factor, back.least, back.info) == (band.level, band.factor, band.least, band.info)
    assert operators.load(tmp_path).num_parameters == band.base.num_parameters  # without it, an operator as any other
    (tmp_path / "band.json").write_text("{}")
    with pytest.raises(InputError, match=r"band.json is damaged"):
        load_band(tmp_path)


def test_what_makes_no_band_is_refused(base):
    data, settings = scattered(LEARN + CALIBRATE, 1), Settings.of("fno", {**SMALL, "epochs": 1})
    with pytest.raises(InputError, match="unknown split of data set Scattered 'test'"):
        train_band(base, data, settings, LEVEL, calibrate="test")
    with pytest.raises(InputError, match="another split than 'train'"):
        train_band(base, data, settings, LEVEL, calibrate="train")
    with pytest.raises(InputError, match="takes 999 or more samples to calibrate on, there are 200"):
        train_band(base, data, settings, Level(delta=0.001))
    with pytest.raises(InputError, match=r"alpha must be above 0 and below 1, got 1.5"):
        Level(alpha=1.5)
    t = np.linspace(0, 1, 5)
    u = np.random.default_rng(0).standard_normal((6, 5, N))
    waves = Dataset.of("Waves", (np.linspace(0, 1, N),), {}, {"u": u}, times=t)
    evolving = operators.train(waves, "fno", **SMALL, epochs=1)
    with pytest.raises(InputError, match="this operator learned an evolution"):
        train_band(evolving, waves, settings)
