"""Bodies rendered off-screen by PyVista."""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from variform.errors import ComputationError
from variform.figures.values import Scale, magnitude_of
from variform.figures.vtk import vtk_grid
from variform.mesh import Mesh

if TYPE_CHECKING:  # PyVista takes a second to import, so the functions that need it do that themselves
    import pyvista

INK, MISSING = "#222222", "#d9d9d9"
TOWARDS_EYE = np.array([1.0, -1.5, 1.0])  # in 3D; the octant on this side is cut away
EDGE = {"color": INK, "line_width": 2.0, "lighting": False}
ARROW = 34  # pixels from arrow to arrow


@dataclass(frozen=True)
class View:
    """Parallel projection along `eye`; rows of axes (2, 3): where the picture's right and up point in space."""

    axes: np.ndarray
    eye: np.ndarray

    @classmethod
    def of(cls, dim: int) -> View:
        if dim == 2:
            return cls(np.eye(2, 3), np.array([0.0, 0.0, 1.0]))
        return cls.along(TOWARDS_EYE)

    @classmethod
    def along(cls, eye: np.ndarray) -> View:
        """From any direction but straight above or below; z points up."""
        eye = eye / np.linalg.norm(eye)
        right = np.cross([0.0, 0.0, 1.0], eye)
        right /= np.linalg.norm(right)
        return cls(np.stack([right, np.cross(eye, right)]), eye)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Coordinates in the picture's plane, shape (n, 2), of vectors (n, dim)."""
        return vectors @ self.axes[:, : vectors.shape[1]].T


@dataclass(frozen=True)
class Picture:
    """A rendered body.

    Args:
        image: shape (height, width, 3), uint8.
        extent: left, right, bottom, top in the picture's plane [m].
        outline: segments to draw in the picture's plane, shape (k, 2, 2); in 2D only.
        ghost: the same of the undeformed body, in grey.
        arrows: feet (n, 2) and vectors (n, 2) in the picture's plane, the longest as long as the lattice is wide.
        triad: where x, y, z point in the picture, shape (3, 2); in 3D only.
        names: of these three directions.
    """

    image: np.ndarray
    extent: tuple[float, float, float, float]
    outline: np.ndarray | None = None
    ghost: np.ndarray | None = None
    arrows: tuple[np.ndarray, np.ndarray] | None = None
    triad: np.ndarray | None = None
    names: Sequence[str] = "xyz"

    @property
    def width(self) -> int:
        return self.image.shape[1]

    @property
    def height(self) -> int:
        return self.image.shape[0]


def render(mesh: Mesh, values: np.ndarray, scale: Scale, *, box: tuple[int, int], arrows: bool) -> Picture:
    """The body as large as the box [pixels] allows, in 3D without the octant that faces the eye."""
    grid = grid_of(mesh, values)
    outside = surface_of(grid)
    if mesh.dim == 2:
        picture = shoot(View.of(2), [outside], scale, box=box, arrows=arrows and values.ndim == 2)
        return replace(picture, outline=outline_of(outside))
    faces, edges = _opened(grid, outside)
    extras = [(part, EDGE) for part in edges]
    return shoot(View.of(3), faces, scale, box=box, extras=extras, lit=True, arrows=arrows and values.ndim == 2)


def shoot(
    view: View,
    faces: list[pyvista.PolyData],
    scale: Scale,
    *,
    box: tuple[int, int],
    extras: list[tuple[pyvista.PolyData, dict[str, Any]]] | None = None,
    lit: bool = False,
    arrows: bool = False,
) -> Picture:
    """Faces coloured by their `values`, as large as the box [pixels] allows.

    Args:
        extras: what else is in the picture, with PyVista's options for it.
        arrows: find the faces' `vectors` at a lattice of the picture.
    """
    extras = extras or []
    flat = view.project(np.concatenate([part.points for part in (*faces, *(part for part, _ in extras))]))
    low, high = flat.min(axis=0), flat.max(axis=0)
    pixels_a_metre = np.min(box / np.maximum(high - low, 1e-9 * np.max(high - low)))
    size = np.maximum(np.round(pixels_a_metre * (high - low)), 40).astype(int)
    centre, half = (low + high) / 2, size / pixels_a_metre / 2
    low, high = centre - half, centre + half  # the window, now of whole pixels
    finer = 1 + lit  # where edges lie inside the picture: the mean of 2 by 2 pixels is quicker than VTK's own way
    with off_screen(finer * size) as plotter:
        for part in faces:
            _add(plotter, part, scale, lit=lit)
        for part, options in extras:
            plotter.add_mesh(part, copy_mesh=False, **options)
        _look(plotter, view, centre, 2 * half[1])
        image = np.asarray(plotter.screenshot(return_img=True))
        feet = _lattice(plotter, finer, view, low, high) if arrows else None
    return Picture(
        image.reshape(size[1], finer, size[0], finer, 3).mean(axis=(1, 3)).astype(np.uint8),
        extent=(low[0], high[0], low[1], high[1]),
        arrows=None if feet is None else _arrows(feet, faces, view),
        triad=view.axes.T if lit else None,
    )


def grid_of(mesh: Mesh, values: np.ndarray) -> pyvista.UnstructuredGrid:
    """The body for VTK, with the magnitude as `values` and, of a vector field, `vectors`."""
    fields = {"values": magnitude_of(values)} | ({"vectors": values} if values.ndim == 2 else {})
    return load_pyvista().wrap(vtk_grid(mesh, fields))


def surface_of(grid: pyvista.UnstructuredGrid) -> pyvista.PolyData:
    """What is seen of the body, in flat triangles: many a cell where cells are curved, as long as cells are few."""
    level = int(np.clip(np.log(300_000 / grid.n_cells) / np.log(4), 1, 4))
    return grid.extract_surface(algorithm="dataset_surface", nonlinear_subdivision=level).triangulate()


def smooth(surface: pyvista.PolyData) -> pyvista.PolyData:
    """With normals that vary from triangle to triangle, but for sharp edges."""
    return surface.compute_normals(cell_normals=False, split_vertices=True, feature_angle=30.0)


def creases_of(surface: pyvista.PolyData) -> pyvista.PolyData:
    """The edges of a body in space."""
    return surface.extract_feature_edges(boundary_edges=False, non_manifold_edges=False, manifold_edges=False)


def outline_of(surface: pyvista.PolyData) -> np.ndarray:
    """The boundary of a surface in the plane, shape (k, 2, 2)."""
    edges = surface.extract_feature_edges(feature_edges=False, non_manifold_edges=False, manifold_edges=False)
    return np.asarray(edges.points)[edges.lines.reshape(-1, 3)[:, 1:], :2]


def _opened(
    grid: pyvista.UnstructuredGrid, surface: pyvista.PolyData
) -> tuple[list[pyvista.PolyData], list[pyvista.PolyData]]:
    """The faces and the edges of a body without the octant that faces the eye."""
    creases = creases_of(surface)
    # After the cut: it joins points at the same place, and so would undo the split of normals at sharp edges.
    outside = [smooth(part) for part in _without_octant(surface, grid.center)]
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
    return [part for part in parts if part.n_cells]


def _octant_walls(grid: pyvista.UnstructuredGrid) -> list[pyvista.PolyData]:
    """The three plane cuts through the body that the missing octant lays bare."""
    normals, walls = np.diag(np.sign(TOWARDS_EYE)), []
    for i, normal in enumerate(normals):
        wall = grid.slice(normal, origin=grid.center)
        for other in np.delete(normals, i, axis=0):
            wall = wall.clip(-other, origin=grid.center) if wall.n_cells else wall
        walls.append(wall)
    return walls


def _add(plotter: pyvista.Plotter, faces: pyvista.DataSet, scale: Scale, *, lit: bool) -> None:
    """Colour by `values`. Ambient and diffuse light add up to one: what faces the eye has the colour of the scale."""
    light = {"ambient": 0.6, "diffuse": 0.4} if lit else {}
    colours = {"clim": (scale.low, scale.high), "cmap": scale.colours, "nan_color": MISSING, "show_scalar_bar": False}
    actor = plotter.add_mesh(faces, scalars="values", copy_mesh=False, lighting=lit, **colours, **light)
    actor.prop.interpolation = "Phong" if lit else "Flat"  # by normals, where the surface has them


def _look(plotter: pyvista.Plotter, view: View, centre: np.ndarray, height: float) -> None:
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


def _lattice(plotter: pyvista.Plotter, finer: int, view: View, low: np.ndarray, high: np.ndarray) -> np.ndarray:
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


def _arrows(feet: np.ndarray, faces: list[pyvista.PolyData], view: View) -> tuple[np.ndarray, np.ndarray]:
    """Feet and vectors in the picture's plane; a vector is that of the nearest vertex."""
    from scipy.spatial import cKDTree

    points, vectors = (np.concatenate(a) for a in zip(*((p.points, p["vectors"]) for p in faces), strict=True))
    finite = np.isfinite(vectors).all(axis=1)
    _, nearest = cKDTree(points[finite]).query(feet)
    return view.project(feet), view.project(vectors[finite][nearest])


def probe(grid: pyvista.UnstructuredGrid, picture: Picture) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x (k,), y (l,) and the two components (l, k) at every third pixel of a picture in the plane, masked outside."""
    left, right, bottom, top = picture.extent
    x = np.linspace(left, right, picture.width // 3 + 2)
    y = np.linspace(bottom, top, picture.height // 3 + 2)
    spacing = (x[1] - x[0], y[1] - y[0], 1.0)
    lattice = load_pyvista().ImageData(dimensions=(len(x), len(y), 1), spacing=spacing, origin=(x[0], y[0], 0.0))
    found = lattice.sample(grid)
    inside = found["vtkValidPointMask"].astype(bool) & np.isfinite(found["vectors"]).all(axis=1)
    u, v = (np.ma.array(found["vectors"][:, i], mask=~inside).reshape(len(y), len(x)) for i in range(2))
    return x, y, u, v


def stream_tubes(grid: pyvista.UnstructuredGrid) -> list[pyvista.PolyData]:
    """Tubes through a lattice of points of the body; none where nothing flows."""
    bounds = np.array(grid.bounds).reshape(3, 2)
    sides = np.ptp(bounds, axis=1)
    counts = np.clip(np.round(5 * sides / sides.max()), 2, 5).astype(int)
    ticks = [low + (np.arange(k) + 0.5) / k * side for low, k, side in zip(bounds[:, 0], counts, sides, strict=True)]
    seeds = load_pyvista().PolyData(np.stack(np.meshgrid(*ticks), axis=-1).reshape(-1, 3)[::2])
    lines = grid.streamlines_from_source(seeds, "vectors", max_length=2 * sides.sum(), integration_direction="both")
    return [lines.tube(radius=0.004 * np.linalg.norm(sides), n_sides=10)] if lines.n_lines else []


@contextlib.contextmanager
def off_screen(size: np.ndarray) -> Iterator[pyvista.Plotter]:
    """An off-screen plotter that needs no X server: VTK renders through EGL, failing that X, failing that OSMesa.

    Raises:
        ComputationError: none of the three is there. VTK would go on and crash the process.
    """
    pyvista = load_pyvista()
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


def load_pyvista() -> ModuleType:
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
