"""Look at mesh files, check, convert and refine them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variform.cli.output import guarded, number, print_json, print_table
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.mesh import Mesh

File = Annotated[Path, typer.Argument(help="Mesh or CAD file: .msh, .vtk, .vtu, .xdmf, .mesh, .step, .brep, ...")]
Out = Annotated[Path, typer.Argument(help="File to write: .msh (keeps all names), .vtu, .vtk, .xdmf or .mesh.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def info(path: File, json: Json = False) -> None:
    """Show what a mesh file holds. Example: variform mesh info part.msh."""
    from variform import meshes
    from variform.meshes.quality import check

    shown = describe(path, mesh := meshes.read(path))
    quality = check(mesh)
    shown |= {
        "measure": quality.measure,
        "edges": [quality.edge_min, quality.edge_max],
        "angle_min": quality.angle_min,
        "shape_min": quality.shape_min,
    }
    if json:
        print_json(shown)
    else:
        print_table("", [(key, _text(value)) for key, value in shown.items()])


def describe(path: Path, mesh: Mesh) -> dict[str, object]:
    """Sizes, extent and named parts of a mesh."""
    return {
        "file": str(path),
        "cells": len(mesh.cells),
        "cell_type": mesh.cell_type,
        "order": mesh.order,
        "points": len(mesh.points),
        "lower": mesh.points.min(axis=0).tolist(),
        "upper": mesh.points.max(axis=0).tolist(),
        "regions": {name: len(cells) for name, cells in mesh.regions.items()},
        "boundaries": {name: len(facets) for name, facets in mesh.boundaries.items()},
    }


def convert(path: File, out: Out) -> None:
    """Write a mesh in another format, of simplices only. Example: variform mesh convert part.step part.msh."""
    from variform import meshes

    _refuse_existing(out)
    _write(out, meshes.read(path))


def refine(
    path: File,
    out: Out,
    times: Annotated[int, typer.Option(min=1, help="How often.")] = 1,
    near: Annotated[str | None, typer.Option(help="Refine only near this point: x,y or x,y,z.")] = None,
    radius: Annotated[float | None, typer.Option(help="How near the middle of a cell must be to be cut.")] = None,
) -> None:
    """Halve the edges of all cells, or bisect those near a point. Example: variform mesh refine in.msh out.msh."""
    import numpy as np

    from variform import meshes

    _refuse_existing(out)
    if (near is None) != (radius is None):
        raise InputError("--near and --radius go together")
    mesh = meshes.read(path)
    centre = None if near is None else _point(near, mesh.dim)
    for _ in range(times):
        if centre is None:
            mesh = meshes.refine(mesh)
            continue
        distance = np.linalg.norm(mesh.points[mesh.cells].mean(axis=1) - centre, axis=1)
        if not np.any(distance < radius):
            raise InputError(f"no cell has its middle within {radius:g} of {near}; take a larger --radius")
        mesh = meshes.refine(mesh, cells=distance < radius)
    _write(out, mesh)


def check(path: File, json: Json = False) -> None:
    """Measure a mesh, say what is wrong; exit code 1 if anything is. Example: variform mesh check part.msh."""
    from variform import meshes
    from variform.meshes import quality

    found = quality.check(meshes.read(path, lenient=True))
    if json:
        print_json({"file": str(path), **found.as_dict(), "problems": found.problems})
    else:
        print_table("", [("file", str(path)), *((key, _text(value)) for key, value in found.as_dict().items())])
        for name, count in found.problems.items():
            typer.echo(f"problem: {count} {quality.PROBLEMS[name]}")
        typer.echo("problems found" if found.problems else "no problems found")
    raise typer.Exit(1 if found.problems else 0)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items()) or "none"
    return number(value) if isinstance(value, float) else str(value)


def _point(text: str, dim: int) -> list[float]:
    try:
        point = [float(part) for part in text.split(",")]
    except ValueError:
        point = []
    if len(point) != dim:
        raise InputError(f"--near takes {dim} numbers with commas between them for this mesh, got {text!r}")
    return point


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise InputError(f"{out} exists; choose another name")


def _write(out: Path, mesh: Mesh) -> None:
    from variform import meshes

    meshes.write_mesh(out, mesh)
    typer.echo(f"{len(mesh.cells)} cells, {len(mesh.points)} points: {out}")


mesh = typer.Typer(no_args_is_help=True, help="Look at mesh files, check, convert and refine them.")
for command in (info, convert, refine, check):
    mesh.command()(guarded(command))
