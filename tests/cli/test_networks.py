"""Training, predicting, bands and export from the command line."""

import json
import signal
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from variform import data, meshes, operators
from variform.cli.output import Terminated
from variform.data import Dataset
from variform.data.dataset import FieldInfo
from variform.mesh import Mesh
from variform.operators import launch
from variform.operators.train import Training
from variform.operators.uncertainty import load_band
from variform.problems import load as problem_named

SUITE = """
title = "A suite of one training"

[[set]]
name = "tiny"
title = "Tiny"
data = { name = "darcy_lognormal", train = 4, valid = 1, test = 1, resolution = 9, mesh = 16 }
common = { epochs = 2, batch = 2 }

[[set.row]]
method = "fno"
label = "FNO"
settings = { modes = 3, width = 4, depth = 1 }
"""
N, SMALL = 17, ("--set", "modes=3", "--set", "width=6", "--set", "depth=1", "--set", "epochs=3")


@dataclass(frozen=True)
class OnOneMesh:
    values: dict
    shared: Mesh

    def read(self, name, samples, times):
        return self.values[name][samples]

    def mesh(self, sample):
        return self.shared


@pytest.fixture
def samples(tmp_path):
    """Fields of a wave, and a map of them with noise that grows along x."""
    rng, line = np.random.default_rng(0), np.linspace(0, 1, N)
    x, y = np.meshgrid(line, line, indexing="ij")
    a = 1 + rng.uniform(-0.5, 0.5, (60, 1, 1)) * np.sin(np.pi * x) * y
    u = x * np.log(a) + y + 0.1 * x * rng.standard_normal(a.shape)
    splits = {"train": np.arange(20), "valid": np.arange(20, 40), "test": np.arange(40, 60)}
    path = tmp_path / "d.h5"
    data.write(path, Dataset.of("Wave", (line, line), {"a": a}, {"u": u}, splits=splits))
    return path


def run_of(variform, samples, folder, *words):
    result = variform("train", "fno", str(samples), *SMALL, *words, "--out", str(folder))
    assert (result.code, result.err) == (0, ""), result.err
    return folder


def test_a_band_is_trained_measured_and_predicts(variform, samples, tmp_path):
    base = run_of(variform, samples, tmp_path / "R")
    words = ["uqno", str(samples), "--set", f"base={base}", "--set", "epochs=3", "--set", "delta=0.2"]
    result = variform("train", *words, "--out", str(tmp_path / "U"))
    assert (result.code, result.err) == (0, "") and "90% of the points in 80% of the samples" in result.out
    record = json.loads((tmp_path / "U" / "run.json").read_text())
    assert record["status"] == "done" and record["metrics"]["band"]["chosen_on_it"]
    assert record["metrics"]["test"]["coverage"]["samples"] >= 0.5
    assert record["settings"]["options"] == {"modes": 3, "width": 6, "depth": 1}
    again = variform("train", *words, "--out", str(tmp_path / "U"), "--resume")
    assert again.code == 0 and "guaranteed" in again.out
    out = tmp_path / "P"
    result = variform("predict", str(tmp_path / "U"), str(samples), "--split", "test", "--out", str(out))
    assert result.code == 0 and "of the points" in result.out
    written = data.read(out / "predictions.h5")
    band, held = load_band(tmp_path / "U"), data.read(samples).part("test")
    predicted, widths, _ = band.predictions(held)
    assert np.allclose(written.read("u"), predicted[:, 0, 0]) and np.allclose(written.read("u_band"), widths[:, 0, 0])


def test_a_band_without_its_base_is_refused_in_one_line(variform, samples, tmp_path):
    for words, said in (
        ((), "uqno puts a band about the predictions of a trained network: name its run folder, --set base=RUN"),
        (("--set", "base=nowhere"), "nowhere is no run folder"),
        (("--submit",), "uqno trains here"),
    ):
        result = variform("train", "uqno", str(samples), *words, "--out", str(tmp_path / "U"))
        assert result.code == 2 and said in result.err and result.err.count("\n") == 1
        assert not (tmp_path / "U").exists()


def test_a_network_is_exported(variform, samples, tmp_path):
    base, file = run_of(variform, samples, tmp_path / "R"), tmp_path / "network.pt2"
    result = variform("predict", str(base), "--export", str(file))
    assert result.code == 0 and "(batch, 1, 17 x 17): a" in result.out
    operator = operators.load(base)
    batch = operator.examples(data.read(samples)).__getitems__([0, 1])
    found = torch.export.load(file).module()(batch.static)
    assert torch.allclose(found, operator(batch)[:, 0], rtol=1e-6, atol=1e-7)
    for words, said in (
        ((), "name what to predict, INPUT"),
        (("--export", str(file)), "is there already: choose another name"),
        ((str(samples), "--export", str(tmp_path / "b.pt2")), "leave out INPUT"),
        (("poisson", "--resolution", "9", "--mesh", "9"), "leave one of them out"),
        (("poisson", "--mesh", "9"), "was trained on a grid"),
        ((str(samples), "--mesh", "9"), "--mesh is for problems"),
    ):
        result = variform("predict", str(base), *words)
        assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result.err


def test_a_network_of_meshes_predicts_an_instance_on_a_mesh_and_draws_it(variform, tmp_path):
    mesh = (task := problem_named("poisson")()).geometry(task.p).mesh(4, 1)
    k = np.array([0.5, 1.0, 1.5])
    u = mesh.points[:, 1] / k[:, None]
    infos = {"u": FieldInfo("output")}
    made = Dataset("Poisson", infos, (), OnOneMesh({"u": u}, mesh), 3, parameters={"conductivity": k})
    operators.train(made, "transolver", width=8, depth=1, heads=1, slices=4, epochs=2).save(tmp_path / "R")
    meshes.write(tmp_path / "square.vtu", mesh, {})
    for name, given in (("A", "6"), ("B", str(tmp_path / "square.vtu"))):
        out = tmp_path / name
        result = variform("predict", str(tmp_path / "R"), "poisson", "--mesh", given, "--json", "--out", str(out))
        assert (result.code, result.err) == (0, "") and json.loads(result.out)["discretization"]["degree"] == 1
        assert (out / "solution.npz").is_file() and (out / "figures" / "u.png").is_file()
    result = variform("predict", str(tmp_path / "R"), "--export", str(tmp_path / "f.pt2"))
    assert result.code == 2 and "only those on grids are exported" in result.err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_suite_that_is_stopped_while_it_trains_says_so_and_goes_on(variform, tmp_path, monkeypatch, sent, code):
    (tmp_path / "tiny.toml").write_text(SUITE)
    words = ["bench", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "B")]
    with monkeypatch.context() as patch:
        patch.setattr(launch.Asked, "any", lambda asked: sent)
        result = variform(*words)
    assert (result.code, result.err) == (
        code,
        f"variform: stopped by {sent.name}, and saved: the same command goes on\n",
    )
    again = variform(*words)
    assert (again.code, again.err) == (0, "") and "FNO" in again.out


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_refused_resume_leaves_the_run_as_it_was(variform, samples, tmp_path, monkeypatch, checkpoint):
    run, band, other = tmp_path / "R", tmp_path / "U", tmp_path / "other.h5"
    line = np.linspace(0, 1, N)
    data.write(other, Dataset.of("Other", (line, line), {"a": np.ones((2, N, N))}, {"u": np.ones((2, N, N))}))
    base = run_of(variform, samples, tmp_path / "B")
    networks = {run: ("fno", *SMALL), band: ("uqno", "--set", f"base={base}", "--set", "epochs=2")}
    for folder, (name, *words) in networks.items():
        given = [name, str(samples), *words, "--out", str(folder)]
        with monkeypatch.context() as patch:
            patch.setattr(launch.Asked, "any", lambda asked: signal.SIGTERM)
            if not checkpoint:
                patch.setattr("variform.operators.checkpoint.save", lambda *what: None)
            assert variform("train", *given).code == 143
        before = (folder / "run.json").read_text()
        assert json.loads(before)["status"] == "interrupted"
        for changed, said in (
            ([*given, "--set", "learning_rate=1"], "has other settings (learning_rate)"),
            ([name, str(other), *words, "--out", str(folder)], "was trained on other data"),
        ):
            result = variform("train", *changed, "--resume")
            assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result.err
            assert (folder / "run.json").read_text() == before
        again = variform("train", name, str(samples), "--out", str(folder), "--resume")
        assert (again.code, again.err) == (0, ""), again.err
    result = variform("train", "uqno", str(samples), "--set", "delta=0.3", "--out", str(band), "--resume")
    assert result.code == 2 and "has other settings (delta)" in result.err


@pytest.mark.parametrize("place", [(Training, "run"), (operators.Operator, "save")])
@pytest.mark.parametrize(
    ("error", "code", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted", "interrupted"),
        (Terminated(), 143, "interrupted", "terminated"),
        (OSError(28, "No space left on device", "R"), 1, "failed", "R: No space left on device"),
        (MemoryError(), 1, "failed", "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), 1, "failed", "out of memory"),
    ],
)
def test_a_training_that_ends_early_marks_its_run(
    variform, samples, tmp_path, monkeypatch, place, error, code, status, said
):
    def fail(*given):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(*place, fail)
        result = variform("train", "fno", str(samples), *SMALL, "--out", str(tmp_path / "R"))
    assert result.code == code and said in result.err and result.err.count("\n") == 1
    assert json.loads((tmp_path / "R" / "run.json").read_text())["status"] == status
    if status == "interrupted":
        assert variform("train", "fno", str(samples), "--out", str(tmp_path / "R"), "--resume").code == 0


def test_devices_and_numbers_that_do_not_fit_are_refused_in_one_line(variform, samples, tmp_path, monkeypatch):
    base = run_of(variform, samples, tmp_path / "R")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words, said in (
        (("train", "fno", str(samples), "--device", "cuda"), "device cuda: there is none here"),
        (("predict", str(base), str(samples), "--device", "cuda"), "device cuda: there is none here"),
        (("predict", str(base), str(samples), "--device", "foo"), "unknown device 'foo'"),
        (("predict", str(base), "darcy", "--steps", "-2"), "'--steps': Input should be greater than or equal to 1"),
        (
            ("predict", str(base), "darcy", "--resolution", "-5"),
            "'--resolution': Input should be greater than or equal to 2",
        ),
    ):
        result = variform(*words, "--out", str(tmp_path / "O"))
        assert result.code == 2 and said in result.err and result.err.count("\n") == 1, result.err
        assert not (tmp_path / "O").exists()
