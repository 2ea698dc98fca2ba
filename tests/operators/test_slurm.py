"""Training as jobs of SLURM: two tasks, a signal, requeued, resumed, and the same result. Run by `make test-slurm`."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from variform import data, operators
from variform.data import Dataset

pytestmark = pytest.mark.skipif("SLURM_CONF" not in os.environ, reason="needs a SLURM: make test-slurm")

SETTINGS = ["epochs=300", "batch=6", "modes=4", "width=12", "depth=2", "checkpoint_s=0", "precision=64-true"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    line = np.linspace(0, 1, 17)
    x, y = np.meshgrid(line, line, indexing="ij")
    a = np.array([1 + 0.5 * np.sin(np.pi * (x + 0.1 * k * y)) for k in range(24)])
    path = tmp_path_factory.mktemp("data") / "d.h5"
    data.write(path, Dataset.of("Smooth", (line, line), {"a": a}, {"u": y / a}))
    return path


def variform(*words, **more):
    command = [sys.executable, "-m", "variform", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **more)


def train(path: Path, out: Path, *more):
    return variform(
        "train", "fno", path, *[w for s in SETTINGS for w in ("--set", s)], "--device", "cpu", "--out", out, *more
    )


def wait(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)


def status(out: Path) -> str:
    try:
        return json.loads((out / "run.json").read_text())["status"]
    except (OSError, ValueError):
        return ""


def epoch(out: Path) -> int:
    try:
        return json.loads((out / "checkpoints" / "last.json").read_text())["epoch"]
    except (OSError, ValueError):
        return 0


def state(number: str) -> str:
    found = subprocess.run(["squeue", "--noheader", "--format=%T", f"--jobs={number}"], capture_output=True, text=True)
    return found.stdout.strip()


def started_now(number: str) -> bool:
    """Whether a requeued job runs again; SLURM would let it wait for two minutes."""
    subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], capture_output=True)
    return state(number) == "RUNNING"


def log_of(out: Path) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted((out / "slurm").glob("*.err")))


def test_a_job_of_two_tasks_that_is_signalled_is_requeued_and_ends_as_one_that_is_not(stored, tmp_path):
    whole, job = tmp_path / "whole", tmp_path / "job"
    assert train(stored, whole).returncode == 0
    words = ["--submit", "--slurm", "tasks_per_node=2", "--slurm", "timeout_min=10"]
    done = train(stored, job, *words)
    assert done.returncode == 0, done.stderr
    number = next(word for word in done.stdout.split() if word.isdecimal())
    wait(lambda: epoch(job) >= 20)
    assert status(job) == "running"
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    wait(lambda: status(job) == "interrupted" or epoch(job) == 300)
    stopped = epoch(job)
    assert stopped < 300, "the job was done before the signal came"
    wait(lambda: state(number) == "PENDING")
    wait(lambda: started_now(number))
    wait(lambda: status(job) == "done" or state(number) == "FAILED")
    assert status(job) == "done", log_of(job)
    restarts = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True).stdout
    assert "Restarts=1" in restarts
    a, b = (operators.load(folder) for folder in (whole, job))
    for x, y in zip(a.learned.parameters(), b.learned.parameters(), strict=True):
        assert (x - y).abs().max() <= 1e-11 * x.abs().max()
    assert len(b.history) == 300 and stopped >= 20


def test_a_process_alone_in_a_job_of_two_tasks_says_how_to_launch(stored, tmp_path):
    script = tmp_path / "job.sh"
    out = tmp_path / "log"
    command = f"{sys.executable} -m variform train fno {stored} --set epochs=1 --out {tmp_path / 'R'}"
    script.write_text(f"#!/bin/bash\n{command} 2> {out}\necho $? >> {out}\n")
    subprocess.run(["sbatch", "--ntasks=2", "--wait", "--output=/dev/null", str(script)], check=True, timeout=200)
    said = out.read_text()
    assert "2 tasks, but this process trains alone: start it by `srun variform train" in said and said.endswith("2\n")
