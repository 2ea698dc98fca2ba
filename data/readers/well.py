"""The Well: one file, or a folder with data/train, data/valid and data/test.

Source: Ohana et al. 2024, data_format.md of its repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from variform.data.dataset import Dataset, FieldInfo, Samples
from variform.data.lazy import LazyFile
from variform.errors import InputError
from variform.mesh import Mesh

GROUPS = ("dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields")
SPLITS = ("train", "valid", "test")


def applies(file: LazyFile) -> bool:
    return any(f"t{rank}_fields" in file.open() for rank in range(3))


def is_folder(path: Path) -> bool:
    return any((path / "data" / split).is_dir() for split in SPLITS)


def read(file: LazyFile) -> Dataset:
    """One file.

    Raises:
        InputError: a group or an attribute is missing, or shapes do not agree.
    """
    return _read([file], {})


def read_folder(path: Path) -> Dataset:
    """All files of a data set; its folders are the splits."""
    files: list[LazyFile] = []
    members: dict[str, list[int]] = {}
    for split in SPLITS:
        found = sorted(p for p in (path / "data" / split).glob("*") if p.suffix in (".h5", ".hdf5"))
        members[split] = list(range(len(files), len(files) + len(found)))
        files += map(LazyFile, found)
    if not files:
        raise InputError(f"{path} holds no data/train, data/valid or data/test with files .h5 or .hdf5")
    return _read(files, members)


def _read(files: list[LazyFile], members: dict[str, list[int]]) -> Dataset:
    described = [_describe(file) for file in files]
    first = described[0]
    for file, other in zip(files, described, strict=True):
        for key in ("name", "fields", "axes", "times"):
            if str(other[key]) != str(first[key]):
                raise InputError(f"{file.path}: {key} differ from those of {files[0].path}")
    starts = np.concatenate([[0], np.cumsum([d["count"] for d in described])])
    splits = {
        split: np.concatenate([np.arange(starts[i], starts[i + 1]) for i in numbers])
        for split, numbers in members.items()
        if numbers
    }
    parameters = {
        name: np.concatenate([d["parameters"][name] for d in described])
        for name in first["parameters"]
        if all(name in d["parameters"] for d in described)
    }
    return Dataset(
        name=first["name"],
        fields=first["fields"],
        coordinates=first["axes"],
        source=Files(tuple(files), tuple(starts.tolist())),
        count=int(starts[-1]),
        times=first["times"],
        periodic=first["periodic"],
        parameters=parameters,
        splits=splits,
        info={"notes": first["notes"]} if first["notes"] else {},
        layout="the-well",
    )


def _describe(lazy: LazyFile) -> dict[str, Any]:
    file = lazy.open()
    for group in GROUPS:
        if group not in file:
            raise InputError(f"{lazy.path} lacks the group {group!r} of The Well; it needs {', '.join(GROUPS)}")
    with lazy.guarded("attributes and dimensions"):
        count, dims = int(file.attrs["n_trajectories"]), [str(d) for d in file["dimensions"].attrs["spatial_dims"]]
        axes = tuple(np.asarray(file["dimensions"][d][:], float) for d in dims)
        times = np.asarray(file["dimensions/time"][:], float).reshape(-1)
        fields: dict[str, FieldInfo] = {}
        for rank in range(3):
            for name in map(str, file[f"t{rank}_fields"].attrs["field_names"]):
                fields[name] = _field(lazy, file[f"t{rank}_fields"][name], rank, count, axes, len(times))
        parameters = {}
        for name, stored in file["scalars"].items():
            if stored.attrs.get("time_varying", False):
                continue
            values = np.asarray(stored[()], float).reshape(-1)
            parameters[name] = values if len(values) == count else np.full(count, values[0])
        boundaries = file["boundary_conditions"].values()
        wrapped = {str(d) for b in boundaries if _kind(b) == "PERIODIC" for d in b.attrs["associated_dims"]}
        name = str(file.attrs["dataset_name"])
    notes, evolves = [], any(info.time_varying for info in fields.values())
    if not evolves and fields:
        last = list(fields)[-1]
        fields[last] = FieldInfo("output", fields[last].shape)
        notes.append(
            f"no field varies in time, and the file does not tell inputs from outputs: {last} is taken as output"
        )
    return {
        "name": name,
        "count": count,
        "axes": axes,
        "times": times if evolves else None,
        "fields": fields,
        "parameters": parameters,
        "periodic": tuple(d in wrapped for d in dims),
        "notes": notes,
    }


def _kind(boundary: Any) -> str:
    kind = boundary.attrs["bc_type"]
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _field(lazy: LazyFile, stored: Any, rank: int, count: int, axes: tuple[np.ndarray, ...], times: int) -> FieldInfo:
    varies, evolves = bool(stored.attrs["sample_varying"]), bool(stored.attrs["time_varying"])
    varying = np.asarray(stored.attrs["dim_varying"], bool)
    grid = [len(axis) for axis, there in zip(axes, varying, strict=True) if there]
    expected = [count] * varies + [times] * evolves + grid
    shape = stored.shape[len(expected) :]
    if list(stored.shape[: len(expected)]) != expected or len(shape) != rank or stored.dtype.kind != "f":
        raise InputError(
            f"{lazy.path}: field {stored.name} is {stored.dtype} of shape {stored.shape}, expected floating-point "
            f"numbers of shape ({', '.join(map(str, expected + ['...'] * (rank > 0)))})"
        )
    return FieldInfo("output" if evolves else "input", shape, evolves, varies)


@dataclass(frozen=True)
class Files:
    """Several files, one after another; starts: number of the first sample of each, and of all."""

    files: tuple[LazyFile, ...]
    starts: tuple[int, ...]

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        numbers = np.arange(self.starts[-1])[samples]
        parts = []
        for file, begin, end in zip(self.files, self.starts, self.starts[1:], strict=False):
            here = numbers[(numbers >= begin) & (numbers < end)] - begin
            if len(here):
                parts.append(_values(file, name, here, times))
        return np.concatenate(parts)

    def mesh(self, sample: int) -> Mesh | None:
        return None


def _values(lazy: LazyFile, name: str, samples: np.ndarray, times: slice) -> np.ndarray:
    with lazy.guarded(f"field {name!r}"):
        file = lazy.open()
        stored = next(file[f"t{r}_fields"][name] for r in range(3) if name in file[f"t{r}_fields"])
        varies, evolves = bool(stored.attrs["sample_varying"]), bool(stored.attrs["time_varying"])
        at = (times,) if evolves else ()
        whole = len(samples) and np.array_equal(samples, np.arange(samples[0], samples[-1] + 1))
        rows = slice(int(samples[0]), int(samples[-1]) + 1) if whole else samples
        values = stored[(rows, *at)] if varies else np.broadcast_to(stored[at][None], (len(samples), *stored[at].shape))
        lead = 1 + evolves
        for axis, there in enumerate(stored.attrs["dim_varying"]):
            if not there:
                dims = [str(d) for d in file["dimensions"].attrs["spatial_dims"]]
                size = len(file["dimensions"][dims[axis]])
                values = np.repeat(np.expand_dims(values, lead + axis), size, axis=lead + axis)
        return values
