"""What a suite's results.json says: the runner writes it; the report, the table and the comparison read it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from variform.errors import InputError

TEST = "test"
"""The test set of the distribution that was learned from."""


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def positive(value: float | None) -> bool:
    return finite(value) and value > 0


class Quantity(BaseModel):
    """A quantity of interest and its published or reference value."""

    value: float | None = None
    reference: float | None = None
    unit: str = ""

    @property
    def deviation(self) -> float | None:
        """(value - reference) / |reference|; None where one is missing or the reference is zero."""
        if not (finite(self.value) and finite(self.reference) and self.reference):
            return None
        return (self.value - self.reference) / abs(self.reference)


class Cost(BaseModel):
    """wall_s: to one solution, by solving or by inference; training and data come on top, once."""

    wall_s: float | None = None
    training_s: float | None = None
    data_s: float | None = None
    dofs: int | None = None
    parameters: int | None = None
    peak_memory_mb: float | None = None

    @property
    def once_s(self) -> float | None:
        """Training and data together; None where there are neither."""
        parts = [s for s in (self.training_s, self.data_s) if finite(s)]
        return sum(parts) if parts else None

    @property
    def total_s(self) -> float | None:
        return self.wall_s if not finite(self.wall_s) else self.wall_s + (self.once_s or 0.0)

    @property
    def unknowns(self) -> int | None:
        """Degrees of freedom of a solver, weights of a network."""
        return self.dofs if self.dofs is not None else self.parameters


class Spread(BaseModel):
    """Of many samples: median, quartiles, mean, and how many of those attempted gave a number."""

    median: float | None = None
    q1: float | None = None
    q3: float | None = None
    mean: float | None = None
    n: int = 0
    attempted: int = 0


class Frames(BaseModel):
    """Relative L2 error of each predicted frame: median and quartiles over the samples, one entry a time."""

    times: list[float] = []
    median: list[float | None] = []
    q1: list[float | None] = []
    q3: list[float | None] = []

    @model_validator(mode="after")
    def _one_entry_a_time(self) -> Frames:
        lengths = {len(self.median), len(self.times)} | {len(q) for q in (self.q1, self.q3) if q}
        if len(lengths) > 1:
            raise ValueError(f"times, median, q1 and q3 must have one length, got {sorted(lengths)}")
        return self


class Equal(BaseModel):
    """Of a learned row: the cheapest classical one that is at least as accurate [s], how much quicker the network is,
    and after how many solutions training and data have paid (None: never).
    """

    classical_s: float
    speedup: float
    pays_after: float | None = None


class Row(BaseModel):
    """One method on one task. Figures are paths relative to the report's folder.

    Args:
        metrics: by name; `relative_l2` is the one that rows are compared by, a median where there are many samples.
        tests: by test set, the relative L2 errors of its samples.
        scores: by name, every other metric on the set "test".
        sizes: number of samples learned from, and the median error that came of it.
        figure, worst: samples beside their truth; the worst ones.
        stale: why the numbers are old, where they are.
        seeds, failures: trainings that were attempted, and what became of those that failed.
    """

    method: str
    label: str
    status: Literal["done", "failed", "interrupted", "not applicable"]
    reason: str | None = None
    stale: str | None = None
    metrics: dict[str, float | None] = {}
    quantities: dict[str, Quantity] = {}
    cost: Cost = Cost()
    seed: int | None = None
    seeds: int | None = None
    failures: list[str] = []
    figure: str | None = None
    worst: str | None = None
    history: list[tuple[float, float | None]] | None = None
    command: str | None = None
    folder: str | None = None
    tests: dict[str, Spread] = {}
    scores: dict[str, Spread] = {}
    frames: Frames | None = None
    sizes: list[tuple[int, float | None]] = []
    equal: Equal | None = None

    @property
    def error(self) -> float | None:
        """What the row is compared by; None unless it was finished."""
        value = self.metrics.get("relative_l2")
        return value if self.status == "done" and finite(value) else None

    @property
    def learned(self) -> bool:
        """Is it a network, be it trained on data or on the equation?"""
        return self.cost.once_s is not None or self.cost.parameters is not None

    @property
    def numbers(self) -> bool:
        """Does the row have a metric or quantity, whatever became of the run?"""
        return any(map(finite, self.metrics.values())) or bool(self.quantities)


class Reference(BaseModel):
    """What the rows are measured against, and how far that is from the truth itself."""

    method: str = ""
    estimated_error: float | None = None
    figure: str | None = None


class TestSet(BaseModel):
    """Samples that no network has seen: how many, on how many points along a side, and what sets them apart."""

    __test__ = False  # pytest takes it for a test otherwise

    count: int
    points: int | None = None
    kind: Literal["same", "shifted", "resolution"] = "shifted"


def _test_sets(sets: Any) -> Any:
    """A mere count stands for a set of that many samples."""
    if not isinstance(sets, dict):
        return sets
    kinds = {TEST: "same"}
    return {
        name: {"count": given, "kind": kinds.get(name, "shifted")} if isinstance(given, int) else given
        for name, given in sets.items()
    }


class TaskResults(BaseModel):
    """A task with a row a method; `formulas`: of the scores, by name; `classical`: how the classical rows were made."""

    name: str
    title: str
    description: str = ""
    form: str = ""
    strong: str = ""
    reference: Reference = Reference()
    sets: Annotated[dict[str, TestSet], BeforeValidator(_test_sets)] = {}
    formulas: dict[str, str] = {}
    classical: str = ""
    rows: list[Row]


class Results(BaseModel):
    """All of a benchmark."""

    suite: str
    title: str
    created: str = ""
    command: str = ""
    wall_s: float | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    tasks: list[TaskResults]


def checked(results: dict[str, Any]) -> Results:
    """The results, if they say what results say.

    Raises:
        InputError: they lack something or have it of another kind; the message names it.
    """
    try:
        return Results.model_validate(results)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"results.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
