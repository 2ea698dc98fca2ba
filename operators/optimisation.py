"""The optimiser of a training, its learning rate, and averages of the weights."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from variform.operators.learned import Learned
from variform.operators.settings import Settings


@contextmanager
def without_nvml() -> Iterator[None]:
    """Fabric has torch ask NVML whether there are GPUs, which Adam does in each step: 0.3 ms where there are none."""
    before = os.environ.pop(key := "PYTORCH_NVML_BASED_CUDA_CHECK", None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[key] = before


class Swapped:
    """Other values in place of parameters while it lasts; nothing where there are none."""

    def __init__(self, parameters: list[Tensor], others: list[Tensor] | None) -> None:
        self.parameters, self.others = parameters, others

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *error: object) -> None:
        self._swap()

    def _swap(self) -> None:
        for parameter, other in zip(self.parameters, self.others or [], strict=False):
            parameter.data, other.data = other.data, parameter.data


def rate(settings: Settings, done: float, epoch: int) -> float:
    """The learning rate over its greatest, when a part `done` of all steps is."""
    s = settings
    if s.warmup and done < s.warmup:
        return done / s.warmup
    done = (done - s.warmup) / (1 - s.warmup)
    if s.schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if s.schedule == "onecycle":  # Smith and Topin 2018, with torch's defaults
        low, end = 1 / 25, 1 / 25e4
        if done < 0.3:
            return 1 + (low - 1) * (1 + math.cos(math.pi * done / 0.3)) / 2
        return end + (1 - end) * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2
    return 0.5 ** (epoch // s.halve) if s.schedule == "step" else 1.0


def optimiser(learned: Learned, settings: Settings) -> torch.optim.Optimizer:
    weights, s = list(learned.network.parameters()), settings
    if s.optimiser == "sgd":
        return torch.optim.SGD(weights, lr=s.learning_rate, momentum=0.9, weight_decay=s.weight_decay)
    kind = torch.optim.AdamW if s.optimiser == "adamw" else torch.optim.Adam
    # One kernel for all weights; torch has none for complex ones.
    parts = {fused: [w for w in weights if w.is_floating_point() == fused] for fused in (True, False)}
    groups = [{"params": part, "fused": fused} for fused, part in parts.items() if part]
    return kind(groups, lr=s.learning_rate, weight_decay=s.weight_decay)
