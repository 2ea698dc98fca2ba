"""Speed and error of training: ours beside neuraloperator's Trainer, with one network, data, optimiser and schedule.

    python -m variform.benchmarks.training

A Fourier neural operator on two-phase Darcy flow, on one thread, in alternating runs of one process. All start from the
same weights and standardise inputs and outputs by the same numbers; samples/s are those of the training epochs alone,
the median over epochs after the first. The Trainer gets the network with the library's spectral convolutions, and once
with ours (`variform.operators.networks.spectral`), so that what is left is the loop. Results go to benchmarks/results/.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from neuralop.layers.spectral_convolution import SpectralConv
from torch import Tensor, nn

from variform import data, operators, runs
from variform.data.dataset import Dataset
from variform.operators.learned import Learned
from variform.operators.losses import relative_l2
from variform.operators.networks import Support
from variform.operators.networks.spectral import SpectralConvolution

RESULTS = Path(__file__).parent / "results"
SETTINGS = {"modes": 12, "width": 32, "depth": 4}
TRAIN, TEST, RESOLUTION, BATCH, EPOCHS, RATE, HALVE, DECAY = 160, 40, 33, 20, 18, 2e-3, 6, 1e-4
ROUNDS = 3


@dataclass
class Outcome:
    """Of some trainings: samples a second of every epoch but the first; relative L2 errors on the test samples."""

    samples_s: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


def main() -> None:
    """Measure, print, write the results."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "darcy.h5"
        splits = {"train": TRAIN, "test": TEST}
        plan = data.plan_of("darcy", TRAIN + TEST, resolution=RESOLUTION, splits=splits)
        data.generate(plan, path)
        found = measure(data.read(path))
    ours = found["ours"]
    record: dict[str, Any] = {"environment": {**runs.environment(), "threads": 1}, "created": runs.now()}
    rates = f"AdamW, rate {RATE} halved every {HALVE} epochs"
    size = f"darcy {RESOLUTION}^2, {TRAIN} samples, batch {BATCH}, {EPOCHS} epochs"
    record["protocol"] = f"FNO {SETTINGS}, {size}, {rates}, {ROUNDS} seeds"
    record["figures"] = [
        {
            "name": name,
            "samples_s": statistics.median(outcome.samples_s),
            "ours_over_it": statistics.median(ours.samples_s) / statistics.median(outcome.samples_s),
            "relative_l2": statistics.median(outcome.errors),
        }
        for name, outcome in found.items()
    ]
    RESULTS.mkdir(exist_ok=True)
    runs.write_json(RESULTS / "training_cpu.json", record)
    for figure in record["figures"]:
        print(
            f"{figure['name']}: {figure['samples_s']:.4g} samples/s, ours / it {figure['ours_over_it']:.2f}, "
            f"test error {figure['relative_l2']:.3g}"
        )


def measure(dataset: Dataset) -> dict[str, Outcome]:
    """All trainings, one kind after the other, ROUNDS times."""
    found = {name: Outcome() for name in ("ours", "Trainer", "Trainer, our spectral convolutions")}
    for seed in range(ROUNDS):
        _ours(dataset, seed, found["ours"])
        _trainer(dataset, seed, found["Trainer"], SpectralConv)
        _trainer(dataset, seed, found["Trainer, our spectral convolutions"], SpectralConvolution)
    return found


def _ours(dataset: Dataset, seed: int, outcome: Outcome) -> None:
    settings = {
        **SETTINGS,
        "batch": BATCH,
        "epochs": EPOCHS,
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "seed": seed,
        "schedule": "step",  # the one that both have to the last digit
        "halve": HALVE,
    }
    operator = operators.train(dataset, "fno", device="cpu", **settings)
    outcome.samples_s += [row["samples_s"] for row in operator.history[1:]]
    examples = operator.examples(dataset.part("test"))
    batch = examples.__getitems__(range(len(examples)))
    outcome.errors.append(float(relative_l2(operator(batch), batch.target).mean()))


class _Given(nn.Module):
    """Our network for the Trainer, which calls it with the fields alone."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("x", x)

    def forward(self, x: Tensor, **others: Any) -> Tensor:
        return self.network(x, Support(self.x))


def _trainer(dataset: Dataset, seed: int, outcome: Outcome, convolution: type[nn.Module]) -> None:
    from neuralop import Trainer
    from neuralop.data.transforms.data_processors import DefaultDataProcessor
    from neuralop.data.transforms.normalizers import UnitGaussianNormalizer
    from neuralop.losses import LpLoss

    parts = {name: _tensors(dataset.part(name)) for name in ("train", "test")}
    network = _Given(_learned(seed).network, _grid(dataset))
    for layer in network.modules():
        if isinstance(layer, SpectralConvolution):
            layer.__class__ = convolution  # the weights are the same
    normalisers = []
    for x in parts["train"]:
        normaliser = UnitGaussianNormalizer(dim=[0, 2, 3])
        normaliser.fit(x)
        normalisers.append(normaliser)
    processor = DefaultDataProcessor(in_normalizer=normalisers[0], out_normalizer=normalisers[1])
    loaders = {
        name: torch.utils.data.DataLoader(_Pairs(*tensors), batch_size=BATCH, shuffle=name == "train")
        for name, tensors in parts.items()
    }
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, HALVE, gamma=0.5)
    trainer = Trainer(model=network, n_epochs=EPOCHS, device="cpu", data_processor=processor, verbose=False)
    times, epoch = [], trainer.train_one_epoch

    def timed(*given: Any) -> Any:
        start = time.perf_counter()
        result = epoch(*given)
        times.append(time.perf_counter() - start)
        return result

    trainer.train_one_epoch = timed
    torch.manual_seed(seed)
    trainer.train(loaders["train"], {}, optimiser, schedule, training_loss=LpLoss(d=2))
    outcome.samples_s += [len(parts["train"][0]) / seconds for seconds in times[1:]]
    processor.eval()
    network.eval()
    with torch.no_grad():
        sample = processor.preprocess({"x": parts["test"][0], "y": parts["test"][1]})
        predicted, _ = processor.postprocess(network(**sample), sample)
    outcome.errors.append(float(relative_l2(predicted, parts["test"][1]).mean()))


@dataclass(frozen=True)
class _Pairs(torch.utils.data.Dataset):
    """As the library's data sets give them."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"x": self.x[i], "y": self.y[i]}


def _learned(seed: int) -> Learned:
    torch.manual_seed(seed)
    settings = operators.Settings.of("fno", SETTINGS)
    return Learned(settings, "solution", 1, 1, dim=2, periodic=(False, False), evolves=False)


def _tensors(part: Dataset) -> tuple[Tensor, Tensor]:
    return tuple(  # type: ignore[return-value]
        torch.as_tensor(np.asarray(part.read(part.named(role)[0]), dtype=np.float32))[:, None]
        for role in ("input", "output")
    )


def _grid(dataset: Dataset) -> Tensor:
    axes = [torch.linspace(0, 1, n) for n in dataset.grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


if __name__ == "__main__":
    main()
