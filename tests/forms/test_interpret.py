"""UFL evaluated in torch: random scalar trees and tensor algebra against NumPy, derivatives against autograd."""

import math

import basix.ufl
import numpy as np
import pytest
import torch
import ufl
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ufl.domain import extract_domains

from variform.errors import InputError
from variform.forms import Interpreter, lower

X = ufl.SpatialCoordinate(ufl.Mesh(basix.ufl.element("Lagrange", "triangle", 1, shape=(2,))))
POINTS = np.random.default_rng(0).uniform(-1.5, 1.5, (2, 40))

# name -> (in UFL, in NumPy); arguments are kept where the function is smooth and finite.
UNARY = {
    "sin": (ufl.sin, np.sin),
    "cos": (ufl.cos, np.cos),
    "tan": (lambda a: ufl.tan(ufl.tanh(a)), lambda a: np.tan(np.tanh(a))),
    "exp": (lambda a: ufl.exp(-a * a), lambda a: np.exp(-a * a)),
    "ln": (lambda a: ufl.ln(1.5 + a * a), lambda a: np.log(1.5 + a * a)),
    "sqrt": (lambda a: ufl.sqrt(0.5 + a * a), lambda a: np.sqrt(0.5 + a * a)),
    "sinh": (lambda a: ufl.sinh(ufl.sin(a)), lambda a: np.sinh(np.sin(a))),
    "cosh": (lambda a: ufl.cosh(ufl.sin(a)), lambda a: np.cosh(np.sin(a))),
    "tanh": (ufl.tanh, np.tanh),
    "asin": (lambda a: ufl.asin(0.9 * ufl.sin(a)), lambda a: np.arcsin(0.9 * np.sin(a))),
    "acos": (lambda a: ufl.acos(0.9 * ufl.sin(a)), lambda a: np.arccos(0.9 * np.sin(a))),
    "atan": (ufl.atan, np.arctan),
    "erf": (ufl.erf, np.vectorize(math.erf, otypes=[float])),
    "abs": (abs, np.abs),
    "minus": (lambda a: -a, lambda a: -a),
    "cube": (lambda a: ufl.tanh(a) ** 3, lambda a: np.tanh(a) ** 3),
    "power": (lambda a: (1 + a * a) ** 0.3, lambda a: (1 + a * a) ** 0.3),
}
BINARY = {
    "plus": (lambda a, b: a + b, lambda a, b: a + b),
    "minus": (lambda a, b: a - b, lambda a, b: a - b),
    "times": (lambda a, b: a * b, lambda a, b: a * b),
    "over": (lambda a, b: a / (1 + b * b), lambda a, b: a / (1 + b * b)),
    "power": (lambda a, b: (1 + a * a) ** ufl.sin(b), lambda a, b: (1 + a * a) ** np.sin(b)),
    "max": (lambda a, b: ufl.max_value(a, b + 0.0123), lambda a, b: np.maximum(a, b + 0.0123)),
    "min": (lambda a, b: ufl.min_value(a, b + 0.0123), lambda a, b: np.minimum(a, b + 0.0123)),
    "atan2": (lambda a, b: ufl.atan2(a, 1.5 + b * b), lambda a, b: np.arctan2(a, 1.5 + b * b)),
    "if": (
        lambda a, b: ufl.conditional(ufl.Or(ufl.lt(a, b + 0.0123), ufl.And(ufl.ge(a, 1), ufl.Not(ufl.gt(b, 1)))), a, 2),
        lambda a, b: np.where(np.less(a, b + 0.0123) | (np.greater_equal(a, 1) & np.logical_not(b > 1)), a, 2.0),
    ),
}
LEAVES = st.sampled_from(["x", "y", 0.0, 1.0, -0.75, 2.0])
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.tuples(st.sampled_from(sorted(UNARY)), trees), st.tuples(st.sampled_from(sorted(BINARY)), trees, trees)
    ),
    max_leaves=12,
)


def built(tree, x, y, back_end):
    if not isinstance(tree, tuple):
        return {"x": x, "y": y}.get(tree, tree)
    name, *arguments = tree
    table = UNARY if len(arguments) == 1 else BINARY
    return table[name][back_end](*(built(a, x, y, back_end) for a in arguments))


def interpreted(expression, points):
    """All components at the points, shape (*shape, n)."""
    points = torch.as_tensor(points)

    def leaf(o, component, derivatives):
        assert o is X and not derivatives
        return points[component[0]]

    parts = [part + 0 * points[0] for _, part in Interpreter(leaf).components(lower(expression))]
    return torch.stack(parts).reshape(*lower(expression).ufl_shape, -1)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(TREES)
def test_scalar_expressions_have_the_values_of_numpy_and_the_derivatives_of_autograd(tree):
    x, y = POINTS
    with np.errstate(all="ignore"):
        expected = np.broadcast_to(built(tree, x, y, 1), x.shape)
    assume(np.isfinite(expected).all() and abs(expected).max() < 1e6)
    expression = ufl.as_ufl(built(tree, X[0], X[1], 0))
    assert np.allclose(interpreted(expression, POINTS), expected, rtol=1e-11, atol=1e-11)

    points = torch.tensor(POINTS, requires_grad=True)
    total = interpreted(expression, points).sum()
    (slope,) = torch.autograd.grad(total, points)
    by_ufl = interpreted(ufl.grad(expression), POINTS) if extract_domains(expression) else torch.zeros_like(slope)
    assert np.allclose(by_ufl, slope, rtol=1e-9, atol=1e-9)


def matrices():
    """A matrix field and a vector field, (in UFL, in NumPy with the points first)."""
    x, y = POINTS
    A = ufl.as_matrix([[2 + X[0] ** 2, X[1]], [ufl.sin(X[0]), 3 - X[0] * X[1]]])
    b = ufl.as_vector([X[1], 1 + X[0]])
    rows = [[2 + x**2, y], [np.sin(x), 3 - x * y]]
    return A, b, np.moveaxis(np.array(rows), -1, 0), np.stack([y, 1 + x], axis=-1)


i, j, k = ufl.indices(3)
IDENTITY = np.eye(2)
TENSORS = {
    "determinant": (lambda A, b: ufl.det(A), lambda A, b: np.linalg.det(A)),
    "inverse": (lambda A, b: ufl.inv(A), lambda A, b: np.linalg.inv(A)),
    "cofactor": (lambda A, b: ufl.cofac(A), lambda A, b: _cofactor(A)),
    "trace": (lambda A, b: ufl.tr(A), lambda A, b: np.trace(A, axis1=1, axis2=2)),
    "deviator": (
        lambda A, b: ufl.dev(A),
        lambda A, b: A - np.trace(A, axis1=1, axis2=2)[:, None, None] / 2 * IDENTITY,
    ),
    "symmetric": (lambda A, b: ufl.sym(A), lambda A, b: (A + np.swapaxes(A, 1, 2)) / 2),
    "skew": (lambda A, b: ufl.skew(A), lambda A, b: (A - np.swapaxes(A, 1, 2)) / 2),
    "product": (lambda A, b: A.T * ufl.outer(b, b) * A, lambda A, b: np.einsum("nki,nk,nl,nlj->nij", A, b, b, A)),
    "inner": (lambda A, b: ufl.inner(A, ufl.outer(b, b)), lambda A, b: np.einsum("nij,ni,nj->n", A, b, b)),
    "dot": (lambda A, b: ufl.dot(A, b), lambda A, b: np.einsum("nij,nj->ni", A, b)),
    "perpendicular": (lambda A, b: ufl.perp(b), lambda A, b: np.stack([-b[:, 1], b[:, 0]], axis=1)),
    "index notation": (
        lambda A, b: ufl.as_tensor(A[k, i] * A[j, k] * b[j], (i,)),
        lambda A, b: np.einsum("nki,njk,nj->ni", A, A, b),
    ),
    "free indices swapped": (lambda A, b: ufl.as_tensor(A[i, j] - 2 * A[j, i], (j, i)), lambda A, b: _swapped(A)),
    "a row, a slice": (lambda A, b: A[1, :] + A[:, 0] * b[1], lambda A, b: A[:, 1] + A[:, :, 0] * b[:, 1:]),
    "identity": (lambda A, b: ufl.Identity(2) * b[0] + A, lambda A, b: IDENTITY * b[:, :1, None] + A),
    "conditional of tensors": (
        lambda A, b: ufl.conditional(ufl.lt(b[0], 0), A, A.T),
        lambda A, b: np.where(b[:, :1, None] < 0, A, np.swapaxes(A, 1, 2)),
    ),
    "divergence": (lambda A, b: ufl.div(A), lambda A, b: _divergence()),
    "curl": (lambda A, b: ufl.rot(b), lambda A, b: 0 * b[:, 0]),
    "variable": (lambda A, b: _by_variable(b), lambda A, b: 2 * b * np.exp((b**2).sum(axis=1, keepdims=True))),
}


def _cofactor(A):
    return np.linalg.det(A)[:, None, None] * np.swapaxes(np.linalg.inv(A), 1, 2)


def _swapped(A):
    return np.swapaxes(A, 1, 2) - 2 * A


def _divergence():
    x, _y = POINTS
    return np.stack([2 * x + 1, np.cos(x) - x], axis=1)


def _by_variable(b):
    w = ufl.variable(b)
    return ufl.diff(ufl.exp(ufl.inner(w, w)), w)


@pytest.mark.parametrize("name", TENSORS)
def test_tensor_algebra_has_the_values_of_numpy(name):
    A, b, numpy_A, numpy_b = matrices()
    in_ufl, in_numpy = TENSORS[name]
    ours = np.moveaxis(interpreted(in_ufl(A, b), POINTS).numpy(), -1, 0)
    assert np.allclose(ours, in_numpy(numpy_A, numpy_b), rtol=1e-12, atol=1e-12)


def test_three_dimensional_tensors_are_inverted_and_crossed():
    y = ufl.SpatialCoordinate(ufl.Mesh(basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))))
    points = torch.tensor(np.random.default_rng(1).random((3, 20)))
    A = ufl.Identity(3) * 2 + ufl.outer(y, y) + ufl.as_matrix([[0, y[2], 0], [0, 0, y[0]], [y[1], 0, 0]])
    interpreter = Interpreter(lambda o, component, derivatives: points[component[0]])
    both = ufl.as_vector([ufl.inner(A * ufl.inv(A), ufl.Identity(3)), ufl.inner(ufl.cross(y, A[0, :]), y), ufl.det(A)])
    parts = [part for _, part in interpreter.components(lower(both))]
    numpy_A = 2 * np.eye(3) + np.einsum("in,jn->nij", points, points)
    numpy_A[:, 0, 1] += points[2].numpy()
    numpy_A[:, 1, 2] += points[0].numpy()
    numpy_A[:, 2, 0] += points[1].numpy()
    assert torch.allclose(parts[0], torch.full_like(points[0], 3.0), rtol=1e-13)
    assert parts[1].abs().max() < 1e-14
    assert np.allclose(parts[2], np.linalg.det(numpy_A), rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_that_of_the_leaves_and_constants_are_not_rounded(dtype):
    points = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=dtype)
    expression = ufl.conditional(ufl.lt(X[0], 0.5), 0.1, ufl.max_value(0.3, ufl.as_ufl(0.2)))
    value = Interpreter(lambda o, component, derivatives: points[component[0]]).scalar(lower(expression))
    assert value.dtype == dtype
    assert value.tolist() == torch.tensor([0.1, 0.3], dtype=dtype).tolist()


def test_a_shared_subexpression_is_evaluated_once():
    asked = []

    def leaf(o, component, derivatives):
        asked.append(component)
        return torch.ones(3, dtype=torch.float64)

    shared = ufl.exp(X[0] * X[1])
    Interpreter(leaf).scalar(lower(shared**2 + ufl.sin(shared) / shared))
    assert sorted(asked) == [(0,), (1,)]


def test_what_it_does_not_know_is_refused_by_name():
    interpreter = Interpreter(lambda o, component, derivatives: torch.ones(2))
    with pytest.raises(InputError, match="does not know the UFL node BesselJ"):
        interpreter.scalar(lower(ufl.bessel_J(1, X[0])))
    with pytest.raises(InputError, match="restricted to one side"):
        interpreter.scalar(lower(X[0]("+")))


def test_complex_numbers_are_conjugated_and_taken_apart():
    z = torch.tensor([1 + 2j, -3j], dtype=torch.complex128)
    interpreter = Interpreter(lambda o, component, derivatives: z)
    for expression, expected in (
        (ufl.conj(X[0]) * (2 - 1j), z.conj() * (2 - 1j)),
        (ufl.real(X[0]) + 1j * ufl.imag(X[0]), z),
        (abs(X[0]), z.abs()),
        (ufl.inner(X[0], X[0]), z * z.conj()),
    ):
        assert torch.allclose(interpreter.scalar(lower(expression)) + 0 * z, expected + 0 * z, rtol=1e-15)
