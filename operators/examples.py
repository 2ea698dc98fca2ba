"""What a network is shown: inputs, frames and targets of a data set, as tensors (B, channels, *N)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from variform.data.dataset import Dataset
from variform.errors import InputError
from variform.operators.known import Known, closures
from variform.operators.networks import Support
from variform.operators.settings import Settings

INSIDE = "inside"
"""The field that marks the domain in its box: predictions are zero elsewhere, as the data are."""


class Batch(NamedTuple):
    """Some examples. B of them, S static inputs, C components of the unknowns, on a grid or at points *N.

    Args:
        samples: their numbers in the data set, (B,).
        static: fields given and numbers that differ, as constant fields, (B, S, *N).
        frames: (B, T, C, *N), of evolutions: the last is the present one.
        target: (B, T, C, *N): what follows, or the solution (T = 1), or what is to be learnt of du/dt (T = 1).
        inside: 1 in the domain, 0 elsewhere, (B, 1, *N); None where the domain is the box.
        x: coordinates in the unit box, (1 or B, dim, *N).
    """

    samples: Tensor
    static: Tensor
    frames: Tensor | None
    target: Tensor
    inside: Tensor | None
    x: Tensor
    edges: Tensor | None = None

    @property
    def support(self) -> Support:
        return Support(self.x, self.edges)

    def to(self, device: torch.device | str) -> Batch:
        return Batch(*(value if value is None else value.to(device, non_blocking=True) for value in self))


@dataclass(frozen=True)
class Channels:
    """Which columns of a data set become which channels.

    Args:
        given: input fields -> components.
        numbers: parameters that differ between samples.
        unknowns: output fields -> components; what a closure has to give is stored, and is none of them.
        lower, upper: corners of the box that x is scaled to [m].
    """

    given: dict[str, int]
    numbers: tuple[str, ...]
    unknowns: dict[str, int]
    lower: tuple[float, ...]
    upper: tuple[float, ...]

    @classmethod
    def of(cls, data: Dataset) -> Channels:
        def components(role: str) -> dict[str, int]:
            names = [n for n in data.named(role) if n not in closures(data).values()]  # type: ignore[arg-type]
            return {n: int(np.prod(data.fields[n].shape, dtype=int)) for n in names}

        if not components("output"):
            raise InputError(f"{data.name} has no outputs: there is nothing to learn")
        varying = tuple(name for name, column in data.parameters.items() if len(column) and np.ptp(column) > 0)
        lower, upper = _box(data)
        return cls(components("input"), varying, components("output"), lower, upper)

    @property
    def static(self) -> int:
        return sum(self.given.values()) + len(self.numbers)

    @property
    def components(self) -> int:
        return sum(self.unknowns.values())


def periodic(data: Dataset) -> tuple[bool, ...]:
    """Of each axis of the grid; () on meshes."""
    return tuple(data.periodic) or (False,) * len(data.coordinates) if data.coordinates else ()


def _box(data: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if data.coordinates:
        steps = [a[1] - a[0] if p else 0.0 for a, p in zip(data.coordinates, periodic(data), strict=True)]
        lower = tuple(float(a[0]) for a in data.coordinates)
        return lower, tuple(float(a[-1] + h) for a, h in zip(data.coordinates, steps, strict=True))
    ends = [data.source.mesh(i).points for i in range(len(data))]
    corners = np.min([p.min(axis=0) for p in ends], axis=0), np.max([p.max(axis=0) for p in ends], axis=0)
    return tuple(corners[0].tolist()), tuple(corners[1].tolist())


class Examples(torch.utils.data.Dataset):
    """Examples of a data set: pairs, windows of frames, or states with their rates of change.

    Args:
        data: a part of a data set.
        settings: how it is learnt from.
        measured: windows as predictions are measured on: the first frames, and `ahead` frames after them.
        device: where the values are held, if they are; None: they are read when they are asked for.
        channels: those of the training set, which another part is to agree with.

    Raises:
        InputError: the data do not fit what is to be learnt, or the channels.
    """

    def __init__(
        self,
        data: Dataset,
        settings: Settings,
        *,
        measured: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        channels: Channels | None = None,
    ) -> None:
        self.data, self.settings, self.measured, self.dtype = data, settings, measured, dtype
        self.channels = channels or Channels.of(data)
        _check_channels(data, self.channels)
        self.learn = resolve(settings, data)
        self.known = Known.of(settings.closure, data)
        self.device = torch.device("cpu")
        self._held: dict[str, Tensor] | None = None
        if self.windows < 1:
            need = self.span
            raise InputError(f"{data.name} has {len(data.times)} frames, too few for windows of {need}")
        if device is not None:
            everything = np.arange(len(data))
            self._held = {name: self._read(name, everything).to(device) for name in self._names()}
            self.device = device
            self.known = self.known and self.known.to(device)

    def _names(self) -> list[str]:
        return [*self.channels.given, *self.channels.unknowns, *(self._lacking or [])]

    @property
    def _lacking(self) -> list[str] | None:
        """Fields with what the known tendency of the unknowns lacks; None where they are not stored, or not needed."""
        stored = closures(self.data)
        if self.known is None or not all(name in stored for name in self.channels.unknowns):
            return None
        return [stored[name] for name in self.channels.unknowns]

    @property
    def span(self) -> int:
        """Frames of the file from the first to the last of a window."""
        s = self.settings
        later = s.ahead if self.measured else s.push_forward + s.unroll
        return (s.frames + later - 1) * s.stride + 1

    @property
    def windows(self) -> int:
        """Examples in one sample."""
        if self.learn == "solution":
            return 1
        if self.of_rates:
            return len(self.data.times)
        fitting = max(0, len(self.data.times) - self.span + 1)
        return min(fitting, 1) if self.measured else fitting

    @property
    def of_rates(self) -> bool:
        """Whether the targets are du/dt, and not frames."""
        return self.learn == "change" and not self.measured and not self.settings.on_line

    @property
    def dt(self) -> float:
        """Between two frames of a window [s]."""
        return float(self.data.times[self.settings.stride] - self.data.times[0])

    def __len__(self) -> int:
        return len(self.data) * self.windows

    def __getitem__(self, number: int) -> Batch:
        return self.__getitems__([number])

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """The examples of these numbers, as one batch."""
        rows, starts = np.divmod(np.asarray(numbers, dtype=np.int64), self.windows)
        static = [self._of(name, rows).squeeze(1) for name in self.channels.given]
        unknowns = self._all_unknowns(rows, starts)
        shape = unknowns.shape[3:]
        for name in self.channels.numbers:
            column = torch.as_tensor(self.data.parameters[name][rows], dtype=self.dtype, device=self.device)
            static.append(column.reshape(-1, 1, *[1] * len(shape)).expand(-1, 1, *shape))
        none = torch.zeros(len(rows), 0, *shape, dtype=self.dtype, device=self.device)
        frames, target = self._split(unknowns)
        return Batch(
            samples=torch.as_tensor(rows),
            static=torch.cat([none, *static], dim=1),
            frames=frames,
            target=target,
            inside=self._of(INSIDE, rows).squeeze(1) if INSIDE in self.channels.given else None,
            x=self._x(rows),
            edges=self._edges,
        )

    def _split(self, unknowns: Tensor) -> tuple[Tensor | None, Tensor]:
        if self.learn == "solution":
            frames = unknowns[:, :1] if self.data.times is not None else None
            return frames, unknowns[:, -1:]
        if self.of_rates:
            return unknowns[:, :1], unknowns[:, 1:]
        return unknowns.split([self.settings.frames, unknowns.shape[1] - self.settings.frames], dim=1)

    def _all_unknowns(self, rows: np.ndarray, starts: np.ndarray) -> Tensor:
        """(B, T, C, *N): frames of the windows; of rates, the state and its rate of change."""
        frames = None if self.data.times is None else len(self.data.times)
        if self.learn == "solution":
            times = None if frames is None else np.tile([0, frames - 1], (len(rows), 1))
        elif self.of_rates:
            return torch.cat([self._at(rows, starts[:, None]), self._rates(rows, starts)], dim=1)
        else:
            times = starts[:, None] + np.arange(0, self.span, self.settings.stride)
        return self._at(rows, times)

    def rates(self, numbers: Sequence[int]) -> Tensor:
        """What is to be learnt of du/dt at the first frames of these examples, (B, 1, C, *N)."""
        return self._rates(*np.divmod(np.asarray(numbers, dtype=np.int64), self.windows))

    def _rates(self, rows: np.ndarray, starts: np.ndarray) -> Tensor:
        if self._lacking is not None:
            return torch.cat([self._of(name, rows, starts[:, None]) for name in self._lacking], dim=2)
        if self.known is not None:
            return self._changes(rows, starts) - self.known(self._at(rows, starts[:, None])[:, 0])[:, None]
        return self._changes(rows, starts)

    def _changes(self, rows: np.ndarray, starts: np.ndarray) -> Tensor:
        """du/dt from five frames."""
        stencils = [stencil(n, len(self.data.times)) for n in starts.tolist()]
        around = self._at(rows, np.array([offsets + n for n, (offsets, _) in zip(starts, stencils, strict=True)]))
        weights = torch.as_tensor(np.array([w for _, w in stencils]), dtype=torch.float64, device=self.device)
        step = float(self.data.times[1] - self.data.times[0])
        return torch.einsum("bt,bt...->b...", weights, around.double()).to(self.dtype)[:, None] / step

    def _at(self, rows: np.ndarray, times: np.ndarray | None) -> Tensor:
        """All unknowns of samples at times (B, T), numbers of frames."""
        return torch.cat([self._of(name, rows, times) for name in self.channels.unknowns], dim=2)

    def _of(self, name: str, rows: np.ndarray, times: np.ndarray | None = None) -> Tensor:
        """(B, T, components, *N) of one field; T is 1 where it does not vary in time."""
        if self._held is None:
            return self._read(name, rows, times)
        held, at = self._held[name], torch.as_tensor(rows, device=self.device)
        if times is None or held.shape[1] == 1:
            return held[at]
        return held[at[:, None], torch.as_tensor(times, device=self.device)]

    def _read(self, name: str, rows: np.ndarray, times: np.ndarray | None = None) -> Tensor:
        info = self.data.fields[name]
        if times is None or not info.time_varying:
            values = self.data.read(name, rows)
        else:
            values = np.stack([self._frames(name, int(row), at) for row, at in zip(rows, times, strict=True)])
        values = values if info.time_varying else values[:, None]
        places = values.ndim - 2 - len(info.shape)
        flat = values.reshape(*values.shape[: 2 + places], -1)
        return torch.as_tensor(np.ascontiguousarray(np.moveaxis(flat, -1, 2)), dtype=self.dtype)

    def _frames(self, name: str, row: int, at: np.ndarray) -> np.ndarray:
        first, last = int(at.min()), int(at.max())
        return self.data.read(name, row, slice(first, last + 1))[at - first]

    def _x(self, rows: np.ndarray) -> Tensor:
        if self.data.coordinates:
            return self._grid
        points = np.stack([self.data.source.mesh(int(i)).points.T for i in rows])
        return torch.as_tensor(self._scaled(points, (1, -1, 1)), dtype=self.dtype, device=self.device)

    @cached_property
    def _grid(self) -> Tensor:
        grid = np.stack(np.meshgrid(*self.data.coordinates, indexing="ij"))[None]
        scaled = self._scaled(grid, (1, -1, *[1] * len(self.data.coordinates)))
        return torch.as_tensor(scaled, dtype=self.dtype, device=self.device)

    def _scaled(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        lower, upper = (np.reshape(c, shape) for c in (self.channels.lower, self.channels.upper))
        return (x - lower) / (upper - lower)

    @cached_property
    def _edges(self) -> Tensor | None:
        if self.data.coordinates:
            return None
        return torch.as_tensor(edges_of(self.data.source.mesh(0).nodes), device=self.device)


def edges_of(nodes: np.ndarray) -> np.ndarray:
    """Pairs of points that share a cell, both directions, (2, E), from the points of each cell (cells, k)."""
    k = nodes.shape[1]
    pairs = np.concatenate([nodes[:, [i, j]] for i in range(k) for j in range(k) if i != j])
    return np.unique(pairs, axis=0).T.astype(np.int64)


def resolve(settings: Settings, data: Dataset) -> str:
    """What is learnt from these data: "solution", "next" or "change".

    Raises:
        InputError: frames are to be learnt from data without times, or change from times that are not even.
    """
    if settings.learn in ("next", "change") and data.times is None:
        raise InputError(f"{data.name} is stationary: learn={settings.learn} is for evolutions")
    learn = settings.learn if settings.learn != "auto" else "solution" if data.times is None else "next"
    if learn == "change" and len(data.times) < 5:
        raise InputError(f"learn=change takes du/dt from five frames, {data.name} has {len(data.times)}")
    if learn != "solution" and np.ptp(np.diff(data.times)) > 1e-6 * np.ptp(data.times):
        raise InputError(f"the times of {data.name} are not evenly spaced, which learn={learn} needs")
    return learn


CENTRAL = np.array([1, -8, 0, 8, -1]) / 12
FORWARD = {0: np.array([-25, 48, -36, 16, -3]) / 12, 1: np.array([-3, -10, 18, -6, 1]) / 12}


def stencil(n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of five frames, and weights of their fourth-order first derivative at frame n of `count`, for step 1."""
    if n < 2:
        return np.arange(5) - n, FORWARD[n]
    if n >= count - 2:
        return np.arange(count - 5, count) - n, -FORWARD[count - 1 - n][::-1]
    return np.arange(-2, 3), CENTRAL


def _check_channels(data: Dataset, channels: Channels) -> None:
    """Raise InputError where a data set lacks what a network was made for."""
    for role, wanted in (("input", channels.given), ("output", channels.unknowns)):
        for name, components in wanted.items():
            info = data.fields.get(name)
            if info is None:
                raise InputError(f"{data.name} has no {role} {name!r}, which the network needs; it has {_list(data)}")
            found = int(np.prod(info.shape, dtype=int))
            if found != components:
                raise InputError(f"{name!r} of {data.name} has {found} components, the network takes {components}")
    for name in channels.numbers:
        if name not in data.parameters:
            raise InputError(f"{data.name} has no parameter {name!r}, which the network needs")


def _list(data: Dataset) -> str:
    return ", ".join(data.fields)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel over the training set; networks see standardised fields.

    Shapes (channels,).
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, batches: Sequence[Tensor]) -> Scale:
        """Of fields (B, channels, *N) that come in parts."""
        count, total, square = 0, 0.0, 0.0
        for fields_ in batches:
            flat = fields_.double().transpose(0, 1).flatten(1)
            count, total, square = count + flat.shape[1], total + flat.sum(1), square + (flat**2).sum(1)
        mean = total / count
        deviation = (square / count - mean**2).clamp_min(0).sqrt()
        # A channel that hardly varies is left as large as it is.
        floor = 1e-4 * torch.maximum(mean.abs(), torch.full_like(mean, 1e-30))
        return cls(mean, torch.where(deviation > floor, deviation, torch.ones_like(deviation)))
