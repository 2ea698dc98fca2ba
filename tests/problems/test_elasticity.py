"""Elasticity, small and large: published displacements and stresses, balance of forces, multigrid."""

import math

import pytest
from scipy.optimize import brentq

from variform.benchmarks.metrics import observed_rates
from variform.problems import load
from variform.solvers.fem import solve


@pytest.mark.parametrize("name", ["cook", "cook_plane_strain"])
def test_the_tip_of_cooks_membrane_agrees_with_published_values(name):
    problem = load(name)(young=3.0, force=6.0)
    solution = solve(problem, mesh=16, degree=2)
    assert problem.measure(solution) == pytest.approx(problem.reference(), rel=2e-3)
    assert solution.reaction("u", "left", component=1) == pytest.approx(-6, rel=1e-6)
    assert solution.reaction("u", "left", component=0) == pytest.approx(0, abs=1e-6)


def test_the_stress_at_a_hole_is_three_times_that_far_away():
    problem, cells = load("plate_with_hole")(tension=2.0, young=5.0), [2, 4, 8]
    errors = [abs(problem.measure(solve(problem, mesh=n, degree=2))["stress_concentration"] - 3) for n in cells]
    assert errors[-1] < 1e-3
    assert observed_rates([1 / n for n in cells], errors)[-1] > 1.9


def test_a_free_body_neither_moves_nor_turns():
    solution = solve(load("elasticity_free")(), mesh=8, degree=2)
    means = [
        solution.functional(lambda s: s.u["u"][0] * s.dx),
        solution.functional(lambda s: s.u["u"][1] * s.dx),
        solution.functional(lambda s: (s.x[0] * s.u["u"][1] - s.x[1] * s.u["u"][0]) * s.dx),
    ]
    assert means == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize(("degree", "cells"), [(1, (8, 16)), (2, (4, 8))])
def test_multigrid_hardly_needs_more_iterations_on_a_finer_mesh_in_space(degree, cells):
    coarse, fine = (solve(load("elasticity_3d")(), mesh=n, degree=degree).discretization for n in cells)
    assert fine["linear_iterations"] <= 1.6 * coarse["linear_iterations"]


@pytest.mark.parametrize("stretch", [0.5, 0.8, 1.5, 2.5])
def test_uniaxial_stretch_agrees_with_the_root_of_one_equation(stretch):
    problem = load("hyperelastic_uniaxial")(stretch=stretch)
    measured = problem.measure(solve(problem, mesh=2, rtol=1e-13))
    young, poisson = problem.values["young"], problem.values["poisson"]
    lam, mu = young * poisson / ((1 + poisson) * (1 - 2 * poisson)), young / (2 * (1 + poisson))

    def pressed(b):
        return mu * (b - 1 / b) + lam * math.log(stretch * b**2) / b

    b = brentq(pressed, 0.1, 10.0, xtol=1e-15, rtol=1e-14)
    stress = mu * (stretch - 1 / stretch) + lam * math.log(stretch * b**2) / stretch
    assert measured == pytest.approx({"transverse": b, "stress": stress}, rel=1e-8)
    if problem.reference():
        assert measured == pytest.approx(problem.reference(), rel=1e-6)


def test_a_bent_beam_converges_and_its_clamp_carries_the_load():
    problem, cells = load("hyperelastic_beam")(), [2, 4, 6]
    solutions = [solve(problem, mesh=n, degree=2) for n in cells]
    for solution in solutions:
        assert solution.reaction("u", "left", component=2) == pytest.approx(problem.values["load"], rel=1e-8)
        assert solution.reaction("u", "left", component=0) == pytest.approx(0, abs=1e-8)
    tips = [problem.measure(solution)["tip"] for solution in solutions]
    assert tips[0] > tips[1] > tips[2]  # finer meshes are softer
    assert abs(tips[2] - tips[1]) < 0.01 * abs(tips[2])
