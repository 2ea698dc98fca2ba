"""Data sets for torch: samples and windows of trajectories, loaded by as many processes as wanted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from variform.data.check import not_finite
from variform.data.dataset import Dataset
from variform.errors import InputError


def usable(data: Dataset) -> Dataset:
    """The samples that are finite; the others are counted, listed and left out with a warning."""
    odd = sorted({*data.bad, *not_finite(data)})
    if not odd:
        return data
    if len(odd) == len(data):
        raise InputError(f"no sample of {data.name} has finite values only")
    shown = ", ".join(map(str, odd[:10])) + (", ..." if len(odd) > 10 else "")
    warnings.warn(f"{len(odd)} of {len(data)} samples of {data.name} are left out: {shown}", stacklevel=2)
    return data.only(np.setdiff1d(np.arange(len(data)), odd))


@dataclass(frozen=True)
class Pairs(TorchDataset):
    """Inputs and outputs of every sample: (C_in, *N) and (C_out, *N), components of vectors being channels.

    Args:
        data: on a grid. Outputs of an evolution are those at the last time, and its first time is an input.
        dtype: of the tensors.
    """

    data: Dataset
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, sample: int) -> tuple[Tensor, Tensor]:
        data, evolves = self.data, self.data.times is not None
        inputs = [self._channels(name, sample, slice(0, 1)) for name in data.named("input")]
        outputs = [self._channels(name, sample, slice(-1, None)) for name in data.named("output")]
        if evolves:
            inputs += [self._channels(name, sample, slice(0, 1)) for name in data.named("output")]
        return torch.cat(inputs), torch.cat(outputs)

    def _channels(self, name: str, sample: int, times: slice) -> Tensor:
        return channels(self.data, name, sample, times, self.dtype).flatten(0, 1)


@dataclass(frozen=True)
class Windows(TorchDataset):
    """Frames that follow each other: (T_in, C, *N) and, after them, (T_out, C, *N), of all outputs.

    Args:
        data: of an evolution, on a grid.
        frames: T_in.
        ahead: T_out.
        stride: times between two frames.
        every: times between the first frames of two windows.
    """

    data: Dataset
    frames: int = 1
    ahead: int = 1
    stride: int = 1
    every: int = 1
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        if self.data.times is None:
            raise InputError(f"{self.data.name} is stationary: it has no windows of time")
        if self.in_each < 1:
            raise InputError(
                f"{self.data.name} has {len(self.data.times)} times, too few for {self.frames} + {self.ahead} frames "
                f"with stride {self.stride}"
            )

    @property
    def in_each(self) -> int:
        """Windows in one trajectory."""
        span = (self.frames + self.ahead - 1) * self.stride + 1
        return (len(self.data.times) - span) // self.every + 1

    def __len__(self) -> int:
        return len(self.data) * self.in_each

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        sample, window = divmod(number, self.in_each)
        begin = window * self.every
        times = slice(begin, begin + (self.frames + self.ahead - 1) * self.stride + 1, self.stride)
        fields = [channels(self.data, name, sample, times, self.dtype) for name in self.data.named("output")]
        return tuple(torch.cat(fields, dim=1).split([self.frames, self.ahead]))  # type: ignore[return-value]


def channels(data: Dataset, name: str, sample: int, times: slice, dtype: torch.dtype) -> Tensor:
    """One field of one sample as (T, C, *N); T is 1 if it does not vary in time."""
    info = data.fields[name]
    values = data.source.read(name, slice(sample, sample + 1), times if info.time_varying else slice(None))[0]
    values = values if info.time_varying else values[None]
    flat = values.reshape(*values.shape[: values.ndim - len(info.shape)], -1)
    return torch.as_tensor(np.ascontiguousarray(np.moveaxis(flat, -1, 1)), dtype=dtype)


def loader(
    samples: TorchDataset,
    batch: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    workers: int = 0,
    start: Literal["fork", "spawn", "forkserver"] = "forkserver",
    sampler: Sequence[int] | None = None,
) -> DataLoader:
    """Batches in an order that the seed alone decides; processes that load stay from epoch to epoch."""
    return DataLoader(
        samples,
        batch_size=batch,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
        multiprocessing_context=start if workers else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
