"""Data sets in HDF5: the layout of The Well, PDEBench's names where shapes allow, and a group of our own beside them.

Root groups are The Well's, fields in float32. `/variform` holds what it takes to check the file again: what was solved
(the form as a tree of JSON), the mesh, the dofs of every sample in float64, the residuals, the digests. Everything is
covered by checksums three times over: HDF5's own by chunk, a SHA-256 a sample, one of the file.

Source: Ohana et al., The Well (data_format.md of its repository), and Takamoto et al., PDEBench.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py

import numpy as np

from variform.data.dataset import Dataset, FieldInfo, Samples
from variform.data.lazy import LazyFile
from variform.errors import InputError
from variform.mesh import Mesh
from variform.runs import atomic, strict

VERSION = 1
GROUPS = ("dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields")
AXES = "xyz"
SEAL, BLOCK = b"variform data, sha256 ", 512
"""HDF5 leaves the first bytes of a file to its user: they seal the rest."""
PERMANENT = ("v110", "v110")
"""Of HDF5's formats the first that guards its own structure by checksums, with bounds for what may be written."""
CHUNK_BYTES = 2**18
"""Of one chunk along the axis of time; a read of training is to touch few chunks."""

Rows = Mapping[str, np.ndarray]
"""What some samples contribute, one row a sample unless said otherwise:

fields/NAME ([T,] *grid, *shape), state/NAME dofs [of all times], input/NAME dofs, parameter/NAME (), residual (),
failed (), index () the number in the random stream; check/sample, check/snapshot, check/state/NAME (2, *dofs): two
consecutive states of an evolution, for some samples only. Where each sample has a mesh of its own, points
(num_points, dim) of it, and nodal/NAME (num_points, *shape) the values there.
"""


@dataclass(frozen=True)
class Header:
    """Everything but the samples.

    Args:
        name: of the task.
        fields, coordinates, times, periodic: as of a `Dataset`.
        constants: parameters that all samples share.
        mesh: on which all were solved, if there is one.
        form: the weak form as a tree of JSON, where there is one.
        splits: name -> numbers of its samples.
        walls: for each axis, whether the outputs are prescribed at both ends; for The Well's boundary conditions.
        info: how it was made: JSON content.
    """

    name: str
    fields: dict[str, FieldInfo]
    coordinates: tuple[np.ndarray, ...]
    times: np.ndarray | None = None
    periodic: tuple[bool, ...] = ()
    constants: dict[str, float] = field(default_factory=dict)
    mesh: Mesh | None = None
    form: dict[str, Any] | None = None
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    walls: tuple[bool, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)


def write(path: Path, data: Dataset, *, rows: int = 64) -> None:
    """Write a data set atomically, its fields in float32, a few samples in memory at a time."""
    header = Header(
        data.name, data.fields, data.coordinates, data.times, data.periodic, splits=data.splits, info=data.info
    )

    def chunks() -> Iterator[Rows]:
        for start in range(0, len(data), rows):
            part = slice(start, min(start + rows, len(data)))
            values = {f"fields/{name}": data.read(name, part).astype(np.float32) for name in data.fields}
            numbers = {f"parameter/{name}": column[part] for name, column in data.parameters.items()}
            here = np.arange(part.start, part.stop)
            yield with_digests({**values, **numbers, "failed": np.isin(here, data.bad), "index": here})

    write_rows(path, header, chunks(), len(data))


def write_rows(path: Path, header: Header, chunks: Iterable[Rows], count: int) -> str:
    """Write a data set atomically from what batches of samples contribute, in the order of the samples.

    Args:
        chunks: each with digests (`with_digests`).
        count: of all samples.

    Returns:
        The digest of the data set: SHA-256 over what describes it and over those of its samples, in hexadecimal.
    """
    with atomic(Path(path)) as temporary:
        with h5py.File(temporary, "w", userblock_size=BLOCK, libver=PERMANENT) as file:
            own = _write_header(file, header, count)
            writer, begin, whole = _Writer(file, header, count), 0, hashlib.sha256(_identity(header).encode())
            for chunk in chunks:
                writer.put(chunk, begin)
                begin += len(chunk["digest"])
                whole.update(np.ascontiguousarray(chunk["digest"]).tobytes())
            if begin != count:
                raise ValueError(f"{count} samples were announced, {begin} came")
            _link_pdebench(file, header)
            own.attrs["digest"] = whole.hexdigest()
        with open(temporary, "r+b") as file:
            file.seek(BLOCK)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            file.write(SEAL + digest.encode())
    return whole.hexdigest()


def with_digests(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The rows with a SHA-256 of each sample, shape (samples, 32), over all it has, values as they are stored."""
    count = len(rows["index"])
    hashes = [hashlib.sha256() for _ in range(count)]
    for name in sorted(rows):
        if name.startswith("check/"):
            continue
        values = np.ascontiguousarray(rows[name])
        for piece, into in zip(values, hashes, strict=True):
            into.update(f"{name} {values.dtype.str} {np.shape(piece)}".encode())
            into.update(np.ascontiguousarray(piece).tobytes())
    digest = np.array([list(h.digest()) for h in hashes], dtype=np.uint8).reshape(count, 32)
    return {**rows, "digest": digest}


def _identity(header: Header) -> str:
    """What makes two data sets the same beside their samples; not when and where they were made."""
    kept = {
        "name": header.name,
        "fields": {name: [i.role, i.shape, i.time_varying, i.unit] for name, i in header.fields.items()},
        "coordinates": [axis.tolist() for axis in header.coordinates],
        "times": None if header.times is None else header.times.tolist(),
        "periodic": header.periodic,
        "constants": header.constants,
        "form": header.form,
        "splits": {name: np.asarray(part).tolist() for name, part in header.splits.items()},
        "plan": header.info.get("plan"),
    }
    return json.dumps(strict(kept), sort_keys=True)


class _Writer:
    """Puts rows where they belong; data sets are made when their first row comes."""

    def __init__(self, file: h5py.File, header: Header, count: int) -> None:
        self.file, self.header, self.count = file, header, count

    def put(self, rows: Rows, begin: int) -> None:
        for name, values in rows.items():
            kind, _, key = name.partition("/")
            if kind == "fields":
                self._field(key, values, begin)
            elif kind == "parameter":
                target = self._own(f"scalars/{key}", values.astype(np.float32), grows=False, plain=True)
                target[begin : begin + len(values)] = values
                self._fixed(f"variform/parameter/{key}", values.astype(np.float64), begin)
            elif kind == "check":
                target = self._own(f"variform/{name}", values, grows=True)
                target.resize(len(target) + len(values), axis=0)
                target[len(target) - len(values) :] = values
            else:
                self._fixed(f"variform/{name}", values, begin)

    def _field(self, name: str, values: np.ndarray, begin: int) -> None:
        info, values = self.header.fields[name], values.astype(np.float32)
        if not info.sample_varying:
            values = values[:1]
        path = f"t{len(info.shape)}_fields/{name}"
        if path not in self.file:
            shape = ((self.count,) if info.sample_varying else ()) + values.shape[1:]
            one = values.shape[1:]
            times = min(one[0], max(1, CHUNK_BYTES // (4 * math.prod(one[1:])))) if info.time_varying else None
            chunk = (times, *one[1:]) if info.time_varying else one
            stored = self.file.create_dataset(
                path,
                shape,
                np.float32,
                chunks=((1,) if info.sample_varying else ()) + chunk,
                fletcher32=True,
            )
            dim = len(self.header.coordinates)
            stored.attrs.update(
                dim_varying=np.ones(dim, dtype=bool),
                sample_varying=info.sample_varying,
                time_varying=info.time_varying,
            )
            if len(info.shape) == 2:
                stored.attrs.update(symmetric=False, antisymmetric=False)
        if info.sample_varying:
            self.file[path][begin : begin + len(values)] = values
        elif begin == 0:
            self.file[path][...] = values[0]

    def _fixed(self, path: str, values: np.ndarray, begin: int) -> None:
        self._own(path, values, grows=False)[begin : begin + len(values)] = values

    def _own(self, path: str, values: np.ndarray, *, grows: bool, plain: bool = False) -> h5py.Dataset:
        if path not in self.file:
            one = values.shape[1:]
            if grows or not one:
                per = (
                    max(1, min(self.count, 1024))
                    if not one
                    else max(1, CHUNK_BYTES // (values.itemsize * math.prod(one)))
                )
                chunks = (per, *one)
            else:
                chunks = (1, *one)
            stored = self.file.create_dataset(
                path,
                (0 if grows else self.count, *one),
                values.dtype,
                maxshape=(None, *one) if grows else None,
                chunks=chunks,
                fletcher32=True,
                shuffle=not plain,
                compression=None if plain else "lzf",
            )
            if plain:
                stored.attrs.update(sample_varying=True, time_varying=False)
        return self.file[path]


def _write_header(file: h5py.File, header: Header, count: int) -> h5py.Group:
    text = h5py.string_dtype()
    file.attrs.update(
        dataset_name=header.name,
        grid_type="cartesian",
        n_spatial_dims=len(header.coordinates),
        n_trajectories=count,
        simulation_parameters=np.array(list(header.constants), dtype=text),
    )
    groups = {name: file.create_group(name) for name in GROUPS}
    names = [AXES[i] for i in range(len(header.coordinates))]
    groups["dimensions"].attrs["spatial_dims"] = np.array(names, dtype=text)
    times = np.zeros(1) if header.times is None else header.times
    for name, values in {"time": times, **dict(zip(names, header.coordinates, strict=True))}.items():
        stored = groups["dimensions"].create_dataset(
            name, data=np.asarray(values).astype(np.float32), chunks=(len(values),), fletcher32=True
        )
        stored.attrs.update(sample_varying=False, time_varying=name == "time")
    for rank in range(3):
        inside = [name for name, info in header.fields.items() if len(info.shape) == rank]
        groups[f"t{rank}_fields"].attrs["field_names"] = np.array(inside, dtype=text)
    varying = header.info.get("varying", [])
    groups["scalars"].attrs["field_names"] = np.array([*header.constants, *varying], dtype=text)
    for name, value in header.constants.items():
        file.attrs[name] = value
        stored = groups["scalars"].create_dataset(name, data=np.float32(value))
        stored.attrs.update(sample_varying=False, time_varying=False)
    _write_boundaries(groups["boundary_conditions"], header, names)
    own = file.create_group("variform")
    own.attrs.update(version=VERSION, layout="variform")
    for name, content in {
        "header": {
            "inputs": [name for name, info in header.fields.items() if info.role == "input"],
            "units": {name: info.unit for name, info in header.fields.items()},
            "periodic": list(header.periodic),
            "info": header.info,
        },
        "form": header.form,
    }.items():
        if content is not None:
            data = np.frombuffer(json.dumps(strict(content), sort_keys=True).encode(), dtype=np.uint8)
            own.create_dataset(name, data=data, chunks=(len(data),), fletcher32=True, compression="gzip")
    for axis, values in zip(names, header.coordinates, strict=True):
        own.create_dataset(
            f"coordinates/{axis}", data=np.asarray(values, float), chunks=(len(values),), fletcher32=True
        )
    if header.times is not None:
        own.create_dataset("times", data=np.asarray(times, float), chunks=(len(times),), fletcher32=True)
    for name, part in header.splits.items():
        own.create_dataset(f"splits/{name}", data=np.asarray(part, dtype=np.int64))
    if header.mesh is not None:
        _write_mesh(own.create_group("mesh"), header.mesh)
    return own


def _write_boundaries(group: h5py.Group, header: Header, names: list[str]) -> None:
    text = h5py.string_dtype()
    for i, (name, values) in enumerate(zip(names, header.coordinates, strict=True)):
        periodic = bool(header.periodic[i]) if header.periodic else False
        wall = bool(header.walls[i]) if header.walls else False
        if not (periodic or wall):
            continue
        kind = "PERIODIC" if periodic else "WALL"
        part = group.create_group(f"{name}_{kind.lower()}")
        part.attrs.update(
            associated_dims=np.array([name], dtype=text),
            associated_fields=np.array([], dtype=text),
            bc_type=kind,
            sample_varying=False,
            time_varying=False,
        )
        mask = np.zeros(len(values), dtype=bool)
        mask[[0, -1]] = True
        part.create_dataset("mask", data=mask)


def _write_mesh(group: h5py.Group, mesh: Mesh) -> None:
    arrays = {"points": mesh.points, "cells": mesh.cells}
    if mesh.edge_nodes is not None:
        arrays["edge_nodes"] = mesh.edge_nodes
    arrays |= {f"regions/{name}": cells for name, cells in mesh.regions.items()}
    arrays |= {f"boundaries/{name}": facets for name, facets in mesh.boundaries.items()}
    for name, values in arrays.items():
        if values.size:
            group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True, compression="gzip")
        else:
            group.create_dataset(name, data=values)


def read_mesh(group: h5py.Group) -> Mesh:
    """What `_write_mesh` wrote."""
    named = {kind: {name: part[:] for name, part in group.get(kind, {}).items()} for kind in ("regions", "boundaries")}
    edges = group["edge_nodes"][:] if "edge_nodes" in group else None
    return Mesh(group["points"][:], group["cells"][:], **named, edge_nodes=edges)


def _link_pdebench(file: h5py.File, header: Header) -> None:
    """PDEBench's names for the same arrays, where they have its shape: scalars in one dimension that evolve."""
    outputs = [name for name, info in header.fields.items() if info.role == "output" and info.time_varying]
    if len(header.coordinates) == 1 and len(outputs) == 1 and not header.fields[outputs[0]].shape:
        file["tensor"] = file[f"t0_fields/{outputs[0]}"]
        file["x-coordinate"] = file["dimensions/x"]
        file["t-coordinate"] = file["dimensions/time"]


def read(path: Path | str, *, on: str = "grid") -> Dataset:
    """A data set that `write` or `write_rows` made; its values are read when they are asked for.

    Args:
        on: "grid", or "mesh" for the values that lie at the points of a mesh of each sample's own.

    Raises:
        InputError: missing or damaged file, or another layout.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no data file {path}")
    return Stored(LazyFile(path)).dataset(on)


@dataclass(frozen=True)
class Stored:
    """One of our files, and everything in it, read when asked for."""

    file: LazyFile

    @property
    def own(self) -> h5py.Group:
        """The group of our own.

        Raises:
            InputError: there is none, or one of a later version.
        """
        file = self.file.open()
        if "variform" not in file or "version" not in file["variform"].attrs:
            raise InputError(f"{self.file.path} is damaged or not a variform data file: it has no group 'variform'")
        own = file["variform"]
        if own.attrs["version"] != VERSION:
            raise InputError(f"{self.file.path} has version {own.attrs['version']} of the layout, known is {VERSION}")
        return own

    @cached_property
    def header(self) -> dict[str, Any]:
        return self.json("header")

    def json(self, name: str) -> Any:
        """The header or the form; None if it is not there."""
        with self.file.guarded(name):
            return json.loads(self.own[name][:].tobytes()) if name in self.own else None

    def array(self, name: str, rows: Any = slice(None)) -> np.ndarray | None:
        """A data set of our group, such as "state/u" or "residual"; None if it is not there."""
        with self.file.guarded(f"variform/{name}"):
            return self.own[name][rows] if name in self.own else None

    def names(self, group: str) -> list[str]:
        """Of the data sets in a group of our group, such as "state"."""
        with self.file.guarded(f"variform/{group}"):
            return list(self.own[group]) if group in self.own else []

    def mesh(self, sample: int) -> Mesh | None:
        """None: the values lie on the grid."""
        return None

    @cached_property
    def shared_mesh(self) -> Mesh | None:
        """On which all samples were solved."""
        with self.file.guarded("variform/mesh"):
            return read_mesh(self.own["mesh"]) if "mesh" in self.own else None

    def dataset(self, on: str = "grid") -> Dataset:
        self.file.open()
        header = self.header
        with self.file.guarded("attributes"):
            file, own = self.file.open(), self.own
            count, dim = int(file.attrs["n_trajectories"]), int(file.attrs["n_spatial_dims"])
            fields = {}
            for rank in range(3):
                for name in file[f"t{rank}_fields"].attrs["field_names"]:
                    fields[str(name)] = self._info(file[f"t{rank}_fields"][name], rank, count, header, str(name))
            times = own["times"][:] if "times" in own else None
            parameters = {name: own["parameter"][name][:] for name in own.get("parameter", {})}
            splits = {name: own["splits"][name][:] for name in own.get("splits", {})}
            failed = own["failed"][:]
            coordinates = tuple(own["coordinates"][AXES[i]][:] for i in range(dim))
            name = str(file.attrs["dataset_name"])
            info = header["info"] | {"digest": str(own.attrs["digest"])}
        source: Any = self
        if on == "mesh":
            fields, coordinates, source = self._on_meshes(fields), (), OnMeshes(self)
        bad = tuple(np.flatnonzero(failed).tolist())
        return Dataset(
            name=name,
            fields=fields,
            coordinates=coordinates,
            source=source,
            count=count,
            times=times,
            periodic=tuple(header["periodic"]),
            parameters=parameters,
            splits={key: np.setdiff1d(part, bad) for key, part in splits.items()},
            bad=bad,
            info=info,
            layout="variform",
        )

    def _info(self, stored: h5py.Dataset, rank: int, count: int, header: dict[str, Any], name: str) -> FieldInfo:
        varies = bool(stored.attrs["sample_varying"])
        if stored.dtype != np.float32:
            raise InputError(f"{self.file.path}: field {name!r} must be float32, got {stored.dtype}")
        if varies and len(stored) != count:
            raise InputError(f"{self.file.path}: field {name!r} has {len(stored)} samples, the file says {count}")
        return FieldInfo(
            role="input" if name in header["inputs"] else "output",
            shape=stored.shape[stored.ndim - rank :],
            time_varying=bool(stored.attrs["time_varying"]),
            sample_varying=varies,
            unit=header["units"].get(name, ""),
        )

    def _on_meshes(self, fields: dict[str, FieldInfo]) -> dict[str, FieldInfo]:
        values = self.names("nodal")
        if not values:
            raise InputError(f"{self.file.path} has no values on meshes: its samples lie on a grid")
        return {name: info for name, info in fields.items() if name in values}

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        with self.file.guarded(f"field {name!r}"):
            file = self.file.open()
            stored = next(file[f"t{r}_fields"][name] for r in range(3) if name in file[f"t{r}_fields"])
            varies, evolves = bool(stored.attrs["sample_varying"]), bool(stored.attrs["time_varying"])
            at = (times,) if evolves else ()
            if varies:
                return stored[(samples, *at)]
            count = len(np.arange(int(file.attrs["n_trajectories"]))[samples])
            return np.broadcast_to(stored[at], (count, *stored[at].shape))


@dataclass(frozen=True)
class OnMeshes:
    """Values at the points of meshes, one mesh a sample: the same cells, other points."""

    stored: Stored

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        return self.stored.array(f"nodal/{name}", samples)

    def mesh(self, sample: int) -> Mesh | None:
        return replace(self.stored.shared_mesh, points=self.stored.array("points", sample))


def check_seal(path: Path) -> str | None:
    """What is wrong with the seal of one of our files: None if nothing is; the whole file is read."""
    with open(path, "rb") as file:
        seal = file.read(BLOCK).rstrip(b"\0")
        if not seal.startswith(SEAL):
            return "it does not begin with its checksum"
        if hashlib.file_digest(file, "sha256").hexdigest().encode() != seal.removeprefix(SEAL):
            return "it was changed after it was written: its checksum is another"
    return None
