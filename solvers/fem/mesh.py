"""Plain-array meshes as distributed DOLFINx meshes, names kept as tags."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import basix.ufl
import dolfinx
import numpy as np
import ufl
from mpi4py import MPI

from variform.forms.symbols import numbered
from variform.mesh import SIMPLICES, Mesh
from variform.meshes.quality import refuse_broken


@dataclass(frozen=True)
class DistributedMesh:
    """A DOLFINx mesh with tags that count the names of regions and boundaries from 1, made when they are needed."""

    source: Mesh
    mesh: dolfinx.mesh.Mesh

    @property
    def regions(self) -> dict[str, int]:
        return numbered(tuple(self.source.regions))

    @property
    def boundaries(self) -> dict[str, int]:
        return numbered(tuple(self.source.boundaries))

    @cached_property
    def cell_tags(self) -> dolfinx.mesh.MeshTags:
        """The number of each cell's region, 0 for none."""
        numbers = np.zeros(len(self.source.cells), dtype=np.int32)
        for number, cells in enumerate(self.source.regions.values(), start=1):
            numbers[cells] = number
        here = numbers[self.mesh.topology.original_cell_index]
        return dolfinx.mesh.meshtags(self.mesh, self.source.dim, np.arange(len(here), dtype=np.int32), here)

    @cached_property
    def facet_tags(self) -> dolfinx.mesh.MeshTags:
        """The number of each named facet's part of the boundary.

        The vertices of a cell keep the order in which they were given, so local facets do too.
        """
        source, topology = self.source, self.mesh.topology
        original = topology.original_cell_index
        here = np.full(len(source.cells), -1)
        here[original] = np.arange(len(original))
        topology.create_connectivity(source.dim, source.dim - 1)
        facets_of = topology.connectivity(source.dim, source.dim - 1).array.reshape(-1, len(source.facet_vertices))
        facets = topology.index_map(source.dim - 1)
        number_of = np.zeros(facets.size_local + facets.num_ghosts, dtype=np.int32)
        for number, rows in enumerate(source.boundaries.values(), start=1):
            mine = rows[here[rows[:, 0]] >= 0]
            number_of[facets_of[here[mine[:, 0]], mine[:, 1]]] = number
        tagged = np.flatnonzero(number_of).astype(np.int32)
        return dolfinx.mesh.meshtags(self.mesh, source.dim - 1, tagged, number_of[tagged])


def distribute(mesh: Mesh, comm: MPI.Comm = MPI.COMM_WORLD) -> DistributedMesh:
    """Partition a mesh that every rank holds whole.

    Raises:
        InputError: quadrilaterals or hexahedra that are folded: DOLFINx would integrate over them without a word.
    """
    if mesh.cell_type != SIMPLICES[mesh.dim]:
        refuse_broken(mesh)
    cells, points = (mesh.nodes, mesh.points) if comm.rank == 0 else (mesh.nodes[:0], mesh.points[:0])
    element = ufl.Mesh(basix.ufl.element("Lagrange", mesh.cell_type, mesh.order, shape=(mesh.dim,)))
    # Integrals over facets between two ranks need the cells on both sides.
    ghosts = dolfinx.mesh.GhostMode.shared_facet
    partitioner = dolfinx.mesh.create_cell_partitioner(dolfinx.graph.partitioner(), ghosts, 2)
    distributed = dolfinx.mesh.create_mesh(comm, cells, element, points, partitioner)
    distributed.topology.create_connectivity(mesh.dim - 1, mesh.dim)  # exterior facets are found by it
    return DistributedMesh(mesh, distributed)
