"""Pictures: written whole, coloured by the scale they show, drawn without a display."""

import ctypes.util
import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from variform import figures
from variform.errors import ComputationError, InputError
from variform.figures.render import render
from variform.figures.values import Scale
from variform.mesh import Mesh


def interval(n=50):
    x = np.linspace(0.0, 2.0, n + 1)[:, None]
    return Mesh(x, np.stack([np.arange(n), np.arange(1, n + 1)], axis=1))


def rectangle(n=12, width=1.0, height=1.0):
    x = np.stack(np.meshgrid(np.linspace(0, width, n + 1), np.linspace(0, height, n + 1), indexing="ij"), axis=-1)
    i = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = (s.ravel() for s in (i[:-1, :-1], i[1:, :-1], i[:-1, 1:], i[1:, 1:]))
    return Mesh(x.reshape(-1, 2), np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)]))


def cube(n=4):
    """Six tetrahedra a cell, half of them left-handed."""
    x = np.stack(np.meshgrid(*[np.linspace(0, 1, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    i = np.arange((n + 1) ** 3).reshape([n + 1] * 3)
    cells = []
    for path in [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]:
        steps = np.cumsum([[0, 0, 0], *np.eye(3, dtype=int)[list(path)]], axis=0)
        cells.append(np.stack([i[tuple(slice(s, n + s) for s in step)].ravel() for step in steps], axis=1))
    return Mesh(x, np.concatenate(cells))


MESHES = {"1D": interval(), "2D": rectangle(), "3D": cube()}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def hues(image):
    """How many colours there are beside white, grey and black."""
    flat = image.reshape(-1, 3)
    return shades(flat[np.ptp(flat, axis=1) > 25])


def shades(image):
    """How many colours there are."""
    return len(np.unique(image @ [65536, 256, 1]))


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_a_field_is_drawn_at_a_size_worth_showing_in_many_colours(mesh, tmp_path):
    path = figures.field(mesh, np.sin(3 * mesh.points).sum(axis=1), tmp_path / "f.png", title="u", unit="K")
    height, width = pixels(path).shape[:2]
    assert 600 <= width <= 1000 and 400 <= height <= 800
    assert hues(pixels(path)) > (10 if mesh.dim == 1 else 200)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("dim", ["1D", "3D"])
def test_a_vector_field_is_drawn_on_lines_and_bodies_too(dim, tmp_path):
    mesh = MESHES[dim]
    path = figures.field(mesh, mesh.points.T - 0.3, tmp_path / "v.png", title="velocity", unit="m/s")
    assert hues(pixels(path)) > 10


def test_arrows_are_drawn_over_the_magnitude_of_a_vector(tmp_path):
    mesh = rectangle()
    swirl = np.stack([0.5 - mesh.points[:, 1], mesh.points[:, 0] - 0.5])
    vector = pixels(figures.field(mesh, swirl, tmp_path / "v.png", title=""))
    scalar = pixels(figures.field(mesh, np.linalg.norm(swirl, axis=0), tmp_path / "s.png", title=""))
    body = np.s_[150:450, 150:450]
    assert (vector[body] == 255).all(axis=-1).sum() > 200
    assert not (scalar[body] == 255).all(axis=-1).any()


def test_a_colour_means_the_value_that_the_scale_says():
    mesh = rectangle()
    scale = Scale(0.0, 1.0, "viridis")
    picture = render(mesh, mesh.points[:, 0], scale, box=(400, 400), arrows=False)
    expected = 255 * np.array(colormaps["viridis"]((np.arange(400) + 0.5) / 400))[:, :3]
    np.testing.assert_allclose(picture.image[200], expected, atol=4)  # a step of the table of 256 colours


def test_a_body_in_space_is_cut_open_so_that_its_inside_is_seen():
    mesh = cube(8)
    inside = np.exp(-20 * ((mesh.points - 0.5) ** 2).sum(axis=1))
    assert inside[mesh.vertices_of(mesh.exterior_facets)].max() < 0.01
    scale = Scale(0.0, 1.0, "viridis")
    image = render(mesh, inside, scale, box=(300, 300), arrows=False).image.astype(int)
    assert ((image[..., 0] > 150) & (image[..., 2] < 100)).any(), "the yellow of the largest values"


def test_values_that_are_not_finite_are_grey_and_do_not_spoil_the_scale(tmp_path):
    mesh = rectangle()
    values = mesh.points[:, 0].copy()
    values[40:60] = np.nan, *[np.inf] * 19
    image = pixels(figures.field(mesh, values, tmp_path / "f.png", title="u"))
    assert (image == 0xD9).all(axis=-1).sum() > 500
    assert hues(image) > 100


def test_equal_fields_have_an_error_without_colour(tmp_path):
    mesh = rectangle()
    u = np.sin(5 * mesh.points[:, 0])
    image = pixels(figures.comparison(mesh, u, u, tmp_path / "same.png", unit="K"))
    height, width = image.shape[:2]
    error = image[100 : height - 60, int(0.66 * width) : int(0.88 * width)]
    assert shades(error) == 1
    other = pixels(figures.comparison(mesh, u, u + 0.01 * mesh.points[:, 1], tmp_path / "other.png", unit="K"))
    assert shades(other[100 : height - 60, int(0.66 * width) : int(0.88 * width)]) > 50


@pytest.mark.parametrize("mesh", [MESHES["1D"], rectangle(width=4.0), MESHES["3D"]], ids=["1D", "wide", "3D"])
def test_a_comparison_is_drawn_for_every_shape_of_body(mesh, tmp_path):
    u = np.cos(3 * mesh.points).sum(axis=1)
    path = figures.comparison(mesh, u, 1.1 * u, tmp_path / "c.png", titles=("<a>", "$x", "error"), unit="Pa")
    assert hues(pixels(path)) > 10


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(7), r"values must have shape \(169,\) or \(2, 169\), got \(7,\)"),
        (np.zeros((169, 2)), "must have shape"),
        (np.full(169, np.nan), "no finite number"),
        (np.zeros(169, dtype=complex), "must be real"),
    ],
)
def test_values_that_cannot_be_drawn_are_refused(values, message, tmp_path):
    with pytest.raises(InputError, match=message):
        figures.field(rectangle(), values, tmp_path / "f.png", title="u")
    assert not any(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_picture_alone(tmp_path, monkeypatch):
    path = figures.field(interval(), np.zeros(51), tmp_path / "f.png", title="u")
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        figures.field(interval(), np.ones(51), path, title="u")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_without_any_opengl_the_error_says_so_instead_of_crashing(tmp_path, monkeypatch):
    pyvista = pytest.importorskip("pyvista")

    class vtkOSOpenGLRenderWindow:
        pass

    class Plotter:
        render_window = vtkOSOpenGLRenderWindow()

        def __init__(self, **_):
            pass

        def close(self):
            pass

    monkeypatch.setattr(pyvista, "Plotter", Plotter)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ComputationError, match="no OpenGL"):
        figures.field(rectangle(), np.zeros(169), tmp_path / "f.png", title="u")


def test_drawing_without_a_display_says_nothing_and_importing_does_not_load_pyvista(tmp_path):
    script = f"""
import sys
import numpy as np
from variform import figures
from variform.figures.render import render
from variform.figures.values import Scale
from variform.mesh import Mesh
assert not {{"pyvista", "vtkmodules", "matplotlib"}} & set(sys.modules)
mesh = Mesh(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[0, 1, 2]]))
figures.field(mesh, mesh.points[:, 0], {str(tmp_path / "f.png")!r}, title="u")
"""
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
