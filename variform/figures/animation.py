"""A field in motion: an animated GIF on one scale."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures import pictures
from variform.mesh import Mesh
from variform.runs import atomic

MOST_FRAMES = 40
DURATION = 100  # milliseconds a frame, the last one longer
COLOURS = 256


def animate(mesh: Mesh, frames: Sequence[tuple[float, np.ndarray]], path: Path, *, title: str, unit: str = "") -> Path:
    """Draw a scalar at several times, all on the scale of the lowest and highest value of all.

    Args:
        frames: time [s] and values at the mesh's points [unit], shape (n,); of more than MOST_FRAMES some are left out.
        path: the GIF to write.

    Raises:
        InputError: no frame, or values of another shape.
        ComputationError: this machine cannot render.
    """
    from PIL import Image

    if not frames:
        raise InputError("an animation needs frames")
    chosen = sorted({round(i) for i in np.linspace(0, len(frames) - 1, min(len(frames), MOST_FRAMES))})
    finite = np.concatenate([values[np.isfinite(values)] for _, values in frames])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1.0
    room = 0.04 * (high - low) if mesh.dim == 1 else 0.0
    images, digits = [], _digits([t for t, _ in frames])
    with tempfile.TemporaryDirectory() as folder:
        for i in chosen:
            t, values = frames[i]
            name = f"{title}   t = {t:.{digits}f} s"
            picture = Path(folder) / f"{i}.png"
            pictures.field(mesh, values, picture, title=name, unit=unit, clim=(low - room, high + room))
            with Image.open(picture) as image:
                images.append(image.convert("RGB"))
    # One palette for all frames, from all of them: colours would flicker between those of their own.
    few = images[:: max(1, len(images) // 6)]
    strip = Image.new("RGB", (few[0].width, sum(image.height for image in few)))
    for i, image in enumerate(few):
        strip.paste(image, (0, i * image.height))
    palette = strip.quantize(COLOURS)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    durations = [DURATION] * (len(images) - 1) + [10 * DURATION]
    with atomic(path) as temporary:
        images[0].save(temporary, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return path


def _digits(times: Sequence[float]) -> int:
    """Decimals with which the times differ."""
    step = min(np.diff(times), default=1.0)
    return int(np.clip(np.ceil(-np.log10(step)) + 1, 0, 9)) if step > 0 else 3
