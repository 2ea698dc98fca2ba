"""Training: learning what is learnable, states that go on bit by bit, processes that agree, bad input."""

import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from variform import data, operators
from variform.data import Dataset
from variform.errors import ComputationError, InputError
from variform.operators import Settings
from variform.operators.checkpoint import read_tensors
from variform.operators.examples import Examples, Scale, edges_of, stencil
from variform.operators.learned import Learned, integrate
from variform.operators.losses import relative_h1, relative_l2
from variform.operators.measure import errors, predictions
from variform.operators.symmetry import SYMMETRIES
from variform.operators.train import Training, rate

SMALL = {"modes": 4, "width": 12, "depth": 2}
N = 17


def smooth(count=12, seed=0):
    """Fields of two waves, and a map of them that is nonlinear."""
    rng, line = np.random.default_rng(seed), np.linspace(0, 1, N)
    x, y = np.meshgrid(line, line, indexing="ij")
    a = np.array(
        [1 + c * np.sin(np.pi * x) * y + d * np.cos(np.pi * y) * x for c, d in rng.uniform(-0.5, 0.5, (count, 2))]
    )
    splits = {
        "train": np.arange(count - 4),
        "valid": np.arange(count - 4, count - 2),
        "test": np.arange(count - 2, count),
    }
    return Dataset.of("Smooth", (line, line), {"a": a}, {"u": x * np.log(a) + y / a}, splits=splits)


def waves(count=6, frames=21, n=32, speed=1.0):
    """Waves that travel: u(x - c t) on a circle."""
    rng, x = np.random.default_rng(1), np.arange(n) / n
    t = np.linspace(0, 0.5, frames)
    phase = 2 * np.pi * (x - speed * t[:, None])
    coefficients = rng.uniform(-1, 1, (count, 2))
    u = np.array([a * np.sin(phase) + b * np.cos(2 * phase) for a, b in coefficients])
    return Dataset.of("Waves", (x,), {}, {"u": u}, times=t, periodic=(True,))


def test_a_small_network_learns_a_smooth_map_and_keeps_its_best_weights(tmp_path):
    given = {**SMALL, "epochs": 150, "batch": 4, "learning_rate": 1e-2, "seed": 1}
    operator = operators.train(smooth(36), "fno", folder=tmp_path, **given)
    losses = [row["loss"] for row in operator.history]
    assert losses[-1] < losses[0] / 10 and losses[-1] < 0.03
    found = [row["valid_relative_l2"] for row in operator.history]
    kept = errors(operator, smooth(36).part("valid"))["relative_l2"]["mean"]
    assert kept == pytest.approx(min(found), rel=1e-5) and min(found) < 0.1
    assert (tmp_path / "history.csv").read_text().count("\n") == 151 and list((tmp_path / "logs").iterdir())


def test_an_error_that_is_no_number_does_not_keep_the_weights_of_its_epoch(monkeypatch):
    found = iter([math.nan, 0.5, math.inf, 0.7])
    monkeypatch.setattr(Training, "measure", lambda training: next(found))
    given = {**SMALL, "batch": 4, "schedule": "constant"}
    kept = operators.train(smooth(), "fno", epochs=4, **given)
    monkeypatch.setattr(Training, "measure", lambda training: None)
    second = operators.train(smooth(), "fno", epochs=2, **given)
    assert kept.info["valid_relative_l2"] == 0.5 and same(state_of(kept), state_of(second))


def test_averages_of_the_weights_carry_no_graph(monkeypatch):
    found = []
    monkeypatch.setattr(Training, "measure", lambda training: found.extend(training.average))
    operators.train(smooth(), "fno", **SMALL, epochs=1, ema=0.9)
    assert found and not any(weight.requires_grad for weight in found)


@pytest.mark.parametrize("learn", ["next", "change"])
def test_travelling_waves_are_predicted(learn):
    """The shift by one frame, and -u_x, are linear maps that a network of Fourier modes can learn well."""
    settings = {"epochs": 150, "batch": 20, "learning_rate": 5e-3, "learn": learn, "ahead": 10, "seed": 0}
    operator = operators.train(waves(), "fno", modes=4, width=16, depth=2, scheme="rk4", **settings)
    found = errors(operator, waves(count=8).only([6, 7]))["relative_l2"]
    assert found["attempted"] == 2 and found["mean"] < 0.1
    predicted, truth = predictions(operator, waves().only([0]))
    assert predicted.shape == truth.shape == (1, 10, 1, 32)


@pytest.mark.parametrize("given", [{"unroll": 4}, {"unroll": 2, "push_forward": 1}, {"unroll": 3, "curriculum": 1}])
def test_change_is_learnt_through_the_scheme(given):
    """On-line: the loss is on frames that Heun's method gives, also after frames without a gradient."""
    settings = {"epochs": 25, "batch": 10, "learning_rate": 2e-2, "learn": "change", "ahead": 5, **given}
    operator = operators.train(waves(4, 11), "fno", modes=4, width=8, depth=1, scheme="heun", **settings)
    assert operator.history[-1]["loss"] < operator.history[0]["loss"] / 4
    assert errors(operator, waves(8, 11).only([6, 7]))["relative_l2"]["mean"] < 0.3


@pytest.mark.parametrize("scheme", ["heun", "ab2"])
def test_the_loss_through_the_scheme_is_that_of_the_frames_it_gives(scheme):
    """And the skipped frames have no part in its gradient."""
    settings = Settings("fno", SMALL, learn="change", unroll=2, push_forward=1, ahead=3, scheme=scheme)
    examples = Examples(waves(), settings, dtype=torch.float64)
    batch = examples.__getitems__([0, 30, 77])
    assert batch.frames.shape[1] == 1 and batch.target.shape[1] == 3 and len(examples) == 6 * 18
    learned = Learned(settings, "change", 0, 1, dim=1, periodic=(True,), evolves=True, dt=examples.dt)
    learned.in_precision(torch.float64)
    whole, later = learned.rollout(batch, 3), learned(batch, 2, 1)
    assert torch.equal(whole[:, 1:], later)
    if scheme == "heun":  # AB2 would start again
        skipped = batch._replace(frames=whole[:, :1].detach())
        gradients = [torch.autograd.grad(u.sum(), learned.network.parameters()) for u in (later, learned(skipped, 2))]
        assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(*gradients, strict=True))


def test_rates_of_change_are_of_fourth_order():
    worst = []
    for count in (21, 41):
        t = np.linspace(0, 1, count)
        rates = []
        for n in range(count):
            offsets, weights = stencil(n, count)
            rates.append(weights @ np.sin(3 * t[n + offsets]) / t[1])
        worst.append(abs(np.array(rates) - 3 * np.cos(3 * t)).max())
    assert np.log2(worst[0] / worst[1]) == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize(("scheme", "order"), [("euler", 1), ("heun", 2), ("ab2", 2), ("rk4", 4)])
def test_schemes_have_their_orders(scheme, order):
    found = []
    for substeps in (8, 16, 32):
        settings = Settings("fno", scheme=scheme, substeps=substeps)
        u, before = torch.tensor([1.0], dtype=torch.float64), None
        for _ in range(2):  # AB2 takes its rate with it
            u, before = integrate(lambda v: -(v**2), u, 0.5, settings, before)
        found.append(abs(float(u) - 0.5))
    assert np.log2(found[1] / found[2]) == pytest.approx(order, abs=0.2)


def test_relative_h1_is_that_of_the_differences():
    line = np.arange(64) / 64
    y, e = np.sin(2 * np.pi * line), 0.1 * np.cos(4 * np.pi * line)
    p, t = (torch.as_tensor(v)[None, None, None] for v in (y + e, y))
    h = 1 / 64
    slopes = 2 * np.pi * np.sinc(2 * h), 4 * np.pi * np.sinc(4 * h)  # of central differences
    exact = 0.1 * np.sqrt((1 + slopes[1] ** 2) / (1 + slopes[0] ** 2))
    assert float(relative_h1(p, t, (True,))[0]) == pytest.approx(exact, rel=1e-12)
    assert float(relative_l2(p, t)[0]) == pytest.approx(0.1, rel=1e-12)


@pytest.mark.parametrize("name", SYMMETRIES)
def test_symmetries_move_everything_alike(name):
    periodic = name != "dihedral"
    u = np.random.default_rng(0).standard_normal((3, 8, 8))
    both = Dataset.of("Both", (np.arange(8) / 8,) * 2, {"a": u}, {"u": 2 * u}, periodic=(periodic,) * 2)
    batch = Examples(both, Settings("fno")).__getitems__([0, 1, 2])
    for seed in range(5):
        moved = SYMMETRIES[name](batch, torch.Generator().manual_seed(seed), 2)
        assert torch.equal(moved.target[:, 0], 2 * moved.static)
        assert torch.equal(moved.static.flatten(1).sort().values, batch.static.flatten(1).sort().values)
    if name == "antidiagonal":  # what depends on x + y alone stays where it is
        x, y = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
        still = batch._replace(static=torch.as_tensor(np.sin(2 * np.pi * (x + y) / 8))[None, None])
        assert torch.allclose(SYMMETRIES[name](still, torch.Generator().manual_seed(3), 2).static, still.static)


def test_scales_standardise_and_survive_constants():
    fields = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 7
    scale = Scale.of(list(fields.split(2)))
    assert torch.allclose(scale.mean.float(), fields.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(scale.deviation.float(), fields.transpose(0, 1).flatten(1).std(1, correction=0), atol=1e-5)
    assert float(Scale.of([torch.full((2, 1, 4), 5.0)]).deviation) == 1.0


def test_edges_join_the_points_of_a_cell_both_ways():
    assert edges_of(np.array([[0, 1, 2], [1, 2, 3]])).T.tolist() == [
        *([0, 1], [0, 2], [1, 0], [1, 2], [1, 3]),
        *([2, 0], [2, 1], [2, 3], [3, 1], [3, 2]),
    ]


def test_learning_rates_follow_their_schedules():
    one = Settings("fno", schedule="onecycle")
    assert rate(one, 0.0, 0) == pytest.approx(1 / 25) and rate(one, 0.3, 0) == pytest.approx(1.0)
    assert rate(one, 1.0, 0) == pytest.approx(1 / 25e4)
    cosine = Settings("fno", warmup=0.1)
    assert rate(cosine, 0.05, 0) == 0.5 and rate(cosine, 0.1, 0) == 1 and rate(cosine, 1.0, 0) == 0
    assert [rate(Settings("fno", schedule="step", halve=10), 0, e) for e in (9, 10, 20)] == [1, 0.5, 0.25]


# States


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


GIVEN = {**SMALL, "epochs": 6, "batch": 3, "checkpoint_s": 0.0, "ema": 0.9, "noise": 0.0, "clip": 1.0}


def state_of(operator):
    return {k: v for k, v in operator.learned.state_dict().items() if isinstance(v, torch.Tensor)}


@pytest.mark.parametrize("after", [1, 2, 7, 11])
def test_a_training_that_was_stopped_goes_on_bit_by_bit(tmp_path, monkeypatch, after):
    """Stopped after any step, in the middle of an epoch too."""
    from variform.operators import launch

    whole = operators.train(smooth(), "fno", **GIVEN)
    count = 0

    def stop(self):
        nonlocal count
        count += 1
        return signal.SIGUSR1 if count == after else 0

    with monkeypatch.context() as patch:
        patch.setattr(launch.Asked, "any", stop)
        with pytest.raises(launch.Stopped, match="SIGUSR1"):
            operators.train(smooth(), "fno", folder=tmp_path, **GIVEN)
    again = operators.train(smooth(), "fno", folder=tmp_path, resume=True, **GIVEN)
    assert same(state_of(again), state_of(whole))
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "samples_s")} for row in o.history]
        for o in (again, whole)
    ]
    assert timeless[0] == timeless[1]


def test_a_resume_with_other_settings_data_or_a_damaged_state_is_refused(tmp_path):
    operators.train(smooth(), "fno", folder=tmp_path, **GIVEN)
    with pytest.raises(InputError, match=r"other settings \(batch 3 -> 4, width 12 -> 16\)"):
        operators.train(smooth(), "fno", folder=tmp_path, resume=True, **{**GIVEN, "batch": 4, "width": 16})
    with pytest.raises(InputError, match="was trained on other data"):
        operators.train(smooth(16), "fno", folder=tmp_path, resume=True, **GIVEN)
    (path,) = (tmp_path / "checkpoints").glob("*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint in .* is damaged"):
        operators.train(smooth(), "fno", folder=tmp_path, resume=True, **GIVEN)


def test_a_checkpoint_holds_tensors_and_json_alone(tmp_path):
    operators.train(smooth(), "fno", folder=tmp_path, **GIVEN)
    (path,) = (tmp_path / "checkpoints").glob("*.pt")
    assert all(type(v) is torch.Tensor for v in read_tensors(path).values())
    record = json.loads((tmp_path / "checkpoints" / "last.json").read_text())
    assert record["epoch"] == 6 and set(record["generators"][0]) == {"torch", "cuda", "numpy", "python"}


def test_a_loss_that_is_no_number_names_the_samples_and_keeps_the_last_state(tmp_path):
    given = {**GIVEN, "ema": 0.0, "clip": 0.0, "optimiser": "sgd", "loss": "mse"}
    broken = smooth()
    operators.train(broken, "fno", folder=tmp_path, **{**given, "learning_rate": 1e-3})
    kept = (tmp_path / "checkpoints" / "last.json").read_text()
    with pytest.raises(ComputationError, match=r"no number in epoch \d+, step \d+, at samples \d.*learning_rate"):
        operators.train(broken, "fno", folder=tmp_path / "b", **{**given, "learning_rate": 1e12})
    assert (tmp_path / "checkpoints" / "last.json").read_text() == kept


def test_the_seed_decides_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    short = {**SMALL, "epochs": 2}
    runs = [state_of(operators.train(smooth(), "fno", seed=seed, **short)) for seed in (3, 3, 4)]
    assert same(runs[0], runs[1]) and not same(runs[0], runs[2])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_values_that_are_read_when_asked_for_give_the_same_training(tmp_path):
    data.write(tmp_path / "d.h5", smooth())
    held, asked = (
        operators.train(data.read(tmp_path / "d.h5"), "fno", memory_gb=gb, workers=w, **{**GIVEN, "epochs": 2})
        for gb, w in ((4.0, 0), (1e-9, 1))
    )
    assert same(state_of(held), state_of(asked))


WORKER = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_training import smooth, GIVEN
from variform import operators
torch.set_num_threads(1)
given = {{**GIVEN, "precision": "64-true", "batch": {batch}, "epochs": 3}}
operator = operators.train(smooth(13), "fno", device="cpu", **given)
operator.save({out!r})
"""


def test_two_processes_train_as_one_does(tmp_path):
    """The batch of 4 does not go evenly into the 9 samples: the last one has a single sample, for two processes."""
    for processes in (1, 2):
        script = tmp_path / f"worker{processes}.py"
        script.write_text(WORKER.format(folder=os.path.dirname(__file__), batch=4, out=str(tmp_path / str(processes))))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*torchrun, str(script)], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (operators.load(tmp_path / str(n)) for n in (1, 2))
    for a, b in zip(one.learned.parameters(), two.learned.parameters(), strict=True):
        assert (a - b).abs().max() <= 1e-6 * a.abs().max()
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in two.history], rel=1e-9)


# Bad input


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, r"unknown setting of the training of fno 'epoch'. Did you mean 'epochs'"),
        ({"epochs": "many"}, "epochs must be a whole number, got 'many'"),
        ({"learning_rate": -1}, "learning_rate must be above 0"),
        ({"loss": "l2"}, "unknown value of loss 'l2'"),
        ({"loss": "none"}, "loss=none learns without labels"),
        ({"ema": 1.0}, "ema must be below 1"),
        ({"unroll": 4}, "unroll must not be above ahead"),
        ({"learn": "change"}, "Smooth is stationary: learn=change is for evolutions"),
        ({"augment": "shifts"}, "augment=shifts is for periodic axes"),
        ({"residual": 1.0}, "no data file of ours"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        operators.train(smooth(), "fno", **given)


def test_windows_longer_than_a_trajectory_are_refused():
    with pytest.raises(InputError, match="Waves has 21 frames, too few for windows of 25"):
        operators.train(waves(), "fno", ahead=24, frames=1, unroll=24)


def test_data_without_the_channels_of_an_operator_are_refused():
    operator = operators.train(smooth(), "fno", **SMALL, epochs=1)
    line = np.linspace(0, 1, N)
    other = Dataset.of("Other", (line, line), {"b": np.ones((1, N, N))}, {"u": np.ones((1, N, N))})
    with pytest.raises(InputError, match="Other has no input 'a', which the network needs"):
        operator.examples(other)


def test_a_slurm_job_of_several_tasks_without_srun_is_told_how_to_launch(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(InputError, match=r"4 tasks, but this process trains alone: start it by `srun variform train"):
        operators.train(smooth(), "fno")
