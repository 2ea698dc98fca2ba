"""Explicit methods: Runge-Kutta for Dt, leapfrog for Dt(Dt); the mass matrix is solved with, not lumped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import ufl
from dolfinx import fem
from dolfinx.fem import petsc as fp
from petsc4py import PETSc

from variform.errors import ComputationError, InputError
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.linear import DIRECT
from variform.solvers.fem.periodic import prolongation
from variform.solvers.fem.time.stage import State
from variform.solvers.fem.time.stepper import Stepper, check_constant_mass, largest, total, watch_of
from variform.solvers.fem.time.tableaux import Explicit

GROWTH = 100.0
"""An explicit step is called unstable when it lets a mode grow by more than this over all steps."""


class Mass:
    """M k = -F(u) solved for the rate k, with the time derivative of the Dirichlet values at their dofs.

    Args:
        form: F, with a term linear in the rates.
        order: k is Dt(u) for 1, Dt(Dt(u)) for 2.
    """

    def __init__(self, discrete: Discrete, form: ufl.Form, order: int, *, scheme: str, **options: Any) -> None:
        check_constant_mass(discrete, form, order, scheme)
        self.discrete, self.order = discrete, order
        self.watch = watch_of(options)
        unknowns = {n: u.rate if order == 1 else u.rate.rate for n, u in discrete.u.items()}
        known = ufl.algorithms.expand_derivatives(form).coefficients()
        self.names = [name for name, k in unknowns.items() if k in known]
        functions = [unknowns[name] for name in self.names]
        self.spaces = [k.function_space for k in functions]
        without = {k: ufl.classes.Zero(k.ufl_shape) for k in functions}
        parts = list(discrete.u)
        rows = form_by_field(form, discrete)
        if idle := [n for n in rows if n not in self.names]:
            raise InputError(
                f"scheme {scheme!r} needs a time derivative of every field, and the equation tested with that of "
                f"{idle[0]!r} must have no explicit terms; {discrete.problem.name}: choose an implicit scheme"
            )
        blocks = [rows[name] for name in self.names]
        if len(parts) == 1:
            J, F = fp.derivative_block(blocks[0], functions[0]), ufl.replace(blocks[0], without)
        else:
            J = fp.derivative_block(blocks, functions)
            F = [ufl.replace(block, without) for block in blocks]
        with self.watch("compile"):
            self._F, self._J = fem.form(F, jit_options=JIT), fem.form(J, jit_options=JIT)
        kind = None if len(parts) == 1 else "mpi"
        self._M, self._b = fp.create_matrix(self._J, kind=kind), self._vector()
        self._boundaries = [b for b in discrete.boundaries if b.field in self.names]
        axes = [discrete.problem.periodic_axes(name) for name in self.names]
        self._P = prolongation(list(zip(self.spaces, axes, strict=True))) if any(axes) else None
        self._ksp: PETSc.KSP | None = None

    def _vector(self) -> PETSc.Vec:
        several = len(self.discrete.u) > 1
        return fp.create_vector(self.spaces if several else self.spaces[0], kind="mpi" if several else None)

    def _held(self) -> tuple[PETSc.Vec, np.ndarray]:
        """The rates of the Dirichlet values, and where they hold (of the owned entries)."""
        values, marked = ([fem.Function(V) for V in self.spaces] for _ in range(2))
        for boundary in self._boundaries:
            condition, i = boundary.rate(self.order), self.names.index(boundary.field)
            marked[i].x.array[boundary.condition.dof_indices()[0]] = 1.0
            if condition is not None:
                condition.set(values[i].x.array)
        pair = [self._vector(), self._vector()]
        for functions, vector in zip((values, marked), pair, strict=True):
            fp.assign(functions if len(self.discrete.u) > 1 else functions[0], vector)
        return pair[0], pair[1].array > 0.5

    def _assemble(self) -> None:
        with self.watch("assemble"):
            self._M.zeroEntries()
            fp.assemble_matrix(self._M, self._J)
            self._M.assemble()
        _, held = self._held()
        rows = np.flatnonzero(held).astype(np.int32) + self._b.getOwnershipRange()[0]
        self.matrix = self._M.copy()
        self.matrix.zeroRowsColumns(rows, diag=1.0)
        if self._P is not None:
            self.matrix = self.matrix.PtAP(self._P)
        self._ksp = PETSc.KSP().create(self._M.comm)
        self._ksp.setOperators(self.matrix)
        self._ksp.setType(DIRECT["ksp_type"])
        pc = self._ksp.getPC()
        pc.setType(DIRECT["pc_type"])
        pc.setFactorSolverType(DIRECT["pc_factor_mat_solver_type"])
        self._ksp.setErrorIfNotConverged(True)

    def rates(self) -> State:
        """k by field at the present u, time and, for order 2, Dt(u); zero for fields without one."""
        if self._ksp is None:
            self._assemble()
        b = self._b
        with self.watch("assemble"):
            with b.localForm() as local:
                local.set(0.0)
            fp.assemble_vector(b, self._F)
            b.ghostUpdate(PETSc.InsertMode.ADD, PETSc.ScatterMode.REVERSE)
            b.scale(-1.0)
            values, held = self._held()
            if self._boundaries:
                b.axpy(-1.0, self._M * values)
                b.array[held] = values.array[held]
        k = b.duplicate()
        with self.watch("solve"):
            if self._P is None:
                self._ksp.solve(b, k)
            else:
                reduced, solved = self._P.createVecRight(), self._P.createVecRight()
                self._P.multTranspose(b, reduced)
                self._ksp.solve(reduced, solved)
                self._P.mult(solved, k)
        functions = [fem.Function(V) for V in self.spaces]
        k.ghostUpdate(PETSc.InsertMode.INSERT, PETSc.ScatterMode.FORWARD)
        fp.assign(k, functions if len(self.discrete.u) > 1 else functions[0])
        found = {name: np.zeros_like(u.x.array) for name, u in self.discrete.u.items()}
        for name, function in zip(self.names, functions, strict=True):
            function.x.scatter_forward()
            found[name] = function.x.array.copy()
        return found

    def largest_eigenvalues(self, form: ufl.Form) -> np.ndarray:
        """Those lambda of k = lambda u of the largest modulus, for the linearisation of M k = -F(u) at the present u.

        Complex, with both of a pair. Rows of Dirichlet dofs have lambda = 0.
        """
        from slepc4py import SLEPc

        if self._ksp is None:
            self._assemble()
        fields, functions = form_by_field(form, self.discrete), [self.discrete.u[name] for name in self.names]
        several = len(self.discrete.u) > 1
        blocks: Any = [fields[name] for name in self.names]
        J = fp.derivative_block(blocks if several else blocks[0], functions if several else functions[0])
        compiled = fem.form(J, jit_options=JIT)
        A = fp.create_matrix(compiled, kind="mpi" if several else None)
        fp.assemble_matrix(A, compiled)
        A.assemble()
        _, held = self._held()
        A.zeroRowsColumns(np.flatnonzero(held).astype(np.int32) + self._b.getOwnershipRange()[0], diag=0.0)
        if self._P is not None:
            A = A.PtAP(self._P)
        A.scale(-1.0)
        eps = SLEPc.EPS().create(A.comm)
        eps.setOperators(A, self.matrix)
        eps.setProblemType(SLEPc.EPS.ProblemType.GNHEP)
        eps.setWhichEigenpairs(SLEPc.EPS.Which.LARGEST_MAGNITUDE)
        eps.setDimensions(4, 40)
        eps.setTolerances(1e-3, 300)
        transformation = eps.getST()
        ksp = transformation.getKSP()
        ksp.setType(DIRECT["ksp_type"])
        ksp.getPC().setType(DIRECT["pc_type"])
        ksp.getPC().setFactorSolverType(DIRECT["pc_factor_mat_solver_type"])
        eps.solve()
        values = np.array(
            [eps.getEigenpair(i, *[A.createVecRight() for _ in range(2)]) for i in range(eps.getConverged())]
        )
        if not len(values):
            raise ComputationError("the largest stable time step was not found: the eigenvalue solver did not converge")
        return values


def form_by_field(form: ufl.Form, discrete: Discrete) -> dict[str, ufl.Form]:
    """The form by the field of its test function; fields without a term are left out."""
    if len(discrete.u) == 1:
        return {next(iter(discrete.u)): form}
    names = list(discrete.u)
    return {
        names[block.arguments()[0].part()]: block
        for block in ufl.extract_blocks(form)
        if block is not None and not block.empty()
    }


def limit(growth: Any, eigenvalues: np.ndarray, steps: int, duration: float) -> float:
    """The largest stable step [s]: over all steps no mode grows by more than GROWTH times what it should.

    Args:
        growth: |R|, the factor of one step, as a function of lambda dt.
        eigenvalues: lambda [1/s], shape (n,).
        steps, duration: how many steps are wanted, and the time they cover [s]; the limit depends on them by a hair.
    """
    largest = abs(eigenvalues).max()
    if largest == 0:
        return math.inf
    candidates = np.linspace(0, 20 / largest, 4001)[1:]
    z = candidates[:, None] * eigenvalues
    allowed = np.maximum(0, z.real) + math.log(GROWTH) / np.maximum(1, duration / candidates)[:, None]
    stable = (np.log(np.maximum(growth(z), 1e-300)) <= allowed).all(axis=1)
    if stable.all():
        return math.inf
    first = int(np.argmin(stable))
    return float(candidates[first - 1]) if first else 0.0


def refuse_unstable(scheme: str, dt: float, most: float, duration: float) -> None:
    """Raise InputError, which says the limit, if the step is too long."""
    if dt > most:
        least = f"steps >= {math.ceil(duration / most)}" if most > 0 else "an implicit scheme"
        raise InputError(
            f"a time step of {dt:.4g} s is unstable for scheme {scheme!r} on this mesh: at most {most:.4g} s "
            f"({least}); or choose an implicit scheme"
        )


class ExplicitRungeKutta(Stepper):
    """An explicit Runge-Kutta method; Dirichlet values are set at the time of every stage."""

    def __init__(
        self, discrete: Discrete, form: ufl.Form, tableau: Explicit, *, scheme: str, rtol: float, **options: Any
    ) -> None:
        super().__init__(discrete, form, **options)
        self.tableau, self.scheme, self.order = tableau, scheme, tableau.order
        self.error_order = tableau.order if tableau.embedded else None
        self.mass = Mass(discrete, form, 1, scheme=scheme, **options)
        if len(self.mass.names) < len(discrete.u):
            missing = next(name for name in discrete.u if name not in self.mass.names)
            raise InputError(
                f"scheme {scheme!r} needs a time derivative of every field, {discrete.problem.name} has none of "
                f"{missing!r}: choose an implicit scheme"
            )

    @property
    def counts(self) -> dict[str, int]:
        return total(np.zeros(2), 1)

    def start(self, t: float, dt: float, steps: int | None) -> None:
        self.discrete.set_time(t)
        self._hold()
        if steps is not None:
            eigenvalues = self.mass.largest_eigenvalues(self.form)
            most = limit(lambda z: abs(self.tableau.amplification(z)), eigenvalues, steps, dt * steps)
            refuse_unstable(self.scheme, dt, most, dt * steps)

    def step(self, number: int, t: float, dt: float) -> State | None:
        before = {name: u.x.array.copy() for name, u in self.discrete.u.items()}
        rates: list[State] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            self._set(t + c * dt, before, dt, row, rates)
            rates.append(self.mass.rates())
        self._set(t + dt, before, dt, self.tableau.b, rates)
        for name, u in self.discrete.u.items():
            u.rate.x.array[:] = rates[-1][name]
        check_finite(self.discrete, t + dt)
        weights = self.tableau.error
        if weights is None:
            return None
        return {n: dt * sum(w * k[n] for w, k in zip(weights, rates, strict=True)) for n in before}

    def _set(self, t: float, before: State, dt: float, weights: Any, rates: list[State]) -> None:
        for name, u in self.discrete.u.items():
            u.x.array[:] = before[name]
            for a, k in zip(weights, rates, strict=False):
                u.x.array[:] += dt * a * k[name]
        self.discrete.set_time(t)
        self._hold()

    def _hold(self) -> None:
        for boundary in self.discrete.boundaries:
            boundary.condition.set(self.discrete.u[boundary.field].x.array)


def check_finite(discrete: Discrete, t: float) -> None:
    """Raise ComputationError where a value has become infinite or not a number."""
    size = largest({name: u.x.array for name, u in discrete.u.items()}, discrete.comm)
    for name, value in size.items():
        if not value < 1e150:
            raise ComputationError(f"{name} grew without bound by t = {t:.6g} s: the time step is too long")


class Leapfrog(Stepper):
    """Central differences for Dt(Dt(u)): u_(n+1) - 2 u_n + u_(n-1) = dt^2 Dt(Dt(u_n)), with velocities (Verlet).

    Stable for dt < 2 / omega, omega the highest frequency; a term in Dt(u) is taken at the middle of the step before.

    Source: Hairer, Lubich and Wanner, Geometric Numerical Integration, section I.1.4.
    """

    order = 2
    time_order = 2

    def __init__(self, discrete: Discrete, form: ufl.Form, *, scheme: str, rtol: float, **options: Any) -> None:
        super().__init__(discrete, form, **options)
        self.scheme, self.mass = scheme, Mass(discrete, form, 2, scheme=scheme, **options)

    @property
    def counts(self) -> dict[str, int]:
        return total(np.zeros(2), 1)

    def start(self, t: float, dt: float, steps: int | None) -> None:
        self.discrete.set_time(t)
        self._accelerate()
        eigenvalues = self.mass.largest_eigenvalues(self.form)
        most = 2 / math.sqrt(abs(eigenvalues).max())
        refuse_unstable(self.scheme, dt, most, dt * (steps or 1))

    def step(self, number: int, t: float, dt: float) -> None:
        for u in self.discrete.u.values():
            u.rate.x.array[:] += dt / 2 * u.rate.rate.x.array
            u.x.array[:] += dt * u.rate.x.array
        self.discrete.set_time(t + dt)
        for boundary in self.discrete.boundaries:
            boundary.condition.set(self.discrete.u[boundary.field].x.array)
        self._accelerate()
        for u in self.discrete.u.values():
            u.rate.x.array[:] += dt / 2 * u.rate.rate.x.array
        check_finite(self.discrete, t + dt)

    def _accelerate(self) -> None:
        rates = self.mass.rates()
        for name, u in self.discrete.u.items():
            u.rate.rate.x.array[:] = rates[name]
