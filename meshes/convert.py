"""Meshes as files of other programs."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures.vtk import NODES
from variform.mesh import Mesh
from variform.quadrature import facet_points, facet_type, node_places, reference_nodes
from variform.runs import atomic

log = logging.getLogger(__name__)

FORMATS = {".msh": "gmsh22", ".vtu": "vtu", ".vtk": "vtk", ".xdmf": "xdmf", ".mesh": "medit"}
"""What can be written: suffix -> meshio's name of the format."""

KINDS = {
    "point": ("vertex", "vertex"),
    "interval": ("line", "line3"),
    "triangle": ("triangle", "triangle6"),
    "quadrilateral": ("quad", "quad9"),
    "tetrahedron": ("tetra", "tetra10"),
    "hexahedron": ("hexahedron", "hexahedron27"),
}
"""meshio's names of cells of first and second order."""


def write_mesh(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write a mesh, its regions and its boundaries to a file, atomically; `read` gives them back, of quadrilaterals and
    hexahedra as simplices.

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
    names = ", ".join(f"{number} {name}" for number, (_, name, *_) in enumerate(parts, 1))
    groups, options = {}, {}
    if file_format == "gmsh22":
        groups = {name: np.array([number, dim]) for number, (dim, name, *_) in enumerate(parts, 1)}
    else:
        log.info("%s: groups are numbered: %s", path, names)
    blocks = [(kind, nodes) for _, _, kind, nodes in parts]
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


def _parts(mesh: Mesh) -> list[tuple[int, str, str, np.ndarray]]:
    """Dimension, name, meshio's kind of cell, and nodes in its order, of each region and each boundary."""
    regions = mesh.regions or {"domain": np.arange(len(mesh.cells))}
    kind, of_facets = mesh.cell_type, facet_type(mesh.cell_type)
    table = node_places(facet_points(mesh, reference_nodes(of_facets, mesh.order)), kind, mesh.order)
    parts = [(mesh.dim, name, *_block(kind, mesh.order, mesh.nodes[cells])) for name, cells in regions.items()]
    return parts + [
        (mesh.dim - 1, name, *_block(of_facets, mesh.order, mesh.nodes[facets[:, :1], table[facets[:, 1]]]))
        for name, facets in mesh.boundaries.items()
    ]


def _block(kind: str, order: int, nodes: np.ndarray) -> tuple[str, np.ndarray]:
    """meshio's name of cells whose nodes are in basix's order, and the nodes in its own, which is VTK's."""
    places = [0] if kind == "point" else NODES[kind][: nodes.shape[1]]
    return KINDS[kind][order - 1], nodes[:, places]
