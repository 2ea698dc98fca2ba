"""solve --sweep and --samples: the run folder, failures, kills and resuming, bad input."""

import csv
import json
import os
import signal
import time

import pytest
from PIL import Image

SLOW = """
import time
from variform.problems.darcy import DarcyConstant

class Slow(DarcyConstant):
    "Uniform flow that takes a while."
    def measure(self, solution):
        time.sleep(0.15)
        return super().measure(solution)
"""


def table(folder):
    """The rows of samples.csv but for what they took."""
    with open(folder / "samples.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]


def record(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_sweep_leaves_table_record_and_picture(variform, tmp_path):
    out = tmp_path / "run"
    result = variform(
        "solve", "darcy_constant", "--mesh", "4", "--sweep", "conductivity=0.1:10:5:log", "--out", str(out)
    )
    assert (result.code, result.err) == (0, "")
    rows = table(out)
    assert [float(row["inflow"]) for row in rows] == pytest.approx([0.1, 10**-0.5, 1.0, 10**0.5, 10.0], rel=1e-9)
    assert all(row["inflow"] and row["status"] == "done" and row["error"] == "" for row in rows)
    told = record(out)
    assert told["status"] == "done" and told["quantities"]["inflow"]["maximum_at"] == {"conductivity": 10.0}
    with Image.open(out / "figures/sweep.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 10
    shown = variform("show", str(out))
    assert shown.code == 0 and "conductivity: 5 values" in shown.out


def test_orders_of_convergence_from_a_grid_of_options(variform, tmp_path):
    out = tmp_path / "run"
    words = ["--sweep", "mesh=8:32:3:log", "--sweep", "degree=1,2", "--workers", "2", "--out", str(out)]
    result = variform("solve", "poisson_manufactured", *words)
    assert result.code == 0, result.err
    errors = {(row["mesh"], row["degree"]): float(row["relative_l2"]) for row in table(out)}
    for degree in ("1", "2"):
        assert errors["16", degree] / errors["32", degree] == pytest.approx(2 ** (int(degree) + 1), rel=0.1)
    assert (out / "figures/relative_l2.png").is_file()


def test_random_instances_give_statistics_and_more_of_them_go_on(variform, tmp_path):
    words = ["solve", "darcy_constant", "--mesh", "2", "--random", "conductivity=lognormal:0:0.5", "--seed", "3"]
    one, other = tmp_path / "one", tmp_path / "other"
    assert variform(*words, "--samples", "6", "--out", str(one)).code == 0
    before = table(one)
    assert variform(*words, "--samples", "10", "--out", str(one), "--resume").code == 0
    assert variform(*words, "--samples", "10", "--workers", "2", "--out", str(other), "--json").code == 0
    assert table(one)[:6] == before
    assert table(one) == table(other)
    inflow = record(other)["quantities"]["inflow"]
    assert inflow == record(one)["quantities"]["inflow"]
    assert set(inflow["percentiles"]) == {"5", "25", "50", "75", "95"} and inflow["used"] == inflow["attempted"] == 10
    assert (other / "figures/inflow.png").is_file()


def test_failed_instances_are_told_and_the_others_counted(variform, tmp_path):
    out = tmp_path / "run"
    words = ["--mesh", "2", "--random", "conductivity=normal:1:1", "--samples", "20", "--out", str(out)]
    result = variform("solve", "darcy_constant", *words)
    failed = [row for row in table(out) if row["status"] == "failed"]
    assert 0 < len(failed) < 10
    assert result.code == 1
    assert f"{len(failed)} of 20 instances failed" in result.err and "conductivity must be above 0" in result.err
    told = record(out)
    assert told["status"] == "failed" and len(told["failures"]) == len(failed)
    assert told["quantities"]["inflow"]["used"] == 20 - len(failed)
    assert all(float(row["conductivity"]) <= 0 for row in failed)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(variform, process, tmp_path, sent):
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    words = ["solve", str(path), "--mesh", "2", "--random", "conductivity=uniform:1:2", "--samples", "40"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    running = process(*words, "--workers", "2", "--out", str(killed))
    rows = killed / "samples.jsonl"
    limit = time.monotonic() + 60
    while not rows.is_file() or rows.read_bytes().count(b"\n") < 3:
        assert running.poll() is None and time.monotonic() < limit
        time.sleep(0.02)
    running.send_signal(sent)
    running.communicate(timeout=20)  # until its workers have ended too
    finished = rows.read_bytes().count(b"\n")
    assert 3 <= finished < 40
    if sent == signal.SIGINT:
        assert running.returncode == 130 and record(killed)["status"] == "interrupted"
    os.truncate(rows, rows.stat().st_size - 9)  # as if the last line had not reached the disk
    assert variform(*words, "--out", str(killed), "--resume").code == 0
    assert rows.read_bytes().count(b"\n") == 40
    assert variform(*words, "--workers", "2", "--out", str(whole)).code == 0
    assert table(killed) == table(whole)


BAD = {
    "conductivity=1:2": "must be key=a:b:n",
    "conductivity": "must be key=a:b:n",
    "conductivity=a:2:3": "a, b must be numbers",
    "conductivity=1:2:0": "n must be between 1 and",
    "conductivity=1:2:2.5": "n a whole number",
    "conductivity=-1:1:3:log": "cannot hold zero",
    "conductivity=0:1:3:log": "cannot hold zero",
    "conductivity=1:2:3:lin": "only be log",
    "conductivity=1:inf:3": "must be finite",
    "conductivity=-1:1:3": "conductivity must be above 0",
    "conductivity=1,1": "holds a value twice",
    "conductivty=1:2:3": "Did you mean 'conductivity'",
    "conductivity.clay=1:2:3": "one value for all regions",
    "mesh=1:2:9": "rounded to whole numbers",
    "degree=1.5": "degree must be a whole number",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_sweep_is_refused_before_anything_is_written(variform, tmp_path, text):
    out = tmp_path / "run"
    result = variform("solve", "darcy_constant", "--sweep", text, "--out", str(out))
    assert result.code == 2 and BAD[text] in result.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--samples", "0", "--random", "conductivity=uniform:1:2"], "--samples must be between 1 and"),
        (["--samples", "3"], "nothing in darcy_constant is random"),
        (["--samples", "3", "--random", "conductivity=uniform:2:1"], "a must be below b"),
        (["--samples", "3", "--random", "conductivity=uniform:-1:1"], "conductivity must be above 0"),
        (["--samples", "3", "--random", "conductivity=normal:1:0"], "must be above 0"),
        (["--samples", "3", "--random", "conductivity=gamma:1:2"], "must be key=uniform:a:b"),
        (["--samples", "3", "--random", "depth=normal:1:2"], "unknown parameter 'depth'"),
        (["--samples", "3", "--random", "conductivity=uniform:1:2", "--set", "conductivity=1"], "given twice"),
        (["--samples", "3", "--random", "conductivity=uniform:1:2", "--seed", "-1"], "--seed must be at least 0"),
        (["--random", "conductivity=uniform:1:2"], "--random is for many instances"),
        (["--workers", "2"], "--workers is for many instances"),
        (["--sweep", "conductivity=1,2", "--workers", "0"], "--workers must be 1 or more"),
        (["--sweep", "conductivity=1,2", "--samples", "3"], "exclude each other"),
        (["--sweep", "conductivity=1,2", "--seed", "3"], "--seed is for --samples"),
        (["--sweep", "mesh=4,8", "--mesh", "4"], "mesh is given twice"),
    ],
)
def test_bad_requests_are_refused(variform, tmp_path, words, told):
    out = tmp_path / "run"
    result = variform("solve", "darcy_constant", *words, "--out", str(out))
    assert result.code == 2 and told in result.err
    assert not out.exists()


def test_resuming_another_sweep_names_what_differs_and_changes_nothing(variform, tmp_path):
    out = tmp_path / "run"
    words = ["solve", "darcy_constant", "--mesh", "2"]
    assert variform(*words, "--sweep", "conductivity=1,2", "--out", str(out)).code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = variform(*words, "--sweep", "conductivity=1,2", "--out", str(out))
    assert again.code == 2 and "exists already" in again.err
    other = variform(*words, "--sweep", "conductivity=1,3", "--out", str(out), "--resume")
    assert other.code == 2 and "sweep is {'conductivity': [1, 2]} there, {'conductivity': [1, 3]} here" in other.err
    finer = variform(*words[:-1], "4", "--sweep", "conductivity=1,2", "--out", str(out), "--resume")
    assert finer.code == 2 and "mesh is '2' there, '4' here" in finer.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
