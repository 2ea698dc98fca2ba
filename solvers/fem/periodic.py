"""Periodic boundary conditions on boxes: the map from independent dofs to all dofs."""

from __future__ import annotations

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from variform.errors import InputError


def prolongation(V: fem.FunctionSpace, axes: tuple[int, ...]) -> PETSc.Mat:
    """P with u = P u_independent, where dofs on the upper side of each axis copy those on the lower side.

    P (all x independent) has one 1 a row: P^T A P and P^T b constrain an assembled system, on any number of ranks.

    Raises:
        InputError: the meshes of two opposite sides do not match.
    """
    comm, bs = V.mesh.comm, V.dofmap.bs
    dim, owned = V.mesh.geometry.dim, V.dofmap.index_map.size_local
    x = V.tabulate_dof_coordinates()[:owned, :dim]
    # A dof at the upper side has its twin where these coordinates are those of the lower side.
    twin = x.copy()
    upper = np.zeros(owned, dtype=bool)
    for axis in axes:
        lowest = comm.allreduce(x[:, axis].min(initial=np.inf), op=MPI.MIN)
        highest = comm.allreduce(x[:, axis].max(initial=-np.inf), op=MPI.MAX)
        on_side = np.isclose(x[:, axis], highest, rtol=0, atol=1e-10 * (highest - lowest))
        twin[on_side, axis] = lowest
        upper |= on_side

    rows_before = comm.exscan(owned) or 0
    independent = np.cumsum(~upper) - 1 + (comm.exscan(int((~upper).sum())) or 0)
    known = _table(comm, x[~upper], independent[~upper])
    columns = independent.copy()
    for i in np.flatnonzero(upper):
        key = _key(twin[i])
        if key not in known:
            raise InputError(f"periodic sides do not match: no dof opposite to x = {x[i]}")
        columns[i] = known[key]

    size = (owned * bs, None), (int((~upper).sum()) * bs, None)
    P = PETSc.Mat().createAIJ(size, nnz=(1, 1), comm=comm)
    for row, column in enumerate(columns):
        for component in range(bs):
            P.setValue((rows_before + row) * bs + component, column * bs + component, 1.0)
    P.assemble()
    return P


def _table(comm: MPI.Comm, x: np.ndarray, columns: np.ndarray) -> dict[tuple[int, ...], int]:
    """Coordinates of every independent dof on every rank -> its column."""
    return {
        _key(point): column
        for points, numbers in comm.allgather((x, columns))
        for point, column in zip(points, numbers, strict=True)
    }


def _key(point: np.ndarray) -> tuple[int, ...]:
    return tuple(np.round(point * 1e9).astype(np.int64).tolist())
