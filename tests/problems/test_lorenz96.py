"""Lorenz's tiers: energy, order in time, rotation, a naive loop beside the arrays, the limit of two tiers."""

import numpy as np
import pytest
import torch

from variform.errors import InputError
from variform.problems import load
from variform.problems.lorenz96 import rk4

NAMES = {"lorenz96": 2, "lorenz96_three": 3}


def random_state(task, K, lead=(), seed=0):
    rng, each = np.random.default_rng(seed), [int(task.values.get(name, 1)) for name in ("J", "I")]
    sizes = [K, K * each[0], K * each[0] * each[1]][: len(task.tiers)]
    return tuple(rng.standard_normal((*lead, n)) * s for n, s in zip(sizes, (5.0, 0.5, 0.05), strict=False))


def naive(p, X, Y, Z=None):
    """Term by term, by indices that wrap."""
    K, N, J = len(X), len(Y), len(Y) // len(X)
    dX = [X[k - 1] * (X[(k + 1) % K] - X[k - 2]) - X[k] + p.F for k in range(K)]
    dX = [dX[k] - p.h * p.c / p.b * sum(Y[k * J + j] for j in range(J)) for k in range(K)]
    dY = [
        -p.c * p.b * Y[(n + 1) % N] * (Y[(n + 2) % N] - Y[n - 1]) - p.c * Y[n] + p.h * p.c / p.b * X[n // J]
        for n in range(N)
    ]
    if Z is None:
        return dX, dY
    M, each = len(Z), len(Z) // N
    dY = [dY[n] - p.h * p.e / p.d * sum(Z[n * each + i] for i in range(each)) for n in range(N)]
    dZ = [
        p.e * p.d * Z[m - 1] * (Z[(m + 1) % M] - Z[m - 2]) - p.g_z * p.e * Z[m] + p.h * p.e / p.d * Y[m // each]
        for m in range(M)
    ]
    return dX, dY, dZ


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("K", [4, 7])
def test_arrays_of_numpy_and_torch_agree_with_a_loop(name, K):
    task = load(name)(J=3.0, h=0.7, **({"I": 2.0, "g_z": 5.0} if name == "lorenz96_three" else {}))
    state = random_state(task, K, (2,))
    for b in range(2):
        for found, there in zip(task.rates(state, task.p), naive(task.p, *(u[b] for u in state)), strict=True):
            assert found[b] == pytest.approx(np.array(there), rel=1e-13)
    in_torch = task.rates(tuple(map(torch.as_tensor, state)), task.p)
    assert all(np.allclose(t, n, rtol=1e-14) for t, n in zip(in_torch, task.rates(state, task.p), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_energy_changes_by_forcing_and_dissipation_alone(name):
    task = load(name)()
    p, state = task.p, random_state(task, 8)
    change = sum(float(u @ du) for u, du in zip(state, task.rates(state, p), strict=True))
    squares = [float(u @ u) for u in state]
    damping = [1.0, p.c, p.g_z * p.e if len(state) == 3 else 0.0]
    budget = p.F * state[0].sum() - sum(a * s for a, s in zip(damping, squares, strict=False))
    assert change == pytest.approx(budget, rel=1e-12)
    X = state[0]
    assert float(X @ task.tendency(X, p)) == pytest.approx(p.F * X.sum() - X @ X, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_known_tendency_and_the_coupling_are_all_of_the_rate(name):
    task = load(name)()
    X, Y, *_ = state = random_state(task, 8)
    whole = task.rates(state, task.p)[0]
    assert task.tendency(X, task.p) + task.coupling(Y, task.p) == pytest.approx(whole, rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_turning_the_ring_turns_the_rates(name):
    task = load(name)()
    state = random_state(task, 6)
    each = [len(u) // 6 for u in state]
    turned = tuple(np.roll(u, 2 * n) for u, n in zip(state, each, strict=True))
    for a, b, n in zip(task.rates(turned, task.p), task.rates(state, task.p), each, strict=True):
        assert np.array_equal(a, np.roll(b, 2 * n))


@pytest.mark.parametrize("name", NAMES)
def test_runge_and_kutta_are_of_fourth_order(name):
    task = load(name)()
    start = random_state(task, 8)

    def after(steps):
        state = start
        for _ in range(steps):
            state = rk4(lambda u: task.rates(u, task.p), state, 0.04 / steps)
        return state[0]

    exact, found = after(512), []
    for steps in (16, 32, 64):
        found.append(np.linalg.norm(after(steps) - exact))
    assert np.log2(found[1] / found[2]) == pytest.approx(4, abs=0.15), found


def test_three_tiers_with_the_last_decoupled_are_two():
    three, two = load("lorenz96_three")(e=0.0), load("lorenz96")()
    X, Y, Z = random_state(three, 8)
    for a, b in zip(three.rates((X, Y, Z), three.p), two.rates((X, Y), two.p), strict=False):
        assert np.array_equal(a, b)
    assert not three.rates((X, Y, Z), three.p)[2].any()


def test_initial_states_follow_the_seed_and_lie_on_one_ring():
    task = load("lorenz96_three")().sample(3, 5)
    x = np.arange(8)[None] / 8
    X, Y, Z = task.initial_state(x, task.p)
    assert (len(X), len(Y), len(Z)) == (8, 64, 512)
    assert pytest.approx(X / 10) == Y[::8] and pytest.approx(X / 100) == Z[::64]
    again = load("lorenz96_three")().sample(3, 5)
    assert np.array_equal(again.initial_state(x, again.p)[2], Z)
    other = load("lorenz96_three")().sample(3, 6)
    assert abs(other.initial_state(x, other.p)[0] - X).max() > 0.1


@pytest.mark.parametrize(("given", "message"), [({"J": 2.5}, "J must be a whole number, got 2.5"), ({"K": 3}, "'K'")])
def test_bad_parameters_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        load("lorenz96")(**given)
