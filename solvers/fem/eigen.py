"""Eigenproblems by SLEPc: Krylov-Schur on the shifted and inverted operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fp
from mpi4py import MPI
from petsc4py import PETSc
from slepc4py import SLEPc

from variform import meshes
from variform.errors import ComputationError, InputError
from variform.problem import Mean, NoRigidMotion
from variform.solution import Cost, Stopwatch
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.linear import DIRECT
from variform.solvers.fem.periodic import prolongation
from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.system import depends_on, switches
from variform.solvers.fem.time.explicit import form_by_field

PREFIX = "variform_eigen_"


class EigenSolution(FemSolution):
    """Eigenvalues and modes; where one field is asked for, it is that of the first mode.

    Attributes:
        eigenvalues: increasing, shape (count,).
        residuals: |A u - lambda M u| / |lambda M u| of each, Euclidean norms of dof vectors.
    """

    def __init__(
        self,
        discrete: Discrete,
        eigenvalues: np.ndarray,
        modes: list[dict[str, np.ndarray]],
        residuals: np.ndarray,
        cost: Cost,
        discretization: dict[str, Any],
    ) -> None:
        super().__init__(discrete, [(None, modes[0])], cost, discretization)
        self.eigenvalues, self.modes, self.residuals = eigenvalues, modes, residuals

    def mode(self, number: int) -> FemSolution:
        """Mode `number`, counted from 1, as a solution of its own; m(u, u) = 1."""
        if not 1 <= number <= len(self.modes):
            raise InputError(f"mode must be 1 to {len(self.modes)}, got {number}")
        return FemSolution(self._discrete, [(None, self.modes[number - 1])], self.cost, self.discretization)

    def nodal_modes(self) -> dict[str, np.ndarray]:
        """All modes as `nodal` gives them, by the names "u_mode_1", "u_mode_2", ...; collective."""
        return {
            f"{name}_mode_{number}": self.mode(number).nodal(name)
            for number in range(1, len(self.modes) + 1)
            for name in self._discrete.u
        }

    def write(self, path: Path | str) -> None:
        """All modes as a `.vtu` or `.vtkhdf` file, by the first rank; collective."""
        values = self.nodal_modes()
        if self._discrete.comm.rank == 0:
            meshes.write(Path(path), self.drawn, values)
        self._discrete.comm.barrier()


def solve_eigen(
    discrete: Discrete, *, count: int, target: str, rtol: float, watch: Stopwatch
) -> tuple[np.ndarray, list[dict[str, np.ndarray]], np.ndarray, dict[str, Any]]:
    """The `count` eigenvalues next above `target`, in increasing order, with their modes.

    Dirichlet rows are 1 on the diagonal of A and 0 on that of M, so that their eigenvalues are infinite.

    Returns:
        Eigenvalues, dofs of the modes by field, residuals, and counts for the record.

    Raises:
        InputError: forms that are not bilinear, conditions that are not homogeneous, a target that is no real number or
            that is an eigenvalue, more eigenvalues than there are (above it).
        ComputationError: not all eigenvalues were found.

    Source: Stewart, SIAM J. Matrix Anal. Appl. 23 (2001), 601 (Krylov-Schur).
    """
    problem = discrete.problem
    shift = _real(problem, target)
    _check_conditions(discrete)
    a, m = problem.eigen(discrete.symbols, discrete.v)
    extra = problem.stabilisation(discrete.symbols, discrete.v)
    a = a if extra is None else a + extra
    A, M = (_matrix(discrete, form, diagonal, watch) for form, diagonal in ((a, 1.0), (m, 0.0)))
    spaces = [u.function_space for u in discrete.u.values()]
    axes = [problem.periodic_axes(name) for name in discrete.u]
    P = prolongation(list(zip(spaces, axes, strict=True))) if any(axes) else None
    if P is not None:
        A, M = A.PtAP(P), M.PtAP(P)
    finite = discrete.comm.allreduce(int(np.count_nonzero(M.getDiagonal().array)))
    if not 0 < count <= finite:
        raise InputError(f"count must be 1 to {finite}, as many eigenvalues as there are on this mesh, got {count}")

    symmetric = _is_symmetric(A) and _is_symmetric(M)
    eps = _krylov_schur(A, M, symmetric=symmetric, count=count, shift=shift, rtol=rtol)
    try:
        with watch("solve"):
            eps.setUp()
            if eps.getST().getKSP().getPC().getFactorMatrix().getMumpsInfog(28) > 0:  # null pivots
                raise _singular(problem, shift)
            eps.solve()
            for key in DIRECT:
                PETSc.Options(PREFIX).delValue(key)
    except (PETSc.Error, SystemError):  # the latter is what Cython makes of PETSc's, when an error handler is set
        raise _singular(problem, shift) from None
    if eps.getConverged() < count:
        raise ComputationError(
            f"{eps.getConverged()} of {count} eigenvalues of {problem.name} converged in {eps.getIterationNumber()} "
            "iterations"
        )
    values, vectors, residuals = [], [], []
    largest = M.norm(PETSc.NormType.INFINITY)
    for i in range(count):  # they come in the order of `_nearest_above`
        x, imaginary = A.createVecRight(), A.createVecRight()
        value = complex(eps.getEigenpair(i, x, imaginary))
        if abs(value.imag) > 1e-8 * abs(value):
            raise ComputationError(
                f"{problem.name} has the complex eigenvalue {value:.6g}: forms that are not symmetric may have such, "
                "which are not computed"
            )
        mass = M * x
        infinite = mass.norm() <= 1e-10 * largest * x.norm()
        if value.real < shift or infinite:
            raise InputError(f"{problem.name} has {i} eigenvalues above target = {shift:g} on this mesh, not {count}")
        values.append(value.real)
        residuals.append((A * x - value.real * mass).norm() / max((value.real * mass).norm(), 1e-300))
        x.scale(1 / np.sqrt(abs(x.dot(mass))))
        vectors.append(x if P is None else P * x)
    order = np.argsort(values)
    modes = [_fields(discrete, vectors[i]) for i in order]
    counts = {
        "target": shift,
        "iterations": eps.getIterationNumber(),
        "residual": float(max(residuals)),
        "symmetric": symmetric,
    }
    return np.array(values)[order], modes, np.array(residuals)[order], counts


def _real(problem: Any, target: str) -> float:
    if target == "":
        return float(getattr(problem, "target", 0.0))
    try:
        shift = float(target)
    except ValueError:
        shift = None
    if shift is not None and np.isfinite(shift):
        return shift
    try:
        complex(target.replace("i", "j"))
    except (ValueError, AttributeError):
        raise InputError(f"target must be a real number, got {target!r}") from None
    raise InputError(f"target must be a finite real number, got {target}: only real eigenvalues are computed")


def _check_conditions(discrete: Discrete) -> None:
    """Refuse what an eigenproblem cannot have."""
    problem = discrete.problem
    if problem.is_complex or problem.time is not None:
        raise InputError(f"{problem.name}: eigenproblems are for real fields that do not depend on time")
    if wanting := [c for c in problem.conditions if isinstance(c, (Mean, NoRigidMotion))]:
        raise InputError(
            f"{problem.name}: eigenproblems take no {type(wanting[0]).__name__} condition; what the equations leave "
            "free is a mode of eigenvalue zero, and a target above zero leaves it out"
        )
    for boundary in discrete.boundaries:
        held = np.zeros_like(discrete.u[boundary.field].x.array)
        boundary.condition.set(held)
        if discrete.comm.allreduce(bool(held.any()), op=MPI.LOR):
            raise InputError(f"{problem.name}: in an eigenproblem {boundary.field!r} can be held at zero only")


def _matrix(discrete: Discrete, form: ufl.Form, diagonal: float, watch: Stopwatch) -> PETSc.Mat:
    problem, unknowns = discrete.problem, list(discrete.u.values())
    several = len(unknowns) > 1
    if switches(form, unknowns):
        raise InputError(f"{problem.name}: the forms of an eigenproblem must be bilinear")
    rows = form_by_field(form, discrete)
    if several:
        zero = fem.Constant(discrete.domain.mesh, 0.0)
        empty = {n: zero * ufl.inner(u, discrete.v[n]) * discrete.symbols.dx for n, u in discrete.u.items()}
        blocks = [rows.get(name, empty[name]) for name in discrete.u]
    with watch("compile"):
        J = fp.derivative_block(blocks, unknowns) if several else fp.derivative_block(form, unknowns[0])
        if depends_on(J, unknowns):
            raise InputError(f"{problem.name}: the forms of an eigenproblem must be bilinear")
        compiled = fem.form(J, jit_options=JIT)
    with watch("assemble"):
        A = fp.create_matrix(compiled, kind="mpi" if several else None)
        fp.assemble_matrix(A, compiled, bcs=discrete.bcs, diag=diagonal)
        A.assemble()
    return A


def _krylov_schur(A: PETSc.Mat, M: PETSc.Mat, *, symmetric: bool, count: int, shift: float, rtol: float) -> SLEPc.EPS:
    """The eigensolver on (A - shift M)^-1 M, factored by MUMPS."""
    eps = SLEPc.EPS().create(A.comm)
    eps.setOperators(A, M)
    kinds = SLEPc.EPS.ProblemType
    eps.setProblemType(kinds.GHEP if symmetric else kinds.GNHEP)
    eps.setDimensions(count, min(max(2 * count + 10, 20), A.size[0]))
    eps.setTolerances(max(rtol, 1e-13), 500)
    eps.setTarget(shift)
    eps.setEigenvalueComparison(_nearest_above(shift))
    st = eps.getST()
    st.setType("sinvert")
    ksp, database = st.getKSP(), PETSc.Options(PREFIX)
    ksp.setOptionsPrefix(PREFIX)
    for key, value in DIRECT.items():
        database[key] = value
    ksp.setFromOptions()
    return eps


def _nearest_above(shift: float) -> Any:
    """Which of two eigenvalues comes first: those above the shift do, the nearest first, then those below."""

    def compare(a: complex, b: complex, *_: Any) -> int:
        return 1 if _rank(b, shift) < _rank(a, shift) else -1 if _rank(a, shift) < _rank(b, shift) else 0

    return compare


def _rank(value: complex, shift: float) -> tuple[bool, float]:
    real = complex(value).real
    return real < shift, abs(real - shift)


def _singular(problem: Any, shift: float) -> InputError:
    return InputError(
        f"target = {shift:g} is an eigenvalue of {problem.name}, or nearly: the shifted operator is singular. Choose "
        "one that is not, such as a little below the first eigenvalue that is wanted"
    )


def _is_symmetric(A: PETSc.Mat) -> bool:
    x, y = A.createVecRight(), A.createVecRight()
    x.setRandom()
    y.setRandom()
    y.array[::2] *= -1.0
    return abs(y.dot(A * x) - x.dot(A * y)) <= 1e-10 * (A * x).norm() * y.norm()


def _fields(discrete: Discrete, vector: PETSc.Vec) -> dict[str, np.ndarray]:
    """Dofs by field, with the sign that makes the largest entry of the first field positive."""
    functions = list(discrete.u.values())
    spaces = [u.function_space for u in functions]
    x = fp.create_vector(spaces if len(spaces) > 1 else spaces[0], kind="mpi" if len(spaces) > 1 else None)
    vector.copy(x)
    x.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
    fp.assign(x, functions if len(spaces) > 1 else functions[0])
    comm, own = discrete.comm, functions[0].x.array
    here = own[np.argmax(abs(own))] if len(own) else 0.0
    largest = max(comm.allgather(float(here)), key=abs)
    sign = -1.0 if largest < 0 else 1.0
    return {name: sign * u.x.array for name, u in discrete.u.items()}
