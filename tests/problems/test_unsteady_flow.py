"""The DFG benchmarks in time against published series; minutes, so `make test-slow`."""

import pytest

from variform.problems import load
from variform.solvers import fem


@pytest.mark.slow
def test_dfg_2d3_against_john():
    problem = load("dfg_2d3")()
    found, published = problem.measure(fem.solve(problem, rtol=1e-7)), problem.reference()
    assert found["drag_max"] == pytest.approx(published["drag_max"], rel=0.003)
    assert found["drag_max_time"] == pytest.approx(published["drag_max_time"], abs=0.01)
    assert found["lift_max"] == pytest.approx(published["lift_max"], rel=0.02)
    assert found["lift_max_time"] == pytest.approx(published["lift_max_time"], abs=0.02)
    assert found["pressure_drop"] == pytest.approx(published["pressure_drop"], rel=0.01)


@pytest.mark.slow
def test_dfg_2d2_against_featflow():
    problem = load("dfg_2d2")()
    found, published = problem.measure(fem.solve(problem, rtol=1e-7)), problem.reference()
    assert found["drag_max"] == pytest.approx(published["drag_max"], rel=0.002)
    assert found["lift_max"] == pytest.approx(published["lift_max"], rel=0.005)
    assert found["strouhal"] == pytest.approx(published["strouhal"], rel=0.002)
    assert found["pressure_drop"] == pytest.approx(published["pressure_drop"], rel=0.005)
