"""Suites: killed and taken up again, rows that fail, users' files, commands that reproduce a row."""

import json
import shlex
import time
from pathlib import Path

import pytest

from variform.benchmarks import runner
from variform.mesh import Mesh

SUITE = """
title = "A tiny suite"

[[task]]
name = "tiny"
problem = "poisson"
title = "Heat in a square"
reference = { mesh = 8, degree = 2 }

[[task.row]]
method = "fem"
label = "FEM, 2 cells"
options = { mesh = 2 }

[[task.row]]
method = "fem"
label = "FEM, 4 cells"
options = { mesh = 4 }

[[task.row]]
method = "pinn"
label = "PINN"
options = { mesh = 2, width = 4, max_steps = 2 }
quick = { max_steps = 1 }
"""
ROWS = ["fem-2-cells", "fem-4-cells", "pinn"]

FRAGILE = """
from ufl import conditional, grad, gt, inner
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem

class Fragile(Problem):
    '''No equation is left where cells are longer than 0.5: the matrix is singular.'''

    fields = {"u": Field("u")}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        return conditional(gt(s.h, 0.5), 0.0, 1.0) * (inner(grad(s.u["u"]), grad(v["u"])) - v["u"]) * s.dx
"""
FRAGILE_SUITE = """
title = "A suite with a row that fails"

[[task]]
name = "fragile"
problem = "fragile"
title = "A problem of one's own"
reference = { mesh = 8 }

[[task.row]]
method = "fem"
label = "coarse"
options = { mesh = 2 }

[[task.row]]
method = "fem"
label = "fine"
options = { mesh = 4 }

[[task.row]]
method = "spectral"
label = "spectral"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tiny.toml").write_text(SUITE)
    (tmp_path / "fragile.toml").write_text(FRAGILE_SUITE)
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def solved(monkeypatch):
    """The methods and meshes that were solved while the test ran."""
    calls, solve = [], runner.solvers.solve

    def counted(problem, method, **options):
        mesh = options.get("mesh")
        calls.append((method, "reference" if isinstance(mesh, Mesh) else mesh))
        return solve(problem, method, **options)

    monkeypatch.setattr(runner.solvers, "solve", counted)
    return calls


def results(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def rows_of(out: Path) -> list[dict]:
    (task,) = results(out)["tasks"]
    return task["rows"]


def test_a_suite_that_was_killed_is_taken_up_where_it_stopped(folder, variform, process, solved):
    killed, whole = folder / "killed", folder / "whole"
    run = process("bench", "tiny.toml", "--out", str(killed))
    records = [killed / "tiny" / row / "run.json" for row in ROWS]
    while not records[1].exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.002)
    run.kill()
    run.communicate(timeout=30)
    assert run.returncode == -9
    assert [record.exists() for record in records] == [True, True, False]
    assert results(killed)["tasks"] == [] and not (killed / "report.html").exists()
    assert "A tiny suite" in variform("show", str(killed)).out
    before = [(record.stat().st_mtime_ns, record.read_text()) for record in records[:2]]

    result = variform("bench", "tiny.toml", "--out", str(killed))
    assert (result.code, result.err) == (0, "") and "report.html" in result.out
    assert [(record.stat().st_mtime_ns, record.read_text()) for record in records[:2]] == before
    assert [call for call in solved if call[1] != "reference"] == [("pinn", 2)]
    assert (killed / "report.html").stat().st_size > 10_000
    assert not list(killed.rglob(".*"))  # no temporary files

    assert variform("bench", "tiny.toml", "--out", str(whole)).code == 0
    for resumed, uninterrupted in zip(rows_of(killed), rows_of(whole), strict=True):
        assert resumed["label"] == uninterrupted["label"] and resumed["status"] == "done"
        assert resumed["metrics"] == pytest.approx(uninterrupted["metrics"], rel=1e-10)
        for name, quantity in resumed["quantities"].items():
            assert quantity["value"] == pytest.approx(uninterrupted["quantities"][name]["value"], rel=1e-10)


def test_rows_have_the_errors_of_their_methods_and_are_kept_until_their_settings_change(folder, variform, solved):
    assert variform("bench", "tiny.toml", "--out", "out").code == 0
    first, count = rows_of(folder / "out"), len(solved)
    two, four, _ = (row["metrics"]["relative_l2"] for row in first)
    assert 3 < two / four < 4.5  # second order
    assert 0 < results(folder / "out")["tasks"][0]["reference"]["estimated_error"] < four / 10
    assert variform("bench", "tiny.toml", "--out", "out").code == 0
    assert rows_of(folder / "out") == first and len(solved) == count
    (folder / "tiny.toml").write_text(SUITE.replace("{ mesh = 4 }", "{ mesh = 3 }"))
    assert variform("bench", "tiny.toml", "--out", "out", "--quick").code == 0
    assert [call for call in solved[count:] if call[1] != "reference"] == [("fem", 3), ("pinn", 2)]
    again = rows_of(folder / "out")
    assert again[0] == first[0] and again[1]["metrics"] != first[1]["metrics"]
    assert [step for step, _ in again[2]["history"]] == [0, 1]  # the quick option


def test_a_row_that_fails_stays_in_the_table_with_its_reason_and_is_tried_again(folder, variform, solved):
    result = variform("bench", "fragile.toml", "--problem", "fragile.py", "--out", "out")
    assert result.code == 1 and "failed" in result.out and "Traceback" not in result.err
    coarse, fine, spectral = rows_of(folder / "out")
    assert [row["status"] for row in (coarse, fine, spectral)] == ["failed", "done", "not applicable"]
    assert "singular" in coarse["reason"] and "spectral method cannot solve Fragile" in spectral["reason"]
    assert coarse["metrics"] == {} and fine["metrics"]["relative_l2"] < 0.2 and fine["reason"] is None
    report = (folder / "out" / "report.html").read_text()
    assert "singular" in report and "spectral method cannot solve Fragile" in report
    count = len(solved)
    assert variform("bench", "fragile.toml", "--problem", "fragile.py", "--out", "out").code == 1
    assert [call for call in solved[count:] if call[1] != "reference"] == [("fem", 2)]
    assert rows_of(folder / "out")[1:] == [fine, spectral]
    shown = variform("show", str(folder / "out" / "fragile" / "fine"))
    assert shown.code == 0 and "relative error" in shown.out


@pytest.mark.parametrize("named", ["evil", "evil.py", "./evil.py:Evil"])
def test_a_file_that_a_suite_names_is_not_run(named, folder, variform):
    (folder / "evil.py").write_text("from pathlib import Path\nPath('it ran').touch()\n")
    (folder / "named.toml").write_text(FRAGILE_SUITE.replace('problem = "fragile"', f'problem = "{named}"'))
    result = variform("bench", "named.toml", "--out", "out")
    assert result.code == 0 and "not applicable" in result.out and "--problem" in result.out
    assert all(row["status"] == "not applicable" and "--problem" in row["reason"] for row in rows_of(folder / "out"))
    record = {"problem": "evil.py", "method": "fem", "status": "failed", "error": "none"}
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text(json.dumps(record))
    assert variform("show", "run").code == 0
    assert not (folder / "it ran").exists()


def test_a_file_given_by_problem_is_run_once_named(folder, variform):
    (folder / "fragile.py").write_text(FRAGILE + "from pathlib import Path\nPath('it ran').touch()\n")
    assert variform("bench", "fragile.toml", "--problem", "fragile.py", "--out", "out").code == 1
    assert (folder / "it ran").exists()


@pytest.mark.parametrize(
    "changed",
    [
        "set = { recharge = 0.3 }",
        "set = { conductivity = { clay = 0.02 } }",
    ],
)
def test_the_command_of_a_row_reproduces_it(changed, folder, variform):
    more = f"{changed}\nsample = {{ seed = 2, index = 5 }}\nreference ="
    (folder / "darcy.toml").write_text(SUITE.replace("poisson", "darcy").replace("reference =", more))
    assert variform("bench", "darcy.toml", "--out", "out").code == 0
    row = rows_of(folder / "out")[1]
    result = variform(*shlex.split(row["command"])[1:], "--out", "alone", "--json")
    assert result.code == 0, result.err
    quantities = json.loads(result.out)["metrics"]["quantities"]
    assert quantities["mean_head"]["value"] == pytest.approx(row["quantities"]["mean_head"]["value"], rel=1e-12)
