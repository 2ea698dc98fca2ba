"""Evolutions of the catalogue: orders in space, published and derived values, what is conserved and what decays."""

import math

import numpy as np
import pytest
from scipy.integrate import simpson
from ufl import cos, pi

from variform.benchmarks.metrics import exact_errors, observed_rates
from variform.meshes import Interval, Rectangle
from variform.problems import load
from variform.problems.phase_field import CahnHilliard, MeanCurvature
from variform.problems.reaction_diffusion import FisherTissue, GrayScott
from variform.solvers import fem

SHORTER = {"elastodynamics": 0.2, "burgers_2d": 0.5}
"""Last times [s] at which the order in space shows as well."""


def error(problem, field=None, **options):
    solution = fem.solve(problem, **options)
    return exact_errors(problem, solution, field or next(iter(problem.fields)))["relative_l2"]


@pytest.mark.parametrize(
    "name, cells, steps, order",
    [
        ("heat_manufactured", (8, 16), 100, 2),
        ("burgers_2d", (32, 64), 100, 3),
        ("fisher_kpp", (100, 200), 1600, 3),
        ("wave", (8, 16), 1600, 3),
        ("elastodynamics", (8, 16), 300, 3),
    ],
)
def test_orders_in_space(name, cells, steps, order):
    kind = load(name)
    if name in SHORTER:
        kind = type(kind.__name__, (kind,), {"time": (0.0, SHORTER[name])})
    problem = kind()
    options = {"scheme": "sdirk3", "rtol": 1e-9} if name in ("burgers_2d", "fisher_kpp") else {}
    errors = [error(problem, mesh=n, steps=steps, **options) for n in cells]
    assert observed_rates([1 / n for n in cells], errors)[-1] == pytest.approx(order, abs=0.1), errors


@pytest.mark.parametrize(
    "name, cells, steps",
    [
        ("heat_manufactured", 8, (20, 40)),
        ("fisher_kpp", 200, (20, 40)),
        ("taylor_green", 8, (10, 20)),
        ("burgers_2d", 8, (10, 20)),
        ("elastodynamics", 8, (40, 80)),
    ],
)
def test_orders_in_time(name, cells, steps):
    """Against a run with many steps on the same mesh, so that only the error in time is left."""
    problem = load(name)()
    options = {"rho_infinity": 0.5} if name == "elastodynamics" else {}
    runs = [fem.solve(problem, mesh=cells, steps=n, **options) for n in (*steps, 640)]
    for field in problem.fields:
        fine = runs[-1].nodal(field)
        errors = [np.abs(run.nodal(field) - fine).max() for run in runs[:-1]]
        assert observed_rates([1 / n for n in steps], errors)[-1] == pytest.approx(2, abs=0.1), (field, errors)


def test_vortices_of_taylor_and_green_decay_and_keep_their_shape():
    problem = load("taylor_green")()
    solution = fem.solve(problem)
    energy, t = solution.history["energy"], solution.history["t"]
    assert energy == pytest.approx(energy[0] * np.exp(-4 * problem.values["viscosity"] * t), rel=1e-4)
    errors = {field: exact_errors(problem, solution, field)["relative_l2"] for field in problem.fields}
    assert errors["u"] < 3e-4
    coarse = exact_errors(problem, fem.solve(problem, mesh=16), "u")["relative_l2"]
    assert np.log2(coarse / errors["u"]) > 2.9  # 3 by theory; here the error falls faster, like h^4


def test_a_bell_turns_once_and_keeps_its_height():
    """Streamline diffusion: order k + 1/2 at least where the step shrinks with the mesh."""

    class Quarter(load("rotating_gaussian")):
        time = (0.0, 0.25)

    errors = [error(Quarter(), mesh=n, steps=4 * n) for n in (16, 32)]
    assert np.log2(errors[0] / errors[1]) > 2.4, errors
    whole = load("rotating_gaussian")()
    assert error(whole) < 0.02
    found = whole.measure(fem.solve(whole))
    assert found["highest"] == pytest.approx(whole.reference()["highest"], rel=0.01)
    assert found["undershoot"] < 1e-3


def test_the_bell_without_streamline_diffusion_is_of_second_order_in_time():
    """With it the parameter follows the step: the form is another one on every level."""

    class Galerkin(load("rotating_gaussian")):
        time = (0.0, 0.25)

        def stabilisation(self, s, v):
            return None

    runs = [fem.solve(Galerkin(), mesh=16, steps=n) for n in (50, 100, 1600)]
    errors = [np.abs(run.nodal() - runs[-1].nodal()).max() for run in runs[:-1]]
    assert observed_rates([2, 1], errors)[-1] == pytest.approx(2, abs=0.1), errors


def test_burgers_slope_of_basdevant():
    problem = load("burgers_1d")()
    assert problem.measure(fem.solve(problem))["slope"] == pytest.approx(-152.00516, rel=1e-3)


def test_a_disk_shrinks_by_its_curvature_and_the_energy_never_grows():
    problem = load("allen_cahn")()
    solution = fem.solve(problem, steps=100)
    assert problem.measure(solution)["radius"] == pytest.approx(problem.reference()["radius"], rel=0.02)
    energy = solution.history["energy"]
    assert (np.diff(energy) <= 1e-12 * energy[0]).all()
    assert energy[-1] < 0.8 * energy[0]


def test_level_sets_move_by_mean_curvature():
    circle = load("mean_curvature")()
    solution = fem.solve(circle)
    t, area = solution.history["t"], solution.history["area"]
    radius = np.sqrt(circle.values["a"] ** 2 - 2 * t)
    assert np.sqrt(area / math.pi) == pytest.approx(radius, rel=1e-3)  # until 80 % of its life

    class Ellipse(MeanCurvature):
        time = (0.0, 0.1)

    solution = fem.solve(Ellipse(a=0.8, b=0.5), mesh=32, steps=40)
    t, area = solution.history["t"], solution.history["area"]
    assert area[0] == pytest.approx(math.pi * 0.4, rel=1e-3)
    assert np.polyfit(t, area, 1)[0] == pytest.approx(-2 * math.pi, rel=0.01)


def test_the_regularisation_of_level_sets_costs_its_square():
    def distance(delta):
        problem = MeanCurvature(regularisation=delta)
        solution = fem.solve(problem)
        squared = solution.functional(lambda s: (s.u["phi"] - problem.circles(s.x, s.t, s.p)) ** 2 * s.dx)
        return math.sqrt(squared)

    assert np.log2(distance(0.08) / distance(0.04)) == pytest.approx(2, abs=0.1)


class Wavelet(CahnHilliard):
    """One small wave cos(2 pi m x) on the uniform mixture."""

    waves = 2
    time = (0.0, 0.01)

    def geometry(self, p):
        return Interval()

    def initial(self, x, p):
        return {"c": p.mean + 1e-6 * cos(2 * pi * self.waves * x[0])}

    def history(self, solution):
        x = np.linspace(0, 1, 201)[None]
        weights = np.cos(2 * np.pi * self.waves * x[0]) * np.where((x[0] == 0) | (x[0] == 1), 0.5, 1)
        return {"wave": float(solution.at(x, field="c") @ weights / 100), "mass": solution.integrate(field="c")}


@pytest.mark.parametrize("mean", [0.0, 0.4])
def test_a_mixture_separates_at_the_rate_of_the_linear_equation(mean):
    problem = Wavelet(mean=mean, noise=0.0)
    solution = fem.solve(problem, mesh=200, steps=200)
    k2 = (2 * math.pi * problem.waves) ** 2
    expected = -k2 * (3 * mean**2 - 1 + problem.values["gradient_energy"] * k2)
    t, wave = solution.history["t"], solution.history["wave"]
    assert np.polyfit(t[50:], np.log(wave[50:]), 1)[0] == pytest.approx(expected, rel=0.01)


def test_cahn_hilliard_conserves_mass_and_loses_energy():
    solution = fem.solve(load("cahn_hilliard")(mean=0.2), mesh=24, steps=100)
    mass, energy = solution.history["mass"], solution.history["energy"]
    assert np.ptp(mass) < 1e-12
    assert mass[0] == pytest.approx(0.2, abs=1e-3)
    assert (np.diff(energy) < 1e-12).all()
    assert np.ptp(solution.nodal("c")) > 1.5  # it has separated


def test_initial_noise_is_the_same_on_all_meshes():
    class Short(CahnHilliard):
        time = (0.0, 1e-5)

    states = [
        fem.solve(Short(), mesh=n, steps=1).at(np.array([[0.25, 0.5], [0.5, 0.75]]), field="c", t=0.0) for n in (8, 32)
    ]
    assert np.allclose(*states, rtol=0, atol=1e-14)


def test_fronts_invade_at_the_lowest_speed_and_stay_between_zero_and_one():
    problem = load("fisher_kpp_front")()
    solution = fem.solve(problem)
    found = problem.measure(solution)
    assert found["speed"] == pytest.approx(2 - 1.5 / 57.5, rel=0.01)
    assert found["speed"] == pytest.approx(2, rel=0.03)
    assert found["lowest"] >= -1e-12
    assert found["highest"] <= 1 + 1e-9


def test_fishers_wave():
    assert error(load("fisher_kpp")()) < 1e-4


def test_what_a_tumour_gains_is_what_grows_in_it_and_white_matter_leads():
    class Balanced(FisherTissue):
        def history(self, solution):
            growth = solution.functional(lambda s: s.p.growth * s.u["c"] * (1 - s.u["c"]) * s.dx)
            return {**super().history(solution), "growth": growth}

    solution = fem.solve(Balanced())
    t, cells, growth = (solution.history[name] for name in ("t", "cells", "growth"))
    assert cells[-1] - cells[0] == pytest.approx(simpson(growth, x=t), rel=3e-4)  # no flux, none lost between layers
    values = solution.nodal()
    assert values.min() > -1e-6 and values.max() < 1
    white, grey = solution.at(np.array([[60.0, 60.0], [30.0, 10.0]]))  # 25 mm to the side of the seed
    assert white > 0.2 > 50 * grey


def test_patterns_grow_at_turings_rate():
    problem = load("gray_scott_turing")()
    solution = fem.solve(problem)
    assert problem.measure(solution)["growth_rate"] == pytest.approx(problem.reference()["growth_rate"], rel=0.01)


def test_without_an_activator_the_substrate_stays():
    class Empty(GrayScott):
        time = (0.0, 20.0)

        def geometry(self, p):
            return Rectangle((0.0, 0.0), (1.0, 1.0))

    solution = fem.solve(Empty(seed=0.0), mesh=8, steps=10)
    assert np.abs(solution.nodal("u") - 1).max() < 1e-13
    assert np.abs(solution.nodal("v")).max() < 1e-13


def test_imex_patterns_are_of_second_order_in_time():
    class Short(GrayScott):
        time = (0.0, 100.0)

    runs = [fem.solve(Short(), mesh=16, steps=n) for n in (100, 200, 1600)]
    errors = [np.abs(run.nodal("v") - runs[-1].nodal("v")).max() for run in runs[:-1]]
    assert observed_rates([2, 1], errors)[-1] == pytest.approx(2, abs=0.1), errors
