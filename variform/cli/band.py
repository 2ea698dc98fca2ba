"""Train a band about the predictions of a trained network: `variform train uqno`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from variform.cli.output import number, print_json, print_table, progress_bar
from variform.cli.train import check_same, recorded
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.data.dataset import Dataset
    from variform.operators import Operator, Settings
    from variform.operators.uncertainty import Band, Level

MODEL = "uqno"
OWN = ("base", "network", "alpha", "delta", "calibrate")
"""Settings beside those of the training of the widths."""


def train_band(
    data: Path, given: dict[str, str], out: Path | None, *, resume: bool, device: str, on: str, json: bool
) -> None:
    """Learn how large the errors of a trained network are, calibrate, measure, and write a run folder."""
    from variform import runs
    from variform.data import readers
    from variform.operators import uncertainty
    from variform.operators.launch import world_size

    if world_size() > 1:
        raise InputError(f"{MODEL} trains in one process")
    before = _before(out) if resume else None
    stated = {**(before["given"] if before else {}), **given}
    base, settings, level, calibrate = _chosen(stated)
    dataset = readers.open(data, on=on)
    if before:
        own = [key for key in OWN if stated.get(key) != before["given"].get(key)]
        check_same(before, settings, dataset, out, own)
        if before["status"] == "done":
            _print(before, out, json)
            return
    start = _record(data, dataset, stated, settings)
    folder = out if resume else runs.claim(runs.free_folder(out, f"{MODEL}-{data.stem}"))
    with recorded(folder, start), progress_bar(f"{MODEL} on {data.name}") as progress:
        chosen = {"calibrate": calibrate, "folder": folder, "resume": resume, "device": device}
        band = uncertainty.train_band(base, dataset, settings, level, **chosen, progress=progress)
        band.save(folder)
        record = {**start, **_measured(band, dataset), "status": "done"}
        runs.write_json(folder / runs.RECORD, record)
    _print(record, folder, json)


def _before(out: Path | None) -> dict[str, Any]:
    from variform import runs

    if out is None:
        raise InputError("--resume goes on in a run folder: name it, --out")
    record = runs.read_record(out)
    if record.get("network") != MODEL:
        raise InputError(f"{out} holds no training of {MODEL}")
    return record


def _chosen(stated: dict[str, str]) -> tuple[Operator, Settings, Level, str]:
    """The operator, how its errors are learned, and what is guaranteed."""
    from variform import operators
    from variform.operators.uncertainty import Level

    own = {key: value for key, value in stated.items() if key in OWN}
    others = {key: value for key, value in stated.items() if key not in OWN}
    if "base" not in own:
        raise InputError(
            f"{MODEL} puts a band about the predictions of a trained network: name its run folder, --set base=RUN"
        )
    base = operators.load(Path(own["base"]))
    network = own.get("network", base.settings.network)
    options = base.settings.options if network == base.settings.network else {}
    settings = operators.Settings.of(network, {**options, **others})
    level = Level(**{key: _number(key, own[key]) for key in ("alpha", "delta") if key in own})
    return base, settings, level, own.get("calibrate", "valid")


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{key} must be a number above 0 and below 1, got {text!r}") from None


def _record(data: Path, dataset: Dataset, stated: dict[str, str], settings: Settings) -> dict[str, Any]:
    from variform import runs
    from variform.operators.train import identity

    return {
        "problem": dataset.name,
        "method": "train",
        "network": MODEL,
        "given": stated,
        "settings": settings.json(),
        "data": {"path": str(data), **identity(dataset)},
        "parameters": {},
        "discretization": {"grid": list(dataset.grid)},
        "metrics": {},
        "cost": {},
        "environment": runs.environment(),
        "seed": settings.seed,
        "created": runs.now(),
        "command": runs.command_line(),
    }


def _measured(band: Band, dataset: Dataset) -> dict[str, Any]:
    """Errors and coverage on the split "test", and cost."""
    from variform.operators.measure import peak_memory_mb, summary
    from variform.operators.uncertainty import coverage

    metrics: dict[str, Any] = {"relative_l2": None, "residual": None, "band": {**vars(band.level), **band.info}}
    metrics["band"]["factor"] = band.factor
    if len(dataset.splits.get("test", ())) and band.info["split"] != "test":
        held = dataset.part("test")
        predicted, widths, truth = band.predictions(held)
        found = summary(predicted, truth)
        metrics["test"] = {**found, "coverage": coverage(band, predicted, widths, truth, held)}
        metrics["relative_l2"] = found["relative_l2"]["median"]
    cost = {"wall_s": band.width.info["training_s"], "peak_memory_mb": peak_memory_mb()}
    return {"metrics": metrics, "cost": {**cost, "parameters": band.width.num_parameters}}


def _print(record: dict[str, Any], folder: Path, json: bool) -> None:
    if json:
        print_json(record)
        return
    band, test = record["metrics"]["band"], record["metrics"].get("test")
    promise = f"{1 - band['alpha']:.0%} of the points in {1 - band['delta']:.0%} of the samples"
    promise += ", nearly: the network's weights were chosen on the same split" if band["chosen_on_it"] else ""
    rows = [("run", str(folder)), ("guaranteed", promise), ("factor", number(band["factor"]))]
    if test:
        found = test["coverage"]
        rows += [
            ("test error", f"{number(test['relative_l2']['median'])} relative L2, median"),
            (
                "in the band",
                f"{found['points']:.1%} of the points; enough of them in {found['samples']:.1%} of samples",
            ),
            ("half-width", f"{number(found['half_width'])} of the truth's root mean square"),
        ]
    print_table("", [*rows, ("time", f"{record['cost']['wall_s']:.3g} s")])
