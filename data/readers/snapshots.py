"""Snapshots of one's own: NPZ, CSV, VTU and PVD files, or folders of them.

NPZ: one sample; coordinates x, y, z and t, every other array a field whose axes have their lengths, in any order.
CSV: one sample; columns x, y, z, t, and a column a field, at all points of a grid, in any order of rows.
VTU, PVD: one sample on a mesh; point data are the fields; a PVD file has the times.
Folder: one file a sample, in the order of their names; all alike. Nothing tells inputs from outputs: all are outputs,
or inputs where they have no time and others have.
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
        if lead:
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
        values = np.stack([_load(path).fields[name] for path in chosen])
        return values if times == slice(None) else values[:, times]

    def mesh(self, sample: int) -> Mesh | None:
        return _load(self.paths[sample]).mesh


@lru_cache(maxsize=4)
def _load(path: Path) -> Snapshot:
    kinds = {".npz": _npz, ".csv": _csv, ".vtu": _vtk, ".pvd": _vtk}
    try:
        return kinds[path.suffix](path)
    except InputError:
        raise
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


def _vtk(path: Path) -> Snapshot:
    import pyvista

    from variform import meshes

    if path.suffix == ".vtu":
        grid = pyvista.read(path)
        return Snapshot((), None, {n: np.asarray(grid.point_data[n]) for n in grid.point_data}, meshes.read(path))
    reader = pyvista.get_reader(path)
    levels = []
    for t in reader.time_values:
        reader.set_active_time_value(t)
        block = reader.read()
        grid = block[0] if isinstance(block, pyvista.MultiBlock) else block
        levels.append({n: np.asarray(grid.point_data[n]) for n in grid.point_data})
    first = sorted(path.parent.glob("*.vtu"))
    if not levels or not first:
        raise InputError(f"{path} names no snapshots")
    fields = {name: np.stack([level[name] for level in levels]) for name in levels[0]}
    return Snapshot((), np.asarray(reader.time_values, float), fields, meshes.read(first[0]))
