"""Every problem of the catalogue: torch residual, Jacobian and energy equal those that DOLFINx assembles, to rounding.

Both take the same quadrature on the same mesh; dofs are matched cell by cell through the reference element, whatever
the family.
"""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import ufl

from variform.errors import InputError
from variform.forms import WeakForm
from variform.meshes.box import Box
from variform.problems import CATALOGUE, load
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.mesh import distribute

from dolfinx import fem  # isort: skip - after variform.solvers.fem, which loads MPI

T, SHIFT = 0.3, 7.0
CELLS = {1: 5, 2: 3, 3: 2}


class Magnitudes(WeakForm):
    """sum_T |r_T,i| in place of sum_T r_T,i: what rounding errors are measured against."""

    def _local(self, *arguments):
        for component, local in super()._local(*arguments):
            yield component, local.abs()


class Matched:
    """The same problem in DOLFINx, and the matrix P that takes our dofs to its dofs."""

    def __init__(self, weak, degree):
        self.weak, self.discrete = weak, discretize(weak.problem, distribute(weak.mesh), degree)
        for u in self.discrete.u.values():
            u.rate = fem.Function(u.function_space, dtype=u.x.array.dtype)
        self.discrete.symbols.t.value = T
        self.P = sp.block_diag([self._block(name) for name in weak.spaces], format="csr")

    def _block(self, name):
        space, V = self.weak.spaces[name], self.discrete.u[name].function_space
        topology, element = V.mesh.topology, space.element
        topology.create_entity_permutations()
        info, original = topology.get_cell_permutation_info(), topology.original_cell_index
        size = 1 if space.family == "Real" else element.dim
        rows, columns, entries = [], [], []
        for cell, source in enumerate(original):
            M = np.eye(size)
            if space.orientation is not None:
                flat = np.eye(size).ravel()
                element.T_apply(flat, size, int(info[cell]))
                matrices, of_cell = space.orientation
                M = np.linalg.solve(flat.reshape(size, size).T, matrices[of_cell[source]].T)
            i, j = np.meshgrid(V.dofmap.list[cell], space.dofmap[source], indexing="ij")
            rows, columns, entries = [*rows, i.ravel()], [*columns, j.ravel()], [*entries, M.ravel()]
        shape = (V.dofmap.index_map.size_global, space.num_dofs)
        P = sp.lil_array(shape)
        P[np.concatenate(rows), np.concatenate(columns)] = np.concatenate(entries)
        bs = V.dofmap.bs
        components = sp.eye_array(bs, format="csr")
        unroll = np.arange(shape[0] * bs).reshape(bs, -1).T.ravel()  # ours: components before dofs
        return sp.kron(components, P.tocsr(), format="csr")[unroll]

    def put(self, vector, rates=None):
        for values, of in ((vector, lambda u: u), (rates, lambda u: u.rate)):
            if values is None:
                continue
            ends = np.cumsum([0, *(len(u.x.array) for u in self.discrete.u.values())])
            for start, end, u in zip(ends, ends[1:], self.discrete.u.values(), strict=False):
                of(u).x.array[:] = (self.P @ values)[start:end]

    def assembled(self, form, assemble):
        blocks = ufl.extract_blocks(form) if len(self.discrete.u) > 1 else [form]
        return [
            None if b is None else assemble(fem.form(b, jit_options=JIT, dtype=self.discrete.dtype)) for b in blocks
        ]

    def residual(self):
        parts = self.assembled(self.discrete.residual(), lambda f: fem.assemble_vector(f).array)
        return self.P.T @ np.concatenate(parts)

    def jacobian_action(self, w):
        """P^T (dF/du + SHIFT dF/d(rate)) P w."""
        F, unknowns = self.discrete.residual(), list(self.discrete.u.values())
        directions = [fem.Function(u.function_space, dtype=u.x.array.dtype) for u in unknowns]
        ends = np.cumsum([0, *(len(u.x.array) for u in unknowns)])
        for start, end, d in zip(ends, ends[1:], directions, strict=False):
            d.x.array[:] = (self.P @ w)[start:end]
        J = sum(ufl.derivative(F, u, d) for u, d in zip(unknowns, directions, strict=True))
        if self.weak.problem.time:
            J += SHIFT * sum(ufl.derivative(F, u.rate, d) for u, d in zip(unknowns, directions, strict=True))
        parts = self.assembled(J, lambda f: fem.assemble_vector(f).array)
        return self.P.T @ np.concatenate(parts)


def meshes_of(problem):
    """Meshes by cell type: straight, curved where the geometry has curves; of a box also of boxes, distorted."""
    geometry = problem.geometry(problem.p)
    n = CELLS[geometry.dim] if isinstance(geometry, Box) else 2
    rng = np.random.default_rng(0)
    result = {"simplices": geometry.mesh(n)}
    if not isinstance(geometry, Box):
        result["curved"] = geometry.mesh(n, 2)
    elif geometry.dim > 1:
        kind = {2: "quadrilateral", 3: "hexahedron"}[geometry.dim]
        mesh = geometry.mesh(n, cell_type=kind)
        inside = np.setdiff1d(np.arange(len(mesh.points)), mesh.vertices_of(mesh.exterior_facets))
        mesh.points[inside] += rng.uniform(-0.15, 0.15, (len(inside), mesh.dim)) / n
        result[kind] = mesh
    return result


def random_dofs(shape, rng, dtype):
    """Small enough for hyperelastic bodies to stay the right way round."""
    values = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if dtype.is_complex else 0.0)
    return torch.tensor(0.03 * values)


def packed(values):
    return torch.cat([v.reshape(-1) for v in values.values()]).numpy()


SECOND_ORDER = ("wave", "elastodynamics", "elastic_bar")


@pytest.mark.parametrize("name", CATALOGUE)
def test_residual_jacobian_and_energy_equal_those_of_dolfinx(name):
    problem = load(name)()
    dtype = torch.complex128 if problem.is_complex else torch.float64
    for kind, mesh in meshes_of(problem).items():
        if name in SECOND_ORDER:
            with pytest.raises(InputError, match=r"has Dt\(Dt\(u\)\)"):
                WeakForm(problem, mesh)
            continue
        if kind in ("quadrilateral", "hexahedron") and "q" in problem.fields and problem.fields["q"].element == "RT":
            continue  # its divergence is refused on cells that are not affine
        weak = WeakForm(problem, mesh, dtype=dtype)
        matched = Matched(weak, None)
        rng = np.random.default_rng(1)
        u, rate = ({f: random_dofs(shape, rng, dtype) for f, shape in weak.shapes.items()} for _ in range(2))
        matched.put(packed(u), packed(rate))
        scale = abs(packed(Magnitudes(problem, mesh, dtype=dtype).residual(u, rate=rate, t=T))).max()
        error = abs(packed(weak.residual(u, rate=rate, t=T)) - matched.residual()).max()
        assert error <= 1e-12 * scale, (kind, error / scale)

        J = weak.linearised
        values = J(u, rate=rate, t=T, shift=SHIFT).numpy()
        ours = sp.csr_array((values, J.pattern.indices, J.pattern.indptr), shape=J.pattern.shape)
        w = rng.standard_normal(J.size)
        error = abs(ours @ w - matched.jacobian_action(w)).max() / (abs(ours) @ abs(w)).max()
        assert error <= 1e-12, (kind, error)

        if problem.energy(weak.symbols) is not None:
            expected = fem.assemble_scalar(fem.form(problem.energy(matched.discrete.symbols), jit_options=JIT))
            size = abs(float(Magnitudes(problem, mesh).energy(u))) + 1e-300
            assert abs(float(weak.energy(u)) - expected) <= 1e-11 * max(size, abs(expected)), kind
