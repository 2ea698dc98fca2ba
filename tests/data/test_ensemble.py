"""Ensembles: what varies, numbers that do not depend on the workers, rows that survive kills."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from variform.data.ensemble import Ensemble, column, run, statistics, write_table
from variform.data.inputs import NumberLaw, sweep_axis
from variform.errors import InputError
from variform.random import generator

FRAGILE = """
import os, signal
from ufl import grad, inner
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.task import Parameter

class Fragile(Problem):
    "-k laplace u = 1, whose process dies where k is 3 and whose measure raises where k is 5."
    fields = {"u": Field("u")}
    parameters = {"k": Parameter("k", default=1.0, above=0.0)}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        return (s.p.k / 2 * inner(grad(s.u["u"]), grad(s.u["u"])) - s.u["u"]) * s.dx

    def measure(self, solution):
        if self.values["k"] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.values["k"] == 5:
            raise ZeroDivisionError("k is five")
        return {"mean": solution.integrate(), "missing": float("nan")}
"""
finite = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-6, 1e6)


@given(finite, st.floats(1e-3, 1e6), st.integers(2, 50))
def test_a_range_has_its_ends_and_equal_differences(a, width, n):
    b = a + width
    key, values = sweep_axis(f"k={a!r}:{b!r}:{n}")
    assert (key, len(values), values[0], values[-1]) == ("k", n, a, b)
    assert np.diff(values) == pytest.approx((b - a) / (n - 1), abs=1e-9)


@given(positive, st.floats(1.001, 1e9), st.integers(2, 50))
def test_a_logarithmic_range_has_its_ends_and_equal_ratios(a, ratio, n):
    b = a * ratio
    _, values = sweep_axis(f"k.clay={a!r}:{b!r}:{n}:log")
    assert (values[0], values[-1]) == (a, b)
    assert np.diff(np.log(values)) == pytest.approx(math.log(b / a) / (n - 1), abs=1e-11)


def test_a_list_holds_numbers_and_words():
    assert sweep_axis("scheme=bdf2, sdirk2") == ("scheme", ("bdf2", "sdirk2"))
    assert sweep_axis("mesh=8,16,32") == ("mesh", (8, 16, 32))
    assert sweep_axis("k=2") == ("k", (2,))


LAWS = {
    "uniform:-2:5": stats.uniform(-2, 7),
    "normal:3:0.5": stats.norm(3, 0.5),
    "lognormal:-1:0.7": stats.lognorm(0.7, scale=math.exp(-1)),
}


@pytest.mark.parametrize("text", LAWS)
def test_numbers_follow_their_law(text):
    key, law = NumberLaw.parse(f"k={text}")
    drawn = [law.sample(generator(1, i, key)) for i in range(2000)]
    assert stats.kstest(drawn, LAWS[text].cdf).pvalue > 0.01


def test_keys_indices_and_seeds_have_streams_of_their_own():
    _, law = NumberLaw.parse("k=normal:0:1")
    draws = {
        "a": [law.sample(generator(0, i, "a")) for i in range(1000)],
        "b": [law.sample(generator(0, i, "b")) for i in range(1000)],
        "seed": [law.sample(generator(1, i, "a")) for i in range(1000)],
        "field": [np.random.Generator(np.random.Philox(key=0, counter=[0, 0, 0, i])).normal() for i in range(1000)],
    }
    correlation = np.corrcoef(list(draws.values())) - np.eye(len(draws))
    assert abs(correlation).max() < 4 / math.sqrt(1000)
    assert law.sample(generator(0, 999, "a")) == draws["a"][999]


def test_the_workers_change_no_digit_and_the_flow_is_the_conductivity(tmp_path):
    _, law = NumberLaw.parse("conductivity=lognormal:0:1")
    ensemble = Ensemble("darcy_constant", options={"mesh": 4}, samples=12, seed=7, laws={"conductivity": law})
    tables = []
    for workers in (1, 3):
        rows = run(ensemble, tmp_path / f"{workers}.jsonl", workers=workers)
        table = write_table(tmp_path / f"{workers}.csv", ensemble, rows).read_text()
        tables.append([line.rpartition(",")[0] for line in table.splitlines()])
    assert tables[0] == tables[1]
    drawn = [ensemble.instance(i).values["conductivity"] for i in range(12)]
    assert len(set(drawn)) == 12
    assert column(rows, "inflow") == pytest.approx(drawn, rel=1e-12)


def test_random_fields_are_those_of_the_problem(tmp_path):
    from variform import solvers
    from variform.problems.darcy import DarcyField

    ensemble = Ensemble("darcy_field", options={"mesh": 8}, samples=2, seed=5)
    rows = run(ensemble, tmp_path / "rows.jsonl")
    problem = DarcyField().sample(5, 1)
    alone = problem.measure(solvers.solve(problem, "fem", mesh=8))["mean_head"]
    assert rows[1]["quantities"]["mean_head"] == pytest.approx(alone, rel=1e-12)
    assert ensemble.instance(1).shown == {"permeability": "sample:5:1"}


def test_a_grid_takes_parameters_regions_and_options_the_last_fastest():
    axes = {"conductivity.clay": (0.1, 1.0), "degree": (1, 2, 3)}
    ensemble = Ensemble("darcy", values={"conductivity": {"sand": 4.0}}, axes=axes)
    assert len(ensemble) == 6
    instance = ensemble.instance(4)
    assert instance.values == {"conductivity": {"sand": 4.0, "clay": 1.0}}
    assert instance.options == {"degree": 2}


def test_an_instance_that_raises_or_kills_its_process_costs_only_itself(tmp_path):
    path = tmp_path / "fragile.py"
    path.write_text(FRAGILE)
    ensemble = Ensemble(str(path), options={"mesh": 4}, axes={"k": (1, 2, 3, 4, 5, 6, -1)})
    rows = run(ensemble, tmp_path / "rows.jsonl", workers=2)
    assert [row["status"] for row in rows] == ["done", "done", "failed", "done", "failed", "done", "failed"]
    assert [rows[i]["error"] for i in (2, 4)] == ["its process ended by signal SIGKILL", "ZeroDivisionError: k is five"]
    assert rows[6]["error"] == "k must be above 0, got -1"
    means = column(rows, "mean")
    assert means[[0, 1, 3, 5]] == pytest.approx(means[0] / np.array([1, 2, 4, 6]), rel=1e-10)
    assert np.isnan(means[[2, 4, 6]]).all()
    assert statistics(column(rows, "missing"))["used"] == 0


def test_what_is_on_disk_is_not_solved_again_but_what_failed_is(tmp_path):
    ensemble = Ensemble("darcy_constant", options={"mesh": 2}, axes={"conductivity": (1.0, 2.0, 3.0, 4.0)})
    path = tmp_path / "rows.jsonl"
    lines = [
        {"index": 0, "status": "done", "quantities": {"inflow": -7.0}, "error": "", "wall_s": 1.0},
        {"index": 2, "status": "failed", "quantities": {}, "error": "no memory", "wall_s": None},
    ]
    torn = '{"index": 1, "status": "done", "quant'
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + torn)
    rows = run(ensemble, path)
    assert column(rows, "inflow") == pytest.approx([-7.0, 2.0, 3.0, 4.0])
    kept = [json.loads(line)["index"] for line in path.read_text().splitlines()]
    assert kept == [0, 2, 1, 2, 3]
    before = path.read_bytes()
    assert run(ensemble, path) == rows
    assert path.read_bytes() == before


def test_two_processes_do_not_write_one_file(tmp_path):
    import fcntl

    ensemble = Ensemble("darcy_constant", axes={"conductivity": (1.0, 2.0)})
    with open(tmp_path / "rows.jsonl", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is writing"):
            run(ensemble, tmp_path / "rows.jsonl")


def test_statistics_are_those_of_scipy_over_what_is_finite():
    values = np.random.default_rng(0).exponential(size=41)
    found = statistics(np.append(values, [np.nan, np.inf]))
    assert (found["used"], found["attempted"]) == (41, 43)
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-14)
    assert found["standard_error"] == pytest.approx(stats.sem(values), rel=1e-12)
    expected = stats.mstats.mquantiles(values, [0.05, 0.25, 0.5, 0.75, 0.95], alphap=1, betap=1)
    assert list(found["percentiles"].values()) == pytest.approx(expected, rel=1e-12)
