"""Strong forms, natural conditions and interface fluxes: integrated by parts rightly, and zero at exact solutions.

The sources of the manufactured problems come from sympy's strong equation, so the derivation is checked independently.
"""

import basix
import numpy as np
import pytest
import sympy
import torch
import ufl
from ufl import as_matrix, as_vector, cos, div, dot, exp, grad, inner, sin

from variform.errors import InputError
from variform.forms import PointwiseForm
from variform.forms.interpret import lower
from variform.forms.pointwise import At, names_of
from variform.forms.sides import free_components, is_periodic, sides_of
from variform.meshes import Interval, Layers, UnitCube, UnitSquare
from variform.problem import Field, Problem
from variform.problems import CATALOGUE, load
from variform.problems.manufactured import to_ufl
from variform.solvers.neural.points import in_regions, on_boundaries
from variform.task import Parameter

AXES = sympy.symbols("x y z")


def form_of(problem):
    return PointwiseForm(problem, problem.geometry(problem.p).dim, *names_of(problem))


def jets_of(form, fields, expression, x, t):
    """Jets of functions given in UFL, by UFL's own derivatives: of the unknowns, and of the parameter fields."""
    s, problem = form.symbols, form.problem
    time = ufl.variable(s.t)
    unknowns, parameters = form.directions(expression)
    exact = {name: ufl.as_ufl(value) for name, value in problem.by_field(fields(s.x, time, s.p)).items()}

    def derivative(function, axes):
        if axes and not ufl.domain.extract_domains(function):  # a number, whose derivatives UFL refuses
            return 0 * x[0]
        for axis in axes:
            function = function.dx(axis) if axis < form.dim else ufl.diff(function, time)
        return form.evaluate(lower(function), {}, At(x, {}, t))[()] + 0 * x[0]

    u = {
        (name, component, axes): derivative(exact[name][component] if component else exact[name], axes)
        for name, field in problem.fields.items()
        for component in np.ndindex(*field.shape)
        for axes in unknowns
    }
    given = {name: problem.values[name] for name in parameters}
    given = {name: ufl.as_ufl(value(s.x) if callable(value) else value) for name, value in given.items()}
    return u, {(name, axes): derivative(given[name], axes) for name in given for axes in parameters[name]}


def magnitude(form, o, u, at):
    """The size of the largest term of an expression, products of sums multiplied out."""
    a, *rest = o.ufl_operands if isinstance(o, ufl.classes.Sum | ufl.classes.Product) else (o,)
    if isinstance(o, ufl.classes.Sum):
        return max(magnitude(form, part, u, at) for part in (a, *rest))
    if isinstance(o, ufl.classes.Product):
        return magnitude(form, a, u, at) * magnitude(form, rest[0], u, at)
    return float(torch.as_tensor(form.evaluate(o, u, at)[()]).abs().max())


def residual_and_scale(form, expression, fields, x, t=0.0, n=None):
    """By component: the largest value, and that of the largest term."""
    u, parameters = jets_of(form, fields, expression, x, t)
    at = At(x, parameters, t, n)
    return {
        c: (float(torch.as_tensor(value).abs().max()), magnitude(form, expression[c] if c else expression, u, at))
        for c, value in form.evaluate(expression, u, at).items()
    }


# the catalogue


def solved():
    for name in CATALOGUE:
        problem = load(name)()
        if not problem.is_complex and problem.by_field(problem.exact(*symbols(problem))):
            yield name


def symbols(problem):
    s = form_of(problem).symbols
    return s.x, s.t, s.p


def other_values(problem):
    """The problem with other parameters than the default ones."""
    numbers = {
        name: {k: 1.1 * v for k, v in value.items()} if isinstance(value, dict) else 1.1 * value
        for name, value in problem.values.items()
        if not callable(value)
    }
    return type(problem)(**numbers)


def solution(problem, perturb):
    """The exact solution, or a function near it; a field that it does not name is zero."""

    def fields(x, t, p):
        exact = problem.by_field(problem.exact(x, t, p))
        return {
            name: exact.get(name, ufl.zero(field.shape)) + perturb * wave(x, field.shape)
            for name, field in problem.fields.items()
        }

    def wave(x, shape):
        waves = {
            c: cos(1 + sum(c) + sum((i + 2) * x[i] for i in range(len(x)))) * exp(x[0]) for c in np.ndindex(*shape)
        }
        return as_vector([waves[c] for c in np.ndindex(*shape)]) if shape else waves[()]

    return fields


def points_of(problem):
    """Points in regions and on boundaries, those on curved walls moved onto them."""
    mesh = problem.geometry(problem.p).mesh(4)
    for points in (*in_regions(mesh, 2), *on_boundaries(mesh, 2)):
        x, n = points.x, points.normal
        keep = np.linalg.norm(x, axis=0) >= 0.2 * ("exponent" in problem.parameters)  # kappa > 0 is felt at the centre
        if points.boundary and tuple(mesh.boundaries)[points.boundary - 1] == "hole":
            n = -x / np.linalg.norm(x, axis=0)
            x = -n
        yield points, torch.tensor(x[:, keep]), None if n is None else torch.tensor(n[:, keep])


def natural_conditions(form, field, points, side):
    """Expressions with the components in which they vanish."""
    number, name = points.boundary, form.boundaries[points.boundary - 1]
    weakly = form.is_held_weakly(field, name)
    if form.order(field) == 2 and not weakly and not is_periodic(form.problem, field, side):
        yield form.natural_moment(field, points.region, number), list(np.ndindex(*form.problem.fields[field].shape))
    yield form.natural(field, points.region, number), free_components(form.problem, field, name, side)


@pytest.mark.parametrize("name", list(solved()))
def test_at_the_exact_solution_strong_and_natural_residuals_vanish_and_nowhere_near_it(name):
    problem = other_values(load(name)())
    form, checked = form_of(problem), 0
    sides = sides_of(problem.geometry(problem.p))
    t = 0.3 * problem.time[1] if problem.time else 0.0
    for points, x, n in points_of(problem):
        for field, spec in problem.fields.items():
            if spec.element == "Real":
                with pytest.raises(InputError, match=f"'{field}' is one number: its equation is an integral"):
                    form.strong(field, points.region)
                continue
            conditions = [(form.strong(field, points.region), list(np.ndindex(*spec.shape)))]
            if points.boundary:
                conditions = natural_conditions(form, field, points, sides[form.boundaries[points.boundary - 1]])
            for expression, components in conditions:
                at_solution = residual_and_scale(form, expression, solution(problem, 0.0), x, t, n)
                nearby = residual_and_scale(form, expression, solution(problem, 1e-3), x, t, n)
                for c in components:
                    scale = max(at_solution[c][1], nearby[c][1])
                    if scale == 0.0 or lower(expression[c] if c else expression) == 0:
                        continue
                    assert at_solution[c][0] < 1e-10 * scale, (field, c, points.boundary)
                    assert nearby[c][0] > 1e-6 * scale, (field, c, points.boundary)
                    checked += 1
    assert checked >= len(problem.fields) - sum(f.element == "Real" for f in problem.fields.values())


# integration by parts


class Bent(Problem):
    """Fourth order with variable coefficients, lower-order and boundary terms, for a scalar or a vector."""

    def __init__(self, dim, shape=()):
        self.fields = {"w": Field("deflection", shape=shape)}
        self.dim = dim
        super().__init__()

    def geometry(self, p):
        return {1: Interval, 2: UnitSquare, 3: UnitCube}[self.dim]()

    def residual(self, s, v):
        w, v, x, n = s.u["w"], v["w"], s.x, s.n
        a = exp(x[0] / 2) + x[self.dim - 1] ** 2
        inside = (1 + inner(w, w)) * inner(a * grad(grad(w)), grad(grad(v))) + x[0] * inner(w, v)
        # Not symmetric, and of one mixed derivative only.
        inside += a * inner(w, grad(grad(v))[..., 0, self.dim - 1]) + inner(grad(w), grad(v)) * sin(x[0])
        along = as_vector([1 + x[self.dim - 1], *[x[0]] * (self.dim - 1)])
        outside = inner(w, v) * x[0] + inner(dot(grad(v), along), (1 + x[0]) * w) + inner(dot(grad(v), n), w)
        return inside * s.dx + outside * s.ds


CORNERS = {
    1: np.array([[0.1], [1.2]]),
    2: np.array([[0.1, 0.0], [1.3, 0.2], [0.4, 1.1]]),
    3: np.array([[0.0, 0.1, 0.0], [1.1, 0.0, 0.2], [0.1, 0.9, 0.1], [0.2, 0.3, 1.2]]),
}


def simplex_rule(corners, degree=26):
    """Points (dim, q) and weights of a simplex given by its corners (vertices, dim)."""
    kinds = [basix.CellType.point, basix.CellType.interval, basix.CellType.triangle, basix.CellType.tetrahedron]
    edges = corners[1:] - corners[0]
    if not len(edges):
        return torch.tensor(corners.T), torch.ones(1, dtype=torch.float64)
    points, weights = basix.make_quadrature(kinds[len(edges)], degree)
    return torch.tensor((corners[0] + points @ edges).T), torch.tensor(weights * np.linalg.det(edges @ edges.T) ** 0.5)


def outward(corners, facet):
    """The normal of the facet opposite a vertex: against the gradient of that vertex's barycentric coordinate."""
    gradient = np.linalg.inv(np.vstack([corners.T, np.ones(len(corners))]))[facet, :-1]
    return torch.tensor(-gradient / np.linalg.norm(gradient))[:, None]


def barycentric(corners, x):
    rows = np.linalg.inv(np.vstack([corners.T, np.ones(len(corners))]))
    return [sum(float(a) * x[i] for i, a in enumerate(row[:-1])) + float(row[-1]) for row in rows]


@pytest.mark.parametrize(("dim", "shape"), [(1, ()), (2, ()), (2, (2,)), (3, ())])
def test_integration_by_parts_holds_on_a_simplex_with_corners_and_moments(dim, shape):
    """F(w; v) = int strong v + oint natural v + oint natural_moment d_n v + sum over corners [M_ns] v."""
    problem, corners = Bent(dim, shape), CORNERS[dim]
    form = form_of(problem)
    x, n, vertices = form.symbols.x, form.symbols.n, len(corners)
    v = sin(x[0] + 1) + x[dim - 1] ** 3
    if dim == 3:  # zero on the edges, where jumps would act
        b = barycentric(corners, x)
        v = v * sum(b[i] * b[j] * b[k] for i, j, k in ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3)))
    w = cos(x[0]) * (1 + x[dim - 1]) ** 2
    v, w = (as_vector([f, f * f + x[0]]) if shape else f for f in (v, w))

    def integral(expression, rule, normal=None):
        lowered = lower(ufl.replace(expression, {form.symbols.u["w"]: w, form.v["w"]: v}))
        value = form.evaluate(lowered, {}, At(rule[0], {}, n=normal))[()]
        return float((torch.as_tensor(value) * rule[1]).sum())

    F = {
        integral_.integral_type(): integral_.integrand()
        for integral_ in problem.residual(form.symbols, form.v).integrals()
    }
    left = integral(F["cell"], simplex_rule(corners))
    right = integral(inner(form.strong("w", 1), v), simplex_rule(corners))
    bending = form.natural_moment("w", 1, 1)
    for facet in range(vertices):
        rest = [i for i in range(vertices) if i != facet]
        rule, normal = simplex_rule(corners[rest]), outward(corners, facet)
        left += integral(F["exterior_facet"], rule, normal)
        right += integral(inner(form.natural("w", 1, 1), v) + inner(bending, dot(grad(v), n)), rule, normal)
        if dim == 2:
            tangent = torch.stack([-normal[1, 0], normal[0, 0]]).numpy()
            start, end = sorted(rest, key=lambda i: corners[i] @ tangent)
            for corner, sign in ((end, 1.0), (start, -1.0)):
                at = (torch.tensor(corners[[corner]].T), torch.tensor([sign]))
                right += integral(inner(form.twisting_moment("w", 1, 1), v), at, normal)
    assert abs(left) > 0.1
    assert abs(left - right) < 1e-11 * abs(left)


# energies


class Energy(Problem):
    """Two scalar fields, coupled, one of them with second derivatives."""

    fields = {"a": Field("first"), "b": Field("second")}
    a, b = "sin(x)*y + x*x", "exp(x/2)*cos(y)"

    def geometry(self, p):
        return UnitSquare()

    def density(self, a, b, x, y, slope, bend, exp):
        """In UFL and in sympy alike."""
        coupling = a * b**2 + exp(a) * (slope(b, 0) ** 2 + slope(b, 1) * slope(a, 0)) + x * y * b
        return coupling + (1 + b**2) * slope(a, 1) ** 4 + bend(a, 0, 0) ** 2 * y + bend(a, 0, 1) * bend(a, 1, 1) * b

    def energy(self, s):
        density = self.density(s.u["a"], s.u["b"], *s.x, lambda f, i: f.dx(i), lambda f, i, j: f.dx(i, j), exp)
        return density * s.dx

    def exact(self, x, t, p):
        return {"a": to_ufl(self.a)(x), "b": to_ufl(self.b)(x)}


def test_the_energy_of_several_fields_has_the_strong_form_of_euler_and_lagrange():
    """Sympy's Euler-Lagrange equations are the independent derivation."""
    problem, (x, y, _) = Energy(), AXES
    a, b = sympy.Function("a")(x, y), sympy.Function("b")(x, y)
    density = problem.density(
        a, b, x, y, lambda f, i: f.diff(AXES[i]), lambda f, i, j: f.diff(AXES[i], AXES[j]), sympy.exp
    )
    equations = sympy.calculus.euler.euler_equations(density, [a, b], [x, y])
    form = form_of(problem)
    at = torch.tensor(np.random.default_rng(0).random((2, 20)))
    for field, equation in zip(problem.fields, equations, strict=True):
        expected = equation.lhs.subs({a: sympy.sympify(problem.a), b: sympy.sympify(problem.b)}).doit()
        strong = form.strong(field, 1)
        u, _ = jets_of(form, problem.exact, strong, at, 0.0)
        (ours,) = form.evaluate(strong, u, At(at, {})).values()
        theirs = sympy.lambdify((x, y), expected, "numpy")(*at.numpy())
        assert np.abs(ours.numpy() - theirs).max() < 1e-12 * np.abs(theirs).max()


# refusals


class Rough(Problem):
    fields = {"u": Field("displacement")}
    parameters = {"k": Parameter("pixels", default=lambda x: 1 + x[0], field=True, smooth=False)}

    def geometry(self, p):
        return UnitSquare(Layers(0, (0.5,), ("left", "right")))

    def residual(self, s, v):
        u, w, k = s.u["u"], v["u"], s.p.k
        return k * dot(grad(u), grad(w)) * s.dx("left") + (k * u * w + dot(grad(u), grad(w))) * s.dx("right")


def test_a_rough_parameter_under_a_divergence_is_refused_by_name_in_the_regions_where_it_is():
    form = form_of(Rough())
    with pytest.raises(InputError, match="depends on 'k', which is not smooth"):
        form.strong("u", 1)
    assert form.directions(form.strong("u", 2)) == ({(), (0, 0), (1, 1)}, {"k": {()}})
    assert form.directions(form.natural("u", 1, 1))[1] == {"k": {()}}  # no derivative of it is taken there


def test_the_strong_form_leaves_out_what_only_finite_elements_add():
    class Stabilised(load("poisson")):
        def stabilisation(self, s, v):
            return s.h**2 * div(grad(s.u["u"])) * v["u"] * s.dx + s.u["u"] * dot(grad(v["u"]), s.n) * s.ds("left")

    form = form_of(Stabilised())
    assert form.directions(form.strong("u", 1)) == ({(0, 0), (1, 1)}, {})
    assert [form.is_held_weakly("u", name) for name in form.boundaries] == [name == "left" for name in form.boundaries]


def test_second_derivatives_of_v_on_the_boundary_and_interior_facets_have_no_conditions_at_points():
    class OnFacets(Problem):
        fields = {"u": Field("displacement")}

        def geometry(self, p):
            return UnitSquare()

        def residual(self, s, v):
            u, w = s.u["u"], v["u"]
            outside = u * inner(grad(grad(w)), as_matrix(((1, 2), (2, 3)))) * s.ds("top")
            return u * w * s.dx + (outside if self.boundary else u("+") * w("+") * s.dS)

    for OnFacets.boundary, method, message in (
        (True, "natural", "second derivatives of a test function in an integral over the boundary"),
        (False, "natural", "interior_facet integrals says nothing at single points"),
        (False, "strong", "interior_facet integrals says nothing at single points"),
    ):
        form = form_of(OnFacets())
        with pytest.raises(InputError, match=message):
            getattr(form, method)("u", 1, *([form.boundaries.index("top") + 1] if method == "natural" else []))
    with pytest.raises(InputError, match="those of plane domains, not of 3 dimensions"):
        form_of(Bent(3)).twisting_moment("w", 1, 1)
