"""The dual-weighted residual: the error of one quantity, and where it comes from."""

from __future__ import annotations

import numpy as np
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fp
from petsc4py import PETSc

from variform.errors import InputError
from variform.solvers.fem.discretize import JIT, Discrete, discretize
from variform.solvers.fem.linear import DIRECT


class DualWeighted:
    """J(u) - J(u_h) by -F(u_h; z - I z), z the solution of the dual problem in elements of one degree more.

    F'(u_h; v, z) = J'(u_h; v) for all v. Cells get their part by a partition of unity into the hat functions.

    Raises:
        InputError: the problem states no goal.

    Source: Becker and Rannacher, Acta Numerica 10 (2001), 1; Richter and Wick, J. Comput. Appl. Math. 279 (2015), 192.
    """

    def __init__(self, discrete: Discrete) -> None:
        problem = discrete.problem
        if problem.goal(discrete.symbols) is None:
            raise InputError(f"{problem.name} states no goal(s): the quantity whose error is to be estimated")
        self.discrete = discrete
        self.fine = discretize(problem, discrete.domain, max(discrete.degrees.values()) + 1)
        for name, u in self.fine.u.items():
            u.interpolate(discrete.u[name])
        self.value = discrete.comm.allreduce(fem.assemble_scalar(_form(problem.goal(self.fine.symbols))))
        self._weights = self._dual()
        self._at_vertices = self._localised()

    def _dual(self) -> dict[str, fem.Function]:
        """z - I z."""
        fine = self.fine
        unknowns = list(fine.u.values())
        several = len(unknowns) > 1
        F = fine.residual()
        goal = fine.problem.goal(fine.symbols)
        blocks = list(ufl.extract_blocks(F)) if several else F
        J = fp.derivative_block(blocks, unknowns if several else unknowns[0])
        loads = [ufl.derivative(goal, u, fine.v[name]) for name, u in fine.u.items()]
        zero = fem.Constant(fine.domain.mesh, 0.0)
        loads = [
            load if not ufl.algorithms.expand_derivatives(load).empty() else zero * ufl.inner(u, v) * fine.symbols.dx
            for load, u, v in zip(loads, unknowns, fine.v.values(), strict=True)
        ]
        compiled, kind = _form(J), "mpi" if several else None
        A = fp.create_matrix(compiled, kind=kind)
        fp.assemble_matrix(A, compiled, bcs=fine.bcs)
        A.assemble()
        spaces = [u.function_space for u in unknowns]
        b, x = (fp.create_vector(spaces if several else spaces[0], kind=kind) for _ in range(2))
        fp.assemble_vector(b, _form(loads if several else loads[0]))
        b.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
        held = [fem.Function(V) for V in spaces]
        for function, name in zip(held, fine.u, strict=True):
            for boundary in fine.boundaries:
                if boundary.field == name:
                    function.x.array[boundary.condition.dof_indices()[0]] = 1.0
        marked = b.duplicate()
        fp.assign(held if several else held[0], marked)
        b.array[marked.array > 0.5] = 0.0
        ksp = PETSc.KSP().create(A.comm)
        ksp.setOperators(A)
        ksp.setType(DIRECT["ksp_type"])
        ksp.getPC().setType(DIRECT["pc_type"])
        ksp.getPC().setFactorSolverType(DIRECT["pc_factor_mat_solver_type"])
        ksp.solveTranspose(b, x)
        z = [fem.Function(V) for V in spaces]
        x.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
        fp.assign(x, z if several else z[0])
        weights = {}
        for name, dual in zip(fine.u, z, strict=True):
            coarse, back = fem.Function(self.discrete.u[name].function_space), fem.Function(dual.function_space)
            coarse.interpolate(dual)
            back.interpolate(coarse)
            back.x.array[:] = dual.x.array - back.x.array
            weights[name] = back
        return weights

    def _localised(self) -> la.Vector:
        """-F(u_h; (z - I z) hat) of each vertex."""
        hat = ufl.TestFunction(fem.functionspace(self.fine.domain.mesh, ("Lagrange", 1)))
        weighted = {self.fine.v[name]: weight * hat for name, weight in self._weights.items()}
        b = fem.assemble_vector(_form(-ufl.replace(self.fine.residual(), weighted)))
        b.scatter_reverse(la.InsertMode.add)
        b.scatter_forward()
        return b

    @property
    def error(self) -> float:
        """The estimate of J(u) - J(u_h)."""
        b = self._at_vertices
        return float(self.discrete.comm.allreduce(b.array[: b.index_map.size_local].sum()))

    def indicators(self) -> np.ndarray:
        """Each cell's part, not negative, cells of this rank."""
        mesh = self.fine.domain.mesh
        V = fem.functionspace(mesh, ("Lagrange", 1))
        owned, cells = mesh.topology.index_map(mesh.topology.dim).size_local, V.dofmap.list
        one = fem.Function(V)
        counts = la.vector(V.dofmap.index_map, V.dofmap.index_map_bs)
        np.add.at(counts.array, cells[:owned].ravel(), 1.0)
        counts.scatter_reverse(la.InsertMode.add)
        counts.scatter_forward()
        one.x.array[:] = abs(self._at_vertices.array) / np.maximum(counts.array, 1)
        return one.x.array[cells[:owned]].sum(axis=1)


def _form(form: object) -> object:
    return fem.form(form, jit_options=JIT)
