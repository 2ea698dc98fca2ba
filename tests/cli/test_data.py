"""Data sets on the command line, as users make and check them."""

import json

import h5py

import pytest

SMALL = ("--resolution", "17", "--batch", "4")


@pytest.fixture
def made(variform, tmp_path):
    path = tmp_path / "d.h5"
    result = variform("data", "generate", "darcy", "-n", "8", *SMALL, "--seed", "1", "--out", str(path), "--json")
    assert result.code == 0, result.err
    return path, json.loads(result.out)


def test_a_set_is_made_checked_described_and_drawn(variform, made):
    path, said = made
    assert (said["samples"], said["failed"], said["solved_now"]) == (8, [], 8)
    again = variform("data", "generate", "darcy", "-n", "8", *SMALL, "--seed", "1", "--out", str(path))
    assert again.code == 0 and "complete already" in again.out and said["digest"][:20] in again.out
    assert variform("data", "check", str(path)).code == 0
    shown = variform("data", "info", str(path), "--json")
    info = json.loads(shown.out)
    assert info["grid"] == [17, 17] and info["fields"] == {"permeability": "input", "h": "output"}
    assert max(info["info"]["refinement"]["relative_l2"]["h"]) < 0.1
    assert "Two-phase Darcy" in variform("data", "info", str(path)).out
    assert "Two-phase Darcy" in variform("show", str(path)).out
    assert variform("data", "show", str(path), "-n", "2").code == 0
    assert path.with_suffix(".png").stat().st_size > 10_000
    assert "darcy_lognormal" in variform("data", "sets").out


def test_a_changed_file_ends_in_exit_code_one_with_the_sample(variform, made):
    path, _ = made
    with h5py.File(path, "r+") as file:
        file["t0_fields/h"][5] *= 1.001
    result = variform("data", "check", str(path), "--json")
    found = {f["test"]: f for f in json.loads(result.out)["findings"]}
    assert result.code == 1
    assert found["checksum"]["status"] == found["digests"]["status"] == "failed" and found["digests"]["samples"] == [5]
    assert "sample 5" in variform("data", "check", str(path)).out


def test_a_set_goes_to_other_layouts_and_back(variform, made, tmp_path):
    path, _ = made
    for name, layout in (("d.hdf5", "pdebench"), ("d.pt", "neuraloperator"), ("well", "the-well"), ("npz", "npz")):
        result = variform("data", "convert", str(path), str(tmp_path / name), "--to", layout)
        assert result.code == 0, result.err
        info = json.loads(variform("data", "info", str(tmp_path / name), "--json").out)
        assert info["samples"] == 8 and info["grid"] == [17, 17]
    found = json.loads(variform("data", "check", str(tmp_path / "d.hdf5"), "--json").out)["findings"]
    assert "-div(nu grad u) = beta" in next(f for f in found if f["test"] == "equation")["detail"]


BAD = [
    (("generate", "darcyy", "--out", "d.h5"), "unknown data set or problem 'darcyy'. Did you mean 'darcy'?"),
    (("generate", "darcy", "--out", "d.txt"), "--out must be a file .h5 or .hdf5, got d.txt"),
    (("generate", "darcy", "-n", "0", "--out", "d.h5"), "count must be 1 or more, got 0"),
    (("generate", "darcy", "--out", "d.h5", "--set", "pump=1"), "unknown parameter or option 'pump'"),
    (("generate", "darcy", "--out", "d.h5", "--splits", "train"), "--splits must be name=number"),
    (("generate", "darcy", "--out", "d.h5", "--workers", "0"), "--workers must be 1 or more"),
    (("generate", "darcy", "--out", "d.h5", "--seed", "-1"), "--seed must be at least 0"),
    (("generate", "darcy", "--out", "d.h5", "--resume"), "--resume: nothing was begun"),
    (("generate", "darcy", "--out", "d.h5", "--device", "abacus"), "device 'abacus' is not available"),
    (("check", "absent.h5"), "no data file absent.h5"),
    (("info", "absent.h5"), "no data file absent.h5"),
    (("convert", "absent.h5", "out", "--to", "the-well"), "no data file absent.h5"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_leaves_nothing(variform, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = variform("data", *arguments)
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1, result.err
    assert not list(tmp_path.iterdir())
