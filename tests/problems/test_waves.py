"""Waves: energy that stays, a bar that is pulled, and a part of a body that moves as the whole does."""

import numpy as np
import pytest
from ufl import as_vector, conditional, dot, lt, pi, sin

from variform.mesh import Mesh
from variform.meshes import Rectangle, UnitSquare
from variform.problem import Dirichlet, Field, Sampled
from variform.problems import load
from variform.problems.wave import Elastodynamics
from variform.solvers import fem


@pytest.mark.parametrize("name", ["wave", "elastic_bar"])
def test_the_energy_stays_without_numerical_damping(name):
    energy = fem.solve(load(name)(), mesh=16, steps=400, rho_infinity=1.0).history["energy"]
    size = max(abs(energy).max(), 1e-6)  # that of the bar starts from zero, and its load works
    assert np.ptp(energy) < 1e-10 * size


def test_the_energy_falls_with_numerical_damping():
    energy = fem.solve(load("elastic_bar")(), mesh=50, steps=200, rho_infinity=0.5).history["energy"]
    assert energy[-1] < -1e-9


def test_a_standing_wave_comes_back_after_a_period():
    class Period(load("wave")):
        time = (0.0, 2**0.5)

    solution = fem.solve(Period(), mesh=16, steps=400)
    x = np.random.default_rng(0).uniform(0.1, 0.9, (2, 20))
    assert solution.at(x, t=2**0.5) == pytest.approx(solution.at(x, t=0.0), abs=1e-3)


def test_a_bar_that_is_pulled():
    problem = load("elastic_bar")()
    found, expected = problem.measure(fem.solve(problem)), problem.reference()
    assert found["end_velocity"] == pytest.approx(expected["end_velocity"], rel=1e-4)
    assert found["clamp_stress"] == pytest.approx(expected["clamp_stress"], rel=1e-2)
    assert found["end_displacement"] == pytest.approx(expected["end_displacement"], rel=1e-2)


class Shaken(Elastodynamics):
    """A square whose left side is shaken, at rest before."""

    fields = {"u": Field("displacement", unit="m", shape=(2,))}
    conditions = [
        Dirichlet("u", lambda x, t, p: as_vector([0, conditional(lt(t, 1.0), sin(pi * t) ** 3, 0.0)]), on="left")
    ]
    time = (0.0, 2.0)

    def geometry(self, p):
        return UnitSquare()

    def work(self, s, u):
        return dot(as_vector([0.0 * s.t, 0.0]), u) * s.dx


def test_a_part_moves_as_the_whole_when_its_boundary_does():
    """Submodelling: the same mesh and step, and the recorded motion of the boundary of a part."""
    whole = UnitSquare().mesh(8)
    inside = np.flatnonzero((whole.points[whole.cells].mean(axis=1) > 0.5).all(axis=1))
    nodes, cells = np.unique(whole.cells[inside], return_inverse=True)
    part = Mesh(whole.points[nodes], cells.reshape(-1, 3), {"domain": np.arange(len(inside))}, {})
    steps = 50
    motion = fem.solve(Shaken(), mesh=whole, steps=steps, snapshots=steps)

    class Part(Shaken):
        conditions = [Dirichlet("u", Sampled(lambda x, t: motion.at(x, t=t)))]

        def geometry(self, p):
            return Rectangle((0.5, 0.5), (1.0, 1.0))

    alone = fem.solve(Part(), mesh=part, steps=steps, snapshots=steps)
    x = np.random.default_rng(1).uniform(0.55, 0.95, (2, 30))
    size = max(abs(motion.at(x, t=t)).max() for t in motion.times)
    away = max(abs(motion.at(x, t=t) - alone.at(x, t=t)).max() for t in motion.times)
    assert size > 0.1
    assert away < 1e-9 * size
