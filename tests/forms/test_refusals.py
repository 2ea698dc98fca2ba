"""What the compiler cannot take is refused with a reason, and it needs neither DOLFINx nor MPI nor gmsh."""

import subprocess
import sys

import pytest
import ufl
from ufl import div, grad, inner, jump

from variform.errors import InputError
from variform.forms import PointwiseForm, WeakForm
from variform.forms.describe import interface_text, natural_text, strong_text, weak_text
from variform.meshes import UnitSquare
from variform.problem import Dt, Field, Problem
from variform.problems import load

BLOCKED = ["dolfinx", "dolfinx_solver", "ffcx", "petsc4py", "mpi4py", "slepc4py", "gmsh"]


class Custom(Problem):
    fields = {"u": Field("first"), "w": Field("second"), "q": Field("vector", shape=(2,))}

    def __init__(self, form):
        super().__init__()
        self.form = form

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        return self.form(s, s.u["u"], v)


def compiled(form):
    return PointwiseForm(Custom(form), 2, UnitSquare().regions, UnitSquare().boundaries)


NOT_LINEAR = {
    "quadratic in v": lambda s, u, v: u * v["u"] * v["u"] * s.dx,
    "quadratic through the gradient": lambda s, u, v: inner(grad(v["u"]), grad(v["u"])) * s.dx,
    "in two test functions": lambda s, u, v: u * v["u"] * s.dx + v["u"] * v["w"] * s.dx,
    "in two components": lambda s, u, v: v["q"][0] * v["q"][1] * s.dx,
    "a sine": lambda s, u, v: ufl.sin(v["u"]) * s.dx,
    "an absolute value": lambda s, u, v: abs(v["u"]) * s.dx,
    "a divisor": lambda s, u, v: u / v["u"] * s.dx,
    "a condition": lambda s, u, v: ufl.conditional(ufl.gt(v["u"], 0), v["u"], 0) * s.dx,
    "affine": lambda s, u, v: (v["u"] + 1) * s.dx,
    "without v": lambda s, u, v: u * v["u"] * s.dx + u * s.ds("top"),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_a_form_that_is_not_linear_in_the_test_functions_is_refused(name):
    with pytest.raises(InputError, match=r"weak form of Custom is not linear in its test functions: .*The integrand: "):
        compiled(NOT_LINEAR[name])


def test_forms_linear_in_several_test_functions_are_taken_whichever_integral_they_stand_in():
    def form(s, u, v):
        mixed = (u * v["w"] + s.u["w"] * v["u"] + div(v["q"])) * s.dx
        return mixed + inner(s.n, v["q"]) * s.ds + ufl.derivative(u**3 * s.dx, u, v["u"])

    by_field = {f: compiled(form).source_and_flux(f, 1) for f in Custom.fields}
    assert [term.source.ufl_shape for term in by_field.values()] == [(), (), (2,)]
    assert [term.flux.ufl_shape for term in by_field.values()] == [(2,), (2,), (2, 2)]


OTHERS = {
    "third derivatives of v": (
        lambda s, u, v: inner(grad(div(grad(u))), grad(div(grad(v["u"])))) * s.dx,
        "third or higher derivatives of a test function: integrate it by parts",
    ),
    "a test function without a side": (
        lambda s, u, v: u * v["u"] * s.dx + u("+") * v["u"] * s.dS,
        r"a test function on interior facets needs a side: v\('\+'\), ",
    ),
    "an unknown region": (
        lambda s, u, v: u * v["u"] * s.dx("steal"),
        r"unknown region of the mesh 'steal'.*: domain\.",
    ),
    "an unknown boundary": (
        lambda s, u, v: u * v["u"] * s.ds("tob"),
        r"unknown boundary of the mesh 'tob'\. Did you mean 'top'\? Available: bottom, left, right, top\.",
    ),
    "no form": (lambda s, u, v: u * v["u"], "must return a UFL form, got Product: multiply by s.dx"),
    "Dt of a number": (lambda s, u, v: Dt(s.x[0] * s.t) * v["u"] * s.dx, "Dt needs an expression in an unknown"),
    "Dt of a stationary unknown": (lambda s, u, v: Dt(u) * v["u"] * s.dx, "Dt needs an expression in an unknown"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_forms_are_refused_with_the_names_or_the_way_out(name):
    form, message = OTHERS[name]
    with pytest.raises(InputError, match=message):
        compiled(form).strong("u", 1)
    problem = Custom(form)
    with pytest.raises(InputError, match=message):
        WeakForm(problem, problem.geometry(problem.p).mesh(2))


def test_interior_facets_have_a_weak_form_but_none_at_points():
    def form(s, u, v):
        return inner(grad(u), grad(v["u"])) * s.dx + jump(u) * jump(v["u"]) * s.dS

    with pytest.raises(InputError, match="interior_facet integrals says nothing at single points"):
        compiled(form).strong("u", 1)
    assert strong_text(Custom(form)).startswith("u: a form with interior_facet integrals")
    assert weak_text(Custom(form)).endswith("[(u(+) - u(-))*(vu(+) - vu(-))] dS")


def test_orders_of_derivatives_are_those_of_the_equation():
    second = compiled(lambda s, u, v: div(grad(u)) * v["u"] * s.dx)
    assert second.directions(second.strong("u", 1))[0] == {(0, 0), (1, 1)}
    fourth = compiled(lambda s, u, v: div(grad(u)) * div(grad(v["u"])) * s.dx)
    assert fourth.directions(fourth.strong("u", 1))[0] == {(0, 0, 0, 0), (0, 0, 1, 1), (1, 1, 1, 1)}
    assert (second.order("u"), fourth.order("u")) == (0, 2)


def test_a_region_without_an_integral_has_no_strong_form():
    class Half(load("darcy")):
        def residual(self, s, v):
            return inner(grad(s.u["h"]), grad(v["h"])) * s.dx("sand")

    problem = Half()
    form = PointwiseForm(problem, 2, problem.geometry(problem.p).regions, problem.geometry(problem.p).boundaries)
    with pytest.raises(InputError, match="no integral over this region"):
        form.strong("h", 1)


def test_forms_read_as_they_are_written():
    heat, darcy = load("heat")(), load("darcy")()
    assert weak_text(heat) == "F = [T_t*v + diffusivity*(T_x*v_x + T_y*v_y)] dx"
    assert strong_text(heat) == "T_t - T_xx*diffusivity - T_yy*diffusivity = 0"
    assert (natural_text(heat), interface_text(heat)) == ("", "")
    flux = "conductivity[{}]*heterogeneity*(h_x*n_x + h_y*n_y)"
    assert f"{flux.format('clay')} = 0   on bottom\n" in natural_text(darcy)
    assert "- recharge*sin(pi*x) = 0   on top" in natural_text(darcy)
    assert interface_text(darcy) == f"{flux.format('clay')} in clay = {flux.format('sand')} in sand"
    assert strong_text(load("darcy_checkerboard")()).startswith("h: a coefficient of the flux is a conditional")


def test_conditions_of_plates_are_natural_only_where_nothing_holds_the_slope():
    class Free(load("plate_supported")):
        conditions = []

    assert natural_text(load("plate")()) == (
        "the normal derivative of w is held by the terms that finite elements add   on left, right, bottom, top"
    )
    moment = "stiffness*(poisson_ratio*(w_xx + w_yy) + w_xx*(1 - poisson_ratio)) = 0   on left, right"
    shear = "(poisson_ratio*(w_xxx + w_xyy) + w_xxx*(1 - poisson_ratio) + 2*w_xyy*(1 - poisson_ratio)) = 0   on left"
    supported, free = natural_text(load("plate_supported")()), natural_text(Free())
    assert moment in supported and moment.split(",")[0] in free
    assert shear in free and "w_xxx" not in supported


def test_long_forms_are_left_as_a_divergence_with_names_for_what_recurs():
    text = strong_text(load("hyperelastic_beam")())
    assert text.startswith("-dx(Q_0x) - dy(Q_0y) - dz(Q_0z) = 0") and "\nwhere s1 = " in text
    assert max(map(len, text.splitlines())) < 400


def test_compiler_and_operators_import_without_finite_elements_and_gmsh():
    program = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
import variform.data, variform.forms, variform.operators, variform.benchmarks.metrics
from variform.forms import Interpreter, PointwiseForm, Space, WeakForm, lower, values
from variform.problems import load
problem = load("darcy")().sample(0, 0)
form = WeakForm(problem, problem.geometry(problem.p).mesh(2))
loaded = [name for name in {BLOCKED} if name in sys.modules]
assert not loaded, loaded
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
