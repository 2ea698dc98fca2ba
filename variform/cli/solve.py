"""Solve one problem by one method."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli import ensemble, evolution
from variform.cli.output import Terminated, print_json, progress_bar
from variform.cli.parallel import is_first, num_ranks, on_first_rank
from variform.cli.summary import summary
from variform.errors import ComputationError, InputError

if TYPE_CHECKING:
    import numpy as np

    from variform.problem import Field, Problem
    from variform.solution import Solution


PARTS = {"": ", real part", "_modulus": ", modulus"}
"""What is drawn of a complex field, by the end of the file's name."""


def solve(
    problem: Annotated[str, typer.Argument(help="Catalogue name, or path/to/file.py[:Class].")],
    method: Annotated[str, typer.Option(help="fem, fem-batched, pinn, ritz or spectral.")] = "fem",
    net: Annotated[str | None, typer.Option(help="Network of pinn or ritz: mlp, kan or chebyshev.")] = None,
    mesh: Annotated[str | None, typer.Option(help="Cells a side, or a mesh file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value, several times: a parameter of the problem (name.region=... for one region, name=FILE.csv "
            "for a field from a table, name=sample:SEED:INDEX for a random one) or an option of the method "
            "(degree=2, steps=100, width=24).",
        ),
    ] = None,
    petsc: Annotated[
        str | None, typer.Option(help='Options of PETSc (fem), such as "ksp_type=gmres pc_type=ilu".')
    ] = None,
    restart: Annotated[
        Path | None, typer.Option(help="Start from a run folder or its solution.h5, on its mesh (fem).")
    ] = None,
    adapt: Annotated[bool, typer.Option("--adapt", help="Refine the mesh where the error comes from (fem).")] = False,
    target: Annotated[float | None, typer.Option(help="Relative error at which --adapt ends.")] = None,
    estimator: Annotated[
        str | None, typer.Option(help="Of --adapt: equilibrated, residual or goal; what fits by default.")
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(help="A point x,y where all fields of an evolution are recorded after every step; several times."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="key=a:b:n, key=a:b:n:log or key=v1,v2,v3: an instance for every value of a parameter or an option; "
            "several times for a grid."
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Random instances: of the problem's random fields and of --random.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of --samples; 0 by default.")] = None,
    random: Annotated[
        list[str] | None,
        typer.Option(
            help="key=uniform:a:b, key=normal:mean:deviation or key=lognormal:m:s (of the logarithm): the law of a "
            "parameter, for --samples; several times."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the instances of --sweep or --samples; 1 by default.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/PROBLEM-METHOD-TIME by default.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on in --out: with the evolution from its last checkpoint, or with the instances that are missing.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
) -> None:
    """Solve a problem and write a run folder. Example: variform solve darcy --mesh 64 --set conductivity.clay=0.01."""
    from variform import problems, runs, solvers
    from variform.cli.settings import parse_mesh, parse_settings

    kind = problems.load(problem)
    if adapt and method == "fem":
        method = "fem-adaptive"
    for flag, value in (("--adapt", adapt or None), ("--target", target), ("--estimator", estimator)):
        if value is not None and method != "fem-adaptive":
            raise InputError(f"{flag} is for finite elements" + ("" if adapt else " with --adapt"))
    if num_ranks() > 1 and method in solvers.METHODS and method not in ("fem", "fem-adaptive"):
        raise InputError(f"method {method!r} runs on one rank; only fem uses {num_ranks()}")
    options = solvers.options_of(method)
    if net is not None and "network" not in options:
        raise InputError(f"--net is for neural methods (pinn, ritz), not for {method!r}")
    values, chosen = parse_settings(kind, settings or [], options)
    chosen |= solver_options(method, options, petsc=petsc, restart=restart) | ({} if net is None else {"network": net})
    chosen |= {key: value for key, value in (("target", target), ("estimator", estimator)) if value is not None}
    if chosen.get("start") and mesh is not None:
        raise InputError("--restart keeps the mesh of the earlier run: leave out --mesh")
    instance: Problem = kind(**values)
    chosen |= parse_mesh(mesh, method, instance)
    name = Path(problem.split(".py")[0]).name
    evolves = evolution.applies(instance, options)
    if probe:
        chosen["probes"] = evolution.probes(probe, instance, options)
    request = ensemble.Request(sweep or [], samples, seed, random or [], workers)
    if request.given:
        stated = {"settings": sorted(settings or []), "net": net, "mesh": mesh, "petsc": petsc, "restart": restart}
        many = ensemble.make(request, problem, method, values, chosen, options, settings or [])
        ensemble.run(request, many, stated, out=out, resume=resume, json=json)
        return
    if resume:
        folder = on_first_rank(lambda: evolution.resumable(out, problem, method, evolves=evolves))
    else:
        folder = on_first_rank(lambda: runs.free_folder(out, f"{name}-{method}"))

    @cache
    def created() -> Path:
        """The folder, from now on this run's; only the first rank creates it."""
        if out is None:
            return runs.claim(folder) if is_first() else folder
        out.mkdir(parents=True, exist_ok=True)
        return out

    def marked(status: str, error: BaseException, **more: Any) -> None:
        """A run that did not end well leaves its record."""
        if is_first():
            record = {"problem": problem, "method": method, "status": status, "error": str(error), **more}
            record |= {"created": runs.now(), "command": runs.command_line()}
            runs.write_json(created() / runs.RECORD, record)

    def running() -> None:
        """The first step is done: from now on a kill leaves a run that can be resumed."""
        if is_first():
            record = {"problem": problem, "method": method, "status": "running"}
            record |= {"created": runs.now(), "command": runs.command_line()}
            runs.write_json(created() / runs.RECORD, record)

    if evolves:
        chosen["checkpoints"] = str(on_first_rank(lambda: str(created())) + "/checkpoints")
    try:
        with progress_bar(f"{name}: {method}") as progress:
            followed = evolution.noticing(progress, running) if evolves else progress
            solution = solvers.solve(instance, method, progress=followed, **chosen)
            values = _values(instance, solution)
            record = recorded(instance, problem, method, solution, own_domain=_own_domain(chosen))
            written = _write(created(), instance, solution, values, record)
    except InputError:
        if evolves and out is None and is_first():
            evolution.discard(created())
        raise
    except ComputationError as error:
        message, more = _last_iterate(created, instance, error)
        marked("failed", message, **more)
        raise message from error
    except MemoryError as error:
        marked("failed", error)
        raise
    except (KeyboardInterrupt, Terminated) as error:
        marked("interrupted", error)
        if evolves and is_first():
            typer.echo(f"variform: to go on, give the same command with --out {created()} --resume", err=True)
        raise
    if json:
        print_json(record)
    elif is_first():
        summary(record, written)


def solver_options(method: str, options: Any, *, petsc: str | None, restart: Path | None = None) -> dict[str, Any]:
    """The method's options for `--petsc` and `--restart`; empty where none was given.

    Raises:
        InputError: the method has no such option, or a quotation mark has no partner.
    """
    given = {"petsc": ("--petsc", petsc), "start": ("--restart", restart)}
    for key, (flag, value) in given.items():
        if value is not None and key not in options:
            raise InputError(f"{flag} is for finite elements (fem), not for {method!r}")
    try:
        shlex.split(petsc or "")
    except ValueError as error:
        raise InputError(f"--petsc {petsc!r}: {error}") from None
    return {key: str(value) for key, (_, value) in given.items() if value is not None}


def recorded(problem: Problem, name: str, method: str, solution: Solution, *, own_domain: bool) -> dict[str, Any]:
    """The record of a run with the errors of every field whose exact solution is known; collective."""
    from variform.benchmarks.metrics import exact_errors
    from variform.benchmarks.record import describe

    errors = {field: exact_errors(problem, solution, field) for field in problem.fields}
    first = errors[next(iter(errors))]
    record = describe(problem, name, method, solution, first, own_domain=own_domain, ranks=num_ranks())
    if len(errors) > 1:
        record["metrics"]["fields"] = {field: values for field, values in errors.items() if values}
    return record


def _own_domain(chosen: dict[str, Any]) -> bool:
    """Solved on the problem's own domain, where reference values hold: not on a mesh file, nor from a run on one."""
    from variform import runs
    from variform.mesh import Mesh

    if "start" not in chosen:
        return not isinstance(chosen.get("mesh"), Mesh)
    start = Path(chosen["start"])
    try:
        earlier = runs.read_record(start if start.is_dir() else start.parent)
    except InputError:
        return False
    quantities = earlier.get("metrics", {}).get("quantities", {}).values()
    return any(quantity["reference"] is not None for quantity in quantities)


def _values(problem: Problem, solution: Solution) -> dict[str, np.ndarray]:
    """Each field at the points of the mesh for pictures; collective."""
    import numpy as np

    if hasattr(solution, "nodal_modes"):
        values = solution.nodal_modes()
    else:
        values = {name: solution.nodal(name) for name in problem.fields}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ComputationError(f"{name} is infinite or not a number at {int((~np.isfinite(value)).sum())} points")
    return values


def _last_iterate(
    created: Callable[[], Path], problem: Problem, error: ComputationError
) -> tuple[ComputationError, dict[str, Any]]:
    """Write last_iterate.vtu where there is one that is finite; collective.

    Returns:
        The error, which says so, and what the record tells of it.
    """
    from dataclasses import asdict

    from variform import meshes

    solution = error.solution
    if solution is None:
        return error, {}
    more = {"discretization": solution.discretization, "cost": asdict(solution.cost)}
    try:
        values = _values(problem, solution)
    except ComputationError:
        return error, more
    path = created() / "last_iterate.vtu"
    if is_first():
        meshes.write(path, solution.drawn, values)
    return ComputationError(f"{error}. The last iterate is in {path}"), more


def _write(
    folder: Path, problem: Problem, solution: Solution, values: dict[str, np.ndarray], record: dict[str, Any]
) -> list[Path]:
    """Solution, checkpoint, pictures and, last, the record; collective."""
    from variform import meshes, runs

    written = [folder / "solution.vtu"]
    if is_first():
        meshes.write(written[0], solution.drawn, values)
    if hasattr(solution, "save"):
        written.append(solution.save(folder))
    if is_first():
        written += _pictures(folder / "figures", problem, solution, values)
    if problem.time is not None:
        written += evolution.write(folder, problem, solution)
    if is_first():
        written += adapted(folder / "figures", solution)
        runs.write_json(folder / runs.RECORD, record)
        evolution.forget_checkpoints(folder)
    return [*written, folder / runs.RECORD]


def adapted(folder: Path, solution: Any) -> list[Path]:
    """Pictures of how the error fell on adaptive meshes, and of the last mesh."""
    from variform import figures

    steps, written = getattr(solution, "adaptation", []), []
    if len(steps) > 1:
        written.append(
            figures.adaptation(
                steps, folder / "adaptation.png", order=solution.optimal_rate, title="adaptive refinement"
            )
        )
    if steps and solution.mesh.dim == 2 and len(solution.mesh.cells) <= 60_000:
        written.append(figures.cells(solution.mesh, folder / "mesh.png", title=f"{len(solution.mesh.cells)} cells"))
    return written


def _pictures(folder: Path, problem: Problem, solution: Solution, values: dict[str, np.ndarray]) -> list[Path]:
    """Pictures of every field but single numbers; one that cannot be drawn is no reason to lose the solution."""
    import numpy as np

    folder.mkdir(exist_ok=True)
    written, mesh = [], solution.drawn
    for name in values:
        of, _, number = name.partition("_mode_") if hasattr(solution, "eigenvalues") else (name, "", "")
        field = problem.fields[of]
        unit = "" if field.unit == "-" or number else field.unit  # a mode has no size
        words = f", mode {number}: λ = {solution.eigenvalues[int(number) - 1]:.6g}" if number else ""
        for suffix, draw, shown in _drawings(field, mesh.dim, values[name]):
            part = PARTS.get(suffix, "") if np.iscomplexobj(values[name]) else ""
            try:
                path = folder / f"{name}{suffix}.png"
                written.append(draw(mesh, shown, path, title=field.description + words + part, unit=unit))
            except (ComputationError, InputError) as error:
                typer.echo(f"variform: no picture {name}{suffix}.png: {error}", err=True)
    return written


def _drawings(field: Field, dim: int, values: np.ndarray) -> Iterator[tuple[str, Callable[..., Path], np.ndarray]]:
    """Suffix of the file, function of `figures`, and what it draws: of tensors the Frobenius norm."""
    import numpy as np

    from variform import figures

    if field.element == "Real":
        return
    if np.iscomplexobj(values):
        yield "", figures.field, values.real
        yield "_modulus", figures.field, abs(values)
        return
    is_vector = values.shape[:-1] == (dim,)
    yield (
        "",
        figures.field,
        values if is_vector or values.ndim == 1 else np.linalg.norm(values.reshape(-1, values.shape[-1]), axis=0),
    )
    more = {"m/s": ("_streamlines", "streamlines"), "m": ("_deformed", "warped")}
    suffix, function = more.get(field.unit, ("", ""))
    if is_vector and dim > 1 and function:
        yield suffix, getattr(figures, function), values
