"""Checkpoints in HDF5: mesh, dofs by cell, orientation undone; they restart on any number of ranks.

    mesh/points, mesh/cells, mesh/edge_nodes, mesh/regions/NAME, mesh/boundaries/NAME
    fields/NAME            dofs of each cell, shape (num_cells, dofs a cell, block size); attributes element, degree

Dofs are stored cell by cell in the order of the mesh's cells and in the reference element's own orientation, so that
neither the partition nor DOLFINx's numbering is in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import h5py

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from variform.errors import InputError
from variform.mesh import Mesh
from variform.runs import atomic
from variform.solvers.fem.discretize import Discrete

FORMAT = "variform checkpoint 1"
Functions = Mapping[str, tuple[str, fem.Function]]
"""By name: the field in whose space a function lies, and the function."""


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds: the mesh, by field (element, degree, dofs by cell), and what else was given."""

    mesh: Mesh
    fields: dict[str, tuple[str, int, np.ndarray]]
    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]


def write(
    path: Path,
    discrete: Discrete,
    *,
    functions: Functions | None = None,
    attributes: Mapping[str, Any] | None = None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write the present state, atomically, by the first rank; collective.

    Args:
        functions: instead of the unknowns: by name a field, and a function in its space.
        attributes, arrays: what else to keep.
    """
    mesh, comm = discrete.domain.source, discrete.comm
    functions = functions or _unknowns(discrete)
    dofs = {name: (field, by_cell(u, mesh, comm)) for name, (field, u) in functions.items()}
    error = None
    if comm.rank == 0:
        try:
            _write(path, discrete, dofs, attributes or {}, arrays or {})
        except OSError as caught:  # every rank must hear of it: the others would wait
            error = caught
    error = comm.bcast(error)
    if error is not None:
        raise error
    return path


def _unknowns(discrete: Discrete) -> Functions:
    return {name: (name, u) for name, u in discrete.u.items()}


def _write(
    path: Path,
    discrete: Discrete,
    dofs: dict[str, tuple[str, np.ndarray]],
    attributes: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    mesh = discrete.domain.source
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, problem=discrete.problem.name, **attributes)
        group = file.create_group("mesh")
        group["points"], group["cells"] = mesh.points, mesh.cells
        if mesh.edge_nodes is not None:
            group["edge_nodes"] = mesh.edge_nodes
        for kind in ("regions", "boundaries"):
            parts = group.create_group(kind, track_order=True)
            for name, members in getattr(mesh, kind).items():
                parts[quote(name, safe="")] = members
        for name, (field, values) in dofs.items():
            file[f"fields/{name}"] = values
            file[f"fields/{name}"].attrs.update(
                element=discrete.problem.fields[field].element, degree=discrete.degrees[field]
            )
        for name, array in arrays.items():
            file[f"arrays/{name}"] = array


def read(path: Path) -> Stored:
    """Read a checkpoint; every rank reads all of it.

    Raises:
        InputError: no such file, or it is no checkpoint.
    """
    if path.is_dir():
        path = path / "solution.h5"
    if not path.is_file():
        raise InputError(f"no checkpoint {path}")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise InputError(f"{path} is no checkpoint of this version")
            group = file["mesh"]
            mesh = Mesh(
                group["points"][:],
                group["cells"][:],
                {unquote(name): members[:] for name, members in group["regions"].items()},
                {unquote(name): members[:] for name, members in group["boundaries"].items()},
                group["edge_nodes"][:] if "edge_nodes" in group else None,
            )
            fields = {
                name: (str(values.attrs["element"]), int(values.attrs["degree"]), values[:])
                for name, values in file["fields"].items()
            }
            arrays: dict[str, np.ndarray] = {}
            if "arrays" in file:
                file["arrays"].visititems(lambda name, item: _take(arrays, name, item))
            attributes = dict(file.attrs)
    except (OSError, KeyError) as error:
        raise InputError(f"{path} cannot be read: it is truncated, corrupt or no checkpoint ({error})") from None
    return Stored(mesh, fields, attributes, arrays)


def _take(arrays: dict[str, np.ndarray], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        arrays[name] = item[:]


def fill(discrete: Discrete, stored: Stored, functions: Functions | None = None) -> None:
    """Put the stored dofs into the unknowns of a discretisation on the stored mesh, or into other functions.

    Raises:
        InputError: the fields, their elements or degrees differ.
    """
    for name, (field, u) in (functions or _unknowns(discrete)).items():
        wanted = (discrete.problem.fields[field].element, discrete.degrees[field])
        found = stored.fields.get(name, ("nothing", 0, None))
        if found[:2] != wanted:
            raise InputError(
                f"the checkpoint holds {found[0]} {found[1]} for {name!r}, and {wanted[0]} {wanted[1]} is asked for"
            )
        V = u.function_space
        original = V.mesh.topology.original_cell_index
        if wanted[0] == "Real":
            u.x.array[:] = stored.fields[name][2].ravel()[: len(u.x.array)]
            continue
        values = found[2][original].reshape(len(original), -1).copy()
        if V.element.needs_dof_transformations:
            V.mesh.topology.create_entity_permutations()
            orientation = V.mesh.topology.get_cell_permutation_info()
            V.element.Tt_inv_apply(values.reshape(-1), orientation[: len(original)], V.dofmap.bs)
        bs = V.dofmap.bs
        u.x.array.reshape(-1, bs)[V.dofmap.list[: len(original)]] = values.reshape(len(original), -1, bs)
        u.x.scatter_forward()


def by_cell(u: fem.Function, mesh: Mesh, comm: MPI.Comm) -> np.ndarray:
    """Dofs of all cells in the order of the mesh, shape (num_cells, dofs a cell, block size), on every rank."""
    V = u.function_space
    topology, bs = V.mesh.topology, V.dofmap.bs
    owned = topology.index_map(topology.dim).size_local
    values = u.x.array.reshape(-1, bs)[V.dofmap.list[:owned]].copy()
    shape = values.shape[1:]
    if V.element.needs_dof_transformations:
        topology.create_entity_permutations()
        V.element.Tt_apply(values.reshape(-1), topology.get_cell_permutation_info()[:owned], bs)
    result = np.zeros((len(mesh.cells), *shape), dtype=values.dtype)
    for original, part in comm.allgather((topology.original_cell_index[:owned], values)):
        result[original] = part
    return result
