"""Evolutions in symbol form: exact solutions, orders in time, what is conserved, and finite elements beside them."""

import math

import numpy as np
import pytest
import torch
import ufl

from variform.problems import EVOLUTIONS, load
from variform.random import generator
from variform.solvers.spectral import integrate, solve

SCHEMES = {"etdrk4": 4, "etdrk2": 2, "imex3": 3}


def run(task, resolution, steps, snapshots=1, scheme="etdrk4", **values):
    """Trajectory (T, C, *N) and the grid."""
    solution = solve(task, resolution=resolution, steps=steps, snapshots=snapshots, scheme=scheme)
    return np.stack([solution.values[name] for name in task.fields], axis=1), solution


def with_time(name, end, **values):
    kind = load(name)
    return type(kind.__name__, (kind,), {"time": (0.0, end)})(**values)


@pytest.mark.parametrize("name", EVOLUTIONS)
def test_every_evolution_runs_in_a_batch_of_random_instances(name):
    kind = load(name)
    start, end = kind.time
    task = with_time(name, start + (end - start) / 50)
    instances = [task.sample(0, i) for i in range(3)]
    n = 32
    lower, upper = task.box(task.p)
    x = np.stack(
        np.meshgrid(*[a + (b - a) / n * np.arange(n) for a, b in zip(lower, upper, strict=True)], indexing="ij")
    )
    u0 = torch.as_tensor(np.stack([np.asarray(i.initial_values(x, i.p)) for i in instances]))
    together = integrate(task, u0, [i.p for i in instances], steps=100)
    for b, instance in enumerate(instances):
        alone = integrate(task, u0[b : b + 1], instance.p, steps=100)
        assert torch.allclose(together[b], alone[0], rtol=1e-9, atol=1e-11)
    single = integrate(task, u0.float(), [i.p for i in instances], steps=100)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), together, rtol=0, atol=2e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", ["burgers_periodic", "navier_stokes_vorticity", "forced_waves", "allen_cahn_torus"])
def test_orders_in_time(name, scheme):
    end = {"burgers_periodic": 0.2, "navier_stokes_vorticity": 0.5, "forced_waves": 1.0, "allen_cahn_torus": 1.0}[name]
    task = with_time(name, end)
    steps = {"burgers_periodic": 80, "navier_stokes_vorticity": 20, "forced_waves": 40, "allen_cahn_torus": 16}[name]
    fine, _ = run(task, 32, 32 * steps)
    errors = [np.linalg.norm(run(task, 32, k * steps, scheme=scheme)[0][-1] - fine[-1]) for k in (1, 2, 4)]
    observed = np.log2(errors[1] / errors[2])
    assert observed == pytest.approx(SCHEMES[scheme], abs=0.15), errors


def test_a_soliton_keeps_its_shape_and_mass_momentum_and_energy_do_not_change():
    kind = load("kdv")
    task = kind()
    u, solution = run(task, 256, 4000, snapshots=10)
    u, h = u[:, 0], 64.0 / 256
    x = (np.arange(256) * h)[None]
    for t, values in zip(solution.times, u, strict=True):
        assert abs(values - kind.soliton(x, t)).max() < 1e-6 * values.max()
    k = 2 * np.pi * np.fft.fftfreq(256, h)
    slope = np.fft.ifft(1j * k * np.fft.fft(u, axis=1), axis=1).real
    mass, momentum, energy = u.sum(1) * h, (u**2).sum(1) * h, (slope**2 / 2 - u**3).sum(1) * h
    assert np.ptp(mass) < 1e-12 and np.ptp(momentum) < 1e-9 * momentum[0] and np.ptp(energy) < 1e-8 * abs(energy[0])


def test_the_enstrophy_of_a_flow_is_made_and_lost_as_the_equation_says():
    """dZ/dt = -2 nu P + 2 <f, w> for Z = <w^2>, P = <|grad w|^2>, integrated by Simpson's rule."""
    task = with_time("navier_stokes_vorticity", 1.0, viscosity=1e-2)
    w, _ = run(task, 64, 400, snapshots=200)
    w = w[:, 0]
    k = 2 * np.pi * np.fft.fftfreq(64, 1 / 64)
    kx, ky = np.meshgrid(k, k, indexing="ij")
    x = np.stack(np.meshgrid(*[np.arange(64) / 64] * 2, indexing="ij"))
    f = np.asarray(task.forcing(x, task.p))[0]
    palinstrophy = ((kx**2 + ky**2) * abs(np.fft.fft2(w, norm="forward")) ** 2).sum((1, 2))
    rate = -2 * 1e-2 * palinstrophy + 2 * (f * w).mean((1, 2))
    weights = np.tile([2.0, 4.0], 100)[1:]
    total = (rate[0] + rate[-1] + weights @ rate[1:-1]) / (3 * 200)
    enstrophy = (w**2).mean((1, 2))
    assert enstrophy[-1] - enstrophy[0] == pytest.approx(total, rel=1e-6)
    assert abs(w.mean((1, 2))).max() < 1e-12


def test_taylor_and_green_vortices_only_fade():
    class Free(load("navier_stokes_vorticity")):
        time = (0.0, 1.0)

        def forcing(self, x, p):
            return None

    def vortex(x):
        return np.sin(2 * np.pi * np.asarray(x[0])) * np.sin(2 * np.pi * np.asarray(x[1]))

    u, _ = run(Free(viscosity=0.01, initial=lambda x: torch.as_tensor(vortex(x))), 32, 100)
    assert np.allclose(u[-1], u[0] * math.exp(-8 * math.pi**2 * 0.01), atol=1e-13)


def test_the_time_step_of_the_vorticity_set_is_fine_enough_against_that_of_the_literature():
    """Crank-Nicolson for diffusion, Euler for the rest, dt = 1e-4 (Li et al. 2021): its error is larger than ours."""
    task = with_time("navier_stokes_vorticity", 0.2).sample(0, 0)
    n, nu = 32, task.values["viscosity"]
    x = np.stack(np.meshgrid(*[np.arange(n) / n] * 2, indexing="ij"))
    w0 = np.asarray(task.initial_values(x, task.p))[0]
    kx, ky = np.meshgrid(np.fft.fftfreq(n, 1 / n), np.fft.rfftfreq(n, 1 / n), indexing="ij")
    square, resolved = 4 * np.pi**2 * (kx**2 + ky**2), (3 * abs(kx) < n) & (3 * abs(ky) < n)
    inverse = np.where(square > 0, 1 / np.where(square > 0, square, 1), 0)
    f, w, dt = np.fft.rfft2(np.asarray(task.forcing(x, task.p))[0]), np.fft.rfft2(w0), 1e-4

    def back(c):
        return np.fft.irfft2(c, s=(n, n))

    for _ in range(2000):
        known = resolved * w
        psi = inverse * known
        u, v = back(2j * np.pi * ky * psi), back(-2j * np.pi * kx * psi)
        N = -np.fft.rfft2(u * back(2j * np.pi * kx * known) + v * back(2j * np.pi * ky * known)) + f
        w = ((1 - dt * nu * square / 2) * w + dt * resolved * N) / (1 + dt * nu * square / 2)
    theirs, u0 = back(w), torch.as_tensor(w0)[None, None]
    exact = integrate(task, u0, steps=400)[0, -1, 0].numpy()
    ours = integrate(task, u0, steps=10)[0, -1, 0].numpy()  # dt = 0.02, that of the set
    size = np.linalg.norm(exact)
    error, of_theirs = np.linalg.norm(ours - exact) / size, np.linalg.norm(theirs - exact) / size
    assert of_theirs < 1e-3 and error < of_theirs


def test_small_waves_grow_as_linear_theory_says():
    n, L = 64, 64.0
    task = with_time("ks", 2.0, initial=lambda x: 1e-8 * torch.cos(2 * np.pi * 3 * x[0] / L))
    u, _ = run(task, n, 200)
    k = 2 * np.pi * 3 / L
    assert abs(u[-1]).max() / abs(u[0]).max() == pytest.approx(math.exp(2 * (k**2 - k**4)), rel=1e-6)


def test_phases_separate_downhill_and_their_amounts_stay():
    for name, n, steps, conserved in (("allen_cahn_torus", 64, 200, False), ("cahn_hilliard_torus", 64, 4000, True)):
        task = load(name)().sample(1, 0)
        u, _ = run(task, n, steps, snapshots=10)
        u, eps = u[:, 0], task.values["width"]
        k = 2 * np.pi * np.fft.fftfreq(n, 1 / n)
        square = k[:, None] ** 2 + k**2
        gradient = (square * abs(np.fft.fft2(u, norm="forward")) ** 2).sum((1, 2))
        energy = eps**2 / 2 * gradient + ((u**2 - 1) ** 2).mean((1, 2)) / 4
        assert (np.diff(energy) < 0).all()
        assert (np.ptp(u.mean((1, 2))) < 1e-13) == conserved


def test_burgers_by_the_heat_equation():
    """Cole and Hopf: u = -2 nu phi_x / phi with phi_t = nu phi_xx solves Burgers' equation."""
    nu, n, end = 0.02, 256, 0.5
    x = np.arange(n) / n

    def phi(t):
        wave = 0.8 * math.exp(-nu * 4 * math.pi**2 * t)
        return 1 + wave * np.cos(2 * np.pi * x), -2 * np.pi * wave * np.sin(2 * np.pi * x)

    def exact(t):
        value, slope = phi(t)
        return -2 * nu * slope / value

    task = with_time("burgers_periodic", end, viscosity=nu, initial=lambda _: torch.as_tensor(exact(0.0)))
    u, _ = run(task, n, 500)
    assert abs(u[-1, 0] - exact(end)).max() < 1e-10


def test_finite_elements_and_the_spectral_method_agree_on_heat():
    from variform.solvers import fem

    a = fem.solve(load("heat_periodic")(), mesh=32, degree=2, steps=100)
    b = solve(load("heat_periodic")(), resolution=32, steps=10)
    x = np.random.default_rng(0).random((2, 50))
    assert abs(a.at(x) - b.at(x)).max() < 2e-4 * abs(b.at(x)).max()


def test_finite_elements_and_the_spectral_method_agree_on_burgers():
    """A nonlinear one, just when the layer is steepest: cubic elements on 200 cells, and 512 points."""
    from variform.meshes import Interval
    from variform.problem import Periodic
    from variform.problems.burgers import Burgers1D
    from variform.solvers import fem

    class Weak(Burgers1D):
        conditions = [Periodic("u", axes=(0,))]
        time = (0.0, 0.4)

        def geometry(self, p):
            return Interval()

        def initial(self, x, p):
            return ufl.sin(2 * ufl.pi * x[0])

    a = fem.solve(Weak(viscosity=0.01), mesh=200, degree=3, steps=400)
    b = solve(with_time("burgers_periodic", 0.4, viscosity=0.01), resolution=512, steps=400)
    x = np.random.default_rng(0).random((1, 50))
    assert abs(a.at(x) - b.at(x)).max() < 1e-5 * abs(b.at(x)).max()


def test_lost_samples_are_marked_and_the_others_go_on():
    task = with_time("burgers_periodic", 1.0)
    x = np.arange(64)[None] / 64
    good = np.asarray(task.initial_values(x, task.p))
    u0 = torch.as_tensor(np.stack([good, 1e6 * good, good]))
    u = integrate(task, u0, steps=400, mark=True)
    finite = torch.isfinite(u).flatten(1).all(1).tolist()
    assert finite == [True, False, True]
    assert torch.equal(u[0], u[2]) and generator(0, 0)
