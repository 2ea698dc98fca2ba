"""Files of others are read as they are; what is converted comes back; what is damaged is refused."""

import json
import os
import pickle
from pathlib import Path

import h5py

import numpy as np
import pytest
import torch

from variform.data import Dataset, FieldInfo, readers
from variform.data.check import check
from variform.data.convert import convert, statistics
from variform.data.dataset import Arrays
from variform.data.loader import Pairs, Windows, loader, usable
from variform.errors import InputError

REFERENCES = Path(__file__).parents[3] / "shared/data/references"
needs_references = pytest.mark.skipif(not REFERENCES.is_dir(), reason="no reference data beside the checkout")
RNG = np.random.default_rng(0)
X, Y, T = np.arange(8) / 8, np.linspace(0, 1, 6), np.linspace(0, 2, 5)


def darcy(count=4):
    u = RNG.random((count, 7, 6))
    return Dataset.of("Darcy", [np.linspace(0, 1, 7), Y], {"K": 1 + RNG.random((count, 7, 6))}, {"h": u})


def waves(count=4):
    return Dataset.of("Waves", [X], {}, {"u": RNG.random((count, 5, 8))}, times=T, periodic=(True,))


def reaction(count=3):
    fields = {name: RNG.random((count, 5, 8, 6)) for name in "ab"}
    return Dataset.of("Reaction", [X, Y], {}, fields, times=T)


def flow(count=3):
    infos = {"w": FieldInfo("output", (), True), "v": FieldInfo("output", (2,), True)}
    arrays = {"w": RNG.random((count, 5, 8, 6)), "v": RNG.random((count, 5, 8, 6, 2))}
    return Dataset("Flow", infos, (X, Y), Arrays(arrays), count, T, (True, False))


CASES = [
    (darcy, "pdebench", "d.hdf5", {"K": "nu", "h": "u"}),
    (waves, "pdebench", "1D_Waves.hdf5", {"u": "u"}),
    (reaction, "pdebench", "2D_r.h5", {"a": "u0", "b": "u1"}),
    (darcy, "neuraloperator", "d.pt", {"K": "x", "h": "y"}),
    (waves, "npz", "waves", {"u": "u"}),
    (flow, "npz", "flow", {"w": "w"}),
    (flow, "the-well", "flow_well", {"w": "w", "v": "v"}),
    (waves, "the-well", "w.hdf5", {"u": "u"}),
    (darcy, "variform", "d.h5", {"K": "K", "h": "h"}),
]


@pytest.mark.parametrize(("make", "layout", "name", "fields"), CASES)
def test_what_is_converted_is_read_again(make, layout, name, fields, tmp_path):
    if (make, layout) == (flow, "npz"):
        pytest.skip("vectors are told by their shape alone: refused by the reader")
    data = make()
    convert(data, tmp_path / name, layout)
    if layout == "the-well":  # as others read it: without our group
        for path in [*tmp_path.rglob("*.hdf5")]:
            with h5py.File(path, "r+") as file:
                del file["variform"]
    back = readers.open(tmp_path / name)
    assert len(back) == len(data) and back.grid == data.grid
    assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(back.coordinates, data.coordinates, strict=True))
    for ours, theirs in fields.items():
        assert np.array_equal(back.read(theirs).astype(np.float32), data.read(ours).astype(np.float32))
        assert np.array_equal(back.read(theirs, 1), back.read(theirs)[1])
        assert np.array_equal(back.read(theirs, [0, 2]), back.read(theirs)[[0, 2]])
    if data.times is not None:
        assert np.allclose(back.times, data.times, rtol=1e-6)
        assert np.array_equal(back.read(theirs, 1, slice(1, 3)), back.read(theirs)[1, 1:3])
    if (tmp_path / name).is_dir() or layout not in ("the-well",):  # a single file of ours keeps its seal
        assert "failed" not in {f.status for f in check(tmp_path / name) if f.test != "equation"}
    with pytest.raises(InputError, match="exists already"):
        convert(data, tmp_path / name, layout)


def test_the_well_has_splits_and_statistics(tmp_path):
    data = flow(6)
    splits = {"train": np.arange(4), "test": np.arange(4, 6)}
    from dataclasses import replace

    convert(replace(data, splits=splits), tmp_path / "w", "the-well")
    back = readers.open(tmp_path / "w")
    assert {k: v.tolist() for k, v in back.splits.items()} == {"train": [0, 1, 2, 3], "test": [4, 5]}
    stats = json.loads((tmp_path / "w/stats.yaml").read_text())
    w, v = data.read("w", slice(0, 4)), data.read("v", slice(0, 4))
    assert stats["mean"]["w"] == pytest.approx(w.mean()) and stats["std"]["w"] == pytest.approx(w.std())
    assert stats["rms_delta"]["v"] == pytest.approx(np.sqrt((np.diff(v, axis=1) ** 2).mean((0, 1, 2, 3))))
    assert statistics(data.only(range(4)))["mean"]["v"] == stats["mean"]["v"]


def test_families_of_pdebench_that_are_not_written_here(tmp_path):
    rng, grid = np.random.default_rng(1), (8, 6)
    with h5py.File(tmp_path / "2D_CFD.hdf5", "w") as file:
        for name in ("density", "pressure", "Vx", "Vy"):
            file[name] = rng.random((3, 5, *grid)).astype(np.float32)
        file["x-coordinate"], file["y-coordinate"], file["t-coordinate"] = X, Y, np.linspace(0, 1, 6)
        file.attrs.update(eta=0.1, zeta=0.1, M=0.1)
    data = readers.open(tmp_path / "2D_CFD.hdf5")
    assert list(data.fields) == ["density", "pressure", "Vx", "Vy"] and len(data.times) == 5
    assert "issue 63" in data.info["notes"][0]
    with h5py.File(tmp_path / "ns.h5", "w") as file:
        file["velocity"], file["force"] = rng.random((2, 4, 8, 8, 2)), rng.random((2, 8, 8, 2))
        file["particles"], file["t"] = rng.random((2, 4, 8, 8, 1)), np.tile(np.linspace(0, 1, 4), (2, 1))
    data = readers.open(tmp_path / "ns.h5")
    assert data[1].fields["velocity"].shape == (4, 8, 8, 2) and data[1].fields["force"].shape == (8, 8, 2)


def test_an_exact_wave_passes_for_advection_and_for_no_other_speed(tmp_path):
    x, t = np.arange(128) / 128, np.linspace(0, 1, 101)
    u = np.sin(2 * np.pi * (x - 0.4 * t[:, None]))[None]
    for beta, status in ((0.4, "passed"), (0.8, "not checkable")):
        path = tmp_path / f"1D_Advection_{beta}.hdf5"
        with h5py.File(path, "w") as file:
            file["tensor"], file["x-coordinate"], file["t-coordinate"] = u.astype(np.float32), x, t
            file.attrs["beta"] = beta
        found = {f.test: f for f in check(path)}["equation"]
        assert found.status == status and "u_t + beta u_x" in found.detail


@needs_references
def test_the_darcy_data_of_neuraloperator_are_reported_as_they_are():
    data = readers.open(REFERENCES / "darcy_train_16.pt")
    assert (len(data), data.grid, set(np.unique(data.read("x")))) == (1000, (16, 16), {0.0, 1.0})
    found = {f.test: f for f in check(REFERENCES / "darcy_train_16.pt")}
    assert found["finite"].status == "passed"
    assert found["equation"].status == "failed" and "maximum principle" in found["equation"].detail
    negative = np.flatnonzero(data.read("y").reshape(1000, -1).min(axis=1) < -0.1)
    assert set(negative) <= set(found["equation"].samples)


@needs_references
def test_the_reaction_of_deepxde_is_read_with_its_axes_in_order():
    data = readers.open(REFERENCES / "reaction.npz")
    assert (data.grid, len(data.times), data.times[-1]) == ((201,), 201, 10.0)
    found = {f.test: f for f in check(REFERENCES / "reaction.npz")}["equation"]
    assert found.value < 0.01  # with x and t exchanged it is of order 1


def test_damaged_and_odd_files_are_refused_by_name(tmp_path):
    convert(waves(), tmp_path / "w.hdf5", "pdebench")
    content = (tmp_path / "w.hdf5").read_bytes()
    (tmp_path / "cut.hdf5").write_bytes(content[:700])
    with h5py.File(tmp_path / "odd.hdf5", "w") as file:
        file["tensor"], file["x-coordinate"], file["t-coordinate"] = np.zeros((2, 5, 7)), X, T
    with h5py.File(tmp_path / "words.hdf5", "w") as file:
        file["tensor"], file["x-coordinate"], file["t-coordinate"] = np.zeros((2, 5, 8), int), X, T
    with h5py.File(tmp_path / "nothing.h5", "w") as file:
        file["temperature"] = np.zeros(3)
    with h5py.File(tmp_path / "well.h5", "w") as file:
        file.create_group("t0_fields")
    torch.save({"x": torch.zeros(2, 4, 4), "y": torch.zeros(3, 4, 4)}, tmp_path / "odd.pt")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"x": os.system}))
    (tmp_path / "short.csv").write_text("x,t,u\n0,0,1\n1,0,2\n0,1,3\n")
    np.savez(tmp_path / "shape.npz", x=X, t=T, u=np.zeros((5, 9)))
    (tmp_path / "a.txt").write_text("x")
    refused = {
        "cut.hdf5": "is damaged",
        "odd.hdf5": r"'tensor' has shape \(2, 5, 7\), expected",
        "words.hdf5": "no floating-point numbers",
        "nothing.h5": "no layout that is known .it holds temperature",
        "well.h5": "lacks the group 'dimensions'",
        "odd.pt": "of one shape",
        "evil.pt": "more than tensors",
        "short.csv": "every point of a grid once",
        "shape.npz": r"field 'u' has shape \(5, 9\), which is not that of the grid",
        "a.txt": "no layout that is known",
        "absent.h5": "no data file",
    }
    for name, message in refused.items():
        with pytest.raises(InputError, match=message) as error:
            readers.open(tmp_path / name)
        assert name in str(error.value)


def test_samples_that_are_not_finite_are_counted_listed_and_left_out(tmp_path):
    data = waves(5)
    data.source.values["u"][3, 2, 1] = np.nan
    convert(data, tmp_path / "w.hdf5", "pdebench")
    found = {f.test: f for f in check(tmp_path / "w.hdf5")}["finite"]
    assert (found.status, found.samples) == ("failed", (3,))
    with pytest.warns(UserWarning, match="1 of 5 samples of w are left out: 3"):
        kept = usable(readers.open(tmp_path / "w.hdf5"))
    assert len(kept) == 4 and np.array_equal(kept.read("u", 3), data.read("u", 4).astype(np.float32))


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_workers_load_what_one_process_loads(start, tmp_path):
    convert(flow(6), tmp_path / "f.h5", "variform")
    data = readers.open(tmp_path / "f.h5")
    windows = Windows(data, frames=2, ahead=1)
    assert len(windows) == 6 * 3 and windows[4][0].shape == (2, 3, 8, 6)
    data.read("w", 0)  # the file is open here: a fork must not share it
    alone, shared = (list(loader(windows, 4, seed=3, workers=n, start=start)) for n in (0, 2))
    assert len(alone) == len(shared) == 5
    for a, b in zip(alone, shared, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    inputs, outputs = Pairs(data)[2]
    assert torch.equal(inputs[0], torch.as_tensor(data.read("w", 2)[0]))
    assert torch.equal(outputs[1:], torch.as_tensor(data.read("v", 2)[-1]).movedim(-1, 0))
