"""Complex fields: orders on a plane wave, agreement of two implementations, and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ufl import grad, inner

from variform import solvers
from variform.benchmarks.metrics import exact_errors, observed_rates
from variform.errors import InputError
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.problems import load
from variform.solvers import fem


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_orders_on_a_plane_wave(degree):
    problem, cells = load("helmholtz")(wavenumber=6.0), (16, 32)
    errors = [exact_errors(problem, fem.solve(problem, mesh=n, degree=degree), "u") for n in cells]
    for norm, order in (("relative_l2", degree + 1), ("relative_h1", degree)):
        assert observed_rates([1 / n for n in cells], [e[norm] for e in errors])[-1] == pytest.approx(order, abs=0.1)


def test_ten_points_a_wavelength_are_within_a_thousandth():
    problem = load("helmholtz")()
    assert exact_errors(problem, fem.solve(problem), "u")["relative_l2"] < 1e-3


class Absorbing(Problem):
    """-lap u - (k^2 + i) u = 0 with u = 1 + 2i on the left."""

    fields = {"u": Field("pressure", degree=2, complex=True)}
    conditions = [Dirichlet("u", 1 + 2j, on="left")]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (inner(grad(u), grad(w)) - (9 + 1j) * inner(u, w)) * s.dx


@pytest.mark.parametrize("problem", [load("helmholtz")(), Absorbing()])
def test_finite_elements_in_torch_and_in_dolfinx_agree(problem):
    a, b = (solvers.solve(problem, method, mesh=8) for method in ("fem", "fem-batched"))
    x = np.random.default_rng(0).random((2, 50))
    assert np.iscomplexobj(a.at(x))
    assert a.at(x) == pytest.approx(b.at(x), abs=1e-9)
    assert a.at(x, derivatives=1) == pytest.approx(b.at(x, derivatives=1), abs=1e-7)


def test_meshes_converge_without_an_exact_solution_and_the_flux_through_a_boundary_is_complex():
    finest = fem.solve(Absorbing(), mesh=32)
    errors = [fem.solve(Absorbing(), mesh=n).errors(finest)["relative_l2"] for n in (4, 8)]
    assert observed_rates([1 / 4, 1 / 8], errors)[0] == pytest.approx(3, abs=0.2)
    k = np.sqrt(9 + 1j)  # u = (1 + 2i) cos(k (1 - x)) / cos(k), and -du/dn = -u' on the other side
    assert finest.reaction("u", "left") == pytest.approx(-(1 + 2j) * k * np.tan(k), rel=1e-4)


def test_files_hold_both_parts(tmp_path):
    solution = fem.solve(Absorbing(), mesh=4)
    solution.write(tmp_path / "u.vtu")
    import pyvista

    data = pyvista.read(tmp_path / "u.vtu").point_data
    assert np.asarray(data["u_real"]) + 1j * np.asarray(data["u_imag"]) == pytest.approx(solution.nodal("u"))
    again = fem.solve(Absorbing(), start=str(solution.save(tmp_path)))
    assert np.array_equal(again.nodal("u"), solution.nodal("u"))


def test_two_ranks_find_the_same_solution(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import numpy as np\n"
        "from variform.problems import load\n"
        "from variform.solvers import fem\n"
        "from mpi4py import MPI\n"
        "values = fem.solve(load('helmholtz')(), mesh=12).nodal()\n"
        f"MPI.COMM_WORLD.rank or np.save(r'{tmp_path}/' + str(MPI.COMM_WORLD.size), values)\n"
    )
    for start in ([], [str(Path(sys.executable).with_name("mpiexec")), "-n", "2"]):
        subprocess.run([*start, sys.executable, str(script)], check=True, capture_output=True, timeout=120)
    alone, both = (np.load(tmp_path / f"{n}.npy") for n in (1, 2))
    assert both == pytest.approx(alone, abs=1e-11)


def test_what_is_not_linear_or_not_stationary_or_not_finite_elements_is_refused():
    class Nonlinear(Absorbing):
        def residual(self, s, v):
            return super().residual(s, v) + inner(s.u["u"] ** 3, v["u"]) * s.dx

    class Evolving(Absorbing):
        time = (0.0, 1.0)

        def residual(self, s, v):
            return super().residual(s, v) + inner(Dt(s.u["u"]), v["u"]) * s.dx

    class Undeclared(Absorbing):
        fields = {"u": Field("pressure")}

    for kind, message in ((Nonlinear, "must be linear"), (Evolving, "stationary"), (Undeclared, "complex=True")):
        with pytest.raises(InputError, match=message):
            fem.solve(kind(), mesh=2)
    with pytest.raises(InputError, match="has complex fields: solve it with"):
        solvers.solve(Absorbing(), "pinn")
