"""The benchmark report: one HTML file that explains, compares and shows, and needs nothing but itself."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from pydantic import BaseModel, Field, ValidationError

from variform.errors import InputError
from variform.runs import atomic

FILE = "report.html"
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]  # Okabe and Ito, without yellow and black
SHAPES = {  # plotly's name of a marker -> the same as a polygon in a box of 16 by 16
    "circle": "8,2 12.2,3.8 14,8 12.2,12.2 8,14 3.8,12.2 2,8 3.8,3.8",
    "square": "3,3 13,3 13,13 3,13",
    "diamond": "8,1 15,8 8,15 1,8",
    "triangle-up": "8,1.5 15,13.5 1,13.5",
    "cross": "6,2 10,2 10,6 14,6 14,10 10,10 10,14 6,14 6,10 2,10 2,6 6,6",
}  # five shapes and six colours, so that thirty methods differ
DASHES = ["solid", "dash", "dot", "dashdot"]
LONGEST_CURVE = 400  # points of a training curve that are drawn
PNG = b"\x89PNG\r\n\x1a\n"


# What the runner writes as results.json


class Quantity(BaseModel):
    """A quantity of interest and its published or reference value."""

    value: float | None = None
    reference: float | None = None
    unit: str = ""

    @property
    def deviation(self) -> float | None:
        """(value - reference) / |reference|; None where one is missing or the reference is zero."""
        if not (_finite(self.value) and _finite(self.reference) and self.reference):
            return None
        return (self.value - self.reference) / abs(self.reference)


class Cost(BaseModel):
    """wall_s: to one solution, by solving or by inference; training and data come on top, once."""

    wall_s: float | None = None
    training_s: float | None = None
    data_s: float | None = None
    dofs: int | None = None
    parameters: int | None = None
    peak_memory_mb: float | None = None

    @property
    def once_s(self) -> float | None:
        """Training and data together; None where there are neither."""
        parts = [s for s in (self.training_s, self.data_s) if _finite(s)]
        return sum(parts) if parts else None

    @property
    def total_s(self) -> float | None:
        return self.wall_s if not _finite(self.wall_s) else self.wall_s + (self.once_s or 0.0)


class Spread(BaseModel):
    """Errors of many samples: median, quartiles, and how many of those attempted are numbers."""

    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    mean: float | None = None
    n: int = 0
    attempted: int = 0


class Equal(BaseModel):
    """Of a learned row: the cheapest classical one that is at least as accurate [s], how much quicker the network is,
    and after how many solutions training and data have paid (None: never).
    """

    classical_s: float
    speedup: float
    pays_after: float | None = None


class Row(BaseModel):
    """One method on one task. Figures are paths relative to the report's folder."""

    method: str
    label: str
    status: Literal["done", "failed", "interrupted", "not applicable"]
    reason: str | None = None
    metrics: dict[str, float | None] = {}
    quantities: dict[str, Quantity] = {}
    cost: Cost = Cost()
    seed: int | None = None
    figure: str | None = None
    history: list[tuple[float, float | None]] | None = None
    command: str | None = None
    folder: str | None = None
    tests: dict[str, Spread] = {}
    sizes: list[tuple[int, float | None]] = []
    equal: Equal | None = None

    @property
    def numbers(self) -> bool:
        """Does the row have a metric or quantity, whatever became of the run?"""
        return any(map(_finite, self.metrics.values())) or bool(self.quantities)


class Reference(BaseModel):
    """What the rows are measured against, and how far that is from the truth itself."""

    method: str = ""
    estimated_error: float | None = None
    figure: str | None = None


class TaskResults(BaseModel):
    """A task with a row a method."""

    name: str
    title: str
    description: str = ""
    form: str = ""
    strong: str = ""
    reference: Reference = Reference()
    sets: dict[str, int] = {}
    rows: list[Row]


class Results(BaseModel):
    """All of a benchmark."""

    suite: str
    title: str
    created: str = ""
    command: str = ""
    wall_s: float | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    tasks: list[TaskResults]


def write_report(results: dict[str, Any], folder: Path) -> Path:
    """Render `report.html` into the folder that holds the results' figures.

    Figures, styles and scripts are in the file; it loads nothing. A figure that is missing, or lies outside the folder,
    leaves a note where it would be.

    Args:
        results: as in results.json, see `Results`.
        folder: where the figures lie and the report goes.

    Returns:
        Path of the report.

    Raises:
        InputError: the results lack something or have it of another kind; the message names it.
    """
    try:
        checked = Results.model_validate(results)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"results.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    folder = Path(folder)
    looks = _looks(row for task in checked.tasks for row in task.rows)
    tasks = [_TaskView(task, folder, looks, number) for number, task in enumerate(checked.tasks, start=1)]
    folder.mkdir(parents=True, exist_ok=True)
    page = _template().render(
        results=checked,
        tasks=tasks,
        counts=_counts(checked),
        plots={key: plot for task in tasks for key, plot in task.plots.items()},
        plotly=_plotly,
    )
    with atomic(folder / FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / FILE


def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "error": error_text,
        "number": number_text,
        "duration": duration_text,
        "count": count_text,
        "memory": memory_text,
        "date": date_text,
        "percent": percent_text,
        "factor": factor_text,
    }
    return environment.get_template("report.html.j2")


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _counts(results: Results) -> dict[str, int]:
    statuses = [row.status for task in results.tasks for row in task.rows]
    return {status: statuses.count(status) for status in ("done", "failed", "interrupted", "not applicable")}


# What the template sees


class Look(NamedTuple):
    """Colour and shape of a method's marker, in tables and charts alike."""

    colour: str
    shape: str

    @property
    def polygon(self) -> str:
        return SHAPES[self.shape]


class Picture(NamedTuple):
    """An embedded image, or the reason why there is none."""

    uri: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""


class Head(NamedTuple):
    """Of a quantity's column: the unit in brackets, and the reference if all rows have the same."""

    bracket: str
    reference: float | None


class _TaskView:
    """A task as the template wants it."""

    def __init__(self, task: TaskResults, folder: Path, looks: dict[str, Look], number: int) -> None:
        self.task, self.rows, self.looks, self.number = task, task.rows, looks, number
        self.id = f"task-{number}"
        self.floor = task.reference.estimated_error if _positive(task.reference.estimated_error) else None
        self.reference_picture = _picture(folder, task.reference.figure) if task.reference.figure else None
        self.pictures = [
            (i, row, _picture(folder, row.figure)) for i, row in enumerate(task.rows, start=1) if row.figure
        ]
        errors = [row.metrics.get("relative_l2") for row in task.rows if row.status == "done"]
        self.best = min(filter(_finite, errors), default=None)
        self.metrics = [
            (key, name) for key, name in METRICS.items() if any(_finite(row.metrics.get(key)) for row in task.rows)
        ]
        self.quantities = _quantities(task.rows)
        self.near_reference = {i for i, row in enumerate(task.rows, start=1) if self._near_reference(row)}
        self.columns = len(self.metrics) + len(self.quantities)
        self.has_training = any(row.cost.once_s is not None for row in task.rows)
        self.sets = {name: count for name, count in task.sets.items() if name != "test"}
        self.has_equal = any(row.equal for row in task.rows)
        self.plots = {}
        if points := _points(task.rows):
            self.plots[f"{self.id}-cost"] = _error_cost(points, looks, self.floor)
        if curves := [(i, row) for i, row in enumerate(task.rows, start=1) if row.history]:
            self.plots[f"{self.id}-loss"] = _training(curves, looks)
        if sized := [(i, row) for i, row in enumerate(task.rows, start=1) if len(row.sizes) > 1]:
            self.plots[f"{self.id}-sizes"] = _learning(sized, looks, self.floor)

    def _near_reference(self, row: Row) -> bool:
        """Is the row too near the reference to tell the two errors apart?"""
        error = row.metrics.get("relative_l2")
        return self.floor is not None and _finite(error) and error < 3 * self.floor


METRICS = {"relative_l2": "Relative L² error", "relative_h1": "Relative H¹ error", "residual": "Residual"}


def _quantities(rows: list[Row]) -> dict[str, Head]:
    """Name -> head of every quantity that some row has."""
    found: dict[str, list[Quantity]] = {}
    for row in rows:
        for name, quantity in row.quantities.items():
            found.setdefault(name, []).append(quantity)
    heads = {}
    for name, quantities in found.items():
        references = {q.reference for q in quantities if _finite(q.reference)}
        unit = quantities[0].unit
        heads[name] = Head(
            f" [{unit}]" if unit not in ("", "-") else "", min(references) if len(references) == 1 else None
        )
    return heads


def _looks(rows: Iterable[Row]) -> dict[str, Look]:
    methods, shapes = list(dict.fromkeys(row.method for row in rows)), list(SHAPES)
    return {m: Look(COLOURS[i % len(COLOURS)], shapes[i % len(shapes)]) for i, m in enumerate(methods)}


def _picture(folder: Path, figure: str) -> Picture:
    """The PNG at a path relative to the folder, embedded."""
    path = (folder / figure).resolve()
    if not path.is_relative_to(folder.resolve()):
        return Picture(missing=f"{figure} lies outside the report's folder")
    try:
        data = path.read_bytes()
    except OSError as error:
        return Picture(missing=f"{figure}: {error.strerror}")
    if not data.startswith(PNG) or len(data) < 24:
        return Picture(missing=f"{figure} is not a PNG")
    width, height = (int.from_bytes(data[i : i + 4]) for i in (16, 20))
    return Picture(f"data:image/png;base64,{base64.b64encode(data).decode()}", width, height)


# Charts, as plotly's dictionaries; ink and paper are set by the page's style sheet, for light, dark and print


class Point(NamedTuple):
    """One row of the error-cost chart."""

    number: int
    row: Row
    error: float


def _points(rows: list[Row]) -> list[Point]:
    errors = [(i, row, row.metrics.get("relative_l2")) for i, row in enumerate(rows, start=1)]
    return [Point(*p) for p in errors if p[1].status == "done" and _positive(p[2]) and _positive(p[1].cost.wall_s)]


def _error_cost(points: list[Point], looks: dict[str, Look], floor: float | None) -> dict[str, Any]:
    """Error against time to solution: filled markers for one solution, hollow ones with training and data."""
    traces = []
    for method in dict.fromkeys(p.row.method for p in points):
        mine = sorted((p for p in points if p.row.method == method), key=lambda p: p.row.cost.wall_s)
        traces += _method_traces(method, mine, looks[method])
    times = [t for p in points for t in (p.row.cost.wall_s, p.row.cost.total_s)]
    errors = [p.error for p in points] + ([floor] if floor else [])
    layout = {
        **_layout(),
        "xaxis": {**_log_axis(times), "title": _title("time to solution [s]")},
        "yaxis": {**_log_axis(errors), "title": _title("relative L² error")},
    }
    if floor:
        layout["shapes"] = [
            {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": floor, "y1": floor}
            | {"line": {"color": "#888888", "width": 1.2, "dash": "dash"}}
        ]
        layout["annotations"] = [
            {"xref": "paper", "x": 1, "y": math.log10(floor), "text": "the reference’s own error", "showarrow": False}
            | {"xanchor": "right", "yanchor": "bottom", "font": {"size": 11}}
        ]
    return {"data": traces, "layout": layout}


def _method_traces(method: str, points: list[Point], look: Look) -> Iterator[dict[str, Any]]:
    marker = {"color": look.colour, "size": 11, "line": {"color": look.colour, "width": 2}}
    common = {"legendgroup": method, "name": html.escape(method), "type": "scatter"}
    trained = [p for p in points if p.row.cost.once_s]
    for p in trained:
        yield common | {
            "x": [p.row.cost.wall_s, p.row.cost.total_s],
            "y": [p.error, p.error],
            "mode": "lines",
            "line": {"color": look.colour, "width": 1, "dash": "dot"},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    yield common | {
        "x": [p.row.cost.wall_s for p in points],
        "y": [p.error for p in points],
        "mode": "markers+text" if trained else "lines+markers+text",
        "line": {"color": look.colour, "width": 1},
        "marker": marker | {"symbol": look.shape},
        "text": [str(p.number) for p in points],
        "textposition": "top center",
        "hovertext": [_hover(p, p.row.cost.wall_s, "") for p in points],
        "hoverinfo": "text",
    }
    yield common | {
        "x": [p.row.cost.total_s for p in trained],
        "y": [p.error for p in trained],
        "mode": "markers",
        "marker": marker | {"symbol": f"{look.shape}-open"},
        "hovertext": [_hover(p, p.row.cost.total_s, " with training and data") for p in trained],
        "hoverinfo": "text",
        "showlegend": False,
    }


def _hover(point: Point, seconds: float, what: str) -> str:
    text = f"{point.number}  {html.escape(point.row.label)}<br>error {error_text(point.error)}"
    return f"{text}<br>{duration_text(seconds)}{what}"


def _training(curves: list[tuple[int, Row]], looks: dict[str, Look]) -> dict[str, Any]:
    """Loss against step, a curve a trained row."""
    seen: dict[str, int] = {}
    traces = []
    for number, row in curves:
        repeat = seen[row.method] = seen.get(row.method, -1) + 1
        kept = _thin(row.history)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": f"{number}  {html.escape(row.label)}",
                "x": [step for step, _ in kept],
                "y": [loss if _positive(loss) else None for _, loss in kept],
                "line": {"color": looks[row.method].colour, "width": 1.6, "dash": DASHES[repeat % len(DASHES)]},
                "hovertemplate": "step %{x}<br>loss %{y:.2e}<extra></extra>",
            }
        )
    losses = [loss for trace in traces for loss in trace["y"] if loss is not None]
    layout = {**_layout(), "xaxis": {**AXIS, "title": _title("step"), "rangemode": "tozero"}}
    layout["yaxis"] = {**_log_axis(losses or [1.0]), "title": _title("loss")}
    return {"data": traces, "layout": layout}


def _learning(sized: list[tuple[int, Row]], looks: dict[str, Look], floor: float | None) -> dict[str, Any]:
    """Error on the test set against the number of samples learned from."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"{number}  {html.escape(row.label)}",
            "x": [size for size, _ in row.sizes],
            "y": [error if _positive(error) else None for _, error in row.sizes],
            "line": {"color": looks[row.method].colour, "width": 1.6},
            "marker": {"color": looks[row.method].colour, "symbol": looks[row.method].shape, "size": 9},
            "hovertemplate": "%{x} samples<br>error %{y:.2e}<extra></extra>",
        }
        for number, row in sized
    ]
    errors = [y for trace in traces for y in trace["y"] if y is not None] + ([floor] if floor else [])
    layout = {**_layout(), "xaxis": {**_log_axis([x for t in traces for x in t["x"]])}}
    layout["xaxis"]["title"] = _title("samples learned from")
    layout["yaxis"] = {**_log_axis(errors or [1.0]), "title": _title("relative L² error, median")}
    return {"data": traces, "layout": layout}


def _thin(history: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Evenly chosen points of a long curve, with both ends."""
    if len(history) <= LONGEST_CURVE:
        return history
    stride = (len(history) - 1) / (LONGEST_CURVE - 1)
    return [history[round(i * stride)] for i in range(LONGEST_CURVE)]


AXIS = {"showline": False, "zeroline": False, "automargin": True, "ticks": ""}


def _log_axis(values: Iterable[float]) -> dict[str, Any]:
    logs = [math.log10(v) for v in values]
    low, high = min(logs), max(logs)
    pad = 0.12 * (high - low) + 0.15
    ticks = {"dtick": 1, "tickfont": {"size": 10}} if high - low >= 1 else {"nticks": 5}  # plotly enlarges powers
    return AXIS | ticks | {"type": "log", "range": [low - pad, high + pad], "exponentformat": "power"}


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12.5}}


def _layout() -> dict[str, Any]:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "inherit", "size": 12.5},
        "margin": {"l": 60, "r": 14, "t": 10, "b": 48},
        "height": 380,
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0},
        "showlegend": True,
        "hoverlabel": {"bgcolor": "#1f2328", "bordercolor": "#1f2328", "font": {"color": "#ffffff"}, "align": "left"},
        "dragmode": False,
    }


# Numbers for people


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _positive(value: float | None) -> bool:
    return _finite(value) and value > 0


def _power_of_ten(mantissa: str, exponent: str) -> str:
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def error_text(value: float | None) -> str:
    """Two digits and a power of ten; an en dash where there is no number.

    >>> error_text(1.234e-3)
    '1.2 × 10⁻³'
    """
    if not _finite(value):
        return "–"
    return "0" if value == 0 else _power_of_ten(*f"{value:.1e}".split("e")).replace("-", "−")


def number_text(value: float | None) -> str:
    """Five significant digits.

    >>> number_text(0.0123456)
    '0.012346'
    """
    if not _finite(value):
        return "–"
    mantissa, _, exponent = f"{value:.5g}".partition("e")
    return (_power_of_ten(mantissa, exponent) if exponent else mantissa).replace("-", "−")


def percent_text(ratio: float) -> str:
    """A signed deviation.

    >>> percent_text(-0.0117)
    '−1.2 %'
    """
    percent = 100 * ratio
    digits = f"{percent:+.2g}" if 1e-3 <= abs(percent) < 100 else f"{percent:+.0f}"
    return "±0 %" if abs(percent) < 1e-3 else f"{digits} %".replace("-", "−")


def factor_text(ratio: float) -> str:
    """How much quicker, or slower.

    >>> factor_text(12.3), factor_text(0.25)
    ('12 times quicker', '4 times slower')
    """
    quick, slow = f"{ratio:.2g}", f"{1 / ratio:.2g}"
    return f"{float(quick):g} times quicker" if ratio >= 1 else f"{float(slow):g} times slower"


def duration_text(seconds: float | None) -> str:
    """Milliseconds to hours, as one would say it.

    >>> duration_text(0.123), duration_text(3.41), duration_text(72)
    ('0.12 s', '3.4 s', '1 min 12 s')
    """
    if not _finite(seconds):
        return "–"
    if seconds < 0.0995:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count_text(value: int | None) -> str:
    """Thousands set apart by a narrow space."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def memory_text(megabytes: float | None) -> str:
    if not _finite(megabytes):
        return "–"
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def date_text(iso: str) -> str:
    """Day and minute of an ISO time; anything else as it is.

    >>> date_text("2026-03-01T14:05:59+00:00")
    '1 March 2026, 14:05 UTC'
    """
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.day} {time:%B %Y, %H:%M %Z}".rstrip()
