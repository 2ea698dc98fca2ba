"""Pictures: written whole, coloured by the scale they show, drawn without a display."""

import ctypes.util
import os
import subprocess
import sys
from dataclasses import replace

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
from variform.mesh import Mesh
assert not {{"pyvista", "vtkmodules", "matplotlib"}} & set(sys.modules)
mesh = Mesh(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), np.array([[0, 1, 2]]))
figures.field(mesh, mesh.points[:, 0], {str(tmp_path / "f.png")!r}, title="u")
"""
    environment = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def disk(n=4):
    """The unit disk of few curved cells."""
    mesh = rectangle(n).second_order
    x, y = 2 * mesh.points.T - 1
    return replace(mesh, points=np.stack([x * np.sqrt(1 - y**2 / 2), y * np.sqrt(1 - x**2 / 2)], axis=1))


def test_a_curved_wall_looks_curved():
    mesh, scale = disk(), Scale(0.0, 1.0, "viridis")
    white = [
        (render(m, np.zeros(len(m.points)), scale, box=(400, 400), arrows=False).image == 255).all(axis=-1).mean()
        for m in (mesh, mesh.straight)
    ]
    assert white[0] == pytest.approx(1 - np.pi / 4, abs=4e-3) and white[1] > white[0] + 0.01


def test_a_quadratic_field_is_smooth_on_one_quadratic_cell():
    mesh, scale = rectangle(1).second_order, Scale(0.0, 1.0, "viridis")
    image = render(mesh, mesh.points[:, 0] ** 2, scale, box=(400, 400), arrows=False).image
    expected = 255 * np.array(colormaps["viridis"](((np.arange(400) + 0.5) / 400) ** 2))[:, :3]
    assert np.abs(image[200] - expected).max() < 12


def bent(mesh):
    return np.stack([np.zeros(len(mesh.points))] * (mesh.dim - 1) + [mesh.points[:, 0] ** 2])


@pytest.mark.parametrize(
    "mesh", [rectangle(), disk(), MESHES["3D"], cube(2).second_order], ids=["2D", "disk", "3D", "2nd"]
)
def test_a_deformed_body_differs_from_the_undeformed_one(mesh, tmp_path):
    u = 1e-4 * bent(mesh)
    still, moved = (
        pixels(figures.warped(mesh, u, tmp_path / f"{name}.png", title="u", unit="m", factor=factor))
        for name, factor in (("still", 1.0), ("moved", None))
    )
    assert hues(still) > 100 and hues(moved) > 100
    assert still.shape != moved.shape or (still != moved).any(axis=-1).mean() > 0.05


def test_a_factor_makes_displacements_readable_and_is_one_where_they_are(tmp_path):
    from variform.figures.pictures import _readable_factor

    mesh = rectangle()
    assert _readable_factor(mesh, 1e-4 * bent(mesh)) == pytest.approx(1000)
    assert _readable_factor(mesh, 0.08 * bent(mesh)) == 1 == _readable_factor(mesh, 0 * bent(mesh))


@pytest.mark.parametrize("kind", ["field", "surface"])
@pytest.mark.parametrize("mesh", [rectangle(), disk()], ids=["straight", "curved"])
def test_a_constant_and_holes_are_drawn(kind, mesh, tmp_path):
    constant, holed = np.full(len(mesh.points), 3.0), mesh.points[:, 0].copy()
    holed[:3] = np.nan
    for values in (constant, holed):
        assert hues(pixels(getattr(figures, kind)(mesh, values, tmp_path / "f.png", title="u"))) > 20


@pytest.mark.parametrize("mesh", [disk(), MESHES["3D"]], ids=["2D", "3D"])
def test_streamlines_are_drawn_and_so_is_a_fluid_at_rest(mesh, tmp_path):
    swirl = np.zeros((mesh.dim, len(mesh.points)))
    swirl[:2] = 0.5 - mesh.points[:, 1], mesh.points[:, 0] - 0.5
    flow, rest = (pixels(figures.streamlines(mesh, v, tmp_path / "v.png", title="v")) for v in (swirl, 0 * swirl))
    assert hues(flow) > 200 and flow.shape == rest.shape and (flow != rest).any(axis=-1).mean() > 0.05


def test_a_long_channel_is_drawn_at_a_legible_size(tmp_path):
    mesh = rectangle(width=2.2, height=0.41)
    v = np.stack([mesh.points[:, 1] * (0.41 - mesh.points[:, 1]), 0 * mesh.points[:, 0]])
    height, width = pixels(figures.streamlines(mesh, v, tmp_path / "v.png", title="v", unit="m/s")).shape[:2]
    assert width > 900 and height > 300


def test_convergence_says_the_observed_order_and_refuses_what_does_not_fit(tmp_path):
    h = np.array([0.4, 0.2, 0.1])
    errors = {"L2": h**2, "H1": [0.4, np.nan, 0.1]}
    path = figures.convergence(tmp_path / "c.png", h, errors, orders={"L2": 2}, title="Poisson")
    assert hues(pixels(path)) > 20
    with pytest.raises(InputError, match="must be 3 numbers"):
        figures.convergence(path, h, {"L2": [1.0]})
    with pytest.raises(InputError, match="positive"):
        figures.convergence(path, [0.1, 0.0], {})


def test_a_drawing_shows_itself_in_notebooks_and_is_saved(tmp_path):
    mesh = rectangle()
    drawing = figures.draw(mesh, mesh.points[:, 0], kind="surface", title="u")
    assert drawing._repr_png_().startswith(b"\x89PNG")
    assert drawing.save(tmp_path / "u.png").read_bytes() == drawing.png
    with pytest.raises(InputError, match="kind must be one of field"):
        figures.draw(mesh, mesh.points[:, 0], kind="pie")
