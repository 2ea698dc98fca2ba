"""results.csv: a line for every task, row and test set, with what results.json says."""

import csv

import pytest

from variform.benchmarks.table import write_csv
from variform.errors import InputError

SPREAD = {"median": 8e-3, "q1": 5e-3, "q3": 1e-2, "mean": 9e-3, "n": 597, "attempted": 600}
NETWORK = {
    "method": "fno",
    "label": "FNO, 12 modes",
    "status": "done",
    "seed": 1,
    "seeds": 3,
    "stale": "another learning rate",
    "command": 'variform train fno data.h5 --set "x=1"',
    "metrics": {"relative_l2": 8e-3},
    "cost": {"wall_s": 0.001, "training_s": 100.0, "data_s": 20.0, "parameters": 1234},
    "tests": {"test": SPREAD, "finer": SPREAD | {"median": 9e-3}},
    "scores": {"vrmse": SPREAD | {"median": 0.02}, "pearson": SPREAD | {"median": float("nan")}},
    "equal": {"classical_s": 0.01, "speedup": 10.0, "pays_after": None},
}
SOLVE = {"method": "fem", "label": "FEM", "status": "done", "cost": {"wall_s": 0.1, "dofs": 81}}
SOLVE |= {"metrics": {"relative_l2": 1e-3, "relative_h1": 4e-2}}
FAILED = {"method": "upt", "label": "UPT", "status": "failed", "reason": "out of memory"}
SETS = {
    "test": {"count": 200, "points": 85, "kind": "same"},
    "finer": {"count": 50, "points": 169, "kind": "resolution"},
}
RESULTS = {
    "suite": "demo",
    "title": "Demo",
    "tasks": [{"name": "darcy", "title": "Darcy", "sets": SETS, "rows": [NETWORK, SOLVE, FAILED]}],
}


@pytest.fixture
def lines(tmp_path):
    with open(write_csv(RESULTS, tmp_path), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_for_every_row_and_test_set(lines):
    assert [(line["label"], line["set"]) for line in lines] == [
        ("FNO, 12 modes", "test"),
        ("FNO, 12 modes", "finer"),
        ("FEM", ""),
        ("UPT", ""),
    ]


def test_a_line_says_all_that_is_known(lines):
    expected = {"task": "darcy", "method": "fno", "seed": "1", "seeds": "3", "stale": "another learning rate"}
    expected |= {"kind": "same", "points": "85", "count": "200", "n": "597", "attempted": "600", "median": "0.008"}
    expected |= {"q1": "0.005", "q3": "0.01", "mean": "0.009", "wall_s": "0.001", "training_s": "100.0"}
    expected |= {"data_s": "20.0", "unknowns": "1234", "speedup": "10.0", "command": NETWORK["command"]}
    assert expected.items() <= lines[0].items()
    assert lines[1]["median"] == "0.009" and lines[1]["points"] == "169" and lines[1]["kind"] == "resolution"


def test_scores_are_of_the_test_set_and_empty_where_there_is_no_number(lines):
    assert [line["vrmse"] for line in lines] == ["0.02", "", "", ""]
    assert lines[0]["vrmse_q3"] == "0.01" and lines[0]["pearson"] == ""
    assert lines[2]["relative_h1"] == "0.04" and lines[2]["median"] == "0.001" and lines[2]["unknowns"] == "81"


def test_a_failure_keeps_its_line_and_reason(lines):
    assert lines[3]["status"] == "failed" and lines[3]["reason"] == "out of memory" and lines[3]["median"] == ""


def test_results_without_rows_make_a_table_of_heads(tmp_path):
    text = write_csv({"suite": "s", "title": "t", "tasks": []}, tmp_path).read_text()
    assert text.startswith("task,method,label,status,") and text.count("\n") == 1


def test_bad_results_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"results\.tasks: Field required"):
        write_csv({"suite": "s", "title": "t"}, tmp_path)
    assert not any(tmp_path.iterdir())
