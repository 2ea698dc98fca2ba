"""Errors agree with integrals by hand, rates with powers of h, and both are zero or refused where they must be."""

import doctest

import numpy as np
import pytest
from ufl import grad, inner

from variform.benchmarks import metrics
from variform.benchmarks.metrics import Truth, exact_errors, observed_rates, relative_errors
from variform.errors import InputError
from variform.meshes import Box, Interval, UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.problems import load
from variform.solution import Cost, Solution
from variform.solvers.fem import solve


class Known(Solution):
    """Functions of x (dim, n) as a solution: field name -> (values, gradients)."""

    status, support, cost, discretization = "done", "mesh", Cost(0.0), {}

    def __init__(self, mesh, **fields):
        self.mesh, self.fields = mesh, fields

    def at(self, x, *, field=None, t=None, derivatives=0):
        assert t is None, "errors are taken at the last time"
        return self.fields[field or next(iter(self.fields))][derivatives](x)


def power(k, factor=1.0):
    """factor sum_i x_i^k and its gradient."""
    return lambda x: factor * (x**k).sum(axis=0), lambda x: factor * k * x ** (k - 1)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("cells", [1, 3])
def test_errors_of_two_polynomials_are_those_by_hand(dim, cells):
    mesh = Box((0.0,) * dim, (1.0,) * dim).mesh(cells)
    u, reference = Known(mesh, u=power(2)), Known(mesh, u=power(1))
    # On [0, 1]^d: sum x_i has the square d/3 + d(d-1)/4, sum (x_i^2 - x_i) has d/30 + d(d-1)/36, 2 x_i - 1 has 1/3.
    norm, difference = dim / 3 + dim * (dim - 1) / 4, dim / 30 + dim * (dim - 1) / 36
    errors = relative_errors(u, reference)
    assert set(errors) == {"relative_l2", "relative_h1"}
    assert errors["relative_l2"] == pytest.approx(np.sqrt(difference / norm), rel=1e-12)
    assert errors["relative_h1"] == pytest.approx(np.sqrt(1 / 3), rel=1e-12)


def test_errors_are_taken_in_the_domain_of_the_reference():
    small, large = Box((0.0,), (1.0,)).mesh(2), Box((0.0,), (2.0,)).mesh(2)
    one, line = (lambda x: 0 * x[0] + 1, lambda x: 0 * x), power(1)
    assert relative_errors(Known(small, u=line), Known(large, u=one))["relative_l2"] == pytest.approx(np.sqrt(1 / 3))
    # (x - 1)^2 over [0, 2] is 2/3, over [0, 1] it is 1/3; the reference's norms are 2 and 1.
    assert relative_errors(Known(large, u=line), Known(small, u=one))["relative_l2"] == pytest.approx(np.sqrt(1 / 3))
    square = power(2)  # (x^2 - 1)^2: 46/15 over [0, 2], 8/15 over [0, 1]
    assert relative_errors(Known(small, u=square), Known(large, u=one))["relative_l2"] == pytest.approx(
        np.sqrt(23 / 15)
    )
    assert relative_errors(Known(large, u=square), Known(small, u=one))["relative_l2"] == pytest.approx(np.sqrt(8 / 15))


def test_the_field_that_is_asked_for_is_compared_and_vectors_by_all_components():
    mesh = UnitSquare().mesh(2)
    vector = (lambda x: x, lambda x: np.broadcast_to(np.eye(2)[..., None], (2, 2, x.shape[1])))
    turned = (lambda x: x * [[1.0], [0.0]], lambda x: np.diag([1.0, 0.0])[..., None] + 0 * x[None])
    u = Known(mesh, p=power(1), w=turned)
    reference = Known(mesh, p=power(1), w=vector)
    assert relative_errors(u, reference) == {"relative_l2": 0.0, "relative_h1": 0.0}
    # |x|^2 = 2/3 and half of it is missing; so is half of the gradient's.
    for error in relative_errors(u, reference, "w").values():
        assert error == pytest.approx(np.sqrt(0.5), rel=1e-12)


def test_one_truth_serves_many_solutions():
    mesh = UnitSquare().mesh(2)
    truth = Truth.of_solution(Known(mesh, u=power(1)))
    for factor in (0.0, 0.9, 3.0):
        errors = truth.errors(Known(mesh, u=power(1, factor)))
        assert list(errors.values()) == pytest.approx([abs(factor - 1)] * 2, rel=1e-12)


def test_an_error_relative_to_zero_is_no_number():
    mesh = UnitSquare().mesh(1)
    errors = relative_errors(Known(mesh, u=power(1)), Known(mesh, u=power(1, 0.0)))
    assert np.isnan(list(errors.values())).all()


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_solution_without_a_value_somewhere_is_refused(hole):
    mesh = UnitSquare().mesh(2)
    values, gradients = power(1)
    holed = Known(mesh, u=(lambda x: np.where(x[0] > 0.9, hole, values(x)), gradients))
    with pytest.raises(InputError, match="no finite value"):
        relative_errors(holed, Known(mesh, u=power(1)))


class Quadratic(Problem):
    """-div grad u = -6 with u = 1 + x^2 + 2 y^2 + x y: a function that P2 elements hold."""

    fields = {"u": Field("u", degree=2)}
    conditions = [Dirichlet("u", lambda x, t, p: 1 + x[0] ** 2 + 2 * x[1] ** 2 + x[0] * x[1])]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        return (inner(grad(s.u["u"]), grad(v["u"])) + 6 * v["u"]) * s.dx

    def exact(self, x, t, p):
        return self.conditions[0].value(x, t, p)


def test_the_exact_errors_vanish_where_the_elements_hold_the_solution():
    problem = Quadratic()
    for error in exact_errors(problem, solve(problem, mesh=3)).values():
        assert error < 1e-12


class OnFile(Problem):
    """One of two fields is x^2; where it is solved a mesh file says."""

    fields = {"v": Field("another"), "u": Field("u")}

    def residual(self, s, v):
        return sum(inner(grad(s.u[name]), grad(v[name])) * s.dx for name in self.fields)

    def exact(self, x, t, p):
        return {"v": 0 * x[0] + 1, "u": x[0] ** 2}


class OnLine(OnFile):
    """The same on a domain of its own."""

    def geometry(self, p):
        return Interval()


GAP = pytest.mark.xfail(strict=True, reason="forms.values asks for the geometry, which a problem need not have")


@pytest.mark.parametrize("kind", [OnLine, pytest.param(OnFile, marks=GAP)])
def test_exact_errors_are_those_of_the_interpolant_by_hand(kind):
    """P1 on one cell of [0, 1]: x^2 becomes x. ||x^2 - x||^2 = 1/30, ||x^2||^2 = 1/5; of the gradients 1/3 and 4/3."""
    errors = exact_errors(kind(), Known(Interval().mesh(1), u=power(1)), "u")
    assert errors["relative_l2"] == pytest.approx(np.sqrt(5 / 30), rel=1e-12)
    assert errors["relative_h1"] == pytest.approx(np.sqrt(1 / 4), rel=1e-12)


def test_the_exact_solution_of_an_evolution_is_taken_at_its_last_time():
    problem = load("heat")(diffusivity=0.5)
    mesh, pi = UnitSquare().mesh(4), np.pi

    def values(x):
        return np.exp(-2 * pi**2 * 0.5 * 0.05) * np.sin(pi * x[0]) * np.sin(pi * x[1])

    def gradients(x):
        return pi * values(x) / np.tan(pi * x)

    assert all(error < 1e-12 for error in exact_errors(problem, Known(mesh, T=(values, gradients))).values())


@pytest.mark.parametrize("name", ["poisson", "heat_periodic"])
def test_nothing_is_compared_where_no_exact_solution_is_known(name):
    assert exact_errors(load(name)(), Known(UnitSquare().mesh(1), u=power(1))) == {}


def test_the_example_of_observed_rates_holds():
    found = doctest.DocTestFinder().find(observed_rates, globs=vars(metrics))
    assert sum(len(test.examples) for test in found) == 1
    assert all(doctest.DocTestRunner().run(test).failed == 0 for test in found)


@pytest.mark.parametrize("order", [-1.0, 0.0, 0.5, 3.0])
def test_rates_of_a_power_of_h_are_its_exponent_for_any_sizes(order):
    h = np.array([0.5, 0.4, 0.1, 0.03])
    assert observed_rates(h, 7 * h**order) == pytest.approx([order] * 3, abs=1e-12)


def test_rates_are_taken_between_neighbours():
    assert observed_rates([4, 2, 1], [8.0, 4.0, 1.0]) == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize(
    ("h", "errors", "message"),
    [
        ([0.1], [1.0], "two or more sizes"),
        ([], [], "two or more sizes"),
        ([0.2, 0.1], [1.0], "as many errors"),
        ([0.2, 0.0], [1.0, 0.5], "must be positive"),
        ([0.2, 0.1], [1.0, 0.0], "must be positive"),
        ([0.2, 0.1], [1.0, np.nan], "must be positive"),
    ],
)
def test_rates_of_what_is_no_refinement_are_refused(h, errors, message):
    with pytest.raises(ValueError, match=message):
        observed_rates(h, errors)
