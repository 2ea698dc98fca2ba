"""Train a Fourier neural operator on a data set; predict new instances."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from variform.data.store import Dataset
from variform.errors import InputError
from variform.grid import GridSolution
from variform.operators.networks import FNOSettings, fno
from variform.problem import Problem
from variform.runs import atomic, write_json
from variform.solution import Stopwatch
from variform.task import evaluate


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel over the training set; networks see the standardised fields."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, fields: Tensor) -> Scale:
        axes = [0, *range(2, fields.ndim)]
        return cls(fields.mean(axes, keepdim=True)[0], fields.std(axes, keepdim=True)[0].clamp_min(1e-4))

    def encode(self, fields: Tensor) -> Tensor:
        return (fields - self.mean) / self.deviation

    def decode(self, fields: Tensor) -> Tensor:
        return fields * self.deviation + self.mean


@dataclass(frozen=True)
class Operator:
    """A trained network with everything a prediction needs."""

    network: nn.Module
    settings: FNOSettings
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input_scale: Scale
    output_scale: Scale
    history: list[tuple[int, float]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def __call__(self, fields: Tensor) -> Tensor:
        """(B, inputs, *N) to (B, outputs, *N), in the units of the data."""
        return self.output_scale.decode(self.network(self.input_scale.encode(fields)))

    def predict(self, problem: Problem, *, resolution: int | None = None) -> GridSolution:
        """The solution of one instance on a uniform grid, by default that of the training set.

        Raises:
            InputError: the problem lacks an input of the network.
        """
        watch = Stopwatch()
        missing = [name for name in self.inputs if name not in problem.values]
        if missing:
            raise InputError(f"{problem.name} has no parameter {missing[0]!r}, an input of this network")
        geometry = problem.geometry(problem.p)
        points = resolution or self.info["resolution"]
        axes = [np.linspace(a, b, points) for a, b in zip(geometry.lower, geometry.upper, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"))
        fields = np.stack([evaluate(problem.values[name], grid) for name in self.inputs])
        with watch("predict"), torch.no_grad():
            predicted = self(torch.as_tensor(fields[None], dtype=torch.float32))[0].double().numpy()
        return GridSolution(
            values={name: values[None] for name, values in zip(self.outputs, predicted, strict=True)},
            times=np.zeros(1),
            lower=tuple(geometry.lower),
            upper=tuple(geometry.upper),
            periodic=False,
            mesh=geometry.mesh(points - 1),
            cost=watch.cost(parameters=self.num_parameters),
            discretization={
                "network": "fno",
                **asdict(self.settings),
                **self.info,
                "training_resolution": self.info["resolution"],
                "resolution": points,
            },
        )

    def save(self, folder: Path) -> None:
        """Write `operator.pt` (tensors) and `operator.json` (everything else)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items() if isinstance(v, Tensor)}
        for name, scale in (("input", self.input_scale), ("output", self.output_scale)):
            tensors |= {f"{name}.mean": scale.mean, f"{name}.deviation": scale.deviation}
        with atomic(folder / "operator.pt") as temporary:
            torch.save(tensors, temporary)
        record = {
            "settings": asdict(self.settings),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "history": self.history,
            "info": self.info,
        }
        write_json(folder / "operator.json", record)


def load(folder: Path) -> Operator:
    """Read what `Operator.save` wrote.

    Raises:
        InputError: the files are missing or damaged.
    """
    folder = Path(folder)
    try:
        record = json.loads((folder / "operator.json").read_text())
        tensors = _tensors(folder / "operator.pt")
        settings = FNOSettings(**record["settings"])
        network = fno(len(record["inputs"]), len(record["outputs"]), record["info"]["dim"], settings)
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        network.load_state_dict(weights)
        scales = [Scale(tensors[f"{name}.mean"], tensors[f"{name}.deviation"]) for name in ("input", "output")]
        history = [(int(step), float(loss)) for step, loss in record["history"]]
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{folder} holds no trained operator: {reason}") from None
    return Operator(
        network.eval(), settings, tuple(record["inputs"]), tuple(record["outputs"]), *scales, history, record["info"]
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path.name} is damaged, or holds more than tensors") from error


def train(
    data: Dataset,
    *,
    settings: FNOSettings | None = None,
    epochs: int = 100,
    seconds: float | None = None,
    batch: int = 10,
    learning_rate: float = 3e-3,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> Operator:
    """Minimise the mean relative L2 error over the training set by AdamW with one cosine cycle.

    Args:
        epochs: passes over the data; the cycle ends with the last.
        seconds: stop earlier, and let the cycle end, after this time [s].
        batch: instances a step.
        seed: of weights and order.

    Returns:
        The last iterate; its history holds (epoch, mean loss).

    Source: Li et al. 2021, arXiv:2010.08895, section 5 (loss and normalisation).
    """
    settings = settings or FNOSettings()
    inputs, outputs = _channels(data.inputs), _channels(data.outputs)
    input_scale, output_scale = Scale.of(inputs), Scale.of(outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = fno(inputs.shape[1], outputs.shape[1], inputs.ndim - 2, settings)
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    x = input_scale.encode(inputs)
    history: list[tuple[int, float]] = []
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        done = (epoch - 1) / epochs
        if seconds is not None:
            done = max(done, (time.perf_counter() - start) / seconds)
            if done >= 1:
                break
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * (1 + np.cos(np.pi * done)) / 2
        losses = []
        for rows in torch.randperm(len(x), generator=order).split(batch):
            loss = relative_l2(output_scale.decode(network(x[rows])), outputs[rows]).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        history.append((epoch, float(np.mean(losses))))
        progress(min(done, 1.0), f"epoch {epoch}, relative L2 error {history[-1][1]:.2e}")
    info = {
        "dim": inputs.ndim - 2,
        "resolution": inputs.shape[-1],
        "samples": len(data),
        "epochs": len(history),
        "batch": batch,
        "learning_rate": learning_rate,
        "seed": seed,
        "training_s": time.perf_counter() - start,
    }
    return Operator(
        network.eval(), settings, tuple(data.inputs), tuple(data.outputs), input_scale, output_scale, history, info
    )


def relative_l2(prediction: Tensor, truth: Tensor) -> Tensor:
    """||prediction - truth||_2 / ||truth||_2 of each sample, over channels and grid: (B, C, *N) to (B,)."""
    error, norm = (prediction - truth).flatten(1), truth.flatten(1)
    return error.norm(dim=1) / norm.norm(dim=1)


def _channels(fields: dict[str, np.ndarray]) -> Tensor:
    return torch.as_tensor(np.stack(list(fields.values()), axis=1), dtype=torch.float32)
