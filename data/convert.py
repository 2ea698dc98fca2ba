"""A data set in another layout, a few samples in memory at a time; nothing is overwritten."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py

import numpy as np

from variform.data import store
from variform.data.dataset import Dataset
from variform.errors import InputError, unknown
from variform.runs import atomic, check_parents

Progress = Callable[[float, str], None]
AXES = "xyz"


def convert(data: Dataset, path: Path, to: str, *, progress: Progress = lambda fraction, text: None) -> None:
    """Write a data set.

    Args:
        path: a file; a folder for "npz" (one file a sample) and, with a file for each split, for "the-well".
        to: a key of LAYOUTS.

    Raises:
        InputError: the path exists, or the layout cannot hold this data set.
    """
    path = Path(path)
    if to not in LAYOUTS:
        raise unknown("layout", to, LAYOUTS)
    if path.exists():
        raise InputError(f"{path} exists already; choose another name or remove it")
    if not data.coordinates:
        raise InputError(f"{data.name} lies on meshes: the layout {to} holds values on grids")
    check_parents(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    LAYOUTS[to](data, path, progress)


def _own(data: Dataset, path: Path, progress: Progress) -> None:
    store.write(path, data)


def _well(data: Dataset, path: Path, progress: Progress) -> None:
    """One file, or a folder of The Well: data/SPLIT/NAME.hdf5 and stats.yaml of the training set."""
    if path.suffix in (".h5", ".hdf5"):
        store.write(path, _with_scalars(data))
        return
    splits = data.splits or {"train": data.good}
    with _new_folder(path) as folder:
        for done, (name, part) in enumerate(splits.items(), start=1):
            if len(part):
                target = folder / "data" / name
                target.mkdir(parents=True)
                store.write(target / f"{data.name}.hdf5", _with_scalars(data.only(part)))
            progress(done / len(splits), name)
        first = splits.get("train", next(iter(splits.values())))
        (folder / "stats.yaml").write_text(_yaml(statistics(data.only(first))))


def _with_scalars(data: Dataset) -> Dataset:
    """The Well's readers look only for the scalars that the file lists."""
    return replace(data, info={"varying": list(data.parameters)})


def _yaml(found: dict[str, dict[str, float | list[float]]]) -> str:
    """JSON is YAML, but for 1e-05, which YAML's readers take for a word: they want 1.0e-05."""
    return re.sub(r"(?<![.\d])(-?\d+)e", r"\1.0e", json.dumps(found, indent=2)) + "\n"


def statistics(data: Dataset) -> dict[str, dict[str, float | list[float]]]:
    """mean, std, rms, and the same of one-step differences, of each field (lists for vectors), as The Well has them.

    Sums are taken in double precision, one sample after the other. Fields that do not vary in time have no differences.
    """
    found: dict[str, dict[str, float | list[float]]] = {}
    for name, info in data.fields.items():
        evolves = info.time_varying and len(data.times) > 1
        of_values, of_steps = _Moments(), _Moments()
        for sample in range(len(data)):
            values = data.read(name, sample).astype(np.float64)
            of_values.add(values.reshape(-1, *info.shape))
            if evolves:
                of_steps.add(np.diff(values, axis=0).reshape(-1, *info.shape))
        for suffix, moments in (("", of_values), ("_delta", of_steps)) if evolves else (("", of_values),):
            for key, value in moments.results().items():
                found.setdefault(f"{key}{suffix}", {})[name] = value.tolist()
    return found


class _Moments:
    def __init__(self) -> None:
        self.count, self.first, self.second = 0, 0.0, 0.0

    def add(self, values: np.ndarray) -> None:
        self.count += len(values)
        self.first, self.second = self.first + values.sum(axis=0), self.second + (values**2).sum(axis=0)

    def results(self) -> dict[str, np.ndarray]:
        mean, square = np.asarray(self.first / self.count), np.asarray(self.second / self.count)
        return {"mean": mean, "std": np.sqrt(np.maximum(square - mean**2, 0.0)), "rms": np.sqrt(square)}


def _pdebench(data: Dataset, path: Path, progress: Progress) -> None:
    """The family whose shape fits: one scalar in one dimension, Darcy, or one group a sample."""
    inputs, outputs = data.named("input"), data.named("output")
    if any(data.fields[name].shape for name in outputs):
        raise InputError("PDEBench's layouts that are written hold scalar fields only")
    evolves = data.times is not None
    if evolves and len(data.grid) == 1 and len(outputs) == 1:
        kind, suffix = _pdebench_scalar, ".hdf5"
    elif not evolves and len(data.grid) == 2 and len(inputs) == len(outputs) == 1:
        kind, suffix = _pdebench_darcy, ".hdf5"
    elif evolves and len(data.grid) <= 2:
        kind, suffix = _pdebench_groups, ".h5"
    else:
        raise InputError(
            f"no family of PDEBench holds {len(inputs)} inputs and {len(outputs)} outputs in {len(data.grid)} "
            f"dimensions{' with time' if evolves else ''}"
        )
    if path.suffix != suffix:
        raise InputError(f"the suffix tells PDEBench's loaders the family: {path} must end with {suffix}")
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        kind(data, file, progress)


def _pdebench_scalar(data: Dataset, file: h5py.File, progress: Progress) -> None:
    _coordinates(data, file)
    for name, column in data.parameters.items():
        if len(column) and (column == column[0]).all():
            file.attrs[name] = column[0]
    stored = file.create_dataset("tensor", (len(data), len(data.times), *data.grid), np.float32)
    for sample in range(len(data)):
        stored[sample] = data.read(data.named("output")[0], sample)
        progress((sample + 1) / len(data), f"sample {sample + 1} of {len(data)}")


def _pdebench_darcy(data: Dataset, file: h5py.File, progress: Progress) -> None:
    _coordinates(data, file)
    values = data.info.get("card", {}).get("values", {})
    columns = {name: column[0] for name, column in data.parameters.items() if len(column) and np.ptp(column) == 0}
    for name in ("pumping", "beta"):  # the source; not every file says what it is
        if name in values or name in columns:
            file.attrs["beta"] = float(values.get(name, columns.get(name)))
    tensor = file.create_dataset("tensor", (len(data), 1, *data.grid), np.float32)
    nu = file.create_dataset("nu", (len(data), *data.grid), np.float32)
    for sample in range(len(data)):
        nu[sample] = data.read(data.named("input")[0], sample)
        tensor[sample, 0] = data.read(data.named("output")[0], sample)
        progress((sample + 1) / len(data), f"sample {sample + 1} of {len(data)}")


def _pdebench_groups(data: Dataset, file: h5py.File, progress: Progress) -> None:
    config = json.dumps({"name": data.name, "fields": data.named("output")})
    for sample in range(len(data)):
        group = file.create_group(f"{sample:04d}")
        group.attrs["config"] = config
        values = np.stack([data.read(name, sample) for name in data.named("output")], axis=-1).astype(np.float32)
        group.create_dataset("data", data=values, compression="lzf")
        for axis, line in {**dict(zip(AXES, data.coordinates, strict=False)), "t": data.times}.items():
            group.create_dataset(f"grid/{axis}", data=np.asarray(line, np.float32), compression="lzf")
        progress((sample + 1) / len(data), f"sample {sample + 1} of {len(data)}")


def _coordinates(data: Dataset, file: h5py.File) -> None:
    for axis, line in zip(AXES, data.coordinates, strict=False):
        file[f"{axis}-coordinate"] = np.asarray(line, np.float32)
    if data.times is not None:
        file["t-coordinate"] = np.asarray(data.times, np.float32)


def _neuraloperator(data: Dataset, path: Path, progress: Progress) -> None:
    import torch

    inputs, outputs = data.named("input"), data.named("output")
    if len(inputs) != 1 or len(outputs) != 1 or data.times is not None:
        raise InputError(
            f"neuraloperator's files hold one input and one output without time; {data.name} has "
            f"{', '.join([*inputs, *outputs])}{' in time' if data.times is not None else ''}"
        )
    tensors = {
        key: torch.as_tensor(np.ascontiguousarray(data.read(name, data.good)), dtype=torch.float32)
        for key, name in (("x", inputs[0]), ("y", outputs[0]))
    }
    with atomic(path) as temporary:
        torch.save(tensors, temporary)


def _npz(data: Dataset, path: Path, progress: Progress) -> None:
    """A folder, one file a sample, with the coordinates x, y, z and t in each."""
    lines = dict(zip(AXES, data.coordinates, strict=False)) | ({} if data.times is None else {"t": data.times})
    if clash := set(lines) & set(data.fields):
        raise InputError(f"the field {clash.pop()!r} has the name of a coordinate, which NPZ files keep for those")
    with _new_folder(path) as folder:
        for sample in range(len(data)):
            np.savez(folder / f"sample_{sample:06d}.npz", **lines, **data[sample].fields)
            progress((sample + 1) / len(data), f"sample {sample + 1} of {len(data)}")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that has its name only when everything is in it."""
    temporary = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


LAYOUTS: dict[str, Callable[[Dataset, Path, Progress], None]] = {
    "the-well": _well,
    "pdebench": _pdebench,
    "neuraloperator": _neuraloperator,
    "npz": _npz,
    "variform": _own,
}
