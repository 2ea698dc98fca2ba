"""The discrete nonlinear system: PETSc's SNES on the assembled residual and Jacobian."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fp
from petsc4py import PETSc
from ufl.corealg.traversal import unique_pre_traversal

from variform.errors import ComputationError, InputError
from variform.solution import Stopwatch
from variform.solvers.fem import modes
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.linear import linear_solver
from variform.solvers.fem.periodic import prolongation

_numbers = itertools.count()

SMALL_STEP = 1e-6
"""Of Newton's method, relative: by its quadratic convergence the step after it is in the last digits."""


class System:
    """F(u; v) = 0 for all v with Dirichlet, point and periodic conditions.

    Args:
        discrete: spaces, conditions and the functions that hold the solution.
        residual: the form; its Jacobian is derived.
        rtol: stopping of Newton's method (a linear form takes one step) and of the linear solver, both relative.
        petsc: PETSc options that override the chosen ones.
        watch: where the time goes: "compile", "assemble" and "solve".

    Raises:
        InputError: PETSc refuses an option.
    """

    def __init__(
        self,
        discrete: Discrete,
        residual: ufl.Form,
        *,
        rtol: float = 1e-10,
        petsc: dict[str, Any] | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self.discrete, self.watch, self.given = discrete, watch or Stopwatch(), petsc or {}
        self._fix = modes.fixing(discrete)
        unknowns = list(discrete.u.values())
        several = len(unknowns) > 1
        self.u: Any = unknowns if several else unknowns[0]
        with self.watch("compile"):
            F = _blocks(residual, discrete) if several else residual
            J = fp.derivative_block(F, self.u)
            self.is_linear = not depends_on(J, unknowns) and not switches(F, unknowns)
            self._F, self._J = fem.form(F, jit_options=JIT), fem.form(J, jit_options=JIT)
        kind = "mpi" if several else None
        spaces = [u.function_space for u in unknowns]
        self.A = fp.create_matrix(self._J, kind=kind)
        self.x, self._b = (fp.create_vector(spaces if several else spaces[0], kind=kind) for _ in range(2))
        self._context = {"u": self.u, "residual": self._F, "jacobian": self._J, "bcs": discrete.bcs}
        if (layout := self._b.getAttr("_blocks")) is not None:
            self._context["_blocks"] = layout
        periodic = {name: discrete.problem.periodic_axes(name) for name in discrete.u}
        if wrong := [n for n, axes in periodic.items() if axes and discrete.problem.fields[n].element != "Lagrange"]:
            raise InputError(f"field {wrong[0]!r}: only Lagrange elements can be periodic")
        self._P = prolongation(list(zip(spaces, periodic.values(), strict=True))) if any(periodic.values()) else None
        self._options = {
            "snes_type": "ksponly" if self.is_linear else "newtonls",
            **({} if self.is_linear else {"snes_linesearch_type": "bt"}),
            "snes_rtol": rtol,
            "snes_max_it": 50,
            "snes_error_if_not_converged": True,
            "ksp_error_if_not_converged": True,
            "ksp_rtol": rtol,
            # Another preconditioner than ours has no use for the options of ours.
            **({} if "pc_type" in self.given else linear_solver(discrete, is_linear=self.is_linear)),
            **self.given,
        }
        self._prefix = f"variform_{next(_numbers)}_"
        # PETSc reads some options only when a solve needs them, and at the end it lists those that it did not.
        weakref.finalize(self, _forget, [self._prefix + key for key in self._options])
        self._create()
        self.checked = self._options_checked = False

    def _create(self) -> None:
        """The SNES, in all dofs or, with periodic conditions, in the independent ones: P^T F(P x) = 0."""
        if self._P is None:
            self._unknown, b, A = self.x, self._b, self.A
        else:
            fp.assign(self.u, self.x)  # assembly puts x into u, which may hold a first guess
            self._assemble_matrix(self.x)
            self._unknown, b, A = self._P.createVecRight(), self._P.createVecRight(), self.A.PtAP(self._P)
            self._copies = self._unknown.duplicate()
            ones = self.x.duplicate()
            ones.set(1.0)
            self._P.multTranspose(ones, self._copies)
            self._check_twins()
        self._reduced = A
        self.snes = PETSc.SNES().create(A.comm)
        self.snes.setOptionsPrefix(self._prefix)
        # PETSc keeps what it calls: a strong reference would keep this system, its matrix and its factors for ever.
        me = weakref.proxy(self)
        self.snes.setFunction(lambda *arguments: me._function(*arguments), b)
        if not self.is_linear:
            self.snes.setConvergenceTest(lambda *arguments: me._converged(*arguments))
        self._inform(A)
        database = PETSc.Options(self._prefix)
        for key, value in self._options.items():
            database[key] = value
        try:
            self._M = self._preconditioner(A)
            self.snes.setJacobian(lambda *arguments: me._jacobian(*arguments), A, self._M)
            self.snes.setFromOptions()
            self._split()
        except PETSc.Error as error:
            raise InputError(f"PETSc refuses {_words(self.given)}: {_first_line(error)}") from None

    def _inform(self, A: PETSc.Mat) -> None:
        """Tell the matrix what it maps to zero, and multigrid what it nearly does."""
        fixed = [self._vector(mode) for mode in modes.constrained_modes(self.discrete)]
        if fixed:
            space = modes.nullspace(fixed, A.comm)
            A.setNullSpace(space)
            A.setTransposeNullSpace(space)
        if self._options.get("pc_type") == "gamg" and len(self.discrete.u) == 1:
            name = next(iter(self.discrete.u))
            near = [self._vector(mode) for mode in modes.candidates(self.discrete, name).values()]
            if len(near) > 1:
                A.setNearNullSpace(modes.nullspace(near, A.comm))

    def _vector(self, values: Any) -> PETSc.Vec:
        """A vector of the (reduced) system with these owned entries."""
        full = self.x.duplicate()
        full.array[:] = values
        if self._P is None:
            return full
        reduced = self._unknown.duplicate()
        self._P.multTranspose(full, reduced)
        reduced.pointwiseDivide(reduced, self._copies)
        return reduced

    def _preconditioner(self, A: PETSc.Mat) -> PETSc.Mat:
        """The assembled preconditioner of the problem for a fieldsplit, else the matrix itself."""
        if self._options.get("pc_type") != "fieldsplit" or self._P is not None:
            return A
        d = self.discrete
        trial = ufl.TrialFunctions(ufl.MixedFunctionSpace(*[u.function_space for u in d.u.values()]))
        form = d.problem.preconditioner(d.symbols, dict(zip(d.u, trial, strict=True)), d.v)
        if form is None:
            return A
        with self.watch("compile"):
            compiled = fem.form(ufl.extract_blocks(form), jit_options=JIT)
        with self.watch("assemble"):
            M = fp.create_matrix(compiled, kind="mpi")
            fp.assemble_matrix(M, compiled, bcs=d.bcs)
            M.assemble()
        return M

    def _split(self) -> None:
        """Name the fields for a fieldsplit."""
        pc = self.snes.getKSP().getPC()
        if pc.getType() != "fieldsplit" or len(self.discrete.u) == 1 or self._P is not None:
            return
        start, sets = self.x.getOwnershipRange()[0], []
        for name, u in self.discrete.u.items():
            size = u.function_space.dofmap.index_map.size_local * u.function_space.dofmap.bs
            index = PETSc.IS().createStride(size, start, 1, comm=self.x.comm)
            index.setBlockSize(u.function_space.dofmap.bs)
            sets.append((name, index))
            start += size
        pc.setFieldSplitIS(*sets)

    def _function(self, snes: PETSc.SNES, x: PETSc.Vec, b: PETSc.Vec) -> None:
        with self.watch("assemble"):
            if self._P is None:
                fp.assemble_residual(snes, x, b, **self._context)
            else:
                self._P.mult(x, self.x)
                fp.assemble_residual(snes, self.x, self._b, **self._context)
                self._P.multTranspose(self._b, b)

    def _jacobian(self, snes: PETSc.SNES, x: PETSc.Vec, A: PETSc.Mat, M: PETSc.Mat) -> None:
        with self.watch("assemble"):
            if self._P is None:
                self._assemble_matrix(x)
            else:
                self._P.mult(x, self.x)
                self._assemble_matrix(self.x)
                self.A.PtAP(self._P, result=A)

    def _assemble_matrix(self, x: PETSc.Vec) -> None:
        fp.assemble_jacobian(None, x, self.A, None, self.u, self._J, None, self.discrete.bcs)

    def solve(self) -> tuple[int, int]:
        """Solve from the current u, in place.

        Returns:
            Newton steps and linear iterations.

        Raises:
            ComputationError: no convergence, or a singular matrix; u holds the last iterate.
            InputError: PETSc knows no option of that name.
        """
        self.pull()
        before = None if self.checked else self._loads()
        failed = None
        with self.watch("solve"):
            try:
                self.snes.solve(None, self._unknown)
            except PETSc.Error as error:
                # Ctrl-C, SIGTERM and what a callback raises arrive as the cause of an error of PETSc's.
                if error.__cause__ is not None and not isinstance(error.__cause__, PETSc.Error):
                    raise error.__cause__ from None
                failed = None if self._is_at_rounding() else error
        self._take()
        if not self.checked:
            self._check_options()
            self._check_unique(failed)
            self._check_balance(before)
        if failed is not None:
            raise ComputationError(self._explain(failed))
        self.checked = True
        self._fix()
        return self.snes.getIterationNumber(), self.snes.getLinearSolveIterations()

    def pull(self) -> None:
        """Take u as the iterate."""
        fp.assign(self.u, self.x)
        if self._P is not None:  # copies of a dof that differ start from their mean
            self._P.multTranspose(self.x, self._unknown)
            self._unknown.pointwiseDivide(self._unknown, self._copies)

    def push(self) -> None:
        """Put the iterate into u, shifted until Mean and NoRigidMotion hold."""
        self._take()
        self._fix()

    @property
    def unknown(self) -> PETSc.Vec:
        """The iterate: all dofs or, with periodic conditions, the independent ones."""
        return self._unknown

    def vector(self) -> PETSc.Vec:
        """Another vector of that kind."""
        return self._unknown.duplicate()

    def assemble(self, x: PETSc.Vec, b: PETSc.Vec) -> None:
        """The residual at x into b."""
        self._function(self.snes, x, b)

    def rebuild(self) -> None:
        """Assemble the Jacobian at the iterate; the linear solver will factor it, or set up multigrid, anew."""
        self._jacobian(self.snes, self._unknown, self._reduced, self._M)
        self.snes.getKSP().setOperators(self._reduced, self._M)

    def _converged(self, snes: PETSc.SNES, step: int, norms: tuple[float, float, float]) -> int:
        """Newton's method has converged when its last step is small, or when it is small enough for the next one to be
        lost in rounding and the residual has fallen.

        The residual alone would not do: its norm mixes equations of different units with the distance to the Dirichlet
        values, and has no scale of its own.
        """
        reasons = PETSc.SNES.ConvergedReason
        x, update, residual = norms
        if not math.isfinite(residual):
            return reasons.DIVERGED_FUNCTION_NANORINF
        if residual == 0.0:
            return reasons.CONVERGED_FNORM_ABS
        if step == 0:
            self._first = residual
            return reasons.ITERATING
        rtol, _, _, _ = snes.getTolerances()
        if update <= rtol * x:
            return reasons.CONVERGED_SNORM_RELATIVE
        if residual <= rtol * self._first and update <= SMALL_STEP * x:
            return reasons.CONVERGED_FNORM_RELATIVE
        return reasons.ITERATING

    def _is_at_rounding(self) -> bool:
        """The line search failed because what Newton's method would change is rounding: nothing is left to improve."""
        if self.is_linear or self.snes.getConvergedReason() != PETSc.SNES.ConvergedReason.DIVERGED_LINE_SEARCH:
            return False
        return self.snes.getSolutionUpdate().norm() <= SMALL_STEP**1.5 * self._unknown.norm()

    def _take(self) -> None:
        """The iterate back into u."""
        if self._P is not None:
            self._P.mult(self._unknown, self.x)
        self.x.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
        fp.assign(self.x, self.u)

    def residual_norm(self) -> float:
        """Euclidean norm of the residual vector at the solution."""
        if self.is_linear:
            return float(self.snes.getKSP().buildResidual().norm())
        b = self.vector()
        self.assemble(self._unknown, b)
        return float(b.norm())

    def _check_unique(self, failed: Exception | None) -> None:
        """Refuse a singular matrix, on which linear solvers may end without a complaint.

        Its signs: it maps a constant, a rigid motion or a combination of them to zero; an unknown has no equation; the
        direct solver met more null pivots than the conditions account for. And a Mean or NoRigidMotion condition is
        refused for what the matrix, or its transpose, does not map to zero.
        """
        if not self.A.assembled:  # Newton's method failed before its first step, or had nothing to do
            return
        A, name = self._reduced, self.discrete.problem.name
        fixed = modes.constrained_modes(self.discrete)
        for condition in self.discrete.problem.conditions_of((modes.Mean, modes.NoRigidMotion)):
            what, field = type(condition).__name__, condition.field
            for motion, mode in modes.candidates(self.discrete, field).items():
                if not self._is_free(A.mult, mode):
                    raise InputError(
                        f"{what}({field!r}) in {name}: the other conditions fix {motion} of {field!r} already; "
                        "leave it out, or hold it by a field of element Real as a multiplier"
                    )
                if not self._is_free(A.multTranspose, mode):
                    raise InputError(
                        f"{what}({field!r}) in {name}: {motion} of {field!r} is free, but the operator tested with "
                        "it does not vanish; hold it by a field of element Real as a multiplier"
                    )
        held = {c.field for c in self.discrete.problem.conditions_of((modes.Mean, modes.NoRigidMotion))}
        for field in self.discrete.u:
            for what, mode in {} if field in held else modes.candidates(self.discrete, field).items():
                if self._is_free(A.mult, mode):
                    remedy = f'Mean("{field}")' if what == "a constant" else f'NoRigidMotion("{field}")'
                    raise ComputationError(
                        f"the solution of {name} is not unique: the matrix is singular, {what} can be added to "
                        f"{field!r}. Add a Dirichlet condition for it, or {remedy}"
                    )
            if field not in held and (motion := self._free_combination(A, field)):
                raise ComputationError(
                    f"the solution of {name} is not unique: the matrix is singular, {motion} can be added to "
                    f"{field!r}. Add a Dirichlet or Point condition that holds it"
                )
        diagonal = A.getDiagonal()
        if len(self.discrete.u) == 1 and diagonal.norm() > 0:
            diagonal.abs()
            if diagonal.min()[1] < 1e-14 * diagonal.max()[1]:
                raise ComputationError(
                    f"the solution of {name} is not unique: the matrix is singular, some unknowns have no equation. "
                    "Is the form stated on every region?"
                )
        pc = self.snes.getKSP().getPC()
        if failed is None and pc.getType() == "lu" and pc.getFactorSolverType() == "mumps":
            pivots = pc.getFactorMatrix().getMumpsInfog(28)
            if pivots > len(fixed):
                raise ComputationError(
                    f"the solution of {name} is not unique: the matrix is singular ({pivots} null pivots). Is each "
                    "field fixed by a condition, and does each part of the mesh hang together with the rest?"
                )

    def _is_free(self, product: Callable[[PETSc.Vec, PETSc.Vec], None], values: Any) -> bool:
        """The matrix maps the mode to zero, measured by what it makes of the mode with alternating signs."""
        mode, image = self._vector(values), self._unknown.duplicate()
        product(mode, image)
        size = image.norm(PETSc.NormType.INFINITY)
        _alternate(mode)
        product(mode, image)
        return size < 1e-10 * image.norm(PETSc.NormType.INFINITY)

    def _free_combination(self, A: PETSc.Mat, field: str) -> str:
        """Names of the motions of one field a combination of which A maps to zero; empty if there is none."""
        motions = modes.candidates(self.discrete, field)
        if len(motions) < 2:
            return ""
        vectors, images, scale = [self._vector(values) for values in motions.values()], [], 0.0
        for vector in vectors:
            vector.normalize()
            images.append(A * vector)
            alternating = vector.copy()
            _alternate(alternating)
            scale = max(scale, (A * alternating).norm())
        gram = np.array([[a.dot(b) for a in images] for b in images])
        basis = np.array([[a.dot(b) for a in vectors] for b in vectors])
        values, combinations = scipy.linalg.eigh(gram, basis)
        if values[0] > (1e-8 * scale) ** 2:  # the square of a rounding error is all that is left of it
            return ""
        weights = abs(combinations[:, 0])
        return " with ".join(name for name, w in zip(motions, weights, strict=True) if w > 1e-3 * weights.max())

    def _check_twins(self) -> None:
        """Refuse a Dirichlet or point condition on one of two dofs that are the same by a periodic condition."""
        marked, fixed = self.x.duplicate(), self._copies.duplicate()
        several = len(self.discrete.u) > 1
        ones = [fem.Function(u.function_space) for u in self.discrete.u.values()]
        for one, u in zip(ones, self.discrete.u.values(), strict=True):
            for bc in self.discrete.bcs:
                if u.function_space._cpp_object.contains(bc.function_space):
                    dofs, _ = bc.dof_indices()
                    one.x.array[dofs] = 1.0
        fp.assign(ones if several else ones[0], marked)
        self._P.multTranspose(marked, fixed)
        fixed.pointwiseMult(fixed, _difference(self._copies, fixed))
        if fixed.norm() > 0:
            raise InputError(
                f"{self.discrete.problem.name}: a Dirichlet or Point condition holds on one of two sides that a "
                "periodic condition makes equal; state it on both"
            )

    def _loads(self) -> list[tuple[str, float]]:
        """For each free mode that a condition holds: its field, and what part of the loads acts along it, 0 to 1."""
        held = self.discrete.problem.conditions_of((modes.Mean, modes.NoRigidMotion))
        if not held:
            return []
        b, size, result = self._unknown.duplicate(), self._unknown.duplicate(), []
        self._function(self.snes, self._unknown, b)
        for condition in held:
            for values in modes.candidates(self.discrete, condition.field).values():
                mode = self._vector(values)
                size.pointwiseMult(b, mode)
                along = abs(size.sum())
                size.abs()
                # Where no load acts along a mode, what is there is rounding.
                rounding = 1e-10 * b.norm(PETSc.NormType.NORM_1) * mode.norm(PETSc.NormType.INFINITY)
                result.append((condition.field, along / (max(size.sum(), rounding) or 1.0)))
        return result

    def _check_balance(self, loads: list[tuple[str, float]] | None) -> None:
        """Refuse loads that push along what nothing holds: the solution that is left is one of other loads.

        Interpolated data are balanced up to the error of discretisation only, which is let pass.
        """
        for field, along in loads or []:
            if along > 0.2:
                raise ComputationError(
                    f"{self.discrete.problem.name} has no solution: the loads of {field!r} do not balance "
                    f"({along:.0%} of them act along a motion that nothing holds); with {field!r} free, sources and "
                    "boundary fluxes must add up to zero"
                )

    def _check_options(self) -> None:
        """Refuse options that PETSc did not look at: misspelt, or of another solver."""
        if self._options_checked:
            return
        database = PETSc.Options()
        unused = [key for key in self.given if not database.used(self._prefix + key)]
        if unused:
            raise InputError(f"PETSc does not know, or this solver does not use, the option {', '.join(unused)}")
        self._options_checked = True

    def _explain(self, error: Exception) -> str:
        reason, inner = self.snes.getConvergedReason(), self.snes.getKSP().getConvergedReason()
        names = {v: k for k, v in vars(PETSc.SNES.ConvergedReason).items() if isinstance(v, int)}
        inner_names = {v: k for k, v in vars(PETSc.KSP.ConvergedReason).items() if isinstance(v, int)}
        if self.is_linear:
            return (
                f"the linear solver stopped ({inner_names.get(inner, inner)}) after "
                f"{self.snes.getLinearSolveIterations()} iterations. A direct solver may do: "
                '--petsc "ksp_type=preonly pc_type=lu pc_factor_mat_solver_type=mumps"'
            )
        return (
            f"Newton's method stopped after {self.snes.getIterationNumber()} steps "
            f"({names.get(reason, reason)}; linear solver: {inner_names.get(inner, inner)}). "
            "Is the solution fixed by the conditions? A smaller load, or a finer mesh, may help"
        )


def _blocks(residual: ufl.Form, discrete: Discrete) -> list[ufl.Form]:
    """The residual by test function, in the order of the fields.

    Raises:
        InputError: no term has the test function of some field.
    """
    blocks = {}
    for block in ufl.extract_blocks(residual):
        blocks[block.arguments()[0].part()] = block
    missing = [name for i, name in enumerate(discrete.u) if i not in blocks]
    if missing:
        raise InputError(f"{discrete.problem.name}: no term of the residual has the test function of {missing[0]!r}")
    return [blocks[i] for i in range(len(discrete.u))]


def _forget(keys: list[str]) -> None:
    """Take options out of PETSc's database."""
    database = PETSc.Options()
    for key in keys:
        if database.hasName(key):
            database.delValue(key)


def _words(options: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items()) or "its options"


def _first_line(error: PETSc.Error) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"error {error.ierr}"


def _alternate(vector: PETSc.Vec) -> None:
    """Give the entries alternating signs, irregularly."""
    vector.array[::2] *= -1.0
    vector.array[1::3] *= -1.0


def _difference(a: PETSc.Vec, b: PETSc.Vec) -> PETSc.Vec:
    result = a.copy()
    result.axpy(-1.0, b)
    return result


def switches(form: Any, unknowns: list[fem.Function]) -> bool:
    """A conditional (a sign is one) depends on an unknown: UFL's derivative of it is zero, and the form not linear."""
    if isinstance(form, (list, tuple)):
        return any(switches(block, unknowns) for block in form if block is not None)
    return any(
        isinstance(node, ufl.classes.Conditional)
        and any(c in unknowns for c in ufl.algorithms.extract_coefficients(node))
        for integral in form.integrals()
        for node in unique_pre_traversal(integral.integrand())
    )


def depends_on(form: Any, unknowns: list[fem.Function]) -> bool:
    if isinstance(form, (list, tuple)):
        return any(depends_on(block, unknowns) for block in form if block is not None)
    return any(u in ufl.algorithms.expand_derivatives(form).coefficients() for u in unknowns)
