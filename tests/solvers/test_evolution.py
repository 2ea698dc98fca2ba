"""Evolutions stated twice, as a weak form and as a symbol: the two agree, and so do the solvers that take them."""

import itertools

import numpy as np
import pytest
import torch

from variform.benchmarks.metrics import observed_rates, relative_errors
from variform.errors import InputError
from variform.evolution import Evolution
from variform.forms import PointwiseForm
from variform.forms.pointwise import At, names_of
from variform.problem import Problem
from variform.problems import CATALOGUE, load
from variform.solvers import fem, spectral

BOTH = [name for name in CATALOGUE if issubclass(load(name), Evolution) and issubclass(load(name), Problem)]


def modes(x, k):
    """cos(k.x), sin(k.x) and their gradients, shape (2, points) and (2, dim, points)."""
    phase = torch.einsum("d,d...->...", k, x)
    values = torch.stack([torch.cos(phase), torch.sin(phase)])
    slopes = torch.stack([-torch.sin(phase), torch.cos(phase)])
    return values, slopes[:, None] * k.reshape(-1, *[1] * (x.ndim - 1))


@pytest.mark.parametrize("name", BOTH)
def test_the_weak_form_acts_on_each_wave_as_its_symbol_says(name):
    """F(u; v) with rate 0 is -<L u, v>, on real waves: L cos = Re cos - Im sin, L sin = Re sin + Im cos."""
    problem = load(name)()
    lower, upper = (torch.tensor(corner, dtype=torch.float64) for corner in problem.box(problem.p))
    dim, n = len(lower), 16
    x = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float64) / n] * dim, indexing="ij"))
    x = lower.reshape(-1, *[1] * dim) + (upper - lower).reshape(-1, *[1] * dim) * x
    form = PointwiseForm(problem, dim, *names_of(problem))
    (field,) = problem.fields
    term = form.source_and_flux(field, 1)
    for numbers in itertools.product((0, 1, -3), repeat=dim):
        k = 2 * torch.pi * torch.tensor(numbers, dtype=torch.float64) / (upper - lower)
        symbol = complex(torch.as_tensor(problem.linear(k, problem.p)))
        matrix = torch.tensor([[symbol.real, -symbol.imag], [symbol.imag, symbol.real]], dtype=torch.float64)
        v, grad_v = modes(x, k)
        for u, grad_u, acted in zip(v, grad_v, torch.einsum("ij,j...->i...", matrix, v), strict=True):
            jet = {(field, (), ()): u, (field, (), (dim,)): torch.zeros_like(u)}
            jet |= {(field, (), (i,)): slope for i, slope in enumerate(grad_u)}
            (source,) = form.evaluate(term.source, jet, At(x, {})).values()
            flux = torch.stack([q + 0 * u for q in form.evaluate(term.flux, jet, At(x, {})).values()])
            # The mean over the grid is the integral: products of these waves are resolved.
            ours = (source * v + (flux * grad_v).sum(dim=1)).mean(dim=tuple(range(1, dim + 1)))
            expected = -(acted * v).mean(dim=tuple(range(1, dim + 1)))
            assert torch.allclose(ours, expected, rtol=0, atol=1e-12 * max(1.0, abs(symbol)))


def test_finite_elements_converge_to_the_spectral_solution_at_their_order():
    problem = load("heat_periodic")(diffusivity=0.2)
    exact = spectral.solve(problem, resolution=32, steps=1)
    cells = [6, 12, 24]
    # A step that falls with h^1.5: the errors of time, dt^2, fall as those of space, h^3.
    solutions = [fem.solve(problem, mesh=n, degree=2, steps=round(16 * (n / 6) ** 1.5)) for n in cells]
    errors = [relative_errors(solution, exact) for solution in solutions]
    assert errors[0]["relative_l2"] < 1e-2
    rates = {norm: observed_rates([1 / n for n in cells], [e[norm] for e in errors]) for norm in errors[0]}
    assert rates["relative_l2"][-1] == pytest.approx(3, abs=0.15), f"{errors=}"
    assert rates["relative_h1"][-1] == pytest.approx(2, abs=0.15), f"{errors=}"


def test_the_spectral_solution_keeps_the_heat_that_the_initial_values_have():
    problem = load("heat_periodic")()
    solution = spectral.solve(problem, resolution=32, steps=3, snapshots=3)
    heat = [values.mean() for values in solution.values["T"]]  # the trapezoid rule, exact for what a grid resolves
    assert heat == pytest.approx([problem.reference()["heat"]] * 4, rel=1e-12)
    assert solution.integrate() == pytest.approx(heat[-1], rel=1e-6)
    assert np.ptp(solution.values["T"], axis=(1, 2)).tolist() == sorted(np.ptp(solution.values["T"], axis=(1, 2)))[::-1]


def test_a_stationary_problem_has_no_spectral_solver():
    with pytest.raises(InputError, match="spectral method cannot solve Poisson"):
        spectral.solve(load("poisson")())
