"""Observed orders: those of sequences by hand, and those of a study beside theory."""

import math

import numpy as np
import pytest

from variform.benchmarks.convergence import Quantity, Study, Verdict, study
from variform.benchmarks.metrics import extrapolate
from variform.meshes import UnitSquare
from variform.problems import load

# extrapolate


@pytest.mark.parametrize("order", [0.5, 1, 2, 4])
@pytest.mark.parametrize("h", [[0.4, 0.2, 0.1], [0.3, 0.2, 0.1], [0.9, 0.3, 0.2, 0.15]])
def test_powers_of_h_are_extrapolated_to_their_limit(h, order):
    values = [3 - 2 * size**order for size in h]
    found = extrapolate(h, values)
    assert (found.kind, found.order) == ("monotone", pytest.approx(order, rel=1e-6))
    assert found.limit == pytest.approx(3, rel=1e-8)
    error = abs(3 - values[-1]) / abs(values[-1])  # of the finest mesh; the index is 1.25 times that
    assert found.gci == pytest.approx(1.25 * error, rel=1e-5)


def test_the_example_of_celik_and_others():
    # Table 1 of Celik et al. (2008), first column: N = 18000, 8000, 4500, so that r21 = 1.5, r32 = 1.333.
    found = extrapolate([1.5 * 1.333, 1.5, 1.0], [5.863, 5.972, 6.063])
    assert found.order == pytest.approx(1.53, abs=0.01)
    assert found.limit == pytest.approx(6.1685, abs=5e-4)
    assert found.gci == pytest.approx(0.022, abs=5e-4)


def test_values_that_do_not_settle_have_no_limit():
    swinging = extrapolate([0.4, 0.2, 0.1], [1.0, 0.0, 0.5])  # differences -1 and 1/2: order log2(2) = 1
    assert (swinging.kind, swinging.order) == ("oscillatory", pytest.approx(1))
    assert math.isnan(swinging.limit) and swinging.gci == pytest.approx(1.25 * 1.0 / 1)  # 1.25 |0.5 / 0.5| / (2 - 1)
    for values in ([1.0, 0.0, -1.0], [1.0, 0.0, -3.0], [0.0, 0.0, 1.0]):
        found = extrapolate([0.4, 0.2, 0.1], values)
        assert found.kind == "divergent" and not found.order > 0 and math.isnan(found.limit) and math.isnan(found.gci)
    still = extrapolate([0.4, 0.2, 0.1], [1.0, 2.0, 2.0])
    assert (still.kind, still.limit, still.gci) == ("constant", 2.0, 0.0)
    assert math.isnan(extrapolate([0.4, 0.2, 0.1], [1.5, 0.5, 0.0]).gci)  # relative to zero
    assert extrapolate([0.3, 0.2, 0.1], [1.0, 0.0, -1.0]).kind in ("divergent", "monotone")


@pytest.mark.parametrize(
    ("h", "values"), [([0.2, 0.1], [1.0, 2.0]), ([0.3, 0.2, 0.1], [1.0]), ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])]
)
def test_too_few_or_growing_sizes_are_refused(h, values):
    with pytest.raises(ValueError, match="three or more decreasing sizes"):
        extrapolate(h, values)


# verdicts, quantities


@pytest.mark.parametrize(
    ("rate", "error", "ok", "words"),
    [
        (1.99, 1e-3, True, "u relative_l2: last rate 1.99, theory 2: ok"),
        (1.7, 1e-3, False, "u relative_l2: last rate 1.70, theory 2: off by 0.3"),
        (math.nan, 1e-15, True, "u relative_l2: exact to rounding (1e-15): ok"),
        (math.nan, 1e-3, False, "u relative_l2: last rate nan, theory 2: off by nan"),
    ],
)
def test_a_verdict_says_how_far_it_is_from_theory(rate, error, ok, words):
    verdict = Verdict("u", "relative_l2", rate, 2.0, error)
    assert (verdict.ok, str(verdict)) == (ok, words)


def test_a_quantity_is_measured_against_its_reference_or_the_limit():
    values = [1.16, 1.04, 1.01]  # 1 + h^2
    limit = extrapolate([0.4, 0.2, 0.1], values)
    assert Quantity(values, 2.0, limit).errors == pytest.approx([0.42, 0.48, 0.495])
    assert Quantity(values, None, limit).errors == pytest.approx([0.16, 0.04, 0.01])
    assert Quantity(values, 0.0, limit).errors == pytest.approx(values)
    assert all(map(math.isnan, Quantity(values, None, None).errors))


# studies


def test_a_manufactured_solution_is_approached_as_theory_says():
    found = study(load("poisson_manufactured")(), levels=3, mesh=8, degree=2)
    assert found.cells == [128, 512, 2048] and np.diff(found.h) == pytest.approx(-np.array(found.h[1:]))
    assert found.h[0] == pytest.approx(math.sqrt(1 / 128))
    assert found.exact == {"u"} and len(found.errors["u"]["relative_l2"]) == 3
    assert {v.norm: v.theory for v in found.verdicts} == {"relative_l2": 3, "relative_h1": 2}
    assert all(v.ok for v in found.verdicts)


def test_levels_of_a_mesh_are_its_refinements_and_have_no_reference():
    problem, mesh = load("poisson")(), UnitSquare().mesh(3)
    found, own = study(problem, levels=3, mesh=mesh), study(problem, levels=3, mesh=3)
    assert found.cells == own.cells and found.h == pytest.approx(own.h)
    assert found.exact == set() and len(found.errors["u"]["relative_l2"]) == 2
    assert found.quantities["centre"].reference is None and own.quantities["centre"].reference == 0.0736713533


def test_an_evolution_halves_its_steps_too():
    found = study(load("heat")(), levels=2, mesh=8, steps=4)
    assert found.finest.discretization["steps"] == 8
    assert found.orders["T"]["relative_l2"] == 2 and isinstance(found, Study)
    assert found.rates(found.errors["T"]["relative_l2"])[0] == pytest.approx(2, abs=0.3)
