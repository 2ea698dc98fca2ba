"""Evolutions against data that others computed: the whole grids, and whose error the difference is."""

from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.io

from variform.problems import load
from variform.problems.burgers import Burgers1D
from variform.solvers import fem

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "references"
needs_data = pytest.mark.skipif(not FOLDER.is_dir(), reason="the folder shared/data is not beside this checkout")


def on_grid(solution, x):
    """Values (times, points) at all times that were kept."""
    return np.stack([solution.at(x[None], t=t) for t in solution.times])


def difference(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@needs_data
def test_burgers_agrees_with_the_data_on_their_whole_grid():
    data = np.load(FOLDER / "Burgers.npz")

    class Long(Burgers1D):
        time = (0.0, 0.99)

    solution = fem.solve(Long(), steps=8 * 99, snapshots=99)
    found = on_grid(solution, data["x"].ravel())
    assert solution.times == pytest.approx(data["t"].ravel())
    assert difference(found.T, data["usol"]) < 5e-8
    assert np.abs(found.T - data["usol"]).max() < 1e-6  # one cell of the data away from a slope of 150


def allen_cahn_by_collocation(x, t, nodes=400):
    """Chebyshev collocation in space and Radau's method in time: (times, points), shares nothing with our code."""
    k = np.arange(nodes + 1)
    y, c = np.cos(np.pi * k / nodes), (-1.0) ** k * np.where((k == 0) | (k == nodes), 2.0, 1.0)
    D = np.outer(c, 1 / c) / (y[:, None] - y + np.eye(nodes + 1))
    D -= np.diag(D.sum(axis=1))
    D2, inner = 1e-3 * D @ D, slice(1, -1)
    A, ends = D2[inner, inner], -D2[inner, 0] - D2[inner, -1]
    run = scipy.integrate.solve_ivp(
        lambda t, u: A @ u + ends + 5 * (u - u**3),
        (0, 1),
        (y**2 * np.cos(np.pi * y))[inner],
        "Radau",
        t,
        rtol=1e-7,
        atol=1e-9,
        jac=lambda t, u: A + np.diag(5 - 15 * u**2),
    )
    whole = np.pad(run.y, ((1, 1), (0, 0)), constant_values=-1.0)
    return scipy.interpolate.BarycentricInterpolator(y, whole)(x).T


@needs_data
def test_allen_cahn_agrees_with_collocation_and_with_the_data_up_to_their_error():
    data = scipy.io.loadmat(FOLDER / "Allen_Cahn.mat")
    x, t = data["x"].ravel(), data["t"].ravel()
    solution = fem.solve(load("allen_cahn_1d")(), mesh=400, degree=3, steps=400, snapshots=100)
    found, other = on_grid(solution, x), allen_cahn_by_collocation(x, t)
    assert solution.times == pytest.approx(t)
    assert difference(found, other) < 1e-6
    # Both are as far from the data, a thousand times farther than from each other: that is the error of the data.
    assert difference(found, data["u"]) == pytest.approx(difference(other, data["u"]), rel=1e-2)
    assert difference(found, data["u"]) < 2e-4
