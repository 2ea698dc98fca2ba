"""Quantities of an evolution against time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures.multiples import MOST, labelled, multiples, widen
from variform.figures.page import BLUE, save


def history(
    history: Mapping[str, np.ndarray], path: Path, *, title: str = "", units: Mapping[str, str] | None = None
) -> Path:
    """Draw each quantity over the times "t" [s], one small picture each.

    Args:
        history: "t" and the quantities by name, each of shape (n,), n at least 2; of more than 12 the first ones, and
            the title says so. Where a value is not finite, the line has a gap.
        path: the PNG to write.
        units: of the quantities whose unit is known.

    Raises:
        InputError: no quantity, fewer than two times, or another number of values than of times.
    """
    t = np.asarray(history.get("t", ()), dtype=float)
    names = [name for name in history if name != "t"]
    if len(t) < 2 or not names:
        raise InputError('a history needs two times "t" or more, and a quantity')
    if len(names) > MOST:
        title = f"{title}{', ' if title else ''}{MOST} of {len(names)} quantities"
    names, units = names[:MOST], units or {}
    titles = [labelled(name, units.get(name, "")) for name in names]
    with multiples(titles, "t [s]", title=title) as (figure, panels):
        for name, axes in zip(names, panels, strict=True):
            values = np.asarray(history[name], dtype=float)
            if values.shape != t.shape:
                raise InputError(f"{name} must have shape {t.shape}, as t, got {values.shape}")
            axes.plot(t, np.where(np.isfinite(values), values, np.nan), color=BLUE, linewidth=1.8)
            axes.set_xlim(t[0], t[-1])
            widen(axes, values)
        return save(figure, path)
