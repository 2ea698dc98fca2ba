"""PDEBench: five families of files.

Source: Takamoto et al., NeurIPS 2022; shapes as its loaders of December 2024 read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py

import numpy as np

from variform.data.dataset import Dataset, FieldInfo, Samples
from variform.data.lazy import LazyFile
from variform.errors import InputError
from variform.mesh import Mesh

AXES = "xyz"
FLOW = ("density", "pressure", "Vx", "Vy", "Vz")
FAULTS = {
    "beta": "PDEBench's advection data were off by a factor of 2 until they were made anew (its issue 46)",
    "Nu": "the coordinates of PDEBench's Burgers data are scaled (its issue 51)",
    "eta": "some of PDEBench's 2D compressible data fail the continuity equation (its issue 63)",
}


def applies(lazy: LazyFile) -> bool:
    file = lazy.open()
    return "tensor" in file or "density" in file or "velocity" in file or _is_grouped(file)


def read(lazy: LazyFile) -> Dataset:
    """A file of any family.

    Raises:
        InputError: arrays are missing, or their shapes do not agree.
    """
    file = lazy.open()
    with lazy.guarded("its arrays"):
        if "tensor" in file:
            return _darcy(lazy) if "nu" in file else _scalar(lazy)
        if "density" in file:
            return _compressible(lazy)
        return _incompressible(lazy) if "velocity" in file else _grouped(lazy)


def _is_grouped(file: Any) -> bool:
    names = list(file)
    if not names or not all(name.isdecimal() for name in names):
        return False
    return isinstance(file[names[0]], h5py.Group) and "data" in file[names[0]]


def _scalar(lazy: LazyFile) -> Dataset:
    """tensor (N, T, X); some files have one time coordinate more than times."""
    file = lazy.open()
    stored, x, t = file["tensor"], _axis(file, "x"), np.asarray(file["t-coordinate"][:], float)
    if stored.ndim != 3 or stored.shape[2] != len(x) or len(t) - stored.shape[1] not in (0, 1):
        raise _wrong(lazy, "tensor", stored.shape, f"(samples, {len(t)}, {len(x)})")
    notes = [note for key, note in FAULTS.items() if key in file.attrs]
    if len(t) > stored.shape[1]:
        notes.append(f"{len(t)} time coordinates for {stored.shape[1]} times: the last is left out")
    return _dataset(
        lazy, {"u": ("tensor", FieldInfo("output", (), True))}, (x,), t[: stored.shape[1]], len(stored), notes, True
    )


def _darcy(lazy: LazyFile) -> Dataset:
    """tensor (N, 1, X, Y), nu (N, X, Y)."""
    file = lazy.open()
    stored, nu = file["tensor"], file["nu"]
    axes = (_axis(file, "x"), _axis(file, "y"))
    grid = tuple(map(len, axes))
    if stored.shape != (len(nu), 1, *grid) or nu.shape[1:] != grid:
        raise _wrong(lazy, "tensor", stored.shape, f"(samples, 1, {grid[0]}, {grid[1]})")
    arrays = {"nu": ("nu", FieldInfo("input")), "u": ("tensor", FieldInfo("output"))}
    return _dataset(lazy, arrays, axes, None, len(nu), [], False)


def _compressible(lazy: LazyFile) -> Dataset:
    """density, pressure, Vx, Vy, Vz, each (N, T, X[, Y, Z])."""
    file = lazy.open()
    stored = file["density"]
    axes = tuple(_axis(file, AXES[i]) for i in range(stored.ndim - 2))
    t = np.asarray(file["t-coordinate"][:], float)
    shape = (len(stored), stored.shape[1], *map(len, axes))
    names = [name for name in FLOW if name in file]
    for name in names:
        if file[name].shape != shape or len(t) - shape[1] not in (0, 1):
            raise _wrong(lazy, name, file[name].shape, str(shape))
    arrays = {name: (name, FieldInfo("output", (), True)) for name in names}
    notes = [FAULTS["eta"]] if len(axes) == 2 else []
    outflow = "trans" in lazy.path.stem  # of its names; the others say "periodic"
    return _dataset(lazy, arrays, axes, t[: shape[1]], shape[0], notes, not outflow)


def _incompressible(lazy: LazyFile) -> Dataset:
    """velocity (N, T, X, Y, 2), particles (N, T, X, Y, 1), force (N, X, Y, 2), t (N, T)."""
    file = lazy.open()
    v = file["velocity"]
    count, levels, *grid, dim = v.shape
    t = np.asarray(file["t"][0], float)
    if len(grid) != 2 or dim != 2 or len(t) != levels:
        raise _wrong(lazy, "velocity", v.shape, f"(samples, {len(t)}, X, Y, 2)")
    arrays = {"velocity": ("velocity", FieldInfo("output", (2,), True))}
    if "particles" in file:
        arrays["particles"] = ("particles", FieldInfo("output", (1,), True))
    if "force" in file:
        arrays["force"] = ("force", FieldInfo("input", (2,)))
    axes = tuple((np.arange(n) + 0.5) / n for n in grid)
    notes = ["the file has no coordinates: the middles of cells of the unit square are taken"]
    return _dataset(lazy, arrays, axes, t, count, notes, False)


def _grouped(lazy: LazyFile) -> Dataset:
    """Groups 0000, 0001, ...: data (T, X[, Y], C), grid/x, grid/y, grid/t."""
    file = lazy.open()
    names = sorted(file)
    first = file[names[0]]
    data, t = first["data"], np.asarray(first["grid/t"][:], float)
    axes = tuple(np.asarray(first[f"grid/{AXES[i]}"][:], float) for i in range(data.ndim - 2))
    shape = (len(t), *map(len, axes), data.shape[-1])
    for name in names:
        if "data" not in file[name] or file[name]["data"].shape != shape:
            raise InputError(f"{lazy.path}: group {name} has no 'data' of shape {shape}")
    config = first.attrs.get("config", "")
    source = Groups(lazy, tuple(names))
    info = {"config": config.decode() if isinstance(config, bytes) else str(config)}
    fields = {f"u{c}": FieldInfo("output", (), True) for c in range(shape[-1])}
    return Dataset(lazy.path.stem, fields, axes, source, len(names), t, info=info, layout="pdebench")


def _axis(file: Any, name: str) -> np.ndarray:
    return np.asarray(file[f"{name}-coordinate"][:], float)


def _wrong(lazy: LazyFile, name: str, shape: tuple[int, ...], expected: str) -> InputError:
    return InputError(f"{lazy.path}: {name!r} has shape {tuple(shape)}, expected {expected}")


def _dataset(
    lazy: LazyFile,
    arrays: dict[str, tuple[str, FieldInfo]],
    axes: tuple[np.ndarray, ...],
    times: np.ndarray | None,
    count: int,
    notes: list[str],
    periodic: bool,
) -> Dataset:
    file = lazy.open()
    for name, _ in arrays.values():
        if file[name].dtype.kind != "f":
            raise InputError(f"{lazy.path}: {name!r} holds {file[name].dtype}, no floating-point numbers")
    numbers = {k: float(v) for k, v in file.attrs.items() if np.isscalar(v) and np.asarray(v).dtype.kind in "fi"}
    wraps = periodic and all(len(a) > 1 for a in axes) and not _holds_both_ends(axes)
    return Dataset(
        name=lazy.path.stem,
        fields={key: info for key, (_, info) in arrays.items()},
        coordinates=axes,
        source=Arrays(lazy, {key: name for key, (name, _) in arrays.items()}, times is None),
        count=count,
        times=times,
        periodic=(wraps,) * len(axes),
        parameters={key: np.full(count, value) for key, value in numbers.items()},
        info={"notes": notes} if notes else {},
        layout="pdebench",
    )


def _holds_both_ends(axes: tuple[np.ndarray, ...]) -> bool:
    """The points go from one round number to another: both ends are there."""
    return all(abs(a[0] - round(a[0])) < 1e-6 and abs(a[-1] - round(a[-1])) < 1e-6 for a in axes)


@dataclass(frozen=True)
class Arrays:
    """One array a field, samples first."""

    file: LazyFile
    names: dict[str, str] = field(default_factory=dict)
    stationary: bool = False

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        with self.file.guarded(repr(self.names[name])):
            stored = self.file.open()[self.names[name]]
            if self.stationary and self.names[name] == "tensor":
                return stored[samples][:, 0]
            if name == "force" or self.stationary:
                return stored[samples]
            return stored[(samples, times)] if not isinstance(samples, np.ndarray) else stored[samples][:, times]

    def mesh(self, sample: int) -> Mesh | None:
        return None


@dataclass(frozen=True)
class Groups:
    """One group a sample, components in the last axis of its data: u0, u1, ..."""

    file: LazyFile
    groups: tuple[str, ...]

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        with self.file.guarded(repr(name)):
            file, component = self.file.open(), int(name[1:])
            chosen = np.asarray(self.groups, dtype=object)[samples]
            return np.stack([file[group]["data"][times][..., component] for group in chosen])

    def mesh(self, sample: int) -> Mesh | None:
        return None
