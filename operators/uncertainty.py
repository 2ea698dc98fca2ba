"""Bands about the predictions of a trained operator that hold what is true, with a probability that is guaranteed.

A second network learns how large the errors are, point by point, as a quantile; one factor then makes the band as wide
as samples that neither network has seen say it must be.

Source: Ma, Pitt, Azizzadenesheli and Anandkumar, Calibrated uncertainty quantification for operator learning via
conformal prediction, TMLR 2024 (arXiv:2402.01960).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform.data.dataset import Dataset, Samples, Source
from variform.errors import InputError, unknown
from variform.grid import GridSolution
from variform.mesh import Mesh
from variform.operators import launch
from variform.operators.examples import INSIDE
from variform.operators.measure import predictions
from variform.operators.operator import Operator, load
from variform.operators.settings import Settings
from variform.operators.train import Training, identity
from variform.runs import read_record, write_json
from variform.task import Task

RECORD, WIDTH = "band.json", "band"
LEAST = 1e-3
"""Half-widths below this part of the mean error count as it."""


def quantile_loss(width: Tensor, error: Tensor, alpha: float) -> Tensor:
    """max(q d, (q - 1) d) / (2 q (1 - q) s), d = |error| - width, q = 1 - alpha, the mean over all values of a sample.

    Least where a part alpha of the errors exceeds the width. s is the largest error of the batch at the point, so that
    all points count alike. The same as `neuralop.losses.PointwiseQuantileLoss`, which adds up the samples.

    Args:
        width, error: (B, ...).

    Returns:
        (B,)
    """
    q, size = 1 - alpha, error.abs()
    d, scale = size - width, size.amax(dim=0)
    scale = scale + 1e-7 * scale.max().clamp_min(1e-30)
    return (torch.maximum(q * d, (q - 1) * d) / (2 * q * (1 - q) * scale)).flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Level:
    """With probability 1 - delta at least a part 1 - alpha of the points of a sample lies in its band.

    The probability is over the sample and over those that it was calibrated on, all drawn alike.
    """

    alpha: float = 0.1
    delta: float = 0.1

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (isinstance(value, int | float) and 0 < value < 1):
                raise InputError(f"{name} must be above 0 and below 1, got {value}")

    def scores(self, error: Tensor, width: Tensor, inside: Tensor | None = None) -> np.ndarray:
        """The factor of each sample that makes its band just wide enough: a quantile of |error| / width.

        Args:
            error, width: (n, ...).
            inside: 0 where a point does not count, (n, ...) of the same shape.
        """
        ratios = (error.abs() / width).flatten(1).double().numpy()
        counts = np.ones_like(ratios, dtype=bool) if inside is None else inside.flatten(1).numpy() > 0
        found = []
        for row, count in zip(ratios, counts, strict=True):
            values = np.sort(row[count])
            found.append(values[_above((1 - self.alpha) * len(values)) - 1])
        return np.array(found)

    def factor(self, scores: np.ndarray) -> float:
        """The smallest score that as many as ceil((n + 1)(1 - delta)) of n do not exceed.

        Raises:
            InputError: there are too few samples for this delta.
        """
        n, rank = len(scores), _above((len(scores) + 1) * (1 - self.delta))
        if rank > n:
            need = _above((1 - self.delta) / self.delta)
            raise InputError(f"delta={self.delta:g} takes {need} or more samples to calibrate on, there are {n}")
        return float(np.sort(scores)[rank - 1])


def _above(number: float) -> int:
    """The whole number that is not below, but for rounding."""
    return math.ceil(number - 1e-9)


@dataclass(frozen=True)
class Band:
    """An operator, and how far the truth may be from what it predicts.

    Args:
        base: what predicts.
        width: predicts quantiles of |truth - prediction|, under the names of the unknowns.
        least: the smallest half-width of each component, (C,).
        factor: by which half-widths are multiplied.
        info: JSON content: what it was calibrated on.
    """

    base: Operator
    width: Operator
    least: tuple[float, ...]
    level: Level
    factor: float = 1.0
    info: dict[str, Any] = field(default_factory=dict)

    def predictions(self, data: Dataset, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
        """Predictions, half-widths and truth of all samples of a data set, (count, 1, C, *N)."""
        predicted, truth = predictions(self.base, data, device)
        return predicted, self._widened(predictions(self.width, data, device)[0]), truth

    def predict(self, task: Task, *, resolution: int | None = None) -> GridSolution:
        """The solution of one instance on a grid, with the half-width of each field FIELD as the field FIELD_band."""
        solution = self.base.predict(task, resolution=resolution)
        widths = self.width.predict(task, resolution=resolution)
        values, begin = dict(solution.values), 0
        for name, components in self.base.channels.unknowns.items():
            least = np.reshape(self.least[begin : begin + components], (-1, *[1] * solution.dim))
            least = least if components > 1 else least[0]
            values[f"{name}_band"] = self.factor * np.maximum(widths.values[name], least)
            begin += components
        about = {"alpha": self.level.alpha, "delta": self.level.delta, "factor": self.factor}
        return replace(solution, values=values, discretization={**solution.discretization, "band": about})

    def _widened(self, widths: Tensor) -> Tensor:
        least = torch.as_tensor(self.least, dtype=widths.dtype).reshape(-1, *[1] * (widths.ndim - 3))
        return self.factor * torch.maximum(widths, least)

    def calibrated(self, data: Dataset, device: str = "cpu") -> Band:
        """The same with the factor that these samples ask for, which neither network may have learned from."""
        plain = replace(self, factor=1.0)
        predicted, widths, truth = plain.predictions(data, device)
        scores = self.level.scores(truth - predicted, widths, _inside(data, truth))
        info = {"calibrated_on": {**identity(data), "samples": len(data)}}
        return replace(self, factor=self.level.factor(scores), info={**self.info, **info})

    def save(self, folder: Path) -> None:
        """The operator's own files, those of the widths in `band`, and `band.json`."""
        folder = Path(folder)
        self.base.save(folder)
        self.width.save(folder / WIDTH)
        record = {"least": list(self.least), "level": asdict(self.level), "factor": self.factor, "info": self.info}
        write_json(folder / RECORD, record)


def is_band(folder: Path) -> bool:
    return (Path(folder) / RECORD).is_file()


def load_band(folder: Path) -> Band:
    """Read what `Band.save` wrote.

    Raises:
        InputError: the files are missing or damaged.
    """
    folder = Path(folder)
    record = read_record(folder, RECORD)
    try:
        least, level, factor = tuple(map(float, record["least"])), Level(**record["level"]), float(record["factor"])
        info = dict(record["info"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / RECORD} is damaged: {error}") from None
    return Band(load(folder), load(folder / WIDTH), least, level, factor, info)


def coverage(band: Band, predicted: Tensor, widths: Tensor, truth: Tensor, data: Dataset) -> dict[str, float]:
    """How much of the truth lies in the bands.

    Returns:
        points: mean part of a sample's points; samples: part of the samples with at least 1 - alpha of their points;
        half_width: its mean, relative to the root mean square of the truth.
    """
    inside = _inside(data, truth)
    counts = torch.ones_like(truth) if inside is None else inside
    within = (((truth - predicted).abs() <= widths) * counts).flatten(1).double().sum(1) / counts.flatten(1).sum(1)
    enough = within >= 1 - band.level.alpha - 1e-9
    size = widths.double().mean() / truth.double().square().mean().sqrt()
    return {"points": float(within.mean()), "samples": float(enough.double().mean()), "half_width": float(size)}


def _inside(data: Dataset, like: Tensor) -> Tensor | None:
    """1 where a value lies in the domain, in the shape of the truth; None where everything does."""
    if INSIDE not in data.fields:
        return None
    return torch.as_tensor(np.array(data.read(INSIDE)))[:, None, None].expand_as(like)


@dataclass(frozen=True)
class Replaced:
    """Other values in place of some fields of a source."""

    whole: Source
    values: dict[str, np.ndarray]

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        return self.values[name][samples] if name in self.values else self.whole.read(name, samples, times)

    def mesh(self, sample: int) -> Mesh | None:
        return self.whole.mesh(sample)


def errors_of(base: Operator, data: Dataset, device: str = "cpu") -> Dataset:
    """The data set with |truth - prediction| in place of its outputs."""
    predicted, truth = predictions(base, data, device)
    size, values, begin = (truth - predicted).abs()[:, 0].numpy(), {}, 0
    for name, components in base.channels.unknowns.items():
        part = np.moveaxis(size[:, begin : begin + components], 1, -1)
        values[name] = part.reshape(*part.shape[:-1], *data.fields[name].shape)
        begin += components
    return replace(data, source=Replaced(data.source, values))


class WidthTraining(Training):
    """A training on the quantile loss."""

    alpha = 0.1

    def _losses(self, batch: Any, prediction: Tensor, unroll: int) -> Tensor:
        return quantile_loss(prediction, batch.target, self.alpha)


def train_band(
    base: Operator,
    data: Dataset,
    settings: Settings,
    level: Level = Level(),
    *,
    calibrate: str = "valid",
    folder: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> Band:
    """Learn the errors of an operator on the split "train", then calibrate on another split.

    The widths are best learned from samples that the operator has not learned from, where errors are larger; the
    factor makes up for it where they are not. The guarantee is exact where the split to calibrate on had no part in
    choosing the operator's weights (keep=last, or another file).

    Args:
        settings: of the network of the widths; its loss is the quantile loss.
        calibrate: name of the split.
        folder, resume, device, progress: as of `train`.

    Raises:
        InputError: the operator predicts frames, or the data have no such splits.
    """
    if base.learned.frames:
        raise InputError("bands are about solutions of stationary problems: this operator learned an evolution")
    for name in ("train", calibrate):
        if name not in data.splits:
            raise unknown(f"split of data set {data.name}", name, data.splits)
    if calibrate == "train":
        raise InputError("calibrate must be another split than 'train', from which the widths are learned")
    level.factor(np.zeros(len(data.splits[calibrate])))  # before any work: are there enough?
    on = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    errors = errors_of(base, data.part("train"), on)
    learned = _learned(errors, settings, level, folder, resume, device, progress)
    means = [
        np.abs(errors.read(name)).reshape(len(errors), -1, count) for name, count in base.channels.unknowns.items()
    ]
    least = [float(LEAST * value) or 1e-30 for mean in means for value in mean.mean(axis=(0, 1))]
    same = base.info["data"] == identity(data) and base.settings.keep == "best" and calibrate == "valid"
    info = {"split": calibrate, "chosen_on_it": same}
    return Band(base, learned, tuple(least), level, info=info).calibrated(data.part(calibrate), on)


def _learned(
    errors: Dataset, settings: Settings, level: Level, folder: Path | None, resume: bool, device: str, progress: Any
) -> Operator:
    fabric = launch.fabric(settings.precision, device)
    with torch.random.fork_rng(), launch.watched(fabric) as asked:
        training = WidthTraining(fabric, errors, settings, folder, progress)
        training.alpha = level.alpha
        if resume:
            training.restore()
        training.run(asked)
        return training.operator()
