"""Quadrilaterals and hexahedra, straight and curved: Gauss's theorem, facets, refinement, files, refusals."""

import math
from dataclasses import replace
from itertools import combinations

import meshio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variform.errors import InputError
from variform.figures.vtk import NODES, TYPES, vtk_nodes
from variform.mesh import DIMENSION, Mesh
from variform.meshes import Layers, MeshGeometry, UnitCube, UnitSquare, read, refine, write, write_mesh
from variform.meshes.quality import check, refuse_broken
from variform.quadrature import (
    cell_quadrature,
    distance_outside,
    facet_quadrature,
    jacobians,
    pull_back,
    reference_map,
    reference_nodes,
)

KINDS = {"quadrilateral": UnitSquare, "hexahedron": UnitCube}


def grid(kind: str, n: int, order: int = 1, seed: int | None = 0) -> Mesh:
    """A mesh in two layers, all its points moved at random by up to a tenth of their distance."""
    geometry = KINDS[kind](Layers(DIMENSION[kind] - 1, (0.4,), ("low", "high")))
    mesh = geometry.mesh(n, cell_type=kind)
    mesh = mesh if order == 1 else mesh.second_order
    if seed is None:
        return mesh
    moves = np.random.default_rng(seed).uniform(-0.1, 0.1, mesh.points.shape) / (n * order)
    return replace(mesh, points=mesh.points + moves)


def turned(mesh: Mesh) -> Mesh:
    """The same cells with the first two axes of the reference cell exchanged, and so the Jacobian's sign."""
    swap = [0, 2, 1, 3, *([4, 6, 5, 7] if mesh.dim == 3 else [])]
    return Mesh(mesh.points, mesh.cells[:, swap])


@settings(deadline=None, max_examples=40)
@given(kind=st.sampled_from(list(KINDS)), n=st.integers(1, 4), order=st.integers(1, 2), seed=st.integers(0, 2**32 - 1))
def test_the_theorem_of_gauss_holds_on_random_cells(kind, n, order, seed):
    mesh = grid(kind, n, order, seed)
    cells = cell_quadrature(mesh, 8)
    around = facet_quadrature(mesh, 8, mesh.exterior_facets)
    np.testing.assert_allclose(np.sum(around.normal * around.w, axis=1), 0, atol=1e-13)
    # div (x_j x) = (dim + 1) x_j
    flux = around.x @ (np.sum(around.x * around.normal, axis=0) * around.w)
    np.testing.assert_allclose(flux, (mesh.dim + 1) * cells.x @ cells.w, atol=1e-13)
    regions = [facet_quadrature(mesh, 8, facets) for facets in mesh.boundaries.values()]
    assert sum(rule.w.sum() for rule in regions) == pytest.approx(around.w.sum(), rel=1e-13)
    both = [facet_quadrature(mesh, 8, rows) for rows in np.moveaxis(mesh.interior_facets, 1, 0)]
    assert both[0].w.sum() == pytest.approx(both[1].w.sum(), rel=1e-13)
    sides = [np.stack([rule.x @ rule.w, rule.normal @ rule.w]) for rule in both]
    np.testing.assert_allclose(sides[0], sides[1] * [[1], [-1]], atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_normals_of_a_turned_cell_still_point_outwards(kind):
    mesh = turned(grid(kind, 2))
    assert np.all(np.linalg.det(reference_map(mesh, np.full((1, mesh.dim), 0.5))[1]) < 0)
    around = facet_quadrature(mesh, 4, mesh.exterior_facets)
    volume = cell_quadrature(grid(kind, 2), 4).w.sum()
    assert np.sum(around.x * around.normal * around.w) == pytest.approx(mesh.dim * volume, rel=1e-13)


@pytest.mark.parametrize("kind", [name for name in DIMENSION if DIMENSION[name] > 1])
def test_facets_have_one_cell_outside_and_two_inside(kind):
    n, dim = 3, DIMENSION[kind]
    mesh = (UnitSquare() if dim == 2 else UnitCube()).mesh(n, cell_type=kind)
    pieces = 1 if kind in KINDS else math.factorial(dim - 1)
    assert len(mesh.exterior_facets) == 2 * dim * n ** (dim - 1) * pieces
    pairs = mesh.interior_facets
    assert 2 * len(pairs) + len(mesh.exterior_facets) == mesh.cells.shape[0] * len(mesh.facet_vertices)
    assert np.all(pairs[:, 0, 0] < pairs[:, 1, 0])
    vertices = [np.sort(mesh.vertices_of(rows), axis=1) for rows in np.moveaxis(pairs, 1, 0)]
    np.testing.assert_array_equal(*vertices)
    keys = pairs.reshape(-1, 2) @ [100, 1]
    assert len(np.unique([*keys, *(mesh.exterior_facets @ [100, 1])])) == mesh.cells.shape[0] * len(mesh.facet_vertices)


@pytest.mark.parametrize("kind", DIMENSION)
def test_points_are_found_in_the_cell_they_come_from(kind):
    dim, rng = DIMENSION[kind], np.random.default_rng(0)
    nodes = reference_nodes(kind, 2)
    for order in (1, 2):
        count = len(reference_nodes(kind, order))
        points = nodes[:count] + rng.uniform(-0.06, 0.06, (count, dim))
        vertices = len(reference_nodes(kind, 1))
        further = None if order == 1 else np.arange(vertices, count)[None]
        mesh = Mesh(points, np.arange(vertices)[None], edge_nodes=further)
        X = rng.dirichlet(np.ones(vertices), 50) @ nodes[:vertices]
        x, _ = reference_map(mesh, X)
        found = pull_back(mesh, x[0], np.zeros(50, int))
        np.testing.assert_allclose(found, X, atol=1e-12)
        assert distance_outside(mesh, X).max() < 0 < distance_outside(mesh, X + 1).min()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_refinement_halves_every_edge_and_keeps_the_shape(kind, order):
    coarse = grid(kind, 3, order)
    fine = refine(coarse)
    assert len(fine.cells) == 2**fine.dim * len(coarse.cells) and not check(fine).problems
    for name, cells in coarse.regions.items():
        fine_cells = fine.regions[name]
        volumes = [cell_quadrature(m, 8, c).w.sum() for m, c in ((coarse, cells), (fine, fine_cells))]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-12)
    for name in coarse.boundaries:  # the area of a twisted facet is no polynomial, but the vector area is
        rules = [facet_quadrature(m, 8, m.boundaries[name]) for m in (coarse, fine)]
        np.testing.assert_allclose(*(rule.normal @ rule.w for rule in rules), atol=1e-13)
    grids = [refine(grid(kind, 2, seed=None)), grid(kind, 4, seed=None)]
    centres = [np.round(mesh.points[mesh.cells].mean(axis=1), 12) for mesh in grids]
    np.testing.assert_array_equal(*(np.unique(c, axis=0) for c in centres))
    with pytest.raises(InputError, match=f"curved mesh|mesh of {kind} cells can only be refined everywhere"):
        refine(coarse, cells=np.array([0]))


@pytest.mark.parametrize("kind", [name for name in DIMENSION if DIMENSION[name] > 1])
def test_the_nodes_of_each_kind_of_cell_are_where_vtk_has_them(kind):
    model = pytest.importorskip("vtkmodules.vtkCommonDataModel")
    for order in (1, 2):
        cell = model.vtkGenericCell.InstantiateCell(TYPES[kind, order])
        theirs = np.reshape(cell.GetParametricCoords()[: 3 * cell.GetNumberOfPoints()], (-1, 3))[:, : DIMENSION[kind]]
        nodes = reference_nodes(kind, order)
        np.testing.assert_allclose(nodes[NODES[kind][: len(nodes)]], theirs)
        count = len(reference_nodes(kind, 1))
        further = None if order == 1 else np.arange(count, len(nodes))[None]
        mirrored = Mesh(nodes * ([-1] + [1] * (DIMENSION[kind] - 1)), np.arange(count)[None], edge_nodes=further)
        swapped = nodes[vtk_nodes(mirrored)[0]]  # now right-handed: the same nodes with x and y exchanged
        np.testing.assert_allclose(swapped[:, [1, 0, *range(2, DIMENSION[kind])]], theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_vtk_measures_each_cell_as_we_do(kind, tmp_path):
    pyvista = pytest.importorskip("pyvista")
    mesh = grid(kind, 3)
    for cells in (mesh, turned(mesh)):
        write(tmp_path / "mesh.vtkhdf", cells, {"x": cells.points.T})
        grid_read = pyvista.read(tmp_path / "mesh.vtkhdf")
        sizes = grid_read.compute_cell_sizes()["Area" if mesh.dim == 2 else "Volume"]
        expected = cell_quadrature(mesh, 4).w.reshape(len(mesh.cells), -1).sum(axis=1)
        # VTK cuts hexahedra into tetrahedra: equal where faces are flat, and nearly so here.
        np.testing.assert_allclose(sizes, expected, rtol=1e-13 if mesh.dim == 2 else 0.05)


@pytest.mark.parametrize("suffix", ["msh", "vtu", "vtk", "xdmf"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_written_mesh_holds_its_cells_and_is_read_again_as_simplices(kind, order, suffix, tmp_path):
    mesh = grid(kind, 3, order, seed=None)
    path = tmp_path / f"mesh.{suffix}"
    write_mesh(path, mesh)
    raw = meshio.read(path)
    cells = np.concatenate([block.data for block in raw.cells if block.dim == mesh.dim])
    nodes = mesh.nodes[np.concatenate(list(mesh.regions.values()))]
    np.testing.assert_array_equal(cells, nodes[:, NODES[kind][: nodes.shape[1]]])
    for block in raw.cells:
        if block.dim == mesh.dim - 1 and order == 2 and mesh.dim == 3:
            np.testing.assert_allclose(raw.points[block.data[:, 8]], raw.points[block.data[:, :4]].mean(axis=1))
    again = read(path)
    assert again.cell_type in ("triangle", "tetrahedron") and check(again).measure == pytest.approx(1)
    if suffix == "msh":
        assert list(again.boundaries) == list(mesh.boundaries) and list(again.regions) == ["low", "high"]
        for facets in again.boundaries.values():
            assert facet_quadrature(again, 2, facets).w.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_that_of_the_box(kind):
    torch = pytest.importorskip("torch")
    box = KINDS[kind]()
    geometry = MeshGeometry(box.mesh(3, cell_type=kind))
    x = torch.as_tensor(np.random.default_rng(0).random((box.dim, 100)))
    for names in (("boundary",), ("left",), ("left", "top")):
        torch.testing.assert_close(geometry.distance(x, names), box.distance(x, names), rtol=0, atol=1e-14)


def test_squares_and_cubes_are_the_best_cells_and_slanted_ones_are_worse():
    for kind in KINDS:
        found = check(KINDS[kind]().mesh(3, cell_type=kind))
        assert (found.shape_min, found.shape_mean, found.angle_min) == pytest.approx((1, 1, 90))
        assert (found.edge_min, found.edge_max, found.measure) == pytest.approx((1 / 3, 1 / 3, 1))
        assert not found.problems and found.unnamed_facets == 0
    square = UnitSquare().mesh(2, cell_type="quadrilateral")
    slanted = check(replace(square, points=square.points @ [[1, 0], [1, 1]]))
    assert slanted.angle_min == pytest.approx(45) and slanted.shape_min == pytest.approx(2 / 3)
    assert check(turned(square)).shape_min == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_broken_cells_are_refused_by_number(kind):
    mesh = grid(kind, 3)
    for sound in (mesh, turned(mesh), grid(kind, 3, 2)):
        refuse_broken(sound)
    for a, b in combinations(range(4), 2):  # exchanged vertices of one face: all but the mirror image fold the cell
        order = np.arange(mesh.cells.shape[1])
        order[[a, b]] = order[[b, a]]
        cells = mesh.cells.copy()
        cells[7] = cells[7][order]
        if mesh.dim == 2 and (a, b) in ((0, 3), (1, 2)):
            refuse_broken(replace(mesh, cells=cells))
            continue
        with pytest.raises(InputError, match=f"1 cells are folded or flat; the first is cell 7, a {kind}"):
            refuse_broken(replace(mesh, cells=cells))
        assert check(replace(mesh, cells=cells)).problems["inverted_cells"] == 1
    twice = replace(mesh, cells=np.vstack([mesh.cells, mesh.cells[4]]))
    with pytest.raises(InputError, match=r"of cell [0-4], of vertices .* belongs to 3 cells; two is the most"):
        refuse_broken(twice)
    with pytest.raises(
        InputError, match=f"are {kind} cells, whose maps are not affine; allowed are straight intervals"
    ):
        jacobians(mesh)


def test_unknown_cells_are_refused_by_name():
    with pytest.raises(
        InputError, match=r"no cell has 5 vertices in dimension 3; .* tetrahedron \(4 in 3\), hexahedron"
    ):
        _ = Mesh(np.zeros((5, 3)), np.arange(5)[None]).cell_type
    with pytest.raises(InputError, match=r"unknown cell type in dimension 3 'quadrilateral'.* hexahedron, tetrahedron"):
        UnitCube().mesh(2, cell_type="quadrilateral")


@pytest.mark.parametrize("kind", [None, "hexahedron"])
def test_every_side_of_a_cut_cube_is_lit_evenly(kind):
    pytest.importorskip("pyvista")
    from variform.figures.render import render
    from variform.figures.values import Scale

    mesh = UnitCube().mesh(6, cell_type=kind)
    picture = render(mesh, np.zeros(len(mesh.points)), Scale(-1.0, 1.0, "viridis"), box=(300, 300), arrows=False)
    _, counts = np.unique(picture.image.reshape(-1, 3).astype(int), axis=0, return_counts=True)
    # White paper; the three directions, of which two are lit alike; and thin black edges.
    assert np.sort(counts)[-3:].sum() > 0.9 * counts.sum()
