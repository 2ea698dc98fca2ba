"""Errors on meshes are the integrals of polynomials, by hand, on straight and on curved cells."""

from dataclasses import replace

import numpy as np
import pytest
from numpy import sqrt

from variform import data
from variform.benchmarks import mesh_metrics
from variform.benchmarks.mesh_metrics import FORMULAS, mesh_errors
from variform.data.dataset import FieldInfo
from variform.data.store import Header, with_digests, write_rows
from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Box


def irregular(dim, cells=3):
    """The unit box by cells of many shapes, some of them turned round: vertices inside it are moved at random."""
    mesh = Box((0.0,) * dim, (1.0,) * dim).mesh(cells)
    moved = np.random.default_rng(dim).uniform(-0.07, 0.07, mesh.points.shape)
    inside = np.all((mesh.points > 1e-9) & (mesh.points < 1 - 1e-9), axis=1)
    cells = mesh.cells.copy()
    cells[::3, :2] = cells[::3, 1::-1]
    return Mesh(mesh.points + moved * inside[:, None], cells)


def pair(found):
    return [found["relative_l2"], found["relative_h1"]]


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_linear_functions_on_straight_cells(dim):
    """y = 1 + x1, e = 3 x_dim on [0, 1]^dim: int y^2 = 7/3, int e^2 = 3; gradients of length 1 and 3."""
    mesh = irregular(dim)
    y, e = 1 + mesh.points[:, 0], 3 * mesh.points[:, -1]
    assert pair(mesh_errors(mesh, y + e, y)) == pytest.approx([sqrt(9 / 7), 3.0], rel=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_quadratic_functions_on_cells_with_nodes_on_their_edges(dim):
    """y = x1^2, e = x1 x_dim: int y^2 = 1/5, int |grad y|^2 = 4/3, int e^2 = 1/9, int |grad e|^2 = 2/3 from 2-D on."""
    mesh = irregular(dim).second_order
    y, e = mesh.points[:, 0] ** 2, mesh.points[:, 0] * mesh.points[:, -1]
    expected = [1.0, 1.0] if dim == 1 else [sqrt(5 / 9), sqrt(1 / 2)]
    assert pair(mesh_errors(mesh, y + e, y)) == pytest.approx(expected, rel=1e-12)


def test_a_function_that_is_not_in_the_space_is_measured_by_its_interpolant():
    """One interval: x^2 becomes x. e = x - 0, y = 1 + x: int e^2 = 1/3, int y^2 = 7/3."""
    mesh = Mesh(np.array([[0.0], [1.0]]), np.array([[0, 1]]))
    x = mesh.points[:, 0]
    assert pair(mesh_errors(mesh, 1 + x + x**2, 1 + x)) == pytest.approx([sqrt(1 / 7), 1.0], rel=1e-12)


def test_coordinates_on_curved_cells():
    """(s, t) -> (x, z) = (s + b s^2, t + a s (1 - s)) has the determinant 1 + 2 b s, and x and z are P2 functions.

    int x^2 = (1 + b)^3 / 3; int z^2 = (1 + b) (1/3 + a/6 + a^2/30), z being even about s = 1/2; gradients of length 1.
    """
    a, b = 0.4, 0.3
    mesh = irregular(2).second_order
    s, t = mesh.points.T
    points = np.stack([s + b * s**2, t + a * s * (1 - s)], axis=1)
    curved = replace(mesh, points=points)
    x, z = points.T
    expected = [sqrt((1 / 3 + a / 6 + a**2 / 30) / ((1 + b) ** 2 / 3)), 1.0]
    assert pair(mesh_errors(curved, x + z, x)) == pytest.approx(expected, rel=1e-12)


def test_channels_and_frames_count_together():
    mesh = irregular(2)
    x, z = mesh.points.T
    y = np.array([[1 + x, 0 * x], [0 * x, 1 + z]])  # 2 * 7/3, gradients 2
    e = np.array([[x, 0 * x], [2 * x, 3 * z]])  # (1 + 4 + 9) / 3, gradients 14
    assert pair(mesh_errors(mesh, y + e, y)) == pytest.approx([1.0, sqrt(7)], rel=1e-12)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_a_prediction_that_is_not_finite_has_no_finite_error_and_spoils_no_other(hole):
    mesh = irregular(2)
    y = np.stack([mesh.points.T] * 3)
    p = 1.5 * y
    p[1, 0, 5] = hole
    found = mesh_metrics.measured(lambda i: mesh, p, y)
    assert set(found) == set(FORMULAS)
    for values in found.values():
        assert values == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)


def test_an_error_relative_to_zero_is_not_finite_and_warns_of_nothing():
    mesh, one = irregular(2), np.ones(16)
    assert mesh_errors(mesh, one, 0 * one) == {"relative_l2": np.inf, "relative_h1": pytest.approx(np.nan, nan_ok=True)}


def test_samples_of_a_data_file_are_measured_each_on_its_own_mesh(tmp_path):
    """y = (x^2, x z) and e = (x, 0) on [0, s] x [0, 1], s = 1, 2, P2.

    int |y|^2 = s^5/5 + s^3/9, int |grad y|^2 = 5 s^3/3 + s/3, int |e|^2 = s^3/3, int |grad e|^2 = s.
    """
    mesh = irregular(2).second_order
    points = np.stack([mesh.points, mesh.points * [2, 1]])
    x, z = np.moveaxis(points, -1, 0)
    rows = {"fields/u": np.zeros((2, 3, 3, 2)), "points": points, "nodal/u": np.stack([x**2, x * z], axis=-1)}
    rows |= {"failed": np.zeros(2, bool), "index": np.arange(2)}
    header = Header("boxes", {"u": FieldInfo("output", (2,))}, (np.linspace(0, 2, 3),) * 2, mesh=mesh)
    write_rows(tmp_path / "boxes.h5", header, [with_digests(rows)], 2)
    held = data.read(tmp_path / "boxes.h5", on="mesh").only([1, 0])
    assert held.coordinates == ()
    y = np.moveaxis(held.read("u"), -1, 1)[:, None]  # as predictions are: (n, T, C, points)
    e = np.stack([x[::-1], 0 * x], axis=1)[:, None]
    found = mesh_metrics.measured(held.source.mesh, y + e, y)
    assert found["relative_l2"] == pytest.approx([sqrt(15 / 41), sqrt(15 / 14)], rel=1e-12)
    assert found["relative_h1"] == pytest.approx([sqrt(1 / 7), sqrt(1 / 2)], rel=1e-12)


def test_other_cells_and_other_shapes_are_refused():
    squares = Mesh(np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]), np.array([[0, 1, 2, 3]]))
    with pytest.raises(InputError, match="got quadrilateral cells"):
        mesh_errors(squares, np.ones(4), np.ones(4))
    mesh = irregular(1)
    for p, y in ((np.ones(4), np.ones((1, 4))), (np.ones(5), np.ones(5)), (np.float64(1), np.float64(1))):
        with pytest.raises(InputError, match=r"shape \(\.\.\., 4\)"):
            mesh_errors(mesh, p, y)
