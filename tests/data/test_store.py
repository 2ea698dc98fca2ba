"""Data files survive a round trip, have The Well's layout, and are refused when they are damaged."""

import json
from dataclasses import replace

import h5py

import numpy as np
import pytest

from variform.data import Dataset, read, write
from variform.errors import InputError

SHAPES = {1: (3, 9), 2: (3, 5, 7), 3: (2, 3, 4, 5)}


def dataset(dim=2, seed=0):
    rng, shape = np.random.default_rng(seed), SHAPES[dim]
    return Dataset(
        name="Darcy",
        coordinates=tuple(np.linspace(0, 1 + i, n) for i, n in enumerate(shape[1:])),
        inputs={"heterogeneity": rng.random(shape), "recharge": rng.random(shape)},
        outputs={"h": rng.standard_normal(shape)},
        info={"seed": seed, "indices": [0, shape[0]], "discretization": {"cells": 128, "rtol": 1e-10}},
    )


@pytest.mark.parametrize("dim", SHAPES)
def test_a_written_data_set_is_read_in_single_precision(dim, tmp_path):
    data, path = dataset(dim), tmp_path / "data.h5"
    write(path, data)
    back = read(path)
    assert (back.name, back.info, len(back)) == (data.name, data.info, SHAPES[dim][0])
    for ours, theirs in ((data.inputs, back.inputs), (data.outputs, back.outputs)):
        assert list(ours) == list(theirs)
        for name in ours:
            assert theirs[name].dtype == np.float32
            assert np.array_equal(theirs[name], ours[name].astype(np.float32))
    assert all(np.allclose(a, b, rtol=1e-7) for a, b in zip(data.coordinates, back.coordinates, strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["data.h5"]  # no temporary file is left


def test_the_layout_is_that_of_the_well(tmp_path):
    """data_format.md of the_well; the facts were tried against its loader and its checker."""
    path, data = tmp_path / "data.h5", dataset()
    write(path, data)
    with h5py.File(path) as file:
        groups = {"dimensions", "boundary_conditions", "scalars", "t0_fields", "t1_fields", "t2_fields"}
        assert groups < set(file) and set(file) - groups == {"variform"}
        attributes = dict(file.attrs)
        assert attributes["dataset_name"] == "Darcy" and attributes["grid_type"] == "cartesian"
        assert (attributes["n_spatial_dims"], attributes["n_trajectories"]) == (2, 3)
        assert len(attributes["simulation_parameters"]) == 0

        dimensions = file["dimensions"]
        assert list(dimensions.attrs["spatial_dims"]) == ["x", "y"] and set(dimensions) == {"time", "x", "y"}
        for name in dimensions:
            assert dimensions[name].dtype == np.float32 and dimensions[name].ndim == 1
            assert_booleans(dimensions[name], sample_varying=False, time_varying=name == "time")
        assert [len(dimensions[axis]) for axis in "xy"] == [5, 7]

        fields = file["t0_fields"]
        assert list(fields.attrs["field_names"]) == ["heterogeneity", "recharge", "h"] and set(fields) == set(
            fields.attrs["field_names"]
        )
        for name in fields:
            assert fields[name].shape == (3, 5, 7) and fields[name].dtype == np.float32
            assert fields[name].chunks == (1, 5, 7)  # one read of training touches one chunk
            assert_booleans(fields[name], sample_varying=True, time_varying=False)
            varying = fields[name].attrs["dim_varying"]
            assert varying.dtype == bool and varying.tolist() == [True, True]
        for empty in ("t1_fields", "t2_fields", "scalars"):
            assert len(file[empty].attrs["field_names"]) == 0 and len(file[empty]) == 0
        assert json.loads(file["variform"].attrs["info"]) == data.info


def assert_booleans(stored, **expected):
    for name, value in expected.items():
        attribute = stored.attrs[name]
        assert isinstance(attribute, (bool, np.bool_)) and attribute == value


def test_a_file_cut_short_or_with_one_changed_bit_is_refused(tmp_path):
    path = tmp_path / "data.h5"
    write(path, dataset())
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"data\.h5 is damaged"):
            read(path)
    for length in (0, 100, 512, 600, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"data\.h5 is damaged"):
            read(path)
    path.write_bytes(content)
    read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_values_that_are_not_finite_are_refused_by_the_name_of_their_field(value, kind, tmp_path):
    data = dataset()
    name = next(iter(getattr(data, kind)))
    getattr(data, kind)[name][1, 2, 3] = value
    write(tmp_path / "data.h5", data)
    with pytest.raises(InputError, match=f"field '{name}' has values that are not finite"):
        read(tmp_path / "data.h5")


def test_what_is_no_data_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no data file .*absent\.h5"):
        read(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="not a variform data file"):
        read(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["tensor"] = np.zeros((2, 3))
    with pytest.raises(InputError, match="not a variform data file"):
        read(tmp_path / "foreign.h5")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "data.h5"
    write(path, dataset())
    before = path.read_bytes()
    broken = replace(dataset(), info={"seed": object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write(path, broken)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
