"""Axes and layout of the report's charts, as plotly's dictionaries.

Ink and paper are set by the page's style sheet, for light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from variform.benchmarks.looks import GREY
from variform.benchmarks.schema import positive
from variform.benchmarks.wording import duration_text, power_text

LABEL = 13  # pixels from one label to the next
MOST_TICKS = 6  # whose labels stand side by side on a phone
AXIS = {"showline": False, "zeroline": False, "automargin": True, "ticks": "", "fixedrange": True}
CLOCK = [60.0, 600.0, 3600.0, 36000.0, 360000.0]  # above a minute tens of seconds are not what one counts in


def log_axis(values: Iterable[float]) -> dict[str, Any]:
    low, high = _padded(values)
    ticks = _decades(low, high)
    return AXIS | {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": [power_text(v) for v in ticks]}


def time_axis(seconds: Iterable[float]) -> dict[str, Any]:
    low, high = _padded(seconds)
    round_times = [10.0**k for k in range(-7, 2)] + CLOCK
    ticks = [t for t in round_times if low <= math.log10(t) <= high]
    ticks = ticks if len(ticks) > 1 else _decades(low, high)
    ticks = ticks[:: -(-len(ticks) // MOST_TICKS)]
    labels = [duration_text(t).replace("1.0 s", "1 s").replace("0.10 s", "0.1 s") for t in ticks]
    return AXIS | {"type": "log", "range": [low, high], "tickvals": ticks, "ticktext": labels}


def values_axis(values: Iterable[float], text: Callable[[Any], str]) -> dict[str, Any]:
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


def titled(text: str) -> dict[str, Any]:
    return {"title": {"text": text, "font": {"size": 12.5}}}


def panel(
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


def if_any(floor: float | None) -> list[float]:
    return [floor] if floor else []


def drawn(value: float | None) -> float | None:
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


def with_ends(figure: dict[str, Any], ends: list[tuple[int, float, float | None]]) -> dict[str, Any]:
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
