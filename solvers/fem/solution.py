"""A finite-element solution: evaluated anywhere, on any number of ranks."""

from __future__ import annotations

from typing import Any

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from variform.errors import InputError
from variform.mesh import Mesh
from variform.solution import Cost, Solution, Status
from variform.solvers.fem.discretize import JIT, Discrete


class FemSolution(Solution):
    """Dofs at one or more times. Every method is collective: call it on all ranks with the same arguments.

    Args:
        discrete: the discretisation that was solved.
        snapshots: (time, dofs of each field on this rank); the last is the present state of `discrete.u`.
    """

    support = "mesh"

    def __init__(
        self,
        discrete: Discrete,
        snapshots: list[tuple[float | None, dict[str, np.ndarray]]],
        cost: Cost,
        discretization: dict[str, Any],
        status: Status = "done",
    ) -> None:
        self._discrete, self._snapshots = discrete, snapshots
        self.cost, self.discretization, self.status = cost, discretization, status
        domain = discrete.domain.mesh
        self._tree = dolfinx.geometry.bb_tree(domain, domain.topology.dim, padding=1e-10)
        self._gradients: dict[str, tuple[Any, fem.Function]] = {}
        self._located: tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None

    @property
    def mesh(self) -> Mesh:
        return self._discrete.domain.source

    @property
    def times(self) -> list[float | None]:
        return [t for t, _ in self._snapshots]

    def at(
        self, x: np.ndarray, *, field: str | None = None, t: float | None = None, derivatives: int = 0
    ) -> np.ndarray:
        function = self._restore(field, t)
        if derivatives == 1:
            function = self._gradient(function)
        elif derivatives:
            raise InputError(f"finite elements give values and gradients, not derivatives={derivatives}")
        values = self._evaluate(function, np.atleast_2d(np.asarray(x, dtype=float)))
        shape = self._discrete.u[field or next(iter(self._discrete.u))].ufl_shape
        dim = (self.mesh.dim,) if derivatives else ()
        return values.reshape(-1, *shape, *dim).transpose(*range(1, 1 + len(shape) + len(dim)), 0)

    def _restore(self, field: str | None, t: float | None) -> fem.Function:
        """The field's function, holding the values of time t."""
        name = field or next(iter(self._discrete.u))
        index = -1
        if t is not None:
            known = np.array(self.times, dtype=float)
            matches = np.flatnonzero(np.isclose(known, t, rtol=1e-9, atol=1e-14))
            if not len(matches):
                raise InputError(f"time {t:g} was not stored; stored times: {', '.join(f'{k:g}' for k in known)}")
            index = matches[-1]
        function = self._discrete.u[name]
        function.x.array[:] = self._snapshots[index][1][name]
        return function

    def _gradient(self, function: fem.Function) -> fem.Function:
        """grad u_h, which is piecewise polynomial of one degree less: interpolation is exact."""
        if function.name not in self._gradients:
            degree = self._discrete.degrees[function.name] - 1
            shape = (*function.ufl_shape, self.mesh.dim)
            V = fem.functionspace(function.function_space.mesh, ("DG", degree, shape))
            expression = fem.Expression(ufl.grad(function), V.element.interpolation_points, jit_options=JIT)
            self._gradients[function.name] = expression, fem.Function(V)
        expression, gradient = self._gradients[function.name]
        gradient.interpolate(expression)
        return gradient

    def _evaluate(self, function: fem.Function, x: np.ndarray) -> np.ndarray:
        """Values (n, components): each point by the lowest rank that has a cell there; NaN where none has."""
        comm = self._discrete.domain.mesh.comm
        points, found, cells = self._locate(x)
        components = int(np.prod(function.ufl_shape, initial=1))
        values = np.zeros((len(points), components))
        if found.any():
            values[found] = function.eval(points[found], cells).reshape(-1, components)
        nobody = ~found
        if comm.size > 1:
            owner = np.where(found, comm.rank, comm.size)
            comm.Allreduce(MPI.IN_PLACE, owner, op=MPI.MIN)
            values[owner != comm.rank] = 0.0
            comm.Allreduce(MPI.IN_PLACE, values, op=MPI.SUM)
            nobody = owner == comm.size
        values[nobody] = np.nan
        return values

    def _locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (n, 3), which of them have a cell on this rank, and those cells; remembered for the gradient."""
        if self._located is None or not np.array_equal(self._located[0], x):
            points = np.zeros((x.shape[1], 3))
            points[:, : len(x)] = x.T
            candidates = dolfinx.geometry.compute_collisions_points(self._tree, points)
            cells = dolfinx.geometry.compute_colliding_cells(self._discrete.domain.mesh, candidates, points)
            found = cells.offsets[1:] > cells.offsets[:-1]
            self._located = x.copy(), (points, found, cells.array[cells.offsets[:-1][found]])
        return self._located[1]
