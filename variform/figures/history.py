"""Quantities of an evolution against time: one small picture each, above one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures.lines import OKABE_ITO
from variform.figures.page import TITLE, axes_at, number, page, save

ROW, WIDTH, LEFT, GAP = 190, 900, 112, 56
MOST = 12
"""Quantities in one picture."""


def history(history: Mapping[str, np.ndarray], path: Path, *, title: str = "") -> Path:
    """Draw each quantity over the times "t" [s].

    Args:
        history: "t" and the quantities by name, each of shape (n,), n at least 2.
        path: the PNG to write.

    Raises:
        InputError: no quantity, or fewer than two times.
    """
    t = np.asarray(history.get("t", ()), dtype=float)
    names = [name for name in history if name != "t"][:MOST]
    if len(t) < 2 or not names:
        raise InputError('a history needs two times "t" or more, and a quantity')
    height = TITLE + len(names) * (ROW + GAP)
    with page(WIDTH, height) as figure:
        for i, name in enumerate(names):
            bottom = (len(names) - 1 - i) * (ROW + GAP) + GAP - 6
            axes = axes_at(figure, LEFT, bottom, WIDTH - LEFT - 26, ROW - 10)
            values = np.asarray(history[name], dtype=float)
            axes.plot(t, values, color=OKABE_ITO[i % len(OKABE_ITO)], linewidth=1.8)
            axes.set_title(name.replace("_", " "), parse_math=False, fontsize=12, loc="left", pad=5)
            if i == len(names) - 1:
                axes.set_xlabel("t [s]")
            number(axes.xaxis)
            number(axes.yaxis)
            axes.set_xlim(t[0], t[-1])
            spread, size = np.ptp(values[np.isfinite(values)]), np.nanmax(abs(values))
            if spread <= 1e-9 * size:  # what is conserved is a straight line, not an enlarged rounding error
                middle, half = values[0], (abs(values[0]) or 1.0) * 0.05
                axes.set_ylim(middle - half, middle + half)
            axes.grid(color="#e5e5e5", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
        if title:
            figure.suptitle(title, parse_math=False)
        return save(figure, path)
