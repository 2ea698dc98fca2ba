"""Files for VTK hold the numbers of the fields, exactly, on cells that VTK measures as we do."""

import numpy as np
import pytest

from variform.errors import InputError
from variform.meshes import Box, Layers, UnitCube, UnitSquare, read, write

pyvista = pytest.importorskip("pyvista")


@pytest.mark.parametrize("suffix", [".vtu", ".vtkhdf"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_what_is_written_is_read_by_pyvista_to_the_last_digit(suffix, order, dim, tmp_path):
    mesh = Box((0.0,) * dim, (1.0,) * dim, Layers(dim - 1, (0.5,), ("low", "high"))).mesh(2)
    mesh = mesh.second_order if order == 2 else mesh
    fields = {
        "u": np.exp(mesh.points[:, 0]),
        "v": np.sin(mesh.points.T),
        "s": np.cos(mesh.points.T)[:, None] * np.ones((dim, 1)),
    }
    path = tmp_path / f"solution{suffix}"
    write(path, mesh, fields)
    grid = pyvista.read(path)
    assert list(tmp_path.iterdir()) == [path] and grid.n_cells == len(mesh.cells)
    np.testing.assert_array_equal(grid.points[:, :dim], mesh.points)
    np.testing.assert_array_equal(grid["u"], fields["u"])
    np.testing.assert_array_equal(grid["v"], np.pad(fields["v"].T, ((0, 0), (0, 3 - dim))))
    np.testing.assert_array_equal(grid["s"].reshape(-1, 3, 3)[:, :dim, :dim], np.moveaxis(fields["s"], 2, 0))
    np.testing.assert_array_equal(np.flatnonzero(grid.cell_data["region"] == 1), np.sort(mesh.regions["high"]))
    assert {name: int(grid.field_data[name][0]) for name in mesh.regions} == {"low": 0, "high": 1}


@pytest.mark.parametrize("geometry", [UnitSquare(), UnitCube()])
def test_vtk_measures_each_cell_as_we_do(geometry, tmp_path):
    mesh = geometry.mesh(3)
    write(tmp_path / "mesh.vtkhdf", mesh, {})
    sizes = pyvista.read(tmp_path / "mesh.vtkhdf").compute_cell_sizes()
    corners = mesh.points[mesh.cells]
    expected = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / (2 if mesh.dim == 2 else 6)
    np.testing.assert_allclose(sizes["Area" if mesh.dim == 2 else "Volume"], expected, rtol=1e-13)


@pytest.mark.parametrize("geometry", [UnitSquare(), UnitCube()])
def test_the_nodes_of_curved_cells_are_in_the_order_of_vtk(geometry):
    """On straight edges VTK's shape functions give back linear functions only if every node is where VTK has it."""
    from variform.figures.vtk import vtk_nodes

    mesh = geometry.mesh(2).second_order
    nodes = mesh.points[vtk_nodes(mesh)]
    edges = [(0, 1), (1, 2), (2, 0), (0, 3), (1, 3), (2, 3)][: 3 * (mesh.dim - 1)]
    for i, (a, b) in enumerate(edges):
        np.testing.assert_allclose(nodes[:, mesh.dim + 1 + i], (nodes[:, a] + nodes[:, b]) / 2)


def test_our_own_reader_reads_what_was_written(tmp_path):
    mesh = UnitSquare().mesh(3)
    write(tmp_path / "mesh.vtu", mesh, {"u": mesh.points[:, 0]})
    np.testing.assert_array_equal(read(tmp_path / "mesh.vtu").points, mesh.points)


def test_another_suffix_and_another_shape_are_refused(tmp_path):
    mesh = UnitSquare().mesh(2)
    with pytest.raises(InputError, match=r"must end in \.vtu or \.vtkhdf"):
        write(tmp_path / "u.csv", mesh, {})
    with pytest.raises(InputError, match="u must be of shape"):
        write(tmp_path / "u.vtu", mesh, {"u": np.zeros(7)})
    assert not any(tmp_path.iterdir())
