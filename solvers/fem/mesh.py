"""Plain-array meshes as distributed DOLFINx meshes, names kept as tags."""

from __future__ import annotations

from dataclasses import dataclass

import basix.ufl
import dolfinx
import numpy as np
import ufl
from dolfinx.graph import adjacencylist
from mpi4py import MPI

from variform.forms.symbols import numbered
from variform.mesh import EDGES, Mesh


@dataclass(frozen=True)
class DistributedMesh:
    """A DOLFINx mesh with tags that count the names of regions and boundaries from 1."""

    source: Mesh
    mesh: dolfinx.mesh.Mesh
    cell_tags: dolfinx.mesh.MeshTags
    facet_tags: dolfinx.mesh.MeshTags

    @property
    def regions(self) -> dict[str, int]:
        return numbered(tuple(self.source.regions))

    @property
    def boundaries(self) -> dict[str, int]:
        return numbered(tuple(self.source.boundaries))


def distribute(mesh: Mesh, comm: MPI.Comm = MPI.COMM_WORLD) -> DistributedMesh:
    """Partition a mesh that every rank holds whole."""
    first = comm.rank == 0
    cells = mesh.nodes if first else mesh.nodes[:0]
    points = mesh.points if first else mesh.points[:0]
    element = ufl.Mesh(basix.ufl.element("Lagrange", mesh.cell_type, mesh.order, shape=(mesh.dim,)))
    distributed = dolfinx.mesh.create_mesh(comm, cells, element, points)
    topology, dim = distributed.topology, mesh.dim
    topology.create_connectivity(dim - 1, dim)
    topology.create_connectivity(dim - 1, 0)
    return DistributedMesh(mesh, distributed, _cell_tags(mesh, distributed), _facet_tags(mesh, distributed, first))


def _cell_tags(mesh: Mesh, distributed: dolfinx.mesh.Mesh) -> dolfinx.mesh.MeshTags:
    numbers = np.zeros(len(mesh.cells), dtype=np.int32)
    for number, cells in enumerate(mesh.regions.values(), start=1):
        numbers[cells] = number
    here = numbers[distributed.topology.original_cell_index]
    return dolfinx.mesh.meshtags(distributed, mesh.dim, np.arange(len(here), dtype=np.int32), here)


def _facet_tags(mesh: Mesh, distributed: dolfinx.mesh.Mesh, first: bool) -> dolfinx.mesh.MeshTags:
    named = [_facet_nodes(mesh, np.empty((0, 2), dtype=np.int64))]
    numbers = [np.empty(0, dtype=np.int32)]
    for number, facets in enumerate(mesh.boundaries.values() if first else (), start=1):
        named.append(_facet_nodes(mesh, facets))
        numbers.append(np.full(len(facets), number, dtype=np.int32))
    entities, values = dolfinx.io.distribute_entity_data(
        distributed, mesh.dim - 1, np.vstack(named).astype(np.int64), np.concatenate(numbers)
    )
    return dolfinx.mesh.meshtags_from_entities(distributed, mesh.dim - 1, adjacencylist(entities), values)


def _facet_nodes(mesh: Mesh, facets: np.ndarray) -> np.ndarray:
    """Points of (cell, local facet) rows, with those in the middle of curved edges."""
    if mesh.edge_nodes is None:
        return mesh.vertices_of(facets)
    edges = [set(edge) for edge in EDGES[mesh.cell_type]]
    local = np.array([[i for i, e in enumerate(edges) if e <= set(f)] for f in mesh.facet_vertices.tolist()], dtype=int)
    local = local.reshape(mesh.dim + 1, -1)[facets[:, 1]]
    return np.hstack([mesh.vertices_of(facets), mesh.edge_nodes[facets[:, :1], local]])
