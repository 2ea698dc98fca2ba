"""Periodic boundary conditions on boxes: the map from independent dofs to all dofs."""

from __future__ import annotations

import numpy as np
from dolfinx import fem
from mpi4py import MPI
from petsc4py import PETSc

from variform.errors import InputError


def prolongation(fields: list[tuple[fem.FunctionSpace, tuple[int, ...]]]) -> PETSc.Mat:
    """P with u = P u_independent, where dofs on the upper side of each axis copy those on the lower side.

    P (all x independent) has one 1 a row: P^T A P and P^T b constrain an assembled system, on any number of ranks. On
    each rank the fields follow one another, in rows and columns.

    Args:
        fields: space and periodic axes of each field; one without axes is left as it is.

    Raises:
        InputError: the meshes of two opposite sides do not match.
    """
    comm = fields[0][0].mesh.comm
    for V, axes in fields:
        if axes and V.element.basix_element.discontinuous:
            raise InputError("only Lagrange elements can be periodic")
    nodes = [_twins(V, axes) for V, axes in fields]
    sizes = [V.dofmap.bs for V, _ in fields]
    num_rows = sum(bs * len(upper) for bs, (_, _, upper) in zip(sizes, nodes, strict=True))
    num_columns = sum(bs * int((~upper).sum()) for bs, (_, _, upper) in zip(sizes, nodes, strict=True))
    row, column = comm.exscan(num_rows) or 0, comm.exscan(num_columns) or 0
    P = PETSc.Mat().createAIJ(((num_rows, None), (num_columns, None)), nnz=(1, 1), comm=comm)
    for bs, (x, twin, upper) in zip(sizes, nodes, strict=True):
        columns = column + bs * (np.cumsum(~upper) - 1)
        known = _table(comm, x[~upper], columns[~upper]) if comm.allreduce(int(upper.sum())) else {}
        found = [known.get(_key(twin[i])) for i in np.flatnonzero(upper)]
        if comm.allreduce(found.count(None)):
            raise InputError("periodic sides do not match: a node on one has none opposite")
        columns[upper] = found
        for node, first in enumerate(columns):
            for component in range(bs):
                P.setValue(row + node * bs + component, first + component, 1.0)
        row, column = row + bs * len(upper), column + bs * int((~upper).sum())
    P.assemble()
    return P


def _twins(V: fem.FunctionSpace, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Owned nodes in units of the box, shape (n, dim); where each one's twin lies; and whether it has one."""
    comm, dim, owned = V.mesh.comm, V.mesh.geometry.dim, V.dofmap.index_map.size_local
    x = V.tabulate_dof_coordinates()[:owned, :dim] if V.element.basix_element.interpolation_is_identity else None
    if x is None:
        if axes:
            raise InputError("only Lagrange elements can be periodic")
        return np.zeros((owned, dim)), np.zeros((owned, dim)), np.zeros(owned, dtype=bool)
    for axis in range(dim):
        lowest = comm.allreduce(x[:, axis].min(initial=np.inf), op=MPI.MIN)
        highest = comm.allreduce(x[:, axis].max(initial=-np.inf), op=MPI.MAX)
        x[:, axis] = (x[:, axis] - lowest) / (highest - lowest or 1.0)
    twin = x.copy()
    upper = np.zeros(owned, dtype=bool)
    for axis in axes:
        sides = [int(np.isclose(x[:, axis], end, rtol=0, atol=1e-10).sum()) for end in (0.0, 1.0)]
        if comm.allreduce(sides[0]) != comm.allreduce(sides[1]):
            raise InputError("periodic sides do not match: one has more nodes than the other")
        on_side = np.isclose(x[:, axis], 1.0, rtol=0, atol=1e-10)
        twin[on_side, axis] = 0.0
        upper |= on_side
    return x, twin, upper


def _table(comm: MPI.Comm, x: np.ndarray, columns: np.ndarray) -> dict[tuple[int, ...], int]:
    """Coordinates of every independent node on every rank -> its first column."""
    return {
        _key(point): column
        for points, numbers in comm.allgather((x, columns))
        for point, column in zip(points, numbers, strict=True)
    }


def _key(point: np.ndarray) -> tuple[int, ...]:
    return tuple(np.round(point * 1e9).astype(np.int64).tolist())
