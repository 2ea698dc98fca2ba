"""The part of du/dt that is known: the network then learns what it lacks, du/dt = f(u) + K(u).

Source: the multiscale neural operator; f a coarse solver, K what the unresolved scales do to it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from variform import problems
from variform.errors import InputError, unknown

if TYPE_CHECKING:
    from variform.data.dataset import Dataset

NONE = "none"


class Known(nn.Module):
    """f of a task of the catalogue, with its numbers as a buffer, so that they are saved with the weights."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.task = name, kind(name)()
        self.numbers = [key for key, value in self.task.values.items() if isinstance(value, float)]
        values = [self.task.values[key] for key in self.numbers]
        self.register_buffer("values", torch.tensor(values, dtype=torch.float64))

    @classmethod
    def of(cls, name: str, data: Dataset) -> Known | None:
        """With the numbers of a data set; None where nothing is known.

        Raises:
            InputError: the data are of another task, or a number of it differs between their samples.
        """
        if name == NONE:
            return None
        known, of = cls(name), data.info.get("problem", name)
        if of != name:
            raise InputError(f"closure={name}, but {data.name} is made of {of}: closure={of}, or none")
        if varying := [key for key in known.numbers if key in data.parameters and key in _differing(data)]:
            raise InputError(f"closure={name} takes one {varying[0]} for all samples, which differs in {data.name}")
        return known.having(numbers_of(data))

    def having(self, numbers: Mapping[str, Any]) -> Known:
        """The same with these numbers, where it has them."""
        other = copy.deepcopy(self)
        for i, key in enumerate(self.numbers):
            if isinstance(given := numbers.get(key), int | float):
                other.values[i] = given
        return other

    @property
    def used(self) -> set[str]:
        """Those of its numbers on which f depends; the others are of what f lacks."""
        u = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 16)
        changed = {key: self.having({key: float(v) + 1}) for key, v in zip(self.numbers, self.values, strict=True)}
        return {key for key, other in changed.items() if not torch.equal(other(u), self(u))}

    def forward(self, u: Tensor) -> Tensor:
        """f(u), (B, C, *N)."""
        p: dict[str, Any] = dict(zip(self.numbers, self.values.to(u.dtype).unbind(), strict=True))
        return self.task.tendency(u, SimpleNamespace(**p))


def kind(name: str) -> type:
    """The class of a task of the catalogue with a known tendency; never code of a file.

    Raises:
        InputError: there is none of this name.
    """
    if name not in problems.SYSTEMS:
        raise unknown("value of closure", name, [NONE, *problems.SYSTEMS])
    return problems.load(name)


def closures(data: Dataset) -> dict[str, str]:
    """Unknown -> field of the data with what its known tendency lacks, exactly; {} where none is stored."""
    return {name: of for name, of in data.info.get("closures", {}).items() if of in data.fields}


def numbers_of(data: Dataset) -> dict[str, Any]:
    """Parameters of the task that all samples of a data set share, as far as the file tells; by region {name: ..}."""
    shared = {name: float(column[0]) for name, column in data.parameters.items() if len(column)}
    card = data.info.get("card", {})
    drawn = {*_differing(data), *data.fields, *(name for name in card.get("inputs", {}) if name not in shared)}
    told = {**card.get("values", {}), **data.info.get("values", {}), **shared}
    return {name: value for name, value in told.items() if name not in drawn}


def _differing(data: Dataset) -> list[str]:
    return [name for name, column in data.parameters.items() if len(column) and column.min() < column.max()]
