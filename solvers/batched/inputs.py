"""What the samples of a batch may differ in: parameters, boundary values, the state before; by name, as tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError, unknown
from variform.forms.weak import WeakForm
from variform.problem import Dirichlet, Point


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

        def put(name: str, value: Any, shape: tuple[int, ...] = ()) -> None:
            tensors[name], rank[name] = _one_axis_of_samples(name, weak.checked(name, value, shape), shape), len(shape)

        if points is not None:
            put("points", points, weak.mesh.points.shape)
            if points.ndim > 2:
                raise InputError(f"points are the same for all samples, got shape {tuple(points.shape)}")
        for name, value in weak.values(p).items():
            spec = weak.problem.parameters[name]
            if spec.per_region:
                for region, number in value.items():
                    put(f"p.{name}.{region}", _number(weak, f"p.{name}.{region}", number))
            elif spec.field:
                if callable(value) or isinstance(value, float | int):
                    value = weak.parameter_dofs(name, value, points)
                put(f"p.{name}", value, (weak.parameter_spaces[name].num_dofs,))
            else:
                put(f"p.{name}", _number(weak, f"p.{name}", value))
            for key in [key for key in tensors if key == f"p.{name}" or key.startswith(f"p.{name}.")]:
                _validate(spec, key.removeprefix("p."), tensors[key])
        for field, value in (boundary or {}).items():
            prescribed = {c.field for c in weak.problem.conditions if isinstance(c, Dirichlet | Point)}
            if field not in prescribed:
                raise unknown("field with boundary values", field, prescribed)
            put(f"boundary.{field}", value, weak.shapes[field])
        inputs = cls(tensors, rank)
        common_batch({name: len(tensors[name]) for name in tensors if inputs.is_batched(name)})
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


def common_batch(sizes: dict[str, int]) -> int:
    """The number of samples, from that in each input by name; one sample serves all.

    Raises:
        InputError: they differ, or there are none.
    """
    if len(set(sizes.values()) - {1}) > 1 or 0 in sizes.values():
        raise InputError(f"the samples must be as many in all inputs, and at least one; got {sizes}")
    return max(sizes.values(), default=1)


def dofs_by_field(weak: WeakForm, what: str, values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Dofs of some fields, (*shape) or (B, *shape).

    Raises:
        InputError: a field that does not exist, a wrong shape, dtype or device.
    """
    for name in values:
        if name not in weak.shapes:
            raise unknown(f"field in {what}", name, weak.shapes)
    checked = {name: weak.checked(f"{what}.{name}", value, weak.shapes[name]) for name, value in values.items()}
    return {name: _one_axis_of_samples(f"{what}.{name}", v, weak.shapes[name]) for name, v in checked.items()}


def _one_axis_of_samples(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    if value.ndim > len(shape) + 1:
        raise InputError(f"{name} has one axis of samples at most, got shape {tuple(value.shape)}")
    return value


def _number(weak: WeakForm, name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    try:
        return torch.as_tensor(value, dtype=weak.real, device=weak.device)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be a number or a tensor (B,), got {value!r}") from None


def _validate(spec: Any, name: str, value: Tensor) -> None:
    """Bounds of a parameter; NaN is left to the solver, which marks the sample."""
    if value.is_complex():
        if spec.allowed != "any":
            raise InputError(f"{name} must be {spec.allowed}, which complex numbers are not")
        return
    if spec.allowed == "any" and value.isfinite().all():
        return
    low, high = (float(extreme) for extreme in value.detach().aminmax())
    if math.isnan(low):
        known = value.detach()[~value.detach().isnan()]
        if not known.numel():
            return
        low, high = float(known.min()), float(known.max())
    for number in (low, high):
        spec.validate_number(name, number)
