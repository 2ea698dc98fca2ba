"""Data sets in HDF5, in the layout of The Well with a group of our own beside it.

Source: Ohana et al., The Well, NeurIPS 2024 (data_format.md of its repository).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

import numpy as np

from variform.errors import InputError
from variform.runs import atomic

GROUPS = ("dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields")
AXES = "xyz"
SEAL, BLOCK = b"variform data, sha256 ", 512
"""HDF5 leaves the first bytes of a file to its user: they seal the rest. A changed bit could give other values, or
make the HDF5 library hang."""


@dataclass(frozen=True)
class Dataset:
    """Instances of a stationary task on one uniform grid that holds both ends of each axis.

    Args:
        name: of the task.
        coordinates: one array [m] an axis.
        inputs, outputs: name -> (num_samples, *grid), parameter fields and solution fields.
        info: how it was made: JSON content (seed, indices, mesh, element, tolerance, versions).
    """

    name: str
    coordinates: tuple[np.ndarray, ...]
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values())))


def write(path: Path, data: Dataset) -> None:
    """Write a data set atomically, its fields in float32."""
    with atomic(Path(path)) as temporary:
        _write(temporary, data)
        with open(temporary, "r+b") as file:
            file.seek(BLOCK)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            file.write(SEAL + digest.encode())


def _write(path: Path, data: Dataset) -> None:
    with h5py.File(path, "w", userblock_size=BLOCK) as file:
        file.attrs.update(
            dataset_name=data.name,
            grid_type="cartesian",
            n_spatial_dims=len(data.coordinates),
            n_trajectories=len(data),
            simulation_parameters=np.array([], dtype=h5py.string_dtype()),
        )
        groups = {name: file.create_group(name) for name in GROUPS}
        _write_dimensions(groups["dimensions"], data.coordinates)
        groups["scalars"].attrs["field_names"] = np.array([], dtype=h5py.string_dtype())
        fields = {**data.inputs, **data.outputs}
        for name in ("t0_fields", "t1_fields", "t2_fields"):
            groups[name].attrs["field_names"] = list(fields) if name == "t0_fields" else []
        for name, values in fields.items():
            stored = groups["t0_fields"].create_dataset(
                name, data=values.astype(np.float32), chunks=(1, *values.shape[1:])
            )
            stored.attrs.update(
                dim_varying=np.ones(len(data.coordinates), dtype=bool), sample_varying=True, time_varying=False
            )
        own = file.create_group("variform")
        own.attrs.update(inputs=list(data.inputs), outputs=list(data.outputs), info=json.dumps(data.info))


def read(path: Path) -> Dataset:
    """Read a data set that `write` made.

    Raises:
        InputError: missing or damaged file, another layout, or values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no data file {path}")
    try:
        _check_seal(path)
        with h5py.File(path) as file:
            own = file["variform"].attrs
            fields = file["t0_fields"]
            axes = [AXES[i] for i in range(int(file.attrs["n_spatial_dims"]))]
            data = Dataset(
                name=str(file.attrs["dataset_name"]),
                coordinates=tuple(file["dimensions"][axis][:] for axis in axes),
                inputs={name: fields[name][:] for name in own["inputs"]},
                outputs={name: fields[name][:] for name in own["outputs"]},
                info=json.loads(own["info"]),
            )
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is damaged or not a variform data file: {error}") from None
    for name, values in {**data.inputs, **data.outputs}.items():
        if not np.isfinite(values).all():
            raise InputError(f"{path}: field {name!r} has values that are not finite")
    return data


def _check_seal(path: Path) -> None:
    with open(path, "rb") as file:
        seal = file.read(BLOCK).rstrip(b"\0")
        if not seal.startswith(SEAL):
            raise InputError(f"{path} is damaged or not a variform data file: it does not begin with its checksum")
        if hashlib.file_digest(file, "sha256").hexdigest().encode() != seal.removeprefix(SEAL):
            raise InputError(f"{path} is damaged, or was changed after it was written: its checksum is another")


def _write_dimensions(group: h5py.Group, coordinates: tuple[np.ndarray, ...]) -> None:
    names = [AXES[i] for i in range(len(coordinates))]
    group.attrs["spatial_dims"] = names
    for name, values in {"time": np.zeros(1), **dict(zip(names, coordinates, strict=True))}.items():
        stored = group.create_dataset(name, data=values.astype(np.float32))
        stored.attrs.update(sample_varying=False, time_varying=name == "time")
