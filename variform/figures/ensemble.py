"""Quantities of many instances: lines and maps over what was swept, histograms of what was drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from variform.errors import InputError
from variform.figures.multiples import MOST, labelled, multiples, widen
from variform.figures.page import BAR, BLUE, MARGIN, NUMBERS, TITLE, VERMILION, axes_at, colour_bar, number, page, save
from variform.figures.values import SEQUENTIAL, Scale, limits

if TYPE_CHECKING:
    from matplotlib.axis import Axis

FEW = 40
"""Points of a line that are marked one by one."""


def sweep(x: Sequence[Any], quantities: Mapping[str, np.ndarray], path: Path, *, label: str, title: str = "") -> Path:
    """Each quantity against what was swept, one small picture each.

    Args:
        x: numbers, shown on a logarithmic scale where they grow in equal ratios over more than a decade, or words.
        quantities: name -> shape (n,); a cross at the foot marks an instance that has none.
        label: of the horizontal axis.

    Raises:
        InputError: nothing to draw.
    """
    if len(x) < 2 or not quantities:
        raise InputError("a sweep needs two values or more, and a quantity")
    words = not all(isinstance(v, int | float) for v in x)
    at = np.arange(len(x)) if words else np.asarray(x, dtype=float)
    order = np.argsort(at, kind="stable")
    names = list(quantities)[:MOST]
    with multiples([labelled(name) for name in names], label, title=title) as (figure, panels):
        for name, axes in zip(names, panels, strict=True):
            values = np.asarray(quantities[name], dtype=float)
            good = np.isfinite(values)
            line = np.where(good, values, np.nan)[order]
            marker = {"marker": "o", "markersize": 5} if len(at) <= FEW and not words else {}
            look = {"linestyle": "none", "marker": "o", "markersize": 8} if words else {"linewidth": 1.8, **marker}
            axes.plot(at[order], line, color=BLUE, clip_on=False, **look)
            missing = {"transform": axes.get_xaxis_transform(), "clip_on": False, "zorder": 5}
            axes.plot(at[~good], np.zeros((~good).sum()), "x", color=VERMILION, markersize=8, **missing)
            if _spans_decades(values):
                axes.set_yscale("log")
                _logarithmic(axes.yaxis)
            else:
                widen(axes, values)
            if words:
                axes.set_xlim(-0.5, len(at) - 0.5)
                axes.set_xticks(at, [str(v) for v in x])
            elif _geometric(at[order]):
                axes.set_xscale("log")
                _logarithmic(axes.xaxis)
        return save(figure, path)


def _geometric(x: np.ndarray) -> bool:
    if not np.all(x > 0) or x[-1] < 10 * x[0]:
        return False
    ratios = np.diff(np.log(x))
    return bool(np.ptp(ratios) < 1e-6 * ratios.max()) or x[-1] > 1000 * x[0]


def _spans_decades(values: np.ndarray) -> bool:
    """Errors and their like: positive, the largest more than 300 times the smallest."""
    good = values[np.isfinite(values)]
    return len(good) > 0 and bool(good.min() > 0) and bool(good.max() > 300 * good.min())


def _logarithmic(axis: Axis) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_locator(NullLocator())


def heat_map(
    x: Sequence[Any], y: Sequence[Any], values: np.ndarray, path: Path, *, title: str, labels: tuple[str, str]
) -> Path:
    """One quantity over a grid of two parameters, a cell an instance; those that have none are grey.

    Args:
        x, y: what was swept, along the columns and the rows.
        values: shape (len(x), len(y)); coloured by their logarithm where they span decades.
        labels: of the horizontal and the vertical axis.

    Raises:
        InputError: no finite value.
    """
    from matplotlib import colormaps

    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).any():
        raise InputError(f"{title} has no finite number to draw")
    decades = _spans_decades(values)
    values = np.log10(values) if decades else values
    scale = Scale(*limits(np.where(np.isfinite(values), values, np.nan)), SEQUENTIAL)
    colours = colormaps[SEQUENTIAL].with_extremes(bad="#d9d9d9")
    side, left, bottom = 520, 112, 66
    with page(left + side + MARGIN + BAR + NUMBERS, TITLE + side + bottom) as figure:
        axes = axes_at(figure, left, bottom, side, side)
        shown = np.ma.masked_invalid(values.T)
        axes.imshow(shown, origin="lower", aspect="auto", cmap=colours, vmin=scale.low, vmax=scale.high)
        axes.set_title(labelled(title), parse_math=False)
        axes.set_xlabel(labels[0], parse_math=False)
        axes.set_ylabel(labels[1], parse_math=False)
        axes.spines[:].set_visible(False)
        _name_cells(axes.xaxis, x)
        _name_cells(axes.yaxis, y)
        colour_bar(figure, scale, left + side + MARGIN, bottom, side, "log10" if decades else "")
        return save(figure, path)


def _name_cells(axis: Axis, values: Sequence[Any]) -> None:
    """The value of every cell, or of about eight evenly spaced ones."""
    every = -(-len(values) // 8)
    places = range(0, len(values), every)
    axis.set_ticks(list(places), [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values[::every]])
    axis.set_tick_params(length=0)


def histogram(values: np.ndarray, path: Path, *, title: str, statistics: Mapping[str, Any]) -> Path:
    """How often a quantity took which value, with its mean and percentiles.

    Args:
        values: shape (n,); those that are not finite are left out.
        statistics: "mean", and "percentiles": percentage -> value.

    Raises:
        InputError: fewer than two finite values.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        raise InputError(f"{title} has fewer than two finite numbers to draw")
    width, height, left, bottom = 780, 400, 84, 66
    with page(left + width + MARGIN, TITLE + 24 + height + bottom) as figure:
        axes = axes_at(figure, left, bottom, width, height)
        axes.hist(values, bins=_edges(values), color=BLUE, alpha=0.55, edgecolor="white", linewidth=0.8)
        for percent, value in statistics["percentiles"].items():
            middle = percent == "50"
            axes.axvline(
                value, color="#222222", linewidth=1.6 if middle else 1.0, dashes=(None, None) if middle else (4, 3)
            )
            look = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "fontsize": 11}
            axes.annotate(f"{percent} %", (value, 1.0), (0, 3), ha="center", color="#444444", **look)
        axes.axvline(statistics["mean"], color=VERMILION, linewidth=2.0)
        axes.set_title(f"mean {statistics['mean']:.4g}", loc="right", color=VERMILION, fontsize=13, pad=30)
        axes.set_title(labelled(title), parse_math=False, pad=30)
        axes.set_ylabel("instances")
        number(axes.xaxis)
        number(axes.yaxis)
        axes.tick_params(length=0)
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        return save(figure, path)


def _edges(values: np.ndarray) -> np.ndarray:
    """Bins by Freedman and Diaconis, from 8 to 60 of them; one around a constant."""
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        low, high = limits(values)
        return np.array([low, high])
    spread = np.subtract(*np.percentile(values, (75, 25)))
    step = 2 * spread / len(values) ** (1 / 3)
    count = int(np.clip(np.ptp(values) / step if step > 0 else 8, 8, 60))
    return np.linspace(values.min(), values.max(), count + 1)
