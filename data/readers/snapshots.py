"""Snapshots of one's own: NPZ, CSV, VTU and PVD files, or folders of them.

NPZ: one sample; coordinates x, y, z and t, every other array a field whose axes have their lengths, in any order.
CSV: one sample; columns x, y, z, t, and a column a field, at all points of a grid, in any order of rows.
VTU, PVD: one sample on a mesh; point data are the fields, one value a place; a PVD file has the times.
Folder: one file a sample, in the order of their names; all alike. A folder of folders: one folder a sample, which holds
a PVD file, or a VTU file a time; the times are then 0, 1, 2, ... Nothing tells inputs from outputs: all are outputs, or
inputs where they have no time and others have.
"""

from __future__ import annotations

import csv
import itertools
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from variform.data.dataset import Dataset, FieldInfo, Samples
from variform.errors import InputError
from variform.mesh import Mesh

SUFFIXES = (".npz", ".csv", ".vtu", ".pvd")
AXES = "xyz"


@dataclass(frozen=True)
class Snapshot:
    """One sample, read: fields ([T,] *grid), or ([T,] points[, components]) on a mesh."""

    axes: tuple[np.ndarray, ...]
    times: np.ndarray | None
    fields: dict[str, np.ndarray]
    mesh: Mesh | None = None


def read(path: Path) -> Dataset:
    """One file."""
    return _dataset(path.stem, [path])


def read_folder(path: Path) -> Dataset:
    """All files of one kind in a folder.

    Raises:
        InputError: none, files of several kinds, or files that differ in grid, times or fields.
    """
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
    if not found and (folders := sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))):
        return _dataset(path.name, folders)
    kinds = {p.suffix for p in found}
    if ".pvd" in kinds:  # the snapshots of a PVD file lie beside it
        found, kinds = [p for p in found if p.suffix == ".pvd"], {".pvd"}
    if len(kinds) != 1:
        raise InputError(
            f"{path} must hold files of one kind, {', '.join(SUFFIXES)}, or data/train, ...; "
            f"it holds {', '.join(sorted(kinds)) or 'none'}"
        )
    return _dataset(path.name, found)


def _dataset(name: str, paths: list[Path]) -> Dataset:
    first = _load(paths[0])
    evolves = first.times is not None
    lead = first.mesh is None
    infos = {}
    for key, values in first.fields.items():
        varies = evolves and values.ndim > (len(first.axes) if lead else 0) and _has_time(first, values)
        places = (1 if varies else 0) + (len(first.axes) if lead else 1)
        infos[key] = FieldInfo("input" if evolves and not varies else "output", values.shape[places:], varies)
    for path in paths[1:]:
        other = _load(path)
        same = lead == (other.mesh is None) and list(other.fields) == list(first.fields)
        if not lead:
            same = same and all(
                a.shape[2 if info.time_varying else 1 :] == info.shape
                for a, info in zip(other.fields.values(), infos.values(), strict=True)
            )
        else:
            same &= all(
                np.shape(a) == np.shape(b) and np.allclose(a, b) for a, b in zip(other.axes, first.axes, strict=False)
            )
        if evolves or other.times is not None:
            same &= np.array_equal(np.asarray(other.times, float), np.asarray(first.times, float))
        if not same:
            raise InputError(f"{path}: grid, times or fields differ from those of {paths[0]}")
    return Dataset(name, infos, first.axes, Each(tuple(paths)), len(paths), first.times, layout="folder")


def _has_time(snapshot: Snapshot, values: np.ndarray) -> bool:
    return len(values) == len(snapshot.times)


@dataclass(frozen=True)
class Each:
    """One file a sample."""

    paths: tuple[Path, ...]

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        chosen = [self.paths[i] for i in np.arange(len(self.paths))[samples]]
        found = [_load(path).fields[name] for path in chosen]
        if len({values.shape for values in found}) > 1:
            raise InputError("samples on meshes of their own are read one at a time")
        values = np.stack(found)
        return values if times == slice(None) else values[:, times]

    def mesh(self, sample: int) -> Mesh | None:
        return _load(self.paths[sample]).mesh


def _load(path: Path) -> Snapshot:
    try:
        return _load_state(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror}") from None


@lru_cache(maxsize=4)
def _load_state(path: Path, written: int) -> Snapshot:
    """A file, or the folder of one sample, as it was when it was last written."""
    kinds = {".npz": _npz, ".csv": _csv, ".vtu": _vtu, ".pvd": _pvd}
    try:
        return _series(path) if path.is_dir() else kinds[path.suffix](path)
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} could not be read: {reason}") from None


def _npz(path: Path) -> Snapshot:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    lines = {name: np.ravel(values).astype(float) for name, values in arrays.items() if name in ("x", "y", "z", "t")}
    if not any(axis in lines for axis in AXES):
        raise InputError(f"{path} must hold coordinates named x, y or z; it holds {', '.join(arrays) or 'nothing'}")
    for name, line in lines.items():
        if len(line) < 2 or not (np.diff(line) > 0).all():
            raise InputError(f"{path}: coordinates {name!r} must increase along one axis, they have {len(line)} values")
    axes = tuple(lines[axis] for axis in AXES if axis in lines)
    times, fields = lines.get("t"), {}
    sizes = tuple(map(len, axes))
    for name, values in arrays.items():
        if name in lines:
            continue
        fields[name] = _ordered(path, name, values, sizes, None if times is None else len(times))
    if not fields:
        raise InputError(f"{path} holds coordinates, but no fields")
    return Snapshot(axes, times, fields)


def _ordered(path: Path, name: str, values: np.ndarray, sizes: tuple[int, ...], levels: int | None) -> np.ndarray:
    """Axes in the order [T,] *grid; where lengths are equal, as they come, times last if the file ends with them."""
    if values.dtype.kind not in "fiub":
        raise InputError(f"{path}: field {name!r} holds {values.dtype}, no numbers")
    wanted = [(levels, *sizes), sizes] if levels is not None else [sizes]
    for shape in wanted:
        for order in itertools.permutations(range(values.ndim)):
            if tuple(values.shape[i] for i in order) == shape:
                return np.transpose(values, order).astype(float)
    words = f"{sizes}" + (f" and {levels} times" if levels is not None else "")
    raise InputError(f"{path}: field {name!r} has shape {values.shape}, which is not that of the grid {words}")


def _csv(path: Path) -> Snapshot:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        raise InputError(f"{path} must have a line of names and lines of numbers")
    names = [name.strip() for name in rows[0]]
    table = np.array([[float(cell) for cell in row] for row in rows[1:] if row])
    if table.ndim != 2 or table.shape[1] != len(names):
        raise InputError(f"{path}: every line must have {len(names)} numbers, one for each of {', '.join(names)}")
    where = [axis for axis in ("t", *AXES) if axis in names]
    lines = {axis: np.unique(table[:, names.index(axis)]) for axis in where}
    shape = tuple(map(len, lines.values()))
    if not set(where) & set(AXES) or len(table) != np.prod(shape):
        raise InputError(
            f"{path}: columns x, y, z, t must give every point of a grid once; {len(table)} lines, {shape}"
        )
    order = np.lexsort([table[:, names.index(axis)] for axis in reversed(where)])
    fields = {n: table[order, i].reshape(shape) for i, n in enumerate(names) if n not in where}
    return Snapshot(tuple(lines[axis] for axis in AXES if axis in lines), lines.get("t"), fields)


def _series(folder: Path) -> Snapshot:
    """One sample: the PVD file in a folder, or else all its VTU files, one a time."""
    pvd, steps = sorted(folder.glob("*.pvd")), sorted(folder.glob("*.vtu"))
    if len(pvd) > 1 or not (pvd or steps):
        raise InputError(f"{folder} must hold one .pvd file, or a .vtu file a time; it holds {len(pvd)} .pvd")
    return _pvd(pvd[0]) if pvd else _in_time(folder, np.arange(len(steps), dtype=float), steps)


def _pvd(path: Path) -> Snapshot:
    import pyvista

    parts = sorted(pyvista.PVDReader(path).datasets, key=lambda part: part.time)
    times = np.array([part.time for part in parts], dtype=float)
    if not parts or (np.diff(times) <= 0).any():
        raise InputError(f"{path} must name one file for each time, it names {len(parts)} for {len(set(times))} times")
    return _in_time(path, times, [path.parent / part.path for part in parts])


def _in_time(path: Path, times: np.ndarray, steps: list[Path]) -> Snapshot:
    levels = [_vtu(step) for step in steps]
    first = levels[0]
    for step, level in zip(steps, levels, strict=True):
        same = level.fields.keys() == first.fields.keys() and np.array_equal(level.mesh.points, first.mesh.points)
        if not same or not np.array_equal(level.mesh.cells, first.mesh.cells):
            raise InputError(f"{path}: mesh or fields of {step.name} differ from those of {steps[0].name}")
    return Snapshot((), times, {k: np.stack([level.fields[k] for level in levels]) for k in first.fields}, first.mesh)


def _vtu(path: Path) -> Snapshot:
    import pyvista

    from variform import meshes

    if path.suffix != ".vtu" or not path.is_file():
        raise InputError(f"{path} is no .vtu file")
    mesh, stored = meshes.read(path), pyvista.read(path)
    places = _places(path, np.asarray(stored.points, dtype=float), mesh)
    fields = {
        name: _at(path, name, np.asarray(stored.point_data[name]), places, mesh.dim) for name in stored.point_data
    }
    if not fields:
        raise InputError(f"{path} holds a mesh, but no point data")
    return Snapshot((), None, fields, mesh)


def _places(path: Path, points: np.ndarray, mesh: Mesh) -> list[np.ndarray]:
    """For each point of the mesh, which is without those that no cell has, the points of the file that lie there."""
    flat = points[:, : mesh.dim] + 0.0  # no negative zeros
    where, inverse = np.unique(flat, axis=0, return_inverse=True)
    found = {row.tobytes(): i for i, row in enumerate(where)}
    order = np.argsort(inverse.ravel(), kind="stable")
    members = np.split(order, np.cumsum(np.bincount(inverse.ravel()))[:-1])
    try:
        return [members[found[row.tobytes()]] for row in mesh.points + 0.0]
    except KeyError:
        raise InputError(f"{path}: the points of its cells are not those of its values") from None


def _at(path: Path, name: str, values: np.ndarray, places: list[np.ndarray], dim: int) -> np.ndarray:
    """Values at the points of the mesh; VTK's vectors have three components, in the plane the last is zero."""
    if values.dtype.kind not in "fiub":
        raise InputError(f"{path}: field {name!r} holds {values.dtype}, no numbers")
    first = values[[here[0] for here in places]]
    for here, value in zip(places, first, strict=True):
        if len(here) > 1 and not np.array_equal(
            values[here], np.broadcast_to(value, values[here].shape), equal_nan=True
        ):
            raise InputError(f"{path}: field {name!r} has several values at one point; continuous fields are read")
    if first.ndim == 2 and first.shape[1] == 3 and not first[:, dim:].any():
        first = first[:, :dim]
    return first.astype(float)
