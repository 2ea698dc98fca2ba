"""The benchmark report: one HTML file that explains, compares and shows, and needs nothing but itself."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from variform.benchmarks import wording
from variform.benchmarks.charts import charts
from variform.benchmarks.looks import Look, looks
from variform.benchmarks.schema import TEST, Quantity, Results, Row, TaskResults, checked, finite
from variform.benchmarks.summary import NEAR, summarise, used_text
from variform.benchmarks.table import write_csv
from variform.runs import atomic

FILE = "report.html"
METRICS = {"relative_l2": "Relative L² error", "relative_h1": "Relative H¹ error", "residual": "Residual"}
PNG = b"\x89PNG\r\n\x1a\n"


def write_report(results: dict[str, Any], folder: Path) -> Path:
    """Render `report.html` into the folder that holds the results' figures, with `results.csv` beside it.

    Figures, styles and scripts are in the file; it loads nothing. A figure that is missing, or lies outside the folder,
    leaves a note where it would be.

    Args:
        results: as in results.json, see `schema.Results`.
        folder: where the figures lie and the report goes.

    Returns:
        Path of the report.

    Raises:
        InputError: the results lack something or have it of another kind; the message names it.
    """
    content, folder = checked(results), Path(folder)
    methods = looks(row for task in content.tasks for row in task.rows)
    tasks = [_TaskView(task, folder, methods, number) for number, task in enumerate(content.tasks, start=1)]
    folder.mkdir(parents=True, exist_ok=True)
    page = _template().render(
        results=content,
        tasks=tasks,
        counts=_counts(content),
        plots={key: chart.figure for task in tasks for key, chart in task.charts.items()},
        plotly=_plotly,
    )
    with atomic(folder / FILE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    write_csv(content, folder)
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
        "error": wording.error_text,
        "number": wording.number_text,
        "score": wording.score_text,
        "score_range": wording.score_range_text,
        "duration": wording.duration_text,
        "count": wording.count_text,
        "memory": wording.memory_text,
        "date": wording.date_text,
        "percent": wording.percent_text,
        "factor": wording.factor_text,
        "solutions": wording.solutions_text,
        "range": wording.range_text,
        "used": used_text,
    }
    return environment.get_template("report.html.j2")


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _counts(results: Results) -> dict[str, int]:
    rows = [row for task in results.tasks for row in task.rows]
    statuses = [row.status for row in rows]
    counts = {status: statuses.count(status) for status in ("done", "failed", "interrupted", "not applicable")}
    return counts | {"stale": sum(bool(row.stale) for row in rows)}


# What the template sees


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
        self.summary = summarise(task)
        self.floor = self.summary.floor
        self.charts = {f"{self.id}-{name}": chart for name, chart in charts(task, looks).items()}
        self.reference_picture = _picture(folder, task.reference.figure) if task.reference.figure else None
        numbered = list(enumerate(task.rows, start=1))
        self.pictures = [(i, row, _picture(folder, row.figure)) for i, row in numbered if row.figure]
        self.worst = [(i, row, _picture(folder, row.worst)) for i, row in numbered if row.worst]
        self.best = min((row.error for row in task.rows if finite(row.error)), default=None)
        self.near_reference = {i for i, row in numbered if self._near_reference(row)}
        self.metrics = [
            (key, name) for key, name in METRICS.items() if any(finite(row.metrics.get(key)) for row in task.rows)
        ]
        self.quantities = _quantities(task.rows)
        self.columns = len(self.metrics) + len(self.quantities)
        self.has_training = any(row.cost.once_s is not None for row in task.rows)
        self.has_equal = any(row.equal for row in task.rows)
        self.has_memory = any(finite(row.cost.peak_memory_mb) for row in task.rows)
        self.sets = {name: s for name, s in task.sets.items() if name != TEST}
        self.tested = task.sets.get(TEST)
        self.scored = [(i, row) for i, row in numbered if row.scores]
        self.scores = list(dict.fromkeys(name for row in task.rows for name in row.scores))

    def _near_reference(self, row: Row) -> bool:
        """Is the row too near the reference to tell the two errors apart?"""
        error = row.metrics.get("relative_l2")
        return self.floor is not None and finite(error) and error < NEAR * self.floor


def _quantities(rows: list[Row]) -> dict[str, Head]:
    """Name -> head of every quantity that some row has."""
    found: dict[str, list[Quantity]] = {}
    for row in rows:
        for name, quantity in row.quantities.items():
            found.setdefault(name, []).append(quantity)
    heads = {}
    for name, quantities in found.items():
        references = {q.reference for q in quantities if finite(q.reference)}
        unit = quantities[0].unit
        heads[name] = Head(
            f" [{unit}]" if unit not in ("", "-") else "", min(references) if len(references) == 1 else None
        )
    return heads


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
