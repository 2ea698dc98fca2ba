"""Suites on data sets: every training once, on the samples that the classical solvers are measured on."""

import json

import numpy as np
import pytest

from variform import data, operators
from variform.benchmarks import code, learned, runner
from variform.benchmarks.compare import compare
from variform.benchmarks.suite import Suite
from variform.cli.bench import _check_set
from variform.errors import ComputationError, InputError
from variform.operators.measure import predictions

SET = {
    "name": "tiny",
    "title": "Tiny",
    "data": {"name": "darcy_lognormal", "train": 12, "valid": 2, "test": 4, "resolution": 9, "mesh": 32},
    "seeds": [0, 1],
    "sizes": [4],
    "shifted": [{"name": "wild", "variant": "variance", "count": 3}, {"name": "fine", "resolution": 17, "count": 3}],
    "common": {"epochs": 2, "batch": 4},
    "row": [
        {"method": "fem-batched", "label": "FEM 4", "settings": {"mesh": 4}},
        {"method": "fem-batched", "label": "FEM 16", "settings": {"mesh": 16}},
        {"method": "fno", "label": "FNO", "settings": {"modes": 3, "width": 6, "depth": 1}},
    ],
}


def run(folder, entry=SET, **more):
    suite = Suite.model_validate({"title": "A suite", "set": [entry]})
    given = {"quick": False, "progress": lambda *what: None, **more}
    report, results = runner.run("tiny", suite, folder, {}, **given)
    return report, results["tasks"][0]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return folder, *run(folder)


def test_all_rows_are_measured_on_the_same_samples(done):
    folder, _report, task = done
    coarse, fine, fno = task["rows"]
    assert [row["status"] for row in task["rows"]] == ["done"] * 3
    assert coarse["metrics"]["relative_l2"] > 4 * fine["metrics"]["relative_l2"] > 0
    assert fine["tests"]["test"]["attempted"] == 4 and fno["tests"]["test"]["attempted"] == 8  # two seeds
    assert fno["tests"].keys() == {"test", "wild", "fine"} and fno["tests"]["wild"]["attempted"] == 6
    assert [size for size, _ in fno["sizes"]] == [4, 12]
    assert fno["cost"]["training_s"] > 0 and fno["cost"]["data_s"] > 0 and fno["cost"]["parameters"] > 100
    assert 0 < task["reference"]["estimated_error"] < fine["metrics"]["relative_l2"]
    assert (folder / fno["figure"]).exists() and (folder / fno["worst"]).exists()
    assert task["formulas"]["relative_l2"].startswith("sqrt(") and fno["scores"]["relative_l2"]["attempted"] == 8
    assert fno["scores"]["relative_l2"]["median"] == pytest.approx(fno["metrics"]["relative_l2"], rel=1e-5)
    errors = json.loads((folder / "tiny" / "fno-seed0" / "result.json").read_text())["errors"]["test"]
    operator = operators.load(folder / "tiny" / "fno-seed0")
    (path,) = (folder / "tiny").glob("data-*.h5")
    p, y = predictions(operator, data.read(path).part("test"))
    for other in ("wild", "fine"):  # no instance of another test set was learned from
        (shifted,) = (folder / "tiny").glob(f"{other}-*.h5")
        assert data.read(shifted).info["plan"]["first"] == len(data.read(path))
    assert errors == pytest.approx([float((a - b).norm() / b.norm()) for a, b in zip(p, y, strict=True)], rel=1e-5)


def test_the_report_shows_quartiles_shifts_and_learning_curves(done):
    _, report, _ = done
    page = report.read_text()
    assert "wild" in page and "task-1-sizes" in page and "at equal error" in page


def test_what_is_done_is_not_done_again_and_what_changed_is(done, monkeypatch):
    folder, _, task = done
    trained, train = [], operators.train
    monkeypatch.setattr(operators, "train", lambda data, s, **more: trained.append(s) or train(data, s, **more))
    assert run(folder)[1]["rows"] == task["rows"] and not trained
    changed = {**SET, "common": {"epochs": 1, "batch": 4}, "seeds": [0], "sizes": []}
    run(folder, changed)
    assert [s.epochs for s in trained] == [1]


def test_a_training_that_fails_stays_in_the_report_and_is_tried_again(done, tmp_path, monkeypatch):
    def fails(error):
        def fail(*given, **more):
            raise error

        return fail

    found = []
    for error in (ComputationError("the loss is no number"), RuntimeError("CUDA out of memory\nmore of it")):
        with monkeypatch.context() as patch:
            patch.setattr(operators, "train", fails(error))
            found.append(run(tmp_path, SHORT)[1]["rows"][2])
    assert {row["status"] for row in found} == {"failed"}
    assert [row["reason"] for row in found] == ["the loss is no number", "RuntimeError: CUDA out of memory"]
    assert run(tmp_path, SHORT)[1]["rows"][2]["status"] == "done"


SHORT = {**SET, "seeds": [0], "sizes": [], "shifted": []}


def test_results_of_older_code_are_marked_and_trained_anew_on_demand(tmp_path, monkeypatch):
    run(tmp_path, SHORT)
    steps, step = [], operators.train.__globals__["Training"]._step
    monkeypatch.setattr(operators.train.__globals__["Training"], "_step", lambda s, *b: steps.append(1) or step(s, *b))
    for module in (learned, runner):
        monkeypatch.setattr(module, "code_digest", lambda: "another")
    monkeypatch.setattr(code, "code_digest", lambda: "another")
    _, kept = run(tmp_path, SHORT)
    assert [row["stale"] for row in kept["rows"]] == ["measured before the code was changed"] * 3 and not steps
    _, fresh = run(tmp_path, SHORT, refresh=True)
    assert [row["stale"] for row in fresh["rows"]] == [None] * 3
    assert len(steps) == 6  # two epochs of twelve samples, four at once


def test_another_data_set_in_the_same_folder_is_learned_from_anew(tmp_path):
    run(tmp_path, SHORT)
    _, task = run(tmp_path, {**SHORT, "data": {**SET["data"], "train": 8}})
    fno = task["rows"][2]
    assert fno["status"] == "done" and [size for size, _ in fno["sizes"]] == [8]


def test_the_command_of_a_training_says_what_is_not_the_default(tmp_path):
    _, task = run(tmp_path, {**SHORT, "common": {"epochs": 1, "batch": 20, "weight_decay": 0.0}})
    words = task["rows"][2]["command"].split(" --set ")
    assert {"epochs=1", "weight_decay=0.0", "width=6"} <= {*words} and not {"batch=20", "seed=0"} & {*words}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": [{"method": "fem-batched", "label": "F", "settings": {"mehs": 4}}]}, "unknown setting of fem-batched"),
        ({"row": [{"method": "fem-batched", "label": "F"}]}, "fem-batched needs mesh"),
        ({"row": [{"method": "femm", "label": "F"}]}, "unknown method 'femm'"),
        ({"row": [{"method": "fno", "label": "F", "settings": {"frames": 2}}]}, "frames is the same for all rows"),
        ({"row": [{"method": "fno", "label": "F", "settings": {"widht": 2}}]}, "'widht'. Did you mean 'width'"),
        ({"shifted": [{"name": "x", "variant": "wilder"}]}, "unknown variant 'wilder'"),
        ({"data": {**SET["data"], "name": "darcyy"}}, "unknown data set or problem 'darcyy'"),
    ],
)
def test_sets_that_cannot_run_are_refused_before_anything_is_written(change, message):
    (entry,) = Suite.model_validate({"title": "A suite", "set": [{**SET, **change}]}).set
    with pytest.raises(InputError, match=message):
        _check_set(entry)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "at least 1 item"),
        ({"row": [{"method": "fno", "label": "F", "start": "G"}]}, "must be the label of a row above"),
        ({"row": [{"method": "fno", "label": "F"}, {"method": "unet", "label": "f."}]}, "labels must differ"),
        ({"rows": []}, "Extra inputs"),
    ],
)
def test_sets_that_say_what_a_set_does_not_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Suite.model_validate({"title": "A suite", "set": [{**SET, **change}]})


def test_the_classical_row_of_equal_error_is_the_quickest_that_is_accurate_enough():
    def row(method, error, seconds, **cost):
        return {
            "method": method,
            "status": "done",
            "metrics": {"relative_l2": error},
            "cost": {"wall_s": seconds, **cost},
        }

    rows = [row("fem-batched", e, s) for e, s in ((0.1, 1.0), (0.03, 4.0), (0.01, 3.0))]
    rows += [row("fno", 0.05, 0.5, training_s=30.0, data_s=5.0), row("unet", 0.05, 5.0, training_s=1.0)]
    rows += [row("mamba", 0.001, 0.1, training_s=1.0)]
    *_, fno, unet, mamba = learned._compared(rows)
    assert fno["equal"] == {"classical_s": 3.0, "speedup": 6.0, "pays_after": 14.0}
    assert unet["equal"] == {"classical_s": 3.0, "speedup": 0.6, "pays_after": None}
    assert "equal" not in mamba


def test_two_reports_are_compared_row_by_row(done, tmp_path):
    folder, _, _task = done
    rows = compare(folder, folder)
    assert [row["label"] for row in rows] == ["FEM 4", "FEM 16", "FNO"]
    assert np.allclose([row["error_ratio"] for row in rows], 1.0)
    other = {**json.loads((folder / "results.json").read_text()), "suite": "another"}
    (tmp_path / "results.json").write_text(json.dumps(other))
    with pytest.raises(InputError, match=r"is of suite 'tiny', .* of 'another'"):
        compare(folder, tmp_path)
