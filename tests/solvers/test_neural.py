"""Networks: conditions held exactly, derivatives carried exactly, and a small one trained to a stated error."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from ufl import grad, inner

from variform.benchmarks.metrics import exact_errors
from variform.errors import ComputationError, InputError
from variform.forms import values
from variform.forms.jets import closure, jet_of, product
from variform.meshes import MeshGeometry
from variform.problem import Periodic, resolve
from variform.problems import load
from variform.quadrature import facet_quadrature
from variform.solution import Cost
from variform.solvers import solve
from variform.solvers.neural import NetworkSolution, pinn, ritz
from variform.solvers.neural.gauss_newton import minimise
from variform.solvers.neural.networks import MLP, jacobian
from variform.solvers.neural.trial import Trial

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "heated_block.py")
SECOND = [(0, 0), (0, 1), (1, 1)]
POINTS = np.random.default_rng(0).random((2, 40))


def untrained(problem, seed=0, width=8):
    """The trial function at parameters larger than any that training begins with."""
    geometry = problem.geometry(problem.p)
    trial = Trial(problem, geometry, geometry.mesh(4), width, 2)
    theta = 3 * torch.randn(trial.network.num_parameters, generator=torch.Generator().manual_seed(seed)).double()
    return NetworkSolution(trial, theta, Cost(0.0), {}, [])


@pytest.mark.parametrize("name", ["poisson_manufactured", "darcy", "heat", EXAMPLE])
@pytest.mark.parametrize("seed", [0, 1])
def test_dirichlet_and_initial_values_hold_exactly_for_any_parameters(name, seed):
    problem = load(name)()
    solution = untrained(problem, seed)
    (field,) = problem.fields
    for condition, t in itertools.product(problem.dirichlet(field), (0.01, 0.04) if problem.time else (0.0,)):
        for side in solution.mesh.boundaries if "boundary" in condition.names else condition.names:
            rule = facet_quadrature(solution.mesh, 3, solution.mesh.boundaries[side])
            held = values(
                problem, lambda *s, c=condition: resolve(c, problem.fields[field].shape, *s), torch.as_tensor(rule.x), t
            )[field]
            assert abs(solution.at(rule.x, t=t) - held.numpy()).max() < 1e-12
    x = np.random.default_rng(seed).random((solution.mesh.dim, 40))
    if problem.time:
        initial = values(problem, lambda x, t, p: problem.initial(x, p), torch.as_tensor(x))[field]
        assert abs(solution.at(x, t=problem.time[0]) - initial.numpy()).max() < 1e-12
    assert np.ptp(solution.at(x)) > 0.1  # inside it is free


def test_a_periodic_network_repeats_itself_with_its_slope():
    solution = untrained(load("heat_periodic")())
    s = POINTS[0]
    for axis, derivatives in itertools.product((0, 1), (0, 1)):
        ends = [np.insert(s[None], axis, np.full_like(s, end), axis=0) for end in (0.0, 1.0)]
        low, high = (solution.at(x, t=0.07, derivatives=derivatives) for x in ends)
        assert np.ptp(low) > 1e-3 and abs(low - high).max() < 1e-11


def test_across_an_interface_the_value_is_continuous_and_only_the_normal_slope_jumps():
    solution = untrained(load("darcy")())
    s = POINTS[0]
    below, above = (np.stack([s, np.full_like(s, 0.5 + side)]) for side in (-1e-12, 1e-12))
    assert abs(solution.at(above) - solution.at(below)).max() < 1e-9
    jump = solution.at(above, derivatives=1) - solution.at(below, derivatives=1)
    assert abs(jump[0]).max() < 1e-8
    assert abs(jump[1]).min() > 1e-3


def test_gradients_are_those_of_the_values_and_outside_there_are_none():
    solution = untrained(load("darcy")())
    x, h = 0.02 + 0.45 * POINTS, 1e-6  # in one region
    gradients = solution.at(x, derivatives=1)
    for axis in (0, 1):
        step = h * np.eye(2)[axis][:, None]
        difference = (solution.at(x + step) - solution.at(x - step)) / (2 * h)
        assert np.allclose(gradients[axis], difference, rtol=1e-7, atol=1e-7)
    outside = np.array([[-0.01, 0.5, 3.0], [0.5, 1.01, 3.0]])
    assert np.isnan(solution.at(outside)).all() and np.isnan(solution.at(outside, derivatives=1)).all()
    assert np.isfinite(solution.at(np.array([[0.0, 1.0], [1.0, 0.0]]))).all()
    with pytest.raises(InputError, match="derivatives=2"):
        solution.at(x, derivatives=2)


def plain(network, theta, z):
    """The network as anyone would write it."""
    h, start = z, 0
    for i, o in itertools.pairwise(network.sizes):
        h = theta[start : start + i * o].view(o, i) @ h + theta[start + i * o : start + i * o + o, None]
        start += i * o + o
        h = torch.tanh(h) if start < network.num_parameters else h
    return h


def features(z):
    return torch.stack([z[0] * z[1], torch.sin(z[1]), z[0] ** 2])


def nested(function, z, directions):
    """Derivatives of (d, n) to (k, n), one reverse pass after the other."""

    def along(rows, axis):
        return torch.stack([torch.autograd.grad(row.sum(), z, create_graph=True)[0][axis] for row in rows])

    z = z.clone().requires_grad_()
    result = {}
    for axes in directions:
        rows = function(z)
        for axis in axes:
            rows = along(rows, axis)
        result[axes] = rows.detach()
    return result


def test_the_jets_of_a_network_of_functions_and_of_products_are_the_derivatives():
    network, z = MLP((3, 7, 6, 2)), torch.tensor(POINTS)
    theta, needed = network.initial(0), closure(SECOND)
    assert needed == [(), (0,), (1,), (0, 0), (0, 1), (1, 1)]
    inputs = [jet_of(lambda q, i=i: features(q)[i], z, needed) for i in range(3)]
    inputs = {axes: torch.stack([jet[axes] for jet in inputs]) for axes in needed}
    outputs = network.jet(theta, inputs)
    expected = nested(lambda q: plain(network, theta, features(q)), z, needed)
    for axes in needed:
        assert (outputs[axes] - expected[axes]).abs().max() < 1e-12

    factor = {axes: row[None] for axes, row in jet_of(lambda q: torch.exp(q[0]) * q[1], z, needed).items()}
    both = product(factor, outputs)
    expected = nested(lambda q: torch.exp(q[0]) * q[1] * plain(network, theta, features(q)), z, needed)
    for axes in needed:
        assert (both[axes] - expected[axes]).abs().max() < 1e-12

    constant = jet_of(lambda q: torch.ones_like(q[0]), z, needed)
    assert all((constant[axes] == (1.0 if axes == () else 0.0)).all() for axes in needed)


def test_the_jacobian_at_every_point_is_that_of_reverse_mode():
    network, z = MLP((2, 5, 4, 2)), torch.tensor(POINTS)
    needed = closure(SECOND)
    inputs = nested(lambda q: 1.0 * q, z, [(), (0,), (1,)])
    inputs |= {axes: torch.zeros_like(z) for axes in SECOND}

    def rows(theta, tape=None):
        u = network.jet(theta, inputs, tape)
        return torch.stack([u[0, 0][0] + u[1, 1][0], u[()][1] ** 2 * u[(0,)][0], u[0, 1][1] - u[()][0]])

    theta = network.initial(1).requires_grad_()
    tape = []
    ours = jacobian(rows(theta, tape), tape)
    expected = torch.autograd.functional.jacobian(rows, theta.detach())
    assert set(needed) == set(inputs) and ours.shape == (3, z.shape[1], network.num_parameters)
    assert (ours - expected).abs().max() < 1e-12 * expected.abs().max()


def test_the_same_seed_gives_the_same_parameters_and_another_seed_others():
    network = MLP((2, 6, 1))
    assert torch.equal(network.initial(3), network.initial(3))
    assert not torch.equal(network.initial(3), network.initial(4))
    assert network.initial(3)[-1] == 0.0


TRAINED = [
    ("poisson_manufactured", "pinn", {"width": 12, "max_steps": 40, "mesh": 8}, 2e-3),
    ("poisson_manufactured", "ritz", {"width": 12, "max_steps": 40, "mesh": 8}, 5e-3),
    ("darcy_manufactured", "pinn", {"width": 12, "max_steps": 40, "mesh": 8}, 1e-2),
    ("darcy_manufactured", "ritz", {"width": 12, "max_steps": 40, "mesh": 8}, 2e-2),
    ("heat", "pinn", {"width": 8, "max_steps": 15, "mesh": 4, "time_points": 4}, 1e-2),
    ("poisson_manufactured", "pinn", {"network": "kan", "width": 5, "max_steps": 40, "mesh": 8}, 1e-3),
    ("poisson_manufactured", "pinn", {"network": "chebyshev", "width": 6, "max_steps": 40, "mesh": 8}, 1e-3),
    ("plate_supported_manufactured", "pinn", {"width": 12, "max_steps": 150, "mesh": 6}, 8e-2),
]


@pytest.mark.parametrize(("name", "method", "options", "tolerance"), TRAINED)
def test_training_takes_a_small_network_to_the_solution(name, method, options, tolerance):
    problem = load(name)()
    before = exact_errors(problem, solve(problem, method, **{**options, "max_steps": 0}))
    solution = solve(problem, method, **options)
    after = exact_errors(problem, solution)
    assert before["relative_l2"] > 0.5
    assert after["relative_l2"] < tolerance and after["relative_h1"] < 5 * tolerance, f"{before=}, {after=}"
    losses = [loss for _, loss in solution.training]
    assert losses == sorted(losses, reverse=True)
    assert solution.cost.parameters == len(solution.theta) and solution.cost.stages["train"] > 0


def test_compiled_training_takes_the_same_steps():
    problem, options = load("poisson_manufactured")(), {"width": 4, "depth": 1, "max_steps": 3, "mesh": 4}
    plain, fast = (pinn.solve(problem, compile=compile, **options) for compile in (False, True))
    assert np.allclose([loss for _, loss in fast.training], [loss for _, loss in plain.training], rtol=1e-9)
    assert fast.cost.stages["compile"] > 0


def test_training_on_laplacians_is_training_on_second_derivatives(monkeypatch):
    problem, options = load("heat")(), {"width": 4, "max_steps": 3, "mesh": 3}
    laplacians = pinn.solve(problem, **options)
    monkeypatch.setattr(pinn, "only_laplacians", lambda form, expressions: False)
    apart = pinn.solve(problem, **options)
    assert np.allclose([loss for _, loss in laplacians.training], [loss for _, loss in apart.training], rtol=1e-9)


def test_the_energy_of_the_ritz_solution_is_above_the_minimum_and_near_it():
    problem = load("poisson")()
    solution = ritz.solve(problem, width=8, mesh=6, max_steps=20)
    minimum = -problem.reference()["integral"] / 2
    assert solution.discretization["energy"] == pytest.approx(minimum, rel=5e-3)
    assert problem.measure(solution) == pytest.approx(problem.reference(), rel=2e-2)


def test_what_networks_cannot_solve_is_refused():
    with pytest.raises(InputError, match=r"Heat is an evolution: .*; use pinn"):
        ritz.solve(load("heat")())

    class WithoutEnergy(load("poisson")):
        def energy(self, s):
            return None

        def residual(self, s, v):
            return inner(grad(s.u["u"]), grad(v["u"])) * s.dx - v["u"] * s.dx

    with pytest.raises(InputError, match="WithoutEnergy has no energy"):
        ritz.solve(WithoutEnergy(), mesh=2, width=4, max_steps=1)
    assert pinn.solve(WithoutEnergy(), mesh=2, width=4, max_steps=1).status == "done"

    layered = load("darcy")()
    with pytest.raises(InputError, match=r"several regions .* has no level sets"):
        pinn.solve(layered, mesh=layered.geometry(layered.p).mesh(4), width=4, max_steps=1)

    with pytest.raises(InputError, match=r"PlateManufactured holds the normal derivative .*: use fem"):
        pinn.solve(load("plate_manufactured")(), mesh=2, width=4, max_steps=1)
    with pytest.raises(InputError, match=r"network 'transformer'.*mlp"):
        pinn.solve(load("poisson")(), network="transformer", mesh=2)

    halfway = type("Halfway", (load("heat_periodic"),), {"conditions": [Periodic("T", axes=(0,))]})
    with pytest.raises(InputError, match="periodic along every axis"):
        pinn.solve(halfway(), mesh=2, width=4, max_steps=1)


def test_a_given_mesh_is_the_domain():
    problem = load("poisson")()
    mesh = problem.geometry(problem.p).mesh(3)
    solution = pinn.solve(problem, mesh=mesh, width=4, max_steps=2)
    assert solution.mesh is mesh and isinstance(solution.trial.geometry, MeshGeometry)
    assert solution.discretization["cells"] == 18


def test_gauss_newton_finds_the_minimum_of_a_quadratic_and_refuses_a_loss_that_is_not_finite():
    A = torch.tensor([[4.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    b = torch.tensor([1.0, -2.0], dtype=torch.float64)

    def model(theta):
        return A @ theta - b, A

    def loss(theta):
        return float(theta @ A @ theta / 2 - b @ theta)

    theta, history = minimise([model], loss, torch.ones(2, dtype=torch.float64), max_steps=30, rtol=1e-14)
    assert torch.allclose(theta, torch.linalg.solve(A, b), rtol=1e-7)
    assert [step for step, _ in history] == list(range(len(history))) and len(history) <= 31
    with pytest.raises(ComputationError, match="not finite at the initial parameters"):
        minimise([model], lambda theta: float("nan"), torch.ones(2).double(), max_steps=1, rtol=0.1)
