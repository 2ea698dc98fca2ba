"""Solutions on grids: exact for what their interpolants can represent, at the order of theory beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variform.errors import InputError
from variform.grid import GridSolution
from variform.solution import Cost

LOWER, UPPER = (-1.0, 0.5, 2.0), (1.0, 3.5, 2.25)


def wave(x, modes, phases, lower, upper):
    """A product of one wave an axis and its gradient."""
    omega = [2 * np.pi * m / (b - a) for m, a, b in zip(modes, lower, upper, strict=True)]
    theta = [w * (s - a) + f for w, s, a, f in zip(omega, x, lower, phases, strict=True)]
    factors, slopes = np.cos(theta), -np.array(omega)[:, None] * np.sin(theta)
    others = [np.prod(np.delete(factors, i, axis=0), axis=0) for i in range(len(modes))]
    return factors.prod(axis=0), slopes * others


def periodic(shape, values):
    """A solution of two components whose values are given at the grid's points (dim, n)."""
    dim = len(shape)
    axes = [a + (b - a) / n * np.arange(n) for a, b, n in zip(LOWER, UPPER, shape, strict=False)]
    x = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(dim, -1)
    u = np.stack([values(x), 3 - values(x)]).reshape(1, 2, *shape)
    return GridSolution({"u": u}, np.array([0.0]), LOWER[:dim], UPPER[:dim], periodic=True)


@given(st.data())
def test_trigonometric_interpolation_reproduces_what_the_grid_resolves(data):
    shape = data.draw(st.lists(st.integers(3, 12), min_size=1, max_size=3), label="shape")
    modes = [data.draw(st.integers(0, (n - 1) // 2), label="mode") for n in shape]
    phases = [data.draw(st.floats(-3, 3), label="phase") for _ in shape]
    dim = len(shape)
    lower, upper = LOWER[:dim], UPPER[:dim]
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    x = np.random.default_rng(seed).uniform(-4, 4, (dim, 20))  # inside the box and in its periodic images
    u, gradient = wave(x, modes, phases, lower, upper)
    solution = periodic(shape, lambda points: wave(points, modes, phases, lower, upper)[0])
    np.testing.assert_allclose(solution.at(x), np.stack([u, 3 - u]), rtol=0, atol=1e-12)
    steepest = 1 + max(2 * np.pi * n / (b - a) for n, a, b in zip(shape, lower, upper, strict=True))
    np.testing.assert_allclose(
        solution.at(x, derivatives=1), np.stack([gradient, -gradient]), rtol=0, atol=1e-12 * steepest
    )


@pytest.mark.parametrize("shape", [(6,), (7,), (4, 6), (5, 4, 6)])
def test_trigonometric_interpolation_passes_through_any_values_also_in_the_nyquist_mode(shape):
    rng, dim = np.random.default_rng(1), len(shape)
    values = rng.standard_normal(shape)
    solution = periodic(shape, lambda x: values.ravel())
    axes = [a + (b - a) / n * np.arange(n) for a, b, n in zip(LOWER, UPPER, shape, strict=False)]
    x = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(dim, -1)
    np.testing.assert_allclose(solution.at(x)[0], values.ravel(), rtol=0, atol=1e-13)
    h = 1e-6 * np.eye(dim)[:, :, None]
    points = rng.uniform(0, 1, (dim, 1, 1))
    slope = [solution.at(points[:, 0] + h[i])[0] - solution.at(points[:, 0] - h[i])[0] for i in range(dim)]
    np.testing.assert_allclose(
        solution.at(points[:, 0], derivatives=1)[0], np.divide(slope, 2e-6), rtol=1e-5, atol=1e-6
    )


def test_many_points_are_done_in_pieces():
    solution = periodic((64, 64), lambda x: np.sin(np.pi * x[0]))
    x = np.random.default_rng(0).uniform(0, 1, (2, 70_000))
    np.testing.assert_allclose(solution.at(x)[0], np.sin(np.pi * x[0]), rtol=0, atol=1e-12)


def smooth(x):
    return np.exp(x[0]) * np.sin(2 * x[1])


def on_square(n, method, times=(0.0,)):
    x = np.stack(np.meshgrid(np.linspace(0, 1, n), np.linspace(-1, 1, 2 * n - 1), indexing="ij"))
    u = np.stack([(1 + t) * smooth(x) for t in times])
    return GridSolution({"u": u}, np.array(times), (0.0, -1.0), (1.0, 1.0), periodic=False, method=method)


@pytest.mark.parametrize(("method", "degree"), [("linear", 1), ("cubic", 3)])
def test_splines_have_order_degree_plus_one_and_their_gradients_one_less(method, degree):
    # Away from the sides, whose larger error hides the order on grids as coarse as these.
    x = np.random.default_rng(5).uniform([[0.3], [-0.7]], [[0.7], [0.7]], (2, 5_000))
    gradient = np.stack([smooth(x), 2 * np.exp(x[0]) * np.cos(2 * x[1])])
    n = [33, 65, 129]
    for derivatives, exact in enumerate([smooth(x), gradient]):
        errors = [np.linalg.norm(on_square(k, method).at(x, derivatives=derivatives) - exact) for k in n]
        rates = np.log2(np.divide(errors[:-1], errors[1:]))
        assert rates[-1] == pytest.approx(degree + 1 - derivatives, abs=0.1), f"{errors=}, {rates=}"


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_splines_are_nan_outside_only(method):
    corners = np.array([[0.0, 1.0, 1.0 + 1e-15, 1.001, 0.5], [-1.0, 1.0, 1.0, 0.0, -1.5]])
    solution = on_square(9, method)
    assert np.isnan(solution.at(corners)).tolist() == [False, False, False, True, True]
    assert np.isnan(solution.at(corners, derivatives=1)).tolist() == [[False, False, False, True, True]] * 2


def test_times_are_the_stored_ones_and_the_last_by_default():
    solution, x = on_square(9, "cubic", times=(0.0, 0.1, 0.3)), np.array([[0.0], [1.0]])
    assert solution.at(x) == pytest.approx(1.3 * np.sin(2))
    assert solution.at(x, t=0.1 * (1 + 1e-12)) == pytest.approx(1.1 * np.sin(2))
    with pytest.raises(InputError, match=r"no snapshot at t = 0\.2; the stored times are 0, 0\.1, 0\.3"):
        solution.at(x, t=0.2)


def test_survives_a_round_trip_to_disk(tmp_path):
    times = np.array([0.0, 0.5])
    values = {"u": np.random.default_rng(0).standard_normal((2, 4, 6)), "w/x": np.ones((2, 2, 4, 6))}
    cost = Cost(wall_s=2.5, stages={"step": 2.0}, dofs=72)
    saved = GridSolution(values, times, (0.0, 1.0), (1.0, 3.0), periodic=True, cost=cost, discretization={"steps": 3})
    assert saved.save(tmp_path / "run") == tmp_path / "run" / "solution.npz"
    loaded = GridSolution.load(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["solution.npz"]
    for name, u in values.items():
        np.testing.assert_array_equal(loaded.values[name], u)
    np.testing.assert_array_equal(loaded.times, times)
    for key in ("lower", "upper", "periodic", "method", "status", "cost", "discretization"):
        assert getattr(loaded, key) == getattr(saved, key)


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_names_a_file_it_cannot_read(tmp_path, content):
    if content is not None:
        (tmp_path / "solution.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"solution\.npz is not a solution on a grid"):
        GridSolution.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "quintic"}, "unknown interpolation method 'quintic'"),
        ({"upper": (1.0, -1.0)}, "lower must be below upper on every axis"),
        ({"times": np.array([0.0])}, r"values of 'u' must have shape \(1, ..., 3, 5\), got \(2, 3, 5\)"),
        ({"method": "cubic"}, "cubic interpolation needs 4 or more points an axis"),
    ],
)
def test_refuses_arrays_that_do_not_fit(change, message):
    fitting = {"values": {"u": np.zeros((2, 3, 5))}, "times": np.array([0.0, 1.0]), "lower": (0.0, 0.0)}
    fitting |= {"upper": (1.0, 1.0), "periodic": False, "method": "linear"}
    GridSolution(**fitting)
    with pytest.raises(InputError, match=message):
        GridSolution(**fitting | change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"field": "v"}, "unknown field of the solution 'v'"),
        ({"derivatives": 2}, "derivatives must be 0 or 1, got 2"),
        ({"x": np.zeros((3, 1))}, r"points must have shape \(2, n\), got \(3, 1\)"),
    ],
)
def test_refuses_questions_it_cannot_answer(arguments, message):
    with pytest.raises(InputError, match=message):
        on_square(9, "cubic").at(**{"x": np.zeros((2, 1))} | arguments)
