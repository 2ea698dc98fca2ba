"""Words, axes and scales around rendered bodies, by matplotlib, in pixels from the lower left corner."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.figures.render import ARROW, Picture
from variform.figures.values import Scale
from variform.runs import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BLUE, VERMILION, INK, GHOST = "#0072B2", "#D55E00", "#222222", "#8c8c8c"  # two of Okabe and Ito's, two greys
MARGIN, TITLE, TICKS, BAR, NUMBERS = 26, 58, 62, 22, 104  # pixels around a panel
SPACING = 24  # pixels from streamline to streamline
SMALLEST_BAR = 190  # pixels; a flatter body gets a colour bar taller than itself


@contextlib.contextmanager
def page(width: float, height: float) -> Iterator[Figure]:
    """A blank page of width by height pixels, without pyplot, so that nothing global is touched for long."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    look = {
        "font.size": 13,
        "axes.titlesize": 15,
        "axes.titlelocation": "left",
        "axes.titlepad": 12,
        "axes.edgecolor": "#888888",
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **look, "backend": matplotlib.rcParams["backend"]}):
        figure = Figure(figsize=(width / 100, height / 100), dpi=100)
        FigureCanvasAgg(figure)
        yield figure


def axes_at(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    w, h = figure.get_size_inches() * figure.dpi
    return figure.add_axes((x / w, y / h, width / w, height / h))


def place(figure: Figure, picture: Picture, x: float, y: float, title: str, *, ticks: bool = False) -> Axes:
    axes = axes_at(figure, x, y, picture.width, picture.height)
    axes.imshow(picture.image, extent=picture.extent, aspect="auto", interpolation="nearest")
    axes.set_title(title, parse_math=False)
    axes.spines[:].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if ticks:
        axes.set(xlabel="x", ylabel="y")
        number(axes.xaxis)
        number(axes.yaxis)
        axes.tick_params(length=4, width=0.8, color="#888888")
    for segments, colour in ((picture.outline, INK), (picture.ghost, GHOST)):
        if segments is not None:
            _draw_segments(axes, segments, colour)
    if picture.arrows is not None:
        _draw_arrows(axes, picture)
    if picture.triad is not None:
        _draw_triad(axes, picture)
    return axes


def _draw_segments(axes: Axes, segments: np.ndarray, colour: str) -> None:
    from matplotlib.collections import LineCollection

    look = {"colors": colour, "capstyle": "round", "clip_on": False}
    axes.add_collection(LineCollection(segments, **look), autolim=False)


def _draw_arrows(axes: Axes, picture: Picture) -> None:
    """Arrows centred on their feet, the longest as long as the lattice is wide."""
    feet, vectors = picture.arrows
    metres_a_pixel = (picture.extent[1] - picture.extent[0]) / picture.width
    longest = np.max(np.linalg.norm(vectors, axis=1), initial=0.0)
    if longest > 0.0:
        lengths = vectors / longest * ARROW * metres_a_pixel
        look = {"color": "white", "edgecolor": INK, "linewidth": 0.6, "width": 3.2, "units": "dots", "headwidth": 3.8}
        axes.quiver(*feet.T, *lengths.T, angles="xy", scale_units="xy", scale=1.0, pivot="mid", **look)


def draw_flow(axes: Axes, picture: Picture, flow: tuple[np.ndarray, ...]) -> None:
    """Evenly spaced streamlines: white with dark edges, to be seen on every colour."""
    from matplotlib.patheffects import Normal, Stroke

    x, y, u, v = flow
    if not np.any(np.hypot(u, v) > 0):
        return
    density = (picture.width / SPACING / 30, picture.height / SPACING / 30)  # matplotlib counts in 30 lines a side
    lines = axes.streamplot(x, y, u, v, density=density, color="white", linewidth=1.3, arrowsize=1.1)
    for artist in (lines.lines, *axes.patches):
        artist.set_path_effects([Stroke(linewidth=2.6, foreground=INK, alpha=0.7), Normal()])
    axes.set(xlim=picture.extent[:2], ylim=picture.extent[2:])


def _draw_triad(axes: Axes, picture: Picture) -> None:
    """The directions of x, y, z in the lower left corner."""
    for name, direction in zip(picture.names, picture.triad, strict=True):
        look = {"xycoords": "axes pixels", "annotation_clip": False, "color": "#444444"}
        foot = np.array([30.0, 30.0])
        axes.annotate("", foot + 34 * direction, foot, arrowprops={"arrowstyle": "-", "color": "#666666"}, **look)
        axes.annotate(name, foot + 46 * direction, ha="center", va="center", fontsize=11, **look)


def colour_bar(figure: Figure, scale: Scale, x: float, y: float, height: float, unit: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = axes_at(figure, x, y, BAR, height)
    bar = figure.colorbar(ScalarMappable(Normalize(scale.low, scale.high), scale.colours), cax=axes)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=4, width=0.8, color="#888888")
    bar.ax.set_ylabel("" if unit == "-" else unit, parse_math=False, labelpad=8)
    bar.ax.yaxis.offsetText.set(ha="left", va="bottom")
    number(bar.ax.yaxis)


def number(axis: Axis) -> None:
    """Few round numbers, with a power of ten common to all of them where they are large or small."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    formatter = ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-3, 4))
    plain = formatter.get_offset  # "1e−3"; matplotlib's mathtext would say 10⁻³, but takes longer than all other words
    formatter.get_offset = lambda: power_of_ten(plain())
    axis.set_major_formatter(formatter)
    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))


def power_of_ten(text: str) -> str:
    """'1e−3' as '×10⁻³'."""
    _, e, power = text.partition("e")
    return f"×10{power.translate(str.maketrans('-−0123456789', '⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}" if e else text


def save(figure: Figure, path: Path) -> Path:
    """The figure as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png")
    return path
