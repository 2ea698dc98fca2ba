"""The weak form in torch: residual vectors and energies on a mesh, batched over leading axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform import quadrature
from variform.errors import InputError, unknown
from variform.forms.derive import Term, Where, is_zero, measures, terms
from variform.forms.geometry import Directions, integrate
from variform.forms.interpret import Interpreter, lower
from variform.forms.jacobian import Jacobian
from variform.forms.spaces import Space
from variform.forms.state import Domains, Side, State
from variform.forms.symbols import checked_residual, symbols_on
from variform.mesh import Mesh
from variform.problem import Problem, degrees_of

Values = Mapping[str, Tensor]


class WeakForm:
    """r_i(u) = F(u; v_i) for every basis function v_i, its derivative in u, and the energy, on a given mesh.

    F is the residual with its stabilisation, as finite elements assemble it. The pointwise part (source, flux, moment)
    is compiled from UFL first and contracted with the basis functions after:
    r_i = sum_q w_q [source v_i + flux . grad v_i + moment : grad grad v_i].

    Everything is torch: differentiable any number of times in dofs, parameters, time and the mesh's points, and by
    `torch.func`, in float32, float64 or (sesquilinear forms) complex128.

    Args:
        problem: any with integrals over cells, exterior and interior facets.
        mesh: the names of its regions and boundaries are those of the form.
        degree: of the field of highest degree, the others keep their distance to it; the problem's own by default.
        quadrature_degree: of integrals that state none; `variform.quadrature.quadrature_degree(degree)` by default.

    Attributes:
        spaces: by field; parameter_spaces: of the parameters that are fields.
        shapes: of each field's dofs without batch axes: (*field shape, num_dofs), but (num_dofs,) of RT, BDM, N1curl.

    Raises:
        InputError: an element or a UFL node that is not supported, a form that is not linear in v, Dt(Dt(u)).
    """

    def __init__(
        self,
        problem: Problem,
        mesh: Mesh,
        *,
        degree: int | None = None,
        quadrature_degree: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        self.problem, self.mesh, self.dtype, self.device = problem, mesh, dtype, torch.device(device)
        self.degrees = degrees_of(problem, degree)
        top = max(self.degrees.values())
        self.quadrature_degree = quadrature_degree or quadrature.quadrature_degree(top)
        self.domains = Domains(mesh, self.quadrature_degree, self.real, self.device)
        known: dict[tuple[str, int], Space] = {}

        def space(family: str, degree: int) -> Space:
            return known.setdefault((family, degree), Space(mesh, degree, family))

        self.spaces = {name: space(f.element, self.degrees[name]) for name, f in problem.fields.items()}
        self.parameter_spaces = {
            name: space("Lagrange", max(top, 1)) if q.smooth else space("DG", 0)
            for name, q in problem.parameters.items()
            if q.field
        }
        self.shapes = {
            name: (*(() if V.piola else problem.fields[name].shape), V.num_dofs) for name, V in self.spaces.items()
        }
        self.symbols, self.v = symbols_on(problem, mesh.dim, tuple(mesh.regions), tuple(mesh.boundaries))
        self.form = checked_residual(problem, self.symbols, self.v, complex_numbers=dtype.is_complex)
        extra = problem.stabilisation(self.symbols, self.v)
        if extra is not None:
            self.form = self.form + extra
        if any(u.rate.rate in self.form.coefficients() for u in self.symbols.u.values() if problem.time):
            raise InputError(
                f"{problem.name} has Dt(Dt(u)), which weak forms in torch do not take yet: use finite elements (fem)"
            )
        self._lowered: dict[ufl.Form, list[tuple[Where, Any]]] = {}
        self._terms = {name: terms(self.form, v) for name, v in self.v.items()}

    @property
    def real(self) -> torch.dtype:
        """The dtype of real numbers."""
        return {torch.complex128: torch.float64, torch.complex64: torch.float32}.get(self.dtype, self.dtype)

    @cached_property
    def linearised(self) -> Jacobian:
        """The derivative of the residual in the dofs: the pattern of its matrices, and their entries."""
        return Jacobian(self)

    def residual(
        self,
        u: Values,
        *,
        p: Mapping[str, Any] | None = None,
        t: float | Tensor = 0.0,
        rate: Values | None = None,
        points: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The residual vector of each field.

        Args:
            u: dofs of each field, shape (..., *shapes[field]).
            p: parameter values that replace the problem's own: numbers, tensors (...) of them, dicts by region,
                callables of x, or dofs in `parameter_spaces` (..., num_dofs).
            t: time [s].
            rate: dofs of the time derivatives, for an evolution.
            points: of the mesh, shape (num_points, dim), to differentiate in them.

        Returns:
            The same shapes as u, batch axes broadcast; Dirichlet rows are not treated.
        """
        state = self.state(u, p, t, rate, points)
        result = {}
        for name, by_measure in self._terms.items():
            parts: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for where, term in by_measure.items():
                side = state.side(where)
                for component, local in self._local(name, term, side, state.interpreter(where)):
                    parts.setdefault(component, []).append((side.entities.dofmap(self.spaces[name]), local))
            result[name] = self._gather(name, parts, u[name])
        return result

    def energy(
        self,
        u: Values,
        *,
        p: Mapping[str, Any] | None = None,
        t: float | Tensor = 0.0,
        points: Tensor | None = None,
    ) -> Tensor:
        """The energy, shape (...) of the batch axes."""
        energy = self.problem.energy(self.symbols)
        if energy is None:
            raise InputError(f"{self.problem.name} has no energy")
        return self.integral(energy, u, p=p, t=t, points=points)

    def integral(
        self,
        form: ufl.Form,
        u: Values,
        *,
        p: Mapping[str, Any] | None = None,
        t: float | Tensor = 0.0,
        points: Tensor | None = None,
    ) -> Tensor:
        """The value of a form without test functions, written in `symbols`, shape (...) of the batch axes."""
        state = self.state(u, p, t, u if self.problem.time else None, points)
        total: Any = 0.0
        for where, density in self._densities(form):
            value = state.interpreter(where).scalar(density) * state.side(where).geometry.w
            total = total + value.sum((-2, -1))
        return total

    def pack(self, values: Values) -> Tensor:
        """The dofs of all fields in one vector, (..., n): fields in order, components before dofs."""
        flat = [
            values[name].flatten(-len(shape)) if len(shape) > 1 else values[name] for name, shape in self.shapes.items()
        ]
        batch = torch.broadcast_shapes(*(v.shape[:-1] for v in flat))
        return torch.cat([v.expand(*batch, -1) for v in flat], -1)

    def unpack(self, vector: Tensor) -> dict[str, Tensor]:
        """The fields of a vector (..., n)."""
        parts = vector.split([math.prod(shape) for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*vector.shape[:-1], *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def parameter_dofs(self, name: str, value: Any, points: Tensor | None = None) -> Tensor:
        """Nodal interpolation of a field parameter given as number or callable, shape (num_dofs,)."""
        x = self.node_coordinates(self.parameter_spaces[name], points)
        return value(x) if callable(value) else torch.full_like(x[0], float(value))

    def node_coordinates(self, space: Space, points: Tensor | None = None) -> Tensor:
        """`space.x` as a tensor (dim, num_dofs), differentiable in the mesh's points."""
        if points is None:
            return torch.as_tensor(space.x, dtype=self.real, device=self.device)
        weights, nodes = (torch.as_tensor(array, device=self.device) for array in space.interpolation)
        return torch.einsum("nm,nmj->jn", weights.to(points.dtype), points[nodes])

    def state(
        self, u: Values, p: Mapping[str, Any] | None, t: Any, rate: Values | None, points: Tensor | None
    ) -> State:
        """Everything that the form depends on, by its symbols."""
        values = self.values(p)
        dofs: dict[Any, tuple[Space, Tensor]] = {}
        for name, symbol in self.symbols.u.items():
            dofs[symbol] = (self.spaces[name], self.checked(f"u[{name!r}]", u.get(name), self.shapes[name]))
            if self.problem.time:
                if rate is None:
                    raise InputError("an evolution's residual needs rate=, the dofs of the time derivative")
                dofs[symbol.rate] = (
                    self.spaces[name],
                    self.checked(f"rate[{name!r}]", rate.get(name), self.shapes[name]),
                )
        for name, space in self.parameter_spaces.items():
            value = values[name]
            if not isinstance(value, Tensor):
                value = self.parameter_dofs(name, value, points)
            dofs[getattr(self.symbols.p, name)] = (space, self.checked(f"p[{name!r}]", value, (space.num_dofs,)))
        return State(self.domains, dofs, self.constants(p, t), points)

    def values(self, p: Mapping[str, Any] | None) -> dict[str, Any]:
        """The problem's parameter values, replaced by those that are given."""
        values = dict(self.problem.values)
        for name, value in (p or {}).items():
            if name not in self.problem.parameters:
                raise unknown(f"parameter of {self.problem.name}", name, self.problem.parameters)
            values[name] = self._by_region(name, value) if self.problem.parameters[name].per_region else value
        return values

    def _by_region(self, name: str, value: Any) -> dict[str, Any]:
        """A value for every region: one for all, or the problem's own where none is given."""
        own = self.problem.values[name]
        if not isinstance(value, Mapping):
            return dict.fromkeys(own, value)
        for region in value:
            if region not in own:
                raise unknown(f"region of parameter {name!r}", region, own)
        return {**own, **value}

    def constants(self, p: Mapping[str, Any] | None, t: Any) -> dict[Any, Any]:
        """Time and the parameters that are numbers, by symbol."""
        values, result = self.values(p), {self.symbols.t: t}
        for name, spec in self.problem.parameters.items():
            symbol = getattr(self.symbols.p, name)
            if spec.per_region:
                result.update({symbol[region]: values[name][region] for region in spec.default})
            elif not spec.field:
                result[symbol] = values[name]
        return result

    def checked(self, what: str, value: Any, shape: tuple[int, ...]) -> Tensor:
        """A value that is a tensor (..., *shape) of the form's dtype and device; InputError if it is not."""
        if not isinstance(value, Tensor):
            raise InputError(f"{what} must be a tensor, shape {_batched(shape)}, got {type(value).__name__}")
        if value.shape[value.ndim - len(shape) :] != shape:
            raise InputError(f"{what} must have shape {_batched(shape)}, got {tuple(value.shape)}")
        if value.dtype not in (self.dtype, self.real) or value.device.type != self.device.type:
            raise InputError(
                f"{what} is {value.dtype} on {value.device}, the form {self.dtype} on {self.device}: "
                "give tensors of the form's dtype and device"
            )
        return value

    def _local(
        self, name: str, term: Term, side: Side, interpreter: Interpreter
    ) -> Iterator[tuple[tuple[int, ...], Tensor]]:
        """The contribution of each cell or facet to the rows of a field, by component: (..., dofs a cell, k)."""
        space, rank = self.spaces[name], len(self.problem.fields[name].shape)
        reference: dict[tuple[int, ...], dict[tuple[int, Directions], Any]] = {}
        for component, directions, coefficient in coefficients(term, rank):
            value = interpreter.scalar(coefficient)
            if not _is_zero(value):
                rows = reference.setdefault(() if space.piola else component, {})
                parts = side.geometry.expansion(space, component, directions)
                weighted = value * side.geometry.w
                if all(_same_at_all_points(side.entities.tables(space, axes)[c], f) for c, axes, f in parts):
                    weighted = weighted.sum(-2, keepdim=True)
                for c, axes, factor in parts:
                    rows[c, axes] = rows.get((c, axes), 0.0) + weighted * factor
        for component, rows in reference.items():
            yield (
                component,
                sum(integrate(side.entities.tables(space, axes)[c], value) for (c, axes), value in rows.items()),
            )

    def _gather(self, name: str, parts: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]], like: Tensor) -> Tensor:
        """Add up what cells and facets contribute to each dof, (..., *shapes[name])."""
        *axes, count = self.shapes[name]
        batch = torch.broadcast_shapes(
            like.shape[: like.ndim - len(axes) - 1], *(local.shape[:-2] for part in parts.values() for _, local in part)
        )
        rows = []
        for component in np.ndindex(*axes):
            row = torch.zeros(*batch, count, dtype=self.dtype, device=self.device)
            for dofs, local in parts.get(component, []):
                local = local.expand(*batch, *local.shape[-2:]).reshape(*batch, -1)
                row = row.index_add(-1, dofs.reshape(-1), local.to(self.dtype))
            rows.append(row)
        return torch.stack(rows, -2).reshape(*batch, *axes, count) if axes else rows[0]

    def _densities(self, form: ufl.Form) -> list[tuple[Where, Any]]:
        """Lowered integrands by measure."""
        if form not in self._lowered:
            self._lowered[form] = [
                (where, lower(integral.integrand()))
                for integral in form.integrals()
                for where in measures(integral)
                if where.side != "-"
            ]
        return self._lowered[form]


def coefficients(term: Term, rank: int) -> Iterator[tuple[tuple[int, ...], Directions, Any]]:
    """The coefficient of every derivative of every component of the test function that has one.

    Args:
        rank: of the test function; further axes are derivatives.
    """
    for tensor in (term.source, term.flux, term.moment):
        if not is_zero(tensor):
            for index in np.ndindex(*tensor.ufl_shape):
                yield index[:rank], index[rank:], tensor[index] if index else tensor


def _same_at_all_points(table: Tensor, factor: Tensor | float) -> bool:
    return table.shape[0] == 1 and (not isinstance(factor, Tensor) or factor.shape[-2] == 1)


def _batched(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['...', *map(str, shape)])})"


def _is_zero(value: Any) -> bool:
    return not isinstance(value, Tensor) and value == 0.0
