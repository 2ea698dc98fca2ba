"""Does the error fall as theory says?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table, progress_bar
from variform.cli.parallel import is_first, on_first_rank
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.benchmarks.convergence import Quantity, Study
    from variform.problem import Problem

WORDS = {"relative_l2": "L2", "relative_h1": "H1", "relative_energy": "energy"}


def converge(
    problem: Annotated[str, typer.Argument(help="Catalogue name, or path/to/file.py[:Class].")],
    levels: Annotated[int, typer.Option(help="How many meshes, each twice as fine as the last: 2 to 10.")] = 4,
    mesh: Annotated[
        str | None, typer.Option(help="The coarsest: cells a side (16, 8, 4 in 1D, 2D, 3D), or a mesh file.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a parameter, or an option of fem (degree=2).")
    ] = None,
    petsc: Annotated[str | None, typer.Option(help='Options of PETSc, such as "ksp_type=gmres pc_type=ilu".')] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; runs/PROBLEM-converge-TIME by default.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a last rate differs from theory by 0.1.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print converge.json instead of tables.")] = False,
) -> None:
    """Solve on finer and finer meshes by finite elements; compare the rates with theory.

    Example: variform converge poisson_manufactured --levels 4 --set degree=2.
    """
    from variform import problems, runs, solvers
    from variform.benchmarks.convergence import study
    from variform.cli.settings import parse_mesh, parse_settings
    from variform.cli.solve import recorded, solver_options

    if not 2 <= levels <= 10:
        raise InputError(f"--levels must be 2 to 10, got {levels}")
    kind = problems.load(problem)
    options = solvers.options_of("fem")
    values, chosen = parse_settings(kind, settings or [], options)
    if "start" in chosen:
        raise InputError("a study starts from nothing: leave out start")
    chosen |= solver_options("fem", options, petsc=petsc)
    instance: Problem = kind(**values)
    chosen |= parse_mesh(mesh, "fem", instance)
    name = Path(problem.split(".py")[0]).name
    folder = on_first_rank(lambda: runs.free_folder(out, f"{name}-converge"))
    with progress_bar(f"{name}: converge") as progress:
        found = study(instance, levels=levels, progress=progress, **chosen)
    own = not (mesh and "mesh" in chosen and not isinstance(chosen["mesh"], int))
    record = recorded(instance, problem, "fem", found.finest, own_domain=own)
    content = {"problem": problem, "parameters": record["parameters"], **found.as_dict()}
    if is_first():
        written = _write(folder if out else runs.claim(folder), name, found, content, record)
        if not json:
            _show(found, written)
    if json:
        print_json(content)
    if check and not all(verdict.ok for verdict in found.verdicts):
        raise typer.Exit(1)


def _write(folder: Path, name: str, found: Study, content: dict[str, Any], record: dict[str, Any]) -> list[Path]:
    """Tables, picture and, last, the record of the finest level."""
    from variform import figures, runs

    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "converge.json", folder / "convergence.png", folder / runs.RECORD]
    runs.write_json(written[0], content)
    curves, orders = _curves(found)
    figures.convergence(written[1], found.h, curves, orders=orders, title=name)
    runs.write_json(written[2], record)
    return written


def _curves(found: Study) -> tuple[dict[str, list[float]], dict[str, float]]:
    """What is drawn, and the orders of theory, by label: errors of fields, or of quantities where there are none."""
    missing, curves, orders = math.nan, {}, {}
    for field, by_norm in found.errors.items():
        for norm, errors in by_norm.items():
            label = f"{field} {WORDS[norm]}"
            curves[label] = [*errors, *[missing] * (len(found.h) - len(errors))]
            if norm in found.orders.get(field, {}):
                orders[label] = found.orders[field][norm]
    quantities = {name.replace("_", " "): q.errors for name, q in found.quantities.items() if q.target == q.target}
    return curves or quantities, orders


def _show(found: Study, written: list[Path]) -> None:
    for field, by_norm in found.errors.items():
        title = field if field in found.exact else f"{field}: difference to the next level"
        _print_errors(title, found, {WORDS[norm]: e for norm, e in by_norm.items()}, _theory(found, field))
    for name, quantity in found.quantities.items():
        _print_quantity(name.replace("_", " "), found, quantity)
    for verdict in found.verdicts:
        typer.echo(str(verdict))
    for path in written:
        typer.echo(f"written: {path}")


def _theory(found: Study, field: str) -> dict[str, float]:
    return {WORDS[norm]: order for norm, order in found.orders.get(field, {}).items()}


def _print_errors(title: str, found: Study, errors: dict[str, list[float]], theory: dict[str, float]) -> None:
    """A row a level: h, dofs, and each error with the rate from the level before."""
    header, columns = ["h", "dofs"], [[f"{h:.3g}" for h in found.h], [str(n) for n in found.dofs]]
    for name, values in errors.items():
        header += [name, "rate"]
        columns += [[f"{e:.3e}" for e in values], ["", *(_rate(r) for r in found.rates(values))]]
    rows = [tuple(c[i] if i < len(c) else "" for c in columns) for i in range(len(found.h))]
    last = [word for name in errors for word in ("", f"{theory[name]:g}" if name in theory else "")]
    typer.echo()
    print_table(title, [*rows, ("theory", "", *last)] if theory else rows, tuple(header))


def _print_quantity(name: str, found: Study, quantity: Quantity) -> None:
    known = quantity.target == quantity.target
    rates = ["", *(_rate(r) for r in found.rates(quantity.errors))]
    rows = [
        (f"{h:.3g}", number(value), f"{error:.3e}" if known else "-", rate)
        for h, value, error, rate in zip(found.h, quantity.values, quantity.errors, rates, strict=True)
    ]
    against = "reference" if quantity.reference is not None else "Richardson's limit"
    typer.echo()
    print_table(name, rows, ("h", "value", f"error to {against} {number(quantity.target)}", "rate"))
    if e := quantity.extrapolated:
        typer.echo(
            f"{name}: {e.kind}, observed order {_rate(e.order)}, limit {number(e.limit)}, "
            f"grid convergence index {f'{e.gci:.1e}' if e.gci == e.gci else '-'}"
        )


def _rate(rate: float) -> str:
    return f"{rate:.2f}" if math.isfinite(rate) else "-"
