"""Look at what a run or a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variform.cli.output import print_json, print_table
from variform.errors import InputError


def show(
    path: Annotated[Path, typer.Argument(help="Run folder, report folder, mesh file or data file.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Summarise a run, a mesh or a data set. Example: variform show runs/poisson-fem-20260101-120000."""
    if not path.exists():
        raise InputError(f"no run folder or file {path}")
    if path.is_dir():
        _show_folder(path, json)
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
    elif "metrics" not in record:
        keys = ("problem", "method", "suite", "title", "status", "error", "created")
        print_table("", [(k, str(record[k])) for k in keys if k in record])
    else:
        try:
            summary(record, sorted(p for p in folder.rglob("*") if p.is_file()))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            message = f"{folder / runs.RECORD} is damaged, or of another version: {type(error).__name__} {error}"
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
    from variform import data

    dataset = data.read(path)
    shown = {
        "file": str(path),
        "task": dataset.name,
        "samples": len(dataset),
        "grid": [len(axis) for axis in dataset.coordinates],
        "inputs": list(dataset.inputs),
        "outputs": list(dataset.outputs),
        **dataset.info,
    }
    if json:
        print_json(shown)
    else:
        print_table("", [(key, str(value)) for key, value in shown.items()])
