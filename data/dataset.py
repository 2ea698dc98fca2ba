"""A data set in one form, whatever file it lies in: fields on a grid or on meshes, parameters, times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np

from variform.errors import InputError, unknown
from variform.mesh import Mesh

Samples = slice | Sequence[int] | np.ndarray
"""Which samples to read: numbers from 0, in increasing order."""


@dataclass(frozen=True)
class FieldInfo:
    """What is known of a field before it is read.

    Args:
        role: "input": given to the solver, as coefficients and sources are; "output": solved for. The initial values of
            an evolution are its outputs at the first time.
        shape: of one value: () of a scalar, (dim,) of a vector, (dim, dim) of a second-order tensor.
        time_varying: has an axis of times.
        sample_varying: differs between samples; one that does not is read as often as asked for.
        unit: SI unit, "-" where it has none, "" where it is not known.
    """

    role: Literal["input", "output"]
    shape: tuple[int, ...] = ()
    time_varying: bool = False
    sample_varying: bool = True
    unit: str = ""


class Source(Protocol):
    """Where the values are. It opens its file when first read in each process, and travels without it."""

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        """Values (samples, [times,] *places, *shape) of a field; those that are stored, in the type they have there."""
        ...

    def mesh(self, sample: int) -> Mesh | None:
        """The mesh on whose points the fields of a sample have their values; None: they have them on the grid."""
        ...


@dataclass(frozen=True)
class Sample:
    """One sample, read.

    Args:
        fields: name -> ([T,] *places, *shape), places being those of the grid or the points of the mesh.
        parameters: name -> number.
        mesh: on whose points the values are; None: on the grid of the data set.
    """

    fields: dict[str, np.ndarray]
    parameters: dict[str, float]
    mesh: Mesh | None = None


@dataclass(frozen=True)
class Dataset:
    """Many instances of one task. Nothing but the description is in memory.

    Args:
        name: of the task, or of the file where it does not tell.
        fields: name -> what it is.
        coordinates: one increasing array [m] an axis of the grid; () where the values are on meshes.
        source: where the values are.
        count: number of samples.
        times: [s], shape (T,); None of a stationary task.
        periodic: for each axis; a periodic axis leaves its upper end out.
        parameters: name -> numbers, shape (count,).
        splits: name ("train", "valid", "test") -> numbers of its samples; {} where the file does not tell.
        bad: samples that could not be solved, or are not finite, as far as the file tells; they are left out of splits.
        info: how it was made: JSON content.
        layout: "variform", "the-well", "pdebench", "neuraloperator", "folder" or "memory".
    """

    name: str
    fields: dict[str, FieldInfo]
    coordinates: tuple[np.ndarray, ...]
    source: Source
    count: int
    times: np.ndarray | None = None
    periodic: tuple[bool, ...] = ()
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    splits: dict[str, np.ndarray] = field(default_factory=dict)
    bad: tuple[int, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    layout: str = "memory"

    @classmethod
    def of(
        cls,
        name: str,
        coordinates: Sequence[np.ndarray],
        inputs: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
        *,
        times: np.ndarray | None = None,
        **others: Any,
    ) -> Dataset:
        """A data set in memory, of scalars: inputs (count, *grid), outputs (count, [T,] *grid)."""
        evolves = times is not None
        infos = {k: FieldInfo("input") for k in inputs} | {
            k: FieldInfo("output", time_varying=evolves) for k in outputs
        }
        arrays = {**inputs, **outputs}
        count = len(next(iter(arrays.values())))
        return cls(name, infos, tuple(coordinates), Arrays(arrays), count, times, **others)

    def __len__(self) -> int:
        return self.count

    @property
    def dim(self) -> int:
        return len(self.coordinates) or self.source.mesh(0).dim

    @property
    def grid(self) -> tuple[int, ...]:
        """Points along each axis; () where the values are on meshes."""
        return tuple(map(len, self.coordinates))

    @property
    def good(self) -> np.ndarray:
        """Numbers of the samples that are not `bad`."""
        return np.setdiff1d(np.arange(self.count), self.bad)

    def read(self, name: str, samples: Samples | int = slice(None), times: slice = slice(None)) -> np.ndarray:
        """Values of one field.

        Args:
            samples: numbers from 0 in increasing order, a slice, or one number, whose axis is then left out.
            times: of a field that varies in time.

        Returns:
            Shape (samples, [times,] *places, *shape).

        Raises:
            InputError: no such field or sample; the file is damaged there.
        """
        if name not in self.fields:
            raise unknown(f"field of data set {self.name}", name, self.fields)
        if isinstance(samples, int | np.integer):
            if not 0 <= samples < self.count:
                raise InputError(f"{self.name} has samples 0 to {self.count - 1}, there is no sample {samples}")
            return self.source.read(name, slice(int(samples), int(samples) + 1), times)[0]
        return self.source.read(name, samples, times)

    def __getitem__(self, sample: int) -> Sample:
        if not 0 <= sample < self.count:
            raise IndexError(f"{self.name} has samples 0 to {self.count - 1}, there is no sample {sample}")
        values = {name: self.read(name, sample) for name in self.fields}
        numbers = {name: float(column[sample]) for name, column in self.parameters.items()}
        return Sample(values, numbers, self.source.mesh(sample))

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(self.count))

    def named(self, role: Literal["input", "output"]) -> list[str]:
        """The fields of a role."""
        return [name for name, info in self.fields.items() if info.role == role]

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """All values of all inputs in memory, by name: (count, *places, *shape)."""
        return {name: self.read(name) for name in self.named("input")}

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """All values of all outputs in memory, by name: (count, [T,] *places, *shape)."""
        return {name: self.read(name) for name in self.named("output")}

    def part(self, split: str) -> Dataset:
        """The samples of a split.

        Raises:
            InputError: the data set has no split of this name.
        """
        if split not in self.splits:
            raise unknown(f"split of data set {self.name}", split, self.splits)
        return self.only(self.splits[split])

    def only(self, samples: Sequence[int] | np.ndarray) -> Dataset:
        """Some samples, numbered anew."""
        chosen = np.asarray(samples, dtype=np.int64)
        return replace(
            self,
            source=Part(self.source, chosen),
            count=len(chosen),
            parameters={name: column[chosen] for name, column in self.parameters.items()},
            splits={},
            bad=tuple(np.flatnonzero(np.isin(chosen, self.bad)).tolist()),
        )


@dataclass(frozen=True)
class Arrays:
    """Values in memory: name -> (count, [T,] *places, *shape)."""

    values: dict[str, np.ndarray]

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        chosen = self.values[name][samples]
        return chosen if times == slice(None) else chosen[:, times]

    def mesh(self, sample: int) -> Mesh | None:
        return None


@dataclass(frozen=True)
class Part:
    """Some samples of another source."""

    whole: Source
    numbers: np.ndarray

    def read(self, name: str, samples: Samples, times: slice) -> np.ndarray:
        wanted = self.numbers[samples]
        order, back = np.unique(wanted, return_inverse=True)
        return self.whole.read(name, order, times)[back]

    def mesh(self, sample: int) -> Mesh | None:
        return self.whole.mesh(int(self.numbers[sample]))
