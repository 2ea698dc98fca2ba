"""Suites: small TOML files that say what is compared."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from variform.errors import InputError, unknown

FOLDER = Path(__file__).parent / "suites"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Sample(_Strict):
    """A random instance of the problem."""

    seed: int
    index: int


class Reference(_Strict):
    """A finite-element solve: cells a side (none for a problem on a mesh file), uniform refinements of that mesh."""

    mesh: int | None = None
    degree: int = 2
    refine: int = 0
    steps: int = 50


class Data(_Strict):
    """The data set that a learned operator is trained on."""

    count: int
    resolution: int
    seed: int = 0


class Row(_Strict):
    """One method with its options; `quick` replaces some of them under --quick."""

    method: str
    label: str
    options: dict[str, Any] = Field(default_factory=dict)
    quick: dict[str, Any] = Field(default_factory=dict)
    data: Data | None = None


class TaskEntry(_Strict):
    """One problem, its reference and its rows; `problem`: a catalogue name or the stem of a file given by --problem."""

    name: str
    problem: str
    title: str
    set: dict[str, Any] = Field(default_factory=dict)
    sample: Sample | None = None
    reference: Reference
    row: list[Row]


class Suite(_Strict):
    title: str
    task: list[TaskEntry]


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
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {place}: {first['msg']}") from None
