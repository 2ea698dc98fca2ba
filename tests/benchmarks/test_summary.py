"""The summary of a task gives the right picture alone, above all where the network is not better."""

import pytest

from variform.benchmarks.schema import TaskResults
from variform.benchmarks.summary import summarise


def spread(median, n=200, attempted=200):
    return {"median": median, "q1": 0.7 * median, "q3": 1.4 * median, "mean": median, "n": n, "attempted": attempted}


def fem(error, wall_s, label="FEM"):
    row = {"method": "fem", "label": label, "status": "done", "tests": {"test": spread(error)}}
    return row | {"metrics": {"relative_l2": error}, "cost": {"wall_s": wall_s, "dofs": 81}}


def network(error, wall_s, equal=None, label="FNO", **more):
    cost = {"wall_s": wall_s, "training_s": 100.0, "data_s": 20.0, "parameters": 1000}
    row = {"method": "fno", "label": label, "status": "done", "metrics": {"relative_l2": error}, "cost": cost}
    return row | {"tests": {"test": spread(error)}, "equal": equal} | more


def failed(label="UPT", **more):
    return {"method": "upt", "label": label, "status": "failed", "reason": "out of memory"} | more


def summary(*rows, **more):
    return summarise(TaskResults(name="darcy", title="Darcy", rows=rows, **more))


def test_a_quicker_network_is_said_to_be_so_with_what_its_training_costs():
    equal = {"classical_s": 0.01, "speedup": 10.0, "pays_after": 13333.3}
    found = summary(fem(5e-3, 0.01), fem(1e-3, 0.1, "FEM, fine"), network(8e-3, 0.001, equal))
    words = " ".join(found.sentences)
    assert found.good and found.outcome == "Network quicker at equal error, once trained"
    assert "“FEM” (error 5.0 × 10⁻³), takes 10 ms a solution, the network 1 ms" in words
    assert "it is 10 times quicker once trained" in words
    assert "pay after 13\u202f400 solutions" in words
    assert [(line.role, line.number) for line in found.lines] == [
        ("Most accurate network", 3),
        ("Quickest classical row at least as accurate", 1),
        ("Most accurate classical row", 2),
    ]


def test_a_slower_network_is_said_to_be_so():
    equal = {"classical_s": 0.01, "speedup": 0.2, "pays_after": None}
    found = summary(fem(5e-3, 0.01), network(8e-3, 0.05, equal))
    assert not found.good and found.outcome == "Classical solver quicker at equal error"
    assert "5 times slower, and its training never pays" in " ".join(found.sentences)


def test_a_network_that_no_classical_row_matches_is_not_given_a_speed_up():
    found = summary(fem(5e-3, 0.01), network(1e-3, 0.001))
    assert found.outcome == "No classical row as accurate"
    assert "the nearest, “FEM” (error 5.0 × 10⁻³), takes 10 ms" in " ".join(found.sentences)
    assert "quicker" not in " ".join(found.sentences)


def test_a_network_far_less_accurate_than_the_coarsest_solve_is_not_called_quicker_at_equal_error():
    equal = {"classical_s": 0.01, "speedup": 10.0, "pays_after": 13333.3}
    found = summary(fem(5e-3, 0.01), network(8e-2, 0.001, equal))
    assert not found.good and found.outcome == "Network quicker, classical row more accurate"
    assert "no comparison at equal error" in " ".join(found.sentences)
    assert not found.lines[0].comparable


@pytest.mark.parametrize(("wall_s", "good"), [(0.002, True), (0.0005, False)])
def test_beating_a_less_accurate_solve_in_time_makes_up_for_a_gap_in_error(wall_s, good):
    equal = {"classical_s": 0.01, "speedup": 10.0, "pays_after": 13333.3}
    coarse = fem(2e-1, wall_s, "FEM, coarse")
    assert summary(fem(5e-3, 0.01), coarse, network(8e-2, 0.001, equal)).good == good


def test_a_network_that_has_not_learned_is_said_to_be_so():
    equal = {"classical_s": 0.01, "speedup": 10.0, "pays_after": 13333.3}
    found = summary(fem(5e-3, 0.01), network(1.01, 0.001, equal))
    assert not found.good and found.outcome == "No network has learned"
    assert "quicker" not in " ".join(found.sentences)


def test_of_one_problem_the_training_counts():
    found = summary(fem(5e-3, 1.0), network(8e-3, 0.001))
    assert not found.good and found.outcome == "Classical solver quicker at equal error, training counted"
    assert "1 ms, or 2 min with its training and data" in " ".join(found.sentences)


def test_a_less_accurate_network_with_a_larger_gain_is_named():
    small = {"classical_s": 0.01, "speedup": 2.0, "pays_after": 5.0}
    large = {"classical_s": 0.01, "speedup": 50.0, "pays_after": 7.0}
    found = summary(
        fem(1e-3, 0.01),
        fem(1e-2, 0.001, "FEM, coarse"),
        network(2e-3, 0.005, small),
        network(9e-3, 0.0002, large, "U-Net"),
    )
    assert "“U-Net” (error 9.0 × 10⁻³) is 50 times quicker" in " ".join(found.sentences)
    assert ("Network with the largest speed-up", 4) in [(line.role, line.number) for line in found.lines]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([], "Nothing to compare"),
        ([failed()], "Nothing to compare"),
        ([fem(1e-3, 0.1), failed()], "No network"),
        ([network(1e-3, 0.1)], "No classical row"),
    ],
)
def test_what_cannot_be_compared_is_not(rows, outcome):
    found = summary(*rows)
    assert found.outcome == outcome and not found.good and found.sentences


def test_what_to_beware_of_is_listed():
    found = summary(
        fem(1.1e-3, 0.01),
        network(2e-3, 0.005, stale="another learning rate", seeds=3, failures=["seed 1: nan"]),
        network(3e-3, 0.005, label="U-Net", tests={"test": spread(3e-3, n=197)}),
        failed(seeds=3, failures=["seed 0", "seed 1", "seed 2"]),
        reference={"estimated_error": 4e-4},
    )
    assert found.warnings == [
        "failed: UPT",
        "old numbers: FNO",
        "1 of 3 trainings failed: FNO",
        "no number on some samples: U-Net",
        "within 3 times the reference’s own error: FEM",
    ]


def test_errors_on_other_test_sets_are_said_for_the_best_network():
    tests = {"test": spread(1e-3), "contrast": spread(2e-2), "finer": spread(1.5e-3)}
    found = summary(fem(1e-4, 0.1), network(1e-3, 0.01, tests=tests), sets={"test": 9, "contrast": 9, "finer": 9})
    assert found.sentences[-1].endswith("2.0 × 10⁻² on “contrast”, 1.5 × 10⁻³ on “finer”.")
