"""Data files of any layout, opened in one form: the layout is found by what the file holds."""

from __future__ import annotations

from pathlib import Path

import h5py

from variform.data import store
from variform.data.dataset import Dataset
from variform.data.lazy import LazyFile
from variform.data.readers import neuraloperator, pdebench, snapshots, well
from variform.errors import InputError, unknown

HDF5 = (".h5", ".hdf5", ".hdf")
LAYOUTS = "ours, The Well, PDEBench (.h5, .hdf5), neuraloperator (.pt), or snapshots (.npz, .csv, .vtu, .pvd, a folder)"


def open(path: Path | str, *, on: str = "grid") -> Dataset:
    """A data set of any known layout.

    Args:
        on: "grid", or "mesh": of a file of ours whose samples have meshes of their own, the values at their points.

    Raises:
        InputError: no such file, a damaged one, or no layout that is known.
    """
    path = Path(path)
    if on not in ("grid", "mesh"):
        raise unknown("place of values", on, ("grid", "mesh"))
    if on == "mesh":
        return _on_meshes(path)
    if not path.exists():
        raise InputError(f"no data file {path}")
    if path.is_dir():
        return well.read_folder(path) if well.is_folder(path) else snapshots.read_folder(path)
    if path.suffix == ".pt":
        return neuraloperator.read(path)
    if path.suffix in snapshots.SUFFIXES:
        return snapshots.read(path)
    if path.suffix not in HDF5 and not h5py.is_hdf5(path):
        raise InputError(f"{path} has no layout that is known: {LAYOUTS}")
    file = LazyFile(path)
    if "variform" in file.open():
        return store.read(path)
    for layout in (well, pdebench):
        if layout.applies(file):
            return layout.read(file)
    groups = ", ".join(list(file.open())[:8])
    raise InputError(f"{path} has no layout that is known (it holds {groups or 'nothing'}); known are {LAYOUTS}")


def _on_meshes(path: Path) -> Dataset:
    if not path.is_file():
        raise InputError(f"no data file {path}")
    if not h5py.is_hdf5(path) or "variform" not in LazyFile(path).open():
        raise InputError(f"{path} has no samples on meshes of their own, as files of ours may have")
    return store.read(path, on="mesh")
