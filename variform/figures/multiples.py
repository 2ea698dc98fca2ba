"""Small multiples: pairs of axes above one another that share one quantity on the horizontal axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from variform.figures.page import TITLE, axes_at, number, page

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST = 12
"""Pairs of axes on one page."""
COLUMN = 4
"""Of these in one column; more stand in two."""
LEFT, RIGHT, BOTTOM, GAP = 104, 30, 62, 44  # pixels around a pair of axes; the gap holds its title
TALL, HEIGHT, WIDTH = 330, 176, 740  # one alone is taller


@contextmanager
def multiples(titles: Sequence[str], xlabel: str, *, title: str = "") -> Iterator[tuple[Figure, list[Axes]]]:
    """A page with a pair of axes for each title, MOST at most; the lowest of a column bear the horizontal numbers."""
    n = len(titles)
    columns = 1 if n <= COLUMN else 2
    rows = math.ceil(n / columns)
    height = TALL if n == 1 else HEIGHT
    width = WIDTH if columns == 1 else 540
    head = TITLE - 16 if title else 8
    with page(columns * (LEFT + width + RIGHT), head + rows * (GAP + height) + BOTTOM) as figure:
        found = []
        for i, words in enumerate(titles):
            row, column = i % rows, i // rows
            axes = axes_at(
                figure,
                LEFT + column * (LEFT + width + RIGHT),
                BOTTOM + (rows - 1 - row) * (GAP + height),
                width,
                height,
            )
            axes.set_title(words, parse_math=False, fontsize=13, pad=8)
            axes.grid(color="#e5e5e5", linewidth=0.8)
            axes.set_axisbelow(True)
            number(axes.xaxis)
            number(axes.yaxis)
            axes.yaxis.offsetText.set(x=-0.02, ha="right")  # beside the title, which else makes room for it
            axes.margins(x=0)
            lowest = row == rows - 1 or i == n - 1
            axes.tick_params(length=0, labelbottom=lowest)
            if lowest:
                axes.set_xlabel(xlabel, parse_math=False)
            found.append(axes)
        if title:
            w, h = figure.get_size_inches() * figure.dpi
            figure.text(LEFT / w, 1 - 16 / h, title, parse_math=False, fontsize=15, va="top")
        yield figure, found


def widen(axes: Axes, values: np.ndarray) -> None:
    """What is conserved is a straight line, not an enlarged rounding error."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        axes.set_ylim(0.0, 1.0)
    elif np.ptp(finite) <= 1e-9 * np.abs(finite).max():
        half = 0.05 * (abs(finite[0]) or 1.0)
        axes.set_ylim(finite.mean() - half, finite.mean() + half)


def labelled(name: str, unit: str = "") -> str:
    return name.replace("_", " ") + (f" [{unit}]" if unit not in ("", "-") else "")
