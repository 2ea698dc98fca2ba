"""Meshes as files of other programs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.mesh import EDGES, Mesh
from variform.meshes.files import SIMPLEX
from variform.meshes.split import MIDDLES
from variform.runs import atomic

log = logging.getLogger(__name__)

FORMATS = {".msh": "gmsh22", ".vtu": "vtu", ".vtk": "vtk", ".xdmf": "xdmf", ".mesh": "medit"}
"""What can be written: suffix -> meshio's name of the format."""


def write_mesh(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write a mesh, its regions and its boundaries to a file, atomically; `read` gives them back.

    `.msh` (Gmsh 2.2) keeps their names. The other formats hold numbers only, which the log tells: regions are numbered
    from 1, boundaries after them. `.xdmf` holds the regions alone.

    Raises:
        InputError: the suffix is not one of FORMATS, or the format has no intervals or no curved cells.
    """
    import meshio  # a slow import

    path = Path(path)
    file_format = FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise InputError(f"{path}: cannot write this format; allowed are {', '.join(FORMATS)}")
    if file_format == "medit" and (mesh.order > 1 or mesh.dim == 1):
        raise InputError(f"{path}: .mesh holds no curved cells and no intervals; allowed are .msh, .vtu, .vtk, .xdmf")
    parts = _parts(mesh)
    names = ", ".join(f"{number} {name}" for number, (_, name, _) in enumerate(parts, 1))
    groups, options = {}, {}
    if file_format == "gmsh22":
        groups = {name: np.array([number, dim]) for number, (dim, name, _) in enumerate(parts, 1)}
    else:
        log.info("%s: groups are numbered: %s", path, names)
    blocks = [(_kind(dim, mesh.order), nodes) for dim, _, nodes in parts]
    tags = [np.full(len(nodes), number, np.int32) for number, (*_, nodes) in enumerate(parts, 1)]
    if file_format == "xdmf":
        # meshio cannot read its own files of mixed cells of second order; and by itself it writes a second file.
        count = len(parts) - len(mesh.boundaries)
        blocks = [(blocks[0][0], np.concatenate([nodes for _, nodes in blocks[:count]]))]
        tags, options = [np.concatenate(tags[:count])], {"data_format": "XML"}
        log.warning("%s: XDMF files are written without the boundaries", path)
    keys = {"gmsh22": ("gmsh:physical", "gmsh:geometrical"), "medit": ("medit:ref",)}
    whole = meshio.Mesh(
        np.pad(mesh.points, ((0, 0), (0, 3 - mesh.dim))),
        blocks,
        cell_data=dict.fromkeys(keys.get(file_format, ("gmsh:physical",)), tags),
        field_data=groups,
    )
    with atomic(path) as temporary:
        whole.write(temporary, file_format=file_format, **options)


def _parts(mesh: Mesh) -> list[tuple[int, str, np.ndarray]]:
    """Dimension, name and nodes of each region and each boundary."""
    regions = mesh.regions or {"domain": np.arange(len(mesh.cells))}
    parts = [(mesh.dim, name, _cells(mesh, cells)) for name, cells in regions.items()]
    return parts + [(mesh.dim - 1, name, _facets(mesh, facets)) for name, facets in mesh.boundaries.items()]


def _kind(dim: int, order: int) -> str:
    curved = dict(zip((1, 2, 3), MIDDLES, strict=True))
    return curved[dim] if order == 2 and dim > 0 else SIMPLEX[dim]


def _cells(mesh: Mesh, cells: np.ndarray) -> np.ndarray:
    """The nodes of cells in meshio's order."""
    return _ordered(mesh.dim, mesh.cells[cells], None if mesh.edge_nodes is None else mesh.edge_nodes[cells])


def _facets(mesh: Mesh, facets: np.ndarray) -> np.ndarray:
    """The nodes of facets in meshio's order."""
    if mesh.edge_nodes is None or mesh.dim == 1:
        return mesh.vertices_of(facets)
    place = {frozenset(edge): number for number, edge in enumerate(EDGES[mesh.cell_type])}
    kind = {2: "interval", 3: "triangle"}[mesh.dim]
    table = np.array([[place[frozenset(v[i] for i in edge)] for edge in EDGES[kind]] for v in mesh.facet_vertices])
    return _ordered(mesh.dim - 1, mesh.vertices_of(facets), mesh.edge_nodes[facets[:, :1], table[facets[:, 1]]])


def _ordered(dim: int, vertices: np.ndarray, middles: np.ndarray | None) -> np.ndarray:
    if middles is None:
        return vertices
    places = MIDDLES[_kind(dim, 2)]
    return np.hstack([vertices, middles[:, np.argsort(places)]])
