"""Approximate distances: zero and of unit slope on the named parts, positive and smooth elsewhere."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import jvp, vmap

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Box, Geometry, Interval, Layers, MeshGeometry, Rectangle, UnitCube, UnitSquare, read, refine

# torch 2.15 warns of its own code on the first forward derivative
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")

EXACT = 1e-12


def notched(dim: int, n: int) -> Mesh:
    """The box (-1, 1)^dim without the quadrant x, y > 0; its re-entrant sides are called "notch"."""
    whole = Box((-1.0,) * dim, (1.0,) * dim).mesh(n)
    kept = whole.cells[~np.all(whole.points[whole.cells].mean(axis=1)[:, :2] > 0, axis=1)]
    used, cells = np.unique(kept, return_inverse=True)
    mesh = Mesh(whole.points[used], cells.reshape(kept.shape), {"domain": np.arange(len(kept))})
    x = mesh.points[mesh.vertices_of(mesh.exterior_facets)]
    side = np.any(np.all(np.abs(x) == 1, axis=1), axis=1)
    left = np.all(x[:, :, 0] == -1, axis=1)
    return replace(mesh, boundaries={"notch": mesh.exterior_facets[~side], "left": mesh.exterior_facets[left]})


def disk(n: int) -> Mesh:
    """The unit disk: concentric squares of a grid moved onto circles."""
    square = Box((-1.0, -1.0), (1.0, 1.0)).mesh(n)
    largest = np.abs(square.points).max(axis=1, keepdims=True)
    length = np.linalg.norm(square.points, axis=1, keepdims=True)
    return Mesh(square.points * largest / np.where(length == 0, 1, length), square.cells)


@cache
def cases() -> dict[str, tuple[Geometry, tuple[str, ...]]]:
    parts = {1: ("left",), 2: ("left", "top"), 3: ("back", "top")}
    boxes = {1: Interval(-1.0, 2.0), 2: Rectangle((0.0, 1.0), (3.0, 2.0)), 3: UnitCube()}
    made = {}
    for dim, box in boxes.items():
        meshed = MeshGeometry(box.mesh(2))
        for names in (parts[dim], ("boundary",)):
            made[f"box {dim} {names}"] = (box, names)
            made[f"meshed box {dim} {names}"] = (meshed, names)
    for dim in (2, 3):
        made[f"notched {dim} all"] = (MeshGeometry(notched(dim, 4)), ("boundary",))
        made[f"notched {dim} part"] = (MeshGeometry(notched(dim, 4)), ("notch",))
    made["disk"] = (MeshGeometry(disk(8)), ("boundary",))
    half = Box((0.0, 0.0), (1.0, 1.0)).mesh(4)  # only half a side is named: its plane must not count
    centre = half.points[half.vertices_of(half.boundaries["bottom"])].mean(axis=1)
    half = replace(half, boundaries={"inlet": half.boundaries["bottom"][centre[:, 0] < 0.5]})
    made["half a side"] = (MeshGeometry(half), ("inlet",))
    return made


NAMES = list(cases())


def derivatives(geometry, names, x, direction):
    """Value, first and second derivative along the direction, by nested forward differentiation."""

    def first(y):
        return jvp(lambda z: geometry.distance(z, names), (y,), (direction,))

    (value, slope), (_, curvature) = jvp(first, (x,), (direction,))
    return value, slope, curvature


def on_facets(geometry, names):
    """Points (dim, P) inside facets that are named and that are not, and the inward normals of the named."""
    mesh = geometry.mesh(3)
    ours = mesh.exterior_facets
    if "boundary" not in names:
        ours = np.concatenate([mesh.boundaries[name] for name in names])
    named = {tuple(facet) for facet in ours}
    others = np.array([f for f in mesh.exterior_facets if tuple(f) not in named], dtype=int).reshape(-1, 2)
    weights = np.array({1: [1.0], 2: [0.3, 0.7], 3: [0.2, 0.5, 0.3]}[mesh.dim])
    x, y = (np.einsum("v,kvd->dk", weights, mesh.points[mesh.vertices_of(f)]) for f in (ours, others))
    vertices = mesh.points[mesh.vertices_of(ours)]
    edges = vertices[:, 1:] - vertices[:, :1]
    normals = np.linalg.svd(
        np.concatenate([edges, 0 * edges[:, :1]], axis=1) if mesh.dim > 1 else np.ones((len(ours), 1, 1))
    )
    normals = normals.Vh[:, -1].T
    inside = mesh.points[mesh.cells[ours[:, 0]]].mean(axis=1).T
    return torch.tensor(x), torch.tensor(y), torch.tensor(normals * np.sign(np.sum(normals * (inside - x), axis=0)))


@pytest.mark.parametrize("case", NAMES)
def test_on_the_named_parts_it_is_zero_with_unit_inward_slope(case):
    geometry, names = cases()[case]
    x, _, normals = on_facets(geometry, names)
    value, slope, curvature = derivatives(geometry, names, x, normals)
    assert value.abs().max() < EXACT
    assert slope.numpy() == pytest.approx(1, abs=1e-9)
    assert curvature.isfinite().all()
    assert geometry.distance(x.float(), names).abs().max() < 1e-6


@pytest.mark.parametrize("case", NAMES)
def test_elsewhere_it_is_positive_and_has_two_finite_derivatives_in_each_direction(case):
    geometry, names = cases()[case]
    mesh = geometry.mesh(3)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(mesh.dim + 1), size=len(mesh.cells))
    inside = torch.tensor(np.einsum("cv,cvd->dc", weights, mesh.points[mesh.cells]))
    _, others, _ = on_facets(geometry, names)
    for x, direction in ((p, d) for p in (inside, others) for d in torch.eye(mesh.dim, dtype=p.dtype)):
        if x.shape[1]:
            value, slope, curvature = derivatives(geometry, names, x, direction[:, None].expand_as(x).clone())
            assert value.min() > 0
            assert slope.isfinite().all() and curvature.isfinite().all()
            assert slope.abs().max() < 4


@pytest.mark.parametrize("case", NAMES)
def test_at_the_vertices_of_the_mesh_everything_is_finite(case):
    geometry, names = cases()[case]
    x = torch.tensor(geometry.mesh(3).points.T.copy())
    value, slope, curvature = derivatives(geometry, names, x, torch.ones_like(x))
    assert value.min() > -EXACT and all(v.isfinite().all() for v in (value, slope, curvature))


@pytest.mark.parametrize("names", [("left",), ("right", "top"), ("boundary",)])
@pytest.mark.parametrize("dim", [2, 3])
def test_a_meshed_box_has_the_distance_of_the_box(dim, names):
    box = Box((0.0,) * dim, (2.0, 1.0, 0.5)[:dim])
    x = torch.rand(dim, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.5
    assert torch.allclose(MeshGeometry(box.mesh(3)).distance(x, names), box.distance(x, names), rtol=1e-12)


def test_a_mesh_file_of_the_unit_cube_has_the_distance_of_the_cube():
    path = Path(__file__).parents[2] / "../shared/data/meshes/box.msh"
    if not path.exists():
        pytest.skip("the folder shared/data is not beside this checkout")
    geometry = MeshGeometry(read(path))
    x = torch.rand(3, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for ours, cubes in {("front", "top"): ("top", "back"), ("boundary",): ("boundary",)}.items():
        assert torch.allclose(geometry.distance(x, ours), UnitCube().distance(x, cubes), rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 3])
def test_on_flat_parts_it_does_not_depend_on_the_mesh(dim):
    x = torch.rand(dim, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 1
    coarse, fine = notched(dim, 2), refine(notched(dim, 2))
    for names in (("notch",), ("boundary",)):
        a, b = (MeshGeometry(mesh).distance(x, names) for mesh in (coarse, fine))
        assert torch.allclose(a, b, rtol=1e-10)


def test_of_a_disk_it_converges_as_the_mesh_is_refined():
    """1/phi = (1/pi) * integral of |x - y|^-2 over the circle + 1/sqrt(2 + r^2), and the first is 2/(1 - r^2)."""
    x = torch.stack([torch.linspace(0, 0.8, 9, dtype=torch.float64), torch.zeros(9, dtype=torch.float64)])
    exact = 1 / (2 / (1 - x[0] ** 2) + 1 / (2 + x[0] ** 2).sqrt())
    errors = [(MeshGeometry(disk(n)).distance(x, ("boundary",)) - exact).abs().max() for n in (8, 16, 32)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] and errors[2] < 2e-3, errors


def test_on_the_interval_it_is_the_parabola():
    x = torch.linspace(0, 1, 7, dtype=torch.float64)[None]
    assert torch.allclose(Interval().distance(x, ("boundary",)), x[0] * (1 - x[0]), atol=1e-15)


@pytest.mark.parametrize("geometry", [UnitSquare(), MeshGeometry(UnitSquare().mesh(1))], ids=repr)
def test_without_names_it_is_one_and_an_unknown_name_is_refused(geometry):
    x = torch.rand(2, 3, 4)
    assert torch.equal(geometry.distance(x, ()), torch.ones(3, 4))
    with pytest.raises(InputError, match=r"unknown boundary 'lft'. Did you mean 'left'\?"):
        geometry.distance(x, ("lft",))


@pytest.mark.parametrize("geometry", [UnitSquare(), MeshGeometry(notched(2, 2))], ids=repr)
def test_points_may_come_one_by_one_through_vmap(geometry):
    x = -torch.rand(2, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    one_by_one = vmap(lambda y: geometry.distance(y, ("left",)), in_dims=1)(x)
    assert torch.allclose(one_by_one, geometry.distance(x, ("left",)))


def test_level_sets_are_the_signed_distances_to_the_interfaces():
    box = UnitSquare(Layers(1, (0.25, 0.5), ("a", "b", "c")))
    x = torch.tensor([[0.0, 0.0], [0.25, 1.0]])
    assert [values.tolist() for values in box.level_sets(x)] == [[0.0, 0.75], [-0.25, 0.5]]
    assert UnitSquare().level_sets(x) == []
