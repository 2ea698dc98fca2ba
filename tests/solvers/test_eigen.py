"""Eigenproblems: published values, orders, modes that are eigenfunctions, and targets that are refused."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvista
from ufl import grad, inner

from variform.errors import InputError
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Mean, Periodic, Problem
from variform.problems import load
from variform.solvers import fem


class Membrane(Problem):
    """-lap u = lambda u in the unit square, u = 0 on its boundary: (m^2 + n^2) pi^2."""

    fields = {"u": Field("deflection")}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def eigen(self, s, v):
        return inner(grad(s.u["u"]), grad(v["u"])) * s.dx, s.u["u"] * v["u"] * s.dx


class Torus(Membrane):
    conditions = [Periodic("u", axes=(0, 1))]


class HeldAtOne(Membrane):
    conditions = [Dirichlet("u", 1.0)]


class Free(Membrane):
    conditions = [Mean("u")]


class Nonlinear(Membrane):
    def eigen(self, s, v):
        a, m = super().eigen(s, v)
        return a + s.u["u"] ** 2 * v["u"] * s.dx, m


class Carried(Membrane):
    """-lap u + 6 du/dx = lambda u: not symmetric, with the eigenvalues of the membrane plus 9."""

    def eigen(self, s, v):
        a, m = super().eigen(s, v)
        return a + 6.0 * s.u["u"].dx(0) * v["u"] * s.dx, m


EXACT = math.pi**2 * np.array([2, 5, 5, 8, 10, 10])


@pytest.mark.parametrize("degree", [1, 2])
def test_eigenvalues_converge_from_above_at_twice_the_degree(degree):
    errors = [fem.solve(Membrane(), mesh=n, degree=degree).eigenvalues / EXACT - 1 for n in (8, 16)]
    assert (errors[1] > 0).all()
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2 * degree, abs=0.25)
    assert np.log2(errors[0] / errors[1])[0] == pytest.approx(2 * degree, abs=0.1)


def test_modes_are_eigenfunctions_of_unit_mass():
    solution = fem.solve(Membrane(), mesh=16, degree=3, count=3)
    assert solution.residuals.max() < 1e-9
    first = solution.mode(1)
    assert first.integrate(lambda u: u**2, degree=8) == pytest.approx(1, abs=1e-9)
    x = np.random.default_rng(0).random((2, 20))
    assert first.at(x) == pytest.approx(2 * np.sin(np.pi * x[0]) * np.sin(np.pi * x[1]), abs=1e-4)
    second, third = (solution.mode(i) for i in (2, 3))
    assert first.integrate(degree=6) == pytest.approx(8 / math.pi**2, rel=1e-4)
    points = np.stack(np.meshgrid(*[np.linspace(0.05, 0.95, 10)] * 2)).reshape(2, -1)
    assert abs(np.corrcoef(second.at(points), third.at(points))[0, 1]) < 1  # independent
    with pytest.raises(InputError, match="mode must be 1 to 3"):
        solution.mode(4)


def test_periodic_eigenvalues_above_a_target():
    found = fem.solve(Torus(), mesh=16, degree=2, count=4, target="1").eigenvalues
    assert found == pytest.approx(4 * math.pi**2, rel=1e-3)


@pytest.mark.parametrize("mesh", [8, 16])  # on the coarser one most eigenvalues converge, those below the target too
def test_targets_are_met_from_above(mesh):
    found = fem.solve(Membrane(), mesh=mesh, degree=2, count=2, target="60").eigenvalues
    assert found == pytest.approx(EXACT[3:5], rel=1e-2)
    every = fem.solve(Membrane(), mesh=4, degree=1, count=9)
    assert fem.solve(Membrane(), mesh=4, degree=1, count=2, target="100").eigenvalues == pytest.approx(
        every.eigenvalues[every.eigenvalues > 100][:2], rel=1e-9
    )


def test_forms_that_are_not_symmetric():
    found = fem.solve(Carried(), mesh=16, degree=3, count=4)
    assert found.discretization["symmetric"] is False
    assert found.eigenvalues == pytest.approx(EXACT[:4] + 9, rel=1e-5)
    assert found.residuals.max() < 1e-9


def test_files_hold_all_modes(tmp_path):
    solution = fem.solve(Membrane(), mesh=4, degree=2, count=3)
    solution.write(tmp_path / "modes.vtu")
    data = pyvista.read(tmp_path / "modes.vtu").point_data
    assert set(data.keys()) == {"u_mode_1", "u_mode_2", "u_mode_3"}
    assert np.asarray(data["u_mode_3"]) == pytest.approx(solution.mode(3).nodal())


@pytest.mark.parametrize(
    "name, tolerances",
    [
        ("laplace_eigen", (1e-3, 1e-5, 1e-5)),  # the first by a singular mode: adaptivity does better
        ("plate_eigen", (2e-5,)),
        ("maxwell_eigen", (1e-3,) * 5),
    ],
)
def test_published_eigenvalues(name, tolerances):
    problem = load(name)()
    found = fem.solve(problem).eigenvalues
    for value, published, tolerance in zip(found, problem.published, tolerances, strict=False):
        assert value == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize(
    "problem, options, message",
    [
        (Torus, {}, "target = 0 is an eigenvalue of Torus"),
        (load("maxwell_eigen"), {"target": "0"}, "target = 0 is an eigenvalue of MaxwellEigen"),
        (Membrane, {"target": "1+2j"}, "must be a finite real number, got 1\\+2j: only real"),
        (Membrane, {"target": "low"}, "must be a real number, got 'low'"),
        (Membrane, {"target": "nan"}, "must be a finite real number, got nan"),
        (Membrane, {"target": "400", "count": 4}, "has 0 eigenvalues above target = 400 on this mesh, not 4"),
        (Membrane, {"count": 10}, "count must be 1 to 9, as many eigenvalues as there are"),
        (Membrane, {"count": -1}, "count must be 1 to 9"),
        (Membrane, {"petsc": "ksp_type=cg"}, "options of PETSc are for other problems"),
        (HeldAtOne, {}, "'u' can be held at zero only"),
        (Free, {}, "take no Mean condition"),
        (Nonlinear, {}, "must be bilinear"),
    ],
)
def test_what_cannot_be_found_is_refused(problem, options, message):
    with pytest.raises(InputError, match=message):
        fem.solve(problem(), mesh=4, **options)


def test_two_ranks_find_the_same_eigenvalues(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "from variform.problems import load\n"
        "from variform.solvers import fem\n"
        "s = fem.solve(load('maxwell_eigen')(), mesh=8)\n"
        "if s.discrete.comm.rank == 0:\n    print(*(f'{v:.9e}' for v in s.eigenvalues))\n"
    )
    alone, both = (
        subprocess.run([*start, sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=120)
        for start in ([], [str(Path(sys.executable).with_name("mpiexec")), "-n", "2"])
    )
    values = [np.array(line.split(), dtype=float) for run in (alone, both) for line in run.stdout.splitlines()[:1]]
    assert values[0] == pytest.approx(values[1], rel=1e-7)
