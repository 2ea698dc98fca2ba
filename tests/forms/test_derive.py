"""The coefficients of the test function, put back into a form, assemble to the same vector in DOLFINx."""

import numpy as np
import pytest
import ufl
from ufl import avg, div, dot, dS, ds, dx, grad, inner, jump

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE, Where, terms
from variform.solvers import fem as _loads_mpi  # noqa: F401

import dolfinx  # isort: skip - after variform.solvers.fem, which loads MPI
from mpi4py import MPI  # isort: skip

MESH = dolfinx.mesh.create_unit_square(MPI.COMM_SELF, 3, 2)
n, x = ufl.FacetNormal(MESH), ufl.SpatialCoordinate(MESH)


def space(family="Lagrange", degree=3, shape=()):
    return dolfinx.fem.functionspace(MESH, (family, degree, shape))


def random(V, dtype=np.float64):
    u, rng = dolfinx.fem.Function(V, dtype=dtype), np.random.default_rng(0)
    u.x.array[:] = rng.standard_normal(u.x.array.shape)
    if dtype == np.complex128:
        u.x.array[:] += 1j * rng.standard_normal(u.x.array.shape)
    return u


def put_back(by_measure, v):
    """The form that the terms stand for, in UFL's own symbols."""
    measures = {"cell": dx, "exterior_facet": ds, "interior_facet": dS}
    form = ufl.Form([])
    for where, term in by_measure.items():
        w = v(where.side) if where.side else v
        first = grad(v)(where.side) if where.side else grad(v)
        second = grad(grad(v))(where.side) if where.side else grad(grad(v))
        integrand = inner(term.source, w) + inner(term.flux, first) + inner(term.moment, second)
        form += integrand * measures[where.kind](where.number, degree=where.degree)
    return form


def plate(w, v):
    """An interior penalty form: derivatives of second order on both sides of the facets."""
    moments = grad(grad(w)) * (1 + x[0]) + 0.3 * div(grad(w)) * ufl.Identity(2)
    bending = avg(dot(n, dot(moments, n)) * ufl.sin(w))
    facets = -bending * jump(grad(v), n) - avg(div(grad(v))) * jump(grad(w), n) + jump(w * grad(v), n) * w("+")
    boundary = div(grad(v)) * w + dot(n, grad(grad(v))[:, 1]) * x[1]
    return inner(moments, grad(grad(v))) * dx + w**2 * v * dx(degree=3) + facets * dS(degree=4) + boundary * ds


def upwind(u, v):
    b = ufl.as_vector([1 + x[1], -x[0]])
    outflow = avg(dot(b, n) + abs(dot(b, n)))
    side = 0.5 * (dot(b, n) + abs(dot(b, n)))
    return (
        -dot(dot(grad(v), b), u) * dx
        + dot(jump(v), side("+") * u("+") - side("-") * u("-")) * dS
        + (outflow * inner(avg(u), v("-")) * dS)
    )


def helmholtz(u, v):
    return inner(grad(u), grad(v)) * dx - (4 + 1j) * inner(u, v) * dx - 2j * inner(u, v) * ds + inner(x[0], v) * dx


@pytest.mark.parametrize(
    ("form", "V", "dtype"),
    [
        (plate, space(), np.float64),
        (upwind, space("DG", 1, (2,)), np.float64),
        (helmholtz, space(), np.complex128),
        (lambda u, v: helmholtz(u[0], v[1]) + inner(div(u), div(v)) * dx, space(shape=(2,)), np.complex128),
    ],
)
def test_the_terms_put_back_assemble_to_the_same_vector(form, V, dtype):
    u, v = random(V, dtype), ufl.TestFunction(V)
    ours, theirs = (
        dolfinx.fem.assemble_vector(dolfinx.fem.form(F, dtype=dtype)).array
        for F in (put_back(terms(form(u, v), v), v), form(u, v))
    )
    assert np.abs(theirs).max() > 1e-3
    assert np.abs(ours - theirs).max() < 1e-12 * np.abs(theirs).max()


def test_measures_are_told_apart_by_subdomain_degree_and_side():
    V = space()
    u, v = random(V), ufl.TestFunction(V)
    form = u * v * dx + u * v * dx(1, degree=3) + v * dx((1, 2), degree=3) + jump(u) * v("-") * dS(degree=2)
    by_measure = terms(form + v.dx(0) * ds(4, metadata={"quadrature_degree": -1}), v)
    assert set(by_measure) == {
        Where("cell", EVERYWHERE),
        Where("cell", 1, 3),
        Where("cell", 2, 3),
        Where("interior_facet", EVERYWHERE, 2, "-"),
        Where("exterior_facet", 4),
    }


@pytest.mark.parametrize(
    ("integral", "message"),
    [
        (lambda v: dot(grad(div(grad(v))), grad(x[0])) * dx, "third or higher derivatives of a test function"),
        (lambda v: v * dS, r"needs a side: v\('\+'\)"),
        (lambda v: v * ufl.dP, "no torch form of integrals over vertex"),
    ],
)
def test_what_has_no_coefficients_is_refused(integral, message):
    v = ufl.TestFunction(space())
    with pytest.raises(InputError, match=message):
        terms(integral(v), v)
