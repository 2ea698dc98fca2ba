"""Elements of the torch weak form: conforming on any numbering, equal to DOLFINx's, differentiable by torch.func."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import ufl
from ufl import avg, cross, curl, div, dot, grad, inner, jump

from variform.errors import InputError
from variform.forms import WeakForm
from variform.mesh import SIMPLICES, Mesh
from variform.meshes import Disk, UnitCube, UnitSquare
from variform.problem import Field, Problem
from variform.quadrature import reference_map
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.mesh import distribute
from variform.task import Parameter

from dolfinx import fem  # isort: skip - after variform.solvers.fem, which loads MPI

BOXES = {
    "triangle": UnitSquare().mesh(3),
    "quadrilateral": UnitSquare().mesh(3, cell_type="quadrilateral"),
    "tetrahedron": UnitCube().mesh(2),
    "hexahedron": UnitCube().mesh(2, cell_type="hexahedron"),
}


class Custom(Problem):
    """A form in one field u, made of its symbols, u and v."""

    parameters = {"k": Parameter("coefficient", default=1.3, field=True)}

    def __init__(self, form, element, degree, shape=(), energy=None):
        self.fields = {"u": Field("unknown", shape=shape, degree=degree, element=element)}
        super().__init__()
        self.form, self.functional = form, energy

    def residual(self, s, v):
        return self.form(s, s.u["u"], v["u"])

    def energy(self, s):
        return None if self.functional is None else self.functional(s, s.u["u"])


def renumbered(mesh, rng):
    """The same straight cells, moved a little inside, with other numbers of vertices and any order in each cell."""
    number = rng.permutation(len(mesh.points))
    points = np.empty_like(mesh.points)
    inside = np.setdiff1d(np.arange(len(mesh.points)), mesh.vertices_of(mesh.exterior_facets))
    moved = mesh.points.copy()
    moved[inside] += rng.uniform(-0.06, 0.06, (len(inside), mesh.dim))
    points[number] = moved
    cells = np.array([cell[_symmetry(mesh, rng)] for cell in number[mesh.cells]])
    return Mesh(points, cells)


def _symmetry(mesh, rng):
    """A random order of a cell's vertices that keeps it a cell of its type."""
    if mesh.cell_type == SIMPLICES[mesh.dim]:
        return rng.permutation(mesh.dim + 1)
    cube = np.arange(2**mesh.dim).reshape((2,) * mesh.dim).transpose(rng.permutation(mesh.dim))
    return np.flip(cube, np.flatnonzero(rng.integers(0, 2, mesh.dim))).ravel()


def random_dofs(weak, rng, *batch):
    return torch.tensor(rng.standard_normal((*batch, *weak.shapes["u"])), dtype=torch.float64)


def continuous_part(element, u, n):
    """The jump of what functions of a family have in common on both sides of a facet."""
    difference = u("+") - u("-")
    if element == "Lagrange":
        return difference
    if element == "N1curl":
        n = n("+")
        return cross(n, difference) if len(n) == 3 else n[0] * difference[1] - n[1] * difference[0]
    return jump(u, n)


CONFORMING = [("Lagrange", k) for k in (2, 3, 4)] + [(f, k) for f in ("RT", "BDM", "N1curl") for k in (1, 2, 3)]


@pytest.mark.parametrize("cell_type", BOXES)
@pytest.mark.parametrize(("element", "degree"), CONFORMING)
def test_random_functions_are_as_continuous_as_their_family_on_any_numbering(cell_type, element, degree):
    rng = np.random.default_rng(degree)
    mesh = renumbered(BOXES[cell_type], rng)
    shape = () if element == "Lagrange" else (mesh.dim,)
    functionals = {
        "jump": lambda s, u: inner(*[continuous_part(element, u, s.n)] * 2) * s.dS,
        "other": lambda s, u: inner(u("+") - u("-"), u("+") - u("-")) * s.dS,
        "size": lambda s, u: inner(avg(u), avg(u)) * s.dS,
    }
    sizes, u = {}, None
    for name, functional in functionals.items():
        problem = Custom(lambda s, u, v: inner(u, v) * s.dx, element, degree, shape, functional)
        weak = WeakForm(problem, mesh)
        u = random_dofs(weak, rng) if u is None else u
        sizes[name] = float(weak.energy({"u": u}).sqrt())
    assert sizes["jump"] < 1e-12 * sizes["size"]
    if element != "Lagrange":
        assert sizes["other"] > 0.1 * sizes["size"]


class Reference:
    """The same problem in DOLFINx; functions are handed over by their values in each cell, and its `interpolate`."""

    def __init__(self, weak):
        self.space, self.mesh = weak.spaces["u"], weak.mesh
        discrete = discretize(weak.problem, distribute(weak.mesh), None)
        self.u, self.F = discrete.u["u"], discrete.residual()
        self.original = self.u.function_space.mesh.topology.original_cell_index
        self.v, self.w = (fem.Function(self.u.function_space) for _ in range(2))

    def put(self, function, dofs):
        X = function.function_space.element.interpolation_points
        x, J = reference_map(self.mesh, X, self.original)
        values = self._values(dofs.numpy(), X, J)

        def at(points):
            assert abs(points[: self.mesh.dim].T - x.reshape(-1, self.mesh.dim)).max() < 1e-12
            return values.reshape(-1, values.shape[-1]).T

        function.interpolate(at)

    def _values(self, dofs, X, J):
        """(cells, points, components), by Piola's maps."""
        table = self.space.tabulate(X, 0)[()]
        local = dofs[self.space.dofmap[self.original]]
        if self.space.orientation is not None:
            matrices, of_cell = self.space.orientation
            local = np.einsum("kij,ki->kj", matrices[of_cell[self.original]], local)
        reference = np.einsum("qic,ki->kqc", table, local)
        J = np.broadcast_to(J, (*reference.shape[:2], *J.shape[-2:]))
        if self.space.piola == "contravariant":
            return np.einsum("kqjc,kqc->kqj", J, reference) / np.linalg.det(J)[..., None]
        return np.einsum("kqcj,kqc->kqj", np.linalg.inv(J), reference) if self.space.piola else reference

    def residual(self, u, v):
        """F(u; v)."""
        self.put(self.u, u)
        return self._scalar(self.F, v)

    def derivative(self, u, w, v):
        """F'(u; w, v)."""
        self.put(self.u, u)
        self.put(self.w, w)
        return self._scalar(ufl.derivative(self.F, self.u, self.w), v)

    def _scalar(self, form, v):
        self.put(self.v, v)
        return fem.assemble_scalar(fem.form(ufl.replace(form, {form.arguments()[0]: self.v}), jit_options=JIT))


def maxwell(s, u, v):
    tangential = inner(cross(s.n, u), cross(s.n, v)) * s.ds
    return (
        inner(s.p.k * curl(u), curl(v)) * s.dx
        + (1 + inner(u, u)) * inner(u, v) * s.dx
        + s.x[0] * v[1] * s.dx
        + tangential
    )


def maxwell_in_the_plane(s, u, v):
    rot = lambda w: w[1].dx(0) - w[0].dx(1)  # noqa: E731
    return (rot(u) * rot(v) * s.p.k + (1 + s.x[1]) * inner(u, v)) * s.dx + u[0] ** 2 * dot(v, s.n) * s.ds


def darcy(s, u, v):
    return ((1 + inner(u, u)) * inner(u, v) + s.p.k * div(u) * div(v)) * s.dx + dot(u, s.n) ** 2 * dot(v, s.n) * s.ds


def mass(s, u, v):
    return s.p.k * (1 + inner(u, u)) * inner(u, v) * s.dx + s.x[0] * dot(u, s.n) * dot(v, s.n) * s.ds


def diffusion(s, u, v):
    inside = (s.p.k + u**2) * inner(grad(u), grad(v)) * s.dx + s.x[0] * v * s.dx
    return inside + s.h * (dot(grad(u), s.n) - u**3) * v * s.ds


def interior_penalty(s, u, v):
    n, penalty = s.n, 8 / avg(s.h)
    flux = inner(avg(s.p.k * grad(u)), jump(v, n)) + inner(avg(s.p.k * grad(v)), jump(u, n))
    facets = penalty * inner(jump(u, n), jump(v, n)) - flux
    others = dot(avg(u**2 * grad(u)), n("+")) * jump(v) + u("+") * u("-") * avg(v) * s.x[0]("+")
    return (s.p.k + u**2) * inner(grad(u), grad(v)) * s.dx + (facets + others) * s.dS + u / s.h * v * s.ds


def sizes(s, u, v):
    domain = ufl.domain.extract_unique_domain(s.x)
    volume, area = ufl.CellVolume(domain), ufl.FacetArea(domain)
    between = (volume("+") * u("-") * v("+") + volume("-") * u("+") * v("-")) / area("+") + avg(s.h) * jump(u) * jump(v)
    return (volume + s.h) * u * v * s.dx + area * u**2 * v * s.ds + between * s.dS


EQUAL = [
    ("maxwell-tetrahedra", maxwell, "N1curl", 1, (3,), "tetrahedron"),
    ("maxwell-tetrahedra-2", maxwell, "N1curl", 2, (3,), "tetrahedron"),
    ("maxwell-triangles", maxwell_in_the_plane, "N1curl", 2, (2,), "triangle"),
    ("darcy-tetrahedra", darcy, "BDM", 1, (3,), "tetrahedron"),
    ("darcy-tetrahedra-2", darcy, "BDM", 2, (3,), "tetrahedron"),
    ("darcy-triangles", darcy, "RT", 3, (2,), "triangle"),
    ("mass-quadrilaterals", mass, "RT", 2, (2,), "quadrilateral"),
    ("mass-hexahedra", mass, "N1curl", 2, (3,), "hexahedron"),
    ("curved", diffusion, "Lagrange", 3, (), "curved"),
    ("penalty-tetrahedra", interior_penalty, "DG", 2, (), "tetrahedron"),
    ("penalty-hexahedra", interior_penalty, "DG", 2, (), "hexahedron"),
    ("penalty-curved", interior_penalty, "DG", 2, (), "curved"),
    ("sizes-tetrahedra", sizes, "Lagrange", 1, (), "tetrahedron"),
    ("sizes-triangles", sizes, "Lagrange", 2, (), "triangle"),
]


@pytest.mark.parametrize("case", EQUAL, ids=[case[0] for case in EQUAL])
def test_residual_and_jacobian_equal_those_of_dolfinx_on_any_numbering(case):
    _, form, element, degree, shape, cells = case
    rng = np.random.default_rng(0)
    mesh = Disk().mesh(2, 2) if cells == "curved" else renumbered(BOXES[cells], rng)
    weak = WeakForm(Custom(form, element, degree, shape), mesh)
    reference = Reference(weak)
    u, w, v = (random_dofs(weak, rng) for _ in range(3))
    r = weak.residual({"u": u})["u"]
    assert float(r @ v) == pytest.approx(reference.residual(u, v), abs=1e-12 * float(r.abs() @ v.abs()))
    J = matrix(weak, u)
    scale = abs(v.numpy()) @ abs(J) @ abs(w.numpy())
    assert v.numpy() @ J @ w.numpy() == pytest.approx(reference.derivative(u, w, v), abs=1e-12 * scale)


def matrix(weak, u):
    J = weak.linearised
    return sp.csr_array((J({"u": u}).numpy(), J.pattern.indices, J.pattern.indptr), shape=J.pattern.shape)


TRANSFORMED = {
    "maxwell": (Custom(maxwell, "N1curl", 1, (3,)), UnitCube().mesh(1)),
    "darcy": (Custom(darcy, "BDM", 1, (2,)), UnitSquare().mesh(1)),
    "curved": (Custom(diffusion, "Lagrange", 2), Disk().mesh(1, 2)),
    "penalty": (Custom(interior_penalty, "DG", 1), UnitSquare().mesh(2, cell_type="quadrilateral")),
}


@pytest.fixture(params=TRANSFORMED)
def weak(request):
    problem, mesh = TRANSFORMED[request.param]
    return WeakForm(problem, mesh)


def test_torch_func_agrees_with_batches_and_with_the_jacobian(weak):
    rng = np.random.default_rng(0)
    u, w = random_dofs(weak, rng, 3), random_dofs(weak, rng, 3)

    def residual(u):
        return weak.residual({"u": u})["u"]

    expected = residual(u)
    assert (torch.func.vmap(residual)(u) - expected).abs().max() < 1e-13 * expected.abs().max()
    value, action = torch.func.jvp(residual, (u,), (w,))
    assert torch.equal(value, expected)
    for i in range(3):
        ours = torch.as_tensor(matrix(weak, u[i]) @ w[i].numpy())
        assert (action[i] - ours).abs().max() < 1e-12 * ours.abs().max()


def test_single_precision_is_kept(weak):
    single = WeakForm(weak.problem, weak.mesh, dtype=torch.float32)
    u = random_dofs(weak, np.random.default_rng(0))
    ours, expected = single.residual({"u": u.float()})["u"], weak.residual({"u": u})["u"]
    assert ours.dtype == single.linearised({"u": u.float()}).dtype == torch.float32
    assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()


def test_first_and_second_derivatives_in_dofs_parameters_and_points_are_finite_differences(weak):
    rng = np.random.default_rng(0)
    num_dofs = weak.parameter_spaces["k"].num_dofs
    u, k = random_dofs(weak, rng), torch.tensor(rng.uniform(1, 2, num_dofs))
    # Where two diameters of a cell are equal, as in a square, the largest has no derivative.
    points = torch.tensor(weak.mesh.points + rng.uniform(-0.02, 0.02, weak.mesh.points.shape))
    inputs = [value.requires_grad_() for value in (u, k, points)]
    v = random_dofs(weak, rng)

    def functional(u, k, points):
        return weak.residual({"u": u}, p={"k": k}, points=points)["u"] @ v

    assert torch.autograd.gradcheck(functional, inputs, rtol=1e-5, atol=1e-7)
    assert torch.autograd.gradgradcheck(functional, inputs, rtol=1e-5, atol=1e-6, fast_mode=True)


REFUSED = {
    "a circumradius": (
        lambda s, u, v: ufl.Circumradius(ufl.domain.extract_unique_domain(s.x)) * u * v * s.dx,
        ("Lagrange", 1, "triangle"),
        "does not know .*Circumradius",
    ),
    "a Bessel function": (
        lambda s, u, v: ufl.bessel_J(1, u) * v * s.dx,
        ("Lagrange", 1, "triangle"),
        "does not know the UFL node BesselJ",
    ),
    "third derivatives": (
        lambda s, u, v: u.dx(0).dx(1).dx(0) * v * s.dx,
        ("Lagrange", 3, "triangle"),
        "derivatives above the second in the weak form: integrate by parts",
    ),
    "second derivatives of RT": (
        lambda s, u, v: u[0].dx(0).dx(1) * v[0] * s.dx,
        ("RT", 2, "triangle"),
        "no derivatives of RT elements above the first",
    ),
    "a divergence of RT on quadrilaterals": (
        lambda s, u, v: div(u) * div(v) * s.dx,
        ("RT", 1, "quadrilateral"),
        "no derivatives of RT elements on curved cells, quadrilaterals or hexahedra",
    ),
    "the volume of a hexahedron": (
        lambda s, u, v: ufl.CellVolume(ufl.domain.extract_unique_domain(s.x)) * u * v * s.dx,
        ("Lagrange", 1, "hexahedron"),
        "CellVolume is for straight simplices, not for cells of type hexahedron",
    ),
    "a normal inside": (
        lambda s, u, v: s.n[0] * u * v * s.dx,
        ("Lagrange", 1, "triangle"),
        r"normal s\.n has a meaning on facets only",
    ),
    "degree 0 of N1curl": (
        lambda s, u, v: inner(u, v) * s.dx,
        ("N1curl", 0, "triangle"),
        "degree must be at least 1|no element N1curl of degree 0",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_supported_is_refused_by_name(what):
    form, (element, degree, cell_type), message = REFUSED[what]
    mesh = BOXES[cell_type]
    problem = Custom(form, element, degree, () if element == "Lagrange" else (mesh.dim,))

    def residual_and_matrices():
        weak = WeakForm(problem, mesh)
        u = random_dofs(weak, np.random.default_rng(0))
        weak.residual({"u": u})
        weak.linearised({"u": u})

    with pytest.raises(InputError, match=message):
        residual_and_matrices()
