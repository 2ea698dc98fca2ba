"""How good a trained operator is, on samples that it has not seen; the pictures of a training."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from variform.data.dataset import Arrays, Dataset
from variform.operators.known import numbers_of
from variform.operators.losses import relative_l2

if TYPE_CHECKING:
    from variform.operators.operator import Operator

TOGETHER = 32
"""Samples that are predicted at once."""


@torch.no_grad()
def predictions(operator: Operator, data: Dataset, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Predictions and truth for all samples of a data set, (count, T, C, *N), on the CPU.

    A known part of du/dt has the numbers of these data.
    """
    examples, operator = operator.examples(data), operator.having(numbers_of(data))
    learned, found = operator.learned.to(device), []
    for part in np.array_split(np.arange(len(examples)), -(-len(examples) // TOGETHER)):
        batch = examples.__getitems__(part).to(device)
        found.append((operator(batch).cpu(), batch.target.cpu()))
    learned.to("cpu")
    predicted, truth = zip(*found, strict=True)
    return torch.cat(predicted), torch.cat(truth)


def errors(operator: Operator, data: Dataset, device: str = "cpu") -> dict[str, Any]:
    """Of the predictions of all samples of a data set: see `summary`."""
    return summary(*predictions(operator, data, device))


def summary(predicted: Tensor, truth: Tensor) -> dict[str, Any]:
    """Relative L2 error of the whole predicted block by sample: median, quartiles, mean, how many are finite."""
    values = relative_l2(predicted.double(), truth.double()).numpy()
    finite = values[np.isfinite(values)]
    q1, median, q3 = np.quantile(finite, (0.25, 0.5, 0.75)) if len(finite) else (np.nan,) * 3
    mean = float(finite.mean()) if len(finite) else float("nan")
    found = {"median": float(median), "q1": float(q1), "q3": float(q3), "mean": mean}
    return {"relative_l2": {**found, "n": len(finite), "attempted": len(values)}}


def predicted_set(operator: Operator, data: Dataset, predicted: Tensor, widths: Tensor | None = None) -> Dataset:
    """Predictions (count, T, C, *N) as a data set, with what was given; half-widths of bands are fields FIELD_band."""
    channels, evolves = operator.channels, data.times is not None and operator.learned.learn != "solution"
    outputs: dict[str, np.ndarray] = {}
    infos = {name: data.fields[name] for name in channels.given}
    for ending, values in (("", predicted), ("_band", widths)):
        begin = 0
        for name, components in channels.unknowns.items() if values is not None else ():
            part = values[:, :, begin : begin + components].double().numpy()
            begin += components
            part = np.moveaxis(part, 2, -1).reshape(*part.shape[:2], *part.shape[3:], *data.fields[name].shape)
            outputs[name + ending] = part if evolves else part[:, 0]
            infos[name + ending] = replace(data.fields[name], time_varying=evolves)
    inputs = {name: data.read(name) for name in channels.given}
    times = None
    if evolves:
        frames, stride = operator.learned.frames, operator.settings.stride
        times = data.times[(frames - 1 + np.arange(1, predicted.shape[1] + 1)) * stride]
    return Dataset(
        data.name,
        infos,
        data.coordinates,
        Arrays({**inputs, **outputs}),
        len(data),
        times,
        data.periodic,
        dict(data.parameters),
        info={"predicted_by": operator.settings.network},
    )


def draw_samples(
    operator: Operator,
    data: Dataset,
    predicted: Tensor,
    truth: Tensor,
    path: Path,
    channel: int = 0,
    *,
    worst: bool = False,
) -> Path:
    """The best, the median and the worst sample, or the three worst ones, of one component."""
    from variform.figures.predictions import draw_on_meshes, draw_predictions

    values = relative_l2(predicted.double(), truth.double()).numpy()
    order = np.argsort(np.where(np.isfinite(values), values, np.inf))
    places = {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}
    if worst or len(order) < 3:
        places = {f"sample {i}": i for i in order[:-4:-1].tolist()}
    chosen = list(places.values())
    labels = [f"{n}, {values[i]:.2e}" for n, i in places.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [part[chosen][:, :, channel].double().numpy() for part in (truth, predicted)]
    name = next(iter(operator.channels.unknowns))
    if not data.coordinates:
        meshes = [data.source.mesh(int(i)) for i in chosen]
        last = [[u[-1, : len(mesh.points)] for u, mesh in zip(part, meshes, strict=True)] for part in shown]
        return draw_on_meshes(meshes, *last, path, labels=labels, title=name)
    return draw_predictions(data.coordinates, *shown, path, labels=labels, title=name)


def peak_memory_mb() -> float:
    """Of this process; on a GPU of its memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def draw_curves(history: list[dict[str, float | None]], path: Path) -> Path:
    """Loss and error on the split "valid" over the epochs."""
    from variform.figures.multiples import multiples
    from variform.figures.page import BLUE, save

    path.parent.mkdir(parents=True, exist_ok=True)
    names = {"loss": "loss", "valid_relative_l2": "relative L2 error, valid"}
    shown = [name for name in names if any(row[name] is not None for row in history)]
    with multiples([names[name] for name in shown], "epoch") as (figure, panels):
        for name, axes in zip(shown, panels, strict=True):
            axes.semilogy([row["epoch"] for row in history], [row[name] for row in history], color=BLUE, linewidth=1.8)
        return save(figure, path)
