"""What `variform solve` does for evolutions: checkpoints and resuming, histories, snapshots, animations."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from variform.cli.parallel import is_first
from variform.errors import ComputationError, InputError

if TYPE_CHECKING:
    from variform.problem import Problem
    from variform.solution import Solution

CHECKPOINTS = "checkpoints"


def applies(problem: Problem, options: Mapping[str, Any]) -> bool:
    """The method steps this problem in time and writes checkpoints."""
    return problem.time is not None and CHECKPOINTS in options


def probes(points: list[str], problem: Problem, options: Mapping[str, Any]) -> str:
    """The option of the method for `--probe`.

    Raises:
        InputError: nothing evolves, or the method records nothing.
    """
    if problem.time is None or "probes" not in options:
        raise InputError("--probe is for evolutions by finite elements (fem)")
    return " ".join(point.replace(" ", "") for point in points)


def resumable(folder: Path | None, problem: str, method: str, *, evolves: bool) -> Path:
    """The run folder to go on in.

    Raises:
        InputError: nothing can be resumed there.
    """
    from variform import runs

    if not evolves:
        raise InputError("--resume is for evolutions by finite elements (fem): only they write checkpoints")
    if folder is None:
        raise InputError("--resume needs --out, the run folder to go on in")
    record = runs.read_record(folder)
    for key, given in (("problem", problem), ("method", method)):
        if record.get(key) != given:
            raise InputError(f"{folder} is a run of another {key}: {record.get(key)!r}, not {given!r}")
    if record.get("status") == "done":
        raise InputError(f"the run in {folder} is done: there is nothing to resume")
    return folder


def noticing(progress: Callable[[float, str], None], first: Callable[[], None]) -> Callable[[float, str], None]:
    """Progress that also calls `first` when it is heard of for the first time."""
    heard = False

    def follow(fraction: float, text: str) -> None:
        nonlocal heard
        if not heard:
            heard = True
            first()
        progress(fraction, text)

    return follow


def discard(folder: Path) -> None:
    """Remove a run folder into which nothing has been written."""
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
        folder.parent.rmdir()


def forget_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def write(folder: Path, problem: Problem, solution: Solution) -> list[Path]:
    """history.csv and its picture, the snapshots for ParaView, and an animation of each scalar field; collective."""
    written = [_history(folder, solution)] if len(solution.history) > 1 and is_first() else []
    if len(getattr(solution, "times", [])) > 2:
        written += _snapshots(folder, problem, solution)
    return written


def _history(folder: Path, solution: Solution) -> Path:
    import csv

    from variform import figures, runs

    path = folder / "history.csv"
    with runs.atomic(path) as temporary, open(temporary, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(solution.history)
        table.writerows([repr(float(v)) for v in row] for row in zip(*solution.history.values(), strict=True))
    _drawn(lambda: figures.history(solution.history, folder / "figures" / "history.png"))
    return path


def _snapshots(folder: Path, problem: Problem, solution: Any) -> list[Path]:
    """snapshots/00000.vtu and so on, solution.pvd that names them with their times, figures/FIELD.gif."""
    import numpy as np

    from variform import figures, meshes, runs

    states = {}
    for t in solution.times:
        states[t] = {name: solution.nodal(name, t) for name in problem.fields}
    if not is_first():
        return []
    (folder / "snapshots").mkdir(exist_ok=True)
    lines = []
    for i, (t, values) in enumerate(states.items()):
        meshes.write(folder / "snapshots" / f"{i:05d}.vtu", solution.drawn, values)
        lines.append(f'    <DataSet timestep="{t!r}" file="snapshots/{i:05d}.vtu"/>')
    path = folder / "solution.pvd"
    with runs.atomic(path) as temporary:
        head = '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n  <Collection>\n'
        temporary.write_text(head + "\n".join(lines) + "\n  </Collection>\n</VTKFile>\n")
    written = [path]
    for name, field in problem.fields.items():
        if field.element == "Real":
            continue
        frames = [
            (t, np.linalg.norm(v[name].reshape(-1, v[name].shape[-1]), axis=0) if field.shape else v[name])
            for t, v in states.items()
        ]
        title, unit = field.description, "" if field.unit == "-" else field.unit
        target = folder / "figures" / f"{name}.gif"
        if _drawn(lambda: figures.animate(solution.drawn, frames, target, title=title, unit=unit)):  # noqa: B023
            written.append(target)
    return written


def _drawn(draw: Callable[[], Any]) -> bool:
    """Draw; a picture that cannot be drawn is no reason to lose the solution."""
    try:
        draw()
    except (ComputationError, InputError) as error:
        typer.echo(f"variform: no picture: {error}", err=True)
        return False
    return True
