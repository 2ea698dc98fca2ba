"""Conditions, elements, linear solvers and functionals: what they promise, by independent means."""

import numpy as np
import pytest
import pyvista
import ufl
from ufl import as_vector, cos, div, dot, grad, inner, pi, sin, sym, tr

from variform import table
from variform.errors import ComputationError, InputError
from variform.meshes import Disk, Rectangle, UnitCube, UnitSquare
from variform.problem import Continuation, Dirichlet, Field, Mean, NoRigidMotion, Periodic, Point, Problem
from variform.problems import load
from variform.problems.stokes import Stokes, StokesManufactured
from variform.solvers.fem import solve
from variform.task import Parameter

MUMPS = "ksp_type=preonly pc_type=lu pc_factor_mat_solver_type=mumps"
POINTS = np.random.default_rng(0).random((2, 40))


class Neumann(Problem):
    """-lap u = pi^2 cos(pi x) without flux through the boundary: u = cos(pi x) + a constant."""

    fields = {"u": Field("temperature", degree=2)}
    conditions = [Mean("u", 3.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        return (inner(grad(s.u["u"]), grad(s.u["u"])) / 2 - pi**2 * cos(pi * s.x[0]) * s.u["u"]) * s.dx


class Multiplier(Neumann):
    """The same with its mean, zero, held by a number."""

    fields = {"u": Field("temperature", degree=2), "m": Field("multiplier", element="Real")}
    conditions = []

    def energy(self, s):
        return super().energy(s) + s.u["m"] * s.u["u"] * s.dx


def test_a_mean_is_held_by_the_nullspace_as_by_a_multiplier():
    free, held = solve(Neumann(), mesh=8), solve(Multiplier(), mesh=8)
    assert free.integrate() == pytest.approx(3.0, abs=1e-12)
    assert free.at(POINTS) - 3.0 == pytest.approx(held.at(POINTS), abs=1e-8)
    assert held.at(POINTS, field="m") == pytest.approx(0.0, abs=1e-10)
    assert abs(held.at(POINTS) - np.cos(np.pi * POINTS[0])).max() < 2e-3


def test_a_mean_that_the_conditions_fix_already_is_refused():
    problem = type("Both", (Neumann,), {"conditions": [Dirichlet("u", 0.0), Mean("u")]})()
    with pytest.raises(InputError, match=r"Mean\('u'\) in Both: the other conditions fix a constant of 'u' already"):
        solve(problem, mesh=4)


class Block(Problem):
    """A cube under its own weight and a given displacement of one side, or under forces only."""

    fields = {"u": Field("displacement", unit="m", shape=(3,))}

    def geometry(self, p):
        return UnitCube()

    def energy(self, s):
        e = sym(grad(s.u["u"]))
        return (inner(e, e) + tr(e) ** 2 / 2) * s.dx - self.work(s)

    def work(self, s):
        u = s.u["u"]
        return dot(as_vector([0.3, 0, 0]), u) * (s.ds("right")) - dot(as_vector([0.3, 0, 0]), u) * s.ds("left")


def rigid_free(x):
    return np.stack([np.ones_like(x[0]), np.zeros_like(x[0]), np.zeros_like(x[0])])


def test_a_body_under_forces_only_is_solved_without_rigid_motion():
    free = solve(type("Free", (Block,), {"conditions": [NoRigidMotion("u")]})(), mesh=4)
    u = free.at(np.random.default_rng(1).random((3, 30)))
    assert abs(free.integrate()).max() < 1e-9
    gradient = free.at(np.random.default_rng(1).random((3, 30)), derivatives=1)
    # Uniaxial stress 0.3 in x: 2 e + tr(e) I = diag(0.3, 0, 0), and no rotation.
    strain = np.diag([0.12, -0.03, -0.03])
    assert gradient == pytest.approx(np.repeat(strain[:, :, None], 30, axis=2), abs=1e-7)
    assert np.isfinite(u).all()


@pytest.mark.parametrize(
    ("conditions", "missing"),
    [
        ([], "a translation along x"),
        ([Dirichlet("u", 0.0, on="left", component=0)], "a translation along y"),
        ([Point("u", (0.0, 0.0, 0.0))], "matrix is singular"),
    ],
)
def test_what_is_free_is_named(conditions, missing):
    with pytest.raises(ComputationError, match=missing):
        solve(type("Loose", (Block,), {"conditions": conditions})(), mesh=3, petsc=MUMPS)


def test_points_and_components_hold_what_a_statically_determinate_support_must():
    support = [
        Point("u", (0.0, 0.0, 0.0)),
        Point("u", (0.0, 1.0, 0.0), component=0),
        Point("u", (0.0, 1.0, 0.0), component=2),
        Point("u", (0.0, 0.0, 1.0), component=0),
    ]
    held = solve(type("Held", (Block,), {"conditions": support})(), mesh=4, petsc=MUMPS)
    x = np.random.default_rng(1).random((3, 30))
    assert held.at(x) == pytest.approx(np.array([0.12, -0.03, -0.03])[:, None] * x, abs=1e-9)


def test_a_point_that_is_no_node_is_refused():
    problem = type("Off", (Block,), {"conditions": [Point("u", (0.1, 0.0, 0.0))]})()
    with pytest.raises(InputError, match=r"'u' has no node at \(0\.1, 0\.0, 0\.0\); the nearest is 0\.1 m away"):
        solve(problem, mesh=4)


def test_a_fixed_pressure_differs_from_a_mean_pressure_by_a_constant():
    class Fixed(Stokes):
        conditions = [*Stokes.conditions[:-1], Point("p", (0.0, 0.0), 2.0)]

    fixed, mean = solve(Fixed(), mesh=8, petsc=MUMPS), solve(Stokes(), mesh=8)
    assert fixed.at([[0.0], [0.0]], field="p") == pytest.approx(2.0)
    assert np.ptp(fixed.at(POINTS, field="p") - mean.at(POINTS, field="p")) < 1e-7
    assert fixed.at(POINTS, field="u") == pytest.approx(mean.at(POINTS, field="u"), abs=1e-8)


class Channel(Stokes):
    """Flow between plates, periodic along them, driven by a force: Poiseuille's parabola."""

    conditions = [
        Dirichlet("u", 0.0, on=("bottom", "top")),
        Periodic("u", axes=(0,)),
        Periodic("p", axes=(0,)),
        Mean("p"),
    ]

    def force(self, x, p):
        return as_vector([1.0 + 0 * x[0], 0 * x[0]])


def test_several_fields_may_be_periodic():
    solution = solve(Channel(viscosity=2.0), mesh=6)
    assert solution.at(POINTS, field="u")[0] == pytest.approx(POINTS[1] * (1 - POINTS[1]) / 4, abs=1e-10)
    assert solution.at(POINTS, field="p") == pytest.approx(0.0, abs=1e-9)
    assert solution.reaction("u", ("bottom", "top"), 0) == pytest.approx(-1.0, abs=1e-10)  # holds the whole force


def test_minres_with_multigrid_agrees_with_the_direct_solver_in_as_many_iterations_on_every_mesh():
    iterations = []
    for n in (16, 32, 64):
        by_minres = solve(StokesManufactured(viscosity=1e-2), mesh=n, rtol=1e-12)
        direct = solve(StokesManufactured(viscosity=1e-2), mesh=n, petsc=MUMPS)
        iterations.append(by_minres.discretization["linear_iterations"])
        for field in ("u", "p"):
            assert by_minres.at(POINTS, field=field) == pytest.approx(direct.at(POINTS, field=field), abs=1e-7)
    assert iterations[-1] <= 1.2 * iterations[0]


def test_options_for_petsc_are_taken_and_wrong_ones_are_refused():
    problem = load("poisson")()
    ours, theirs = solve(problem, mesh=8), solve(problem, mesh=8, petsc="-ksp_type gmres -pc_type ilu")
    assert ours.at(POINTS) == pytest.approx(theirs.at(POINTS), abs=1e-9)
    with pytest.raises(InputError, match=r"does not know.*ksp_tipe"):
        solve(problem, mesh=8, petsc="ksp_tipe=gmres")
    with pytest.raises(InputError, match="PETSc refuses pc_type=hypre"):
        solve(problem, mesh=8, petsc="pc_type=hypre")
    with pytest.raises(InputError, match="key=value or -key value"):
        solve(problem, mesh=8, petsc="gmres")
    again = solve(problem, mesh=8)  # a refused option leaves nothing behind
    assert again.discretization == ours.discretization


class Steep(Problem):
    """-lap u + k sinh(3 u) = k: Newton's method, started from zero, needs help at large k."""

    fields = {"u": Field("potential")}
    parameters = {"k": Parameter("strength", default=1.0, above=0.0)}
    conditions = [Dirichlet("u", 0.0, on="left"), Dirichlet("u", 8.0, on="right")]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (inner(grad(u), grad(w)) + s.p.k * (ufl.sinh(3 * u) - 1) * w) * s.dx


def test_continuation_reaches_what_newtons_method_alone_does_not():
    helped = type("Helped", (Steep,), {"continuation": Continuation("k", 1e-9, geometric=True)})
    with pytest.raises(ComputationError, match=r"Newton's method stopped after \d+ steps \(DIVERGED_LINE_SEARCH"):
        solve(Steep(k=100.0), mesh=8)
    followed = solve(helped(k=100.0), mesh=8)
    assert followed.discretization["continuation_steps"] > 1
    # It solves the equation it was asked for: of another k the residual at these values would not vanish.
    flux = followed.reaction("u", ("left", "right"))
    assert flux == pytest.approx(followed.functional(lambda s: 100.0 * (ufl.sinh(3 * s.u["u"]) - 1) * s.dx), rel=1e-8)


def test_a_failed_solve_hands_over_its_last_iterate():
    with pytest.raises(ComputationError) as caught:
        solve(Steep(), mesh=8, petsc="snes_max_it=2")
    assert caught.value.solution.status == "failed"
    assert np.isfinite(caught.value.solution.nodal()).all()


class Bump(Problem):
    """-lap u = 4 in the unit disc: u = 1 - |x|^2, whose flux through the wall is -4 pi."""

    fields = {"u": Field("temperature", degree=2)}
    conditions = [Dirichlet("u", 0.0, on="wall")]

    def geometry(self, p):
        return Disk()

    def energy(self, s):
        return (inner(grad(s.u["u"]), grad(s.u["u"])) / 2 - 4 * s.u["u"]) * s.dx

    def exact(self, x, t, p):
        return 1 - dot(x, x)


def test_curved_cells_give_quadratic_elements_their_order_and_straight_ones_do_not():
    problem, errors = Bump(), {}
    for order in (1, 2):
        meshes = [problem.geometry(problem.p).mesh(n, order) for n in (8, 16)]
        errors[order] = [solve(problem, mesh=mesh).exact_errors()["relative_l2"] for mesh in meshes]
    assert np.log2(errors[1][0] / errors[1][1]) == pytest.approx(2, abs=0.2)
    assert np.log2(errors[2][0] / errors[2][1]) > 2.75
    assert errors[2][1] < errors[1][1] / 50


def test_reactions_balance_the_load_and_functionals_are_integrals():
    solution = solve(Bump(), mesh=8)
    area = solution.functional(lambda s: 1.0 * s.dx)
    assert solution.reaction("u", "wall") == pytest.approx(-4 * area, rel=1e-10)
    assert area == pytest.approx(np.pi, rel=1e-4)
    assert solution.functional(lambda s: s.u["u"] * s.dx) == pytest.approx(solution.integrate(lambda u: u), rel=1e-6)
    assert solution.functional(lambda s: dot(grad(s.u["u"]), s.n) * s.ds("wall")) == pytest.approx(-4 * np.pi, rel=1e-2)


def test_points_outside_are_nan_or_an_error():
    solution = solve(Bump(), mesh=4)
    x = np.array([[0.0, 2.0], [0.0, 0.0]])
    assert np.isnan(solution.at(x)).tolist() == [False, True]
    with pytest.raises(InputError, match=r"1 points lie outside the domain, first \(2\.0, 0\.0\)"):
        solution.at(x, outside="error")


@pytest.mark.parametrize("name", ["stokes", "mixed_darcy", "dfg_2d1"])
def test_nodal_values_are_those_at_the_points(name):
    problem = load(name)()
    solution = solve(problem, mesh=1 if name == "dfg_2d1" else 6)
    for field in problem.fields:
        if problem.fields[field].element == "Lagrange":
            x = solution.drawn.points.T
            assert solution.nodal(field) == pytest.approx(solution.at(x, field=field), abs=1e-10, nan_ok=True)


def test_the_error_to_a_finer_solution_is_near_the_true_one():
    problem = load("poisson_manufactured")()
    coarse, fine = solve(problem, mesh=8), solve(problem, mesh=32, degree=2)
    for norm, true in coarse.exact_errors().items():
        assert coarse.errors(fine)[norm] == pytest.approx(true, rel=0.02)


def test_elements_of_h_div_conserve_mass_in_each_cell():
    class Source(Problem):
        fields = {"q": Field("flux", shape=(2,), element="BDM"), "p": Field("pressure", element="DG", degree=0)}
        conditions = [Dirichlet("q", 0.0, on=("left", "right"))]

        def geometry(self, p):
            return Rectangle((0.0, 0.0), (2.0, 1.0))

        def residual(self, s, v):
            q, p, w, z = s.u["q"], s.u["p"], v["q"], v["p"]
            return (dot(q, w) - p * div(w) - z * (div(q) - sin(s.x[1]))) * s.dx

    solution = solve(Source(), mesh=5)
    rows = solution.functional(lambda s: div(s.u["q"]) ** 2 * s.dx)
    outflow = solution.functional(lambda s: dot(s.u["q"], s.n) * s.ds)
    assert outflow == pytest.approx(2 * (1 - np.cos(1)), rel=1e-6)
    assert rows > 0


class Furnace(Problem):
    """lap T = 0 with a measured temperature on the left, and a measured flux on the right; both come from tables."""

    fields = {"T": Field("temperature", unit="K")}
    parameters = {
        "wall": Parameter("measured temperature", default=0.0, unit="K", field=True),
        "flux": Parameter("measured flux", default=0.0, unit="K/m", field=True),
    }
    conditions = [Dirichlet("T", lambda x, t, p: p.wall, on="left")]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        return inner(grad(s.u["T"]), grad(s.u["T"])) / 2 * s.dx - s.p.flux * s.u["T"] * s.ds("right")


def test_boundary_values_and_fluxes_come_from_tables(tmp_path):
    wall, flux = tmp_path / "wall.csv", tmp_path / "flux.csv"
    wall.write_text("y,value\n0,300\n0.25,350\n1,320\n")
    flux.write_text("x,y,value\n1,0,2\n1,1,4\n0,0,2\n0,1,4\n")
    given = {p.stem: table.read(p, p.stem, Furnace.parameters[p.stem]) for p in (wall, flux)}
    solution = solve(Furnace(**given), mesh=8)
    y = np.linspace(0, 1, 9)
    measured = np.interp(y, [0, 0.25, 1], [300, 350, 320])
    assert solution.at(np.stack([0 * y, y])) == pytest.approx(measured, rel=1e-10)
    assert solution.reaction("T", "left") == pytest.approx(-3.0, rel=1e-6)  # all that comes in on the right


@pytest.mark.parametrize("suffix", [".vtu", ".vtkhdf"])
def test_files_hold_the_nodal_values(tmp_path, suffix):
    solution = solve(Stokes(), mesh=4)
    solution.write(tmp_path / f"flow{suffix}")
    grid = pyvista.read(tmp_path / f"flow{suffix}")
    assert grid.point_data["u"][:, :2] == pytest.approx(solution.nodal("u").T, abs=1e-14)
    assert grid.point_data["p"] == pytest.approx(solution.nodal("p"), abs=1e-14)


class CurlCurl(Problem):
    """curl curl E + E = f with E = (sin(pi y), sin(pi x)), whose tangential part is given on the boundary."""

    fields = {"E": Field("electric field", shape=(2,), element="N1curl")}
    conditions = [Dirichlet("E", lambda x, t, p: as_vector([sin(pi * x[1]), sin(pi * x[0])]))]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        E, w, f = s.u["E"], v["E"], (1 + pi**2) * self.exact(s.x, s.t, s.p)
        return (ufl.rot(E) * ufl.rot(w) + dot(E, w) - dot(f, w)) * s.dx

    def exact(self, x, t, p):
        return as_vector([sin(pi * x[1]), sin(pi * x[0])])


@pytest.mark.parametrize("degree", [1, 2])
def test_nedelecs_elements_converge_at_their_degree(degree):
    errors = [solve(CurlCurl(), mesh=n, degree=degree).exact_errors()["relative_l2"] for n in (8, 16)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(degree, abs=0.1)


def test_errors_of_a_field_with_a_mean_do_not_depend_on_the_constant_of_the_exact_one():
    class Shifted(StokesManufactured):
        def exact(self, x, t, p):
            given = super().exact(x, t, p)
            return given | {"p": given["p"] + 100}

    plain, shifted = (solve(kind(), mesh=8).exact_errors("p") for kind in (StokesManufactured, Shifted))
    assert shifted == pytest.approx(plain, rel=1e-8)
