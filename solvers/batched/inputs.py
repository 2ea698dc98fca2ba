"""What the samples of a batch may differ in: parameters, boundary values, the state before; by name, as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.weak import WeakForm


@dataclass(frozen=True)
class Inputs:
    """Data of a batch of solves.

    Args:
        tensors: by name: "p.NAME", "p.NAME.REGION", "boundary.FIELD", "points", and "base" of a time step.
        rank: axes of each tensor for one sample; one axis more is that of the batch.
        t: time [s].
        shift: of an implicit time step, in which rate = shift (u - base); None for a stationary problem.
    """

    tensors: dict[str, Tensor]
    rank: dict[str, int]
    t: float = 0.0
    shift: float | None = None

    @classmethod
    def of(
        cls,
        weak: WeakForm,
        p: Mapping[str, Any] | None,
        boundary: Mapping[str, Tensor] | None = None,
        points: Tensor | None = None,
    ) -> Inputs:
        """Everything that a problem depends on as tensors; what is not given has the problem's own value.

        Raises:
            InputError: a parameter or field that does not exist, a value out of its range, a wrong shape.
        """
        tensors: dict[str, Tensor] = {}
        rank: dict[str, int] = {}

        def put(name: str, value: Any, axes: int) -> None:
            value = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=weak.real)
            tensors[name], rank[name] = value.to(weak.device), axes
            if value.ndim > axes + 1:
                raise InputError(f"{name} has one axis of samples at most, got shape {tuple(value.shape)}")

        for name, value in weak.values(p).items():
            spec = weak.problem.parameters[name]
            if spec.per_region:
                for region, default in spec.default.items():
                    put(f"p.{name}.{region}", value.get(region, default), 0)
            elif spec.field:
                value = value if isinstance(value, Tensor) else weak.parameter_dofs(name, value, points)
                put(f"p.{name}", value, 1)
            else:
                put(f"p.{name}", value, 0)
            for key in [key for key in tensors if key == f"p.{name}" or key.startswith(f"p.{name}.")]:
                _validate(spec, key.removeprefix("p."), tensors[key])
        for field, value in (boundary or {}).items():
            if field not in weak.shapes or value.shape[-len(weak.shapes[field]) :] != weak.shapes[field]:
                raise InputError(
                    f"boundary values must be dofs by field, shapes {weak.shapes}; got {tuple(value.shape)} for {field!r}"
                )
            put(f"boundary.{field}", value, len(weak.shapes[field]))
        if points is not None:
            put("points", points, 2)
        inputs = cls(tensors, rank)
        sizes = {name: len(tensors[name]) for name in tensors if inputs.is_batched(name)}
        if len(set(sizes.values()) - {1}) > 1:
            raise InputError(f"the samples must be as many in all inputs, got {sizes}")
        return inputs

    def is_batched(self, name: str) -> bool:
        """Whether the samples may differ in this input."""
        return self.tensors[name].ndim > self.rank[name]

    @property
    def batch(self) -> int:
        """Number of samples."""
        return max((len(self.tensors[name]) for name in self.tensors if self.is_batched(name)), default=1)

    @property
    def p(self) -> dict[str, Any]:
        """The parameters as a weak form takes them."""
        result: dict[str, Any] = {}
        for name, value in self.tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "p":
                parameter, _, region = rest.partition(".")
                if region:
                    result.setdefault(parameter, {})[region] = value
                else:
                    result[parameter] = value
        return result

    def part(self, samples: slice | Tensor) -> Inputs:
        """Those of some samples."""
        tensors = {
            name: value[samples] if self.is_batched(name) and len(value) > 1 else value
            for name, value in self.tensors.items()
        }
        return replace(self, tensors=tensors)

    def detached(self) -> Inputs:
        return replace(self, tensors={name: value.detach() for name, value in self.tensors.items()})

    def at(self, t: float, base: Tensor, shift: float) -> Inputs:
        """Those of an implicit step to time t [s]."""
        return replace(self, tensors={**self.tensors, "base": base}, rank={**self.rank, "base": 1}, t=t, shift=shift)


def _validate(spec: Any, name: str, value: Tensor) -> None:
    """Bounds of a parameter; NaN is left to the solver, which marks the sample."""
    finite = value.detach()[~value.detach().isnan()] if value.is_floating_point() else value.detach()
    for number in (finite.min(), finite.max()) if finite.numel() else ():
        spec.validate_number(name, float(number))
