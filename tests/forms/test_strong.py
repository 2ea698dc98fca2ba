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
        if problem.by_field(problem.exact(*symbols(problem))):
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
        keep = np.linalg.norm(x, axis=0) > 0.2 * ("exponent" in problem.parameters)  # kappa > 0 is felt at the centre
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
