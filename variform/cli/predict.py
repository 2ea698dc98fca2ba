"""Predict with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table
from variform.cli.train import check_device
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.data.dataset import Dataset
    from variform.operators import Operator
    from variform.operators.uncertainty import Band


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of `variform train`.")],
    given: Annotated[
        str | None,
        typer.Argument(metavar="INPUT", help="A data file, or a problem by name or file.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a parameter of the problem; fields as in solve.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a data file: the samples of this split only.")] = None,
    on: Annotated[
        str, typer.Option(help="Of a data file: grid, or mesh where the samples have meshes of their own.")
    ] = "grid",
    resolution: Annotated[int | None, typer.Option(min=2, help="Of a problem: points along each axis.")] = None,
    mesh: Annotated[
        str | None, typer.Option(help="Of a problem, by a network trained on meshes: cells a side, or a mesh file.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of an evolution: frames to predict.")] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.pt2",
            help="Predict nothing; write the network with its scales, as torch.export.load(FILE).module() runs it.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Folder of the prediction; runs/predict-TIME by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
) -> None:
    """Predict the samples of a data file, or one instance. Example: variform predict R d.h5 --split test.

    By a run of `variform train uqno` with bands: half-widths are the fields FIELD_band.
    """
    from variform import operators, problems, runs
    from variform.operators.uncertainty import is_band, load_band

    check_device(device, ("cpu", "cuda"))
    band = load_band(run) if is_band(run) else None
    operator = band.base if band else operators.load(run)
    if export is not None:
        if given is not None:
            raise InputError("--export predicts nothing: leave out INPUT")
        _export(operator, export, json)
        return
    if given is None:
        raise InputError(
            "name what to predict, INPUT: a data file, or a problem; or a file to write, --export FILE.pt2"
        )
    name = given.removeprefix("problem:").split(".py")[0]
    is_problem = ".py" in given or name in {**problems.CATALOGUE, **problems.EVOLUTIONS}
    if (is_problem and not Path(given).is_file()) or ".py" in given:
        if split is not None:
            raise InputError("--split is for data files")
        if resolution and mesh:
            raise InputError("--resolution is for grids, --mesh for meshes: leave one of them out")
        folder = runs.free_folder(out, "predict")
        record, rows = _instance(operator, band, given, settings or [], resolution, mesh, steps, folder)
    else:
        words = (("--set", settings), ("--resolution", resolution), ("--mesh", mesh), ("--steps", steps))
        for flag, value in words:
            if value:
                raise InputError(f"{flag} is for problems; {given} is no catalogue name, so it is read as a data file")
        folder = runs.free_folder(out, "predict")
        record, rows = _samples(operator, band, Path(given), split, on, folder, device)
    record |= {"method": "predict", "operator": str(run), "status": "done", "created": runs.now()}
    record |= {"environment": runs.environment(), "command": runs.command_line(), "seed": operator.settings.seed}
    runs.write_json(folder / runs.RECORD, record)
    if json:
        print_json(record)
    else:
        print_table("", [*rows, ("run", str(folder))])


def _export(operator: Operator, path: Path, json: bool) -> None:
    from variform.operators.export import describe, export

    if path.exists():
        raise InputError(f"{path} is there already: choose another name")
    export(operator, path)
    about = describe(operator)
    if json:
        print_json({"file": str(path), **about})
        return
    grid = " x ".join(map(str, about["grid"]))
    rows = [("file", str(path)), ("in", f"(batch, {len(about['inputs'])}, {grid}): {', '.join(about['inputs'])}")]
    print_table("", [*rows, ("out", f"(batch, {len(about['outputs'])}, {grid}): {', '.join(about['outputs'])}")])


def _instance(
    operator: Operator,
    band: Band | None,
    given: str,
    settings: list[str],
    resolution: int | None,
    mesh: str | None,
    steps: int | None,
    folder: Path,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from dataclasses import asdict

    from variform import problems
    from variform.cli.settings import parse_mesh, parse_settings

    kind = problems.load(given)
    values, _ = parse_settings(kind, settings, {})
    task = kind(**values)
    if band:
        if mesh or steps:
            raise InputError("bands of one instance are given on its grid: leave out --mesh and --steps")
        solution = band.predict(task, resolution=resolution)
    else:
        chosen = parse_mesh(mesh, "operator", task).get("mesh")
        solution = operator.predict(task, resolution=resolution, steps=steps, mesh=chosen)
    folder.mkdir(parents=True, exist_ok=True)
    solution.save(folder)
    record = {
        "problem": given,
        "parameters": {k: v if not callable(v) else "field" for k, v in values.items()},
        "discretization": solution.discretization,
        "metrics": {"relative_l2": None, "residual": None},
        "cost": asdict(solution.cost),
    }
    if mesh:
        name = next(iter(operator.channels.unknowns))
        drawn = solution.plot(name).save(folder / "figures" / f"{name}.png")
        rows = [("mesh", f"{len(solution.mesh.cells)} cells"), ("picture", str(drawn))]
    else:
        rows = [("grid", " x ".join(map(str, solution.shape)))]
    return record, [*rows, ("time", f"{number(solution.cost.wall_s)} s")]


def _samples(
    operator: Operator, band: Band | None, path: Path, split: str | None, on: str, folder: Path, device: str
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    import time

    from variform.data import readers
    from variform.operators.measure import draw_samples, predicted_set, predictions, summary

    whole = readers.open(path, on=on)
    chosen = whole.part(split) if split else whole.only(whole.good)
    start = time.perf_counter()
    widths = None
    if band:
        predicted, widths, truth = band.predictions(chosen, device)
    else:
        predicted, truth = predictions(operator, chosen, device)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    written = _write(folder, predicted_set(operator, chosen, predicted, widths))
    errors = summary(predicted, truth)
    drawn = draw_samples(operator, chosen, predicted, truth, folder / "figures" / "predictions.png")
    record = {
        "problem": whole.name,
        "data": {"path": str(path), "split": split, "digest": whole.info.get("digest")},
        "parameters": {},
        "discretization": {"grid": list(whole.grid)},
        "metrics": {"relative_l2": errors["relative_l2"]["median"], "residual": None, "test": errors},
        "cost": {"wall_s": seconds / len(chosen), "parameters": operator.num_parameters},
    }
    found = errors["relative_l2"]
    said = [
        ("samples", str(len(chosen))),
        ("error", f"{number(found['median'])} relative L2, median; {number(found['q1'])} to {number(found['q3'])}"),
    ]
    if band:
        from variform.operators.uncertainty import coverage

        record["metrics"]["coverage"] = cover = coverage(band, predicted, widths, truth, chosen)
        enough = f"at least {1 - band.level.alpha:.0%} of them in {cover['samples']:.1%} of samples"
        said.append(("in the band", f"{cover['points']:.1%} of the points; {enough}"))
    said.append(("time", f"{number(1000 * seconds / len(chosen))} ms a sample"))
    return record, [*said, ("predictions", str(written)), ("picture", str(drawn))]


def _write(folder: Path, predicted: Dataset) -> Path:
    """A data file; of values on meshes, which files like it do not hold, plain arrays by field, (samples, points)."""
    import numpy as np

    from variform import data, runs

    if predicted.coordinates:
        data.write(folder / "predictions.h5", predicted)
        return folder / "predictions.h5"
    with runs.atomic(folder / "predictions.npz") as temporary:
        np.savez(temporary, **{name: predicted.read(name) for name in predicted.named("output")})
    return folder / "predictions.npz"
