"""Solve one problem by one method."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from variform.cli.output import Terminated, number, print_json, print_table, progress_bar
from variform.cli.parallel import is_first, num_ranks, on_first_rank
from variform.errors import ComputationError, InputError


def solve(
    problem: Annotated[str, typer.Argument(help="Catalogue name, or path/to/file.py[:Class].")],
    method: Annotated[str, typer.Option(help="fem, pinn, ritz or spectral.")] = "fem",
    net: Annotated[str | None, typer.Option(help="Network of a neural method: mlp.")] = None,
    mesh: Annotated[str | None, typer.Option(help="Cells a side, or a mesh file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value, several times: a parameter of the problem (name.region=... for one region, "
            "name=sample:SEED:INDEX for a random field) or an option of the method (degree=2, steps=100, width=24).",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/PROBLEM-METHOD-TIME by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
) -> None:
    """Solve a problem and write a run folder. Example: variform solve darcy --mesh 64 --set conductivity.clay=0.01."""
    from variform import problems, runs, solvers
    from variform.benchmarks.metrics import exact_errors
    from variform.benchmarks.record import describe
    from variform.cli.settings import parse_mesh, parse_settings
    from variform.mesh import Mesh
    from variform.problem import Problem

    kind = problems.load(problem)
    if num_ranks() > 1 and method in solvers.METHODS and method != "fem":
        raise InputError(f"method {method!r} runs on one rank; only fem uses {num_ranks()}")
    options = solvers.options_of(method)
    if net not in (None, "mlp") or (net and "width" not in options):
        raise InputError(f"--net is for neural methods (pinn, ritz) and can only be mlp, got {net!r} with {method!r}")
    values, chosen = parse_settings(kind, settings or [], options)
    instance: Problem = kind(**values)
    chosen |= parse_mesh(mesh, method, instance)
    name = Path(problem.split(".py")[0]).name
    folder = on_first_rank(lambda: runs.free_folder(out, f"{name}-{method}"))

    @cache
    def created() -> Path:
        """The folder, from now on this run's."""
        if out is None:
            return runs.claim(folder)
        out.mkdir(parents=True, exist_ok=True)
        return out

    def marked(status: str, error: BaseException) -> None:
        """A run that did not end well leaves its record."""
        if is_first():
            record = {"problem": problem, "method": method, "status": status, "error": str(error)}
            record |= {"created": runs.now(), "command": runs.command_line()}
            runs.write_json(created() / runs.RECORD, record)

    try:
        with progress_bar(f"{name}: {method}") as progress:
            solution = solvers.solve(instance, method, progress=progress, **chosen)
            values = _values(instance, solution)
            errors = exact_errors(instance, solution)
            own = not isinstance(chosen.get("mesh"), Mesh)
            record = describe(instance, problem, method, solution, errors, own_domain=own, ranks=num_ranks())
            written = _write(created(), instance, solution, values, record) if is_first() else []
    except (ComputationError, MemoryError) as error:
        marked("failed", error)
        raise
    except (KeyboardInterrupt, Terminated) as error:
        marked("interrupted", error)
        raise
    if json:
        print_json(record)
    elif is_first():
        summary(record, written)


def _values(problem: Any, solution: Any) -> dict[str, Any]:
    """Each field at the vertices of the mesh; collective."""
    import numpy as np

    values = {name: solution.at(solution.mesh.points.T, field=name) for name in problem.fields}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ComputationError(f"{name} is infinite or not a number at {int((~np.isfinite(value)).sum())} points")
    return values


def _write(folder: Path, problem: Any, solution: Any, values: dict[str, Any], record: dict[str, Any]) -> list[Path]:
    """Solution, pictures and, last, the record."""
    from variform import figures, meshes, runs

    (folder / "figures").mkdir(exist_ok=True)
    written = [folder / "solution.vtu"]
    meshes.write(written[0], solution.mesh, values)
    if hasattr(solution, "save"):
        written.append(solution.save(folder))
    for name, field in problem.fields.items():
        path = folder / "figures" / f"{name}.png"
        unit = "" if field.unit == "-" else field.unit
        try:
            written.append(figures.field(solution.mesh, values[name], path, title=field.description, unit=unit))
        except ComputationError as error:  # no picture is no reason to lose the solution
            typer.echo(f"variform: no picture of {name}: {error}", err=True)
    runs.write_json(folder / runs.RECORD, record)
    return [*written, folder / runs.RECORD]


def summary(record: dict[str, Any], written: list[Path]) -> None:
    """What was solved, how well, what it cost, and where it lies."""
    metrics, cost, discretization = record["metrics"], record["cost"], record["discretization"]
    size = f"{cost['dofs']} dofs" if cost["dofs"] else f"{cost['parameters']} parameters"
    rows = [
        ("problem", record["problem"]),
        ("method", record["method"]),
        ("size", f"{size}, {discretization.get('cells', '-')} cells"),
        ("residual", number(metrics["residual"])),
    ]
    for key in ("relative_l2", "relative_h1"):
        if metrics.get(key) is not None:
            rows.append((key.replace("_", " ") + " error", f"{metrics[key]:.3e}"))
    for name, quantity in metrics.get("quantities", {}).items():
        beside = f"   (reference {number(quantity['reference'])})" if quantity["reference"] is not None else ""
        rows.append((name.replace("_", " "), number(quantity["value"]) + beside))
    stages = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in cost["stages"].items())
    rows.append(("time", f"{cost['wall_s']:.2f} s ({stages})"))
    rows.append(("memory", f"{cost['peak_memory_mb']:.0f} MB at most"))
    rows += [("written" if i == 0 else "", str(path)) for i, path in enumerate(written)]
    print_table("", rows)
