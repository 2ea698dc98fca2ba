"""One sample of a batch as a solution."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform.errors import InputError, unknown
from variform.forms import values
from variform.forms.weak import WeakForm
from variform.location import locate
from variform.mesh import Mesh
from variform.problem import Mean, Symbols
from variform.quadrature import cell_quadrature, reference_map, reference_nodes, reference_rule
from variform.runs import atomic
from variform.solution import Cost, Solution, Status


class BatchedSolution(Solution):
    """Dofs of one sample on the mesh of its weak form.

    Args:
        states: (time or None, dofs by field), in the order of time.
    """

    support = "mesh"

    def __init__(
        self,
        weak: WeakForm,
        states: list[tuple[float | None, dict[str, Tensor]]],
        cost: Cost,
        discretization: dict[str, Any],
        status: Status = "done",
    ) -> None:
        self.weak, self.states = weak, states
        self.cost, self.discretization, self.status = cost, discretization, status
        self._located: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def mesh(self) -> Mesh:
        return self.weak.mesh

    @property
    def times(self) -> list[float | None]:
        """Stored times [s]; [None] of a stationary problem."""
        return [t for t, _ in self.states]

    def at(
        self, x: np.ndarray, *, field: str | None = None, t: float | None = None, derivatives: int = 0
    ) -> np.ndarray:
        x = np.atleast_2d(np.asarray(x, dtype=float))
        if len(x) != self.mesh.dim:
            raise InputError(f"points need shape ({self.mesh.dim}, n), got {x.shape}")
        if derivatives not in (0, 1):
            raise InputError(f"finite elements give values and gradients, not derivatives={derivatives}")
        if self._located is None or not np.array_equal(self._located[0], x):
            self._located = x.copy(), *locate(self.mesh, x)
        _, cells, X = self._located
        inside = cells >= 0
        values = self._in_cells(self._name(field), t, cells[inside], X[inside], derivatives)
        result = np.full((*values.shape[:-1], x.shape[1]), np.nan, dtype=values.dtype)
        result[..., inside] = values
        return result

    @cached_property
    def drawn(self) -> Mesh:
        return self.mesh.second_order if max(self.weak.degrees.values()) > 1 else self.mesh

    def nodal(self, field: str | None = None) -> np.ndarray:
        """Where cells disagree, as those of RT or DG do, the mean."""
        mesh, name = self.drawn, self._name(field)
        X = reference_nodes(mesh.cell_type, mesh.order)
        cells = np.repeat(np.arange(len(mesh.cells)), len(X))
        values = self._in_cells(name, None, cells, np.tile(X, (len(mesh.cells), 1)), 0)
        flat, nodes = values.reshape(-1, values.shape[-1]), mesh.nodes.ravel()
        count = np.bincount(nodes, minlength=len(mesh.points))
        means = [_sum(nodes, row, len(mesh.points)) / np.maximum(count, 1) for row in flat]
        return np.array(means).reshape(*values.shape[:-1], -1)

    def exact_errors(self, field: str | None = None) -> dict[str, float]:
        """relative_l2 and relative_h1 against the exact solution, in the solution's own cells; {} where none is known.

        The quadrature is exact to degree 2 k + 3 for elements of degree k.
        """
        problem, mesh, name = self.weak.problem, self.mesh, self._name(field)
        degree = 2 * max(self.weak.degrees.values()) + 3
        X, _ = reference_rule(mesh.cell_type, degree)
        rule = cell_quadrature(mesh, degree)
        x, t = torch.as_tensor(rule.x), self.times[-1] or 0.0

        def exact(derivatives: int) -> np.ndarray | None:
            def function(point: Any, time: Any, p: Any) -> dict[str, Any]:
                u = problem.by_field(problem.exact(point, time, p))
                return {name: ufl.grad(u[name]) if derivatives else u[name]} if name in u else {}

            return values(problem, function, x, t).get(name)

        cells, places = np.repeat(np.arange(len(mesh.cells)), len(X)), np.tile(X, (len(mesh.cells), 1))
        errors = {}
        for norm, derivatives in (("relative_l2", 0), ("relative_h1", 1)):
            truth = exact(derivatives)
            if truth is None or (derivatives and self.weak.problem.fields[name].element != "Lagrange"):
                continue
            truth = truth.numpy()
            difference = self._in_cells(name, None, cells, places, derivatives) - truth
            if derivatives == 0 and (shift := self._free_constant(name)):
                difference = difference - shift * (difference @ rule.w) / rule.w.sum()
            size = float((abs(truth) ** 2 @ rule.w).sum())
            errors[norm] = float(np.sqrt((abs(difference) ** 2 @ rule.w).sum() / size)) if size else float("nan")
        return errors

    def _free_constant(self, name: str) -> bool:
        """The field is given by its mean, which the exact solution need not have on this mesh."""
        return any(c.field == name for c in self.weak.problem.conditions_of(Mean))

    def functional(self, form: Callable[[Symbols], Any]) -> float:
        return float(self.weak.integral(form(self.weak.symbols), self.states[-1][1], t=self.times[-1] or 0.0))

    def reaction(self, field: str, on: str | tuple[str, ...], component: int | None = None) -> float:
        if self.times[-1] is not None:
            return float("nan")  # the rate that the residual needs is that of a stage
        mesh, names = self.mesh, (on,) if isinstance(on, str) else on
        for name in names:
            if name != "boundary" and name not in mesh.boundaries:
                raise unknown("boundary of the mesh", name, mesh.boundaries)
        facets = [mesh.exterior_facets if name == "boundary" else mesh.boundaries[name] for name in names]
        dofs = torch.as_tensor(self.weak.spaces[field].on_facets(np.concatenate(facets)), device=self.weak.device)
        rows = self.weak.residual(self.states[-1][1])[field][..., dofs]
        return float((rows if component is None else rows[component]).sum())

    def save(self, folder: Path) -> Path:
        """Write `solution.npz`: the dofs of every stored state by field, and the times."""
        path = Path(folder) / "solution.npz"
        dofs = {name: np.stack([u[name].cpu().numpy() for _, u in self.states]) for name in self.weak.shapes}
        with atomic(path) as temporary:
            np.savez(temporary, times=np.array([np.nan if t is None else t for t in self.times]), **dofs)
        return path

    def _name(self, field: str | None) -> str:
        name = field or next(iter(self.weak.shapes))
        if name not in self.weak.shapes:
            raise unknown("field", name, self.weak.shapes)
        return name

    def _state(self, t: float | None) -> dict[str, Tensor]:
        if t is None:
            return self.states[-1][1]
        matches = np.flatnonzero(np.isclose(np.array(self.times, dtype=float), t, rtol=1e-9, atol=1e-14))
        if not len(matches):
            raise InputError(f"time {t:g} was not stored; stored times: {', '.join(map(str, self.times))}")
        return self.states[matches[-1]][1]

    def _in_cells(self, name: str, t: float | None, cells: np.ndarray, X: np.ndarray, derivatives: int) -> np.ndarray:
        """Values (*shape, n), or gradients (*shape, dim, n), at reference points X (n, dim), each in its own cell."""
        space, dofs = self.weak.spaces[name], self._state(t)[name].detach().cpu().numpy()
        local = dofs[..., space.dofmap[cells]]  # (*axes, n, dofs a cell)
        if space.orientation is not None:
            matrices, of_cell = space.orientation
            local = np.einsum("nij,ni->nj", matrices[of_cell[cells]], local)
        _, J = reference_map(self.mesh, X[:, None], cells)
        J = J[:, 0]
        tables = space.tabulate(X, derivatives)
        axes = [()] if derivatives == 0 else [(d,) for d in range(self.mesh.dim)]
        reference = np.stack([np.einsum("nic,...ni->...cn", tables[d], local) for d in axes], axis=-2)
        if space.piola is None:
            reference = reference[..., 0, :, :]  # one component
        elif derivatives and not self.mesh.affine:
            raise InputError(f"no gradients of {space.family} on cells that are not affine")
        else:
            mapped = (
                J / np.linalg.det(J)[:, None, None]
                if space.piola == "contravariant"
                else np.linalg.inv(J).swapaxes(1, 2)
            )
            reference = np.einsum("njc,cdn->jdn", mapped, reference)
        if derivatives == 0:
            return reference[..., 0, :]
        return np.einsum("...dn,ndj->...jn", reference, np.linalg.inv(J))


def _sum(nodes: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """The sum of the values at each node, shape (count,)."""
    if np.iscomplexobj(values):
        return _sum(nodes, values.real, count) + 1j * _sum(nodes, values.imag, count)
    return np.bincount(nodes, values, minlength=count)
