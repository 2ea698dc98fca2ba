"""Data files survive a round trip, have The Well's layout, and are refused when they are damaged."""

from dataclasses import replace

import h5py

import numpy as np
import pytest

from variform.data import Dataset, FieldInfo, read, write
from variform.data.dataset import Arrays
from variform.data.store import check_seal
from variform.errors import InputError

SHAPES = {1: (3, 9), 2: (3, 5, 7), 3: (2, 3, 4, 5)}


def dataset(dim=2, seed=0):
    rng, shape = np.random.default_rng(seed), SHAPES[dim]
    return Dataset.of(
        "Darcy",
        [np.linspace(0, 1 + i, n) for i, n in enumerate(shape[1:])],
        {"heterogeneity": rng.random(shape), "recharge": rng.random(shape)},
        {"h": rng.standard_normal(shape)},
        parameters={"pumping": rng.random(shape[0])},
        splits={"train": np.array([0]), "test": np.arange(1, shape[0])},
        info={"varying": ["pumping"], "discretization": {"cells": 128, "rtol": 1e-10}},
    )


def evolution(dim=2):
    """A vector and a scalar in time, with an input that all samples share."""
    rng, grid = np.random.default_rng(1), (6, 8, 4)[:dim]
    fields = {
        "source": FieldInfo("input", sample_varying=False, unit="1/s"),
        "w": FieldInfo("output", time_varying=True, unit="1/s"),
        "v": FieldInfo("output", (dim,), True),
    }
    shared = np.broadcast_to(rng.random(grid), (3, *grid))
    arrays = {"source": shared, "w": rng.random((3, 5, *grid)), "v": rng.random((3, 5, *grid, dim))}
    return Dataset(
        "Flow",
        fields,
        tuple(np.arange(n) / n for n in grid),
        Arrays(arrays),
        3,
        np.linspace(0, 1, 5),
        (True,) * dim,
    )


@pytest.mark.parametrize("data", [*map(dataset, SHAPES), evolution(1), evolution(2), evolution(3)])
def test_a_written_data_set_is_read_in_single_precision(data, tmp_path):
    path = tmp_path / "data.h5"
    write(path, data, rows=2)
    back = read(path)
    assert (back.name, len(back), back.fields) == (data.name, len(data), data.fields)
    assert back.info["discretization"] if "discretization" in data.info else True
    for name in data.fields:
        assert back.read(name).dtype == np.float32
        assert np.array_equal(back.read(name), data.read(name).astype(np.float32))
        assert np.array_equal(
            back.read(name, [0, 2] if len(data) > 2 else [0]), back.read(name)[[0, 2][: len(data) - 1]]
        )
    if data.times is not None:
        assert np.array_equal(back.read("w", 1, slice(1, 4, 2)), data.read("w", 1)[1:4:2].astype(np.float32))
        assert np.array_equal(back.times, data.times)
    assert all(np.array_equal(a, b) for a, b in zip(data.coordinates, back.coordinates, strict=True))
    assert back.splits.keys() == data.splits.keys()
    for name, part in data.splits.items():
        assert np.array_equal(back.part(name).read("h"), back.read("h")[part])
    for name, column in data.parameters.items():
        assert np.array_equal(back.parameters[name], column)
    assert [p.name for p in tmp_path.iterdir()] == ["data.h5"]  # no temporary file is left
    assert check_seal(path) is None


def test_the_layout_is_that_of_the_well(tmp_path):
    """data_format.md of the_well; the facts were tried against its loader and its checker."""
    path = tmp_path / "data.h5"
    write(path, evolution(2))
    with h5py.File(path) as file:
        groups = {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
        assert groups < set(file) and set(file) - groups == {"variform"}
        attributes = dict(file.attrs)
        assert attributes["dataset_name"] == "Flow" and attributes["grid_type"] == "cartesian"
        assert (attributes["n_spatial_dims"], attributes["n_trajectories"]) == (2, 3)
        dimensions = file["dimensions"]
        assert list(dimensions.attrs["spatial_dims"]) == ["x", "y"] and set(dimensions) == {"time", "x", "y"}
        for name in dimensions:
            assert dimensions[name].dtype == np.float32 and dimensions[name].ndim == 1
            assert_booleans(dimensions[name], sample_varying=False, time_varying=name == "time")
        assert list(file["t0_fields"].attrs["field_names"]) == ["source", "w"]
        assert (
            list(file["t1_fields"].attrs["field_names"]) == ["v"] and len(file["t2_fields"].attrs["field_names"]) == 0
        )
        assert file["t0_fields/source"].shape == (6, 8) and file["t1_fields/v"].shape == (3, 5, 6, 8, 2)
        for name, varies in (("t0_fields/source", False), ("t0_fields/w", True), ("t1_fields/v", True)):
            assert_booleans(file[name], sample_varying=varies, time_varying=varies)
            varying = file[name].attrs["dim_varying"]
            assert varying.dtype == bool and varying.tolist() == [True, True]
        assert file["t0_fields/w"].chunks[0] == 1  # one read of training touches one sample
        assert {b.attrs["bc_type"] for b in file["boundary_conditions"].values()} == {"PERIODIC"}
        assert file["boundary_conditions/x_periodic/mask"].dtype == bool


def assert_booleans(stored, **expected):
    for name, value in expected.items():
        attribute = stored.attrs[name]
        assert isinstance(attribute, bool | np.bool_) and attribute == value


def test_one_dimensional_trajectories_have_pdebench_names_for_the_same_arrays(tmp_path):
    data = Dataset.of(
        "Burgers", [np.arange(8) / 8], {}, {"u": np.random.default_rng(0).random((3, 5, 8))}, times=np.linspace(0, 1, 5)
    )
    write(tmp_path / "d.hdf5", data)
    with h5py.File(tmp_path / "d.hdf5") as file:
        assert file["tensor"] == file["t0_fields/u"] and file["tensor"].shape == (3, 5, 8)
        assert file["x-coordinate"] == file["dimensions/x"] and file["t-coordinate"] == file["dimensions/time"]


def test_a_file_cut_short_or_with_one_changed_bit_does_not_pass_for_another(tmp_path):
    path = tmp_path / "data.h5"
    write(path, dataset())
    content, rng, truth = path.read_bytes(), np.random.default_rng(0), read(path).read("h")
    for i in range(100):
        path = tmp_path / f"data{i}.h5"  # HDF5 keeps files open that it failed to read
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        assert check_seal(path) is not None
        try:  # HDF5's own checksums: values are right, or refused
            assert np.array_equal(read(path).read("h"), truth)
        except InputError as error:
            assert path.name in str(error)
    for length in (0, 100, 512, 600, len(content) // 2, len(content) - 1000):
        path = tmp_path / f"cut{length}.h5"
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=rf"cut{length}\.h5 is damaged"):
            read(path)
    path.write_bytes(content[:-1])
    assert check_seal(path) is not None
    path.write_bytes(content)
    assert np.array_equal(read(path).read("h"), truth)


def test_what_is_no_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no data file .*absent\.h5"):
        read(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=r"text\.h5 is damaged or no HDF5 file"):
        read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["tensor"] = np.zeros((2, 3))
    with pytest.raises(InputError, match="not a variform data file"):
        read(tmp_path / "foreign.h5")
    write(tmp_path / "d.h5", dataset())
    with pytest.raises(InputError, match=r"unknown field of data set Darcy 'hh'.*h"):
        read(tmp_path / "d.h5").read("hh")
    with pytest.raises(InputError, match="has samples 0 to 2, there is no sample 3"):
        read(tmp_path / "d.h5").read("h", 3)
    with pytest.raises(InputError, match=r"unknown split .*'valid'.*test, train"):
        read(tmp_path / "d.h5").part("valid")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "data.h5"
    write(path, dataset())
    before = path.read_bytes()

    class Broken(Arrays):
        def read(self, name, samples, times):
            raise OSError(5, "input/output error")

    with pytest.raises(OSError, match="input/output error"):
        write(path, replace(dataset(), source=Broken({})))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
