"""Exported networks: a process that knows nothing but torch predicts the same."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from variform import operators
from variform.data import Dataset
from variform.errors import InputError
from variform.operators.export import DESCRIPTION, describe, export
from variform.operators.networks.unet import UNet

N = 12
SMALL = {
    "fno": {"modes": 4, "width": 8, "depth": 2},
    "unet": {"width": 8, "depth": 1},
    "transolver": {"width": 16, "depth": 2, "heads": 2, "slices": 8},
    "deeponet": {"width": 16, "depth": 2, "sensors": 5},
    "mamba": {"width": 16, "depth": 1, "slices": 8, "states": 4},
}
ALONE = """
import json, sys
import torch

said = {name: ""}
run = torch.export.load(path, extra_files=said).module()
assert not [module for module in sys.modules if module.startswith(("variform", "neuralop", "tensorly"))]
given = torch.load(batches)
torch.save([run(fields) for fields in given], batches)
print(said[name])
"""


def smooth(count=6):
    line = np.linspace(0, 1, N)
    x, y = np.meshgrid(line, line, indexing="ij")
    c = np.random.default_rng(0).uniform(0.5, 1.5, (count, 1, 1))
    a = 1 + c * np.sin(np.pi * x) * y
    numbers = {"k": 3 + c[:, 0, 0]}
    return Dataset.of("Smooth", (line, line), {"a": a}, {"u": 40 + 7 * c * np.log(a)}, parameters=numbers)


def alone(path, batches, tmp_path):
    """What a fresh process makes of the batches, and the description that it reads."""
    torch.save(batches, tmp_path / "batches.pt")
    words = f"name, path, batches = {DESCRIPTION!r}, {str(path)!r}, {str(tmp_path / 'batches.pt')!r}\n"
    found = subprocess.run(
        [sys.executable, "-c", words + ALONE], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    return torch.load(tmp_path / "batches.pt"), json.loads(found.stdout)


QUICK = "fno"
NAMES = [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]


@pytest.mark.parametrize("name", NAMES)
def test_a_process_with_torch_alone_predicts_the_same_in_batches_of_any_size(name, tmp_path):
    data = smooth()
    operator = operators.train(data, name, **SMALL[name], epochs=2, batch=3)
    path = export(operator, tmp_path / "network.pt2")
    batches = [operator.examples(data).__getitems__(part) for part in ([0], [1, 2], [0, 1, 2, 3, 4])]
    found, said = alone(path, [batch.static for batch in batches], tmp_path)
    for batch, prediction in zip(batches, found, strict=True):
        truth = operator(batch)[:, 0]
        assert prediction.shape == truth.shape and (prediction - truth).norm() <= 1e-6 * truth.norm()
    assert said == json.loads(json.dumps(describe(operator)))
    assert (said["inputs"], said["outputs"], said["grid"], said["dt"]) == (["a", "k"], ["u"], [N, N], None)


@pytest.mark.parametrize("learn", ["next", "change"])
def test_a_step_of_an_evolution_is_exported_with_its_scheme(learn, tmp_path):
    x, t = np.arange(16) / 16, 0.1 * np.arange(6)
    u = np.stack([np.sin(2 * np.pi * (x - s)) for s in np.linspace(0, 1, 5)])[:, None] * np.exp(-t)[:, None]
    data = Dataset.of("Waves", (x,), {}, {"u": u}, times=t, periodic=(True,))
    frames = 2 if learn == "next" else 1
    operator = operators.train(data, "fno", **SMALL["fno"], epochs=2, learn=learn, frames=frames, substeps=2)
    run = torch.export.load(export(operator, tmp_path / "step.pt2")).module()
    batch = operator.examples(data).__getitems__([0, 3, 4])
    found = run(batch.frames.flatten(1, 2))
    assert torch.allclose(found, operator(batch, 1)[:, 0], rtol=1e-6, atol=1e-7)
    assert describe(operator)["inputs"] == ["u 1 frames ago", "u"][-frames:]
    assert describe(operator)["dt"] == pytest.approx(0.1)


def test_what_cannot_be_exported_is_said_in_one_line_and_leaves_no_file(tmp_path, monkeypatch):
    operator = operators.train(smooth(), "unet", **SMALL["unet"], epochs=1)
    forward = UNet.forward

    def by_value(self, fields, support):
        return forward(self, fields, support) if fields.sum() > 0 else -forward(self, fields, support)

    monkeypatch.setattr(UNet, "forward", by_value)
    with pytest.raises(InputError, match=r"^the network unet cannot be exported: .+$") as refused:
        export(operator, tmp_path / "f.pt2")
    assert "\n" not in str(refused.value) and not list(tmp_path.iterdir())
