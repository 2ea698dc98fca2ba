"""The runner: rows against one reference, each task for itself, stored results only for what they were made of."""

import json
import shutil
from pathlib import Path

import pytest

from variform import problems
from variform.benchmarks import runner
from variform.benchmarks.suite import FOLDER, Suite, load
from variform.errors import ComputationError

FEM = {"method": "fem", "label": "FEM", "options": {"mesh": 3}}
TASK = {"name": "tiny", "problem": "poisson", "title": "Tiny", "reference": {"mesh": 6}, "row": [FEM]}


def run(folder: Path, *tasks: dict, files=None, quick=False) -> dict:
    suite = Suite.model_validate({"title": "A suite", "task": tasks})
    report, results = runner.run("tiny", suite, folder, files or {}, quick=quick, progress=lambda *what: None)
    assert report.is_file()
    assert json.loads((folder / "results.json").read_text()).keys() == results.keys()
    return results


def only_row(results: dict) -> dict:
    ((row,),) = (task["rows"] for task in results["tasks"])
    return row


@pytest.fixture
def computed(monkeypatch):
    """Labels of the rows that were computed, not read, while the test ran."""
    labels, compute = [], runner.Task._compute
    monkeypatch.setattr(runner.Task, "_compute", lambda self, row, f: labels.append(row.label) or compute(self, row, f))
    return labels


def test_every_suite_of_ours_is_well_formed():
    names = [path.stem for path in FOLDER.glob("*.toml")]
    assert "demo" in names
    for name in names:
        _, suite = load(name)
        for task in suite.task:
            if task.problem in problems.CATALOGUE:
                problems.load(task.problem)(**task.set)


def test_a_row_holds_what_the_report_shows(tmp_path):
    results = run(tmp_path, TASK)
    row = only_row(results)
    assert (row["status"], row["method"], row["reason"]) == ("done", "fem", None)
    assert 0.1 < row["metrics"]["relative_l2"] < 0.4 and row["cost"]["dofs"] == 16
    assert row["quantities"]["centre"]["reference"] == 0.0736713533
    assert row["command"] == "variform solve poisson --method fem --mesh 3"
    assert (tmp_path / row["figure"]).stat().st_size > 1000
    (task,) = results["tasks"]
    assert task["form"].startswith("E = ") and task["strong"].endswith("= 0")
    assert task["reference"]["method"] == "FEM P2, 6 cells a side"
    assert (tmp_path / task["reference"]["figure"]).stat().st_size > 1000


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A finished run."""
    folder = tmp_path_factory.mktemp("stored")
    run(folder, TASK)
    return folder


CHANGES = {
    "the options of the row": {"row": [FEM | {"options": {"mesh": 4}}]},
    "the reference": {"reference": {"mesh": 8}},
    "a parameter": {"set": {"source": 2.0}},
    "the problem": {"problem": "poisson_manufactured"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stored_row_is_not_taken_for_another(change, stored, tmp_path, computed):
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    first = only_row(run(tmp_path, TASK))
    assert computed == []
    second = only_row(run(tmp_path, TASK | CHANGES[change]))
    assert computed == ["FEM"] and second["status"] == "done"
    assert change == "a parameter" or second["metrics"] != first["metrics"]


def test_a_stored_row_is_not_taken_for_one_of_another_version_of_the_users_file(tmp_path, computed):
    mine, task = tmp_path / "mine.py", TASK | {"problem": "mine"}
    for k, times in ((2, 1), (2, 1), (3, 2)):
        mine.write_text(f"from variform.problems.poisson import Poisson\nclass Mine(Poisson):\n    power = {k}\n")
        run(tmp_path / "out", task, files={"mine": problems.load(str(mine))})
        assert len(computed) == times


def test_a_damaged_record_of_a_row_is_computed_again(stored, tmp_path, computed):
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    first = only_row(run(tmp_path, TASK))
    (tmp_path / "tiny" / "fem" / "run.json").write_text('{"digest": ')
    second = only_row(run(tmp_path, TASK))
    assert computed == ["FEM"] and second["metrics"]["relative_l2"] == pytest.approx(first["metrics"]["relative_l2"])


def test_a_sample_is_the_instance_that_is_solved(tmp_path):
    values = []
    for sample in ({"seed": 0, "index": 1}, {"seed": 0, "index": 2}, None):
        task = TASK | {"problem": "darcy"} | ({"sample": sample} if sample else {})
        row = only_row(run(tmp_path / str(len(values)), task))
        values.append(row["quantities"]["mean_head"]["value"])
        assert ("heterogeneity=sample:0:" in row["command"]) == bool(sample)
    assert len({round(value, 4) for value in values}) == 3


def test_rows_that_fail_leave_the_others_alone(tmp_path, monkeypatch):
    errors = {2: ComputationError("it diverged"), 4: MemoryError(), 5: FloatingPointError("overflow")}
    solve = runner.solvers.solve

    def failing(problem, method, **options):
        if isinstance(n := options.get("mesh"), int) and n in errors:
            raise errors[n]
        return solve(problem, method, **options)

    monkeypatch.setattr(runner.solvers, "solve", failing)
    lost = [FEM | {"label": f"lost {n}", "options": {"mesh": n}} for n in errors]
    *failed, found = run(tmp_path, TASK | {"row": [*lost, FEM]})["tasks"][0]["rows"]
    reasons = ["it diverged", "MemoryError", "FloatingPointError: overflow"]
    for row, n, reason in zip(failed, errors, reasons, strict=True):
        assert (row["status"], row["reason"], row["metrics"]) == ("failed", reason, {})
        assert json.loads((tmp_path / "tiny" / f"lost-{n}" / "run.json").read_text())["status"] == "failed"
    assert found["status"] == "done"


SINGULAR = """
from ufl import grad, inner
from variform.problems.poisson import Poisson
class Singular(Poisson):
    conditions = []
"""


def test_a_task_whose_reference_fails_leaves_the_others_alone(tmp_path):
    (tmp_path / "singular.py").write_text(SINGULAR)
    files = {"singular": problems.load(str(tmp_path / "singular.py"))}
    first = TASK | {"name": "first", "problem": "singular"}
    results = run(tmp_path / "out", first, TASK, files=files)
    assert [task["rows"][0]["status"] for task in results["tasks"]] == ["failed", "done"]
