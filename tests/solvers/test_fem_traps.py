"""What used to end in a wrong answer without a word: each is solved rightly now, or refused with the reason."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ufl import Identity, avg, conditional, dot, grad, gt, inner, jump, sym

from variform.errors import ComputationError, InputError
from variform.meshes import Box, Disk, Interval, Layers, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Mean, NoRigidMotion, Periodic, Point, Problem
from variform.problems import load
from variform.solvers.fem import solve
from variform.solvers.fem.system import System
from variform.task import Parameter

MUMPS = "ksp_type=preonly pc_type=lu pc_factor_mat_solver_type=mumps"


class Base(Problem):
    """-lap u = f in the unit square."""

    fields = {"u": Field("u")}
    conditions = []
    f = 1.0

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        return (inner(grad(s.u["u"]), grad(v["u"])) - self.f * v["u"]) * s.dx


class Elastic(Base):
    """Plane elasticity under no load."""

    fields = {"u": Field("u", shape=(2,))}

    def energy(self, s):
        e = sym(grad(s.u["u"]))
        return (inner(e, e) - inner(e, Identity(2))) * s.dx

    def residual(self, s, v):
        return Problem.residual(self, s, v)


def change(base=Base, **attributes):
    return type("Case", (base,), attributes)()


class TinyRod(Base):
    """Nonlinear conduction over a millimetre: a residual whose units make it small from the start."""

    conditions = [Dirichlet("u", 300.0, on="left"), Dirichlet("u", 310.0, on="right")]
    parameters = {"k": Parameter("conductivity", default=1e-4, above=0.0)}

    def geometry(self, p):
        return Interval(0.0, 1e-3)

    def residual(self, s, v):
        u = s.u["u"]
        return s.p.k * (1 + ((u - 300) / 10) ** 2) * inner(grad(u), grad(v["u"])) * s.dx


def test_newtons_method_converges_alike_in_all_units():
    middle = [solve(TinyRod(k=k), mesh=16).at([[0.5e-3]])[0] for k in (1e-12, 1e-4, 1e6)]
    # G(u) = w + w^3 / 3 is linear in x, with w = (u - 300) / 10: at the middle it is half of 4 / 3.
    w = np.real([root for root in np.roots([1 / 3, 0, 1, -2 / 3]) if abs(root.imag) < 1e-12])[0]
    assert middle == pytest.approx([300 + 10 * w] * 3, abs=2e-3)
    assert np.ptp(middle) < 1e-6


def test_an_evolution_of_small_numbers_moves():
    class Diffusion(Base):
        parameters = {"D": Parameter("diffusivity", default=1.0, above=0.0)}
        size, time = 1.0, (0.0, 0.05)

        def geometry(self, p):
            return Interval(0.0, self.size)

        def residual(self, s, v):
            u, w = s.u["u"], v["u"]
            return (Dt(u) * w + s.p.D * (1 + u) * inner(grad(u), grad(w))) * s.dx

        def initial(self, x, p):
            from ufl import cos, pi

            return 1 + cos(pi * x[0] / self.size)

    class Small(Diffusion):
        size, time = 1e-4, (0.0, 0.05 * 1e-8 / 1e-9)

    x = np.linspace(0.01, 0.99, 9)
    large = solve(Diffusion(), mesh=16, steps=10).at(x[None])
    small = solve(Small(D=1e-9), mesh=16, steps=10).at(1e-4 * x[None])
    assert small == pytest.approx(large, rel=1e-7)
    assert np.ptp(large) < 1.5


def test_a_source_that_switches_with_the_solution_is_not_linear():
    class Switch(Base):
        conditions = [Dirichlet("u", 1.0)]

        def residual(self, s, v):
            source = conditional(gt(s.u["u"], 0.5), 3.0, 0.0)
            return (inner(grad(s.u["u"]), grad(v["u"])) + source * v["u"]) * s.dx

    lowest = solve(Switch(), mesh=16).nodal().min()
    assert lowest == pytest.approx(1 - 3 * 0.0736713533, abs=2e-3)


@pytest.mark.parametrize("petsc", ["", MUMPS])
def test_loads_that_do_not_balance_are_refused(petsc):
    with pytest.raises(ComputationError, match="the loads of 'u' do not balance"):
        solve(change(conditions=[Mean("u")]), mesh=6, petsc=petsc)


def test_a_flow_that_leaks_is_refused():
    case = change(load("stokes"), conditions=[Dirichlet("u", lambda x, t, p: x), Mean("p")])
    with pytest.raises(ComputationError, match="the loads of 'p' do not balance"):
        solve(case, mesh=4)


class Drift(Base):
    """Constants are free, but mass is not conserved: the left nullspace is another one."""

    conditions = [Mean("u")]

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (inner(grad(u), grad(w)) + 5 * u.dx(0) * w - (s.x[0] - 0.5) * w) * s.dx


def penalised(self, s, v):
    """Symmetric interior penalty for DG, with natural conditions."""
    u, w, n = s.u["u"], v["u"], s.n
    inside = inner(grad(u), grad(w)) * s.dx - w * s.dx
    sides = -inner(avg(grad(u)), n("+")) * jump(w) - inner(avg(grad(w)), n("+")) * jump(u)
    return inside + (sides + 10 / avg(s.h) * jump(u) * jump(w)) * s.dS


REFUSED = {
    "another left nullspace": (Drift(), {}, InputError, "tested with it does not vanish"),
    "a displacement held twice": (
        change(Elastic, conditions=[Dirichlet("u", 0.0, on="left"), NoRigidMotion("u")]),
        {"petsc": MUMPS},
        InputError,
        r"NoRigidMotion\('u'\) in Case: the other conditions fix a translation along x",
    ),
    "a rotation about a point": (
        change(Elastic, conditions=[Point("u", (0.5, 0.5))]),
        {},
        ComputationError,
        "a rotation in the x-y plane can be added",
    ),
    "a form on one region of two": (
        change(
            conditions=[Dirichlet("u", 0.0, on="bottom")],
            geometry=lambda self, p: Box((0.0, 0.0), (1.0, 1.0), Layers(1, (0.5,), ("a", "b"))),
            energy=lambda self, s: (inner(grad(s.u["u"]), grad(s.u["u"])) / 2 - s.u["u"]) * s.dx("a"),
            residual=Problem.residual,
        ),
        {},
        ComputationError,
        "some unknowns have no equation",
    ),
    "one periodic side held": (
        change(conditions=[Periodic("u", (0,)), Dirichlet("u", 1.0, on="left")]),
        {},
        InputError,
        "on one of two sides",
    ),
    "a periodic discontinuous field": (
        change(fields={"u": Field("u", element="DG")}, conditions=[Periodic("u", (0,))], residual=penalised),
        {},
        InputError,
        "only Lagrange elements can be periodic",
    ),
    "a Dirichlet value of a discontinuous field": (
        change(fields={"u": Field("u", element="DG")}, conditions=[Dirichlet("u", 5.0)], residual=penalised),
        {},
        InputError,
        "its element DG has no unknowns on the boundary",
    ),
    "a coefficient out of its range": (
        load("darcy_field")(permeability=lambda x: x[0] - 0.3),
        {},
        InputError,
        "permeability must be above 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused(case):
    problem, options, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        solve(problem, mesh=4, **options)


def test_a_real_field_is_one_number():
    with pytest.raises(InputError, match="a Real field is one number"):
        change(fields={"r": Field("r", shape=(2,), element="Real")})


def test_a_flux_field_has_no_reaction():
    with pytest.raises(InputError, match="its element RT has no values on the boundary"):
        solve(load("mixed_darcy")(), mesh=3).reaction("q", "left")


def test_a_system_that_is_done_with_is_freed():
    from petsc4py import PETSc  # below what loads MPI

    gc.collect()
    before = sum(type(o) is System for o in gc.get_objects())
    for _ in range(3):
        solve(load("poisson")(), mesh=4)
        solve(load("cavity")(reynolds=10.0), mesh=4)
    gc.collect()
    assert sum(type(o) is System for o in gc.get_objects()) <= before  # fewer where earlier tests left some
    assert not [key for key in PETSc.Options().getAll() if key.startswith("variform_")]


def test_stabilised_forms_know_the_size_of_curved_cells():
    case = change(
        conditions=[Dirichlet("u", 0.0)],
        geometry=lambda self, p: Disk(),
        stabilisation=lambda self, s, v: s.h**2 * dot(grad(s.u["u"]), grad(v["u"])) * s.dx,
    )
    assert np.isfinite(solve(case, mesh=3, degree=2).nodal()).all()


def test_points_between_a_curved_wall_and_its_chords_are_inside():
    case = change(
        conditions=[Dirichlet("u", 0.0)], geometry=lambda self, p: Disk(), exact=lambda self, x, t, p: 1 - dot(x, x)
    )
    case.f = 4.0
    angle = np.linspace(0, 2 * np.pi, 101)
    for radius in (0.999, 0.9999):
        values = solve(case, mesh=4, degree=2).at(radius * np.stack([np.cos(angle), np.sin(angle)]))
        assert np.isfinite(values).mean() > 0.95  # the parabola through three points of an arc lies inside of it
        assert values[np.isfinite(values)] == pytest.approx(1 - radius**2, abs=2e-4)
    assert np.isnan(solve(case, mesh=4, degree=2).at(1.01 * np.stack([np.cos(angle), np.sin(angle)]))).all()


def test_a_field_of_a_plain_number_function():
    assert solve(load("darcy_field")(permeability=lambda x: 2.0), mesh=4).integrate() > 0


RANKS = """
from pathlib import Path
import sys
from variform.problem import Dirichlet, Point
from variform.problems.poisson import Poisson
from variform.solvers.fem import solve

class Held(Poisson):
    conditions = [Dirichlet("u", 0.0, on="left"), Point("u", (1.0, 1.0), 2.0)]

solution = solve(Held(), mesh=1, petsc="ksp_type=preonly pc_type=lu pc_factor_mat_solver_type=mumps")
assert abs(solution.at([[1.0], [1.0]])[0] - 2.0) < 1e-12
solution.save(Path(sys.argv[1]) / "new" / "folder")
"""


def test_ranks_without_cells_do_not_keep_the_others_waiting(tmp_path):
    mpiexec = str(Path(sys.executable).with_name("mpiexec"))
    run = [mpiexec, "-n", "3", sys.executable, "-c", RANKS, str(tmp_path)]
    ended = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "new" / "folder" / "solution.h5").is_file()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_inside_petsc_stays_one(monkeypatch, kind):
    assemble, calls = System._function, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise kind
        assemble(self, *arguments)

    monkeypatch.setattr(System, "_function", interrupted)
    with pytest.raises(kind):
        solve(load("cavity")(), mesh=4)
    assert len(calls) == 3  # and nothing, such as a continuation, goes on
