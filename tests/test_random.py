"""Random inputs follow their laws, are the same at every resolution, and differ between streams."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from variform.errors import InputError
from variform.problems import load
from variform.random import (
    Bumps,
    Choice,
    Composed,
    Ellipses,
    Exponential,
    GaussianField,
    Mapped,
    Sinusoids,
    Steps,
    Uniform,
    evaluate_many,
    generator,
    two_phase,
)

BOUNDARIES = ["neumann", "dirichlet", "periodic", ("neumann", "periodic"), ("dirichlet", "neumann")]


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_covariance_of_samples_is_that_of_the_law(boundary):
    law = GaussianField(2, boundary, alpha=2.0, tau=3.0, scale=3.0, modes=8, zero_mean=False)
    x = np.random.default_rng(0).random((2, 6))
    drawn = evaluate_many([law.sample(generator(0, i)) for i in range(6000)], x)
    exact = law.covariance(x, x)
    error = abs(drawn.T @ drawn / 6000 - exact)
    spread = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / 6000)  # of the estimate, by Isserlis
    assert (error < 5 * spread + 1e-12).all() and error.max() > 0


def test_the_series_is_the_resolvent_of_the_laplacian():
    """In one dimension (tau^2 - d^2/dx^2)^(-1) with Neumann ends is known: cosh(t m) cosh(t (1 - M)) / (t sinh t)."""
    law = GaussianField(1, "neumann", alpha=1.0, tau=3.0, scale=1.0, modes=4000, zero_mean=False)
    x = np.linspace(0, 1, 7)[None]
    low, high = np.minimum(x.T, x), np.maximum(x.T, x)
    exact = np.cosh(3 * low) * np.cosh(3 * (1 - high)) / (3 * math.sinh(3))
    assert abs(law.covariance(x, x) - exact).max() < 1e-4
    law = GaussianField(1, "dirichlet", alpha=1.0, tau=3.0, scale=1.0, modes=4000)
    exact = np.sinh(3 * low) * np.sinh(3 * (1 - high)) / (3 * math.sinh(3))
    assert abs(law.covariance(x, x) - exact).max() < 1e-4


def test_the_field_of_the_literature_is_that_of_its_recipe():
    """DiffusionPDE: the inverse cosine transform of tau (pi^2 k^2 + tau^2)^(-1) xi on a grid of midpoints."""
    law, n = GaussianField(scale=3.0, modes=31), 32
    sample = law.sample(generator(0, 0))
    line = (np.arange(n) + 0.5) / n
    ours = sample(np.stack(np.meshgrid(line, line, indexing="ij")))
    assert np.allclose(ours, fft.idctn(sample.coefficients, norm="ortho") * n, rtol=1e-10, atol=1e-12)
    k = np.arange(n)
    deviation = 3.0 / (np.pi**2 * (k[:, None] ** 2 + k**2) + 9.0)
    deviation[0, 0] = 0.0
    assert np.allclose(law.deviations, deviation)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(BOUNDARIES), st.integers(0, 2**32), st.integers(0, 1000), st.integers(2, 9), st.sampled_from([1, 3])
)
def test_samples_are_the_same_at_every_resolution_and_by_every_way(boundary, seed, index, n, count):
    law = GaussianField(2, boundary, modes=6, lower=(0.0, -1.0), upper=(2.0, 1.0))
    samples = [law.sample(generator(seed, index + i)) for i in range(count)]
    grid = np.stack(np.meshgrid(np.linspace(0, 2, n), np.linspace(-1, 1, 2 * n - 1), indexing="ij"))
    together = evaluate_many(samples, grid)  # by the axes of the grid
    scattered = np.random.default_rng(0).permuted(np.arange(grid[0].size))[: n + 1]
    points = grid.reshape(2, -1)[:, scattered] + 0.0
    for values, sample in zip(together, samples, strict=True):
        alone = np.array([float(sample(point[:, None])[0]) for point in points.T])
        assert np.allclose(values.ravel()[scattered], alone, rtol=1e-10, atol=1e-10)
        assert np.allclose(sample(torch.as_tensor(points)).numpy(), alone, rtol=1e-10, atol=1e-10)
    again = law.sample(generator(seed, index))
    assert np.array_equal(again.coefficients, samples[0].coefficients)


def test_streams_are_independent_and_pinned():
    assert generator(1, 2, "a").standard_normal(2).tolist() == PINNED
    draws = [
        [generator(s, i, name).standard_normal() for i in range(1500)]
        for s, name in ((0, ""), (0, "a"), (0, "b"), (1, "a"))
    ]
    assert abs(np.corrcoef(draws) - np.eye(4)).max() < 4 / math.sqrt(1500)


PINNED = [
    float(v)
    for v in np.random.Generator(
        np.random.Philox(key=np.array([1, 1 + 0xE8B7BE43], dtype=np.uint64), counter=[0, 0, 0, 2])
    ).standard_normal(2)
]  # 0xE8B7BE43 is the CRC-32 of "a"


def test_two_random_fields_of_one_problem_are_independent():
    class Two(load("darcy_field")):
        parameters = {**load("darcy_field").parameters, "other": load("darcy_field").parameters["permeability"]}
        random = {name: GaussianField(modes=4) for name in ("permeability", "other")}

    x = np.array([[0.3], [0.4]])
    values = [[float(Two().sample(0, i).values[name](x)[0]) for name in Two.random] for i in range(1000)]
    assert abs(np.corrcoef(np.transpose(values))[0, 1]) < 4 / math.sqrt(1000)


def test_phases_take_their_values_in_the_right_parts():
    x = np.random.default_rng(0).random((2, 400))
    share = np.mean(
        [(two_phase(3.0, 12.0, GaussianField()).sample(generator(0, i))(x) == 12).mean() for i in range(300)]
    )
    assert abs(share - 0.5) < 0.06  # by symmetry
    law = Mapped(GaussianField(), Steps((-0.1, 0.1), (3.0, 7.0, 12.0)))
    sample = law.sample(generator(0, 1))
    g, values = sample.inner(x), sample(x)
    assert np.array_equal(values, np.select([g < -0.1, g < 0.1], [3.0, 7.0], 12.0))
    assert np.array_equal(sample(torch.as_tensor(x)).numpy(), values)
    assert np.array_equal(evaluate_many([sample], x)[0], values)
    exponential = Composed(sample.inner, Exponential(2.0))
    assert np.allclose(exponential(x), 2 * np.exp(g))


def test_bumps_sinusoids_and_numbers():
    bumps = Bumps(count=3).sample(generator(0, 0))
    x = np.random.default_rng(0).random((2, 50))
    by_hand = sum(
        a * np.exp(-((x - c[:, None]) ** 2).sum(axis=0) / (2 * w**2))
        for a, c, w in zip(bumps.amplitudes, bumps.places, bumps.sizes, strict=True)
    )
    assert np.allclose(bumps(x), by_hand) and np.allclose(bumps(torch.as_tensor(x)), by_hand)
    waves = Sinusoids(period=(16.0,)).sample(generator(0, 0))
    assert np.allclose(waves(np.array([[0.0, 3.0]])), waves(np.array([[16.0, 19.0]])))
    drawn = [Uniform(1.0, 3.0).sample(generator(0, i)) for i in range(2000)]
    assert min(drawn) >= 1 and max(drawn) <= 3 and abs(np.mean(drawn) - 2) < 0.06
    assert {Choice((1.0, 2.0)).sample(generator(0, i)) for i in range(30)} == {1.0, 2.0}


@pytest.mark.parametrize("index", range(20))
def test_ellipses_stay_inside_and_apart(index):
    law = Ellipses(count=(3, 6))
    found = law.sample(generator(0, index))
    angles = np.linspace(0, 2 * math.pi, 200)
    curves = []
    for c, (a, b), turn in zip(found.centres, found.axes, found.angles, strict=True):
        u, v = a * np.cos(angles), b * np.sin(angles)
        rim = c[:, None] + np.array([np.cos(turn) * u - np.sin(turn) * v, np.sin(turn) * u + np.cos(turn) * v])
        assert rim.min() > law.gap - 1e-12 and rim.max() < 1 - law.gap + 1e-12
        inside = c[:, None] + 0.999 * (rim - c[:, None])
        outside = c[:, None] + 1.001 * (rim - c[:, None])
        assert (found(inside) == law.inside).all() and (found(outside) == law.outside).all()
        curves.append(rim)
    for i, first in enumerate(curves):
        for second in curves[:i]:
            distance = np.linalg.norm(first[:, :, None] - second[:, None, :], axis=0).min()
            assert distance > law.gap - 1e-12


def test_what_is_no_boundary_is_refused():
    with pytest.raises(InputError, match=r"unknown boundary of a Gaussian field 'robin'.*dirichlet, neumann, periodic"):
        GaussianField(boundary="robin")
