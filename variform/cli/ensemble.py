"""What `variform solve` does with --sweep and --samples: many instances, a table, statistics, pictures."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from variform.cli.output import Terminated, number, print_json, print_table, progress_bar
from variform.cli.parallel import num_ranks
from variform.errors import ComputationError, InputError, unknown

if TYPE_CHECKING:
    from variform.data.ensemble import Ensemble
    from variform.data.inputs import NumberLaw
    from variform.problem import Problem
    from variform.solution import Solution

ROWS, TABLE = "samples.jsonl", "samples.csv"
SHOWN = 24
"""Rows of a sweep in the summary."""


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line, as text."""

    sweep: list[str] = field(default_factory=list)
    samples: int | None = None
    seed: int | None = None
    random: list[str] = field(default_factory=list)
    workers: int | None = None

    @property
    def given(self) -> bool:
        """There are many instances.

        Raises:
            InputError: something that is for many instances, but nothing that makes them.
        """
        if not self.sweep and self.samples is None:
            needs = {"--seed": self.seed is not None, "--random": self.random, "--workers": self.workers is not None}
            for flag, said in needs.items():
                if said:
                    wanted = "--sweep or --samples" if flag == "--workers" else "--samples"
                    raise InputError(f"{flag} is for many instances: it needs {wanted}")
            return False
        if self.sweep and self.samples is not None:
            raise InputError("--sweep and --samples exclude each other: give one of them")
        if self.sweep and (self.random or self.seed is not None):
            raise InputError(f"{'--random' if self.random else '--seed'} is for --samples, not for --sweep")
        if num_ranks() > 1:
            raise InputError(f"many instances are shared by --workers, not by the {num_ranks()} ranks of mpiexec")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers must be 1 or more, got {self.workers}")
        return True


def make(
    request: Request,
    problem: str,
    method: str,
    values: dict[str, Any],
    chosen: dict[str, Any],
    options: Mapping[str, inspect.Parameter],
    settings: Sequence[str] = (),
) -> Ensemble:
    """The instances asked for.

    Args:
        values, chosen: parameters and options that all have in common.
        options: of the method.
        settings: where these came from, key=value: what is given there cannot vary.

    Raises:
        InputError: a range, law or key that is not allowed; nothing is random.
    """
    from variform.data.ensemble import Ensemble

    fixed = {setting.partition("=")[0] for setting in settings}
    if request.sweep:
        axes = _axes(request.sweep, problem, method, fixed | set(chosen), options)
        return Ensemble(problem, method, values, chosen, axes=axes)
    laws = _laws(request.random, problem, fixed)
    if request.samples < 1 or request.samples > 1_000_000:
        raise InputError(f"--samples must be between 1 and 1000000, got {request.samples}")
    seed = request.seed or 0
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed must be at least 0 and below 2^64, got {seed}")
    ensemble = Ensemble(problem, method, values, chosen, samples=request.samples, seed=seed, laws=laws)
    if not laws and not ensemble.random_fields:
        raise InputError(f"nothing in {problem} is random: say what is by --random key=uniform:a:b")
    return ensemble


def _axes(
    texts: list[str], problem: str, method: str, fixed: set[str], options: Mapping[str, inspect.Parameter]
) -> dict[str, tuple[Any, ...]]:
    from variform.data.inputs import MOST, sweep_axis

    axes: dict[str, tuple[Any, ...]] = {}
    count = 1
    for text in texts:
        key, axis = sweep_axis(text)
        key = "resolution" if key == "mesh" and method == "spectral" else key
        if key in axes or key in fixed:
            raise InputError(f"{key} is given twice: by --sweep and again")
        axes[key] = _allowed(problem, key, axis, options, ranged=":" in text)
        count *= len(axis)
    if count > MOST:
        raise InputError(f"--sweep asks for {count} instances; {MOST} are the most")
    return axes


def _allowed(
    problem: str, key: str, axis: Sequence[Any], options: Mapping[str, inspect.Parameter], *, ranged: bool
) -> tuple[Any, ...]:
    """The values of an axis, all checked before anything is solved; a range of whole numbers is rounded to such."""
    from variform.cli.settings import check_option
    from variform.data.ensemble import kind_of

    kind = kind_of(problem)
    if key.partition(".")[0] in kind.parameters:
        for value in axis:
            _check_parameter(kind, key, value)
        return tuple(axis)
    if key not in options:
        raise unknown("parameter or option", key, [*kind.parameters, *options])
    told = str(options[key].annotation)
    if ranged and "int" in told and "float" not in told:
        axis = [round(v) for v in axis]
        if len(set(axis)) < len(axis):
            raise InputError(f"--sweep {key}: rounded to whole numbers, {key} takes a value twice: {axis}")
    return tuple(check_option(key, value, options[key]) for value in axis)


def _check_parameter(kind: type[Problem], key: str, value: Any) -> None:
    name, dot, region = key.partition(".")
    if dot and not kind.parameters[name].per_region:
        raise InputError(f"parameter {name!r} has one value for all regions: write {name}=...")
    kind(**{name: {region: value} if dot else value})


def _laws(texts: list[str], problem: str, fixed: set[str]) -> dict[str, NumberLaw]:
    from variform.data.ensemble import kind_of
    from variform.data.inputs import NumberLaw
    from variform.random import generator

    kind, laws = kind_of(problem), {}
    for text in texts:
        key, law = NumberLaw.parse(text)
        if key.partition(".")[0] not in kind.parameters:
            raise unknown("parameter", key, kind.parameters)
        if key in laws or key in fixed:
            raise InputError(f"{key} is given twice: by --random and again")
        for value in (law.first, law.second) if law.kind == "uniform" else ():
            _check_parameter(kind, key, value)
        if law.kind != "uniform":  # which may leave the bounds now and then: those instances fail
            _check_parameter(kind, key, law.sample(generator(0, 0, key)))
        laws[key] = law
    return laws


def run(
    request: Request,
    ensemble: Ensemble,
    stated: dict[str, Any],
    *,
    out: Path | None,
    resume: bool,
    json: bool,
) -> None:
    """Solve all instances and write the run folder.

    Args:
        stated: what else was said on the command line and makes these instances what they are.

    Raises:
        InputError: a folder that is in use, or that holds another sweep.
        ComputationError: some instances failed; everything is written nevertheless.
    """
    from variform import runs
    from variform.data import ensemble as data

    name = Path(ensemble.problem.split(".py")[0]).name
    stated = runs.strict(_identity(request, ensemble) | stated)
    if resume:
        folder = _resumable(out, stated)
    else:
        folder = runs.claim(runs.free_folder(out, f"{name}-{ensemble.method}")) if out is None else _new(out)
    head = {"problem": ensemble.problem, "method": ensemble.method, "ensemble": stated}
    head |= {"created": runs.now(), "command": runs.command_line()}
    workers, start = request.workers or 1, time.perf_counter()
    try:
        runs.write_json(folder / runs.RECORD, {**head, "status": "running"})
        with progress_bar(f"{name}: {ensemble.method}") as progress:
            measure = with_errors if ensemble.axes else quantities
            rows = data.run(ensemble, folder / ROWS, workers=workers, measure=measure, progress=progress)
        wall_s = time.perf_counter() - start
        record = head | _results(ensemble, rows) | {"cost": _cost(rows, wall_s, workers)}
        record["environment"] = runs.environment() | {"threads": 1}
        written = [data.write_table(folder / TABLE, ensemble, rows), *_draw(folder / "figures", ensemble, rows, record)]
        runs.write_json(folder / runs.RECORD, record)
    except (KeyboardInterrupt, Terminated):
        runs.write_json(folder / runs.RECORD, {**head, "status": "interrupted"})
        typer.echo(f"variform: to go on, give the same command with --out {folder} --resume", err=True)
        raise
    if json:
        print_json(record)
    else:
        summary(record, [*written, folder / runs.RECORD], rows=_shown(ensemble, rows))
    if record["failures"]:
        worst = record["failures"][0]
        raise ComputationError(
            f"{len(record['failures'])} of {len(rows)} instances failed; the first, {worst['index']}: {worst['error']}"
        )


def _identity(request: Request, ensemble: Ensemble) -> dict[str, Any]:
    """What makes the instances what they are: a run that is resumed must agree in all of it."""
    from variform.benchmarks.record import file_digest
    from variform.data.ensemble import kind_of

    return {
        "problem": ensemble.problem,
        "problem_sha256": file_digest(kind_of(ensemble.problem)),
        "method": ensemble.method,
        "sweep": ensemble.axes,
        "samples": ensemble.samples,
        "seed": ensemble.seed,
        "random": request.random,
        "random_fields": ensemble.random_fields,
    }


def _new(out: Path) -> Path:
    from variform import runs

    folder = runs.free_folder(out, "")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _resumable(out: Path | None, stated: dict[str, Any]) -> Path:
    """The run folder, if it holds the same instances; there may now be more samples of them.

    Raises:
        InputError: no folder, or one of other instances; the message names what differs.
    """
    from variform import runs

    if out is None:
        raise InputError("--resume needs --out, the run folder to go on in")
    earlier = runs.read_record(out).get("ensemble")
    if not isinstance(earlier, dict):
        raise InputError(f"{out} holds one instance: nothing of --sweep or --samples to go on with")
    differing = [key for key in {**earlier, **stated} if earlier.get(key) != stated.get(key)]
    if differing == ["samples"] and stated["samples"] > earlier["samples"]:
        return out
    if differing:
        told = "; ".join(f"{key} is {earlier.get(key)!r} there, {stated.get(key)!r} here" for key in differing)
        raise InputError(f"{out} holds other instances: {told}")
    return out


def quantities(problem: Problem, solution: Solution) -> dict[str, float]:
    """What the problem measures; where that is nothing, extremes of its fields."""
    return problem.measure(solution) or _extremes(problem, solution)


def with_errors(problem: Problem, solution: Solution) -> dict[str, float]:
    """What the problem measures, and the errors where its exact solution is known; failing both, extremes of fields."""
    from variform.benchmarks.metrics import exact_errors

    found = dict(problem.measure(solution))
    for name in problem.fields:
        suffix = f"_{name}" if len(problem.fields) > 1 else ""
        found |= {f"{norm}{suffix}": v for norm, v in exact_errors(problem, solution, name).items()}
    return found or _extremes(problem, solution)


def _extremes(problem: Problem, solution: Solution) -> dict[str, float]:
    """Of scalars the least and the largest value, of others the largest magnitude."""
    import numpy as np

    found = {}
    for name, stated in problem.fields.items():
        values = solution.nodal(name)
        if stated.shape:
            magnitude = np.linalg.norm(values.reshape(-1, values.shape[-1]), axis=0)
            found[f"max_abs_{name}"] = float(magnitude.max())
        else:
            found |= {f"min_{name}": float(values.min()), f"max_{name}": float(values.max())}
    return found


def _results(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from variform.data.ensemble import column, names_of, statistics

    failures = [{"index": row["index"], "error": row["error"]} for row in rows if row["status"] == "failed"]
    made = {}
    for name in names_of(rows):
        values = column(rows, name)
        made[name] = _extent(ensemble, rows, values) if ensemble.axes else statistics(values)
    status = "failed" if failures else "done"
    return {"status": status, "instances": len(rows), "quantities": made, "failures": failures}


def _extent(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]], values: Any) -> dict[str, Any]:
    """Least and largest value of a quantity over a grid, and where."""
    import numpy as np

    good = np.isfinite(values)
    found: dict[str, Any] = {"used": int(good.sum()), "attempted": len(values)}
    if good.any():
        for word, place in (("minimum", np.nanargmin(values)), ("maximum", np.nanargmax(values))):
            found[word] = float(values[place])
            found[f"{word}_at"] = ensemble.instance(rows[place]["index"]).shown
    return found


def _cost(rows: Sequence[Mapping[str, Any]], wall_s: float, workers: int) -> dict[str, Any]:
    times = [row["wall_s"] for row in rows if row["wall_s"] is not None]
    return {"wall_s": wall_s, "instances_wall_s": sum(times), "workers": workers}


def _draw(folder: Path, ensemble: Ensemble, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> list[Path]:
    """Of one swept key lines, of two a map a quantity, of random instances a histogram a quantity."""
    from variform.data.ensemble import column, kind_of, names_of
    from variform.figures import ensemble as drawing

    columns = {name: column(rows, name) for name in names_of(rows)}
    parameters = kind_of(ensemble.problem).parameters
    labels = [_label(key, parameters) for key in ensemble.axes]
    axes = list(ensemble.axes.values())
    written: list[Path] = []

    def drawn(draw: Any, *arguments: Any, **more: Any) -> None:
        try:
            written.append(draw(*arguments, **more))
        except (ComputationError, InputError) as error:
            typer.echo(f"variform: no picture: {error}", err=True)

    if len(axes) == 1 and columns and len(axes[0]) > 1:
        drawn(drawing.sweep, axes[0], columns, folder / "sweep.png", label=labels[0])
    elif len(axes) == 2:
        shape = tuple(map(len, axes))
        for name, values in columns.items():
            path = folder / f"{_file_name(name)}.png"
            drawn(drawing.heat_map, *axes, values.reshape(shape), path, title=name, labels=tuple(labels))
    elif not axes and len(rows) > 1:
        for name, values in columns.items():
            told = record["quantities"][name]
            drawn(drawing.histogram, values, folder / f"{_file_name(name)}.png", title=name, statistics=told)
    return written


def _label(key: str, parameters: Mapping[str, Any]) -> str:
    parameter = parameters.get(key.partition(".")[0])
    unit = "" if parameter is None or parameter.unit == "-" else f" [{parameter.unit}]"
    return key + unit


def _file_name(quantity: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", quantity)


def _shown(ensemble: Ensemble, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Header and rows of a sweep, for people; none of random instances."""
    from variform.data.ensemble import names_of

    if not ensemble.axes:
        return []
    names = names_of(rows)
    table = [(*ensemble.axes, *(name.replace("_", " ") for name in names), "status", "time")]
    for row in rows[:SHOWN]:
        shown = ensemble.instance(row["index"]).shown.values()
        told = [number(row["quantities"].get(name)) for name in names]
        table.append(
            (*(f"{v:.6g}" if isinstance(v, float) else str(v) for v in shown), *told, row["status"], _time(row))
        )
    return table


def _time(row: Mapping[str, Any]) -> str:
    return "-" if row["wall_s"] is None else f"{row['wall_s']:.2f} s"


def summary(record: Mapping[str, Any], written: list[Path], *, rows: list[tuple[str, ...]] | None = None) -> None:
    """Print what the record of many instances tells, and the files.

    Raises:
        KeyError: the run has not ended.
    """
    stated, cost, failures = record["ensemble"], record["cost"], record["failures"]
    done = record["instances"] - len(failures)
    varied = [f"{key}: {len(values)} values" for key, values in stated["sweep"].items()]
    drawn = [*(stated.get("random_fields") or []), *(stated.get("random") or [])]
    head = [
        ("problem", record["problem"]),
        ("method", record["method"]),
        *([("sweep", ", ".join(varied))] if varied else [("random", f"{', '.join(drawn)}; seed {stated['seed']}")]),
        ("instances", f"{done} done" + (f", {len(failures)} failed" if failures else "")),
        ("time", f"{cost['wall_s']:.1f} s with {cost['workers']} worker{'s' if cost['workers'] > 1 else ''}"),
    ]
    print_table("", head)
    typer.echo()
    if rows:
        print_table("", rows[1:], rows[0])
        if record["instances"] > SHOWN:
            typer.echo(f"... and {record['instances'] - SHOWN} more in {TABLE}")
    else:
        print_table("", *_statistics(record["quantities"], swept=bool(varied)))
    typer.echo()
    for failure in failures[:5]:
        typer.echo(f"instance {failure['index']} failed: {failure['error']}")
    if len(failures) > 5:
        typer.echo(f"... and {len(failures) - 5} more failed")
    print_table("", [("written" if i == 0 else "", str(path)) for i, path in enumerate(written)])


def _statistics(made: Mapping[str, Any], *, swept: bool) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Rows and header, short enough for a narrow terminal: quartiles are in the record."""
    shown = ("minimum", "maximum") if swept else ("mean", "standard_error", "5", "50", "95")
    rows = []
    for name, quantity in made.items():
        values = {**quantity, **quantity.get("percentiles", {})}
        words = ["-" if (v := values.get(key)) is None or v != v else f"{v:.5g}" for key in shown]
        rows.append((name.replace("_", " "), *words, f"{quantity['used']}/{quantity['attempted']}"))
    return rows, ("quantity", *(f"{k} %" if k.isdecimal() else k.replace("standard_", "std. ") for k in shown), "used")
