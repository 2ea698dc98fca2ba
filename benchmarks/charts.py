"""The report's charts, as plotly's dictionaries with the words that go beside them.

Colour and shape tell methods apart, dashes rows of one method, and every point or curve bears its row's number: a chart
is read in grey as well. Ink and paper are set by the page's style sheet, for light, dark and print.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from variform.benchmarks.schema import TEST, Row, Spread, TaskResults, TestSet, finite, positive
from variform.benchmarks.wording import count_text, duration_text, error_text, number_text, power_text, range_text

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # Okabe and Ito, without yellow and black
SHAPES = {  # plotly's name of a marker -> the same as a polygon in a box of 16 by 16
    "circle": "8,2 12.2,3.8 14,8 12.2,12.2 8,14 3.8,12.2 2,8 3.8,3.8",
    "square": "3,3 13,3 13,13 3,13",
    "diamond": "8,1 15,8 8,15 1,8",
    "triangle-up": "8,1.5 15,13.5 1,13.5",
    "cross": "6,2 10,2 10,6 14,6 14,10 10,10 10,14 6,14 6,10 2,10 2,6 6,6",
}  # five shapes and six colours, so that thirty methods differ
DASHES = {"solid": "none", "dash": "6 4", "dot": "2 3", "dashdot": "7 3 2 3"}  # plotly's name -> SVG's
GREY = "#848a90"  # seen on white and on black
LONGEST_CURVE = 400  # points of a training curve that are drawn
LABEL = 13  # pixels from one label to the next
MOST_TICKS = 6  # whose labels stand side by side on a phone


class Look(NamedTuple):
    """Colour and shape of a marker, and the dash of a line, in tables, keys and charts alike."""

    colour: str
    shape: str = ""
    dash: str = ""
    hollow: bool = False

    @property
    def polygon(self) -> str:
        return SHAPES.get(self.shape, "")

    @property
    def dashes(self) -> str:
        return DASHES.get(self.dash, "none")


class Entry(NamedTuple):
    """A numbered row and how it looks."""

    number: int
    row: Row
    look: Look


class Key(NamedTuple):
    """A line of a chart's key."""

    look: Look
    text: str
    number: int | None = None


class Number(NamedTuple):
    """A point of a chart, for those who would rather read."""

    number: int
    label: str
    x: str
    median: float | None
    q1: float | None = None
    q3: float | None = None


class Chart(NamedTuple):
    """What is drawn, what it is called, and what it says to those who do not see it."""

    title: str
    caption: str
    alt: str
    keys: list[Key]
    figure: dict[str, Any]
    x_name: str = ""
    numbers: list[Number] = []

    @property
    def height(self) -> int:
        return self.figure["layout"]["height"]


def looks(rows: Iterable[Row]) -> dict[str, Look]:
    """A colour and a shape for every method."""
    methods, shapes = list(dict.fromkeys(row.method for row in rows)), list(SHAPES)
    return {m: Look(COLOURS[i % len(COLOURS)], shapes[i % len(shapes)]) for i, m in enumerate(methods)}


def entries(rows: list[Row], looks: dict[str, Look]) -> list[Entry]:
    """The rows with their numbers; a method's second row has another dash."""
    found, seen, dashes = [], dict.fromkeys(looks, 0), list(DASHES)
    for number, row in enumerate(rows, start=1):
        found.append(Entry(number, row, looks[row.method]._replace(dash=dashes[seen[row.method] % len(dashes)])))
        seen[row.method] += 1
    return found


def charts(task: TaskResults, looks: dict[str, Look]) -> dict[str, Chart]:
    """Every chart that the task has numbers for, by a short name."""
    rows = entries(task.rows, looks)
    floor = task.reference.estimated_error if positive(task.reference.estimated_error) else None
    made = {
        "cost": cost(rows, floor),
        "shift": distributions(rows, task.sets),
        "sizes": sizes(rows, floor),
        "resolution": resolutions(rows, task.sets, floor),
        "frames": frames(rows),
        "loss": training(rows),
    }
    return {name: chart for name, chart in made.items() if chart}


# Error against cost


def cost(rows: list[Entry], floor: float | None) -> Chart | None:
    """Error against time to solution: filled markers for one solution, hollow ones with training and data."""
    points = [e for e in rows if positive(e.row.error) and positive(e.row.cost.wall_s)]
    if not points:
        return None
    trained = [e for e in points if e.row.cost.once_s]
    alone = [(e.row.cost.wall_s, e.row.error) for e in points]
    in_all = [(e.row.cost.total_s, e.row.error) for e in points]
    x_axis = _time_axis([t for t, _ in alone + in_all])
    y_axis = _log_axis([e for _, e in alone] + _known(floor))
    traces = [_front(alone, x_axis, y_axis, "solid")]
    traces += [_front(in_all, x_axis, y_axis, "dot")] if trained else []
    for method in dict.fromkeys(e.row.method for e in points):
        mine = sorted((e for e in points if e.row.method == method), key=lambda e: e.row.cost.wall_s)
        traces += _method_traces(mine)
    keys = [Key(e.look._replace(dash=""), e.row.label, e.number) for e in points]
    keys += [Key(Look(GREY, dash="solid"), "least error within a time, per solution")]
    keys += [Key(Look(GREY, dash="dot"), "the same, training and data paid for one solution")] if trained else []
    hollow = " Filled markers: one solution. Hollow: the same solution with all of training and data on top."
    best, quickest = min(alone, key=lambda p: p[1]), min(alone)
    return Chart(
        "Error against cost",
        "Lower and further left is better; what lies above a grey line is beaten in both." + hollow * bool(trained),
        f"Relative L2 error against time to solution of {len(points)} rows. Least error {error_text(best[1])} in "
        f"{duration_text(best[0])}; quickest {duration_text(quickest[0])} with error {error_text(quickest[1])}.",
        keys,
        _figure(traces, x_axis | _titled("time to solution"), y_axis | _titled("relative L² error"), floor=floor),
    )


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (time, error) that no other beats in both, quickest first.

    >>> front([(1.0, 0.3), (2.0, 0.4), (3.0, 0.1)])
    [(1.0, 0.3), (3.0, 0.1)]
    """
    kept: list[tuple[float, float]] = []
    for time, error in sorted(points):
        if not kept or error < kept[-1][1]:
            kept.append((time, error))
    return kept


def _front(points: list[tuple[float, float]], x: dict[str, Any], y: dict[str, Any], dash: str) -> dict[str, Any]:
    """Steps down through the front, from the top of the chart to its right edge."""
    steps = front(points)
    times = [steps[0][0], *(t for t, _ in steps), 10 ** x["range"][1]]
    errors = [10 ** y["range"][1], *(e for _, e in steps), steps[-1][1]]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "front" if dash == "solid" else "front, training paid once",
        "x": times,
        "y": errors,
        "line": {"shape": "hv", "color": GREY, "width": 1.6, "dash": dash},
        "hoverinfo": "skip",
    }


def _method_traces(mine: list[Entry]) -> Iterator[dict[str, Any]]:
    """One method's rows, joined if they are discretisations of one solver."""
    look = mine[0].look
    marker = {"color": look.colour, "size": 11, "line": {"color": look.colour, "width": 2}}
    common = {"legendgroup": mine[0].row.method, "name": html.escape(mine[0].row.method), "type": "scatter"}
    trained = [e for e in mine if e.row.cost.once_s]
    for e in trained:
        yield common | {
            "x": [e.row.cost.wall_s, e.row.cost.total_s],
            "y": [e.row.error, e.row.error],
            "mode": "lines",
            "line": {"color": look.colour, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
        }
    yield common | {
        "x": [e.row.cost.wall_s for e in mine],
        "y": [e.row.error for e in mine],
        "mode": "markers+text" if trained else "lines+markers+text",
        "line": {"color": look.colour, "width": 1.4},
        "marker": marker | {"symbol": look.shape},
        "text": [str(e.number) for e in mine],
        "textposition": "top right",
        "hovertext": [_hover(e, e.row.cost.wall_s, "") for e in mine],
        "hoverinfo": "text",
        "cliponaxis": False,
    }
    yield common | {
        "x": [e.row.cost.total_s for e in trained],
        "y": [e.row.error for e in trained],
        "mode": "markers+text",
        "marker": marker | {"symbol": f"{look.shape}-open"},
        "text": [str(e.number) for e in trained],
        "textposition": "top right",
        "hovertext": [_hover(e, e.row.cost.total_s, " with training and data") for e in trained],
        "hoverinfo": "text",
        "cliponaxis": False,
    }


def _hover(e: Entry, seconds: float, what: str) -> str:
    spread = e.row.tests.get(TEST)
    text = f"{_name(e)}<br>error {error_text(e.row.error)}"
    if spread and finite(spread.q1) and finite(spread.q3):
        text += f"<br>quartiles {range_text(spread.q1, spread.q3)}"
    return f"{text}<br>{duration_text(seconds)}{what}"


# Curves: one a row


class Curve(NamedTuple):
    """Medians, and quartiles where they are known, over something."""

    entry: Entry
    x: list[float]
    median: list[float | None]
    q1: list[float | None]
    q3: list[float | None]


def sizes(rows: list[Entry], floor: float | None) -> Chart | None:
    """Error on the test set against the number of samples learned from."""
    known = [(e, [size for size in e.row.sizes if size[0] > 0]) for e in rows]
    curves = [Curve(e, [n for n, _ in s], [error for _, error in s], [], []) for e, s in known if len(s) > 1]
    return _curves(
        curves,
        title="Error against training-set size",
        caption="Median on the test set.",
        x_name="samples learned from",
        x_text=count_text,
        floor=floor,
    )


def resolutions(rows: list[Entry], sets: dict[str, TestSet], floor: float | None) -> Chart | None:
    """Error against the points a side of the test set; all sets but "test" were never learned from."""
    points = {name: s.points for name, s in sets.items() if s.points and (s.kind == "resolution" or name == TEST)}
    curves = []
    for e in rows:
        known = sorted((points[name], spread) for name, spread in e.row.tests.items() if name in points)
        if len({n for n, _ in known}) > 1:
            parts = ([getattr(s, part) for _, s in known] for part in ("median", "q1", "q3"))
            curves.append(Curve(e, [n for n, _ in known], *parts))
    learned = f" The networks learned on {points[TEST]} points." if TEST in points else ""
    return _curves(
        curves,
        title="Error against resolution",
        caption=f"Medians with quartiles; the same network on every grid.{learned}",
        x_name="points along a side",
        x_text=count_text,
        floor=floor,
    )


def _curves(
    curves: list[Curve], *, title: str, caption: str, x_name: str, x_text: Callable[[Any], str], floor: float | None
) -> Chart | None:
    if not curves:
        return None
    xs = [x for curve in curves for x in curve.x]
    ends = [(c.entry.number, c.x[-1], c.median[-1]) for c in curves]
    ys = [y for curve in curves for part in curve[2:] for y in part if positive(y)]
    return Chart(
        title,
        caption,
        _alt_of_curves(curves, x_name),
        [Key(c.entry.look, c.entry.row.label, c.entry.number) for c in curves],
        _with_ends(
            _figure(
                [_curve(curve, x_name) for curve in curves],
                _values_axis(xs, x_text) | _titled(x_name),
                _log_axis(ys + _known(floor) or [1.0]) | _titled("relative L² error, median"),
                floor=floor,
            ),
            ends,
        ),
        x_name,
        _numbers(curves, x_text),
    )


def _curve(curve: Curve, x_name: str) -> dict[str, Any]:
    look, y = curve.entry.look, [_drawn(v) for v in curve.median]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": _name(curve.entry),
        "x": curve.x,
        "y": y,
        "line": {"color": look.colour, "width": 1.8, "dash": look.dash},
        "marker": {"color": look.colour, "symbol": look.shape, "size": 9},
        "hovertemplate": f"{_name(curve.entry)}<br>%{{x}} {x_name}<br>error %{{y:.2e}}<extra></extra>",
    }
    if curve.q1:
        up = [b - a if positive(a) and finite(b) else 0 for a, b in zip(curve.median, curve.q3, strict=True)]
        down = [a - b if positive(a) and positive(b) else 0 for a, b in zip(curve.median, curve.q1, strict=True)]
        bar = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2, "width": 3}
        trace["error_y"] = bar | {"color": look.colour}
    return trace


def frames(rows: list[Entry]) -> Chart | None:
    """Error by predicted frame, with a band between the quartiles."""
    curves = [
        Curve(e, e.row.frames.times, e.row.frames.median, e.row.frames.q1, e.row.frames.q3)
        for e in _dashed(e for e in rows if e.row.frames and len(e.row.frames.times) > 1)
    ]
    if not curves:
        return None
    ys = [y for curve in curves for part in curve[2:] for y in part if positive(y)]
    traces = [_band(curve) for curve in curves if curve.q1 and curve.q3]
    traces += [_frame_curve(curve) for curve in curves]
    return Chart(
        "Error by predicted frame",
        "Networks go on from frames of their own. Lines: medians over the samples; bands: between the quartiles.",
        _alt_of_curves(curves, "time"),
        [Key(c.entry.look, c.entry.row.label, c.entry.number) for c in curves],
        _with_ends(
            _figure(traces, AXIS | _titled("time"), _log_axis(ys or [1.0]) | _titled("relative L² error of the frame")),
            [(c.entry.number, c.x[-1], c.median[-1]) for c in curves],
        ),
        "time",
        _numbers(curves, number_text),
    )


def _frame_curve(curve: Curve) -> dict[str, Any]:
    look, y = curve.entry.look, [_drawn(v) for v in curve.median]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": _name(curve.entry),
        "x": curve.x,
        "y": y,
        "line": {"color": look.colour, "width": 2, "dash": look.dash},
        "hovertemplate": f"{_name(curve.entry)}<br>time %{{x}}<br>error %{{y:.2e}}<extra></extra>",
    }


def _band(curve: Curve) -> dict[str, Any]:
    """Between the quartiles, as one closed line."""
    kept = [(x, a, b) for x, a, b in zip(curve.x, curve.q1, curve.q3, strict=True) if positive(a) and positive(b)]
    red, green, blue = (int(curve.entry.look.colour[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "quartiles",
        "x": [x for x, _, _ in kept] + [x for x, _, _ in reversed(kept)],
        "y": [a for _, a, _ in kept] + [b for _, _, b in reversed(kept)],
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.16)",
        "hoverinfo": "skip",
    }


def training(rows: list[Entry]) -> Chart | None:
    """Loss against step, a curve a trained row."""
    curves = [(e, _thin(e.row.history)) for e in _dashed(e for e in rows if e.row.history)]
    if not curves:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": _name(e),
            "x": [step for step, _ in kept],
            "y": [_drawn(loss) for _, loss in kept],
            "line": {"color": e.look.colour, "width": 1.6, "dash": e.look.dash},
            "hovertemplate": f"{_name(e)}<br>step %{{x}}<br>loss %{{y:.2e}}<extra></extra>",
        }
        for e, kept in curves
    ]
    losses = [loss for trace in traces for loss in trace["y"] if loss is not None]
    return Chart(
        "Training",
        "Loss of the training shown in the pictures. Losses of different methods are different quantities: compare "
        "shapes, not heights.",
        f"Training loss against step of {', '.join(f'{e.number} {e.row.label}' for e, _ in curves)}.",
        [Key(e.look, e.row.label, e.number) for e, _ in curves],
        _with_ends(
            _figure(
                traces, AXIS | {"rangemode": "tozero"} | _titled("step"), _log_axis(losses or [1.0]) | _titled("loss")
            ),
            [(e.number, *kept[-1]) for e, kept in curves],
        ),
    )


def _dashed(rows: Iterable[Entry]) -> list[Entry]:
    """Curves without markers: neighbours differ by their dashes, so that colour is not needed."""
    dashes = list(DASHES)
    return [e._replace(look=e.look._replace(shape="", dash=dashes[i % len(dashes)])) for i, e in enumerate(rows)]


def _thin(history: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Evenly chosen points of a long curve, with both ends."""
    if len(history) <= LONGEST_CURVE:
        return history
    stride = (len(history) - 1) / (LONGEST_CURVE - 1)
    return [history[round(i * stride)] for i in range(LONGEST_CURVE)]


def _with_ends(figure: dict[str, Any], ends: list[tuple[int, float, float | None]]) -> dict[str, Any]:
    """Rows' numbers at the ends (number, x, y) of their curves, moved apart where these are close."""
    layout = figure["layout"]
    low, high = layout["yaxis"]["range"]
    pixels = (layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]) / (high - low)
    is_log = layout["xaxis"].get("type") == "log"
    at: dict[float, float] = {}  # x -> where the last label was put
    labels = layout.setdefault("annotations", [])
    for number, x, y in sorted((end for end in ends if positive(end[2])), key=lambda end: end[2]):
        wanted = math.log10(y) * pixels
        place = at[x] = max(wanted, at.get(x, -math.inf) + LABEL)
        labels.append(
            {"x": math.log10(x) if is_log else x, "y": math.log10(y), "text": str(number), "showarrow": False}
            | {"xanchor": "left", "xshift": 7, "yshift": place - wanted, "font": {"size": 11.5}}
        )
    return figure


def _alt_of_curves(curves: list[Curve], x_name: str) -> str:
    ends = [
        f"{c.entry.number} {c.entry.row.label}: {error_text(c.median[0])} at {number_text(c.x[0])}, "
        f"{error_text(c.median[-1])} at {number_text(c.x[-1])}"
        for c in curves
    ]
    return f"Median relative L2 error against {x_name}. {'; '.join(ends)}."


def _numbers(curves: list[Curve], x_text: Callable[[Any], str]) -> list[Number]:
    found = []
    for c in curves:
        blank = [None] * len(c.x)
        for x, *values in zip(c.x, c.median, c.q1 or blank, c.q3 or blank, strict=True):
            found.append(Number(c.entry.number, c.entry.row.label, x_text(x), *values))
    return found


# Medians and quartiles in and out of distribution


def distributions(rows: list[Entry], sets: dict[str, TestSet]) -> Chart | None:
    """A line a row, from the lower to the upper quartile, for "test" and every shifted set."""
    shown = {name: s for name, s in sets.items() if name == TEST or s.kind == "shifted"}
    if not any(name in e.row.tests for e in rows for name in shown if name != TEST):
        return None
    rows = [e for e in rows if any(_drawable(e.row.tests.get(name)) for name in shown)]
    shapes = list(SHAPES)
    marks = {name: Look(GREY, shapes[i % len(shapes)], hollow=i > 0) for i, name in enumerate(shown)}
    traces, values = [], []
    for place, e in enumerate(rows):
        for i, (name, mark) in enumerate(marks.items()):
            spread = e.row.tests.get(name)
            if _drawable(spread):
                offset = (i - (len(marks) - 1) / 2) * 0.6 / max(len(marks) - 1, 1)
                traces.append(_range(e, spread, name, mark, -place - offset))
                values += [v for v in (spread.q1, spread.median, spread.q3) if positive(v)]
    if not traces:
        return None
    y_axis = AXIS | {
        "tickvals": [-i for i in range(len(rows))],
        "ticktext": [_wrapped(e) for e in rows],
        "range": [0.55 - len(rows), 0.55],
        "showgrid": False,
    }
    bands = [
        {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": -i - 0.5, "y1": -i + 0.5, "layer": "below"}
        | {"line": {"width": 0}, "fillcolor": GREY, "opacity": 0.09}
        for i in range(0, len(rows), 2)
    ]
    figure = _figure(traces, _log_axis(values) | _titled("relative L² error, median and quartiles"), y_axis)
    figure["layout"] |= {"height": 76 + len(rows) * max(16 * len(marks), 40), "shapes": bands}
    keys = [Key(mark, f"{name}, {sets[name].count} samples") for name, mark in marks.items()]
    return Chart(
        "In and out of distribution",
        f"Bars reach from the lower to the upper quartile. Only “{TEST}” is drawn as the training set was.",
        "Median relative L2 error by test set. " + " ".join(_alt_of_range(e, shown) for e in rows),
        keys,
        figure,
    )


def _drawable(spread: Spread | None) -> bool:
    return spread is not None and positive(spread.median)


def _range(e: Entry, spread: Spread, name: str, mark: Look, y: float) -> dict[str, Any]:
    ends = [v if positive(v) else spread.median for v in (spread.q1, spread.q3)]
    text = f"{_name(e)}<br>{html.escape(name)}: {error_text(spread.median)}"
    text += f"<br>quartiles {range_text(*ends)}<br>{spread.n} of {spread.attempted} used"
    bar = {"type": "data", "symmetric": False, "thickness": 2.4, "width": 0, "color": e.look.colour}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{_name(e)}, {html.escape(name)}",
        "x": [spread.median],
        "y": [y],
        "error_x": bar | {"array": [ends[1] - spread.median], "arrayminus": [spread.median - ends[0]]},
        "marker": {
            "color": e.look.colour,
            "symbol": mark.shape + "-open" * mark.hollow,
            "size": 9,
            "line": {"width": 2, "color": e.look.colour},
        },
        "hovertext": [text],
        "hoverinfo": "text",
    }


def _alt_of_range(e: Entry, shown: Iterable[str]) -> str:
    known = [f"{name} {error_text(e.row.tests[name].median)}" for name in shown if name in e.row.tests]
    return f"{e.number} {e.row.label}: {', '.join(known)}."


def _wrapped(e: Entry) -> str:
    """A row's name on two short lines."""
    first, *rest = textwrap.wrap(f"{e.number}  {e.row.label}", 19, max_lines=2, placeholder=" …")
    return "<br>".join(html.escape(line) for line in (first, *rest))


def _name(e: Entry) -> str:
    return f"{e.number}  {html.escape(e.row.label)}"  # plotly reads HTML in its labels


# Axes

AXIS = {"showline": False, "zeroline": False, "automargin": True, "ticks": "", "fixedrange": True}
CLOCK = [60.0, 600.0, 3600.0, 36000.0, 360000.0]  # above a minute tens of seconds are not what one counts in


def _log_axis(values: Iterable[float]) -> dict[str, Any]:
    low, high = _padded(values)
    ticks = _decades(low, high)
    return AXIS | {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [power_text(v) for v in ticks]}


def _time_axis(seconds: Iterable[float]) -> dict[str, Any]:
    low, high = _padded(seconds)
    round_times = [10.0**k for k in range(-7, 2)] + CLOCK
    ticks = [t for t in round_times if low <= math.log10(t) <= high]
    ticks = ticks if len(ticks) > 1 else _decades(low, high)
    ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
    labels = [duration_text(t).replace("1.0 s", "1 s").replace("0.10 s", "0.1 s") for t in ticks]
    return AXIS | {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": labels}


def _values_axis(values: Iterable[float], text: Callable[[Any], str]) -> dict[str, Any]:
    """Logarithmic, with a tick at every value that occurs while these are few."""
    values = sorted(set(values))
    low, high = _padded(values)
    ticks = values if len(values) <= MOST_TICKS else _decades(low, high)
    return AXIS | {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [text(round(v)) for v in ticks]}


def _padded(values: Iterable[float]) -> tuple[float, float]:
    """Logarithms of the ends, with some air."""
    logs = [math.log10(v) for v in values]
    low, high = min(logs), max(logs)
    pad = max(0.08 * (high - low) + 0.08, (0.8 - (high - low)) / 2)  # 0.8: so that two round numbers are in between
    return low - pad, high + pad


def _decades(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten: as many as there is room for."""
    steps = (1, 2, 5) if high - low < 1.2 else (1, 3) if high - low < 2.4 else (1,)
    found = [s * 10.0**k for k in range(math.floor(low), math.ceil(high) + 1) for s in steps]
    kept = [v for v in found if low <= math.log10(v) <= high]
    return kept[:: -(-len(kept) // (MOST_TICKS + 2))] if kept else []


def _titled(text: str) -> dict[str, Any]:
    return {"title": {"text": text, "font": {"size": 12.5}}}


def _figure(
    traces: list[dict[str, Any]], x_axis: dict[str, Any], y_axis: dict[str, Any], *, floor: float | None = None
) -> dict[str, Any]:
    layout = _layout() | {"xaxis": x_axis, "yaxis": y_axis}
    if floor:
        layout["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": floor, "y1": floor}
            | {"line": {"color": GREY, "width": 1.4, "dash": "dash"}}
        ]
        layout["annotations"] = [
            {"xref": "paper", "x": 0, "y": math.log10(floor), "text": "the reference’s own error", "showarrow": False}
            | {"xanchor": "left", "yanchor": "top", "font": {"size": 11}}
        ]
    return {"data": traces, "layout": layout}


def _known(floor: float | None) -> list[float]:
    return [floor] if floor else []


def _drawn(value: float | None) -> float | None:
    """A logarithmic axis has no place for other numbers."""
    return value if positive(value) else None


def _layout() -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 12.5},
        "margin": {"l": 60, "r": 22, "t": 14, "b": 48},
        "height": 380,
        "showlegend": False,  # the keys beside the charts wrap, print, and are read aloud
        "hoverlabel": {"bgcolor": "#1f2328", "bordercolor": "#1f2328", "font": {"color": "#ffffff"}, "align": "left"},
        "dragmode": False,
    }
