"""The discrete nonlinear system: PETSc's SNES on the assembled residual and Jacobian."""

from __future__ import annotations

import itertools
from typing import Any

import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fp
from petsc4py import PETSc

from variform.errors import ComputationError, InputError
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.periodic import prolongation

_numbers = itertools.count()

DIRECT = {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_mat_solver_type": "mumps", "mat_mumps_icntl_24": 1}
# PETSc's GAMG with its defaults for symmetric problems; the threshold saves a third of the iterations
# (facts: 14 to 9 at 66k dofs).
MULTIGRID = {"ksp_type": "cg", "pc_type": "gamg", "pc_gamg_threshold": 0.01, "pc_gamg_coarse_eq_limit": 1000}


def linear_solver(discrete: Discrete, rtol: float) -> dict[str, Any]:
    """CG with algebraic multigrid where the form is a scalar energy's derivative (symmetric), else a direct solver."""
    problem = discrete.problem
    scalar = len(problem.fields) == 1 and all(f.shape == () for f in problem.fields.values())
    if scalar and problem.energy(discrete.symbols) is not None:
        return {**MULTIGRID, "ksp_rtol": rtol, "ksp_error_if_not_converged": True}
    return {**DIRECT, "ksp_error_if_not_converged": True}


class System:
    """F(u; v) = 0 for all v with Dirichlet and periodic conditions.

    Args:
        discrete: spaces, conditions and the functions that hold the solution.
        residual: the form; its Jacobian is derived.
        rtol, atol: stopping of Newton's method (a linear form takes one step) and, relative, of the linear solver.
        constant: the Jacobian never changes: assemble and factor it once.
    """

    def __init__(
        self,
        discrete: Discrete,
        residual: ufl.Form,
        *,
        rtol: float = 1e-10,
        atol: float = 1e-12,
        constant: bool = False,
    ) -> None:
        self.discrete = discrete
        unknowns = list(discrete.u.values())
        several = len(unknowns) > 1
        self.u: Any = unknowns if several else unknowns[0]
        F = list(ufl.extract_blocks(residual)) if several else residual
        J = fp.derivative_block(F, self.u)
        self.is_linear = not _depends_on(J, unknowns)
        options = {
            "snes_type": "ksponly" if self.is_linear else "newtonls",
            **({} if self.is_linear else {"snes_linesearch_type": "bt"}),
            "snes_rtol": rtol,
            "snes_atol": atol,
            "snes_stol": 0.0,
            "snes_max_it": 50,
            "snes_error_if_not_converged": True,
            **linear_solver(discrete, rtol),
        }
        if constant:
            options |= {"snes_lag_jacobian": -2, "snes_lag_jacobian_persists": True}
        prefix = f"variform_{next(_numbers)}_"
        periodic = {f: axes for f in discrete.u if (axes := discrete.problem.periodic_axes(f))}
        if periodic and several:
            raise InputError("periodic conditions with several fields are not solved by finite elements yet")
        self._full = fp.NonlinearProblem(
            F,
            self.u,
            bcs=discrete.bcs,
            J=J,
            kind="mpi" if several else None,
            petsc_options_prefix=f"full_{prefix}" if periodic else prefix,
            petsc_options={} if periodic else options,
            jit_options=JIT,
        )
        self._reduced = None
        if periodic:
            P = prolongation(self.u.function_space, *periodic.values())
            self._reduced = _Reduced(self._full, P, prefix, options)
        self.snes = self._full.solver if self._reduced is None else self._reduced.snes
        self._checked = False

    def solve(self) -> tuple[int, int]:
        """Solve from the current u, in place.

        Returns:
            Newton steps and linear iterations.

        Raises:
            ComputationError: no convergence, or a singular matrix.
        """
        try:
            (self._reduced or self._full).solve()
        except PETSc.Error as error:
            raise ComputationError(self._explain(error)) from None
        if self.is_linear and not self._checked:
            self._check_unique()
        return self.snes.getIterationNumber(), self.snes.getLinearSolveIterations()

    def residual_norm(self) -> float:
        """Euclidean norm of the residual vector at the solution."""
        x = self.snes.getSolution()
        b = x.duplicate()
        self.snes.computeFunction(x, b)
        return float(b.norm())

    def _check_unique(self) -> None:
        """Refuse a singular matrix, on which linear solvers may end without a complaint.

        Two signs of one: the direct solver met null pivots; the matrix maps constants to zero.
        """
        ksp = self.snes.getKSP()
        A = ksp.getOperators()[0]
        pivots = ksp.getPC().getFactorMatrix().getMumpsInfog(28) if ksp.getPC().getType() == "lu" else 0
        ones, image = A.createVecs()
        ones.set(1.0)
        A.mult(ones, image)
        infinity = PETSc.NormType.INFINITY
        if pivots > 0 or image.norm(infinity) < 1e-12 * A.norm(infinity):
            raise ComputationError(
                f"the solution of {self.discrete.problem.name} is not unique: the matrix is singular. Nothing fixes "
                "its constant, or another mode: add a Dirichlet condition"
            )
        self._checked = True

    def _explain(self, error: Exception) -> str:
        reason, inner = self.snes.getConvergedReason(), self.snes.getKSP().getConvergedReason()
        names = {v: k for k, v in vars(PETSc.SNES.ConvergedReason).items() if isinstance(v, int)}
        inner_names = {v: k for k, v in vars(PETSc.KSP.ConvergedReason).items() if isinstance(v, int)}
        return (
            f"the nonlinear solver stopped after {self.snes.getIterationNumber()} steps "
            f"({names.get(reason, reason)}; linear solver: {inner_names.get(inner, inner)}). "
            "Is the solution fixed by the boundary conditions?"
        )


class _Reduced:
    """The same system in the independent dofs: P^T F(P x) = 0 with the Jacobian P^T J P."""

    def __init__(self, full: fp.NonlinearProblem, P: PETSc.Mat, prefix: str, options: dict[str, Any]) -> None:
        self.full, self.P = full, P
        self.x, self.b = P.createVecRight(), P.createVecRight()
        copies, ones = P.createVecRight(), P.createVecLeft()
        ones.set(1.0)
        P.multTranspose(ones, copies)
        self.copies = copies
        full.solver.computeJacobian(full.x, full.A)
        self.snes = PETSc.SNES().create(P.comm)
        self.snes.setFunction(self._function, self.b)
        self.snes.setJacobian(self._jacobian, full.A.PtAP(P))
        self.snes.setOptionsPrefix(prefix)
        database = PETSc.Options(prefix)
        for key, value in options.items():
            database[key] = value
        self.snes.setFromOptions()
        for key in options:
            del database[key]

    def _function(self, snes: PETSc.SNES, x: PETSc.Vec, b: PETSc.Vec) -> None:
        self.P.mult(x, self.full.x)
        self.full.solver.computeFunction(self.full.x, self.full.b)
        self.P.multTranspose(self.full.b, b)

    def _jacobian(self, snes: PETSc.SNES, x: PETSc.Vec, A: PETSc.Mat, _: PETSc.Mat) -> None:
        self.P.mult(x, self.full.x)
        self.full.solver.computeJacobian(self.full.x, self.full.A)
        self.full.A.PtAP(self.P, result=A)

    def solve(self) -> None:
        """Solve from the current u, in place; copies of a dof that differ start from their mean."""
        fp.assign(self.full.u, self.full.x)
        self.P.multTranspose(self.full.x, self.x)
        self.x.pointwiseDivide(self.x, self.copies)
        self.snes.solve(None, self.x)
        self.P.mult(self.x, self.full.x)
        self.full.x.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
        fp.assign(self.full.x, self.full.u)


def _depends_on(form: Any, unknowns: list[fem.Function]) -> bool:
    if isinstance(form, (list, tuple)):
        return any(_depends_on(block, unknowns) for block in form if block is not None)
    return any(u in ufl.algorithms.expand_derivatives(form).coefficients() for u in unknowns)
