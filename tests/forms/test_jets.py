"""Jets: rules, nested forward mode and polarisation give the derivatives that sympy and reverse mode give."""

import itertools
import math

import numpy as np
import pytest
import sympy
import torch
import ufl
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from variform.errors import InputError
from variform.forms import PointwiseForm, elementwise
from variform.forms.compiled import compiled
from variform.forms.forward import forward_jet, polarised
from variform.forms.jets import Laplacian, add, closure, coordinates, jet_of, product
from variform.forms.laplacian import only_laplacians, spread, with_laplacians
from variform.forms.pointwise import At, names_of
from variform.problem import Field, Problem
from variform.problems import load
from variform.solvers.neural.networks import KAN, MLP, ChebyshevKAN, jacobian, network_of

A = sympy.Symbol("a")
SYMBOLIC = {
    "tanh": sympy.tanh(A),
    "sin": sympy.sin(A),
    "gelu": A * (1 + sympy.erf(A / sympy.sqrt(2))) / 2,
    "silu": A / (1 + sympy.exp(-A)),
    "softplus": sympy.log(1 + sympy.exp(A)),
    "sigmoid": 1 / (1 + sympy.exp(-A)),
    "exp": sympy.exp(A),
}
SMOOTH = {"mlp": MLP, "gelu": lambda sizes: MLP(sizes, "gelu"), "spline": lambda s: KAN(s, 4, 5), "poly": ChebyshevKAN}
POINTS = torch.tensor(np.random.default_rng(0).uniform(-0.9, 0.9, (3, 11)))
directions = st.lists(st.integers(0, 2), min_size=0, max_size=4).map(lambda axes: tuple(sorted(axes)))


def close(a, b, rtol=1e-12):
    return bool((a - b).abs().max() <= rtol * max(1.0, float(b.abs().max())))


def reverse(function, z, axes):
    """A derivative of (d, n) to (n,) by one reverse pass after the other."""
    return jet_of(function, z, [axes])[axes]


@pytest.mark.parametrize("name", elementwise.ACTIVATIONS)
@pytest.mark.parametrize("highest", [0, 1, 2, 5])
def test_activations_have_the_derivatives_that_sympy_finds(name, highest):
    a = np.linspace(-2.5, 2.5, 7)
    values = elementwise.ACTIVATIONS[name](torch.tensor(a), highest)
    assert len(values) == highest + 1
    for order, value in enumerate(values):
        derivative = sympy.diff(SYMBOLIC[name], A, order)
        expected = [float(derivative.subs(A, sympy.Float(x, 40)).evalf(30)) for x in a]
        assert close(value, torch.tensor(expected, dtype=torch.float64))


def test_polynomials_have_the_derivatives_that_numpy_finds():
    c, a = [0.5, -1.0, 2.0, 3.0], np.linspace(-1, 1, 9)
    for order, value in enumerate(elementwise.polynomial(*c)(torch.tensor(a), 5)):
        assert close(value, torch.tensor(np.polynomial.Polynomial(c).deriv(order)(a)))
    for order, values in enumerate(elementwise.chebyshev(6)(torch.tensor(a), 4)):
        for k, value in enumerate(values):
            assert close(value, torch.tensor(np.polynomial.Chebyshev.basis(k).deriv(order)(a)))
    assert elementwise.chebyshev(0)(torch.tensor(a), 1)[1].shape == (1, 9)


def test_splines_are_those_of_scipy_with_their_derivatives():
    from scipy.interpolate import BSpline

    intervals, degree = 4, 5
    knots = -1 + 2 / intervals * np.arange(-degree, intervals + degree + 1)
    a = np.linspace(-1, 1, 41)
    values = elementwise.bspline(intervals, degree)(torch.tensor(a), 4)
    for order, m in itertools.product(range(5), range(intervals + degree)):
        coefficients = np.eye(intervals + degree)[m]
        expected = BSpline(knots, coefficients, degree).derivative(order)(a)
        assert close(values[order][m], torch.tensor(expected)), (order, m)
    assert (elementwise.bspline(4, 3)(torch.tensor([-3.0, 3.0]).double(), 0)[0] == 0).all()
    with pytest.raises(InputError, match="degree 3 have 2 continuous derivatives, not 3"):
        elementwise.bspline(4, 3)(torch.tensor(a), 3)


def test_the_terms_of_chain_and_product_rule_are_as_many_as_there_are_partitions_and_subsets():
    from variform.forms.jets import partitions, splits

    for order, bell in enumerate([1, 1, 2, 5, 15, 52]):
        assert sum(partitions((0,) * order).values()) == bell
        assert sum(splits((0, 1, 2, 0, 1)[:order]).values()) == 2**order
    assert closure([(0, 0, 1)]) == [(), (0,), (1,), (0, 0), (0, 1), (0, 0, 1)]
    assert closure([Laplacian(2), (2,)]) == [(), (0,), (1,), (2,), Laplacian(2)]


@settings(max_examples=40, deadline=None)
@given(st.sets(directions, min_size=1, max_size=4), st.sampled_from(sorted(SMOOTH)), st.integers(0, 3))
def test_the_jets_of_networks_times_functions_are_the_derivatives(asked, name, seed):
    network = SMOOTH[name]((3, 4, 3, 2))
    theta = network.initial(seed)

    def factor(z):
        return torch.exp(0.3 * z[0]) * (1 - z[1] ** 2) + torch.sin(z[2]) ** 2

    def whole(z):
        u = network.jet(theta, {(): z})[()]
        return factor(z) * u[1] + u[0]

    needed = closure(asked)
    u = network.jet(theta, coordinates(POINTS, asked))
    first, second = ({key: value[i] for key, value in u.items()} for i in (0, 1))
    ours = add(first, product(jet_of(factor, POINTS, needed), second))
    assert set(ours) == set(needed)
    for axes in asked:
        assert close(ours[axes], reverse(whole, POINTS, axes), 1e-11 if len(axes) > 3 else 1e-12), axes


@settings(max_examples=25, deadline=None)
@given(st.sets(directions, min_size=1, max_size=3), st.integers(0, 3))
def test_nested_forward_mode_with_polarisation_agrees_with_the_rules(asked, seed):
    network = MLP((3, 5, 4, 2))
    theta = network.initial(seed)
    rules = network.jet(theta, coordinates(POINTS, asked))
    nested = forward_jet(lambda z: network.jet(theta, {(): z})[()], POINTS, asked)
    for axes in asked:
        assert close(nested[axes], rules[axes], 1e-11)


def test_polarisation_of_a_pure_derivative_is_itself_and_of_a_mixed_one_the_known_formula():
    assert polarised((1, 1, 1), 2) == {((0, 1), 3): 1.0}
    assert polarised((0, 1), 2) == {((0, 1), 2): -0.5, ((1, 0), 2): -0.5, ((1, 1), 2): 0.5}
    assert polarised((), 2) == {((1, 0), 0): 1.0} and polarised(Laplacian(2), 3) == {
        ((1, 0, 0), 2): 1.0,
        ((0, 1, 0), 2): 1.0,
    }
    # exact on every monomial of the same order
    for key in [(0, 0, 1, 1), (0, 1, 1, 2), (0, 0, 0, 1)]:
        for powers in itertools.product(range(5), repeat=3):
            if sum(powers) == 4:
                terms = polarised(key, 3).items()  # d^4/dt^4 of prod (t c_i)^p_i is 4! prod c_i^p_i
                total = sum(w * 24 * math.prod(c**p for c, p in zip(v, powers, strict=True)) for (v, _), w in terms)
                same = powers == tuple(key.count(i) for i in range(3))
                assert total == pytest.approx(math.prod(map(math.factorial, powers)) * same, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_the_forward_laplacian_is_the_sum_of_second_derivatives(name):
    network = SMOOTH[name]((3, 5, 4, 2))
    theta = network.initial(0)
    second = network.jet(theta, coordinates(POINTS, [(0, 0), (1, 1)]))
    whole = network.jet(theta, coordinates(POINTS, [Laplacian(2), (2,)]))
    assert (2,) in whole and (0, 0) not in whole
    expected = second[0, 0] + second[1, 1]
    assert close(whole[Laplacian(2)], expected)
    squares = [product(u, u) for u in (second, whole)]
    assert close(squares[1][Laplacian(2)], squares[0][0, 0] + squares[0][1, 1])
    nested = forward_jet(lambda z: network.jet(theta, {(): z})[()], POINTS, [Laplacian(2)])
    assert close(nested[Laplacian(2)], expected, 1e-11)


class Attention(nn.Module):
    """Coordinates as tokens."""

    def __init__(self):
        super().__init__()
        self.lift, self.norm, self.project = nn.Linear(1, 8), nn.LayerNorm(8), nn.Linear(24, 1)

    def forward(self, z):
        q = self.norm(self.lift(z.T[..., None]))[:, None]
        h = nn.functional.scaled_dot_product_attention(q, q, q)
        return self.project(h.flatten(1))[:, 0]


def test_a_module_with_attention_has_derivatives_and_they_have_gradients():
    torch.manual_seed(0)
    module = Attention().double()
    keys = [(), (0,), (0, 1), (0, 1, 2), Laplacian(3)]
    ours = forward_jet(module, POINTS, keys)
    for key in keys:
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivatives
            expected = reverse(module, POINTS, key)
            assert close(ours[key], expected, 1e-11)
    parameters = list(module.parameters())
    gradients = torch.autograd.grad((ours[0, 1] ** 2).sum(), parameters, materialize_grads=True)
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))

    def moved(h):
        changed = {n: p + h * d for (n, p), d in zip(module.named_parameters(), direction, strict=True)}
        u = forward_jet(lambda z: torch.func.functional_call(module, changed, (z,)), POINTS, [(0, 1)])
        return (u[0, 1] ** 2).sum().detach()

    assert float(slope) == pytest.approx(float(moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-6)


def test_a_function_without_forward_derivative_is_refused_by_name():
    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * a

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(InputError, match=r"autograd\.Function without jvp has no forward derivative"):
        forward_jet(lambda z: Custom.apply(z)[0], POINTS, [(0,)])
    with pytest.raises(InputError, match=r"operation \S*ctc_loss\S* has no forward"):
        forward_jet(
            lambda z: nn.functional.ctc_loss(
                z.T[:, None].log_softmax(2), torch.tensor([[1, 2]]), torch.tensor([11]), torch.tensor([2])
            ),
            POINTS,
            [(0,)],
        )


@pytest.mark.parametrize("network", [MLP((2, 3, 2), "silu"), KAN((2, 3, 2), 3, 5), ChebyshevKAN((2, 3, 2), 3)])
def test_jets_have_right_gradients_and_jacobians_in_the_parameters(network):
    z = POINTS[:2, :3]
    needed = [(0, 0, 1), Laplacian(2), (1,)]

    def rows(theta, tape=None):
        u = network.jet(theta, coordinates(z, needed), tape)
        return torch.stack([u[0, 0, 1][0] * u[()][1], u[Laplacian(2)][1] + u[1,][0] ** 2])

    theta = network.initial(0).requires_grad_()
    assert torch.autograd.gradcheck(rows, theta)
    tape = []
    ours = jacobian(rows(theta, tape), tape)
    expected = torch.autograd.functional.jacobian(rows, theta.detach())
    assert ours.shape == (2, 3, network.num_parameters)
    assert close(ours, expected)


def test_kan_layers_are_the_sums_over_their_edges():
    from scipy.interpolate import BSpline

    intervals, degree, i, o = 5, 3, 2, 3
    z, knots = POINTS[:2], -1 + 2 / intervals * np.arange(-degree, intervals + degree + 1)
    network = KAN((i, o), intervals, degree)
    theta = network.initial(0)
    assert len(theta) == i * o * (intervals + degree + 1)
    weights = theta.reshape(o, -1).numpy()
    base, splines = weights[:, :i], weights[:, i:].reshape(o, intervals + degree, i)
    x = z.numpy()
    expected = [
        sum(base[j, k] * x[k] / (1 + np.exp(-x[k])) + BSpline(knots, splines[j, :, k], degree)(x[k]) for k in range(i))
        for j in range(o)
    ]
    assert close(network.jet(theta, {(): z})[()], torch.tensor(np.array(expected)))

    polynomials = ChebyshevKAN((i, o), 4)
    theta = polynomials.initial(0)
    c = theta.reshape(o, 5, i).numpy()
    expected = [sum(np.polynomial.chebyshev.chebval(np.tanh(x[k]), c[j, :, k]) for k in range(i)) for j in range(o)]
    assert close(polynomials.jet(theta, {(): z})[()], torch.tensor(np.array(expected)))
    with pytest.raises(InputError, match="mlp"):
        network_of("transformer", (1, 1))
    with pytest.raises(InputError, match="tanh"):
        MLP((1, 1), "relu")


class Diffusion(Problem):
    """-div(k grad u) + div div-like terms by choice."""

    fields = {"u": Field("u")}
    kind = "isotropic"

    def geometry(self, p):
        from variform.meshes import UnitSquare

        return UnitSquare()

    def residual(self, s, v):
        u, v, x = s.u["u"], v["u"], s.x
        flux = {
            "isotropic": (1 + u**2) * ufl.exp(x[0]) * ufl.grad(u),
            "anisotropic": ufl.diag(ufl.as_vector([1.0, 2.0])) * ufl.grad(u),
            "mixed": ufl.as_matrix([[1.0, 0.5], [0.5, 1.0]]) * ufl.grad(u),
            "quasilinear": (1 + ufl.inner(ufl.grad(u), ufl.grad(u))) * ufl.grad(u),
            "first order": u * ufl.as_vector([1.0, 2.0]),
        }[self.kind]
        return (ufl.inner(flux, ufl.grad(v)) + u * v) * s.dx


@pytest.mark.parametrize("kind", ["isotropic", "anisotropic", "mixed", "quasilinear", "first order"])
def test_laplacians_are_found_where_they_stand_for_all_second_derivatives(kind):
    problem = type("Case", (Diffusion,), {"kind": kind})()
    form = PointwiseForm(problem, 2, *names_of(problem))
    strong = form.strong("u", 0)
    assert only_laplacians(form, [strong]) == (kind == "isotropic")
    if kind == "isotropic":
        network, z = MLP((2, 6, 1)), POINTS[:2]
        theta = network.initial(0)
        asked, _ = form.directions(strong)

        def jet(keys):
            u = network.jet(theta, coordinates(z, keys))
            return {("u", (), key): value[0] for key, value in u.items()}

        carried = with_laplacians(asked, 2)
        assert (0, 0) in asked and (0, 0) not in carried
        plain, by_laplacian = (form.evaluate(strong, u, At(z, {}))[()] for u in (jet(asked), spread(jet(carried), 2)))
        assert close(by_laplacian, plain)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("poisson", True), ("heat", True), ("darcy_manufactured", True), ("linear_elasticity", False)],
)
def test_laplacians_are_found_in_the_catalogue(name, expected):
    problem = load(name)()
    geometry = problem.geometry(problem.p)
    dim = geometry.mesh(2).dim
    form = PointwiseForm(problem, dim, *names_of(problem))
    strong = [form.strong(field, min(1, len(geometry.regions))) for field in problem.fields]
    assert only_laplacians(form, strong) == expected


def test_a_compiled_residual_with_its_gradient_is_the_plain_one():
    network, z = MLP((2, 8, 8, 1)), POINTS[:2]

    def loss_and_gradient(theta):
        theta = theta.detach().requires_grad_()
        u = network.jet(theta, coordinates(z, [Laplacian(2)]))
        loss = (u[Laplacian(2)] ** 2).mean()
        return loss.detach(), torch.autograd.grad(loss, theta)[0]

    theta = network.initial(0)
    fast = compiled(loss_and_gradient, theta)
    for seed in (0, 1):
        ours, expected = fast(network.initial(seed)), loss_and_gradient(network.initial(seed))
        assert fast is not loss_and_gradient
        assert all(close(a, b) for a, b in zip(ours, expected, strict=True))


def test_without_a_compiler_the_function_comes_back_with_a_warning(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert compiled(torch.sin, POINTS) is torch.sin
    assert "no C++ compiler (no-such-compiler)" in caplog.text
