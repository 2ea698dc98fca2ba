"""Train a network on a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import Terminated, leave, number, print_json, print_table, progress_bar
from variform.cli.parallel import is_first
from variform.errors import InputError, unknown

if TYPE_CHECKING:
    from variform.data.dataset import Dataset
    from variform.operators import Operator, Settings


def train(
    model: Annotated[
        str,
        typer.Argument(
            help="Name of a network: fno, transolver, unet, deeponet, ...; uqno: a band about one's errors."
        ),
    ],
    data: Annotated[Path, typer.Argument(help="The data set: any file that `variform data info` reads.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value: a setting of the training or an option of the network."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/MODEL-DATA-TIME by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out from its last checkpoint.")] = False,
    submit: Annotated[bool, typer.Option("--submit", help="As a SLURM job that is requeued until it is done.")] = False,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            help="key=value of the job, with --submit: timeout_min, nodes, tasks_per_node, gpus_per_node, ..."
        ),
    ] = None,
    on: Annotated[
        str, typer.Option(help="grid, or mesh: of a file whose samples have meshes of their own, the values there.")
    ] = "grid",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the record instead of a summary.")] = False,
) -> None:
    """Train a network and write a run folder. Example: variform train fno d.h5 --set epochs=50 --out R."""
    from variform.data import readers
    from variform.operators import Settings

    check_device(device, ("auto", "cpu", "cuda"), here=not submit)
    given = _given("--set", settings)
    if model == "uqno":
        from variform.cli.band import train_band

        if submit or slurm:
            raise InputError("uqno trains here: --submit and --slurm are for networks")
        _check_data(data)
        train_band(data, given, out, resume=resume, device=device, on=on, json=json)
        return
    before = _record_of(out) if resume else None
    chosen = Settings.of(model, {**(_stored(before, model) if before else {}), **given})
    if slurm and not submit:
        raise InputError("--slurm is for jobs: say --submit too")
    _check_data(data)
    dataset = readers.open(data, on=on)
    if before:
        check_same(before, chosen, dataset, out)
    if submit:
        _submit(model, data, dataset, chosen, given, out, resume, slurm, device, on)
        return
    _run(model, data, dataset, chosen, out, before=before, device=device, json=json)


def _run(
    model: str,
    data: Path,
    dataset: Dataset,
    chosen: Settings,
    out: Path | None,
    *,
    before: dict[str, Any] | None,
    device: str,
    json: bool,
) -> None:
    from variform import operators, runs
    from variform.operators.launch import world_size

    if world_size() > 1 and out is None:
        raise InputError("several processes train together: name their folder, --out")
    resume, name = before is not None, f"{model}-{data.stem}"
    folder = (out if resume else runs.free_folder(out, name)) if is_first() or resume else out
    if before and before["status"] == "done":
        _print(before, folder, json, "complete already")
        return
    start = _record(model, data, chosen, dataset)
    if is_first() and not resume:
        folder = runs.claim(folder) if out is None else folder
        folder.mkdir(parents=True, exist_ok=True)
    with recorded(folder, start), progress_bar(f"{model} on {data.name}") as progress:
        operator = operators.train(dataset, chosen, folder=folder, resume=resume, device=device, progress=progress)
        if not is_first():
            return
        operator.save(folder)
        record = {**start, **_measured(operator, dataset, folder), "status": "done"}
        runs.write_json(folder / runs.RECORD, record)
    _print(record, folder, json, "done")


@contextmanager
def recorded(folder: Path, start: dict[str, Any]) -> Iterator[None]:
    """The record, `start` with a status, says "running"; and "interrupted" or "failed" where this ends by an error."""
    from variform import runs
    from variform.operators.launch import Stopped

    def marked(status: str, error: BaseException | None = None) -> None:
        said = {} if error is None else {"error": str(error) or type(error).__name__}
        if is_first():
            runs.write_json(folder / runs.RECORD, {**start, "status": status, **said})

    marked("running")
    try:
        yield
    except BaseException as error:
        early = isinstance(error, Stopped | Terminated | KeyboardInterrupt)
        with suppress(OSError):  # of a full disk the error itself is told
            marked("interrupted" if early else "failed", None if early else error)
        if isinstance(error, Stopped):
            leave(f"stopped by {error}, and saved: the same command with --resume goes on", 128 + error.number)
        raise


def check_device(device: str, devices: tuple[str, ...], *, here: bool = True) -> None:
    """Refuse a device that is none of these, or is not here, where it is to be used."""
    import torch

    if device not in devices:
        raise unknown("device", device, devices)
    if here and device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda: there is none here that torch can use; choose --device cpu")


def _given(flag: str, words: list[str] | None) -> dict[str, str]:
    given = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise InputError(f"{flag} {word!r} must be key=value")
        given[key] = value
    return given


def _record_of(out: Path | None) -> dict[str, Any]:
    """The record of the run to go on with."""
    from variform import runs

    if out is None:
        raise InputError("--resume goes on in a run folder: name it, --out")
    record = runs.read_record(out)
    if record.get("method") != "train" or "settings" not in record:
        raise InputError(f"{out} holds no training")
    return record


def _stored(record: dict[str, Any], model: str) -> dict[str, Any]:
    """The settings of an earlier run, which hold where no others are given."""
    stored = dict(record["settings"])
    if stored.pop("network") != model:
        raise InputError(f"the run trained {record['settings']['network']!r}, not {model!r}")
    return stored.pop("options") | stored


def check_same(
    record: dict[str, Any], chosen: Settings, dataset: Dataset, folder: Path, others: Sequence[str] = ()
) -> None:
    """Refuse, before anything is written, to go on with other settings or data.

    Args:
        others: keys beside the settings that changed.
    """
    from variform.operators import Settings
    from variform.operators.train import identity

    if changed := [*others, *chosen.differences(Settings(**record["settings"]))]:
        raise InputError(f"{folder} has other settings ({', '.join(changed)}): choose another --out")
    found = identity(dataset)
    if (stored := {key: record["data"].get(key) for key in found}) != found:
        raise InputError(f"{folder} was trained on other data ({stored}, these are {found}): choose another --out")


def _check_data(path: Path) -> None:
    if not path.exists():
        raise InputError(f"no data file {path}")


def _record(model: str, data: Path, chosen: Settings, dataset: Dataset) -> dict[str, Any]:
    from variform import runs
    from variform.operators.launch import world_size
    from variform.operators.train import identity

    return {
        "problem": dataset.name,
        "method": "train",
        "network": model,
        "settings": chosen.json(),
        "data": {"path": str(data), **identity(dataset)},
        "parameters": {},
        "discretization": {"grid": list(dataset.grid)},
        "metrics": {},
        "cost": {},
        "environment": runs.environment(world_size()),
        "seed": chosen.seed,
        "created": runs.now(),
        "command": runs.command_line(),
    }


def _measured(operator: Operator, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Errors on the splits "valid" and "test", cost, and pictures."""
    from variform.operators.measure import draw_curves, errors, peak_memory_mb

    metrics: dict[str, Any] = {}
    for split in ("valid", "test"):
        if split in dataset.splits and len(dataset.splits[split]):
            metrics[split] = errors(operator, dataset.part(split))
    test = metrics.get("test") or metrics.get("valid")
    draw_curves(operator.history, folder / "figures" / "training.png")
    return {
        "metrics": {"relative_l2": test["relative_l2"]["median"] if test else None, "residual": None, **metrics},
        "cost": {
            "wall_s": operator.info["training_s"],
            "parameters": operator.num_parameters,
            "peak_memory_mb": peak_memory_mb(),
        },
    }


def _print(record: dict[str, Any], folder: Path, json: bool, status: str) -> None:
    if json:
        print_json(record)
        return
    rows = [("run", str(folder)), ("status", status)]
    for split in ("test", "valid"):
        if split in record["metrics"]:
            found = record["metrics"][split]["relative_l2"]
            rows.append((f"{split} error", f"{number(found['median'])} relative L2, median of {found['n']}"))
    cost = record["cost"]
    rows += [("weights", str(cost["parameters"])), ("time", f"{cost['wall_s']:.3g} s")]
    print_table("", rows)


def _submit(
    model: str,
    data: Path,
    dataset: Dataset,
    chosen: Settings,
    given: dict[str, str],
    out: Path | None,
    resume: bool,
    slurm: list[str] | None,
    device: str,
    on: str,
) -> None:
    from variform import runs
    from variform.operators import submit

    options = submit.options(_given("--slurm", slurm))
    record = _record(model, data, chosen, dataset)
    folder = out if resume else runs.claim(runs.free_folder(out, f"{model}-{data.stem}"))
    words = [
        "train",
        model,
        str(data.resolve()),
        "--out",
        str(folder.resolve()),
        "--device",
        device,
        "--on",
        on,
        "--resume",
    ]
    words += [word for key, value in given.items() for word in ("--set", f"{key}={value}")]
    if not resume:  # before the job, which may start at once
        runs.write_json(folder / runs.RECORD, {**record, "status": "submitted"})
    job = submit.submit(words, folder.resolve(), options)
    print_table("", [("run", str(folder)), ("job", job), ("log", str(folder / "slurm"))])
