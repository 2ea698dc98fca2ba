"""How a batch of instances is solved, by method: each module makes, from a plan, what gives rows of the store."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from variform.errors import InputError, unknown
from variform.random import generator
from variform.task import Law, Task

if TYPE_CHECKING:
    import numpy as np

    from variform.data.store import Header

METHODS = {
    "fem-batched": "variform.data.solved.batched",
    "spectral": "variform.data.solved.spectral",
    "fem": "variform.data.solved.fem",
    "fem-meshes": "variform.data.solved.meshes",
    "tiers": "variform.data.solved.tiers",
}
"""Method -> module with `Solved(population, plan)`."""


@dataclass(frozen=True)
class Population:
    """The random instances of a task.

    Args:
        task: its values hold for parameters without a law.
        laws: parameter -> law of a field, or of a number.
    """

    task: Task
    laws: dict[str, Law]

    def instance(self, seed: int, index: int) -> Task:
        """Number `index`, the same on every machine; each parameter has a stream of its own."""
        drawn = {name: law.sample(generator(seed, index, name)) for name, law in self.laws.items()}
        return type(self.task)(**{**self.task.values, **drawn})


@dataclass(frozen=True)
class Plan:
    """What a data set is to hold. Two runs of one plan make the same data, on machines of one kind.

    Args:
        name: of the recipe or problem.
        method: a key of METHODS.
        count: number of samples.
        seed: of the random instances.
        first: index of the first instance in the random stream.
        resolution: points along each axis of the stored grid: both ends included, or N of a periodic axis.
        batch: samples that are solved at once.
        mesh: cells along each axis of the solver's mesh; points along each axis of a spectral solver's grid.
        degree: of the elements; the problem's own by default.
        steps: time steps.
        snapshots: stored times after the first.
        rtol: relative tolerance of the algebraic solvers.
        variant: of the recipe: another distribution.
        values: of parameters, where they are not the task's own.
        device: "cpu", "cuda".
        splits: name -> number of samples, in this order.
        code: SHA-256 of a user's problem file; "" of the catalogue.
    """

    name: str
    method: str
    count: int
    seed: int
    resolution: int
    batch: int
    mesh: int
    degree: int | None = None
    steps: int = 0
    snapshots: int = 0
    rtol: float = 1e-10
    first: int = 0
    variant: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    splits: dict[str, int] = field(default_factory=dict)
    code: str = ""

    @property
    def batches(self) -> list[range]:
        """The positions of the samples in the file, batch by batch."""
        return [range(a, min(a + self.batch, self.count)) for a in range(0, self.count, self.batch)]

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Solved(Protocol):
    """Solves instances by one method, everything that they share having been prepared."""

    header: Header

    def rows(self, indices: Sequence[int]) -> dict[str, np.ndarray]:
        """Rows of the store, without digests, for these instances of the random stream."""
        ...

    def refined(self) -> Solved | None:
        """The same with about twice the resolution in space, and in time; None where that is no better an answer."""
        ...


def prepare(population: Population, plan: Plan) -> Solved:
    """The solver of a plan.

    Raises:
        InputError: no such method, or one that does not take this task.
    """
    if plan.method not in METHODS:
        raise unknown("method of generation", plan.method, METHODS)
    try:
        module = importlib.import_module(METHODS[plan.method])
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("variform"):
            raise
        raise InputError(f"method {plan.method!r} needs {error.name}: install variform[fem]") from error
    return module.Solved(population, plan)


def is_checked(seed: int, index: int, snapshots: int) -> int | None:
    """Of an evolution, the snapshot from which a seeded eighth of the samples can be integrated again; else None."""
    stream = generator(seed, index, "check")
    return int(stream.integers(snapshots)) if stream.random() < 1 / 8 or index == 0 else None
