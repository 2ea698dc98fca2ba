"""The charts show each number once, with its row's number, and are read without colour."""

import math
from itertools import pairwise

import pytest

from variform.benchmarks import axes, charts
from variform.benchmarks.curves import LONGEST_CURVE
from variform.benchmarks.looks import looks
from variform.benchmarks.schema import TaskResults


def spread(median):
    return {"median": median, "q1": median / 2, "q3": median * 2, "mean": median, "n": 9, "attempted": 10}


def row(method, label, error, **more):
    row = {"method": method, "label": label, "status": "done", "metrics": {"relative_l2": error}}
    return row | {"tests": {"test": spread(error)}, "cost": {"wall_s": 0.1 * error}} | more


def network(label, error, **more):
    return row(
        "fno", label, error, cost={"wall_s": 0.001, "training_s": 100.0, "data_s": 20.0, "parameters": 9}, **more
    )


SETS = {
    "test": {"count": 10, "points": 32, "kind": "same"},
    "rough": {"count": 10, "points": 32, "kind": "shifted"},
    "fine": {"count": 10, "points": 64, "kind": "resolution"},
}


def drawn(*rows, **more):
    task = TaskResults(name="t", title="T", rows=rows, **{"sets": SETS} | more)
    return charts.charts(task, looks(task.rows))


def named(chart, name):
    return [trace for trace in chart.figure["data"] if trace["name"] == name]


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(1, 3), (2, 2), (3, 1)], [(1, 3), (2, 2), (3, 1)]),
        ([(1, 1), (2, 2), (3, 3)], [(1, 1)]),
        ([(2, 2), (1, 3), (1, 1), (2, 1)], [(1, 1)]),
        ([(5, 5)], [(5, 5)]),
    ],
)
def test_the_front_is_what_no_other_beats_in_both(points, kept):
    assert charts.front(points) == kept


def test_the_front_is_drawn_alone_and_with_training_paid():
    fem, fno = row("fem", "FEM", 1e-2, cost={"wall_s": 0.1}), network("FNO", 1e-3)
    (alone,) = named(drawn(fem, fno)["cost"], "front")
    (in_all,) = named(drawn(fem, fno)["cost"], "front, training paid once")
    assert alone["x"][:2] == [0.001, 0.001] and alone["y"][-1] == 1e-3  # the network beats the solver once trained
    assert in_all["x"][1:3] == [0.1, 120.001] and in_all["y"][1:3] == [1e-2, 1e-3]
    assert alone["line"]["dash"] != in_all["line"]["dash"]


def test_rows_without_an_error_or_a_time_are_not_in_the_cost_chart():
    failed = {"method": "unet", "label": "U-Net", "status": "failed", "metrics": {"relative_l2": 1.0}}
    untimed = row("fem", "FEM", 1e-2, cost={})
    assert "cost" not in drawn(failed, untimed)


def test_resolution_has_a_curve_a_row_over_the_test_sets_of_that_kind():
    tests = {"test": spread(1e-3), "rough": spread(9e-1), "fine": spread(2e-3)}
    chart = drawn(network("FNO", 1e-3, tests=tests), row("fem", "FEM", 1e-2))["resolution"]
    (trace,) = chart.figure["data"]
    assert trace["x"] == [32, 64] and trace["y"] == [1e-3, 2e-3]
    assert trace["error_y"]["array"] == [1e-3, 2e-3] and trace["error_y"]["arrayminus"] == [5e-4, 1e-3]
    assert [(n.x, n.median, n.q1) for n in chart.numbers] == [("32", 1e-3, 5e-4), ("64", 2e-3, 1e-3)]


def test_in_and_out_of_distribution_a_range_for_every_row_and_set():
    tests = {"test": spread(1e-3), "rough": spread(1e-2), "fine": spread(2e-3)}
    chart = drawn(network("FNO", 1e-3, tests=tests), row("fem", "FEM", 1e-2))["shift"]
    ranges = [(t["name"], t["x"], t["error_x"]["array"], t["error_x"]["arrayminus"]) for t in chart.figure["data"]]
    assert ranges == [
        ("1  FNO, test", [1e-3], [1e-3], [5e-4]),
        ("1  FNO, rough", [1e-2], [1e-2], [5e-3]),
        ("2  FEM, test", [1e-2], [1e-2], [5e-3]),
    ]
    assert len({t["marker"]["symbol"] for t in chart.figure["data"]}) == 2
    assert "rough 1.0 × 10⁻²" in chart.alt


def test_without_shifted_sets_there_is_no_such_chart():
    assert "shift" not in drawn(network("FNO", 1e-3))
    assert "resolution" not in drawn(network("FNO", 1e-3))


def test_frames_have_a_curve_and_a_band_without_what_is_no_number():
    frames = {"times": [1, 2, 3], "median": [1e-3, 2e-3, None], "q1": [5e-4, 1e-3, None], "q3": [2e-3, 4e-3, None]}
    chart = drawn(network("FNO", 1e-3, frames=frames))["frames"]
    band, curve = chart.figure["data"]
    assert curve["y"] == [1e-3, 2e-3, None]
    assert band["x"] == [1, 2, 2, 1] and band["y"] == [5e-4, 1e-3, 4e-3, 2e-3]


def test_curves_of_one_method_differ_by_dashes_and_bear_their_rows_numbers():
    rows = [network(name, 1e-3, history=[[0, 1.0], [1, 0.1]], sizes=[[10, 1e-2], [20, 1e-3]]) for name in "abc"]
    made = drawn(*rows)
    for name in ("loss", "sizes"):
        assert len({trace["line"]["dash"] for trace in made[name].figure["data"]}) == 3
        labels = made[name].figure["layout"]["annotations"]
        assert sorted(label["text"] for label in labels) == ["1", "2", "3"]
        shifts = sorted(label["yshift"] for label in labels)
        assert all(b - a >= axes.LABEL - 1e-9 for a, b in pairwise(shifts))


def test_a_long_curve_is_thinned_to_its_ends():
    history = [[i, 1.0 / (i + 1)] for i in range(10_000)]
    (trace,) = drawn(network("FNO", 1e-3, history=history))["loss"].figure["data"]
    assert len(trace["x"]) == LONGEST_CURVE and (trace["x"][0], trace["x"][-1]) == (0, 9999)


@pytest.mark.parametrize("values", [[1e-3], [1e-3, 1.5e-3], [1e-3, 4e-2], [1e-6, 3.0], [1e-12, 1e3]])
def test_a_logarithmic_axis_has_two_to_eight_ticks_between_its_ends(values):
    axis = axes.log_axis(values)
    low, high = axis["range"]
    assert 2 <= len(axis["tickvals"]) <= 8
    assert all(low <= math.log10(v) <= high for v in [*axis["tickvals"], *values])


@pytest.mark.parametrize("values", [[2e-4, 3e-4], [1e-4, 5.0], [1e-3, 1e5], [100.0, 110.0]])
def test_an_axis_of_times_has_ticks_that_fit_a_phone(values):
    assert 2 <= len(axes.time_axis(values)["tickvals"]) <= axes.MOST_TICKS
