"""Poisson's equation and Darcy's law: published values, and what the discrete solutions must obey."""

import math
from pathlib import Path

import numpy as np
import pytest

from variform.benchmarks.metrics import observed_rates
from variform.meshes import LShape
from variform.problems import load
from variform.solvers.fem import solve

LSHAPE = Path(__file__).parents[3] / "shared" / "data" / "references" / "Poisson_Lshape.npz"


@pytest.mark.parametrize(
    ("name", "mesh", "degree", "tolerance"),
    [
        ("poisson_3d", 12, 2, 4e-4),
        ("l_shape", LShape(grading=3).mesh(16), 4, 1e-6),
        ("darcy_constant", 4, 1, 1e-8),
        ("darcy_field", 16, 2, 1e-3),
    ],
)
def test_quantities_agree_with_their_references(name, mesh, degree, tolerance):
    problem = load(name)()
    assert problem.measure(solve(problem, mesh=mesh, degree=degree)) == pytest.approx(
        problem.reference(), rel=tolerance
    )


@pytest.mark.parametrize("name", ["poisson_3d", "l_shape", "darcy_field"])
def test_references_follow_from_linearity_in_source_and_coefficient(name):
    source, coefficient = ("pumping", "permeability") if name == "darcy_field" else ("source", "conductivity")
    problem = load(name)(**{source: 3.0, coefficient: 2.0})
    for key, value in load(name)().reference().items():
        assert problem.reference()[key] == pytest.approx(1.5 * value)


def test_the_multiplier_and_the_mean_condition_give_the_same_solution():
    x = np.random.default_rng(0).random((2, 50))
    by_mean, by_multiplier = (solve(load(name)(), mesh=8) for name in ("poisson_neumann", "poisson_multiplier"))
    assert np.allclose(by_mean.at(x), by_multiplier.at(x), atol=1e-9)
    assert by_mean.integrate() == pytest.approx(0, abs=1e-12)


def test_a_periodic_solution_is_the_same_on_opposite_sides():
    solution, s = solve(load("poisson_periodic")(), mesh=8, degree=2), np.random.default_rng(0).random(50)
    zero, one = np.zeros(50), np.ones(50)
    assert np.allclose(solution.at([zero, s]), solution.at([one, s]), atol=1e-12)
    assert np.allclose(solution.at([s, zero]), solution.at([s, one]), atol=1e-12)


@pytest.mark.skipif(not LSHAPE.exists(), reason="no published values here")
def test_the_l_shape_agrees_with_published_spectral_elements():
    """To 4e-5 in the Euclidean norm and 2e-4 at the worst point, next to the corner, where those too are inexact.

    The values come with DeepXDE as a solution of -div(grad u) = 1. They are one of -div(grad u) + u = 1: the Laplacian
    of their own polynomials is u - 1 in every element.
    """
    with np.load(LSHAPE) as file:
        points, published = file["X_test"].T, file["y_ref"].ravel()
    inside = np.isfinite(published)
    error = solve(load("l_shape")(reaction=1.0), mesh=LShape(grading=2).mesh(16), degree=3).at(points[:, inside])
    error -= published[inside]
    assert np.linalg.norm(error) < 1e-4 * np.linalg.norm(published[inside])
    assert abs(error).max() < 3e-4


def test_grading_towards_the_corner_recovers_the_order_of_a_smooth_solution():
    problem, cells = load("l_shape_singular")(), [8, 16, 32]
    errors = [solve(problem, mesh=LShape(grading=4).mesh(n), degree=2).exact_errors() for n in cells]
    for norm, order in (("relative_l2", 3), ("relative_h1", 2)):
        assert observed_rates([1 / n for n in cells], [e[norm] for e in errors])[-1] == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("first", "second"), [(1.0, 10.0), (2.0, 1.0)])
def test_the_checkerboard_conducts_as_the_geometric_mean(first, second):
    """Dykhne. The flow falls to it at order 2 a, a = 4/pi arctan(sqrt(Kmin / Kmax)): 0.78 for 1 and 10."""
    problem, cells = load("darcy_checkerboard")(first=first, second=second), [8, 16, 32, 64]
    exact = math.sqrt(first * second)
    excess = [problem.measure(solve(problem, mesh=n, degree=3))["effective_conductivity"] / exact - 1 for n in cells]
    assert 0 < excess[-1] < 0.01
    order = 8 / math.pi * math.atan(math.sqrt(min(first, second) / max(first, second)))
    assert observed_rates([1 / n for n in cells], excess)[-1] == pytest.approx(order, abs=0.1)


def test_random_permeabilities_differ_by_number_and_repeat():
    heads = [
        problem.measure(solve(problem, mesh=8))["mean_head"]
        for problem in (load("darcy_field")().sample(seed, index) for seed, index in ((0, 3), (0, 3), (0, 4)))
    ]
    assert heads[0] == heads[1] != heads[2]


@pytest.mark.parametrize("degree", [1, 2])
def test_raviart_and_thomas_conserve_mass_in_every_cell(degree):
    problem = load("mixed_darcy")(permeability=3.0)
    assert problem.measure(solve(problem, mesh=8, degree=degree))["mass_balance"] < 1e-10
