"""Complex linear problems: assembled in complex128 by DOLFINx without PETSc, whose build here is real."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse.linalg
import ufl
from dolfinx import fem, la
from dolfinx.fem.problems import LinearProblem
from mpi4py import MPI

from variform.errors import ComputationError, InputError
from variform.solution import Stopwatch
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.system import switches


def solve_complex(discrete: Discrete, *, watch: Stopwatch) -> dict[str, Any]:
    """Solve a sesquilinear problem of one field directly, into `discrete.u`.

    SuperLU with a symmetric ordering on one rank: four times as fast as its default on Helmholtz' equation. On several
    ranks SuperLU_DIST.

    Raises:
        InputError: several fields, a form that is not linear, or conditions other than Dirichlet's.
        ComputationError: a singular matrix.
    """
    problem = discrete.problem
    if len(discrete.u) > 1:
        raise InputError(f"{problem.name}: complex problems have one field, this one has {len(discrete.u)}")
    if wanting := [c for c in problem.conditions if type(c).__name__ not in ("Dirichlet", "Point")]:
        raise InputError(f"{problem.name}: complex problems take no {type(wanting[0]).__name__} condition yet")
    (u,) = discrete.u.values()
    F = discrete.residual()
    bilinear = ufl.algorithms.expand_derivatives(ufl.derivative(F, u, ufl.TrialFunction(u.function_space)))
    if u in bilinear.coefficients() or switches(F, [u]):
        raise InputError(f"{problem.name}: complex problems must be linear")
    load = -ufl.replace(F, {u: fem.Function(u.function_space, dtype=discrete.dtype)})
    if discrete.comm.size > 1:
        with watch("solve"):
            options = {"bcs": discrete.bcs, "dtype": discrete.dtype, "jit_options": JIT}
            found = LinearProblem(bilinear, load, **options).solve()
        u.x.array[:] = found.x.array
        if not discrete.comm.allreduce(bool(np.isfinite(u.x.array).all()), op=MPI.LAND):
            raise ComputationError(f"the solution of {problem.name} is not unique")
        return {"solver": "SuperLU_DIST"}
    with watch("compile"):
        a, L = (fem.form(form, dtype=discrete.dtype, jit_options=JIT) for form in (bilinear, load))
    with watch("assemble"):
        A = fem.assemble_matrix(a, bcs=discrete.bcs)
        A.scatter_reverse()
        b = fem.assemble_vector(L)
        fem.apply_lifting(b.array, [a], [discrete.bcs])
        b.scatter_reverse(la.InsertMode.add)
        for bc in discrete.bcs:
            bc.set(b.array)
        matrix = A.to_scipy().tocsc()
    with watch("solve"):
        symmetric = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.1, "options": {"SymmetricMode": True}}
        try:
            u.x.array[:] = scipy.sparse.linalg.splu(matrix, **symmetric).solve(b.array)
        except RuntimeError as error:
            raise ComputationError(f"the solution of {problem.name} is not unique: {error}") from None
    rest = np.linalg.norm(matrix @ u.x.array - b.array)
    if not rest <= 1e-8 * np.linalg.norm(b.array):
        raise ComputationError(f"the solution of {problem.name} is not unique, or nearly: residual {rest:.1e}")
    return {"solver": "SuperLU", "residual": float(rest)}
