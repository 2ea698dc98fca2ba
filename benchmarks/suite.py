"""Suites: small TOML files that say what is compared."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from variform.errors import InputError, unknown

FOLDER = Path(__file__).parent / "suites"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Sample(_Strict):
    """A random instance of the problem."""

    seed: int = Field(ge=0)
    index: int = Field(ge=0)


class Reference(_Strict):
    """A finite-element solve: cells a side (none for a problem on a mesh file), uniform refinements of that mesh."""

    mesh: int | None = Field(default=None, ge=2)
    degree: int = Field(default=2, ge=1)
    refine: int = Field(default=0, ge=0)
    steps: int = Field(default=50, ge=1)


def _distinct(rows: list[Any]) -> list[Any]:
    """A row's label names its folder."""
    folders = [slug(row.label) for row in rows]
    if not all(folders) or len({*folders}) < len(folders):
        raise ValueError(f"labels must differ in letters or digits, got {[row.label for row in rows]}")
    return rows


def slug(label: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


class Row(_Strict):
    """One method with its options; `quick` replaces some of them under --quick."""

    method: str
    label: str
    options: dict[str, Any] = Field(default_factory=dict)
    quick: dict[str, Any] = Field(default_factory=dict)


class TaskEntry(_Strict):
    """One problem, its reference and its rows; `problem`: a catalogue name or the stem of a file given by --problem."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    problem: str
    title: str
    set: dict[str, Any] = Field(default_factory=dict)
    sample: Sample | None = None
    reference: Reference
    row: list[Row]

    @field_validator("row")
    @classmethod
    def _labels_differ(cls, rows: list[Row]) -> list[Row]:
        return _distinct(rows)


class Samples(_Strict):
    """A data set by name: how many samples are learned from, chosen by and tested on, on how many points a side.

    Its solutions, which everything is measured against, are on `mesh` cells a side (points, of a spectral grid) and in
    `steps` steps, where these are given; `snapshots` are stored times after the first. `on`: whether the values are
    taken on the grid of the file, or on the mesh of each sample.
    """

    name: str
    train: int = Field(ge=1)
    valid: int = Field(default=0, ge=0)
    test: int = Field(ge=1)
    resolution: int | None = Field(default=None, ge=2)
    mesh: int | None = Field(default=None, ge=2)
    steps: int | None = Field(default=None, ge=1)
    snapshots: int | None = Field(default=None, ge=1)
    on: Literal["grid", "mesh"] = "grid"
    seed: int = Field(default=0, ge=0)


class Shift(_Strict):
    """A test set of another distribution, or resolution."""

    name: str = Field(pattern=r"^[A-Za-z0-9_ ^.-]+$")
    variant: str = ""
    resolution: int | None = Field(default=None, ge=2)
    count: int = Field(default=50, ge=1)
    quick: dict[str, Any] = Field(default_factory=dict)


class Contestant(_Strict):
    """A network with the settings of its training, or a classical solver with its discretisation.

    `start`: the label of a row above, from whose weights a training begins.
    """

    method: str
    label: str
    start: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    quick: dict[str, Any] = Field(default_factory=dict)


class SetEntry(_Strict):
    """A data set on which learned operators and classical solvers are compared.

    Args:
        data, quick: the set; `quick` replaces some of it under --quick.
        seeds: of the trainings; the first alone under --quick.
        sizes: of training sets, for learning curves; the whole one is always there.
        shifted: further test sets.
        common: settings of all trainings; `quick_common` replaces some of them under --quick.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str
    data: Samples
    quick: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(default=[0], min_length=1)
    sizes: list[int] = []
    quick_sizes: list[int] = []
    shifted: list[Shift] = []
    common: dict[str, Any] = Field(default_factory=dict)
    quick_common: dict[str, Any] = Field(default_factory=dict)
    row: list[Contestant]

    @field_validator("row")
    @classmethod
    def _labels_differ(cls, rows: list[Contestant]) -> list[Contestant]:
        for i, row in enumerate(rows):
            if row.start and row.start not in (above := [other.label for other in rows[:i]]):
                raise ValueError(f"start of {row.label!r} must be the label of a row above, {above}, got {row.start!r}")
        return _distinct(rows)

    def reduced(self) -> SetEntry:
        """Under --quick."""
        rows = [row.model_copy(update={"settings": {**row.settings, **row.quick}, "quick": {}}) for row in self.row]
        return self.model_copy(
            update={
                "data": Samples.model_validate({**self.data.model_dump(), **self.quick}),
                "seeds": self.seeds[:1],
                "sizes": self.quick_sizes,
                "shifted": [Shift.model_validate({**s.model_dump(), **s.quick}) for s in self.shifted],
                "common": {**self.common, **self.quick_common},
                "row": rows,
            }
        )


class Suite(_Strict):
    title: str
    task: list[TaskEntry] = []
    set: list[SetEntry] = []

    @model_validator(mode="after")
    def _names_differ(self) -> Suite:
        names = [entry.name for entry in (*self.task, *self.set)]
        if len({*names}) < len(names):
            raise ValueError(f"the names of tasks and sets must differ, got {names}")
        if not names:
            raise ValueError("a suite needs a [[task]] or a [[set]]")
        return self


_SECTIONS = {
    "task": TaskEntry,
    "row": Row,
    "reference": Reference,
    "sample": Sample,
    "data": Samples,
    "set": SetEntry,
    "shifted": Shift,
}


def load(name: str) -> tuple[str, Suite]:
    """The short name and the content of a suite: one of ours, or a TOML file.

    Raises:
        InputError: no such suite, or the file does not say what a suite says.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml":
            raise unknown("suite", name, [p.stem for p in FOLDER.glob("*.toml")])
        if not path.is_file():
            raise InputError(f"no suite file {path}")
    try:
        return path.stem, Suite.model_validate(tomllib.loads(path.read_text()))
    except ValidationError as error:  # a ValueError too
        raise InputError(f"{path}: {_explain(error)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from None


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong: where, what, and what is allowed."""
    first = error.errors()[0]
    *section, key = map(str, first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{'.'.join([*section, key])}: {first['msg'].removeprefix('Value error, ')}"
    names = [name for name in section if name in _SECTIONS]
    model = _SECTIONS[names[-1]] if names else Suite
    return str(unknown("key" + f" of {'.'.join(section)}" * bool(section), key, model.model_fields))
