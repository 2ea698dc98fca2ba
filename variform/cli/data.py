"""Make data sets, check them, look at them, convert them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import guarded, number, print_json, print_table, progress_bar
from variform.cli.parallel import num_ranks
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.data.check import Finding

File = Annotated[Path, typer.Argument(help="Data file or folder: ours, The Well, PDEBench, neuraloperator, NPZ, VTU.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def generate(
    name: Annotated[str, typer.Argument(help="Data set (see `variform data sets`), problem, or path/to/file.py.")],
    out: Annotated[Path, typer.Option("--out", help="File to write, .h5 or .hdf5.")],
    samples: Annotated[int | None, typer.Option("-n", "--samples", help="Number of samples.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Points along each axis of the stored grid.")] = None,
    seed: Annotated[int, typer.Option(help="Of the random inputs.")] = 0,
    method: Annotated[str | None, typer.Option(help="fem-batched, spectral, fem.")] = None,
    mesh: Annotated[int | None, typer.Option(help="Cells (spectral: points) along each axis of the solver.")] = None,
    degree: Annotated[int | None, typer.Option(help="Of the elements.")] = None,
    steps: Annotated[int | None, typer.Option(help="Time steps.")] = None,
    snapshots: Annotated[int | None, typer.Option(help="Stored times after the first; divides the steps.")] = None,
    variant: Annotated[str, typer.Option(help="Another distribution of the set: out of the one learnt.")] = "",
    set: Annotated[list[str] | None, typer.Option("--set", help="Parameter: key=value.")] = None,
    splits: Annotated[str | None, typer.Option(help="train=160,valid=20,test=20; by default 8 : 1 : 1.")] = None,
    first: Annotated[int | None, typer.Option(help="Index of the first sample in the random stream.")] = None,
    batch: Annotated[int | None, typer.Option(help="Samples solved at once.")] = None,
    workers: Annotated[int, typer.Option(help="Processes; each then works on one thread.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only go on with what was begun.")] = False,
    json: Json = False,
) -> None:
    """Solve many random instances into one file. The same command goes on where a run was stopped.

    Example: variform data generate darcy -n 200 --resolution 64 --seed 1 --out d.h5
    """
    from variform import data

    if num_ranks() > 1:
        raise InputError("data generate works in processes of its own: use --workers instead of mpiexec")
    if out.suffix not in (".h5", ".hdf5"):
        raise InputError(f"--out must be a file .h5 or .hdf5, got {out}")
    if workers < 1:
        raise InputError(f"--workers must be 1 or more, got {workers}")
    if not 0 <= seed < 2**64:
        raise InputError(f"--seed must be at least 0 and below 2^64, got {seed}")
    parts = out.with_name(f"{out.name}.parts")
    if resume and not (parts.exists() or out.exists()):
        raise InputError(f"--resume: nothing was begun, there is neither {out} nor {parts}")
    plan = data.plan_of(
        name,
        samples,
        resolution=resolution,
        seed=seed,
        batch=batch,
        splits=_splits(splits),
        method=method,
        mesh=mesh,
        degree=degree,
        steps=steps,
        snapshots=snapshots,
        variant=variant,
        values=_values(name, set or []),
        first=first,
        device=device,
    )
    with progress_bar(f"{name}, {plan.count} samples") as progress:
        outcome = data.generate(plan, out, workers=workers, progress=progress)
    shown = {
        "file": str(out),
        "samples": plan.count,
        "failed": list(outcome.failed),
        "solved_now": outcome.solved,
        "digest": outcome.digest,
        "wall_s": outcome.wall_s,
    }
    if json:
        print_json(shown)
    else:
        rate = f", {outcome.solved / outcome.wall_s:.3g} a second" if outcome.solved else ", complete already"
        rows = [("file", str(out)), ("samples", f"{plan.count}{rate}"), ("digest", outcome.digest)]
        if outcome.failed:
            rows.append(("failed", f"{len(outcome.failed)}: {', '.join(map(str, outcome.failed[:20]))}"))
        print_table("", rows)


def _splits(text: str | None) -> dict[str, int] | None:
    if text is None:
        return None
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and size.strip().isdecimal() for name, _, size in parts):
        raise InputError(f"--splits must be name=number,name=number, got {text!r}")
    found = {name.strip(): int(size) for name, _, size in parts}
    if len(found) < len(parts):
        raise InputError(f"--splits names a split twice: {text!r}")
    return found


def _values(name: str, settings: list[str]) -> dict[str, Any]:
    from variform.cli.settings import parse_settings
    from variform.data.recipes import find

    values, _ = parse_settings(find(name).kind, settings, {})
    if odd := [key for key, value in values.items() if callable(value)]:
        raise InputError(f"--set {odd[0]}: a data set draws its fields; give numbers")
    return {key: value if isinstance(value, dict) else float(value) for key, value in values.items()}


def sets(json: Json = False) -> None:
    """List the data sets by name. Example: variform data sets"""
    from variform.data.recipes import RECIPES

    if json:
        print_json({name: recipe.description for name, recipe in RECIPES.items()})
        return
    print_table(
        "", [(name, r.description, ", ".join(r.variants)) for name, r in RECIPES.items()], ("name", "", "variants")
    )


def check(file: File, json: Json = False) -> None:
    """Test layout, finite values, digests, and the equation itself. Exit code 1 if anything is wrong.

    Example: variform data check d.h5
    """
    from variform.data.check import check as tests

    with progress_bar(f"checking {file.name}") as progress:
        findings = tests(file, progress=progress)
    if json:
        print_json({"file": str(file), "findings": [vars(finding) for finding in findings]})
    else:
        print_table("", [_row(finding) for finding in findings])
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def _row(finding: Finding) -> tuple[str, str, str]:
    which = ""
    if finding.samples and "sample" not in finding.detail:
        shown = ", ".join(map(str, finding.samples[:10]))
        more = f" and {len(finding.samples) - 10} more" if len(finding.samples) > 10 else ""
        which = f"; sample{'s' if len(finding.samples) > 1 else ''} {shown}{more}"
    elif finding.samples and finding.value is not None:
        which = f"; fails at {', '.join(map(str, finding.samples[:10]))}"
    return finding.test, finding.status, finding.detail + which


def info(file: File, json: Json = False) -> None:
    """Show what a data file holds. Example: variform data info d.h5"""
    from variform.data import readers

    data = readers.open(file)
    shown: dict[str, Any] = {
        "file": str(file),
        "layout": data.layout,
        "task": data.name,
        "samples": len(data),
        "splits": {name: len(part) for name, part in data.splits.items()},
        "failed": list(data.bad),
        "grid": list(data.grid),
        "times": 0 if data.times is None else len(data.times),
        "fields": {
            name: f"{info.role}{' ' + str(info.shape) if info.shape else ''}{', in time' if info.time_varying else ''}"
            for name, info in data.fields.items()
        },
        "parameters": {name: [float(v.min()), float(v.max())] for name, v in data.parameters.items() if len(v)},
        "info": data.info,
    }
    if json:
        print_json(shown)
        return
    more = shown.pop("info")
    rows = [(key, _text(value)) for key, value in shown.items() if value not in ({}, [], 0)]
    card = more.get("card", {})
    rows += [(key, _text(card[key])) for key in ("description", "inputs", "values") if card.get(key)]
    rows += [("discretization", _text(more["discretization"]))] if "discretization" in more else []
    for name, errors in ((more.get("refinement") or {}).get("relative_l2") or {}).items():
        finite = [e for e in errors if e is not None]
        worst = number(max(finite)) if finite else "-"
        rows.append((f"error of {name}", f"{worst} relative L2 at most, of {len(errors)} samples, to a finer solution"))
    rows += [(key, str(more[key])) for key in ("digest", "created", "command") if key in more]
    rows += [("note", note) for note in more.get("notes", [])]
    print_table("", rows)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, list):
        return " x ".join(number(v) if isinstance(v, float) else str(v) for v in value)
    return number(value) if isinstance(value, float) else str(value)


def convert(
    file: File,
    out: Annotated[Path, typer.Argument(help="What to write; it must not exist.")],
    to: Annotated[str, typer.Option("--to", help="the-well, pdebench, neuraloperator, npz or variform.")],
) -> None:
    """Write a data set in another layout. Example: variform data convert d.h5 darcy_well --to the-well"""
    from variform.data import readers
    from variform.data.convert import convert as write

    with progress_bar(f"converting {file.name}") as progress:
        write(readers.open(file), out, to, progress=progress)
    print_table("", [("file", str(out))])


def show(
    file: File,
    out: Annotated[Path | None, typer.Option("--out", help="Picture to write; next to the file by default.")] = None,
    samples: Annotated[int, typer.Option("-n", "--samples", help="Samples to draw.")] = 4,
) -> None:
    """Draw the first samples of a data set. Example: variform data show d.h5"""
    from variform.data import readers
    from variform.figures.samples import draw_samples

    path = out or file.with_suffix(".png")
    if samples < 1:
        raise InputError(f"--samples must be 1 or more, got {samples}")
    draw_samples(readers.open(file), path, samples)
    print_table("", [("picture", str(path))])


data = typer.Typer(no_args_is_help=True, help="Make, check, convert and show data sets.")
for command in (generate, check, info, convert, show, sets):
    data.command()(guarded(command))
