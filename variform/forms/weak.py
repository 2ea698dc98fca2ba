"""The weak form in torch: residual vectors and energies on a mesh, batched over leading axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform import quadrature
from variform.errors import InputError
from variform.forms.derive import EVERYWHERE, Term, terms
from variform.forms.interpret import Interpreter, lower
from variform.forms.spaces import Space
from variform.forms.symbols import checked_residual, symbols_on
from variform.mesh import Mesh
from variform.problem import Problem

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Points:
    """Quadrature points of one integral: k entities (cells or facets) with q points each.

    cells (k,); x (dim, k, q); w (k, q); K (k, dim, dim) = dX/dx; n (dim, k, 1) or None;
    reference: points in the reference cell, (q, dim), or (k's local facet) (k, q, dim).
    """

    cells: Tensor
    x: Tensor
    w: Tensor
    K: Tensor
    n: Tensor | None
    reference: np.ndarray
    local_facet: np.ndarray | None


class WeakForm:
    """r_i(u) = F(u; v_i) for every basis function v_i, and the energy, on a given mesh.

    The pointwise part (source, flux) is compiled from UFL first and contracted with the basis functions after:
    r_i = sum_q w_q [source v_i + flux . grad v_i].

    Args:
        problem: any with first-order cell and exterior-facet integrals.
        mesh: straight simplices; the names of its regions and boundaries are those of the form.
        degree: of every field; the problem's own by default. Smooth parameter fields have the same.
        quadrature_degree: `variform.quadrature.quadrature_degree(degree)` by default.
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
        for name, field in problem.fields.items():
            if field.element not in ("Lagrange", "DG") or (field.element == "DG" and (degree or field.degree) > 0):
                raise InputError(
                    f"field {name!r} is of element {field.element} {field.degree}: "
                    "the torch form takes Lagrange elements and piecewise constants"
                )
        degrees = {name: degree or field.degree for name, field in problem.fields.items()}
        top = max(degrees.values())
        self.quadrature_degree = quadrature_degree or quadrature.quadrature_degree(top)
        spaces = {d: Space(mesh, d) for d in {0, top, *degrees.values()}}
        self.spaces = {name: spaces[d] for name, d in degrees.items()}
        self.parameter_spaces = {
            name: spaces[top if q.smooth else 0] for name, q in problem.parameters.items() if q.field
        }
        self.symbols, self._v = symbols_on(problem, mesh.dim, tuple(mesh.regions), tuple(mesh.boundaries))
        residual = checked_residual(problem, self.symbols, self._v)
        self._terms = {name: terms(residual, v) for name, v in self._v.items()}
        energy = problem.energy(self.symbols)
        self._densities = [] if energy is None else _densities(energy)
        keys = {key for by_measure in self._terms.values() for key in by_measure}
        self._points = {key: self._quadrature(*key) for key in keys | {key for key, _ in self._densities}}

    def residual(
        self, u: Values, *, p: Mapping[str, Any] | None = None, t: float | Tensor = 0.0, rate: Values | None = None
    ) -> dict[str, Tensor]:
        """The residual vector of each field.

        Args:
            u: dofs of each field, shape (..., *field shape, num_dofs).
            p: parameter values that replace the problem's own: numbers, dicts by region, callables of x, or dofs in
                `parameter_spaces` (..., num_dofs).
            t: time [s].
            rate: dofs of the time derivatives, for an evolution.

        Returns:
            The same shapes as u; Dirichlet rows are not treated.
        """
        leaves = self._leaves(u, p, t, rate)
        result = {}
        for name, by_measure in self._terms.items():
            out = torch.zeros_like(u[name])
            for key, term in by_measure.items():
                self._add(out, self.spaces[name], self._points[key], term, leaves)
            result[name] = out
        return result

    def energy(self, u: Values, *, p: Mapping[str, Any] | None = None, t: float | Tensor = 0.0) -> Tensor:
        """The energy, shape (...) of the batch axes."""
        if not self._densities:
            raise InputError(f"{self.problem.name} has no energy")
        leaves = self._leaves(u, p, t, None)
        total: Any = 0.0
        for key, density in self._densities:
            points = self._points[key]
            value = Interpreter(leaves.at(points)).scalar(density)
            total = total + (value * points.w).sum((-2, -1))
        return total

    def parameter_dofs(self, name: str, value: Any) -> Tensor:
        """Nodal interpolation of a field parameter given as number or callable, shape (num_dofs,)."""
        x = torch.as_tensor(self.parameter_spaces[name].x, dtype=self.dtype, device=self.device)
        return value(x) if callable(value) else torch.full_like(x[0], float(value))

    def _leaves(self, u: Values, p: Mapping[str, Any] | None, t: Any, rate: Values | None) -> _Leaves:
        values = {**self.problem.values, **(p or {})}
        dofs: dict[Any, tuple[Space, Tensor]] = {}
        constants: dict[Any, Any] = {self.symbols.t: t}
        for name, unknown in self.symbols.u.items():
            dofs[unknown] = (self.spaces[name], u[name])
            if self.problem.time:
                if rate is None:
                    raise InputError("an evolution's residual needs rate=, the dofs of the time derivative")
                dofs[unknown.rate] = (self.spaces[name], rate[name])
        for name, spec in self.problem.parameters.items():
            symbol = getattr(self.symbols.p, name)
            if spec.per_region:
                constants.update({symbol[region]: values[name][region] for region in spec.default})
            elif spec.field:
                value = values[name]
                value = value if isinstance(value, Tensor) else self.parameter_dofs(name, value)
                dofs[symbol] = (self.parameter_spaces[name], value)
            else:
                constants[symbol] = values[name]
        return _Leaves(dofs, constants)

    def _quadrature(self, kind: str, number: int | str) -> _Points:
        mesh, degree = self.mesh, self.quadrature_degree
        tensor = {"dtype": self.dtype, "device": self.device}
        if kind == "cell":
            cells = np.arange(len(mesh.cells)) if number == EVERYWHERE else list(mesh.regions.values())[number - 1]
            rule, normal, local = quadrature.cell_quadrature(mesh, degree, cells), None, None
            reference = quadrature.reference_rule(mesh.cell_type, degree)[0]
        else:
            facets = mesh.exterior_facets if number == EVERYWHERE else list(mesh.boundaries.values())[number - 1]
            cells, local = facets.T
            rule = quadrature.facet_quadrature(mesh, degree, facets)
            _, outward = quadrature.facet_scale_and_normal(mesh, facets)
            normal = torch.as_tensor(outward.T[..., None], **tensor)
            points = quadrature.reference_rule(quadrature.facet_type(mesh.cell_type), degree)[0]
            reference = quadrature.facet_points(mesh, points)
        shape = (len(cells), -1)
        return _Points(
            cells=torch.as_tensor(cells, device=self.device),
            x=torch.as_tensor(rule.x.reshape(mesh.dim, *shape), **tensor),
            w=torch.as_tensor(rule.w.reshape(shape), **tensor),
            K=torch.as_tensor(np.linalg.inv(quadrature.jacobians(mesh, cells)), **tensor),
            n=normal,
            reference=reference,
            local_facet=local,
        )

    def _add(self, out: Tensor, space: Space, points: _Points, term: Term, leaves: _Leaves) -> None:
        """Add one integral's contribution: contract source and flux with the basis functions, then scatter."""
        interpreter = Interpreter(leaves.at(points))
        values, gradients = _tables(space, points)
        dofmap = torch.as_tensor(space.dofmap, device=out.device)[points.cells]
        batch = out.shape[: out.ndim - len(term.source.ufl_shape) - 1]
        dim = self.mesh.dim
        for component in np.ndindex(*term.source.ufl_shape):
            local: Any = 0.0
            source = interpreter.scalar(term.source, component)
            if not (isinstance(source, float) and source == 0.0):
                local = local + _contract(
                    "...kq,{k}qi->...ki", (source * points.w).expand(*batch, *points.w.shape), values
                )
            flux = [interpreter.scalar(term.flux, (*component, j)) for j in range(dim)]
            if any(isinstance(f, Tensor) or f != 0.0 for f in flux):
                weighted = torch.stack([(f * points.w).expand(*batch, *points.w.shape) for f in flux], -1)
                reference_flux = torch.einsum("...kqj,kdj->...kqd", weighted, points.K)
                local = local + _contract("...kqd,{k}qid->...ki", reference_flux, gradients)
            if isinstance(local, Tensor):
                row = out[(..., *component, slice(None))]
                row.index_add_(-1, dofmap.reshape(-1), local.reshape(*batch, -1))


class _Leaves:
    """Values of coefficients (by dofs) and constants, at the points of any integral."""

    def __init__(self, dofs: dict[Any, tuple[Space, Tensor]], constants: dict[Any, Any]) -> None:
        self.dofs, self.constants = dofs, constants

    def at(self, points: _Points) -> Any:
        def leaf(o: Any, component: tuple[int, ...], derivatives: tuple[int, ...]) -> Any:
            if o in self.dofs:
                return self._coefficient(o, component, derivatives, points)
            if o in self.constants and not derivatives:
                value = self.constants[o]
                return value[..., None, None] if isinstance(value, Tensor) and value.ndim else value
            if isinstance(o, ufl.classes.SpatialCoordinate) and not derivatives:
                return points.x[component[0]]
            if isinstance(o, ufl.classes.FacetNormal) and not derivatives and points.n is not None:
                return points.n[component[0]]
            raise InputError(f"the torch weak form does not know {o}" + (" derived twice" if derivatives else ""))

        return leaf

    def _coefficient(self, o: Any, component: tuple[int, ...], derivatives: tuple[int, ...], points: _Points) -> Tensor:
        space, dofs = self.dofs[o]
        values, gradients = _tables(space, points)
        dofmap = torch.as_tensor(space.dofmap, device=dofs.device)[points.cells]
        local = dofs[(..., *component, slice(None))][..., dofmap]
        if not derivatives:
            return _contract("...ki,{k}qi->...kq", local, values)
        if len(derivatives) > 1:
            raise InputError(
                f"second derivatives of {o} in the weak form: only finite elements solve fourth-order forms"
            )
        along = points.K[..., derivatives[0]]
        return torch.einsum("...kqd,kd->...kq", _contract("...ki,{k}qid->...kqd", local, gradients), along)


def _tables(space: Space, points: _Points) -> tuple[Tensor, Tensor]:
    """Basis values and reference gradients: shared by all cells, or one table a facet (leading axis k)."""
    reference = points.reference
    values, gradients = space.tabulate(reference.reshape(-1, reference.shape[-1]))
    if points.local_facet is not None:
        shape = reference.shape[:2]
        values = values.reshape(*shape, -1)[points.local_facet]
        gradients = gradients.reshape(*shape, *gradients.shape[1:])[points.local_facet]
    like = {"dtype": points.w.dtype, "device": points.w.device}
    return torch.as_tensor(np.ascontiguousarray(values), **like), torch.as_tensor(
        np.ascontiguousarray(gradients), **like
    )


def _contract(pattern: str, a: Tensor, table: Tensor) -> Tensor:
    """einsum where the table has an axis k of its own on facets, none in cells."""
    axes = pattern.split("{k}")[1].split("->")[0]
    return torch.einsum(pattern.format(k="k" if table.ndim > len(axes) else ""), a, table)


def _densities(energy: ufl.Form) -> list[tuple[tuple[str, int | str], Any]]:
    """Lowered integrands of an energy, by (integral type, subdomain number)."""
    result = []
    for integral in energy.integrals():
        numbers = integral.subdomain_id()
        for number in numbers if isinstance(numbers, tuple) else (numbers,):
            result.append(((integral.integral_type(), number), lower(integral.integrand())))
    return result
