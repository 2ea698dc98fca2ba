"""The report's charts: error against cost, in and out of distribution, and the curves."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from variform.benchmarks import curves
from variform.benchmarks.axes import AXIS, if_any, log_axis, panel, time_axis, titled
from variform.benchmarks.looks import GREY, SHAPES, Chart, Entry, Key, Look, entries
from variform.benchmarks.schema import TEST, Spread, TaskResults, TestSet, finite, positive
from variform.benchmarks.wording import duration_text, error_text, range_text


def charts(task: TaskResults, looks: dict[str, Look]) -> dict[str, Chart]:
    """Every chart that the task has numbers for, by a short name."""
    rows = entries(task.rows, looks)
    floor = task.reference.estimated_error if positive(task.reference.estimated_error) else None
    made = {
        "cost": cost(rows, floor),
        "shift": distributions(rows, task.sets),
        "sizes": curves.sizes(rows, floor),
        "resolution": curves.resolutions(rows, task.sets, floor),
        "frames": curves.frames(rows),
        "loss": curves.training(rows, "epoch" if task.sets else "step"),
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
    x_axis = time_axis([t for t, _ in alone + in_all])
    y_axis = log_axis([e for _, e in alone] + if_any(floor))
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
        panel(traces, x_axis | titled("time to solution"), y_axis | titled("relative L² error"), floor=floor),
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
    text = f"{e.name}<br>error {error_text(e.row.error)}"
    if spread and finite(spread.q1) and finite(spread.q3):
        text += f"<br>quartiles {range_text(spread.q1, spread.q3)}"
    return f"{text}<br>{duration_text(seconds)}{what}"


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
    figure = panel(traces, log_axis(values) | titled("relative L² error, median and quartiles"), y_axis)
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
    text = f"{e.name}<br>{html.escape(name)}: {error_text(spread.median)}"
    text += f"<br>quartiles {range_text(*ends)}<br>{spread.n} of {spread.attempted} used"
    bar = {"type": "data", "symmetric": False, "thickness": 2.4, "width": 0, "color": e.look.colour}
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"{e.name}, {html.escape(name)}",
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
