"""The torch weak form equals DOLFINx's assembly, batches equal their samples, autograd of the energy its residual."""

from pathlib import Path

import numpy as np
import pytest
import torch
import ufl
from scipy.spatial import cKDTree

from variform.errors import InputError
from variform.forms import WeakForm
from variform.meshes import Interval, Layers, UnitSquare
from variform.problem import Dt, Field, Problem
from variform.problems import load
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.mesh import distribute
from variform.task import Parameter

from dolfinx import fem  # isort: skip - after variform.solvers.fem, which loads MPI

BLOCK = Path(__file__).parents[2] / "examples" / "heated_block.py"


class Rod(Problem):
    """A layered rod, convection at its end: facets are points, and the normal is 1 or -1."""

    fields = {"T": Field("temperature")}
    parameters = {
        "k": Parameter("conductivity", default={"iron": 2.0, "wood": 0.1}),
        "h": Parameter("film", default=3.0),
    }

    def geometry(self, p):
        return Interval(-1.0, 2.0, Layers(0, (0.5,), ("iron", "wood")))

    def residual(self, s, v):
        T, w = s.u["T"], v["T"]
        conduction = sum(k * ufl.inner(ufl.grad(T), ufl.grad(w)) * s.dx(layer) for layer, k in s.p.k.items())
        return conduction + s.x[0] * w * s.dx + s.p.h * (T - s.n[0]) * w * s.ds("right") - s.n[0] * w * s.ds


class Thermoelastic(Problem):
    """A vector and two scalars that act on each other and move; a stiffness that jumps from cell to cell."""

    fields = {"u": Field("displacement", shape=(2,)), "T": Field("temperature"), "c": Field("moisture")}
    parameters = {
        "stiffness": Parameter("mu", default=lambda x: 1 + x[0] ** 2 + x[1], field=True, smooth=False),
        "expansion": Parameter("alpha", default=lambda x: x[0] * x[1], field=True),
        "pressure": Parameter("q", default=0.7),
    }
    time = (0.0, 1.0)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        (u, T, c), (w, r, q) = (s.u[f] for f in self.fields), (v[f] for f in self.fields)
        strain = ufl.sym(ufl.grad(u))
        stress = 2 * s.p.stiffness * ufl.dev(strain) + (ufl.tr(strain) - s.p.expansion * T) * ufl.Identity(2)
        mechanics = ufl.inner(stress, ufl.grad(w)) * s.dx + s.p.pressure * s.t * ufl.inner(s.n, w) * s.ds("top", "left")
        rate = Dt(T * (1 + u[0])) + s.p.expansion * ufl.div(Dt(u))
        drying = (Dt(c) + T * c) * q + ufl.dot(ufl.grad(c - T), ufl.grad(q))
        return mechanics + (rate * r + ufl.exp(-(T**2)) * ufl.dot(ufl.grad(T), ufl.grad(r)) + drying) * s.dx


CASES = {
    "poisson_manufactured": (lambda: load("poisson_manufactured")(conductivity=1.7), 5),
    "darcy": (lambda: load("darcy")().sample(0, 3), 5),
    "heat": (load("heat"), 4),
    "heated_block": (lambda: load(str(BLOCK))(), None),
    "rod": (Rod, 7),
    "thermoelastic": (Thermoelastic, 3),
}
ENERGY = ["poisson_manufactured", "darcy", "heated_block"]
T = 0.3


def problem_and_mesh(name):
    problem, cells = CASES[name][0](), CASES[name][1]
    return problem, problem.geometry(problem.p).mesh(cells)


def random_dofs(form, rng, *batch):
    return {
        name: torch.tensor(rng.standard_normal((*batch, *form.problem.fields[name].shape, space.num_dofs)))
        for name, space in form.spaces.items()
    }


class Reference:
    """The same form, assembled by DOLFINx; dofs are told apart by their coordinates."""

    def __init__(self, problem, mesh, form, degree):
        self.discrete = discretize(problem, distribute(mesh), degree)
        self.form = form
        for u in self.discrete.u.values():
            u.rate = fem.Function(u.function_space)
        self.discrete.symbols.t.value = T
        self.order = {}
        for name, space in form.spaces.items():
            x = self.discrete.u[name].function_space.tabulate_dof_coordinates()[:, : mesh.dim]
            distance, self.order[name] = cKDTree(space.x.T).query(x)
            assert distance.max() < 1e-12 and len(set(self.order[name])) == space.num_dofs == len(x)

    def put(self, function, name, dofs):
        function.x.array[:] = dofs.numpy()[..., self.order[name]].T.reshape(-1)

    def residual(self, u, rate):
        for name, function in self.discrete.u.items():
            self.put(function, name, u[name])
            self.put(function.rate, name, rate[name])
        blocks = ufl.extract_blocks(self.discrete.residual()) if len(u) > 1 else [self.discrete.residual()]
        result = {}
        for (name, dofs), block in zip(u.items(), blocks, strict=True):
            vector = fem.assemble_vector(fem.form(block, jit_options=JIT)).array
            result[name] = np.empty(dofs.shape)
            result[name][..., self.order[name]] = vector.reshape(-1, *dofs.shape[:-1]).T
        return result

    def energy(self, u):
        for name, function in self.discrete.u.items():
            self.put(function, name, u[name])
        return fem.assemble_scalar(fem.form(self.discrete.problem.energy(self.discrete.symbols), jit_options=JIT))


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_residual_and_energy_equal_those_that_dolfinx_assembles(name, degree):
    problem, mesh = problem_and_mesh(name)
    form = WeakForm(problem, mesh, degree=degree)
    reference = Reference(problem, mesh, form, degree)
    rng = np.random.default_rng(degree)
    u, rate = random_dofs(form, rng), random_dofs(form, rng)
    ours, theirs = form.residual(u, rate=rate, t=T), reference.residual(u, rate)
    scale = max(abs(r).max() for r in theirs.values())
    for field, expected in theirs.items():
        assert abs(ours[field].numpy() - expected).max() < 1e-12 * scale
    if name in ENERGY:
        assert float(form.energy(u)) == pytest.approx(reference.energy(u), rel=1e-12)


@pytest.mark.parametrize("name", ENERGY)
def test_the_derivative_of_the_energy_by_autograd_is_the_residual(name):
    problem, mesh = problem_and_mesh(name)
    form = WeakForm(problem, mesh, degree=2)
    field, dofs = next(iter(random_dofs(form, np.random.default_rng(0)).items()))
    dofs.requires_grad_()
    (gradient,) = torch.autograd.grad(form.energy({field: dofs}), dofs)
    residual = form.residual({field: dofs.detach()})[field]
    assert (gradient - residual).abs().max() < 1e-13 * residual.abs().max()


def test_a_batch_equals_its_samples_with_parameters_of_their_own():
    problem, mesh = problem_and_mesh("darcy")
    form = WeakForm(problem, mesh, degree=2)
    rng = np.random.default_rng(0)
    u = random_dofs(form, rng, 3)
    p = {
        "heterogeneity": torch.stack(
            [form.parameter_dofs("heterogeneity", problem.sample(1, i).values["heterogeneity"]) for i in range(3)]
        ),
        "recharge": torch.tensor([0.0, 0.4, -2.0], dtype=torch.float64),
        "conductivity": {"clay": torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64), "sand": 2.0},
    }
    residual, energy = form.residual(u, p=p)["h"], form.energy(u, p=p)
    assert energy.shape == (3,)
    for i in range(3):
        own = {**p, "heterogeneity": problem.sample(1, i).values["heterogeneity"], "recharge": float(p["recharge"][i])}
        own["conductivity"] = {"clay": float(p["conductivity"]["clay"][i]), "sand": 2.0}
        alone = {"h": u["h"][i]}
        expected = form.residual(alone, p=own)["h"]
        assert (residual[i] - expected).abs().max() < 1e-14 * expected.abs().max()
        assert float(energy[i]) == pytest.approx(float(form.energy(alone, p=own)), rel=1e-14)


def test_batches_of_vectors_and_rates_keep_their_axes():
    problem, mesh = problem_and_mesh("thermoelastic")
    form = WeakForm(problem, mesh)
    rng = np.random.default_rng(0)
    u, rate = random_dofs(form, rng, 2, 3), random_dofs(form, rng, 2, 3)
    residual = form.residual(u, rate=rate, t=T)
    for i in np.ndindex(2, 3):
        alone = form.residual({k: a[i] for k, a in u.items()}, rate={k: a[i] for k, a in rate.items()}, t=T)
        for field, expected in alone.items():
            assert (residual[field][i] - expected).abs().max() < 1e-14


def test_single_precision_is_kept():
    problem, mesh = problem_and_mesh("darcy")
    single, double = WeakForm(problem, mesh, dtype=torch.float32), WeakForm(problem, mesh)
    u = random_dofs(double, np.random.default_rng(0))
    ours, expected = single.residual({"h": u["h"].float()})["h"], double.residual(u)["h"]
    assert ours.dtype == torch.float32
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_what_a_residual_needs_is_asked_for():
    problem, mesh = problem_and_mesh("heat")
    form = WeakForm(problem, mesh)
    u = random_dofs(form, np.random.default_rng(0))
    with pytest.raises(InputError, match="needs rate="):
        form.residual(u)
    with pytest.raises(InputError, match="Heat has no energy"):
        form.energy(u)
    with pytest.raises(InputError, match="degree must be at least 1 for Heat, got 0"):
        WeakForm(problem, mesh, degree=0)
    with pytest.raises(InputError, match=r"u\['T'\] must have shape"):
        form.residual({"T": u["T"][:-1]}, rate=u)
    with pytest.raises(InputError, match=r"rate\['T'\] is torch.float16"):
        form.residual(u, rate={"T": u["T"].half()})
