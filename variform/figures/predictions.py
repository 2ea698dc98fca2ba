"""Truth, prediction and error of a few samples, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from variform.figures.page import BLUE, axes_at, page, save

SIDE, GAP, BAR, LEFT, BOTTOM, TOP = 210, 20, 84, 92, 30, 56  # pixels; a colour bar with its numbers takes BAR
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
        if title:
            w, h = figure.get_size_inches() * figure.dpi
            figure.text(LEFT / w, 1 - 14 / h, title, parse_math=False, fontsize=13, va="top")
        return save(figure, path)


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
