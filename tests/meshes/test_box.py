"""Meshes of boxes fill them, conform, and name every side."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Box, Interval, Layers, MeshGeometry, UnitCube, UnitSquare, refine
from variform.meshes.blocks import smallest_angle

BOXES = [Interval(-1.0, 0.5), Box((0.0, -1.0), (2.0, 0.5)), Box((0.0, -1.0, 2.0), (0.5, 1.0, 2.25))]


def volumes(mesh: Mesh) -> np.ndarray:
    """Signed volumes of the cells, shape (num_cells,)."""
    edges = mesh.points[mesh.cells[:, 1:]] - mesh.points[mesh.cells[:, :1]]
    return np.linalg.det(edges) / math.factorial(mesh.dim)


def areas(mesh: Mesh, facets: np.ndarray) -> np.ndarray:
    """Areas of facets by Gram's determinant, shape (k,); a point counts 1."""
    vertices = mesh.points[mesh.vertices_of(facets)]
    edges = vertices[:, 1:] - vertices[:, :1]
    return np.sqrt(np.linalg.det(edges @ edges.transpose(0, 2, 1))) / math.factorial(mesh.dim - 1)


def facet_counts(mesh: Mesh) -> np.ndarray:
    facets = np.sort(mesh.cells[:, mesh.facet_vertices].reshape(-1, mesh.dim), axis=1)
    return np.unique(facets, axis=0, return_counts=True)[1]


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("box", BOXES, ids=repr)
def test_the_cells_fill_the_box_conform_and_are_positively_oriented(box, n):
    mesh, sides = box.mesh(n), box.upper - box.lower
    assert len(mesh.cells) == math.factorial(box.dim) * n**box.dim
    assert np.allclose(volumes(mesh), np.prod(sides) / len(mesh.cells), rtol=1e-12)
    counts = facet_counts(mesh)
    assert counts.max() <= 2
    assert np.sum(counts == 1) == len(mesh.exterior_facets)
    surface = 2 * sum(np.prod(np.delete(sides, axis)) for axis in range(box.dim))
    assert areas(mesh, mesh.exterior_facets).sum() == pytest.approx(surface, rel=1e-12)


@pytest.mark.parametrize("box", BOXES, ids=repr)
def test_each_side_lies_where_its_name_says_and_together_they_are_the_boundary(box):
    mesh = box.mesh(3)
    sides = {1: ["left right"], 2: ["left right", "bottom top"], 3: ["left right", "front back", "bottom top"]}[box.dim]
    for (axis, pair), upper in product(enumerate(sides), (0, 1)):
        at = mesh.points[mesh.vertices_of(mesh.boundaries[pair.split()[upper]])][..., axis]
        assert np.all(at == (box.upper if upper else box.lower)[axis])
    together = np.concatenate(list(mesh.boundaries.values()))
    assert np.array_equal(together[np.lexsort(together.T[::-1])], mesh.exterior_facets)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dim=st.integers(1, 3), n=st.integers(1, 9))
def test_no_cell_is_cut_by_an_interface_and_regions_fill_their_layers(data, dim, n):
    axis = data.draw(st.integers(0, dim - 1))
    at = sorted(data.draw(st.sets(st.floats(0.01, 0.99).map(lambda a: round(a, 3)), min_size=1, max_size=4)))
    names = tuple(f"layer {i}" for i in range(len(at) + 1))
    box = Box((0.0,) * dim, (1.0,) * dim, Layers(axis, tuple(at), names))
    mesh, levels = box.mesh(n), [0.0, *at, 1.0]
    assert len(np.unique(mesh.points[:, axis])) == max(n, len(names)) + 1
    for name, low, high in zip(names, levels, levels[1:], strict=False):
        z = mesh.points[mesh.cells[mesh.regions[name]]][..., axis]
        assert z.min() == low and z.max() == high
    assert np.array_equal(np.sort(np.concatenate(list(mesh.regions.values()))), np.arange(len(mesh.cells)))


def test_layers_share_the_cells_in_proportion():
    mesh = Interval(layers=Layers(0, (0.3,), ("thin", "thick"))).mesh(10)
    assert [len(cells) for cells in mesh.regions.values()] == [3, 7]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Box((0, 0), (1,)), "corners of 1 to 3 coordinates"),
        (lambda: Box((0,) * 4, (1,) * 4), "corners of 1 to 3 coordinates"),
        (lambda: Interval(1.0, 1.0), "lower < upper"),
        (lambda: Interval(0.0, math.inf), "finite corners"),
        (lambda: UnitSquare(Layers(2, (0.5,), ("a", "b"))), "axis across the layers must be 0 to 1, got 2"),
        (lambda: UnitSquare(Layers(1, (0.5, 0.5), ("a", "b", "c"))), "increase strictly inside the box"),
        (lambda: UnitSquare(Layers(1, (0.5,), ("a", "a"))), "need 2 different names"),
        (lambda: UnitSquare().mesh(0), "1 or more, got 0"),
    ],
)
def test_what_is_not_a_box_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_refinement_keeps_volumes_regions_and_named_boundaries(dim):
    coarse = Box((0.0,) * dim, (1.0,) * dim, Layers(dim - 1, (0.4,), ("low", "high"))).mesh(3)
    fine = refine(coarse)
    assert len(fine.cells) == 2**dim * len(coarse.cells)
    assert volumes(fine) == pytest.approx(np.repeat(volumes(coarse), 2**dim) / 2**dim)
    assert facet_counts(fine).max() <= 2
    for name, cells in coarse.regions.items():
        assert volumes(fine)[fine.regions[name]].sum() == pytest.approx(volumes(coarse)[cells].sum())
    exterior = {tuple(facet) for facet in fine.exterior_facets}
    for name, facets in coarse.boundaries.items():
        assert {tuple(facet) for facet in fine.boundaries[name]} <= exterior
        assert areas(fine, fine.boundaries[name]).sum() == pytest.approx(areas(coarse, facets).sum())
        lower, upper = (f(coarse.points[coarse.vertices_of(facets)], axis=(0, 1)) for f in (np.min, np.max))
        assert np.array_equal(fine.points[fine.vertices_of(fine.boundaries[name])].min(axis=(0, 1)), lower)
        assert np.array_equal(fine.points[fine.vertices_of(fine.boundaries[name])].max(axis=(0, 1)), upper)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_repeated_refinement_makes_at_most_three_shapes_of_tetrahedra(seed):
    points = np.random.default_rng(seed).normal(size=(4, 3))
    mesh = Mesh(points, np.array([[0, 1, 2, 3]]))
    for _ in range(3):
        mesh = refine(mesh)
    # Shapes up to reflection: each tetrahedron's edges as vectors, up to sign, decide it up to a shift.
    corners = mesh.points[mesh.cells]
    lengths = [np.linalg.norm(corners[:, i] - corners[:, j], axis=1) for i in range(4) for j in range(i)]
    assert len(np.unique(np.round(np.sort(lengths, axis=0).T / np.abs(points).max(), 8), axis=0)) <= 3


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_bisection_towards_a_corner_conforms_keeps_names_and_bounds_angles(dim):
    mesh = coarse = Box((0.0,) * dim, (1.0,) * dim, Layers(dim - 1, (0.4,), ("low", "high"))).mesh(2)
    for _ in range(8):
        near = np.any(np.all(mesh.points[mesh.cells] == 0, axis=2), axis=1)
        largest = np.ptp(mesh.points[mesh.cells[near]], axis=1).max()
        mesh = refine(mesh, cells=np.flatnonzero(near))
    assert len(mesh.cells) > len(coarse.cells) and largest <= 0.5 / 2 ** (6 // dim)
    assert volumes(mesh).min() > 0 and facet_counts(mesh).max() <= 2
    assert areas(mesh, mesh.exterior_facets).sum() == pytest.approx(areas(coarse, coarse.exterior_facets).sum())
    assert np.array_equal(np.unique(mesh.cells), np.arange(len(mesh.points)))
    for name, cells in coarse.regions.items():
        assert volumes(mesh)[mesh.regions[name]].sum() == pytest.approx(volumes(coarse)[cells].sum())
    together = np.concatenate(list(mesh.boundaries.values()))
    assert np.array_equal(together[np.lexsort(together.T[::-1])], mesh.exterior_facets)
    for name, facets in coarse.boundaries.items():
        assert areas(mesh, mesh.boundaries[name]).sum() == pytest.approx(areas(coarse, facets).sum())
    if dim == 2:
        angles = [smallest_angle(m.points[m.cells]).min() for m in (coarse, mesh)]
        assert angles[1] > angles[0] / 2


def test_marked_cells_are_cut_and_a_mask_serves_as_well_as_numbers():
    mesh = UnitCube().mesh(2)
    chosen = np.array([5, 17])
    fine = refine(mesh, cells=chosen)
    whole = {tuple(np.sort(cell)) for cell in fine.cells}
    assert not whole & {tuple(np.sort(cell)) for cell in mesh.cells[chosen]} and len(fine.cells) < 3 * len(mesh.cells)
    assert np.array_equal(refine(mesh, cells=np.isin(np.arange(len(mesh.cells)), chosen)).cells, fine.cells)
    for cells, message in (([48], "numbers from 0 to 47"), ([0.5], "numbers from 0 to 47")):
        with pytest.raises(InputError, match=message):
            refine(mesh, cells=np.array(cells))
    with pytest.raises(InputError, match="curved mesh can only be refined everywhere"):
        refine(mesh.second_order, cells=chosen)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_refinement_of_second_order_follows_the_quadratic_map(dim):
    mesh = Box((0.0,) * dim, (1.0,) * dim).mesh(2).second_order
    bent = replace(mesh, points=mesh.points + 0.1 * (mesh.points**2).sum(axis=1, keepdims=True))
    fine = refine(bent)
    straight = refine(mesh)
    expected = straight.points + 0.1 * (straight.points**2).sum(axis=1, keepdims=True)
    assert np.allclose(fine.points, expected, atol=1e-14) and np.array_equal(fine.nodes, straight.nodes)
    assert np.array_equal(straight.straight.cells, refine(mesh.straight).cells)


def test_a_refined_cube_has_the_tetrahedra_of_the_finer_grid():
    fine, grid = refine(UnitCube().mesh(2)), UnitCube().mesh(4)
    centres = [np.round(m.points[m.cells].mean(axis=1), 12) for m in (fine, grid)]
    assert np.array_equal(*(c[np.lexsort(c.T)] for c in centres))


def test_the_geometry_of_a_mesh_gives_that_mesh_and_no_level_sets_of_several_regions():
    mesh = UnitSquare(Layers(0, (0.5,), ("a", "b"))).mesh(2)
    geometry = MeshGeometry(mesh)
    assert geometry.mesh(64) is mesh and geometry.boundaries == ("left", "right", "bottom", "top")
    with pytest.raises(InputError, match=r"several regions \(a, b\) has no level sets"):
        geometry.level_sets(None)
    assert MeshGeometry(UnitSquare().mesh(2)).level_sets(None) == []
