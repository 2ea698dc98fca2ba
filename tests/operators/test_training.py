"""Training: learning what is learnable, states that go on bit by bit, processes that agree, bad input."""

import itertools
import json
import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from variform import data, operators
from variform.data import Dataset
from variform.errors import ComputationError, InputError
from variform.operators import Settings, checkpoint, launch
from variform.operators.checkpoint import read_tensors
from variform.operators.examples import Examples, Scale, edges_of, stencil
from variform.operators.learned import Learned, integrate
from variform.operators.losses import relative_h1, relative_l2
from variform.operators.measure import errors, predictions
from variform.operators.symmetry import SYMMETRIES
from variform.operators.train import Training, rate
from variform.operators.uncertainty import Replaced

TESTS = Path(__file__).parent
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


def drifting():
    """Nine windows on a circle to learn from, which may be shifted, and two trajectories to measure on."""
    return replace(waves(5, 4), splits={"train": np.arange(3), "valid": np.arange(3, 5)})


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


GIVEN = {**SMALL, "epochs": 6, "batch": 3, "checkpoint_s": 0.0, "ema": 0.9, "clip": 1.0}
VARIED = {**GIVEN, "noise": 0.1, "augment": "shifts"}
"""Of evolutions on a torus."""


def state_of(operator):
    return {k: v for k, v in operator.learned.state_dict().items() if isinstance(v, torch.Tensor)}


@contextmanager
def stopped(monkeypatch, after):
    """A training that gets a signal in its step of this number."""
    numbers = itertools.count(1)
    with monkeypatch.context() as patch, pytest.raises(launch.Stopped, match="SIGUSR1"):
        patch.setattr(launch.Asked, "any", lambda asked: signal.SIGUSR1 if next(numbers) == after else 0)
        yield


@pytest.mark.parametrize("after", [1, 2, 7, 11])
@pytest.mark.parametrize(("made", "given"), [(smooth, GIVEN), (drifting, VARIED)])
def test_a_training_that_was_stopped_goes_on_bit_by_bit(tmp_path, monkeypatch, made, given, after):
    """Stopped after any step, in the middle of an epoch too."""
    whole = operators.train(made(), "fno", **given)
    with stopped(monkeypatch, after):
        operators.train(made(), "fno", folder=tmp_path, **given)
    again = operators.train(made(), "fno", folder=tmp_path, resume=True, **given)
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
    with pytest.raises(InputError, match=r"was trained on other data \(samples 12 -> 16\)"):
        operators.train(smooth(16), "fno", folder=tmp_path, resume=True, **GIVEN)
    finer = Dataset.of("Smooth", (np.arange(9),) * 2, {"a": np.ones((12, 9, 9))}, {"u": np.ones((12, 9, 9))})
    with pytest.raises(InputError, match=r"other data \(grid \[17, 17\] -> \[9, 9\]\): resume with the same ones"):
        operators.train(finer, "fno", folder=tmp_path, resume=True, **GIVEN)
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


def test_a_loss_that_is_no_number_names_the_samples_and_keeps_the_last_state(tmp_path, monkeypatch):
    """Of the last sample of epoch 2, whose square is too large for single precision."""
    given, folder = {**GIVEN, "loss": "mse"}, tmp_path / "new"
    bad = np.random.default_rng([0, 1]).permutation(8)[-1]
    huge = np.where(np.arange(12) == bad, 1e30, 1.0)[:, None, None]
    good = smooth()
    broken = replace(good, source=Replaced(good.source, {"u": huge * good.read("u")}))
    named = f"no number in epoch 2, step 3, at samples {bad} of the training split; take a lower learning_rate"
    with stopped(monkeypatch, after=4):
        operators.train(good, "fno", folder=folder, **given)
    kept = (folder / "checkpoints" / "last.json").read_text()
    with pytest.raises(ComputationError, match=named + r".* The last good state is kept \(last.json\)"):
        operators.train(broken, "fno", folder=folder, resume=True, **given)
    assert (folder / "checkpoints" / "last.json").read_text() == kept
    again = operators.train(good, "fno", folder=folder, resume=True, **given)
    assert same(state_of(again), state_of(operators.train(good, "fno", **given)))


@pytest.mark.parametrize(("folder", "why"), [("new", "none was written"), (None, "no folder was given")])
def test_where_no_state_was_written_none_is_said_to_be_kept(tmp_path, monkeypatch, folder, why):
    monkeypatch.setattr(
        Training, "_losses", lambda training, batch, predicted, unroll: math.nan * predicted.flatten(1).sum(1)
    )
    with pytest.raises(ComputationError, match=f"No state is kept: {why}"):
        operators.train(smooth(), "fno", folder=folder and tmp_path / folder, **GIVEN)


@pytest.mark.parametrize("epoch", [2, 6])
def test_weights_that_are_no_numbers_are_neither_saved_nor_given(tmp_path, monkeypatch, epoch):
    """They come of the last step of an epoch, whose loss is one; after the last epoch nothing else would tell."""
    plain = Training._rate
    monkeypatch.setattr(
        Training, "_rate", lambda t: math.inf if (t.state.epoch, t.state.step) == (epoch - 1, 2) else plain(t)
    )
    with pytest.raises(
        ComputationError, match=r"(loss is|weights are) no number.*last good state is kept \(last.json\)"
    ):
        operators.train(smooth(), "fno", folder=tmp_path, keep="last", **GIVEN)
    tensors, record = checkpoint.load(tmp_path / "checkpoints")
    assert record["epoch"] == epoch - 1 and all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_the_best_weights_are_given_where_the_last_ones_are_no_numbers(monkeypatch):
    plain = Training._rate
    monkeypatch.setattr(Training, "_rate", lambda t: math.inf if (t.state.epoch, t.state.step) == (5, 2) else plain(t))
    operator = operators.train(smooth(), "fno", **GIVEN)
    assert all(torch.isfinite(weight).all() for weight in state_of(operator).values())
    assert math.isnan(operator.history[-1]["valid_relative_l2"]) and operator.info["valid_relative_l2"] < 1


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


def run_together(commands, timeout=300):
    """All at once, on one thread each; none is left behind."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(command, env=environment | more, stderr=subprocess.PIPE, text=True)
        for command, more in commands
    ]
    try:
        for process in started:
            said = process.communicate(timeout=timeout)[1]
            assert process.returncode == 0, said[-2000:]
    finally:
        for process in started:
            process.terminate()  # torchrun ends its own, after 30 s by force
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.communicate()


TRAIN = """
import importlib, itertools, os, sys, types
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_training import VARIED, drifting
from variform import operators

torch.set_num_threads(1)
rank, ticks = int(os.environ["RANK"]), itertools.count()
clock = lambda: next(ticks) * (1 + 3.0 * rank)
importlib.import_module("variform.operators.train").time = types.SimpleNamespace(perf_counter=clock)
given = {{**VARIED, "precision": "64-true", "batch": 4, "epochs": 9, "seconds": 20.0, "checkpoint_s": 9.0}}
operator = operators.train(drifting(), "fno", device="cpu", folder=Path({out!r}), **given)
operator.save(Path({out!r}) / f"operator{{rank}}")
"""


def test_two_processes_train_as_one_does(tmp_path):
    """The batch of 4 does not go evenly into the 9 windows: the last one has a single one, for two processes.

    The clock of the second process goes four times as fast, that of the first one decides for both.
    """
    for processes in (1, 2):
        script = tmp_path / f"train{processes}.py"
        script.write_text(TRAIN.format(tests=str(TESTS), out=str(tmp_path / str(processes))))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        run_together([([*torchrun, str(script)], {})])
    one, two, second = (operators.load(tmp_path / name) for name in ("1/operator0", "2/operator0", "2/operator1"))
    for a, b, c in zip(*(operator.learned.parameters() for operator in (one, two, second)), strict=True):
        assert (a - b).abs().max() <= 1e-12 * a.abs().max() and torch.equal(b, c)
    assert [row["loss"] for row in one.history] == pytest.approx([row["loss"] for row in two.history], rel=1e-12)
    assert 2 < len(one.history) < 9


FAIL = """
import os, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_training import GIVEN, smooth
from variform import operators
from variform.errors import ComputationError
from variform.operators.train import Training

torch.set_num_threads(1)
plain = Training._losses
Training._losses = lambda self, batch, *more: plain(self, batch, *more).where(batch.samples != {bad}, torch.nan)
try:
    operators.train(smooth(13), "fno", device="cpu", **{{**GIVEN, "batch": 4}})
except ComputationError as error:
    (Path({out!r}) / os.environ["SLURM_PROCID"]).write_text(str(error))
"""


def test_tasks_of_an_interactive_job_train_together_and_stop_together(tmp_path):
    """At a loss of the second one that is no number."""
    bad = int(np.random.default_rng([0, 0]).permutation(9)[1])
    script = tmp_path / "fail.py"
    script.write_text(FAIL.format(tests=str(TESTS), out=str(tmp_path), bad=bad))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    step = {"SLURM_JOB_NAME": "interactive", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NODEID": "0"}
    ranks = [{"SLURM_PROCID": rank, "SLURM_LOCALID": rank} for rank in "01"]
    run_together([([sys.executable, str(script)], {**address, **step, **rank}) for rank in ranks])
    said = [(tmp_path / rank).read_text() for rank in "01"]
    assert said[0] == said[1] and f"no number in epoch 1, step 1, at samples {bad} of the training split" in said[0]


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
        ({"epochs": "inf"}, "epochs must be a whole number, got 'inf'"),
        ({"epochs": 10**400}, "epochs must be a whole number, got 1000"),
        ({"seed": "1e30"}, r"seed must be below 2\*\*63, got 1\d{30}"),
        ({"padding": -3}, "padding must be 0 or above and finite, got -3"),
        ({"padding": "inf"}, "padding must be 0 or above and finite, got inf"),
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
    for name in ("batch", "interactive"):
        monkeypatch.setenv("SLURM_JOB_NAME", name)
        with pytest.raises(InputError, match=r"4 tasks, but this process trains alone: start it by `srun variform tra"):
            operators.train(smooth(), "fno")


def test_what_a_kill_left_half_written_goes_with_the_next_checkpoint(tmp_path):
    torn, foreign = (tmp_path / name for name in (".step-00000003.77.pt", ".nfs0001"))
    for path in (torn, foreign):
        path.write_bytes(b"half")
    checkpoint.save(tmp_path, 4, {"a": torch.ones(2)}, {"epoch": 1})
    assert sorted(p.name for p in tmp_path.iterdir()) == [foreign.name, "last.json", "step-00000004.pt"]
