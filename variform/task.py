"""What runner, store and report know of anything to be solved: a name, parameters, a reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from variform.errors import InputError, unknown
from variform.random import generator

Function = Callable[[Any], Any]
"""A scalar field: coordinates (dim, ...) [m] to values (...), on NumPy arrays and torch tensors alike."""


class Law(Protocol):
    """A distribution over fields, or over numbers."""

    def sample(self, rng: np.random.Generator) -> Function | float:
        """One sample; it takes all chance from the generator."""


@dataclass(frozen=True)
class Parameter:
    """A number, a number per region, or a field that an instance of a task may change.

    Args:
        description: what it is, in words.
        default: a number; a dict region -> number; or, for a field, a callable x -> values.
        unit: SI unit, or "-".
        above: the values lie strictly above this bound.
        at_least: the values are no smaller than this bound.
        below: the values lie strictly below this bound.
        at_most: the values are no larger than this bound.
        field: the value may vary in space.
        smooth: a field with a continuous gradient (kept in the solution's own Lagrange space);
            otherwise piecewise constant, one value a cell.
    """

    description: str
    default: Any
    unit: str = "-"
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    field: bool = False
    smooth: bool = True

    @property
    def allowed(self) -> str:
        """The range in words: "above 0, at most 1", or "any"."""
        bounds = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        return ", ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None) or "any"

    @property
    def per_region(self) -> bool:
        return isinstance(self.default, Mapping)

    def validate(self, name: str, value: Any) -> Any:
        """Return the value as float, dict of floats or callable; raise InputError if it is not allowed."""
        if self.per_region:
            given = value if isinstance(value, Mapping) else dict.fromkeys(self.default, value)
            for region in given:
                if region not in self.default:
                    raise unknown(f"region of parameter {name!r}", region, self.default)
            return {r: self.validate_number(f"{name}.{r}", given.get(r, d)) for r, d in self.default.items()}
        if self.field and callable(value):
            return value
        return self.validate_number(name, value)

    def validate_number(self, name: str, value: Any) -> float:
        """Return one value as a float; raise InputError if it is not allowed."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            allowed = "a number or a function of x" if self.field else "a number"
            raise InputError(f"{name} must be {allowed}, got {value!r}") from None
        if not math.isfinite(number):
            raise InputError(f"{name} must be finite, got {number}")
        if self.above is not None and not number > self.above:
            raise InputError(f"{name} must be above {self.above:g}, got {number:g}")
        if self.at_least is not None and not number >= self.at_least:
            raise InputError(f"{name} must be at least {self.at_least:g}, got {number:g}")
        if self.below is not None and not number < self.below:
            raise InputError(f"{name} must be below {self.below:g}, got {number:g}")
        if self.at_most is not None and not number <= self.at_most:
            raise InputError(f"{name} must be at most {self.at_most:g}, got {number:g}")
        return number


class Task:
    """Something to be solved. Subclasses declare; instances hold parameter values and never change."""

    source_of: str = ""
    """Where the task comes from: paper, book, benchmark."""
    parameters: dict[str, Parameter] = {}
    random: dict[str, Law] = {}
    """Parameter name -> the law its random instances follow."""

    def __init__(self, **values: Any) -> None:
        for name in values:
            if name not in self.parameters:
                raise unknown(f"parameter of {self.name}", name, self.parameters)
        self.values = {k: q.validate(k, values.get(k, q.default)) for k, q in self.parameters.items()}

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def p(self) -> SimpleNamespace:
        """The parameter values as attributes."""
        return SimpleNamespace(**self.values)

    def sample(self, seed: int, index: int) -> Task:
        """The random instance number `index`: every parameter with a law is drawn, from a stream of its own."""
        drawn = {name: law.sample(generator(seed, index, name)) for name, law in self.random.items()}
        return type(self)(**{**self.values, **drawn})

    def measure(self, solution: Any) -> dict[str, float]:
        """Quantities of interest of a solution, by name."""
        return {}

    def reference(self) -> dict[str, float]:
        """Published or exact values of the quantities that `measure` returns, where there are any."""
        return {}


def evaluate(value: float | Function, x: Any) -> Any:
    """A parameter's value at the points x (dim, ...): numbers are spread, shape (...)."""
    if callable(value):
        return value(x)
    return 0 * x[0] + value if not isinstance(x, np.ndarray) else np.full(x.shape[1:], value)
