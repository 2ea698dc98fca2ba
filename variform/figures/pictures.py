"""The pictures of fields on bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures import lines
from variform.figures.page import (
    BAR,
    GHOST,
    MARGIN,
    NUMBERS,
    SMALLEST_BAR,
    TICKS,
    TITLE,
    colour_bar,
    draw_flow,
    page,
    place,
    save,
)
from variform.figures.render import (
    EDGE,
    Picture,
    View,
    creases_of,
    grid_of,
    outline_of,
    probe,
    render,
    shoot,
    smooth,
    stream_tubes,
    surface_of,
)
from variform.figures.values import DIVERGING, SEQUENTIAL, Scale, checked, largest_of, limits, magnitude_of
from variform.mesh import Mesh

BOX = (720, 590)  # pixels for the body
VEIL = {"color": "#b0b0b0", "opacity": 0.15, "lighting": False}


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
    values = checked(mesh, values, "values")
    if mesh.dim == 1:
        return lines.plot(mesh, values, path, title, unit, clim)
    scale = Scale(*(clim or limits(magnitude_of(values))), SEQUENTIAL)
    picture = render(mesh, values, scale, box=BOX, arrows=True)
    return _single(picture, scale, path, title, unit, ticks=mesh.dim == 2)


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
    truth, prediction = checked(mesh, truth, "truth"), checked(mesh, prediction, "prediction")
    if truth.shape != prediction.shape:
        raise InputError(f"truth and prediction must have one shape, got {truth.shape} and {prediction.shape}")
    if len(titles) != 3:
        raise InputError(f"titles must be three (truth, prediction, error), got {len(titles)}")
    if mesh.dim == 1:
        return lines.compare(mesh, truth, prediction, path, titles, unit)
    shared = Scale(*limits(magnitude_of(truth), magnitude_of(prediction)), SEQUENTIAL)
    error = prediction - truth
    largest = largest_of(error)
    signed = Scale(-largest, largest, DIVERGING) if error.ndim == 1 else Scale(0.0, largest, "magma")

    width, height = np.ptp(View.of(mesh.dim).project(mesh.points), axis=0)
    stacked = width > 2.5 * height
    box = (860, 300) if stacked else (440, 520)
    pictures = [
        render(mesh, truth, shared, box=box, arrows=True),
        render(mesh, prediction, shared, box=box, arrows=True),
        render(mesh, error, signed, box=box, arrows=False),
    ]
    lay_out = _stack if stacked else _side_by_side
    return lay_out(pictures, [shared, shared, signed], titles, unit, path)


def warped(
    mesh: Mesh,
    displacement: np.ndarray,
    path: Path,
    *,
    title: str,
    unit: str = "",
    factor: float | None = None,
    values: np.ndarray | None = None,
) -> Path:
    """The deformed body, coloured by the magnitude of the displacement or by `values`; grey: the undeformed one.

    Args:
        displacement: at the mesh's points [m], shape (dim, n), dim 2 or 3; zero is taken where not finite.
        unit: of what gives the colour.
        factor: by which displacements are enlarged; by default such that the largest is a tenth of the body's size,
            or 1 where that is less than 2. The title says which.
        values: what to colour by, shape (n,).

    Returns, raises: as for `field`.
    """
    displacement = checked(mesh, displacement, "displacement")
    if mesh.dim == 1 or displacement.ndim == 1:
        raise InputError("displacement must be a vector field in the plane or in space")
    values = magnitude_of(displacement) if values is None else checked(mesh, values, "values")
    if values.ndim != 1:
        raise InputError(f"values must have shape ({len(mesh.points)},), got {values.shape}")
    factor = _readable_factor(mesh, displacement) if factor is None else factor
    moved = replace(mesh, points=mesh.points + factor * np.nan_to_num(displacement.T))
    before, after = surface_of(grid_of(mesh, values)), surface_of(grid_of(moved, values))
    scale = Scale(*limits(values), SEQUENTIAL)
    said = f"{title}, true scale" if factor == 1 else f"{title}, deformation × {factor:g}"
    if mesh.dim == 3:
        ghost = creases_of(before)
        undeformed = (ghost, EDGE | {"color": GHOST}) if ghost.n_cells else (before, VEIL)
        extras = [undeformed] + [(part, EDGE) for part in [creases_of(after)] if part.n_cells]
        picture = shoot(View.of(3), [smooth(after)], scale, box=BOX, extras=extras, lit=True)
    else:
        before.points = before.points - [0.0, 0.0, 0.01 * np.ptp(mesh.points)]  # below, to leave the colours alone
        picture = shoot(View.of(2), [after], scale, box=BOX, extras=[(before, VEIL)])
        picture = replace(picture, outline=outline_of(after), ghost=outline_of(before))
    return _single(picture, scale, path, said, unit, ticks=mesh.dim == 2)


def surface(mesh: Mesh, values: np.ndarray, path: Path, *, title: str, unit: str = "") -> Path:
    """A scalar field in the plane as a surface whose height and colour are the value.

    Args, returns, raises: as for `field`; values have shape (n,). Cells with a value that is not finite are left
    out.
    """
    values = checked(mesh, values, "values")
    if mesh.dim != 2 or values.ndim != 1:
        raise InputError("a surface shows a scalar field in the plane")
    whole = np.isfinite(values)[mesh.nodes].all(axis=1)
    if not whole.any():
        raise InputError("values has no cell with finite numbers to draw")
    grid = grid_of(replace(mesh, cells=mesh.cells[whole], edge_nodes=_rows(mesh.edge_nodes, whole)), values)
    scale = Scale(*limits(values), SEQUENTIAL)
    size = np.ptp(mesh.points, axis=0).max()
    height = 0.4 * size * (np.nan_to_num(values, nan=scale.low) - scale.low) / (scale.high - scale.low)
    grid.points = np.column_stack([mesh.points, height])
    floor = surface_of(grid_of(mesh, values))
    floor.points = floor.points - [0.0, 0.0, 0.08 * size]
    rim = floor.extract_feature_edges(feature_edges=False, non_manifold_edges=False, manifold_edges=False)
    extras = [(rim, EDGE | {"color": GHOST}), (floor, VEIL)]
    picture = shoot(
        View.along(np.array([0.5, -1.0, 0.75])), [smooth(surface_of(grid))], scale, box=BOX, extras=extras, lit=True
    )
    return _single(replace(picture, names=("x", "y", "")), scale, path, title, unit)


def streamlines(mesh: Mesh, velocity: np.ndarray, path: Path, *, title: str, unit: str = "") -> Path:
    """Lines along a vector field: evenly spaced over its magnitude in 2D, tubes in the transparent body in 3D.

    Args, returns, raises: as for `field`; velocity has shape (dim, n), dim 2 or 3.
    """
    velocity = checked(mesh, velocity, "velocity")
    if mesh.dim == 1 or velocity.ndim == 1:
        raise InputError("streamlines follow a vector field in the plane or in space")
    scale = Scale(*limits(magnitude_of(velocity)), SEQUENTIAL)
    if mesh.dim == 3:
        grid = grid_of(mesh, np.nan_to_num(velocity))
        body, tubes = surface_of(grid), stream_tubes(grid)
        extras = [(part, EDGE | {"color": GHOST}) for part in [creases_of(body)] if part.n_cells] + [(body, VEIL)]
        return _single(shoot(View.of(3), tubes, scale, box=BOX, extras=extras, lit=True), scale, path, title, unit)
    picture = render(mesh, velocity, scale, box=BOX, arrows=False)
    return _single(picture, scale, path, title, unit, ticks=True, flow=probe(grid_of(mesh, velocity), picture))


def _readable_factor(mesh: Mesh, displacement: np.ndarray) -> float:
    """Two digits; the true scale if that is about as readable."""
    size, largest = np.ptp(mesh.points, axis=0).max(), np.nanmax(magnitude_of(displacement))
    factor = float(f"{0.1 * size / largest:.2g}") if largest > 1e-12 * size else 1.0
    return factor if factor > 2.0 else 1.0  # what is large anyway is shown as it is


def _rows(nodes: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if nodes is None else nodes[rows]


def _single(
    picture: Picture,
    scale: Scale,
    path: Path,
    title: str,
    unit: str,
    *,
    ticks: bool = False,
    flow: tuple[np.ndarray, ...] | None = None,
) -> Path:
    """One picture with its scale."""
    left, bottom = (MARGIN + TICKS, TICKS) if ticks else (MARGIN, MARGIN)
    tall = max(picture.height, SMALLEST_BAR)
    with page(left + picture.width + MARGIN + BAR + NUMBERS, TITLE + tall + bottom) as figure:
        axes = place(figure, picture, left, bottom + (tall - picture.height) // 2, title, ticks=ticks)
        if flow is not None:
            draw_flow(axes, picture, flow)
        colour_bar(figure, scale, left + picture.width + MARGIN, bottom, tall, unit)
        return save(figure, path)


def _side_by_side(pictures: list[Picture], scales: list[Scale], titles: Sequence[str], unit: str, path: Path) -> Path:
    width, height = pictures[0].width, pictures[0].height
    tall = max(height, SMALLEST_BAR)
    second = MARGIN + width + MARGIN
    third = second + width + MARGIN + BAR + NUMBERS
    with page(third + width + MARGIN + BAR + NUMBERS, TITLE + tall + MARGIN) as figure:
        for picture, x, title in zip(pictures, (MARGIN, second, third), titles, strict=True):
            place(figure, picture, x, MARGIN + (tall - height) // 2, title)
        for scale, x in ((scales[1], second), (scales[2], third)):
            colour_bar(figure, scale, x + width + MARGIN, MARGIN, tall, unit)
        return save(figure, path)


def _stack(pictures: list[Picture], scales: list[Scale], titles: Sequence[str], unit: str, path: Path) -> Path:
    width, height = pictures[0].width, pictures[0].height
    tall = max(height, SMALLEST_BAR)
    row = TITLE + height
    total = 3 * row + MARGIN + (tall - height)
    with page(MARGIN + width + MARGIN + BAR + NUMBERS, total) as figure:
        for i, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
            place(figure, picture, MARGIN, total - (i + 1) * row, title)
        colour_bar(figure, scales[0], MARGIN + width + MARGIN, total - 2 * row, row + height, unit)
        colour_bar(figure, scales[2], MARGIN + width + MARGIN, total - 2 * row - TITLE - tall, tall, unit)
        return save(figure, path)
