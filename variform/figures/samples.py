"""The first samples of a data set side by side: inputs, then outputs, at the first and the last time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variform.errors import InputError
from variform.figures.multiples import labelled
from variform.figures.page import BLUE, axes_at, page, save

if TYPE_CHECKING:
    from variform.data.dataset import Dataset

SIDE, GAP, LEFT, BOTTOM, TOP, BAR = 220, 76, 76, 40, 60, 12  # pixels
MOST = 6
"""Columns."""


def draw_samples(data: Dataset, path: Path, count: int) -> Path:
    """Draw a row of pictures a sample; each column has a scale of its own that all rows share.

    Args:
        data: on a grid of one to three dimensions; of three the middle plane is drawn. Evolutions in one dimension are
            drawn over space and time. What lies outside the domain, by the field `inside`, stays white.
        path: the PNG to write.

    Raises:
        InputError: the values lie on meshes.
    """
    if not data.coordinates:
        raise InputError(f"{data.name} lies on meshes of its own: draw single samples")
    numbers = data.good[:count].tolist()
    columns = _columns(data)[:MOST]
    width = LEFT + len(columns) * (SIDE + GAP)
    with page(width, TOP + len(numbers) * (SIDE + BOTTOM)) as figure:
        for c, (title, read, extent) in enumerate(columns):
            shown = [read(i) for i in numbers]
            low, high = min(map(np.nanmin, shown)), max(map(np.nanmax, shown))
            for r, values in enumerate(shown):
                bottom = BOTTOM + (len(numbers) - 1 - r) * (SIDE + BOTTOM)
                axes = axes_at(figure, LEFT + c * (SIDE + GAP), bottom, SIDE, SIDE)
                axes.tick_params(length=0, labelsize=9, labelleft=c == 0 or values.ndim == 1)
                if values.ndim == 1:
                    axes.plot(np.linspace(extent[0], extent[1], len(values)), values, color=BLUE, linewidth=1.8)
                    axes.set_ylim(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
                    axes.margins(x=0)
                else:
                    image = axes.imshow(
                        values.T, origin="lower", extent=extent, aspect="auto", cmap="viridis", vmin=low, vmax=high
                    )
                    bar = axes_at(figure, LEFT + c * (SIDE + GAP) + SIDE + 6, bottom, BAR, SIDE)
                    figure.colorbar(image, cax=bar)
                    bar.tick_params(length=0, labelsize=8)
                if r == 0:
                    axes.set_title(title, parse_math=False, fontsize=12, pad=8)
                if c == 0:
                    axes.set_ylabel(f"sample {numbers[r]}", fontsize=11)
        return save(figure, path)


def _columns(data: Dataset) -> list[tuple[str, Any, tuple[float, ...]]]:
    """Title, function from the number of a sample to values (X,) or (X, Y), and extent."""
    lines = data.coordinates
    ends = [(float(a[0]), float(a[-1])) for a in lines]
    plane = ends[0] + (ends[1] if len(ends) > 1 else ())
    found: list[tuple[str, Any, tuple[float, ...]]] = []
    shown = {name: info for name, info in data.fields.items() if name != "inside" or len(data.fields) == 1}
    for name, info in shown.items():
        title = labelled(name, info.unit) + (", length" if info.shape else "")
        if not info.time_varying:
            found.append((title, lambda i, n=name: _picture(data, n, i, slice(None)), plane))
        elif len(lines) == 1:
            extent = (*ends[0], float(data.times[0]), float(data.times[-1]))
            found.append((f"{title} over x and t", lambda i, n=name: _picture(data, n, i, slice(None)).T, extent))
        else:
            for at, level in ((slice(0, 1), 0), (slice(-1, None), -1)):
                words = f"{title}, t = {data.times[level]:.4g}"
                found.append((words, lambda i, n=name, at=at: _picture(data, n, i, at), plane))
    return found


def _picture(data: Dataset, name: str, sample: int, times: slice) -> np.ndarray:
    info = data.fields[name]
    values = data.read(name, sample, times) if info.time_varying else data.read(name, sample)
    values = np.asarray(values, dtype=float)
    for _ in info.shape:
        values = np.linalg.norm(values, axis=-1)
    if info.time_varying and len(data.coordinates) > 1:
        values = values[0]
    if "inside" in data.fields and name != "inside":
        values = np.where(data.read("inside", sample) > 0, values, np.nan)
    if len(data.coordinates) == 3:
        values = values[..., values.shape[-1] // 2]
    return values
