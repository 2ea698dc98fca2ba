"""Trainings as processes: killed, signalled, and started by torchrun; what is finished is what it would have been."""

import json
import signal
import sys
import time

import numpy as np
import pytest
import torch

from variform import data
from variform.data import Dataset

SETTINGS = {"epochs": 60, "batch": 4, "modes": 3, "width": 6, "depth": 2, "checkpoint_s": 0, "ema": 0.9}
WORDS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    line = np.linspace(0, 1, 13)
    x, y = np.meshgrid(line, line, indexing="ij")
    a = np.array([1 + 0.5 * np.sin(np.pi * (x + 0.1 * k * y)) for k in range(16)])
    splits = {"train": np.arange(12), "test": np.arange(12, 16)}
    path = tmp_path_factory.mktemp("data") / "d.h5"
    data.write(path, Dataset.of("Smooth", (line, line), {"a": a}, {"u": y / a}, splits=splits))
    return str(path)


@pytest.fixture(scope="module")
def whole(stored, tmp_path_factory):
    """What a training gives that nobody disturbs."""
    out = tmp_path_factory.mktemp("whole") / "R"
    from variform import operators

    operator = operators.train(data.read(stored), "fno", device="cpu", **SETTINGS)
    operator.save(out)
    return torch.load(out / "operator.pt", weights_only=True)


def train(stored, out, *more):
    return ("train", "fno", stored, *WORDS, "--device", "cpu", "--out", str(out), *more)


def epoch(out):
    try:
        return json.loads((out / "checkpoints" / "last.json").read_text())["epoch"]
    except (OSError, ValueError):
        return 0


def status(out):
    return json.loads((out / "run.json").read_text())["status"]


@pytest.mark.parametrize(("number", "code", "left"), [("KILL", -9, "running"), ("TERM", 143, "interrupted")])
def test_a_training_that_is_ended_by_a_signal_goes_on_bit_by_bit(stored, whole, process, tmp_path, number, code, left):
    out = tmp_path / "R"
    begun = process(*train(stored, out))
    while epoch(out) < 5:
        assert begun.poll() is None, begun.communicate()
        time.sleep(0.002)
    begun.send_signal(getattr(signal, f"SIG{number}"))
    said = begun.communicate()[1]
    assert begun.returncode == code and status(out) == left and "Traceback" not in said
    assert 5 <= epoch(out) < SETTINGS["epochs"]
    resumed = process(*train(stored, out, "--resume"))
    said = resumed.communicate(timeout=120)[1]
    assert resumed.returncode == 0, said
    found = torch.load(out / "operator.pt", weights_only=True)
    assert status(out) == "done" and found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_torchrun_trains_in_two_processes_and_one_of_them_writes(stored, process, tmp_path):
    out = tmp_path / "R"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    run = process(*train(stored, out, "--set", "epochs=3"), launcher=launcher)
    printed, said = run.communicate(timeout=200)
    assert run.returncode == 0, said[-2000:]
    assert status(out) == "done" and printed.count("weights") == 1
    record = json.loads((out / "run.json").read_text())
    assert record["environment"]["ranks"] == 2 and record["metrics"]["test"]["relative_l2"]["n"] == 4
