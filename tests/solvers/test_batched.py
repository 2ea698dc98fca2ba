"""The batched solver agrees with DOLFINx and with itself sample by sample; its gradients pass Taylor's test."""

import re

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
import ufl
from scipy.spatial import cKDTree
from ufl import conj, grad, inner

import variform
from variform.errors import InputError
from variform.meshes import Disk, UnitCube, UnitSquare
from variform.meshes.box import Box
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.problems import CATALOGUE, load
from variform.solvers.batched import BatchedSolver, system
from variform.solvers.fem.mesh import distribute
from variform.task import Parameter

from dolfinx import fem  # isort: skip - after variform.solvers.fem, which loads MPI

REFUSED = {
    "mixed_darcy": "prescribes values of Lagrange fields only; 'q' is of element RT: use fem",
    "elasticity_free": "cannot rule out rigid motions: use fem",
}
CELLS = {1: 5, 2: 4, 3: 2}
FINER = {"cavity": 10}
TIGHT = 1e-13


class Transport(Problem):
    """-div((k + u^2) grad u) + (b, 1) . grad u = f, u = 1 + x y on the boundary: nonlinear, unsymmetric, no bounds."""

    fields = {"u": Field("concentration")}
    parameters = {
        "k": Parameter("diffusivity", default=1.0, field=True),
        "f": Parameter("source", default=2.0, field=True, smooth=False),
        "b": Parameter("velocity", default=3.0),
    }
    conditions = [Dirichlet("u", lambda x, t, p: 1 + x[0] * x[1])]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w, p = s.u["u"], v["u"], s.p
        flow = p.b * u.dx(0) + u.dx(1)
        return (inner((p.k + u**2) * grad(u), grad(w)) + flow * w - p.f * w) * s.dx


class Bratu(Problem):
    """-lap u = a exp(u), u = 0 on the boundary of the unit square, which has no solution for a > 6.81."""

    fields = {"u": Field("temperature")}
    parameters = {"a": Parameter("amplitude", default=1.0), "k": Parameter("conductivity", default=1.0, field=True)}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        u = s.u["u"]
        return (s.p.k / 2 * inner(grad(u), grad(u)) - s.p.a * ufl.exp(u)) * s.dx


class Membrane(Problem):
    """-div(k grad u) = f, u = 0 on the boundary, by its energy; k is any field."""

    fields = {"u": Field("deflection")}
    parameters = {
        "k": Parameter("stiffness", default=1.0, field=True, smooth=False),
        "f": Parameter("load", default=1.0),
    }
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        u = s.u["u"]
        return (s.p.k / 2 * inner(grad(u), grad(u)) - s.p.f * u) * s.dx


class Ignition(Problem):
    """du/dt = div(k grad u) + u^2, from a given state: an evolution that is not linear."""

    fields = {"u": Field("temperature")}
    parameters = {"k": Parameter("conductivity", default=0.5)}
    conditions = [Dirichlet("u", lambda x, t, p: x[0] * (1 + ufl.sin(t)), on="right")]
    time = (0.0, 0.5)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (Dt(u) * w + s.p.k * inner(grad(u), grad(w)) - u**2 * w) * s.dx

    def initial(self, x, p):
        return x[0] * ufl.cos(x[1])


class Helmholtz(Problem):
    """-lap u - k^2 u = 0, du/dn - i k u = g: a plane wave exp(i k d . x) passes through; g is its impedance data."""

    fields = {"u": Field("pressure", degree=2)}
    parameters = {"k": Parameter("wave number", default=6.0), "a": Parameter("absorption", default=0.0, field=True)}
    direction = (0.6, 0.8)

    def geometry(self, p):
        return UnitSquare()

    def exact(self, x, t, p):
        return ufl.exp(1j * p.k * ufl.dot(ufl.as_vector(self.direction), x))

    def residual(self, s, v):
        u, w, k = s.u["u"], v["u"], s.p.k
        wave = self.exact(s.x, s.t, s.p)
        data = 1j * k * (ufl.dot(ufl.as_vector(self.direction), s.n) - 1) * wave
        inside = inner(grad(u), grad(w)) - k**2 * inner(u, w) - 1j * k * s.p.a * inner(u, w)
        return inside * s.dx - (1j * k * inner(u, w) + inner(data, w)) * s.ds


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float64)


def mesh_of(problem, name=""):
    geometry = problem.geometry(problem.p)
    return geometry.mesh(FINER.get(name, CELLS[geometry.dim] if isinstance(geometry, Box) else 1))


def solve_one(solver, **data):
    """A stationary problem, or four steps of an evolution."""
    return solver.solve(**data) if solver.problem.time is None else solver.evolve(steps=4, **data)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in REFUSED])
def test_solutions_of_the_catalogue_equal_those_of_dolfinx(name):
    problem = load(name)()
    assert_equal_to_dolfinx(problem, mesh_of(problem, name))


@pytest.mark.parametrize(
    ("name", "mesh"),
    [
        ("poisson_manufactured", UnitSquare().mesh(3, cell_type="quadrilateral")),
        ("poisson_3d_manufactured", UnitCube().mesh(2, cell_type="hexahedron")),
        ("p_laplace", Disk().mesh(2, 2)),
    ],
)
def test_solutions_on_other_cells_equal_those_of_dolfinx(name, mesh):
    assert_equal_to_dolfinx(load(name)(), mesh, degree=2)


def assert_equal_to_dolfinx(problem, mesh, degree=None):
    solver = BatchedSolver(problem, mesh, degree=degree)
    batch = solve_one(solver, rtol=1e-12)
    assert batch.converged.tolist() == [True]
    steps = {} if problem.time is None else {"steps": 4}
    reference = variform.solve(problem, mesh=mesh, degree=degree, rtol=1e-12, **steps)
    for field, space in solver.weak.spaces.items():
        u = batch.u[field].flatten(0, -len(solver.weak.shapes[field]) - 1)[-1].numpy()
        x = mesh.points[:1].T if space.family == "Real" else space.x
        expected = reference.at(x, field=field)
        assert abs(u - expected).max() <= 1e-9 * abs(expected).max() + 1e-14, field


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_solver_does_not_take_is_refused_with_a_reason(name):
    problem = load(name)()
    with pytest.raises(InputError, match=re.escape(REFUSED[name])):
        BatchedSolver(problem, mesh_of(problem))


def darcy_batch(weak, rng):
    """Five samples of Darcy's problem that differ in all that may differ."""
    p = {
        "heterogeneity": tensor(rng.uniform(0.5, 2, (5, weak.parameter_spaces["heterogeneity"].num_dofs))),
        "recharge": tensor(rng.standard_normal(5)),
        "conductivity": {"clay": tensor(rng.uniform(0.1, 1, 5)), "sand": 2.0},
        "pumping": 0.3,
    }
    return {"p": p, "boundary": {"h": tensor(rng.standard_normal((5, *weak.shapes["h"])))}}


def transport_batch(weak, rng):
    k, f = (weak.parameter_spaces[name].num_dofs for name in "kf")
    p = {
        "k": tensor(rng.uniform(0.01, 1, (5, k))),
        "f": tensor(rng.standard_normal(f)),
        "b": tensor(10.0 ** np.arange(-2, 3)),
    }
    return {"p": p, "boundary": {"u": tensor(rng.standard_normal((5, *weak.shapes["u"])))}}


def ignition_batch(weak, rng):
    initial = {"u": tensor(rng.standard_normal((5, *weak.shapes["u"])))}
    return {"p": {"k": tensor(rng.uniform(0.1, 2, 5))}, "initial": initial}


BATCHES = [(load("darcy")(), darcy_batch), (Transport(), transport_batch), (Ignition(), ignition_batch)]


def sample(data, i):
    """Sample i of nested data, tensors of one sample left as they are."""
    if isinstance(data, dict):
        return {key: sample(value, i) for key, value in data.items()}
    return data[i] if isinstance(data, torch.Tensor) and len(data) == 5 else data


@pytest.mark.parametrize(("problem", "data"), BATCHES, ids=["linear", "nonlinear", "evolution"])
@pytest.mark.parametrize("portion_bytes", [None, 1])
def test_a_batch_equals_its_samples_whatever_the_portions(problem, data, portion_bytes, monkeypatch):
    if portion_bytes:
        monkeypatch.setattr(system, "PORTION_BYTES", portion_bytes)
    solver = BatchedSolver(problem, UnitSquare().mesh(4) if problem.name != "Darcy" else mesh_of(problem), degree=2)
    data = data(solver.weak, np.random.default_rng(0))
    together = solve_one(solver, rtol=1e-12, **data)
    assert together.converged.tolist() == [True] * 5
    alone = [solve_one(solver, rtol=1e-12, **sample(data, i)) for i in range(5)]
    for field, u in together.u.items():
        expected = torch.cat([batch.u[field] for batch in alone])
        assert (u - expected).abs().max() < 1e-9 * expected.abs().max()
    assert together.newton_steps.tolist() == [int(batch.newton_steps) for batch in alone]


def derivative(solver, data, at, leaf, direction):
    """The function h -> J(input + h direction) and J'(0), J = sum_i w_i u_i^3 over all dofs of all samples."""
    rng = np.random.default_rng(5)
    weights = {name: tensor(rng.standard_normal(shape)) for name, shape in solver.weak.shapes.items()}

    def J(value):
        batch = solve_one(solver, rtol=TIGHT, **replaced(data, at, value))
        assert batch.converged.all()
        return sum((weights[name] * u**3).sum() for name, u in batch.u.items())

    value = leaf.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(J(value), value)
    return lambda h: float(J(leaf + h * direction)), float((gradient * direction).sum())


def replaced(data, path, value):
    if not path:
        return value
    return {**data, path[0]: replaced(data.get(path[0], {}), path[1:], value)}


def found(data, path):
    return found(data[path[0]], path[1:]) if path else data


TAYLOR = [
    (0, ("p", "heterogeneity")),
    (0, ("p", "recharge")),
    (0, ("p", "conductivity", "clay")),
    (0, ("boundary", "h")),
    (0, ("points",)),
    (1, ("p", "k")),
    (1, ("p", "f")),
    (1, ("p", "b")),
    (1, ("boundary", "u")),
    (1, ("points",)),
    (2, ("p", "k")),
    (2, ("initial", "u")),
]


@pytest.mark.parametrize(("which", "path"), TAYLOR, ids=["-".join([BATCHES[i][0].name, *path]) for i, path in TAYLOR])
def test_gradients_leave_a_remainder_of_second_order(which, path):
    problem, batch = BATCHES[which]
    mesh = problem.geometry(problem.p).mesh(4)
    solver, rng = BatchedSolver(problem, mesh), np.random.default_rng(1)
    data = batch(solver.weak, rng)
    if path == ("points",):  # the boundary moves too, and boundary values with it
        data = {"p": data["p"], "points": tensor(mesh.points)}
    leaf = found(data, path)
    direction = tensor(rng.uniform(-1, 1, leaf.shape))
    J, slope = derivative(solver, data, path, leaf, direction)
    steps = np.array([1e-2, 1e-3, 1e-4]) / 4
    remainders = [abs(J(h) - J(0.0) - h * slope) for h in steps]
    rates = np.log10(np.divide(remainders[:-1], remainders[1:]))
    assert rates == pytest.approx(2, abs=0.1), (remainders, slope)
