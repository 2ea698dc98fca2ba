"""Predict with a trained network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.operators import Operator


def predict(
    run: Annotated[Path, typer.Argument(help="The run folder of `variform train`.")],
    given: Annotated[str, typer.Argument(metavar="INPUT", help="A data file, or a problem by name or file.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value: a parameter of the problem; fields as in solve.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of a data file: the samples of this split only.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Of a problem: points along each axis.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of an evolution: frames to predict.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Folder of the prediction; runs/predict-TIME by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
) -> None:
    """Predict the samples of a data file, or one instance. Example: variform predict R d.h5 --split test."""
    from variform import operators, problems, runs

    operator = operators.load(run)
    name = given.removeprefix("problem:").split(".py")[0]
    is_problem = ".py" in given or name in {**problems.CATALOGUE, **problems.EVOLUTIONS}
    if (is_problem and not Path(given).is_file()) or ".py" in given:
        if split is not None:
            raise InputError("--split is for data files")
        folder = runs.free_folder(out, "predict")
        record, rows = _instance(operator, given, settings or [], resolution, steps, folder)
    else:
        for flag, value in (("--set", settings), ("--resolution", resolution), ("--steps", steps)):
            if value:
                raise InputError(f"{flag} is for problems; {given} is no catalogue name, so it is read as a data file")
        folder = runs.free_folder(out, "predict")
        record, rows = _samples(operator, Path(given), split, folder, device)
    record |= {"method": "predict", "operator": str(run), "status": "done", "created": runs.now()}
    record |= {"environment": runs.environment(), "command": runs.command_line(), "seed": operator.settings.seed}
    runs.write_json(folder / runs.RECORD, record)
    if json:
        print_json(record)
    else:
        print_table("", [*rows, ("run", str(folder))])


def _instance(
    operator: Operator, given: str, settings: list[str], resolution: int | None, steps: int | None, folder: Path
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    from dataclasses import asdict

    from variform import problems
    from variform.cli.settings import parse_settings

    kind = problems.load(given)
    values, _ = parse_settings(kind, settings, {})
    solution = operator.predict(kind(**values), resolution=resolution, steps=steps)
    folder.mkdir(parents=True, exist_ok=True)
    solution.save(folder)
    record = {
        "problem": given,
        "parameters": {k: v if not callable(v) else "field" for k, v in values.items()},
        "discretization": solution.discretization,
        "metrics": {"relative_l2": None, "residual": None},
        "cost": asdict(solution.cost),
    }
    shape = " x ".join(map(str, solution.shape))
    return record, [("grid", shape), ("time", f"{number(solution.cost.wall_s)} s")]


def _samples(
    operator: Operator, path: Path, split: str | None, folder: Path, device: str
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    import time

    from variform import data
    from variform.data import readers
    from variform.operators.measure import draw_samples, predicted_set, predictions, summary

    whole = readers.open(path)
    chosen = whole.part(split) if split else whole.only(whole.good)
    start = time.perf_counter()
    predicted, truth = predictions(operator, chosen, device)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    data.write(folder / "predictions.h5", predicted_set(operator, chosen, predicted))
    errors, drawn = summary(predicted, truth), None
    if chosen.coordinates:
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
    rows = [
        ("samples", str(len(chosen))),
        ("error", f"{number(found['median'])} relative L2, median; {number(found['q1'])} to {number(found['q3'])}"),
        ("time", f"{number(1000 * seconds / len(chosen))} ms a sample"),
        ("predictions", str(folder / "predictions.h5")),
    ]
    return record, rows + ([("picture", str(drawn))] if drawn else [])
