"""Evolutions on the command line: killed and resumed, recorded, drawn, and refused in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py

import numpy as np
import pytest

COMMAND = ["solve", "heat", "--mesh", "24", "--set", "steps=800", "--set", "snapshots=4", "--probe", "0.5,0.25"]


def values(folder):
    with h5py.File(folder / "solution.h5") as file:
        return file["fields/T"][:]


@pytest.mark.parametrize("after", [1, 6])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_numbers(variform, tmp_path, after):
    """SIGKILL once some checkpoints have been written, then --resume."""
    whole = variform(*COMMAND, "--out", str(tmp_path / "whole"))
    assert whole.code == 0, whole.err
    folder = tmp_path / "killed"
    command = [str(Path(sys.executable).with_name("variform")), *COMMAND, "--out", str(folder)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    wanted, end = f"step-{50 * after:08d}.h5", time.monotonic() + 60
    while not any(p.name >= wanted for p in folder.glob("checkpoints/step-*.h5")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert json.loads((folder / "run.json").read_text())["status"] == "running"
    refused = variform(*COMMAND[:-2], "--set", "diffusivity=2", "--out", str(folder), "--resume")
    assert refused.code == 2 and "diffusivity was 1, is 2" in refused.err
    resumed = variform(*COMMAND, "--out", str(folder), "--resume")
    assert resumed.code == 0, resumed.err
    assert np.array_equal(values(folder), values(tmp_path / "whole"))
    assert (folder / "history.csv").read_text() == (tmp_path / "whole" / "history.csv").read_text()
    for name in ("solution.pvd", "snapshots/00002.vtu", "figures/T.gif", "figures/history.png"):
        assert (folder / name).stat().st_size > 0
    assert not (folder / "checkpoints").exists()
    assert json.loads((folder / "run.json").read_text())["status"] == "done"


def test_what_cannot_be_resumed_is_refused(variform, tmp_path):
    done = tmp_path / "done"
    assert variform("solve", "heat", "--mesh", "4", "--set", "steps=2", "--out", str(done)).code == 0
    cases = {
        ("solve", "heat", "--resume"): "needs --out",
        ("solve", "heat", "--out", str(tmp_path / "nothing"), "--resume"): "is no run folder",
        ("solve", "heat", "--out", str(done), "--resume"): "is done: there is nothing to resume",
        ("solve", "wave", "--out", str(done), "--resume"): "of another problem: 'heat', not 'wave'",
        ("solve", "poisson", "--out", str(done), "--resume"): "is for evolutions",
        ("solve", "poisson", "--probe", "0.5,0.5"): "--probe is for evolutions",
        ("solve", "heat", "--set", "scheme=rk4"): "is unstable for scheme 'rk4' on this mesh: at most",
    }
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in cases.items():
        result = variform(*arguments)
        assert result.code == 2 and message in result.err and result.err.count("\n") == 1, (arguments, result)
    assert sorted(tmp_path.rglob("*")) == before
