"""Forms written to JSON and read back say the same; what is no form is refused, whatever it is."""

import copy
import json
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from variform.errors import InputError
from variform.forms.tree import from_json, signature, to_json
from variform.forms.weak import WeakForm
from variform.problems import CATALOGUE, load
from variform.solvers import fem

SIZES = {1: 6, 2: 4, 3: 2}
SECOND_ORDER = {"wave", "elastodynamics", "elastic_bar"}


def tree_of(problem, mesh):
    return json.loads(json.dumps(to_json(problem, mesh.dim, tuple(mesh.regions), tuple(mesh.boundaries))))


@pytest.mark.parametrize("name", sorted(set(CATALOGUE) - SECOND_ORDER))
def test_the_rebuilt_problem_has_the_same_residual(name):
    problem = load(name)()
    geometry = problem.geometry(problem.p)
    mesh = geometry.mesh(SIZES[geometry.dim])
    dtype = torch.complex128 if problem.is_complex else torch.float64
    ours = WeakForm(problem, mesh, dtype=dtype)
    again = WeakForm(from_json(tree_of(problem, mesh)), mesh, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    u = {k: 0.01 * torch.randn(2, *s, dtype=dtype, generator=generator) for k, s in ours.shapes.items()}
    rate = {k: torch.randn(2, *s, dtype=dtype, generator=generator) for k, s in ours.shapes.items()}
    p = {k: ours.parameter_dofs(k, v) for k, v in problem.values.items() if callable(v)}
    a = ours.residual(u, rate=rate if problem.time else None, t=0.3, p=p)
    b = again.residual(u, rate=rate if problem.time else None, t=0.3, p=p)
    for field in a:
        assert torch.isfinite(a[field]).all()
        assert torch.allclose(a[field], b[field], rtol=0, atol=1e-13 * float(a[field].abs().max()))


@pytest.mark.parametrize("name", ["darcy", "stokes_manufactured", "poisson_robin"])
def test_finite_elements_solve_a_rebuilt_problem(name):
    problem = load(name)()
    mesh = problem.geometry(problem.p).mesh(8)
    a = fem.solve(problem, mesh=mesh)
    b = fem.solve(from_json(tree_of(problem, mesh)), mesh=mesh)
    for field in problem.fields:
        assert abs(a.nodal(field) - b.nodal(field)).max() < 1e-7 * abs(a.nodal(field)).max()  # of the solvers


def test_the_signature_is_the_same_in_another_process():
    problem = load("hyperelastic_beam")()
    mesh = problem.geometry(problem.p).mesh(2)
    code = (
        "from variform.problems import load; from variform.forms.tree import *; p = load('hyperelastic_beam')();"
        "[load('stokes')() for _ in range(3)]; m = p.geometry(p.p).mesh(2);"
        "print(signature(to_json(p, m.dim, tuple(m.regions), tuple(m.boundaries))))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert signature(tree_of(problem, mesh)) == other


def darcy_tree():
    problem = load("darcy")()
    return tree_of(problem, problem.geometry(problem.p).mesh(2))


def test_nodes_that_are_not_known_are_refused_by_name():
    tree = darcy_tree()
    tree["nodes"].append(["__import__", "os"])
    with pytest.raises(InputError, match="node of type '__import__', which is not allowed; known are Abs, Sqrt"):
        from_json(tree)


FAULTS = [
    (lambda t: t["nodes"].__setitem__(0, ["Sum", 0, 0]), r"node 0 \(Sum\) has operands"),
    (lambda t: t["nodes"].__setitem__(3, ["Sum", 900, 1]), r"node 3 \(Sum\) has operands"),
    (lambda t: t["nodes"].__setitem__(3, ["Number", float("nan")]), r"node 3 \(Number\)"),
    (lambda t: t["nodes"].__setitem__(3, ["Zero", [10**9], []]), r"node 3 \(Zero\)"),
    (lambda t: t.update(version=99), "its version is not 1"),
    (lambda t: t["integrals"][0].update(measure="exec"), "unknown measure 'exec'"),
    (lambda t: t["integrals"][0].update(integrand=10**6), "an integrand is no node"),
    (lambda t: t["conditions"][0].update(kind="Magic"), "unknown condition 'Magic'"),
    (lambda t: t.pop("fields"), "KeyError"),
    (lambda t: t["nodes"].extend([["Abs", len(t["nodes"]) + i - 1] for i in range(500)]), "deeper than 400"),
]


@pytest.mark.parametrize(("harm", "message"), FAULTS)
def test_damaged_trees_are_refused_with_the_place(harm, message):
    tree = darcy_tree()
    harm(tree)
    with pytest.raises(InputError, match=message):
        from_json(tree)


TREE = darcy_tree()
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 60)
    | st.floats()
    | st.sampled_from(["Sum", "u", "h", "p", "x", "Grad"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_junk_makes_anything_but_an_input_error(data):
    tree = copy.deepcopy(TREE)
    places = [(tree, key) for key in tree] + [(tree["nodes"], i) for i in range(len(tree["nodes"]))]
    places += [(node, i) for node in tree["nodes"] for i in range(len(node))]
    places += [(tree["integrals"][0], key) for key in tree["integrals"][0]]
    places += [(tree["conditions"][0], key) for key in tree["conditions"][0]]
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = data.draw(JUNK)
    try:
        from_json(tree)
    except InputError as error:
        assert str(error)
