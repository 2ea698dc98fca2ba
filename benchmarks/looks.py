"""How the rows of a report look, in its tables, keys and charts alike.

Colour and shape tell methods apart, dashes rows of one method, and every point or curve bears its row's number: a chart
is read in grey as well.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any, NamedTuple

from variform.benchmarks.schema import Row

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

    @property
    def name(self) -> str:
        """Number and label, for plotly, which reads HTML in its labels."""
        return f"{self.number}  {html.escape(self.row.label)}"


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
