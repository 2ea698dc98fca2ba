"""Charts with a curve a row: over training-set size, resolution, predicted frames and training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from variform.benchmarks.axes import AXIS, drawn, if_any, log_axis, panel, titled, values_axis, with_ends
from variform.benchmarks.looks import DASHES, Chart, Entry, Key, Number
from variform.benchmarks.schema import TEST, TestSet, finite, positive
from variform.benchmarks.wording import count_text, error_text, number_text

LONGEST_CURVE = 400  # points of a training curve that are drawn


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
        found = ((points[name], spread) for name, spread in e.row.tests.items() if name in points)
        known = sorted(found, key=lambda pair: pair[0])
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
        with_ends(
            panel(
                [_curve(curve, x_name) for curve in curves],
                values_axis(xs, x_text) | titled(x_name),
                log_axis(ys + if_any(floor) or [1.0]) | titled("relative L² error, median"),
                floor=floor,
            ),
            ends,
        ),
        x_name,
        _numbers(curves, x_text),
    )


def _curve(curve: Curve, x_name: str) -> dict[str, Any]:
    look, y = curve.entry.look, [drawn(v) for v in curve.median]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": curve.entry.name,
        "x": curve.x,
        "y": y,
        "line": {"color": look.colour, "width": 1.8, "dash": look.dash},
        "marker": {"color": look.colour, "symbol": look.shape, "size": 9},
        "hovertemplate": f"{curve.entry.name}<br>%{{x}} {x_name}<br>error %{{y:.2e}}<extra></extra>",
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
        with_ends(
            panel(traces, AXIS | titled("time"), log_axis(ys or [1.0]) | titled("relative L² error of the frame")),
            [(c.entry.number, c.x[-1], c.median[-1]) for c in curves],
        ),
        "time",
        _numbers(curves, number_text),
    )


def _frame_curve(curve: Curve) -> dict[str, Any]:
    look, y = curve.entry.look, [drawn(v) for v in curve.median]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": curve.entry.name,
        "x": curve.x,
        "y": y,
        "line": {"color": look.colour, "width": 2, "dash": look.dash},
        "hovertemplate": f"{curve.entry.name}<br>time %{{x}}<br>error %{{y:.2e}}<extra></extra>",
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


def training(rows: list[Entry], time: str) -> Chart | None:
    """Loss against the step or epoch, which `time` says, a curve a trained row."""
    curves = [(e, _thin(e.row.history)) for e in _dashed(e for e in rows if e.row.history)]
    if not curves:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": e.name,
            "x": [at for at, _ in kept],
            "y": [drawn(loss) for _, loss in kept],
            "line": {"color": e.look.colour, "width": 1.6, "dash": e.look.dash},
            "hovertemplate": f"{e.name}<br>{time} %{{x}}<br>loss %{{y:.2e}}<extra></extra>",
        }
        for e, kept in curves
    ]
    losses = [loss for trace in traces for loss in trace["y"] if loss is not None]
    return Chart(
        "Training",
        "Loss of the training shown in the pictures. Losses of different methods are different quantities: compare "
        "shapes, not heights.",
        f"Training loss against {time} of {', '.join(f'{e.number} {e.row.label}' for e, _ in curves)}.",
        [Key(e.look, e.row.label, e.number) for e, _ in curves],
        with_ends(
            panel(traces, AXIS | {"rangemode": "tozero"} | titled(time), log_axis(losses or [1.0]) | titled("loss")),
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
