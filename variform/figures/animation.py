"""A field in motion: an animated GIF on one scale."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.figures.lines import curve, dress
from variform.figures.page import (
    BAR,
    BLUE,
    MARGIN,
    NUMBERS,
    SMALLEST_BAR,
    TICKS,
    TITLE,
    axes_at,
    colour_bar,
    page,
    place,
)
from variform.figures.render import render
from variform.figures.values import SEQUENTIAL, Scale, checked, limits
from variform.mesh import Mesh
from variform.runs import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

MOST_FRAMES = 40
MOST_BYTES = 5_000_000
BOX = (560, 460)  # pixels for the body
DURATION = 100  # milliseconds a frame, the last one longer
COLOURS, ON_SCALE = 256, 127

Frames = Sequence[tuple[float, np.ndarray]]


def animate(mesh: Mesh, frames: Frames, path: Path, *, title: str, unit: str = "") -> Path:
    """Draw a scalar at several times, all on the scale of the lowest and highest value of all; a line in 1D.

    Args:
        frames: time [s] and values at the mesh's points [unit], shape (n,), grey where not finite; of more than 40
            frames some are left out, evenly, but for the first and the last.
        path: the GIF to write, of 5 MB at most: pictures shrink until they fit.

    Raises:
        InputError: fewer than two frames, values of another shape or a frame without any that is finite.
        ComputationError: this machine cannot render.
    """
    if len(frames) < 2:
        raise InputError(f"an animation needs two frames or more, got {len(frames)}")
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES)).round().astype(int))
    times = [float(frames[i][0]) for i in chosen]
    values = [checked(mesh, frames[i][1], f"{title} at t = {frames[i][0]:g}") for i in chosen]
    if any(v.ndim > 1 for v in values):
        raise InputError("an animation shows a scalar field: give the magnitude of a vector")
    digits = _digits(times)
    named = f"{title} [{unit}]" if mesh.dim == 1 and unit not in ("", "-") else title  # bodies have it at their scale
    titles = [f"{named}   t = {t:.{digits}f} s" for t in times]
    images = _lines(mesh, values, titles) if mesh.dim == 1 else _bodies(mesh, values, titles, unit)
    encoded = _encoded(images)
    while len(encoded) > MOST_BYTES:
        width, height = (int(0.8 * n) for n in images[0].size)
        images = [image.resize((width, height)) for image in images]
        encoded = _encoded(images)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded)
    return path


def _bodies(mesh: Mesh, values: list[np.ndarray], titles: list[str], unit: str) -> list[Image]:
    """The page is laid out once; only the body and the time change."""
    scale = Scale(*limits(*values), SEQUENTIAL)
    first = render(mesh, values[0], scale, box=BOX, arrows=False)
    left, bottom = (MARGIN + TICKS, TICKS) if mesh.dim == 2 else (MARGIN, MARGIN)
    tall = max(first.height, SMALLEST_BAR)
    images = []
    with page(left + first.width + MARGIN + BAR + NUMBERS, TITLE + tall + bottom) as figure:
        axes = place(figure, first, left, bottom + (tall - first.height) // 2, titles[0], ticks=mesh.dim == 2)
        colour_bar(figure, scale, left + first.width + MARGIN, bottom, tall, unit)
        images.append(_drawn(figure))
        for value, title in zip(values[1:], titles[1:], strict=True):
            axes.images[0].set_data(render(mesh, value, scale, box=BOX, arrows=False).image)
            axes.set_title(title, parse_math=False)
            images.append(_drawn(figure))
    return images


def _lines(mesh: Mesh, values: list[np.ndarray], titles: list[str]) -> list[Image]:
    low, high = limits(*values)
    room = 0.04 * (high - low)
    images = []
    with page(760, 500) as figure:
        axes = axes_at(figure, 96, 66, 640, 500 - 66 - TITLE)
        (line,) = axes.plot(*curve(mesh, values[0]), color=BLUE, linewidth=2.2)
        axes.set_ylim(low - room, high + room)
        for value, title in zip(values, titles, strict=True):
            line.set_data(*curve(mesh, value))
            dress(axes, title, "")
            images.append(_drawn(figure))
    return images


def _drawn(figure: Figure) -> Image:
    from PIL import Image

    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def _encoded(images: list[Image]) -> bytes:
    """A GIF with one palette for all frames, since colours would flicker between palettes of their own.

    It holds white, the scale, which the eye follows, and what else there is in several frames: words, shaded bodies.
    """
    from matplotlib import colormaps
    from PIL import Image

    some = images[:: max(1, len(images) // 6)]
    strip = Image.new("RGB", (some[0].width, some[0].height * len(some)))
    for i, image in enumerate(some):
        strip.paste(image, (0, i * image.height))
    scale = np.vstack([[255] * 3, 255 * colormaps[SEQUENTIAL](np.linspace(0, 1, ON_SCALE))[:, :3]]).round()
    other = strip.quantize(COLOURS - len(scale)).getpalette()
    palette = np.concatenate([scale, np.reshape(other, (-1, 3))]).astype(np.uint8)
    first, *rest = (_indexed(image, palette) for image in images)
    durations = [DURATION] * len(rest) + [10 * DURATION]
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)
    return buffer.getvalue()


def _indexed(image: Image, palette: np.ndarray) -> Image:
    """Each pixel by its nearest colour; Pillow's own search is approximate, and tints what is white."""
    from PIL import Image
    from scipy.spatial import cKDTree

    pixels = np.asarray(image).astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    colours, inverse = np.unique(pixels, return_inverse=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    _, nearest = cKDTree(palette).query(rgb)
    indexed = Image.fromarray(nearest.astype(np.uint8)[inverse].reshape(pixels.shape), mode="P")
    indexed.putpalette(palette.ravel().tolist())
    return indexed


def _digits(times: Sequence[float]) -> int:
    """Decimals with which the times differ."""
    step = min(np.diff(times))
    return int(np.clip(np.ceil(-np.log10(step)) + 1, 0, 9)) if step > 0 else 3
