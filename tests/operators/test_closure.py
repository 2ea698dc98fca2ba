"""Closures: what is learnt beside a known tendency, trainings that begin with others, what is measured of them."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from variform import data, operators, problems
from variform.benchmarks import closure
from variform.data import Dataset, generate, plan_of
from variform.data.check import check
from variform.errors import InputError
from variform.operators import Settings, launch
from variform.operators.examples import Examples
from variform.operators.known import Known
from variform.operators.learned import integrate
from variform.operators.measure import predictions

LEARN = {"learn": "change", "closure": "lorenz96", "loss": "mse", "epochs": 1, "batch": 64, "samples": 2}


@pytest.fixture(scope="module")
def tiers(tmp_path_factory):
    """Twelve short trajectories of few variables."""
    path = tmp_path_factory.mktemp("data") / "d.h5"
    generate(plan_of("lorenz96", 12, resolution=8, steps=1000, snapshots=500, values={"J": 4.0, "spin_up": 1.0}), path)
    return path


def test_the_stored_coupling_is_the_rest_of_the_rate_of_change_and_the_file_checks(tiers):
    found = {finding.test: finding.status for finding in check(tiers)}
    assert found["re-integration"] == found["digests"] == "passed"
    stored = data.read(tiers)
    assert stored.named("output") == ["X", "coupling"] and stored.times[-1] == 10
    examples = [
        Examples(part, Settings.of("pointwise", {**LEARN, "closure": name}), dtype=torch.float64)
        for part, name in ((stored, "lorenz96"), (stored, "none"), (unsaid(stored), "lorenz96"))
    ]
    numbers = np.arange(2, len(examples[0]), 501)  # not at the ends, where differences are less exact
    exact, whole, differences = (e.__getitems__(numbers) for e in examples)
    assert torch.equal(exact.frames, whole.frames) and exact.frames.shape == (12, 1, 1, 8)
    f = Known.of("lorenz96", stored)(exact.frames[:, 0])[:, None]
    assert torch.allclose(f + exact.target, whole.target, atol=0.02 * float(whole.target.std()))
    assert torch.allclose(whole.target - f, differences.target, atol=1e-9)


def test_three_tiers_are_made_and_integrated_again(tmp_path):
    small = {"J": 2.0, "I": 2.0, "spin_up": 0.0}
    generate(plan_of("lorenz96_three", 2, resolution=4, steps=1000, snapshots=100, values=small), tmp_path / "d.h5")
    assert {finding.status for finding in check(tmp_path / "d.h5")} == {"passed"}
    assert data.read(tmp_path / "d.h5").read("coupling").shape == (2, 101, 4)


def test_few_variables_and_other_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="resolution, the number of X, must be 4 or more, got 3"):
        generate(plan_of("lorenz96", 2, resolution=3), tmp_path / "d.h5")
    with pytest.raises(InputError, match="has no tiers"):
        generate(plan_of("burgers_1d", 2, method="tiers"), tmp_path / "d.h5")


def unsaid(stored):
    """The same without what was exact."""
    return Dataset(
        stored.name,
        {"X": stored.fields["X"]},
        stored.coordinates,
        stored.source,
        stored.count,
        stored.times,
        stored.periodic,
        info={k: v for k, v in stored.info.items() if k != "closures"},
    )


def test_a_polynomial_finds_a_cubic_closure_and_its_rollout_follows_it(tmp_path):
    """dX/dt = f(X) + 1 - X / 2 + X^3 / 50, K and its numbers being kept with the operator."""
    rng, known = np.random.default_rng(0), Known("lorenz96")

    def lacking(X):
        return 1 - X / 2 - X**3 / 50

    settings, frames = Settings("polynomial", scheme="rk4", substeps=8), [torch.as_tensor(rng.normal(0, 3, (24, 6)))]
    for _ in range(20):
        frames.append(integrate(lambda u: known(u) + lacking(u), frames[-1], 0.02, settings)[0])
    X = torch.stack(frames, dim=1).numpy()
    info = {"problem": "lorenz96", "values": {"F": 20.0}, "closures": {"X": "coupling"}}
    made = Dataset.of(
        "Cubic", (np.arange(6) / 6,), {}, {"X": X, "coupling": lacking(X)},
        times=0.02 * np.arange(21), periodic=(True,), info=info,
    )  # fmt: skip
    given = {**LEARN, "samples": 0, "epochs": 40, "learning_rate": 0.1, "ahead": 20, "weight_decay": 0.0}
    operator = operators.train(made, "polynomial", **given)
    assert operator.num_parameters == 4 and operator.history[-1]["loss"] < 1e-6
    operator.save(tmp_path)
    again = operators.load(tmp_path)
    predicted, truth = predictions(again, made)
    assert np.allclose(predicted, truth, atol=0.02)
    forced = replace(made, info={**info, "values": {"F": 24.0}})
    rate = Known.of("lorenz96", forced)
    u = integrate(lambda u: rate(u) + lacking(u), frames[0], 0.02, settings)[0].numpy()
    assert np.allclose(predictions(again, forced)[0][:, 0, 0], u, atol=1e-4)
    assert np.array_equal(predictions(again, made)[0], predicted)
    task = problems.load("lorenz96")(F=24.0, initial=lambda x: 3 * np.sin(6 * x[0]))
    first, second = again.predict(task, steps=1).values["X"]
    u = integrate(lambda u: rate(u) + lacking(u), torch.as_tensor(first), 0.02, settings)[0].numpy()
    assert np.allclose(second, u, atol=1e-4)
    with pytest.raises(InputError, match=r"trained on h = 1.0, and not on 2.0"):
        replace(again, info={**again.info, "problem": "Lorenz96", "values": {"F": 20.0, "h": 1.0}}).predict(
            problems.load("lorenz96")(F=24.0, h=2.0)
        )
    coarse = closure.no_closure(made)
    assert coarse.shape == predicted.shape and abs(coarse - truth.numpy()).max() > 1


def test_a_closure_goes_on_on_line_from_one_that_was_trained_off_line(tiers, tmp_path):
    given, stored = {**LEARN, "width": 8}, data.read(tiers)
    operators.train(stored, "pointwise", **given).save(tmp_path / "off")
    on_line = {**given, "unroll": 4, "ahead": 5, "start": str(tmp_path / "off"), "loss": "relative_l2"}
    (tmp_path / "on").mkdir()
    before = operators.load(tmp_path / "off")
    begun = operators.train(stored, "pointwise", **{**on_line, "learning_rate": 1e-12})
    for a, b in zip(begun.learned.state_dict().values(), before.learned.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)
    operator = operators.train(stored, "pointwise", folder=tmp_path / "on", **on_line)
    assert operator.info["start"]["run"] == str(tmp_path / "off") and len(operator.info["start"]["digest"]) == 64
    state = json.loads((tmp_path / "on" / "checkpoints" / "last.json").read_text())
    assert state["start"] == operator.info["start"]["digest"]
    with pytest.raises(InputError, match=r"other settings \(start .*off -> "):
        operators.train(stored, "pointwise", folder=tmp_path / "on", resume=True, **{**on_line, "start": ""})
    operator.save(tmp_path / "off")
    with pytest.raises(InputError, match=r"start=.* holds other weights than those"):
        operators.train(stored, "pointwise", folder=tmp_path / "on", resume=True, **on_line)


def test_an_on_line_training_with_noise_that_was_stopped_goes_on_bit_by_bit(tiers, tmp_path, monkeypatch):
    stored = data.read(tiers)
    operators.train(stored, "polynomial", **LEARN).save(tmp_path / "off")
    given = {**LEARN, "unroll": 3, "ahead": 4, "start": str(tmp_path / "off"), "noise": 0.01, "ema": 0.9}
    whole, count = operators.train(stored, "polynomial", **given), 0

    def stop(self):
        nonlocal count
        count += 1
        return signal.SIGTERM if count == 5 else 0

    with monkeypatch.context() as patch:
        patch.setattr(launch.Asked, "any", stop)
        with pytest.raises(launch.Stopped, match="SIGTERM"):
            operators.train(stored, "polynomial", folder=tmp_path, **given)
    again = operators.train(stored, "polynomial", folder=tmp_path, resume=True, **given)
    for a, b in zip(again.learned.state_dict().values(), whole.learned.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_closures_are_learnt_in_every_precision(tiers, precision):
    given = {**LEARN, "unroll": 2, "ahead": 2, "precision": precision, "epochs": 2}
    operator = operators.train(data.read(tiers), "pointwise", **given)
    losses = [row["loss"] for row in operator.history]
    assert losses[1] < losses[0] and all(w.isfinite().all() for w in operator.learned.parameters())


def test_a_start_of_another_architecture_is_refused(tiers, tmp_path):
    stored = data.read(tiers)
    operators.train(stored, "pointwise", width=8, **LEARN).save(tmp_path)
    with pytest.raises(InputError, match=r"start=.* has another architecture \(width 8 -> 16\)"):
        operators.train(stored, "pointwise", width=16, start=str(tmp_path), **LEARN)
    with pytest.raises(InputError, match=r"closure lorenz96 -> none.*learn change -> next"):
        operators.train(stored, "pointwise", width=8, start=str(tmp_path))
    with pytest.raises(InputError, match="holds no trained operator"):
        operators.train(stored, "pointwise", start=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"closure": "lorenz"}, "unknown value of closure 'lorenz'. Did you mean 'lorenz96'"),
        ({"closure": "poisson"}, "unknown value of closure 'poisson'"),
        ({"learn": "next"}, "closure=lorenz96 is what du/dt lacks: it needs learn=change, got next"),
        ({"closure": "lorenz96_three"}, "closure=lorenz96_three, but Lorenz96 is made of lorenz96"),
    ],
)
def test_closures_that_do_not_fit_are_refused(tiers, given, message):
    with pytest.raises(InputError, match=message):
        operators.train(data.read(tiers), "pointwise", **{**LEARN, **given})


def test_numbers_of_samples_that_are_alike_are_those_of_the_known_part(tiers):
    stored = data.read(tiers)
    stored.parameters["F"] = np.full(12, 23.0)
    known = Known.of("lorenz96", stored)
    assert known.values[known.numbers.index("F")] == 23


def test_a_closure_of_one_force_does_not_take_data_of_many(tiers):
    stored = data.read(tiers)
    stored.parameters["F"] = np.linspace(19, 21, 12)
    with pytest.raises(InputError, match="takes one F for all samples, which differs in Lorenz96"):
        operators.train(stored, "pointwise", **LEARN)


# What is measured


def test_valid_time_is_the_last_before_the_error_passes():
    times = np.array([1.0, 2.0, 3.0])
    y = np.full((4, 3, 1, 4), 2.0)  # of norm 4
    p = y + np.array([[0, 0, 0], [0, 0.5, 2.0], [3.0, 0, 0], [0, np.nan, 0]])[:, :, None, None]
    assert closure.valid_time(p, y, times, 0.3).tolist() == [3.0, 2.0, 0.0, 1.0]


def test_climates_of_shifted_scaled_and_lost_trajectories():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((4, 500, 1, 8))
    same = closure.climate(y, y)
    assert same == pytest.approx(dict.fromkeys(same, 0.0) | {"finite": 1.0}, abs=1e-7)
    deviation = y.std()
    shifted = closure.climate(y + 0.5 * deviation, y)
    assert shifted["mean"] == pytest.approx(0.5) and shifted["wasserstein"] == pytest.approx(0.5)
    assert shifted["variance"] == pytest.approx(0) and shifted["autocorrelation"] == pytest.approx(0, abs=1e-12)
    assert closure.climate(2 * y, y)["variance"] == pytest.approx(3)
    lost = y.copy()
    lost[1, 3] = np.inf
    assert closure.climate(lost, y)["finite"] == 0.75 and np.isfinite(closure.climate(lost, y)["mean"])
    assert closure.climate(y + np.nan, y)["wasserstein"] == np.inf


def test_histograms_and_autocorrelations_by_hand():
    a, b = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    by_hand = np.sqrt(1 - np.sqrt(0.5 * 0.25) - np.sqrt(0.5 * 0.75))
    assert closure.hellinger(a, b, bins=2) == pytest.approx(by_hand)
    assert closure.hellinger(a + 9, b) == 1
    u = np.tile([1.0, -1.0], 50)[None, :, None, None]
    assert closure.autocorrelation(u, 3) == pytest.approx([-1, 1, -1])
    assert closure.tendency_error(np.full(4, b.mean()), b) == pytest.approx(1)
