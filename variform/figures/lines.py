"""Curves: fields in one dimension, and errors against mesh sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.figures.page import BLUE, TITLE, VERMILION, axes_at, number, page, power_of_ten, save
from variform.figures.values import largest_of
from variform.mesh import Mesh

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OKABE_ITO = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"


def plot(mesh: Mesh, values: np.ndarray, path: Path, title: str, unit: str, clim: tuple[float, float] | None) -> Path:
    x, values = curve(mesh, values)
    with page(900, 580) as figure:
        axes = axes_at(figure, 96, 66, 774, 580 - 66 - TITLE)
        axes.plot(x, values, color=BLUE, linewidth=2.2)
        dress(axes, title, unit)
        axes.set_ylim(clim)
        return save(figure, path)


def compare(
    mesh: Mesh, truth: np.ndarray, prediction: np.ndarray, path: Path, titles: Sequence[str], unit: str
) -> Path:
    (x, truth), (_, prediction) = curve(mesh, truth), curve(mesh, prediction)
    with page(1500, 560) as figure:
        left, right = (axes_at(figure, x0, 66, 620, 560 - 66 - TITLE) for x0 in (96, 850))
        left.plot(x, truth, color=BLUE, linewidth=5.0, alpha=0.45, label=titles[0])
        left.plot(x, prediction, color=VERMILION, linewidth=1.8, linestyle=(0, (5, 2)), label=titles[1])
        for text in left.legend(frameon=False).get_texts():
            text.set_parse_math(False)
        dress(left, f"{titles[0]} and {titles[1]}", unit)
        right.axhline(0.0, color="#888888", linewidth=0.8)
        right.plot(x, prediction - truth, color=VERMILION, linewidth=1.8)
        dress(right, titles[2], unit)
        largest = 1.08 * largest_of(prediction - truth)
        right.set_ylim(-largest, largest)
        return save(figure, path)


def dress(axes: Axes, title: str, unit: str) -> None:
    axes.set_title(title + (f" [{unit}]" if unit not in ("", "-") else ""), parse_math=False)
    axes.set_xlabel("x")
    number(axes.xaxis)
    number(axes.yaxis)
    axes.margins(x=0)
    axes.grid(color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def curve(mesh: Mesh, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and values from left to right; several a cell where they are quadratic."""
    x, values = mesh.points[:, 0], values.ravel()
    if mesh.order == 2:
        t = np.linspace(0.0, 1.0, 9)
        shapes = np.stack([(1 - t) * (1 - 2 * t), t * (2 * t - 1), 4 * t * (1 - t)])
        x, values = ((a[mesh.nodes] @ shapes).ravel() for a in (x, values))
    order = np.argsort(x, kind="stable")
    return x[order], values[order]


def convergence(
    path: Path,
    h: Sequence[float],
    errors: dict[str, Sequence[float]],
    *,
    orders: dict[str, float] | None = None,
    title: str = "",
) -> Path:
    """Errors against the mesh size, both on logarithmic scales, with the observed order of each in the legend.

    Args:
        path: the PNG to write.
        h: mesh sizes [m], at least two, positive.
        errors: name -> one error a mesh size; those that are not positive and finite are left out.
        orders: name -> the order that theory promises, drawn dashed through the finest error of that name.

    Raises:
        InputError: sizes that are not positive, or another number of errors than of sizes.
    """
    h = np.asarray(h, dtype=float)
    if h.ndim != 1 or len(h) < 2 or not np.all(h > 0):
        raise InputError(f"h must be two or more positive numbers, got {h.tolist()}")
    with page(900, 640) as figure:
        axes = axes_at(figure, 96, 66, 774, 640 - 66 - TITLE)
        for i, (name, values) in enumerate(errors.items()):
            if np.shape(values) != h.shape:
                raise InputError(f"errors of {name} must be {len(h)} numbers, got shape {np.shape(values)}")
            _draw_errors(axes, h, np.asarray(values, dtype=float), name, i, (orders or {}).get(name))
        axes.set(xscale="log", yscale="log", xlabel="mesh size h", ylabel="error")
        axes.set_title(title, parse_math=False)
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        plain_logarithms(axes)
        if errors:
            for text in axes.legend(frameon=False, loc="best").get_texts():
                text.set_parse_math(False)
        return save(figure, path)


def _draw_errors(axes: Axes, h: np.ndarray, values: np.ndarray, name: str, i: int, order: float | None) -> None:
    good = np.isfinite(values) & (values > 0)
    x, y = h[good], values[good]
    look = {"color": OKABE_ITO[i % len(OKABE_ITO)], "marker": MARKERS[i % len(MARKERS)]}
    rate = f"   observed order {np.polyfit(np.log(x), np.log(y), 1)[0]:.2f}" if len(set(x)) > 1 else ""
    axes.plot(x, y, linewidth=2.0, markersize=8, label=name + rate, **look)
    if order is not None and len(x):
        finest = np.argmin(x)
        ends = np.array([x.min(), x.max()])
        line = y[finest] * (ends / x[finest]) ** order
        axes.plot(ends, line, color=look["color"], linewidth=1.2, dashes=(4, 3), label=f"{name}   order {order:g}")


def plain_logarithms(axes: Axes) -> None:
    """Labels such as 2×10⁻³ without mathtext, which takes longer than all else; between decades only where few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        decades = np.log10(high / low)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
        axis.set_minor_formatter(NullFormatter())


def _short(value: float) -> str:
    """0.02 or 2×10⁻⁵."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    digit, _, power = f"{value:.0e}".partition("e")
    raised = power_of_ten(f"1e{int(power)}")
    return raised[1:] if digit == "1" else digit + raised
