"""Pictures of fields on a mesh: PyVista renders the body off-screen, matplotlib sets the words, axes and scales."""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import ComputationError, InputError
from variform.mesh import Mesh
from variform.runs import atomic

if TYPE_CHECKING:  # PyVista takes a second to import, so the functions that need it do that themselves
    import pyvista
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SEQUENTIAL, DIVERGING = "viridis", "RdBu_r"  # perceptually uniform; told apart by colour-blind readers
BLUE, VERMILION, INK, MISSING = "#0072B2", "#D55E00", "#222222", "#d9d9d9"  # two of Okabe and Ito's, and two greys
TOWARDS_EYE = np.array([1.0, -1.5, 1.0])  # in 3D; the octant on this side is cut away
MARGIN, TITLE, TICKS, BAR, NUMBERS = 26, 58, 62, 22, 104  # pixels around a panel
ARROW = 34  # pixels from arrow to arrow
SMALLEST_BAR = 190  # pixels; a flatter body gets a colour bar taller than itself


def field(
    mesh: Mesh, values: np.ndarray, path: Path, *, title: str, unit: str = "", clim: tuple[float, float] | None = None
) -> Path:
    """Picture of one field: a line in 1D, a surface seen from above in 2D, a body with one octant cut away in 3D.

    A vector is shown by its magnitude and by arrows.

    Args:
        mesh: where the field lives.
        values: at the mesh's points [unit], shape (n,) or (dim, n) as of `Solution.at`; grey where not finite.
        path: the PNG to write, about 900 by 700 pixels, less for a flat body.
        clim: lowest and highest value of the scale [unit]; those of the field by default.

    Returns:
        The path.

    Raises:
        InputError: values of another shape, or none of them finite.
        ComputationError: this machine cannot render.
    """
    values = _checked(mesh, values, "values")
    if mesh.dim == 1:
        return _line_plot(mesh, values, path, title, unit, clim)
    scale = _Scale(*(clim or _limits(_magnitude(values))), SEQUENTIAL)
    picture = _picture(mesh, values, scale, box=(720, 590), arrows=True)
    left, bottom = (MARGIN + TICKS, TICKS) if mesh.dim == 2 else (MARGIN, MARGIN)
    tall = max(picture.height, SMALLEST_BAR)
    with _figure(left + picture.width + MARGIN + BAR + NUMBERS, TITLE + tall + bottom) as figure:
        _place(figure, picture, left, bottom + (tall - picture.height) // 2, title, ticks=mesh.dim == 2)
        _colour_bar(figure, scale, left + picture.width + MARGIN, bottom, tall, unit)
        return _write(figure, path)


def comparison(
    mesh: Mesh,
    truth: np.ndarray,
    prediction: np.ndarray,
    path: Path,
    *,
    titles: Sequence[str] = ("Reference", "Prediction", "Error"),
    unit: str = "",
) -> Path:
    """Truth | prediction | error. The first two share one scale; that of the error, prediction - truth, is symmetric.

    Stacked instead of side by side when the body is more than 2.5 times as wide as tall; in 1D truth and prediction
    share one pair of axes. Of vectors, the error is the magnitude of the difference, on a scale from zero.

    Args, returns, raises: as for `field`; `titles` holds one for each of the three.
    """
    truth, prediction = _checked(mesh, truth, "truth"), _checked(mesh, prediction, "prediction")
    if truth.shape != prediction.shape:
        raise InputError(f"truth and prediction must have one shape, got {truth.shape} and {prediction.shape}")
    if len(titles) != 3:
        raise InputError(f"titles must be three (truth, prediction, error), got {len(titles)}")
    if mesh.dim == 1:
        return _line_comparison(mesh, truth, prediction, path, titles, unit)
    shared = _Scale(*_limits(_magnitude(truth), _magnitude(prediction)), SEQUENTIAL)
    error = prediction - truth
    largest = _largest(error)
    signed = _Scale(-largest, largest, DIVERGING) if error.ndim == 1 else _Scale(0.0, largest, "magma")

    width, height = np.ptp(_View.of(mesh.dim).project(mesh.points), axis=0)
    stacked = width > 2.5 * height
    box = (860, 300) if stacked else (440, 520)
    pictures = [
        _picture(mesh, truth, shared, box=box, arrows=True),
        _picture(mesh, prediction, shared, box=box, arrows=True),
        _picture(mesh, error, signed, box=box, arrows=False),
    ]
    lay_out = _stack if stacked else _side_by_side
    return lay_out(pictures, [shared, shared, signed], titles, unit, path)


# Layout, in pixels from the lower left corner


def _side_by_side(pictures: list[_Picture], scales: list[_Scale], titles: Sequence[str], unit: str, path: Path) -> Path:
    width, height = pictures[0].width, pictures[0].height
    tall = max(height, SMALLEST_BAR)
    second = MARGIN + width + MARGIN
    third = second + width + MARGIN + BAR + NUMBERS
    with _figure(third + width + MARGIN + BAR + NUMBERS, TITLE + tall + MARGIN) as figure:
        for picture, x, title in zip(pictures, (MARGIN, second, third), titles, strict=True):
            _place(figure, picture, x, MARGIN + (tall - height) // 2, title)
        for scale, x in ((scales[1], second), (scales[2], third)):
            _colour_bar(figure, scale, x + width + MARGIN, MARGIN, tall, unit)
        return _write(figure, path)


def _stack(pictures: list[_Picture], scales: list[_Scale], titles: Sequence[str], unit: str, path: Path) -> Path:
    width, height = pictures[0].width, pictures[0].height
    tall = max(height, SMALLEST_BAR)
    row = TITLE + height
    total = 3 * row + MARGIN + (tall - height)
    with _figure(MARGIN + width + MARGIN + BAR + NUMBERS, total) as figure:
        for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
            _place(figure, picture, MARGIN, total - (i + 1) * row, title)
        _colour_bar(figure, scales[0], MARGIN + width + MARGIN, total - 2 * row, row + height, unit)
        _colour_bar(figure, scales[2], MARGIN + width + MARGIN, total - 2 * row - TITLE - tall, tall, unit)
        return _write(figure, path)


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A blank page of width by height pixels, without pyplot, so that nothing global is touched for long."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look = {
        "font.size": 13,
        "axes.titlesize": 15,
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.edgecolor": "#888888",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **look, "backend": matplotlib.rcParams["backend"]}):
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        FigureCanvasAgg(figure)
        yield figure


def _axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    w, h = figure.get_size_inches() * figure.dpi
    return figure.add_axes((x / w, y / h, width / w, height / h))


def _place(figure: Figure, picture: _Picture, x: float, y: float, title: str, *, ticks: bool = False) -> None:
    axes = _axes(figure, x, y, picture.width, picture.height)
    axes.imshow(picture.image, extent=picture.extent, aspect="auto", interpolation="nearest")
    axes.set_title(title, parse_math=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if ticks:
        axes.set(xlabel="x", ylabel="y")
        _number(axes.xaxis)
        _number(axes.yaxis)
        axes.tick_params(length=4, width=0.8, color="#888888")
    if picture.outline is not None:
        from matplotlib.collections import LineCollection

        axes.add_collection(LineCollection(picture.outline, colors=INK, capstyle="round", clip_on=False), autolim=False)
    if picture.arrows is not None:
        _draw_arrows(axes, picture)
    if picture.triad is not None:
        _draw_triad(axes, picture)


def _draw_arrows(axes: Axes, picture: _Picture) -> None:
    """Arrows centred on their feet, the longest as long as the lattice is wide."""
    feet, vectors = picture.arrows
    metres_a_pixel = (picture.extent[1] - picture.extent[0]) / picture.width
    longest = np.max(np.linalg.norm(vectors, axis=1), initial=0.0)
    if longest > 0.0:
        lengths = vectors / longest * ARROW * metres_a_pixel
        look = {"color": "white", "edgecolor": INK, "linewidth": 0.6, "width": 3.2, "units": "dots", "headwidth": 3.8}
        axes.quiver(*feet.T, *lengths.T, angles="xy", scale_units="xy", scale=1.0, pivot="mid", **look)


def _draw_triad(axes: Axes, picture: _Picture) -> None:
    """The directions of x, y, z in the lower left corner."""
    for name, direction in zip("xyz", picture.triad, strict=True):
        look = {"xycoords": "axes pixels", "annotation_clip": False, "color": "#444444"}
        foot = np.array([30.0, 30.0])
        axes.annotate("", foot + 34 * direction, foot, arrowprops={"arrowstyle": "-", "color": "#666666"}, **look)
        axes.annotate(name, foot + 46 * direction, ha="center", va="center", fontsize=11, **look)


def _colour_bar(figure: Figure, scale: _Scale, x: float, y: float, height: float, unit: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = _axes(figure, x, y, BAR, height)
    bar = figure.colorbar(ScalarMappable(Normalize(scale.low, scale.high), scale.colours), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=4, width=0.8, color="#888888")
    bar.ax.set_ylabel("" if unit == "-" else unit, parse_math=False)
    bar.ax.yaxis.offsetText.set(ha="left", va="bottom")
    _number(bar.ax.yaxis)


def _number(axis: Axis) -> None:
    """Few round numbers, with a power of ten common to all of them where they are large or small."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    formatter = ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-3, 4))
    plain = formatter.get_offset  # "1e−3"; matplotlib's mathtext would say 10⁻³, but takes longer than all other words
    formatter.get_offset = lambda: _power_of_ten(plain())
    axis.set_major_formatter(formatter)
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))


def _power_of_ten(text: str) -> str:
    """'1e−3' as '×10⁻³'."""
    _, e, power = text.partition("e")
    return f"×10{power.translate(str.maketrans('-−0123456789', '⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}" if e else text


def _write(figure: Figure, path: Path) -> Path:
    """The figure as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


# One dimension


def _line_plot(
    mesh: Mesh, values: np.ndarray, path: Path, title: str, unit: str, clim: tuple[float, float] | None
) -> Path:
    order = np.argsort(mesh.points[:, 0])
    with _figure(900, 580) as figure:
        axes = _axes(figure, 96, 66, 774, 580 - 66 - TITLE)
        axes.plot(mesh.points[order, 0], values.ravel()[order], color=BLUE, linewidth=2.2)
        _dress(axes, title, unit)
        axes.set_ylim(clim)
        return _write(figure, path)


def _line_comparison(
    mesh: Mesh, truth: np.ndarray, prediction: np.ndarray, path: Path, titles: Sequence[str], unit: str
) -> Path:
    order = np.argsort(mesh.points[:, 0])
    x, truth, prediction = mesh.points[order, 0], truth.ravel()[order], prediction.ravel()[order]
    with _figure(1500, 560) as figure:
        left, right = (_axes(figure, x0, 66, 620, 560 - 66 - TITLE) for x0 in (96, 850))
        left.plot(x, truth, color=BLUE, linewidth=5.0, alpha=0.45, label=titles[0])
        left.plot(x, prediction, color=VERMILION, linewidth=1.8, linestyle=(0, (5, 2)), label=titles[1])
        for text in left.legend(frameon=False).get_texts():
            text.set_parse_math(False)
        _dress(left, f"{titles[0]} and {titles[1]}", unit)
        right.axhline(0.0, color="#888888", linewidth=0.8)
        right.plot(x, prediction - truth, color=VERMILION, linewidth=1.8)
        _dress(right, titles[2], unit)
        largest = 1.08 * _largest(prediction - truth)
        right.set_ylim(-largest, largest)
        return _write(figure, path)


def _dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title + (f" [{unit}]" if unit not in ("", "-") else ""), parse_math=False)
    axes.set_xlabel("x")
    _number(axes.xaxis)
    _number(axes.yaxis)
    axes.margins(x=0)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


# Values and scales


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    colours: str


def _checked(mesh: Mesh, values: np.ndarray, name: str) -> np.ndarray:
    """Real values at the points, shape (n,) or (dim, n), NaN where not finite."""
    values, n = np.asarray(values), len(mesh.points)
    if values.shape not in ((n,), (mesh.dim, n)):
        raise InputError(f"{name} must have shape ({n},) or ({mesh.dim}, {n}), got {values.shape}")
    if np.iscomplexobj(values):
        raise InputError(f"{name} must be real, got {values.dtype}: draw the real part, the magnitude or the phase")
    finite = np.isfinite(values)
    if not finite.reshape(-1, n).all(axis=0).any():
        raise InputError(f"{name} has no finite number to draw")
    return np.where(finite, values, np.nan).astype(np.float64)


def _magnitude(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 1 else np.linalg.norm(values, axis=0)


def _limits(*values: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value; a little around a constant."""
    low, high = min(np.nanmin(v) for v in values), max(np.nanmax(v) for v in values)
    pad = 0.0 if high - low > 1e-12 * max(abs(low), abs(high)) else max(0.1 * abs(high), 1e-300)
    return float(low - pad), float(high + pad)


def _largest(error: np.ndarray) -> float:
    """The largest magnitude of an error; 1 if there is no error, so that a scale has two ends."""
    magnitude = np.abs(_magnitude(error))
    return float(np.nanmax(magnitude, initial=0.0)) or 1.0


# Rendering


@dataclass(frozen=True)
class _View:
    """Parallel projection along `eye`; rows of axes (2, 3): where the picture's right and up point in space."""

    axes: np.ndarray
    eye: np.ndarray

    @classmethod
    def of(cls, dim: int) -> _View:
        if dim == 2:
            return cls(np.eye(2, 3), np.array([0.0, 0.0, 1.0]))
        eye = TOWARDS_EYE / np.linalg.norm(TOWARDS_EYE)
        right = np.cross([0.0, 0.0, 1.0], eye)
        right /= np.linalg.norm(right)
        return cls(np.stack([right, np.cross(eye, right)]), eye)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates in the picture's plane, shape (n, 2), of vectors (n, dim)."""
        return vectors @ self.axes[:, : vectors.shape[1]].T


@dataclass(frozen=True)
class _Picture:
    """A rendered body.

    Args:
        image: shape (height, width, 3), uint8.
        extent: left, right, bottom, top in the picture's plane [m].
        outline: segments to draw in the picture's plane, shape (k, 2, 2); in 2D only.
        arrows: feet (n, 2) and vectors (n, 2) in the picture's plane, the longest as long as the lattice is wide.
        triad: where x, y, z point in the picture, shape (3, 2); in 3D only.
    """

    image: np.ndarray
    extent: tuple[float, float, float, float]
    outline: np.ndarray | None = None
    arrows: tuple[np.ndarray, np.ndarray] | None = None
    triad: np.ndarray | None = None

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]


def _picture(mesh: Mesh, values: np.ndarray, scale: _Scale, *, box: tuple[int, int], arrows: bool) -> _Picture:
    """Render the body as large as the box [pixels] allows."""
    view = _View.of(mesh.dim)
    flat = view.project(mesh.points)
    low, high = flat.min(axis=0), flat.max(axis=0)
    pixels_a_metre = np.min(box / (high - low))
    size = np.maximum(np.round(pixels_a_metre * (high - low)), 40).astype(int)
    centre, half = (low + high) / 2, size / pixels_a_metre / 2
    low, high = centre - half, centre + half  # the window, now of whole pixels
    grid = _grid(mesh, values)
    faces, edges = ([grid], []) if mesh.dim == 2 else _opened(grid)
    finer = mesh.dim - 1  # in 3D edges lie inside the picture: the mean of 2 by 2 pixels is quicker than VTK's own way
    with _plotter(finer * size) as plotter:
        for part in faces:
            _add(plotter, part, scale, lit=mesh.dim == 3)
        for part in edges:
            plotter.add_mesh(part, color=INK, line_width=2.0, lighting=False, copy_mesh=False)
        _look(plotter, view, centre, 2 * half[1])
        image = np.asarray(plotter.screenshot(return_img=True))
        feet = _lattice(plotter, finer, view, low, high) if arrows and values.ndim == 2 else None
    image = image.reshape(size[1], finer, size[0], finer, 3).mean(axis=(1, 3)).astype(np.uint8)
    return _Picture(
        image,
        extent=(low[0], high[0], low[1], high[1]),
        outline=_boundary(grid) if mesh.dim == 2 else None,
        arrows=None if feet is None else _arrows(feet, faces, view),
        triad=view.axes.T if mesh.dim == 3 else None,
    )


def _grid(mesh: Mesh, values: np.ndarray) -> pyvista.UnstructuredGrid:
    """The body for VTK, with the magnitude as `values` and, of a vector field, `vectors`."""
    pyvista = _pyvista()
    kind = {2: pyvista.CellType.TRIANGLE, 3: pyvista.CellType.TETRA}[mesh.dim]
    cells = mesh.cells if mesh.dim == 2 else _right_handed(mesh)
    grid = pyvista.UnstructuredGrid({kind: cells}, _in_space(mesh.points))
    grid.point_data["values"] = _magnitude(values)
    if values.ndim == 2:
        grid.point_data["vectors"] = _in_space(values.T)
    return grid


def _right_handed(mesh: Mesh) -> np.ndarray:
    """Tetrahedra numbered as VTK wants them, so that the normals of their surface point outwards."""
    corners = mesh.points[mesh.cells]
    volume = np.linalg.det(corners[:, 1:] - corners[:, :1])
    return np.where(volume[:, None] < 0, mesh.cells[:, [0, 2, 1, 3]], mesh.cells)


def _in_space(vectors: np.ndarray) -> np.ndarray:
    """Shape (n, 3) from (n, dim)."""
    return np.pad(vectors, ((0, 0), (0, 3 - vectors.shape[1])))


def _opened(grid: pyvista.UnstructuredGrid) -> tuple[list[pyvista.PolyData], list[pyvista.PolyData]]:
    """The faces and the edges of a body without the octant that faces the eye."""
    surface = grid.extract_surface(algorithm="dataset_surface")
    creases = surface.extract_feature_edges(boundary_edges=False, non_manifold_edges=False, manifold_edges=False)
    smooth = surface.compute_normals(cell_normals=False, split_vertices=True, feature_angle=30.0)
    outside = _without_octant(smooth, grid.center)
    inside = _octant_walls(grid)
    outlines = [
        wall.extract_feature_edges(feature_edges=False, non_manifold_edges=False, manifold_edges=False)
        for wall in inside
        if wall.n_cells
    ]
    edges = _without_octant(creases, grid.center) + outlines
    return [part for part in outside + inside if part.n_cells], [part for part in edges if part.n_cells]


def _without_octant(surface: pyvista.PolyData, centre: Sequence[float]) -> list[pyvista.PolyData]:
    """What lies behind the first plane; before it and behind the second; before these two and behind the third."""
    parts = []
    for normal in np.diag(np.sign(TOWARDS_EYE)):
        if surface.n_cells:
            parts.append(surface.clip(normal, origin=centre))
            surface = surface.clip(-normal, origin=centre)
    return parts


def _octant_walls(grid: pyvista.UnstructuredGrid) -> list[pyvista.PolyData]:
    """The three plane cuts through the body that the missing octant lays bare."""
    normals, walls = np.diag(np.sign(TOWARDS_EYE)), []
    for i, normal in enumerate(normals):
        wall = grid.slice(normal, origin=grid.center)
        for other in np.delete(normals, i, axis=0):
            wall = wall.clip(-other, origin=grid.center) if wall.n_cells else wall
        walls.append(wall)
    return walls


def _add(plotter: pyvista.Plotter, faces: pyvista.DataSet, scale: _Scale, *, lit: bool) -> None:
    """Colour by `values`. Ambient and diffuse light add up to one: what faces the eye has the colour of the scale."""
    light = {"ambient": 0.6, "diffuse": 0.4} if lit else {}
    colours = {"clim": (scale.low, scale.high), "cmap": scale.colours, "nan_color": MISSING, "show_scalar_bar": False}
    plotter.add_mesh(faces, scalars="values", copy_mesh=False, lighting=lit, smooth_shading=False, **colours, **light)


def _look(plotter: pyvista.Plotter, view: _View, centre: np.ndarray, height: float) -> None:
    """Point the camera so that a window of the given height [m] around the centre fills the picture."""
    bounds = np.array(plotter.bounds).reshape(3, 2)
    middle = bounds.mean(axis=1)
    middle = middle + (centre - view.project(middle[None])[0]) @ view.axes
    camera = plotter.camera
    camera.focal_point = middle
    camera.position = middle + 3 * np.linalg.norm(np.ptp(bounds, axis=1)) * view.eye
    camera.up = view.axes[1]
    camera.enable_parallel_projection()
    camera.parallel_scale = height / 2
    plotter.renderer.reset_camera_clipping_range()


def _lattice(plotter: pyvista.Plotter, finer: int, view: _View, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Points in space on the visible body, at a regular lattice of the picture; shape (n, 3)."""
    depth = plotter.get_image_depth()
    step = finer * ARROW
    rows, columns = np.mgrid[step // 2 : depth.shape[0] : step, step // 2 : depth.shape[1] : step].reshape(2, -1)
    inside = np.isfinite(depth[rows, columns])
    rows, columns = rows[inside], columns[inside]
    across = np.stack([(columns + 0.5) / depth.shape[1], 1 - (rows + 0.5) / depth.shape[0]], axis=1)
    in_plane = (low + across * (high - low)) @ view.axes
    along = depth[rows, columns] + np.dot(plotter.camera.position, view.eye)
    return in_plane + along[:, None] * view.eye


def _arrows(feet: np.ndarray, faces: list[pyvista.DataSet], view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Feet and vectors in the picture's plane; a vector is that of the nearest vertex."""
    from scipy.spatial import cKDTree

    points, vectors = (np.concatenate(a) for a in zip(*((p.points, p["vectors"]) for p in faces), strict=True))
    finite = np.isfinite(vectors).all(axis=1)
    _, nearest = cKDTree(points[finite]).query(feet)
    return view.project(feet), view.project(vectors[finite][nearest])


def _boundary(grid: pyvista.UnstructuredGrid) -> np.ndarray:
    """The boundary's segments in 2D, shape (k, 2, 2)."""
    surface = grid.extract_surface(algorithm="dataset_surface")
    edges = surface.extract_feature_edges(feature_edges=False, non_manifold_edges=False, manifold_edges=False)
    return np.asarray(edges.points)[edges.lines.reshape(-1, 3)[:, 1:], :2]


@contextlib.contextmanager
def _plotter(size: np.ndarray) -> Iterator[pyvista.Plotter]:
    """An off-screen plotter that needs no X server: VTK renders through EGL, failing that X, failing that OSMesa.

    Raises:
        ComputationError: none of the three is there. VTK would go on and crash the process.
    """
    pyvista = _pyvista()
    with _egl_first():
        plotter = pyvista.Plotter(off_screen=True, window_size=[int(n) for n in size], lighting="none")
        try:
            window = type(plotter.render_window).__name__
            if window == "vtkOSOpenGLRenderWindow" and not ctypes.util.find_library("OSMesa"):
                raise ComputationError(
                    "cannot draw: this machine offers no OpenGL, neither EGL nor an X server nor OSMesa; "
                    "install Mesa's EGL (Debian: libegl1 and libgl1-mesa-dri)"
                )
            plotter.render_window.SetMultiSamples(0)
            plotter.set_background("white")
            plotter.add_light(pyvista.Light(light_type="headlight"))
            yield plotter
        finally:
            plotter.close()


def _pyvista() -> ModuleType:
    _load_triton_first()
    try:
        import pyvista
    except ImportError as error:  # of a system library, as a rule
        raise ComputationError(f"cannot draw: PyVista does not load: {error}") from error
    return pyvista


@functools.cache
def _load_triton_first() -> None:
    """Load the compiler that comes with torch, if it is there, ahead of Mesa's.

    Both hold an LLVM: after a picture was drawn by Mesa's llvmpipe, `import torch._dynamo` (any optimiser does it)
    crashed in Triton's (torch 2.15, Mesa 22.3). In this order both work; the library alone loads in 0.1 s.
    """
    triton = importlib.util.find_spec("triton")
    for folder in triton.submodule_search_locations or () if triton else ():
        with contextlib.suppress(OSError):  # no such library, or not for this machine: nothing to crash
            ctypes.CDLL(os.path.join(folder, "_C", "libtriton.so"))


@contextlib.contextmanager
def _egl_first() -> Iterator[None]:
    """VTK tries X first and, where there is none, says so at every picture; asking for EGL spares both."""
    from vtkmodules.vtkCommonCore import vtkLogger

    name, verbosity = "VTK_DEFAULT_OPENGL_WINDOW", vtkLogger.GetCurrentVerbosityCutoff()
    chosen = os.environ.get(name)
    os.environ[name] = chosen or "vtkEGLRenderWindow"
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)
    try:
        yield
    finally:
        vtkLogger.SetStderrVerbosity(verbosity)
        if chosen is None:
            del os.environ[name]
