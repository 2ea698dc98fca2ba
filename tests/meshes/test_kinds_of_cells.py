"""Cells that are no straight simplices, files that are written, and meshes that are broken."""

import logging
from dataclasses import replace

import meshio
import numpy as np
import pytest

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Box, ChannelWithCylinder, Disk, Layers, UnitCube, UnitSquare, read, write_mesh
from variform.meshes.quality import check
from variform.meshes.split import CORNERS, FACES, split
from variform.quadrature import cell_quadrature, facet_quadrature

UNIT = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=float)
SHAPES = {
    "hexahedron": (UNIT, 1.0),
    "wedge": (UNIT[[0, 1, 3, 4, 5, 7]], 0.5),
    "pyramid": (UNIT[[0, 1, 2, 3, 4]], 1 / 3),
}


def hexahedra(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points and cells of the unit cube with n^3 hexahedra, numbered at random, and the quadrilaterals at z = 0."""
    axes = np.meshgrid(*[np.arange(n + 1)] * 3, indexing="ij")
    points = np.stack(axes, axis=-1).reshape(-1, 3) / n
    shuffled = np.random.default_rng(0).permutation(len(points)).reshape((n + 1,) * 3)
    corners = UNIT.astype(int)
    at = np.stack(np.meshgrid(*[np.arange(n)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3) + corners
    cells = shuffled[tuple(np.moveaxis(at, -1, 0))]
    moved = np.empty_like(points)
    moved[shuffled.ravel()] = points
    return moved, cells, cells[at[:, 0, 2] == 0][:, :4]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_cell_numbered_in_any_way_is_cut_into_tetrahedra_that_fill_it(kind):
    points, volume = SHAPES[kind]
    rng = np.random.default_rng(1)
    for _ in range(50):
        number = rng.permutation(len(points))
        moved = np.empty_like(points)
        moved[number] = points
        cells, parent = split(kind, number[None])
        edges = moved[cells[:, 1:]] - moved[cells[:, :1]]
        volumes = np.abs(np.linalg.det(edges)) / 6
        assert volumes.min() > 0.1 and volumes.sum() == pytest.approx(volume) and not parent.any()
        for face in (f for f in FACES[kind] if len(f) == 4):  # the cell's faces are cut as those of the boundary are
            facets = {tuple(np.sort(np.delete(cell, i))) for cell in cells for i in range(4)}
            assert {tuple(np.sort(t)) for t in split("quad", number[None][:, face])[0]} <= facets


def test_hexahedra_and_quadrilaterals_are_cut_alike_and_keep_their_groups(tmp_path, caplog):
    points, cells, floor = hexahedra(3)
    tags = [1 + (points[cells][:, :, 0].mean(axis=1) > 0.4), np.full(len(floor), 3)]
    raw = meshio.Mesh(
        points,
        [("hexahedron", cells), ("quad", floor)],
        cell_data={key: [t.astype(np.int32) for t in tags] for key in ("gmsh:physical", "gmsh:geometrical")},
        field_data={"left": np.array([1, 3]), "right": np.array([2, 3]), "floor": np.array([3, 2])},
    )
    meshio.write(tmp_path / "cube.msh", raw, file_format="gmsh22")
    mesh = read(tmp_path / "cube.msh")
    assert "27 cells of type hexahedron are cut into tetra cells" in caplog.text
    found = check(mesh)
    assert not found.problems and found.measure == pytest.approx(1, rel=1e-12)
    assert facet_quadrature(mesh, 1, mesh.exterior_facets).w.sum() == pytest.approx(6, rel=1e-12)
    assert facet_quadrature(mesh, 1, mesh.boundaries["floor"]).w.sum() == pytest.approx(1, rel=1e-12)
    volumes = [cell_quadrature(mesh, 1, cells).w.sum() for cells in mesh.regions.values()]
    assert list(mesh.regions) == ["left", "right"] and volumes == pytest.approx([1 / 3, 2 / 3])


def test_triangles_and_quadrilaterals_of_any_order_become_triangles(tmp_path, caplog):
    points = np.array(
        [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1.2, 0], [3, 0, 0], [1, 0, 0], [2, 0.5, 0], [1, 1, 0], [0, 0.5, 0]]
    )
    raw = meshio.Mesh(points, [("quad8", [[0, 1, 2, 3, 5, 6, 7, 8]]), ("triangle", [[1, 4, 2]])])
    meshio.write(tmp_path / "mixed.vtu", raw)
    mesh = read(tmp_path / "mixed.vtu")
    assert len(mesh.cells) == 3 and mesh.order == 1 and len(mesh.points) == 5
    assert "1 cells of type quad8 are cut into triangle cells by their corners" in caplog.text
    diagonal = {tuple(cell[np.isin(cell, (0, 2))]) for cell in np.sort(mesh.cells[:2], axis=1)}
    assert diagonal == {(0, 2)}  # the shorter one


def curved_ball_octant(n: int) -> Mesh:
    """A cube of second order with one side bent outwards."""
    mesh = UnitCube(Layers(2, (0.5,), ("low", "high"))).mesh(n).second_order
    x, y, z = mesh.points.T
    return replace(mesh, points=np.stack([x, y, z * (1 + 0.3 * x * (1 - x))], axis=1))


@pytest.mark.parametrize("suffix", ["msh", "vtu", "vtk", "xdmf", "mesh"])
@pytest.mark.parametrize(
    "mesh",
    [
        Box((0.0,), (2.0,)).mesh(3),
        ChannelWithCylinder().mesh(1),
        ChannelWithCylinder().mesh(1, order=2),
        Box((0.0,) * 3, (1.0,) * 3, Layers(0, (0.3,), ("a", "b"))).mesh(2),
        curved_ball_octant(2),
    ],
    ids=["1D", "2D", "2D curved", "3D", "3D curved"],
)
def test_a_written_mesh_is_read_again_with_its_groups(mesh, suffix, tmp_path, caplog):
    path = tmp_path / f"mesh.{suffix}"
    if suffix == "mesh" and (mesh.order > 1 or mesh.dim == 1):
        with pytest.raises(InputError, match="holds no curved cells and no intervals"):
            write_mesh(path, mesh)
        return
    with caplog.at_level(logging.INFO):
        write_mesh(path, mesh)
    again = read(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert again.order == mesh.order and len(again.points) == len(mesh.points)
    names = [*mesh.regions, *mesh.boundaries]
    if suffix == "msh":
        assert [*again.regions, *again.boundaries] == names
    else:
        assert all(f"{number} {name}" in caplog.text for number, name in enumerate(names, 1))
    number = {name: name if suffix == "msh" else str(i) for i, name in enumerate(names, 1)}
    for name, cells in mesh.regions.items():
        volumes = [cell_quadrature(m, 6, c).w.sum() for m, c in ((mesh, cells), (again, again.regions[number[name]]))]
        assert volumes[0] == pytest.approx(volumes[1], rel=1e-12)
    for name, facets in mesh.boundaries.items():
        if suffix != "xdmf":  # holds no boundaries
            there = again.boundaries[number[name]]
            areas = [facet_quadrature(m, 6, f).w.sum() for m, f in ((mesh, facets), (again, there))]
            assert areas[0] == pytest.approx(areas[1], rel=1e-12)


def test_inverted_curved_cells_are_turned_with_their_middles(tmp_path):
    for mesh in (Disk().mesh(2, order=2), curved_ball_octant(1)):
        swapped = replace(mesh, cells=mesh.cells[:, [1, 0, *range(2, mesh.dim + 1)]], regions={}, boundaries={})
        order = [1, 0, 2] if mesh.dim == 2 else [0, 3, 4, 1, 2, 5]
        write_mesh(tmp_path / "turned.vtu", replace(swapped, edge_nodes=mesh.edge_nodes[:, order]))
        again = read(tmp_path / "turned.vtu")
        assert not check(again).problems
        assert cell_quadrature(again, 6).w.sum() == pytest.approx(cell_quadrature(mesh, 6).w.sum(), rel=1e-12)


def test_a_good_mesh_has_its_figures_and_no_problems():
    found = check(UnitSquare().mesh(4))
    assert (found.cells, found.points, found.order) == (32, 25, 1) and not found.problems
    assert found.measure == pytest.approx(1) and found.angle_min == pytest.approx(45)
    assert (found.edge_min, found.edge_max) == pytest.approx((0.25, 0.25 * 2**0.5))
    assert (found.shape_min, found.shape_mean) == pytest.approx((3**0.5 / 2, 3**0.5 / 2))
    equilateral = Mesh(np.array([[1, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1.0]]), np.array([[0, 1, 2, 3]]))
    assert abs(check(equilateral).shape_min) == pytest.approx(1)
    assert check(Disk().mesh(2, order=2)).measure == pytest.approx(np.pi, rel=1e-3)


def test_a_broken_file_is_refused_but_checked_leniently(tmp_path):
    mesh = UnitSquare().mesh(2)
    cells = np.vstack([mesh.cells, mesh.cells[0], mesh.cells[3, ::-1]])
    points = np.pad(np.vstack([mesh.points, [[5.0, 5.0]]]), ((0, 0), (0, 1)))
    meshio.write(tmp_path / "broken.vtk", meshio.Mesh(points, [("triangle", cells)]))
    with pytest.raises(InputError, match="appear twice"):
        read(tmp_path / "broken.vtk")
    found = check(read(tmp_path / "broken.vtk", lenient=True))
    assert found.problems == {"inverted_cells": 1, "duplicate_cells": 2, "orphan_points": 1, "non_manifold_facets": 3}


def test_a_curved_edge_that_folds_its_cell_is_found():
    mesh = UnitSquare().mesh(1).second_order
    points = mesh.points.copy()
    points[mesh.edge_nodes[0, 0]] += [-0.9, 0.0]
    assert check(replace(mesh, points=points)).problems == {"inverted_cells": 1}


def test_cells_all_turned_alike_are_no_problem_and_some_are():
    mesh = UnitCube().mesh(2)
    turned = replace(mesh, cells=mesh.cells[:, [1, 0, 2, 3]], boundaries={})
    found = check(turned)
    assert not found.problems and found.measure == pytest.approx(1) and found.shape_min > 0.5
    mixed = np.where(np.arange(len(mesh.cells))[:, None] < 5, mesh.cells, turned.cells)
    found = check(replace(turned, cells=mixed))
    assert found.problems == {"inverted_cells": 5} and found.measure == pytest.approx(1)


def test_a_step_file_is_meshed_with_curved_cells_and_named_surfaces(tmp_path, capfd):
    gmsh = pytest.importorskip("gmsh")
    path = tmp_path / "cylinder.step"
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.model.occ.addCylinder(0, 0, 0, 0, 0, 2, 1)
        gmsh.model.occ.synchronize()
        gmsh.write(str(path))
    finally:
        gmsh.finalize()
    capfd.readouterr()
    mesh = read(path)
    assert capfd.readouterr() == ("", "") and not gmsh.isInitialized()
    assert mesh.order == 2 and sorted(mesh.boundaries) == ["surface_1", "surface_2", "surface_3"]
    found = check(mesh)
    assert not found.problems and found.unnamed_facets == 0
    assert cell_quadrature(mesh, 6).w.sum() == pytest.approx(2 * np.pi, rel=1e-3)
    (tmp_path / "bad.step").write_text("nothing of the kind")
    with pytest.raises(InputError, match="gmsh cannot read or mesh it"):
        read(tmp_path / "bad.step")


def test_a_cad_file_without_gmsh_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gmsh", None)
    (tmp_path / "part.stp").write_text("x")
    with pytest.raises(InputError, match=r"needs gmsh: install variform\[cad\]"):
        read(tmp_path / "part.stp")


def test_every_kind_of_cell_has_its_corners():
    assert all(1 + max(max(face) for face in faces) == CORNERS[kind] for kind, faces in FACES.items())
