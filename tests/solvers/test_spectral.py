"""Spectral steppers: exact where theory says exact, of order 4 elsewhere, and conservative."""

import mpmath
import numpy as np
import pytest
import torch
import ufl
from array_api_compat import array_namespace

from variform.errors import ComputationError, InputError
from variform.evolution import Evolution
from variform.problem import Field, Problem
from variform.solvers.spectral import integrate, solve
from variform.solvers.spectral.etdrk4 import Etdrk4
from variform.task import Parameter


class Heat(Problem, Evolution):
    """u_t = kappa Laplace u with a weak form beside its symbol, on a box that is not square."""

    fields = {"u": Field("temperature", unit="K")}
    parameters = {"kappa": Parameter("diffusivity", default=0.3, unit="m^2/s", above=0.0)}
    time = (0.0, 0.5)

    def box(self, p):
        return (-1.0, 0.5), (1.0, 1.5)

    def linear(self, k, p):
        return -p.kappa * (k**2).sum(0)

    def initial_values(self, x, p):
        return self.at_time(x, 0.0, p)[None]

    def at_time(self, x, t, p):
        xp, pi = array_namespace(x), np.pi
        slow = xp.cos(pi * x[0] + 0.3) * xp.sin(2 * pi * x[1])
        return 2 + np.exp(-p.kappa * 5 * pi**2 * t) * slow + np.exp(-p.kappa * 4 * pi**2 * t) * xp.sin(2 * pi * x[0])

    def residual(self, s, v):
        return ufl.inner(ufl.grad(s.u["u"]), ufl.grad(v["u"])) * s.dx


class Dispersion(Evolution):
    """u_t = -c u_x - u_xxx: each wave travels with a speed of its own, c - k^2."""

    fields = {"u": Field("height", unit="m")}
    time = (1.0, 3.0)

    def box(self, p):
        return (0.0,), (2 * np.pi,)

    def linear(self, k, p):
        return -0.7j * k[0] + 1j * k[0] ** 3

    def initial_values(self, x, p):
        return self.at_time(x, 1.0, p)[None]

    def at_time(self, x, t, p):
        xp = array_namespace(x)
        return sum(xp.cos(k * (x[0] - (0.7 - k**2) * (t - 1.0))) for k in (1, 3, 6))


class Burgers(Evolution):
    """u_t + (u^2 / 2)_x = nu u_xx, whose Cole-Hopf transform is a heat equation with two modes."""

    fields = {"u": Field("velocity", unit="m/s")}
    parameters = {"nu": Parameter("viscosity", default=0.1, unit="m^2/s", at_least=0.0)}
    time = (0.0, 1.0)

    def box(self, p):
        return (0.0,), (2 * np.pi,)

    def linear(self, k, p):
        return -p.nu * k[0] ** 2

    def nonlinear(self, u, p, grad):
        return -0.5 * grad(u**2)[0]

    def initial_values(self, x, p):
        return self.at_time(x, 0.0, p)[None]

    def at_time(self, x, t, p):
        xp = array_namespace(x)
        decay = np.exp(-p.nu * t)
        return 2 * p.nu * decay * xp.sin(x[0]) / (1.25 + decay * xp.cos(x[0]))


class Reaction(Evolution):
    """A velocity that its own gradient carries, and a density that reacts, in any dimension."""

    parameters = {
        "nu": Parameter("viscosity", default=0.05, unit="m^2/s"),
        "rate": Parameter("reaction rate", default=2.0, unit="1/s"),
    }
    time = (0.0, 0.2)

    def __init__(self, dim, **values):
        super().__init__(**values)
        self.dim = dim
        self.fields = {"w": Field("velocity", shape=(dim,), unit="m/s"), "c": Field("density")}

    def box(self, p):
        return (0.0,) * self.dim, (1.0, 2.0, 1.0)[: self.dim]

    def linear(self, k, p):
        return -p.nu * (k**2).sum(0)

    def nonlinear(self, u, p, grad):
        xp, w, c = array_namespace(u), u[: self.dim], u[self.dim]
        forces = [-(w * grad(w[i])).sum(0) for i in range(self.dim)]
        return xp.stack([*forces, p.rate * (c - c**3) - (w * grad(c)).sum(0)])

    def initial_values(self, x, p):
        xp = array_namespace(x)
        waves = [xp.sin(2 * np.pi * x[i] + 1.0) * xp.cos(np.pi * x[i - 1] * 2) for i in range(self.dim)]
        return 0.3 * xp.stack([*waves, waves[0] + waves[-1]])


def random_points(task, count=50):
    lower, upper = (np.array(corner)[:, None] for corner in task.box(task.p))
    return lower + (upper - lower) * np.random.default_rng(7).random((len(lower), count))


@pytest.mark.parametrize("task", [Heat(), Dispersion()])
@pytest.mark.parametrize("steps", [2, 34])
def test_linear_evolutions_are_exact_for_any_step_and_at_any_point(task, steps):
    x = random_points(task)
    solution = solve(task, resolution=16, steps=steps, snapshots=2)
    for t in solution.times:
        np.testing.assert_allclose(solution.at(x, t=t), task.at_time(x, t, task.p), rtol=0, atol=1e-12)


def test_the_error_falls_at_order_4_in_the_time_step():
    task = Burgers(nu=0.5)
    x, steps = random_points(task), [20, 40, 80]
    exact = task.at_time(x, 1.0, task.p)
    errors = [np.abs(solve(task, resolution=96, steps=n).at(x)[None] - exact).max() for n in steps]
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert rates[-1] == pytest.approx(4, abs=0.1), f"{errors=}, {rates=}"


@pytest.mark.parametrize("direction", [-1, 1j, np.exp(2.5j)])
def test_coefficients_equal_those_of_150_digits_at_every_scale(direction):
    z = direction * np.array([0, 1e-8, 1e-3, 0.1, 0.5, 0.99, 1.0, 1.01, 2.0, 3.0, 10.0, 100.0])
    scheme = Etdrk4.of(torch.tensor(z), dt=1.0)
    with mpmath.workdps(150):

        def phi(j, w):
            return mpmath.fsum(w**n / mpmath.factorial(n + j) for n in range(400))

        for i, w in enumerate(map(mpmath.mpc, z)):
            phi1, phi2, phi3 = (phi(j, w) for j in (1, 2, 3))
            expected = [phi(1, w / 2) / 2, phi1 - 3 * phi2 + 4 * phi3, phi2 - 2 * phi3, 4 * phi3 - phi2]
            got = [complex(c[i]) for c in (scheme.Q, scheme.f1, scheme.f2, scheme.f3)]
            assert got == pytest.approx([complex(e) for e in expected], rel=1e-12, abs=1e-15)


def test_burgers_conserves_mass_and_without_viscosity_energy_as_only_a_dealiased_product_does():
    """A Galerkin projection of the inviscid equation keeps the integral of u^2; aliasing does not."""
    task = Burgers(nu=0.0)
    task.time = (0.0, 0.02)
    u0 = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 1, 48)))
    u = integrate(task, u0, steps=200, snapshots=4)
    torch.testing.assert_close(u.mean(-1), u0.mean(-1, keepdim=True).expand(4, 5, 1).clone(), rtol=0, atol=1e-12)
    assert (u[:, -1] - u[:, 0]).abs().max() > 1e-2
    torch.testing.assert_close((u**2).mean(-1)[:, -1], (u0**2).mean(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "resolution"), [(1, 32), (2, 16), (3, 8)])
def test_a_batch_with_parameters_of_its_own_equals_its_samples_one_by_one(dim, resolution):
    tasks = [Reaction(dim), Reaction(dim, nu=0.2, rate=-1.0), Reaction(dim, rate=0.0)]
    singles = [solve(task, resolution=resolution, steps=6, snapshots=3) for task in tasks]
    u0 = torch.tensor(np.stack([np.concatenate([s.values["w"][0], s.values["c"][0][None]]) for s in singles]))
    batch = integrate(tasks[0], u0, [task.p for task in tasks], steps=6, snapshots=3)
    assert batch.shape == (3, 4, dim + 1, *(resolution,) * dim)
    for trajectory, single in zip(batch.numpy(), singles, strict=True):
        np.testing.assert_allclose(trajectory[:, :dim], single.values["w"], rtol=0, atol=1e-14)
        np.testing.assert_allclose(trajectory[:, dim], single.values["c"], rtol=0, atol=1e-14)
    assert singles[0].at(random_points(tasks[0]), field="w", derivatives=1).shape == (dim, dim, 50)


def test_axes_of_a_cube_are_alike():
    """A field that varies along one axis only evolves as it does in one dimension."""
    line = Burgers()
    u0 = torch.sin(torch.arange(16) * (2 * torch.pi / 16)).double()
    expected = integrate(line, u0[None, None], steps=10)[0, -1, 0]

    class Cube(Burgers):
        axis = 0

        def box(self, p):
            return (0.0,) * 3, (2 * np.pi,) * 3

        def linear(self, k, p):
            return -p.nu * (k**2).sum(0)

        def nonlinear(self, u, p, grad):
            return -0.5 * grad(u**2)[self.axis]

    for axis in range(3):
        task, shape = Cube(), [1, 1, 1]
        task.axis, shape[axis] = axis, 16
        u = integrate(task, u0.reshape(1, 1, *shape).expand(1, 1, 16, 16, 16), steps=10)[0, -1, 0]
        torch.testing.assert_close(u, expected.reshape(shape).expand(16, 16, 16), rtol=0, atol=1e-13)


def test_the_precision_is_that_of_the_initial_values():
    task = Burgers()
    u0 = torch.sin(torch.arange(32, dtype=torch.float64) * (2 * torch.pi / 32))[None, None]
    single, double = integrate(task, u0.float(), steps=20), integrate(task, u0, steps=20)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=0, atol=2e-6)


def test_reports_cost_and_progress():
    reports = []
    solution = solve(Burgers(), resolution=16, steps=50, progress=lambda *report: reports.append(report))
    assert reports[-1] == (1.0, "step 50 of 50")
    assert len(reports) <= 2 + 20 * solution.cost.wall_s
    assert (solution.status, solution.support, solution.cost.dofs) == ("done", "grid", 16)
    assert sum(solution.cost.stages.values()) == pytest.approx(solution.cost.wall_s)


def test_says_at_which_step_and_for_which_samples_values_were_lost():
    u0 = torch.stack([torch.ones(1, 32), 1e200 * torch.sin(torch.arange(32.0).double())[None]])
    with pytest.raises(ComputationError, match=r"step 1 of 3, t = 0\.333333 s, in samples 1; take more steps"):
        integrate(Burgers(), u0, steps=3)


def test_refuses_what_is_no_evolution():
    class Weak(Problem):
        fields = {"u": Field("u")}

    with pytest.raises(InputError, match=r"cannot solve Weak: it needs .* periodic box and linear\(k, p\)"):
        solve(Weak())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 7}, "resolution must be even and 4 or more, got 7"),
        ({"resolution": 2}, "resolution must be even and 4 or more, got 2"),
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"steps": 10, "snapshots": 3}, "steps must be a multiple of snapshots, got 10 steps and 3 snapshots"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
    ],
)
def test_refuses_arguments_by_name(options, message):
    with pytest.raises(InputError, match=message):
        solve(Burgers(), **options)


@pytest.mark.parametrize(
    ("method", "returned", "message"),
    [
        (
            "initial_values",
            lambda x, p: x[0],
            r"initial_values\(x, p\) of Burgers must have shape \(1, 8\), got \(8,\)",
        ),
        ("initial_values", lambda x, p: x / 0, "initial values of Burgers must be finite"),
        ("linear", lambda k, p: k[0, :2], r"linear\(k, p\) of Burgers must have the shape of k\[0\], \(5,\)"),
        ("nonlinear", lambda u, p, grad: grad(u), r"must have shape \(1, 1, 8\), got \(1, 1, 1, 8\)"),
        ("box", lambda p: ((1.0,), (1.0,)), "lower must be below upper"),
    ],
)
def test_refuses_tasks_that_break_the_contract(monkeypatch, method, returned, message):
    monkeypatch.setattr(Burgers, method, lambda self, *arguments: returned(*arguments))
    with pytest.raises(InputError, match=message):
        solve(Burgers(), resolution=8)
