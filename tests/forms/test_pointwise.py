"""Strong form, natural residual and interface flux, derived from the weak form, vanish at the exact solution.

The sources of the manufactured problems come from sympy's strong equation, so the derivation is checked independently.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import ufl

from variform.errors import InputError
from variform.forms import PointwiseForm, values
from variform.forms.jets import closure, jet_of
from variform.forms.pointwise import At, names_of
from variform.meshes import Layers, UnitSquare
from variform.problem import Dt, Field, Problem
from variform.problems import load

BLOCK = Path(__file__).parents[2] / "examples" / "heated_block.py"


class Coupled(Problem):
    """Two scalars and a vector with an exact solution, in layers: T^2 and u exchange with c, u is advected."""

    fields = {"T": Field("temperature"), "c": Field("moisture"), "u": Field("displacement", shape=(2,))}
    time = (0.0, 1.0)

    def geometry(self, p):
        return UnitSquare(Layers(0, (0.25,), ("left", "right")))

    def residual(self, s, v):
        T, c, u = s.u["T"], s.u["c"], s.u["u"]
        heat = Dt(T**2) * v["T"] + c * ufl.dot(ufl.grad(T), ufl.grad(v["T"]))
        moisture = ufl.div(u) * v["c"] - T * ufl.dot(u, ufl.grad(v["c"]))
        mechanics = ufl.inner(ufl.sym(ufl.grad(u)) + T * c * ufl.Identity(2), ufl.grad(v["u"]))
        return (heat + moisture) * s.dx + mechanics * s.dx("left") + mechanics * s.dx("right")

    def exact(self, x, t, p):
        u = ufl.as_vector([x[1] ** 2 * t, x[0] * x[1]])
        return {"T": 1 + x[0] * x[1] * t, "c": ufl.exp(x[0]) + t, "u": u}

    def strong(self, x, t):
        """By hand, at the exact solution."""
        X, Y = x
        T, c, e = 1 + X * Y * t, np.exp(X) + t, np.exp(X)
        return {
            # 2 T T_t - c laplace T - grad c . grad T
            ("T", ()): 2 * T * X * Y - e * Y * t,
            # div u + div(T u)
            ("c", ()): X + T * X + Y * t * Y**2 * t + X * t * X * Y,
            # -div sym grad u - grad(T c): sym grad u = [[0, y t + y / 2], [., x]]
            ("u", (0,)): -(t + 0.5) - (Y * t * c + T * e),
            ("u", (1,)): -(0.0 * X) - X * t * c,
        }


def jets(form, directions, x, t, perturb=0.0):
    """Derivatives of the exact solution, and of the parameter fields, by nested forward mode."""
    problem, dim = form.problem, len(x)
    z = torch.cat([x, torch.full_like(x[:1], t)])
    u = {
        (name, component, axes): value
        for name, field in problem.fields.items()
        for component in np.ndindex(*field.shape)
        for axes, value in jet_of(
            lambda q, n=name, c=component: (
                values(problem, problem.exact, q[:dim], q[dim])[n][c] + perturb * torch.sin(3 * q[0]) * torch.exp(q[1])
            ),
            z,
            closure(directions),
        ).items()
    }
    parameters = {
        (name, axes): value
        for name, spec in problem.parameters.items()
        if spec.field
        for axes, value in jet_of(problem.values[name], x, closure([(i,) for i in range(dim)])).items()
    }
    return u, parameters


def evaluated(form, expression, x, t=0.0, n=None, perturb=0.0):
    """Components at the points, shape (components, points)."""
    u, parameters = jets(form, form.directions(expression)[0], x, t, perturb)
    parts = form.evaluate(expression, u, At(x, parameters, t, n))
    return torch.stack([torch.as_tensor(part) + 0 * x[0] for part in parts.values()])


def form_of(problem):
    return PointwiseForm(problem, problem.geometry(problem.p).dim, *names_of(problem))


def points(lower, upper, count=50):
    rng = np.random.default_rng(0)
    return torch.tensor(rng.uniform(np.array(lower)[:, None], np.array(upper)[:, None], (len(lower), count)))


def test_coupled_fields_have_the_strong_residuals_that_are_found_by_hand():
    problem = Coupled()
    form, t = form_of(problem), 0.7
    for region, lower, upper in ((1, (0, 0), (0.25, 1)), (2, (0.25, 0), (1, 1))):
        x = points(lower, upper)
        expected = problem.strong(x.numpy(), t)
        for field, spec in problem.fields.items():
            ours = evaluated(form, form.strong(field, region), x, t)
            for part, component in zip(ours, np.ndindex(*spec.shape), strict=True):
                assert np.allclose(part, expected[field, component], rtol=0, atol=1e-12)


def test_the_natural_residual_vanishes_on_neumann_boundaries_and_the_flux_is_the_same_on_both_sides():
    problem = load("darcy_manufactured")(conductivity={"clay": 0.02, "sand": 3.0})
    form = form_of(problem)
    line = points((0,), (1,))[0]

    def along(y, n):
        return torch.stack([line, torch.full_like(line, y)]), torch.tensor([[0.0], [n]], dtype=torch.float64)

    for region, boundary, y, n in (("clay", "bottom", 0.0, -1.0), ("sand", "top", 1.0, 1.0)):
        numbers = form.regions.index(region) + 1, form.boundaries.index(boundary) + 1
        natural, (x, normal) = form.natural("h", *numbers), along(y, n)
        assert evaluated(form, natural, x, n=normal).abs().max() < 1e-12
        assert evaluated(form, natural, x, n=normal, perturb=1e-2).abs().max() > 1e-4

    sides, slopes = [], []
    for region, y in ((1, 0.5 - 1e-13), (2, 0.5)):
        x, normal = along(y, 1.0)
        sides.append(evaluated(form, form.normal_flux("h", region), x, n=normal))
        slopes.append(jets(form, {(1,)}, x, 0.0)[0]["h", (), (1,)])
    assert (sides[0] - sides[1]).abs().max() < 1e-10 * sides[0].abs().max()
    assert (slopes[0] - slopes[1]).abs().max() > 10  # the gradient itself jumps by the ratio of conductivities


def test_a_nonlinear_boundary_term_gives_the_radiation_condition():
    problem = load(str(BLOCK))(conductivity=2.0, emissivity=0.3, ambient=0.8)
    form = form_of(problem)
    rng = np.random.default_rng(0)
    u = {("T", (), axes): torch.tensor(rng.standard_normal(20)) for axes in ((), (0,), (1,), (2,))}
    x, n = torch.tensor(rng.random((3, 20))), torch.tensor(rng.standard_normal((3, 20)))
    T, slope = u["T", (), ()], sum(n[i] * u["T", (), (i,)] for i in range(3))
    radiation = 0.3 * (T.abs() * T**3 - 0.8**4)
    for name, expected in (("top", 2.0 * slope + radiation), ("front", 2.0 * slope + radiation), ("back", 2.0 * slope)):
        natural = form.natural("T", 1, form.boundaries.index(name) + 1)
        (ours,) = form.evaluate(natural, u, At(x, {}, n=n)).values()
        assert torch.allclose(ours, expected, rtol=1e-13, atol=1e-13)
    insulated = form.evaluate(form.natural("T", 1, 0), u, At(x, {}, n=n))[()]
    assert torch.allclose(insulated, 2.0 * slope, rtol=1e-13, atol=1e-13)


def test_only_the_derivatives_that_occur_are_asked_for():
    form = form_of(load("darcy")())
    unknowns, fields = form.directions(form.strong("h", 1))
    assert unknowns == {(0,), (1,), (0, 0), (1, 1)}
    assert fields == {"heterogeneity": {(), (0,), (1,)}}
    heat = form_of(load("heat")())
    assert heat.directions(heat.strong("T", 1)) == ({(2,), (0, 0), (1, 1)}, {})


def test_what_has_no_energy_or_needs_a_mesh_says_so():
    with pytest.raises(InputError, match="Heat has no energy to minimise"):
        form_of(load("heat")()).energy()

    class OfTheMesh(load("poisson")):
        def source(self, x, p):
            return ufl.CellDiameter(ufl.domain.extract_unique_domain(x))

    form = form_of(OfTheMesh())
    with pytest.raises(InputError, match=r"CellDiameter.* no meaning at points without a mesh"):
        form.directions(form.strong("u", 1))


def test_values_are_of_the_shape_of_field_and_points():
    problem = Coupled()
    x = torch.rand(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    at = values(problem, problem.exact, x, 0.5)
    assert {name: tuple(v.shape) for name, v in at.items()} == {"T": (3, 4), "c": (3, 4), "u": (2, 3, 4)}
    assert torch.allclose(at["u"][0], x[1] ** 2 / 2, rtol=1e-15)
    assert values(problem, lambda x, t, p: None, x) == {}
