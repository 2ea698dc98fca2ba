"""Finite elements: the observed order is the theoretical one; exact in their own space; the same on any rank count."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import ufl
from ufl import conditional, div, grad, inner, lt, sym, tr

import variform
from variform.benchmarks.metrics import exact_errors, observed_rates
from variform.errors import ComputationError, InputError
from variform.forms import values
from variform.meshes import Interval, Layers, UnitCube, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Periodic, Problem
from variform.problems import load
from variform.solvers.fem import discretize, solve
from variform.task import Parameter

POINTS = np.random.default_rng(0).random((2, 50))


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", ["poisson_manufactured", "darcy_manufactured"])
def test_the_error_falls_at_order_degree_plus_one_and_that_of_the_gradient_at_degree(name, degree):
    problem, cells = load(name)(), [16, 32, 64]
    errors = [exact_errors(problem, solve(problem, mesh=n, degree=degree)) for n in cells]
    for norm, order in (("relative_l2", degree + 1), ("relative_h1", degree)):
        rates = observed_rates([1 / n for n in cells], [e[norm] for e in errors])
        assert rates[-1] == pytest.approx(order, abs=0.1), f"{norm}: {errors=}, {rates=}"


def test_quantities_of_poisson_converge_to_the_published_values():
    problem, cells = load("poisson")(conductivity=2.0, source=3.0), [8, 16, 32]
    measured = [problem.measure(solve(problem, mesh=n)) for n in cells]
    reference = problem.reference()
    for name, value in reference.items():
        rates = observed_rates([1 / n for n in cells], [abs(value - m[name]) for m in measured])
        assert rates[-1] == pytest.approx(2, abs=0.1)
    # The compliance is the energy norm squared: Galerkin's is never above it.
    assert all(m["integral"] < reference["integral"] for m in measured)
    fine = problem.measure(solve(problem, mesh=32, degree=2))
    assert fine == pytest.approx(reference, rel=1e-5)


class MovingBoundary(Problem):
    """T = (1 + x^2 + x y) sin(4 t) in degree 2: no error in space; boundary values, source and coefficient move."""

    fields = {"T": Field("temperature", degree=2)}
    conditions = [Dirichlet("T", lambda x, t, p: (1 + x[0] ** 2 + x[0] * x[1]) * ufl.sin(4 * t), on=("left", "top"))]
    time = (0.25, 1.0)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        T, w, k = s.u["T"], v["T"], 1 + s.t
        shape, amplitude = 1 + s.x[0] ** 2 + s.x[0] * s.x[1], ufl.sin(4 * s.t)
        source = 4 * ufl.cos(4 * s.t) * shape - 2 * k * amplitude
        flux = k * amplitude * ufl.dot(ufl.as_vector([2 * s.x[0] + s.x[1], s.x[0]]), s.n)
        return (Dt(T) * w + k * inner(grad(T), grad(w)) - source * w) * s.dx - flux * w * s.ds("right", "bottom")

    def initial(self, x, p):
        return self.exact(x, self.time[0], p)

    def exact(self, x, t, p):
        return (1 + x[0] ** 2 + x[0] * x[1]) * ufl.sin(4 * t)


@pytest.mark.parametrize(("problem", "mesh"), [(load("heat")(), 24), (MovingBoundary(), 2)])
def test_the_error_falls_at_order_2_in_the_time_step(problem, mesh):
    steps = [2, 4, 8] if mesh > 2 else [40, 80, 160]
    errors = [exact_errors(problem, solve(problem, mesh=mesh, degree=2, steps=n))["relative_l2"] for n in steps]
    rates = observed_rates([1 / n for n in steps], errors)
    assert rates[-1] == pytest.approx(2, abs=0.1), f"{errors=}, {rates=}"


class Quadratic(Problem):
    """-div(grad u) = -2 with a quadratic solution, Dirichlet values on two sides and fluxes on the others."""

    fields = {"u": Field("height")}
    conditions = [Dirichlet("u", lambda x, t, p: Quadratic.quadratic(x), on=("left", "bottom"))]

    def geometry(self, p):
        return UnitSquare()

    @staticmethod
    def quadratic(x):
        return 1 - x[0] + 3 * x[0] * x[1] + x[1] ** 2

    def energy(self, s):
        u, slope = s.u["u"], ufl.as_vector([-1 + 3 * s.x[1], 3 * s.x[0] + 2 * s.x[1]])
        return (inner(grad(u), grad(u)) / 2 + 2 * u) * s.dx - ufl.dot(slope, s.n) * u * s.ds("right", "top")

    def exact(self, x, t, p):
        return self.quadratic(x)


class Kink(Problem):
    """Flow across layers: h is linear in each, its slope in inverse proportion to the conductivity. In 1D to 3D."""

    fields = {"h": Field("head")}
    parameters = {"k": Parameter("conductivity", default={"low": 0.1, "high": 4.0}, above=0.0)}
    conditions = [Dirichlet("h", 0.0, on="left")]

    def __init__(self, make, **values):
        super().__init__(**values)
        self.make = make

    def geometry(self, p):
        return self.make(layers=Layers(0, (0.25,), ("low", "high")))

    def energy(self, s):
        h = s.u["h"]
        return sum(k / 2 * inner(grad(h), grad(h)) * s.dx(layer) for layer, k in s.p.k.items()) - h * s.ds("right")

    def exact(self, x, t, p):
        low, high = p.k["low"], p.k["high"]
        return conditional(lt(x[0], 0.25), x[0] / low, 0.25 / low + (x[0] - 0.25) / high)


class Thermoelastic(Problem):
    """A displacement and a temperature, both linear, that act on each other."""

    fields = {"u": Field("displacement", shape=(2,)), "T": Field("temperature")}
    conditions = [
        Dirichlet("u", lambda x, t, p: ufl.as_vector([x[0] + 2 * x[1], 3 * x[0] - x[1]])),
        Dirichlet("T", lambda x, t, p: 1 + x[0] - 2 * x[1], on=("left", "bottom", "top")),
    ]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        (u, T), (w, r) = (s.u["u"], s.u["T"]), (v["u"], v["T"])
        stress = 2 * sym(grad(u)) + (tr(grad(u)) - T) * ufl.Identity(2)
        force = ufl.as_vector([1, -2])  # div(T I)
        mechanics = inner(stress, grad(w)) - inner(force, w)
        heat = inner(grad(T), grad(r)) + (div(u) - (u[1] - 3 * s.x[0] + s.x[1])) * r
        return (mechanics + heat) * s.dx - r * s.ds("right")

    def exact(self, x, t, p):
        return {"u": ufl.as_vector([x[0] + 2 * x[1], 3 * x[0] - x[1]]), "T": 1 + x[0] - 2 * x[1]}


class Channel(Problem):
    """Periodic along x, held below and above: u = y."""

    fields = {"u": Field("velocity")}
    conditions = [Periodic("u", axes=(0,)), Dirichlet("u", 0.0, on="bottom"), Dirichlet("u", 1.0, on="top")]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        return inner(grad(s.u["u"]), grad(v["u"])) * s.dx

    def exact(self, x, t, p):
        return x[1]


PATCHES = {
    "quadratic": (Quadratic(), 3, 2),
    "kink in 1D": (Kink(Interval), 4, 1),
    "kink in 2D": (Kink(UnitSquare), 5, 1),
    "kink in 3D": (Kink(UnitCube), 4, 2),
    "two fields": (Thermoelastic(), 3, 1),
    "periodic channel": (Channel(), 4, 1),
}


@pytest.mark.parametrize("name", PATCHES)
def test_is_exact_for_a_solution_in_its_own_space(name):
    problem, mesh, degree = PATCHES[name]
    solution = solve(problem, mesh=mesh, degree=degree, rtol=1e-13)
    x = np.random.default_rng(0).random((solution.mesh.dim, 200))
    for field in problem.fields:
        for derivatives, tolerance in ((0, 1e-12), (1, 1e-11)):

            def exact(point, t, p, field=field, derivatives=derivatives):
                u = problem.by_field(problem.exact(point, t, p))[field]
                return {field: grad(u) if derivatives else u}

            expected = values(problem, exact, torch.as_tensor(x))[field].numpy()
            error = abs(solution.at(x, field=field, derivatives=derivatives) - expected).max()
            assert error < tolerance * abs(expected).max()


def test_values_gradients_and_integrals_of_a_known_solution():
    solution = solve(Quadratic(), mesh=3, degree=2, rtol=1e-13)
    x, y = POINTS
    assert np.allclose(solution.at(POINTS), Quadratic.quadratic(POINTS), atol=1e-12)
    assert np.allclose(solution.at(POINTS, derivatives=1), [-1 + 3 * y, 3 * x + 2 * y], atol=1e-11)
    assert solution.integrate() == pytest.approx(1 - 1 / 2 + 3 / 4 + 1 / 3, rel=1e-12)
    vector = solve(Thermoelastic(), mesh=3)
    assert vector.at(POINTS, field="u").shape == (2, 50)
    gradients = vector.at(POINTS, field="u", derivatives=1)
    assert np.allclose(gradients, np.array([[1, 2], [3, -1]])[:, :, None] * np.ones(50), atol=1e-11)
    with pytest.raises(InputError, match="derivatives=2"):
        solution.at(POINTS, derivatives=2)


def test_outside_the_domain_values_and_gradients_are_nan_and_on_its_edge_they_are_not():
    solution = solve(Quadratic(), mesh=3, degree=2)
    outside = np.array([[-0.01, 0.5, 2.0], [0.5, 1.01, 2.0]])
    edge = np.array([[0.0, 1.0, 0.5, 1.0], [0.0, 1.0, 1.0, 0.3]])
    for derivatives in (0, 1):
        assert np.isnan(solution.at(outside, derivatives=derivatives)).all()
        assert np.isfinite(solution.at(edge, derivatives=derivatives)).all()


def test_a_periodic_evolution_conserves_heat_and_is_the_same_on_opposite_sides():
    solution = solve(load("heat_periodic")(), mesh=12, degree=2, steps=20, snapshots=4)
    heat = [solution.integrate(t=t) for t in solution.times]
    assert len(heat) == 5
    assert heat == pytest.approx([heat[0]] * 5, rel=1e-12)
    s = POINTS[0]
    for t in solution.times:
        left, right = (solution.at(np.stack([np.full_like(s, x), s]), t=t) for x in (0.0, 1.0))
        bottom, top = (solution.at(np.stack([s, np.full_like(s, y)]), t=t) for y in (0.0, 1.0))
        assert abs(left - right).max() < 1e-12 and abs(bottom - top).max() < 1e-12
    assert np.ptp(solution.at(POINTS)) < 0.9 * np.ptp(solution.at(POINTS, t=0.0))


def test_times_that_were_not_stored_are_refused():
    solution = solve(load("heat")(), mesh=4, steps=4, snapshots=2)
    assert solution.times == pytest.approx([0.0, 0.025, 0.05])
    assert np.array_equal(solution.at(POINTS), solution.at(POINTS, t=0.05))
    with pytest.raises(InputError, match=r"time 0\.01 was not stored; stored times: 0, 0\.025, 0\.05"):
        solution.at(POINTS, t=0.01)
    with pytest.raises(InputError, match="multiple of snapshots, got 5 steps, 2 snapshots"):
        solve(load("heat")(), mesh=4, steps=5, snapshots=2)


def test_newtons_method_solves_a_nonlinear_problem_to_the_stated_residual():
    example = Path(__file__).parents[2] / "examples" / "heated_block.py"
    solution = variform.solve(str(example))
    record = solution.discretization
    assert 1 < record["newton_steps"] < 15 and record["residual"] < 1e-10
    x, y = POINTS
    back, front = (solution.at(np.stack([x, y, np.full_like(x, z)])) for z in (0.0, 1.0))
    assert np.allclose(back, 1.0, rtol=1e-12) and abs(front - 1.0).max() > 0.1


def test_another_value_of_a_parameter_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(discretize.JIT, "cache_dir", tmp_path)

    def compiled(**values):
        solution = variform.solve(load("darcy_manufactured")(**values), mesh=4)
        return solution.at(POINTS), {path.name for path in tmp_path.iterdir()}

    first, forms = compiled()
    second, as_many = compiled(conductivity={"clay": 0.3, "sand": 7.0}, heterogeneity=lambda x: 1 + x[0] ** 2)
    assert forms and as_many == forms
    assert not np.allclose(first, second)


class Free(load("poisson")):
    conditions = []


class FreeUnsymmetric(Free):
    def energy(self, s):
        return None

    def residual(self, s, v):
        return (inner(grad(s.u["u"]), grad(v["u"])) - s.p.source * v["u"]) * s.dx


@pytest.mark.parametrize("source", [0.0, 1.0])
@pytest.mark.parametrize("problem", [Free, FreeUnsymmetric])
def test_a_problem_whose_constant_is_free_is_not_solved(problem, source):
    with pytest.raises(ComputationError, match="is not unique: the matrix is singular"):
        solve(problem(source=source), mesh=6)


def test_newtons_method_that_does_not_converge_says_so():
    class NoSolution(load("poisson")):
        def energy(self, s):
            return None

        def residual(self, s, v):
            u = s.u["u"]  # Bratu's problem beyond its turning point, 6.81
            return (inner(grad(u), grad(v["u"])) - 20 * ufl.exp(u) * v["u"]) * s.dx

    with pytest.raises(ComputationError, match=r"Newton's method stopped after \d+ steps"):
        solve(NoSolution(), mesh=6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": [Dirichlet("u", 0.0, on="tob")]}, r"unknown boundary of the mesh 'tob'\. Did you mean 'top'\?"),
        ({"residual": lambda self, s, v: v["u"] * s.dx("steel")}, "unknown region of the mesh 'steel'"),
        ({"residual": lambda self, s, v: v["u"] ** 2 * s.dx}, "not linear in its test functions"),
    ],
)
def test_names_and_forms_that_do_not_fit_are_refused(change, message):
    problem = type("Wrong", (load("poisson"),), change)()
    with pytest.raises(InputError, match=message):
        solve(problem, mesh=2)


SCRIPT = """
import json, sys
import numpy as np
from variform.problems import load
from variform.solvers.fem import solve


def values():
    x = np.random.default_rng(0).random((2, 50))
    x[:, -1] = 2.0  # outside
    result = {}
    for name, options in {"darcy_manufactured": {"rtol": 1e-14}, "heat_periodic": {"steps": 4}}.items():
        solution = solve(load(name)(), mesh=8, degree=2, **options)
        result[name] = [solution.at(x).tolist(), *solution.at(x, derivatives=1).tolist()]
    return result


if __name__ == "__main__":
    from mpi4py import MPI

    result = values()
    if MPI.COMM_WORLD.rank == 0:
        with open(sys.argv[1], "w") as file:
            json.dump({"ranks": MPI.COMM_WORLD.size, "values": result}, file)
"""


def test_two_ranks_give_the_solution_of_one(tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "out.json"
    script.write_text(SCRIPT)
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-n", "2", sys.executable, str(script), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    result = json.loads(out.read_text())
    assert result["ranks"] == 2
    for name, one in runpy.run_path(str(script))["values"]().items():
        one, two = np.array(one), np.array(result["values"][name])
        assert np.isnan(one[:, -1]).all() and np.isnan(two[:, -1]).all()
        scale = abs(one[:, :-1]).max(axis=1, keepdims=True)
        assert (abs(one - two)[:, :-1] < 1e-12 * scale).all()


COUNT = """
from pathlib import Path
import os
from variform.problems import load
from variform.solvers.fem import solve

def compiled():
    return len(list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.so")))

solve(load("poisson")(), mesh=4)
first = compiled()
solve(load("poisson")(conductivity=2.0, source=3.0), mesh=4)
solve(load("poisson")(conductivity=0.5), mesh=8)
print(first, compiled())
"""


def test_another_parameter_value_compiles_nothing(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    first, last = map(int, run.stdout.split())
    assert first == last > 0
