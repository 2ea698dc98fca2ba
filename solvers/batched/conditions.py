"""Which unknowns are free, and what values the others have: Dirichlet, point, periodic and mean conditions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform.errors import InputError, unknown
from variform.forms.interpret import Interpreter, lower
from variform.forms.weak import WeakForm
from variform.problem import Dirichlet, Mean, NoRigidMotion, Periodic, Point, resolve
from variform.solvers.batched.inputs import Inputs


class Conditions:
    """The conditions of a problem on the dofs of its weak form, numbered as `WeakForm.pack` does.

    Attributes:
        number: of each dof, that of its free unknown, shape (n,); -1 where its value is prescribed. Periodic partners
            share one.
        size: number of free unknowns.

    Raises:
        InputError: a condition that the batched solver does not know, or whose boundary the mesh lacks.
    """

    def __init__(self, weak: WeakForm) -> None:
        self.weak, problem = weak, weak.problem
        if problem.conditions_of(NoRigidMotion):
            raise InputError("the batched solver cannot rule out rigid motions: use fem")
        self.offsets, count = weak.linearised.offsets, weak.linearised.size
        partner = np.arange(count)
        for condition in problem.conditions_of(Periodic):
            self._join(condition, partner)
        self.prescribed: list[tuple[Dirichlet | Point, np.ndarray, Tensor]] = []
        for condition in problem.conditions_of(Dirichlet):
            self.prescribed.append(self._dirichlet(condition))
        for condition in problem.conditions_of(Point):
            self.prescribed.append(self._point(condition))
        held = np.zeros(count, dtype=bool)
        for _, dofs, _ in self.prescribed:
            held[partner[dofs]] = True
        self.pins = {c.field: self._pin(c, partner, held) for c in problem.conditions_of(Mean)}
        held[list(self.pins.values())] = True
        free = np.unique(partner[~held[partner]])
        self.size, self.number = len(free), np.full(count, -1)
        numbers = np.full(count, -1)
        numbers[free] = np.arange(len(free))
        self.number = numbers[partner]
        self.free = free

    @cached_property
    def _index(self) -> tuple[Tensor, Tensor, Tensor]:
        """Number of each dof, 0 where it has none; whether it is free; the free dofs."""
        number = torch.as_tensor(self.number, device=self.weak.device)
        return number.clamp(min=0), number >= 0, torch.nonzero(number >= 0).flatten()

    def expand(self, x: Tensor, g: Tensor) -> Tensor:
        """All dofs (..., n) from free unknowns (..., size) and prescribed values (..., n)."""
        if not self.size:
            return g.expand(*torch.broadcast_shapes(x.shape[:-1], g.shape[:-1]), -1)
        number, is_free, _ = self._index
        return torch.where(is_free, x[..., number], g)

    def restrict(self, r: Tensor) -> Tensor:
        """Rows of free unknowns (..., size) from those of all dofs (..., n): the transpose of `expand`."""
        number, _, free = self._index
        zeros = torch.zeros(*r.shape[:-1], self.size, dtype=r.dtype, device=r.device)
        return zeros.index_add(-1, number[free], r[..., free])

    def values(self, inputs: Inputs) -> Tensor:
        """Prescribed values (..., n), zero elsewhere; differentiable in the inputs."""
        weak, points = self.weak, inputs.tensors.get("points")
        constants = weak.constants(inputs.p, inputs.t)
        parts = []
        for condition, dofs, at in self.prescribed:
            if (given := inputs.tensors.get(f"boundary.{condition.field}")) is not None:
                shape = weak.shapes[condition.field]
                flat = given.flatten(-len(shape)) if len(shape) > 1 else given
                parts.append(
                    (dofs, flat[..., torch.as_tensor(dofs - self.offsets[condition.field], device=given.device)])
                )
                continue
            x = weak.node_coordinates(weak.spaces[condition.field], points)[:, at]
            parts.append((dofs, self._evaluated(condition, x, at, constants, inputs)))
        batch = torch.broadcast_shapes(*(values.shape[:-1] for _, values in parts)) if parts else ()
        g = torch.zeros(*batch, len(self.number), dtype=weak.dtype, device=weak.device)
        for dofs, values in parts:
            where = torch.as_tensor(dofs, device=weak.device)
            g = g.index_copy(-1, where, values.expand(*batch, -1).to(g.dtype))
        return g

    def _evaluated(self, condition: Any, x: Tensor, at: Tensor, constants: dict, inputs: Inputs) -> Tensor:
        """A condition's values at the dofs, components before dofs, (..., dofs)."""
        weak, s = self.weak, self.weak.symbols
        shape = weak.problem.fields[condition.field].shape if condition.component is None else ()
        fields = {getattr(s.p, name): name for name in weak.parameter_spaces}

        def leaf(o: Any, component: tuple[int, ...], directions: tuple[int, ...]) -> Any:
            if isinstance(o, ufl.classes.SpatialCoordinate) and not directions:
                return x[component[0]]
            if o in constants and not directions:
                value = constants[o]
                return value[..., None] if isinstance(value, Tensor) and value.ndim else value
            name = fields.get(o)
            if name and not directions and weak.parameter_spaces[name] is weak.spaces[condition.field]:
                return inputs.tensors[f"p.{name}"][..., at]
            raise InputError(f"a condition on {condition.field!r} depends on {o}, which has no value at its dofs")

        interpreter = Interpreter(leaf)
        expression = lower(resolve(condition, shape, s.x, s.t, s.p))
        parts = [value + 0 * x[0] for _, value in interpreter.components(expression)]
        batch = torch.broadcast_shapes(*(part.shape for part in parts))
        return torch.cat([part.expand(batch) for part in parts], -1)

    def _dofs(self, field: str, local: np.ndarray, component: int | None) -> np.ndarray:
        """Numbers of a field's dofs in all of its components, or in one; components before dofs."""
        *axes, count = self.weak.shapes[field]
        components = range(int(np.prod(axes))) if component is None else [component]
        if component is not None and (len(axes) != 1 or component not in range(axes[0])):
            raise InputError(f"a condition on component {component} of {field!r}, which has shape {tuple(axes)}")
        return np.concatenate([self.offsets[field] + c * count + local for c in components])

    def _dirichlet(self, condition: Dirichlet) -> tuple[Dirichlet, np.ndarray, Tensor]:
        space, mesh = self.weak.spaces[condition.field], self.weak.mesh
        if space.family != "Lagrange":
            raise InputError(
                f"the batched solver prescribes values of Lagrange fields only; {condition.field!r} is of element "
                f"{space.family}: use fem"
            )
        found = []
        for name in condition.names:
            if name != "boundary" and name not in mesh.boundaries:
                raise unknown("boundary of the mesh", name, mesh.boundaries)
            found.append(mesh.exterior_facets if name == "boundary" else mesh.boundaries[name])
        local = space.on_facets(np.concatenate(found))
        if not len(local):
            raise InputError(f"boundary {', '.join(condition.names)!r} has no facets in this mesh")
        return condition, self._dofs(condition.field, local, condition.component), self._tensor(local)

    def _point(self, condition: Point) -> tuple[Point, np.ndarray, Tensor]:
        x = self.weak.spaces[condition.field].x
        if len(condition.at) != len(x):
            raise InputError(f"the point {condition.at} of {condition.field!r} needs {len(x)} coordinates")
        away = np.linalg.norm(x - np.array(condition.at)[:, None], axis=0)
        local = np.flatnonzero(away < 1e-8 * (abs(x).max() or 1.0))
        if not len(local):
            raise InputError(
                f"{condition.field!r} has no node at {condition.at}; the nearest is {away.min():.3g} m away"
            )
        return condition, self._dofs(condition.field, local, condition.component), self._tensor(local)

    def _tensor(self, local: np.ndarray) -> Tensor:
        return torch.as_tensor(local, device=self.weak.device)

    def _join(self, condition: Periodic, partner: np.ndarray) -> None:
        """Dofs at the upper ends of the periodic axes become those at the lower ends."""
        x = self.weak.spaces[condition.field].x.copy()
        size = np.ptp(x, axis=1)
        for axis in condition.axes:
            x[axis, abs(x[axis] - x[axis].max()) < 1e-9 * size[axis]] = x[axis].min()
        places = np.round((x - x.min(axis=1, keepdims=True)).T / (1e-9 * size.max())).astype(np.int64) // 4
        _, first, group = np.unique(places, axis=0, return_index=True, return_inverse=True)
        local = first[group.ravel()]
        *axes, count = self.weak.shapes[condition.field]
        for c in range(int(np.prod(axes))):
            start = self.offsets[condition.field] + c * count
            partner[start : start + count] = start + local

    def _pin(self, condition: Mean, partner: np.ndarray, held: np.ndarray) -> int:
        """A dof that is set to zero; the field is shifted to its mean afterwards."""
        *axes, count = self.weak.shapes[condition.field]
        start = self.offsets[condition.field]
        dofs = np.arange(start, start + count)
        if axes or held[partner[dofs]].any():
            raise InputError(
                f"the mean of {condition.field!r} can be given for a scalar field without other conditions"
            )
        return int(partner[start])
