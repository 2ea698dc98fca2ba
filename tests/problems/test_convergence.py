"""Every catalogue entry with a smooth exact solution converges at the order that theory promises."""

import inspect

import pytest

from variform.benchmarks.metrics import observed_rates
from variform.forms.symbols import abstract_symbols
from variform.problem import Problem
from variform.problems import CATALOGUE, load
from variform.solvers.fem import solve

LEVELS = {1: (32, 64, 128), 2: (16, 32, 64), 3: (4, 8, 16)}
FINER = {
    "kovasznay": (32, 64),  # the pressure is in the asymptotic range from there on
    "advection_diffusion": (128, 256),  # as is a layer of width 0.01
    "elasticity_3d": (6, 12),
}
"""Levels where those by dimension do not do."""
EASIER = {"helmholtz": {"wavenumber": 6.0}}
"""Parameters for which these levels are in the asymptotic range: pollution falls one order faster than the error."""
ROUNDING = 1e-9
QUICK = (
    *("poisson_manufactured", "poisson_3d_manufactured", "darcy_manufactured", "mixed_darcy", "linear_elasticity"),
    *("hyperelasticity_manufactured", "p_laplace_manufactured", "plate_manufactured", "stokes_manufactured"),
)


def is_smooth(name: str) -> bool:
    problem = load(name)()
    if type(problem).exact is Problem.exact or problem.time is not None:
        return False
    s, _ = abstract_symbols(problem, problem.geometry(problem.p).dim)
    return problem.exact(s.x, s.t, s.p) is not None and bool(
        problem.orders({field: f.degree for field, f in problem.fields.items()})
    )


SMOOTH = [name for name in CATALOGUE if is_smooth(name)]


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SMOOTH])
def test_the_last_rate_is_that_of_theory(name):
    problem = load(name)(**EASIER.get(name, {}))
    dim = problem.geometry(problem.p).dim
    cells = FINER.get(name, LEVELS[dim])
    solutions = [solve(problem, mesh=n) for n in cells]
    for field, orders in problem.orders({f: spec.degree for f, spec in problem.fields.items()}).items():
        errors = [solution.exact_errors(field) for solution in solutions]
        for norm, order in orders.items():
            if errors[0][norm] < ROUNDING:  # the solution lies in the space
                continue
            rates = observed_rates([1 / n for n in cells], [e[norm] for e in errors])
            assert rates[-1] == pytest.approx(order, abs=0.1), f"{field} {norm}: {[e[norm] for e in errors]}, {rates}"


def test_the_quick_ones_are_eight_or_more_of_the_catalogue():
    assert len(set(QUICK) & set(SMOOTH)) >= 8


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_says_what_it_is_and_where_it_comes_from(name):
    assert inspect.getdoc(load(name)).splitlines()[0].endswith((".", ","))
