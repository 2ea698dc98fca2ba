"""Random fields on meshes have the covariance of Whittle and Matern, and that of the series where there is one."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.special import gamma, kv

from variform import data
from variform.data.check import check
from variform.data.matern import WhittleMatern
from variform.errors import InputError
from variform.meshes import Annulus, Interval, PerforatedPlate, UnitCube, UnitSquare
from variform.random import GaussianField, evaluate_many, generator


def matern(law: WhittleMatern, r: np.ndarray) -> np.ndarray:
    s = np.maximum(law.kappa * r, 1e-12)
    return law.sigma**2 * 2 ** (1 - law.nu) / gamma(law.nu) * s**law.nu * kv(law.nu, s)


@pytest.mark.parametrize(
    ("geometry", "length", "alpha", "cells", "degree", "falls"),
    [
        (Interval(), 0.1, 2, (80, 160), 1, 3.5),  # nu = 3/2
        (UnitSquare(), 0.2, 2, (40, 80), 1, 2.3),  # nu = 1: the error of the variance is like (kappa h)^2 log(kappa h)
        (UnitSquare(), 0.2, 4, (20, 40), 2, 10),  # nu = 3
    ],
)
def test_far_from_the_boundary_the_covariance_is_that_of_matern(geometry, length, alpha, cells, degree, falls):
    r = np.array([0.0, 0.25, 0.5, 1.0, 1.5]) * length
    x = np.full((geometry.dim, len(r)), 0.5)
    x[0] += r
    errors = []
    for n in cells:
        law = WhittleMatern(geometry, length, sigma=1.5, alpha=alpha, cells=n, degree=degree)
        errors.append(abs(law.covariance(x[:, :1], x)[0] - matern(law, r)).max() / 1.5**2)
    assert errors[1] < 5e-3 and errors[0] > falls * errors[1]


def test_in_space_the_covariance_falls_exponentially():
    """nu = 1/2: the variance of a field on a mesh is too low by a part like h, so away from r = 0."""
    r = np.array([0.1, 0.2, 0.4])
    x = np.full((3, 3), 0.5)
    x[0] += r - 0.2
    law = WhittleMatern(UnitCube(), 0.4, cells=20)
    at = np.array([[0.3], [0.5], [0.5]])
    found, exact = law.covariance(at, x)[0], np.exp(-law.kappa * r)
    assert np.allclose(matern(law, r), exact)
    assert abs(found - exact).max() < 0.03


@pytest.mark.parametrize("boundary", ["neumann", "dirichlet"])
@pytest.mark.parametrize("alpha", [2, 4])
def test_on_a_box_it_is_the_series_up_to_the_boundary(boundary, alpha):
    nu, kappa = alpha - 1, math.sqrt(8 * (alpha - 1)) / 0.5
    scale = 2.0 / math.sqrt(math.gamma(nu) / (math.gamma(alpha) * 4 * math.pi * kappa ** (2 * nu)))
    series = GaussianField(2, boundary, alpha, kappa, scale=scale, modes=200, zero_mean=False)
    x = np.concatenate([np.random.default_rng(0).random((2, 6)), [[0.0, 0.0, 1.0], [0.0, 0.4, 0.7]]], axis=1)
    exact = series.covariance(x, x)
    errors = []
    for n in (16, 32):
        law = WhittleMatern(UnitSquare(), 0.5, 2.0, alpha=alpha, boundary=boundary, cells=n, degree=2)
        errors.append(abs(law.covariance(x, x) - exact).max() / exact.max())
    assert errors[1] < (4e-3 if alpha == 2 else 1e-4) and errors[0] > 3 * errors[1]


def test_samples_have_that_covariance_and_follow_from_seed_and_index():
    law = WhittleMatern(PerforatedPlate(), 0.5, cells=8)
    x = law.space.space.x[:, ::23]
    drawn = evaluate_many([law.sample(generator(3, i)) for i in range(1000)], x)
    exact = law.covariance(x, x)
    spread = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / 1000)
    assert (abs(drawn.T @ drawn / 1000 - exact) < 5 * spread).all()
    twin = pickle.loads(pickle.dumps(law)).sample(generator(3, 1))
    assert np.array_equal(twin(x), drawn[1])
    assert np.array_equal(twin(torch.as_tensor(x)).numpy(), drawn[1])


def test_the_robin_condition_keeps_the_variance_nearly_even():
    x = np.array([[0.5, 0.0, 0.0], [0.5, 0.5, 0.0]])  # middle, side, corner
    variance = {}
    for boundary in ("robin", "neumann"):
        law = WhittleMatern(UnitSquare(), 0.2, boundary=boundary, cells=60)
        variance[boundary] = np.diag(law.covariance(x, x))
    assert np.allclose(variance["neumann"], [1, 2, 4], rtol=0.04)
    assert abs(variance["robin"] - 1).max() < 0.35


def test_it_knows_of_holes():
    law = WhittleMatern(Annulus(), 1.0, cells=16)
    radius = np.linalg.norm(law.space.space.x, axis=0)
    x = np.array([[radius.min(), -radius.min()], [0.0, 0.0]])
    across = law.covariance(x[:, :1], x[:, 1:])[0, 0]
    assert across < 0.5 * matern(law, np.array([2 * radius.min()]))[0]


def test_points_beyond_the_mesh_take_the_nearest_value():
    sample = WhittleMatern(UnitSquare(), 0.5, cells=8).sample(generator(0, 0))
    assert sample(np.array([[1.2], [0.5]])) == pytest.approx(sample(np.array([[1.0], [0.5]])))


PROBLEM = """
from variform.data.matern import WhittleMatern
from variform.meshes import LShape
from variform.problems.darcy import DarcyField
from variform.random import Exponential, Mapped

class Seepage(DarcyField):
    \"\"\"Flow through an L of random ground.\"\"\"
    random = {"permeability": Mapped(WhittleMatern(LShape(), 0.5, cells=16), Exponential())}

    def geometry(self, p):
        return LShape()
"""


def test_a_data_set_on_a_domain_of_its_own(tmp_path):
    (tmp_path / "seepage.py").write_text(PROBLEM)
    name, found = f"{tmp_path / 'seepage.py'}:Seepage", []
    for workers, file in ((1, "one.h5"), (2, "two.h5")):
        plan = data.plan_of(name, 8, resolution=9, batch=2)
        data.generate(plan, tmp_path / file, workers=workers)
        stored = data.read(tmp_path / file)
        found.append(stored.read("h", slice(None)))
        assert all(f.status in ("passed", "not checkable") for f in check(tmp_path / file))
    assert np.array_equal(*found) and np.ptp(found[0], axis=0).max() > 1e-3
    assert len(stored.info["card"]["inputs"]["permeability"]) < 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 3}, "alpha of a Whittle-Matern field must be even and above dim / 2, got 3"),
        ({"length": 0.0}, "length of a Whittle-Matern field must be above 0"),
        ({"boundary": "rubin"}, "unknown boundary of a Whittle-Matern field 'rubin'. Did you mean 'robin'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        WhittleMatern(UnitSquare(), **{"length": 1.0, **options})
