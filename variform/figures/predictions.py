"""Truth, prediction and error of a few samples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from variform.figures.page import BLUE, axes_at, colour_bar, page, place, save
from variform.figures.values import DIVERGING, SEQUENTIAL, Scale, checked, largest_of, limits
from variform.mesh import Mesh

SIDE, GAP, BAR, LEFT, BOTTOM, TOP = 210, 20, 84, 92, 30, 56  # pixels; a colour bar with its numbers takes BAR
BODY, WIDE_BAR = 250, 104  # the same of bodies on meshes
ORANGE = "#D55E00"


def draw_predictions(
    axes: Sequence[np.ndarray],
    truth: np.ndarray,
    predicted: np.ndarray,
    path: Path,
    *,
    labels: Sequence[str],
    title: str = "",
    times: np.ndarray | None = None,
) -> Path:
    """A row a sample: truth and prediction on one colour scale, and their difference on a symmetric one.

    Args:
        axes: coordinates along each axis of the grid [m].
        truth, predicted: scalars, (rows, T, *N). In one dimension all times are drawn over x; otherwise the last one,
            and of three dimensions the middle plane. White where not finite.
        path: the PNG to write.
        labels: of the rows.
        times: (T,) [s].
    """
    lines = truth.ndim == 3 and truth.shape[1] == 1
    width = LEFT + (2 * (SIDE + GAP) + BAR if lines else 3 * (SIDE + GAP) + 2 * BAR)
    with page(width, TOP + len(truth) * (SIDE + BOTTOM)) as figure:
        for row, (y, p) in enumerate(zip(truth, predicted, strict=True)):
            bottom = BOTTOM + (len(truth) - 1 - row) * (SIDE + BOTTOM)
            (_lines if lines else _images)(figure, axes, y, p, bottom, labels[row], times, row == 0)
        _titled(figure, title)
        return save(figure, path)


def draw_on_meshes(
    meshes: Sequence[Mesh],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    path: Path,
    *,
    labels: Sequence[str],
    title: str = "",
) -> Path:
    """The same of scalars at the points of meshes, in the plane or in space; on a line as curves.

    Args:
        meshes: one a row; truth, predicted: at their points, (points,) each.
    """
    from variform.figures.render import render

    if meshes[0].dim == 1:
        return _rows_of_curves(meshes, truth, predicted, path, labels, title)
    rows = []
    for mesh, y, p in zip(meshes, truth, predicted, strict=True):
        y, p = checked(mesh, y, "truth"), checked(mesh, p, "prediction")
        shared, largest = Scale(*limits(y, p), SEQUENTIAL), largest_of(p - y)
        scales = [shared, shared, Scale(-largest, largest, DIVERGING)]
        shown = zip((y, p, p - y), scales, strict=True)
        rows.append(([render(mesh, u, scale, box=(BODY, BODY), arrows=False) for u, scale in shown], scales))
    width = LEFT + 3 * (BODY + GAP) + 2 * WIDE_BAR
    with page(width, TOP + len(rows) * (BODY + BOTTOM)) as figure:
        for row, (pictures, scales) in enumerate(rows):
            bottom = BOTTOM + (len(rows) - 1 - row) * (BODY + BOTTOM)
            _bodies(figure, pictures, scales, bottom, labels[row], ("truth", "prediction", "error") if not row else "")
        _titled(figure, title)
        return save(figure, path)


def _bodies(figure, pictures, scales, bottom, label, names) -> None:  # type: ignore[no-untyped-def]
    x, height = LEFT, figure.get_size_inches()[1] * figure.dpi
    figure.text(
        0.6 * LEFT / (figure.get_size_inches()[0] * figure.dpi),
        (bottom + BODY / 2) / height,
        label,
        rotation=90,
        fontsize=9,
        va="center",
        parse_math=False,
    )
    for i, (picture, scale) in enumerate(zip(pictures, scales, strict=True)):
        part = place(figure, picture, x, bottom + (BODY - picture.height) // 2, "")
        if names:
            part.set_title(names[i], fontsize=11, pad=6, loc="center")
        x += BODY + GAP
        if i:
            colour_bar(figure, scale, x - GAP + 8, bottom, BODY, "")
            x += WIDE_BAR


def _rows_of_curves(meshes, truth, predicted, path, labels, title) -> Path:  # type: ignore[no-untyped-def]
    width = LEFT + 2 * (SIDE + GAP) + BAR
    with page(width, TOP + len(meshes) * (SIDE + BOTTOM)) as figure:
        for row, (mesh, y, p) in enumerate(zip(meshes, truth, predicted, strict=True)):
            order, bottom = np.argsort(mesh.points[:, 0]), BOTTOM + (len(meshes) - 1 - row) * (SIDE + BOTTOM)
            x = mesh.points[order, 0]
            _lines(figure, [x], y[order][None], p[order][None], bottom, labels[row], None, row == 0)
        _titled(figure, title)
        return save(figure, path)


def _titled(figure, title) -> None:  # type: ignore[no-untyped-def]
    if title:
        w, h = figure.get_size_inches() * figure.dpi
        figure.text(LEFT / w, 1 - 14 / h, title, parse_math=False, fontsize=13, va="top")


def _lines(figure, axes, y, p, bottom, label, times, first) -> None:  # type: ignore[no-untyped-def]
    for i, (curves, name) in enumerate((((y[0], p[0]), "truth, prediction"), ((p[0] - y[0],), "error"))):
        part = axes_at(figure, LEFT + i * (SIDE + GAP + BAR - 20), bottom, SIDE, SIDE)
        for values, colour in zip(curves, (BLUE, ORANGE) if i == 0 else (ORANGE,), strict=True):
            part.plot(axes[0], values, color=colour, linewidth=1.6)
        part.margins(x=0)
        part.tick_params(length=0, labelsize=8)
        if first:
            part.set_title(name, fontsize=11, pad=6)
        if i == 0:
            part.set_ylabel(label, fontsize=9, parse_math=False)


def _images(figure, axes, y, p, bottom, label, times, first) -> None:  # type: ignore[no-untyped-def]
    extent = [float(axes[0][0]), float(axes[0][-1])]
    if len(axes) == 1:
        extent += [0.0, float(len(y))] if times is None else [float(times[0]), float(times[-1])]
        shown = [y, p]
    else:
        extent += [float(axes[1][0]), float(axes[1][-1])]
        shown = [_plane(y[-1]).T, _plane(p[-1]).T]
    error = shown[1] - shown[0]
    finite = np.concatenate([s[np.isfinite(s)] for s in shown]) if np.isfinite(shown[0]).any() else np.zeros(1)
    low, high = float(finite.min()), float(finite.max())
    worst = float(np.nanmax(np.abs(error), initial=0.0)) or 1.0
    looks = [("viridis", low, high), ("viridis", low, high), ("RdBu_r", -worst, worst)]
    x = LEFT
    for i, (values, (colours, a, b)) in enumerate(zip([*shown, error], looks, strict=True)):
        part = axes_at(figure, x, bottom, SIDE, SIDE)
        image = part.imshow(values, origin="lower", extent=extent, aspect="auto", cmap=colours, vmin=a, vmax=b)
        part.tick_params(length=0, labelsize=8, labelleft=i == 0, labelbottom=False)
        x += SIDE + GAP
        if i:
            bar = axes_at(figure, x - GAP + 6, bottom, 10, SIDE)
            figure.colorbar(image, cax=bar)
            bar.tick_params(length=0, labelsize=7)
            x += BAR - GAP
        if first:
            part.set_title(("truth", "prediction", "error")[i], fontsize=11, pad=6)
        if i == 0:
            part.set_ylabel(label, fontsize=9, parse_math=False)


def _plane(u: np.ndarray) -> np.ndarray:
    return u if u.ndim == 2 else u[..., u.shape[-1] // 2]
