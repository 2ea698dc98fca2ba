"""A run's record for people: what was solved, how well, what it cost, and where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from variform.cli.output import number, print_table

NORMS = {"relative_l2": "L2", "relative_h1": "H1", "relative_energy": "energy"}
COUNTS = {
    "steps": "time steps",
    "continuation_steps": "continuation steps",
    "newton_steps": "Newton steps",
    "linear_iterations": "linear iterations",
}


def summary(record: Mapping[str, Any], written: list[Path]) -> None:
    """Print the record of a run and the files that it left."""
    metrics, cost, discretization = record["metrics"], record["cost"], record["discretization"]
    rows = [
        ("problem", record["problem"]),
        ("method", record["method"]),
        ("size", ", ".join(_size(cost, discretization))),
        ("residual", ", ".join([number(metrics["residual"]), *_counts(discretization)])),
        *_errors(metrics),
        *_estimates(discretization),
        *((name.replace("_", " "), compared(**q)) for name, q in metrics.get("quantities", {}).items()),
        ("time", f"{cost['wall_s']:.2f} s ({stages(cost)})"),
        ("memory", f"{cost['peak_memory_mb']:.0f} MB at most"),
        *(("written" if i == 0 else "", str(path)) for i, path in enumerate(written)),
    ]
    print_table("", rows)


def compared(value: float | None, reference: float | None) -> str:
    """A quantity beside its reference: "0.0735 (reference 0.0736714, off by 2.0e-04)", relative to the reference."""
    if reference is None or not _known(value):
        return number(value) + (f"   (reference {number(reference)})" if reference is not None else "")
    deviation = abs(value - reference) / (abs(reference) or 1.0)
    kind = "" if reference else " in absolute terms"
    return f"{number(value)}   (reference {number(reference)}, off by {deviation:.1e}{kind})"


def stages(cost: Mapping[str, Any]) -> str:
    """Where the time went: "compile 41 %, solve 30 %, ..."."""
    return ", ".join(f"{stage} {seconds / cost['wall_s']:.0%}" for stage, seconds in cost["stages"].items())


def _size(cost: Mapping[str, Any], discretization: Mapping[str, Any]) -> Iterator[str]:
    yield f"{cost['dofs']} dofs" if cost["dofs"] else f"{cost['parameters']} parameters"
    yield f"{discretization.get('cells', '-')} cells"
    if elements := discretization.get("elements"):
        yield ", ".join(f"{name} {element}" for name, element in elements.items())


def _counts(discretization: Mapping[str, Any]) -> list[str]:
    known = {words: discretization[key] for key, words in COUNTS.items() if key in discretization}
    return [f"{count} {words if count != 1 else words.removesuffix('s')}" for words, count in known.items()]


def _errors(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """A row a field that has an exact solution: its relative errors."""
    fields = metrics.get("fields") or {"": metrics}
    for name, errors in fields.items():
        known = [f"{words} {errors[key]:.3e}" for key, words in NORMS.items() if _known(errors.get(key))]
        if known:
            yield f"relative error{' of ' if name else ''}{name}", ", ".join(known)


def _estimates(discretization: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What an adaptive run says of its own error."""
    if "bound" in discretization:
        yield "error bound", f"{discretization['bound']:.2e} of the energy norm, guaranteed but for rounding"
    if "estimate" in discretization:
        how = "calibrated on the first mesh" if "calibration" in discretization else "dual-weighted"
        yield "error estimate", f"{discretization['estimate']:.2e}, {how}: no bound"


def _known(value: float | None) -> bool:
    """Neither null, as not-a-number is in a record that was read, nor not a number."""
    return value is not None and value == value
