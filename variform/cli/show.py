"""Look at what a run or a file holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.solution import Solution

CHECKPOINT = "variform checkpoint"


def show(
    path: Annotated[Path, typer.Argument(help="Run folder, report folder, mesh, data or checkpoint file.")],
    at: Annotated[
        str | None,
        typer.Option(help='Values at points, "x,y" or "x,y;x,y" [m], of a run of a catalogue problem by fem.'),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Summarise a run, a mesh or a data set. Example: variform show runs/poisson-fem-20260101-120000."""
    if not path.exists():
        raise InputError(f"no run folder or file {path}")
    if at is not None:
        _show_values(path, at, json)
    elif path.is_dir():
        _show_folder(path, json)
    elif _is_checkpoint(path):
        _show_checkpoint(path, json)
    elif path.suffix in (".h5", ".hdf5"):
        _show_data(path, json)
    else:
        _show_mesh(path, json)


def _show_folder(folder: Path, json: bool) -> None:
    from variform import runs
    from variform.cli.summary import summary

    if (folder / "report.html").is_file() and not json:
        typer.echo(f"report: {folder / 'report.html'}")
        return
    record = runs.read_record(folder, "results.json" if (folder / "results.json").is_file() else runs.RECORD)
    if json:
        print_json(record)
    elif "ensemble" in record and "quantities" in record:
        _show_ensemble(folder, record)
    elif "metrics" not in record:
        keys = ("problem", "method", "suite", "title", "status", "error", "created")
        print_table("", [(k, str(record[k])) for k in keys if k in record])
    else:
        try:
            summary(record, sorted(p for p in folder.rglob("*") if p.is_file()))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            message = f"{folder / runs.RECORD} is damaged, or of another version: {type(error).__name__} {error}"
            raise InputError(message) from error


def _show_ensemble(folder: Path, record: dict[str, Any]) -> None:
    from variform.cli import ensemble

    try:
        ensemble.summary(record, sorted(p for p in folder.rglob("*") if p.is_file()))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        message = f"{folder / 'run.json'} is damaged, or of another version: {type(error).__name__} {error}"
        raise InputError(message) from error


def _show_mesh(path: Path, json: bool) -> None:
    from variform import meshes

    mesh = meshes.read(path)
    shown = {
        "file": str(path),
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "points": len(mesh.points),
        "lower": mesh.points.min(axis=0).tolist(),
        "upper": mesh.points.max(axis=0).tolist(),
        "regions": {name: len(cells) for name, cells in mesh.regions.items()},
        "boundaries": {name: len(facets) for name, facets in mesh.boundaries.items()},
    }
    if json:
        print_json(shown)
    else:
        print_table("", [(key, str(value)) for key, value in shown.items()])


def _show_data(path: Path, json: bool) -> None:
    from variform.cli.data import info

    info(path, json)


def _is_checkpoint(path: Path) -> bool:
    if path.suffix != ".h5":
        return False
    import h5py  # slow

    try:
        with h5py.File(path) as file:
            return str(file.attrs.get("format", "")).startswith(CHECKPOINT)
    except OSError:
        return False


def _show_checkpoint(path: Path, json: bool) -> None:
    from variform.solvers.fem import checkpoint

    stored = checkpoint.read(path)
    mesh = stored.mesh
    shown = {
        "file": str(path),
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "points": len(mesh.points),
        "regions": {name: len(cells) for name, cells in mesh.regions.items()},
        "boundaries": {name: len(facets) for name, facets in mesh.boundaries.items()},
        "fields": {name: {"element": element, "degree": k} for name, (element, k, _) in stored.fields.items()},
    }
    if json:
        print_json(shown)
    else:
        fields = ", ".join(f"{name} {f['element']} {f['degree']}" for name, f in shown["fields"].items())
        print_table("", [(key, str(value)) for key, value in {**shown, "fields": fields}.items()])


def _show_values(folder: Path, at: str, json: bool) -> None:
    import numpy as np

    solution, fields = _restored(folder)
    points = _points(at, solution.mesh.dim)
    found = {name: solution.at(points, field=name, outside="error") for name in fields}
    if json:
        print_json({"points": points.T, "values": {name: np.moveaxis(v, -1, 0) for name, v in found.items()}})
        return
    rows = [
        (", ".join(f"{c:g}" for c in point), *(_words(values[..., i]) for values in found.values()))
        for i, point in enumerate(points.T)
    ]
    print_table("", rows, ("point", *found))


def _words(values: Any) -> str:
    return ", ".join(number(float(v)) for v in values.ravel())


def _restored(folder: Path) -> tuple[Solution, list[str]]:
    """A run's solution from its checkpoint, and its fields.

    Raises:
        InputError: not a run by finite elements of a catalogue problem whose parameters are all numbers. A user's file
            is never run from the path in a record.
    """
    from variform import problems, runs

    if not folder.is_dir():
        raise InputError(f"--at needs a run folder, got {folder}")
    record = runs.read_record(folder)
    name, parameters = str(record.get("problem")), record.get("parameters") or {}
    if name not in problems.CATALOGUE:
        raise InputError(f"--at: {folder} is a run of {name}, no catalogue problem; code named in a record is not run")
    if "field" in parameters.values():
        raise InputError(f"--at: a parameter of {folder} is a field, which its record does not hold")
    problem = problems.load(name)(**parameters)
    if record.get("method") != "fem":
        raise InputError(f"--at is for runs by finite elements (fem), {folder} is by {record.get('method')!r}")
    from variform.solution import Cost
    from variform.solvers.fem import checkpoint
    from variform.solvers.fem.discretize import discretize
    from variform.solvers.fem.mesh import distribute
    from variform.solvers.fem.solution import FemSolution

    stored = checkpoint.read(folder)
    discrete = discretize(problem, distribute(stored.mesh), max(degree for _, degree, _ in stored.fields.values()))
    checkpoint.fill(discrete, stored)
    dofs = {name: u.x.array.copy() for name, u in discrete.u.items()}
    return FemSolution(discrete, [(None, dofs)], Cost(0.0), {}), list(problem.fields)


def _points(text: str, dim: int) -> Any:
    """Points "x,y;x,y" as an array (dim, n)."""
    import numpy as np

    try:
        points = [[float(word) for word in point.split(",")] for point in text.split(";") if point.strip()]
    except ValueError:
        raise InputError(f"--at must be numbers, x,y or x,y;x,y, got {text!r}") from None
    if not points or any(len(point) != dim or not all(map(math.isfinite, point)) for point in points):
        raise InputError(f"--at: each point needs {dim} finite coordinates, got {text!r}")
    return np.array(points).T
