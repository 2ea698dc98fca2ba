"""Mesh files are read whole, or refused in one sentence that names them."""

import logging
from pathlib import Path

import meshio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Box, Interval, Layers, UnitSquare, read

DATA = Path(__file__).parents[2] / "../shared/data/meshes"
SIMPLEX = ("vertex", "line", "triangle", "tetra")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the folder shared/data is not beside this checkout")


def written(mesh: Mesh, path: Path, file_format: str, **changes) -> Path:
    """Write a mesh with its regions and boundaries as physical groups, in two blocks a type."""
    parts = [(mesh.dim, name, mesh.cells[cells]) for name, cells in mesh.regions.items()]
    parts += [(mesh.dim - 1, name, mesh.vertices_of(facets)) for name, facets in mesh.boundaries.items()]
    fields = {
        "points": np.pad(mesh.points, ((0, 0), (0, 3 - mesh.dim))),
        "cells": [(SIMPLEX[dim], cells) for dim, _, cells in parts],
        "cell_data": {
            key: [np.full(len(c), i + 1, dtype=np.int32) for i, (_, _, c) in enumerate(parts)]
            for key in ("gmsh:physical", "gmsh:geometrical")
        },
        "field_data": {name: np.array([i + 1, dim]) for i, (dim, name, _) in enumerate(parts)},
    }
    meshio.write(path, meshio.Mesh(**(fields | changes)), file_format=file_format)
    return path


def corners(mesh: Mesh) -> dict[str, np.ndarray]:
    """The coordinates of all cells, regions and boundaries, in an order of their own."""
    sets = {"cells": mesh.points[mesh.cells]}
    sets |= {name: mesh.points[mesh.cells[cells]] for name, cells in mesh.regions.items()}
    sets |= {name: mesh.points[mesh.vertices_of(facets)] for name, facets in mesh.boundaries.items()}
    return {
        name: np.array(sorted(np.sort(x.round(9), axis=1).reshape(len(x), -1).tolist())) for name, x in sets.items()
    }


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_written_mesh_is_read_with_its_regions_and_boundaries(dim, tmp_path):
    mesh = Box((0.0,) * dim, (1.0,) * dim, Layers(dim - 1, (0.4,), ("low", "high"))).mesh(3)
    expected, found = corners(mesh), corners(read(written(mesh, tmp_path / "box.msh", "gmsh22")))
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("version", [2.2, 4.1])
@pytest.mark.parametrize("binary", [0, 1])
def test_files_of_gmsh_keep_names_and_numbers_of_groups(version, binary, tmp_path):
    path = save_by_gmsh(tmp_path / "two.msh", {"Mesh.MshFileVersion": version, "Mesh.Binary": binary})
    mesh = read(path)
    assert list(mesh.regions) == ["steel", "7"] and list(mesh.boundaries) == ["wall"]
    assert np.all(mesh.points[mesh.cells[mesh.regions["steel"]]].mean(axis=1)[:, 0] < 1)
    assert np.all(mesh.points[mesh.vertices_of(mesh.boundaries["wall"])][..., 0] == 0)


def test_groups_that_gmsh_names_but_does_not_save_are_logged_and_partly_saved_ones_refused(tmp_path, caplog):
    every = {"Mesh.SaveAll": 1}
    mesh = read(save_by_gmsh(tmp_path / "old.msh", {"Mesh.MshFileVersion": 2.2} | every, regions=1))
    assert list(mesh.regions) == ["domain"] and "group 'steel' is named but empty" in caplog.text
    path = save_by_gmsh(tmp_path / "new.msh", {"Mesh.MshFileVersion": 4.1} | every, regions=1)
    assert_refused(path, "Mesh.SaveAll = 0")


def save_by_gmsh(path: Path, options: dict[str, float], regions: int = 2) -> Path:
    """Two squares side by side; the first is region "steel", the second number 7, the outer left side "wall"."""
    gmsh = pytest.importorskip("gmsh")
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        for name, value in options.items():
            gmsh.option.setNumber(name, value)
        squares = [(2, gmsh.model.occ.addRectangle(x, 0, 0, 1, 1)) for x in (0, 1)]
        gmsh.model.occ.fragment(squares[:1], squares[1:])
        gmsh.model.occ.synchronize()
        faces = sorted(gmsh.model.getEntities(2), key=lambda face: gmsh.model.occ.getCenterOfMass(*face)[0])
        gmsh.model.addPhysicalGroup(2, [faces[0][1]], 3, "steel")
        if regions == 2:
            gmsh.model.addPhysicalGroup(2, [faces[1][1]], 7)
        left = [tag for dim, tag in gmsh.model.getEntities(1) if gmsh.model.occ.getCenterOfMass(dim, tag)[0] < 1e-9]
        gmsh.model.addPhysicalGroup(1, left, 5, "wall")
        gmsh.option.setNumber("Mesh.MeshSizeMin", 0.4)
        gmsh.model.mesh.generate(2)
        gmsh.write(str(path))
    finally:
        gmsh.finalize()
    return path


@pytest.mark.parametrize("suffix", ["vtk", "vtu", "xdmf", "mesh", "inp"])
def test_other_formats_give_the_cells(suffix, tmp_path):
    mesh = UnitSquare().mesh(2)
    path = tmp_path / f"square.{suffix}"
    meshio.write(path, meshio.Mesh(np.pad(mesh.points, ((0, 0), (0, 1))), [("triangle", mesh.cells)]))
    assert np.array_equal(corners(read(path))["cells"], corners(mesh)["cells"])


def test_inverted_cells_are_turned_and_points_without_a_cell_dropped(tmp_path):
    mesh = UnitSquare().mesh(2)
    points = np.pad(np.vstack([mesh.points, [[np.nan, 7.0]]]), ((0, 0), (0, 1)), constant_values=3.0)
    path = tmp_path / "square.vtk"
    meshio.write(path, meshio.Mesh(points, [("triangle", np.vstack([mesh.cells[:3, ::-1], mesh.cells[3:]]))]))
    result = read(path)
    edges = result.points[result.cells[:, 1:]] - result.points[result.cells[:, :1]]
    assert np.linalg.det(edges) == pytest.approx(0.25)
    assert result.points.shape == (9, 2)


def test_facets_inside_and_groups_that_overlap_are_left_out_and_logged(tmp_path, caplog):
    mesh = UnitSquare().mesh(2)
    lines = {"wall": [[0, 1], [1, 2], [4, 5]], "same": [[1, 0], [2, 1]], "cut": [[4, 8]], "end": [[2, 5]]}
    path = tmp_path / "square.msh"
    meshio.write(
        path,
        meshio.Mesh(
            np.pad(mesh.points, ((0, 0), (0, 1))),
            [("triangle", mesh.cells), *[("line", np.array(rows)) for rows in lines.values()]],
            cell_data={
                key: [
                    np.arange(8, dtype=np.int32) // 6,
                    *[np.full(len(r), i + 1, np.int32) for i, r in enumerate(lines.values())],
                ]
                for key in ("gmsh:physical", "gmsh:geometrical")
            },
            field_data={name: np.array([i + 1, 1]) for i, name in enumerate(lines) if name != "end"}
            | {"some": np.array([1, 2])},
        ),
        file_format="gmsh22",
    )
    with caplog.at_level(logging.INFO):
        result = read(path)
    assert {name: len(facets) for name, facets in result.boundaries.items()} == {"wall": 2, "4": 1}
    assert {name: len(cells) for name, cells in result.regions.items()} == {"some": 2, "unnamed": 6}
    assert "'wall': 1 of 3 facets are not on the boundary" in caplog.text
    assert "boundary 'same' overlaps another one and is left out" in caplog.text


SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 0, 1]])
TRIANGLES = [[0, 1, 2], [1, 3, 2]]
REFUSED = {
    "surface of quads": (SQUARE, [("triangle", [[1, 4, 3]]), ("quad", [[0, 1, 3, 2]])], "a surface in space"),
    "quads without points": (SQUARE, [("quad", [[0, 1, 9, 2]])], "1 cells refer to points that do not exist"),
    "polygons": (
        SQUARE[[0, 1, 3, 2, 4]],
        [("polygon", [[0, 1, 4, 2, 3]])],
        "1 of type polygon.* neither simplices nor",
    ),
    "points": (SQUARE, [("vertex", [[0]])], "holds no cells"),
    "surface": (SQUARE, [("triangle", [*TRIANGLES, [1, 4, 3]])], "a surface in space"),
    "infinite": (
        np.where(SQUARE == 1, np.inf, SQUARE),
        [("triangle", TRIANGLES)],
        "3 points have coordinates that are not finite",
    ),
    "flat": (
        SQUARE * [1, 0, 0],
        [("triangle", TRIANGLES)],
        "2 cells have no volume, or none that is a number; the first is cell 0",
    ),
    "missing": (
        SQUARE,
        [("triangle", [[0, 1, 2], [0, 1, 9]])],
        "1 cells refer to points that do not exist, first cell 1",
    ),
    "negative": (SQUARE, [("triangle", [[0, 1, -2]])], "1 cells refer to points that do not exist"),
    "twice": (SQUARE, [("triangle", [*TRIANGLES, [2, 1, 0]])], "appear twice"),
    "fan": (SQUARE * [1, 1, 0], [("triangle", [*TRIANGLES, [1, 2, 4]])], "more than two cells"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_mesh_of_simplices_is_refused(name, tmp_path):
    points, cells, message = REFUSED[name]
    path = tmp_path / f"{name}.vtk"
    meshio.write(path, meshio.Mesh(points, [(kind, np.array(rows)) for kind, rows in cells]))
    assert_refused(path, message)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("sqare.msh", None, r"no such file; did you mean 'square.msh'\?"),
        ("empty.msh", b"", "the file is empty"),
        ("noise.msh", b"\x00\xff" * 40, "truncated, corrupt or of another format"),
        ("text.msh", b"hello\n", "truncated, corrupt or of another format"),
        ("text.vtk", b"hello\n", "truncated, corrupt or of another format"),
        ("mesh.png", b"x", "unknown mesh format; allowed are .msh"),
        ("mesh", b"x", "unknown mesh format; allowed are .msh"),
        ("part.geo", b"SystemCall 'true';", "can run shell commands"),
        ("part.GEO", b"x", "can run shell commands"),
    ],
)
def test_files_that_cannot_be_read_are_refused_without_a_word_on_the_terminal(name, content, message, tmp_path, capfd):
    written(UnitSquare().mesh(1), tmp_path / "square.msh", "gmsh22")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    capfd.readouterr()
    assert_refused(tmp_path / name, message)
    assert capfd.readouterr() == ("", "")


def test_a_part_called_boundary_that_is_not_all_of_it_is_refused(tmp_path):
    mesh = Interval().mesh(2)
    mesh = Mesh(mesh.points, mesh.cells, mesh.regions, {"boundary": mesh.boundaries["left"]})
    assert_refused(written(mesh, tmp_path / "interval.msh", "gmsh22"), "only a part of it")


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < len(str(path)) + 350


@needs_data
def test_the_box_of_shared_data_is_the_unit_cube_with_three_named_sides():
    mesh = read(DATA / "box.msh")
    assert (mesh.points.shape, mesh.cells.shape) == ((358, 3), (1105, 4))
    assert list(mesh.regions) == ["all"] and len(mesh.regions["all"]) == 1105
    edges = mesh.points[mesh.cells[:, 1:]] - mesh.points[mesh.cells[:, :1]]
    assert np.linalg.det(edges).min() > 0 and np.linalg.det(edges).sum() / 6 == pytest.approx(1, rel=1e-12)
    for name, (axis, at) in {"front": (2, 1.0), "back": (2, 0.0), "top": (1, 1.0)}.items():
        assert np.all(mesh.points[mesh.vertices_of(mesh.boundaries[name])][..., axis] == at)
        assert len(mesh.boundaries[name]) == 104


@needs_data
@pytest.mark.parametrize(
    "name, expected",
    [
        ("beams.msh", (851, {"all": 851}, {"fixed": 8})),
        ("cylinder_stokes.msh", (293, {"domain": 293}, {})),
        ("tagged_gmsh4.msh", (80, {"all": 80}, {"tagged": 8})),  # "test" holds the same facets as "tagged"
        ("troublesome_mesh.vtk", (724, {"domain": 724}, {})),
        ("mixedtriquad.msh", (88, {"domain": 88}, {"boundary": 22})),
        ("quadratic_tri.msh", (119, {"domain": 119}, {})),
    ],
)
def test_each_file_of_shared_data_is_read(name, expected):
    mesh = read(DATA / name)
    counts = tuple({name: len(rows) for name, rows in part.items()} for part in (mesh.regions, mesh.boundaries))
    assert (len(mesh.cells), *counts) == expected


@needs_data
@pytest.mark.parametrize("name", ["box.msh", "tagged_gmsh4.msh", "cylinder_stokes.msh", "troublesome_mesh.vtk"])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_short_or_damaged_gives_an_input_error_or_a_mesh(name, data, tmp_path):
    whole, path = (DATA / name).read_bytes(), tmp_path / name
    at = data.draw(st.integers(1, len(whole) - 1))
    path.write_bytes(whole[:at])
    try:
        short = read(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
    else:  # what is cut is not needed, such as the last line break
        assert np.array_equal(short.cells, read(DATA / name).cells)
    path.write_bytes(whole[:at] + data.draw(st.binary(min_size=1, max_size=8)) + whole[at:])
    try:
        read(path)
    except InputError as error:
        assert "\n" not in str(error)
