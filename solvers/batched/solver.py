"""Many instances of one problem on one mesh, solved at once; each solve is a torch operation with a derivative."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE, Where
from variform.forms.geometry import integrate
from variform.forms.interpret import Interpreter, lower
from variform.forms.weak import WeakForm
from variform.mesh import Mesh
from variform.meshes.quality import refuse_broken
from variform.problem import Mean, Problem
from variform.solvers.batched.inputs import Inputs, common_batch, dofs_by_field
from variform.solvers.batched.system import Outcome, Solve, System

GAMMA = 1 - 1 / math.sqrt(2)
STAGES = ((GAMMA,), (1 - GAMMA, GAMMA))
"""Rows of SDIRK2. L-stable, second order: Alexander, SIAM J. Numer. Anal. 14 (1977), 1006."""


@dataclass(frozen=True)
class Batch:
    """Solutions of a batch.

    Args:
        u: dofs by field, shape (B, *shape); of an evolution (B, snapshots + 1, *shape).
        converged: shape (B,), bool. The dofs of samples that did not converge are the last iterate.
        newton_steps, linear_iterations: of each sample, in all; shape (B,).
        residual: last relative residual of the linear (or nonlinear) system, shape (B,).
    """

    u: dict[str, Tensor]
    converged: Tensor
    newton_steps: Tensor
    linear_iterations: Tensor
    residual: Tensor


class BatchedSolver:
    """Finite elements for many samples of one problem on one mesh, on CPU or GPU.

    The samples differ in parameters, boundary values or (all together) the mesh's points. Solutions are
    differentiable in them: gradients come from one adjoint solve a sample.

    Args:
        problem: its parameter values hold where a solve does not give others.
        mesh: of any cell type.
        degree: of the field of highest degree; the problem's own by default.
        dtype: float64, or complex128 for sesquilinear forms; by default the one that the problem's fields ask for.

    Raises:
        InputError: conditions or elements that the batched solver does not take.
    """

    def __init__(
        self,
        problem: Problem,
        mesh: Mesh,
        *,
        degree: int | None = None,
        quadrature_degree: int | None = None,
        dtype: torch.dtype | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if problem.is_eigenproblem:
            raise InputError(f"{problem.name} is an eigenproblem: use fem")
        dtype = dtype or (torch.complex128 if problem.is_complex else torch.float64)
        if dtype not in (torch.float64, torch.complex128):
            raise InputError(f"the batched solver works in float64 or complex128, got {dtype}")
        refuse_broken(mesh)
        self.weak = WeakForm(
            problem, mesh, degree=degree, quadrature_degree=quadrature_degree, dtype=dtype, device=device
        )
        self.problem, self.system = problem, System(self.weak)

    def solve(
        self,
        p: Mapping[str, Any] | None = None,
        *,
        boundary: Mapping[str, Tensor] | None = None,
        points: Tensor | None = None,
        start: Mapping[str, Tensor] | None = None,
        rtol: float = 1e-10,
    ) -> Batch:
        """Solve a stationary problem for every sample.

        Args:
            p: parameters: numbers or tensors (B,); fields as dofs (num_dofs,) or (B, num_dofs) in
                `weak.parameter_spaces`, or callables of x; dicts by region.
            boundary: dofs (B, *shape) by field, in place of the problem's Dirichlet values where those are prescribed.
            points: of the mesh, shape (num_points, dim), the same for all samples.
            start: first guesses for Newton's method, (B, *shape); zero by default.
            rtol: relative tolerance of Newton's method and of the linear solver.
        """
        if self.problem.time is not None:
            raise InputError(f"{self.problem.name} evolves in time: use evolve")
        inputs = Inputs.of(self.weak, p, boundary, points)
        guess = self._packed("start", start or {}, self._zeros(), inputs)
        u, outcome = self._solve(inputs, guess, rtol)
        return self._result(self._with_mean(u, outcome, points), outcome)

    def evolve(
        self,
        p: Mapping[str, Any] | None = None,
        *,
        initial: Mapping[str, Tensor] | None = None,
        boundary: Mapping[str, Tensor] | None = None,
        steps: int,
        snapshots: int = 1,
        rtol: float = 1e-10,
        time: tuple[float, float] | None = None,
        progress: Callable[[float, str], None] = lambda fraction, text: None,
    ) -> Batch:
        """Step every sample from the first to the last time of the problem, by SDIRK of order 2 with constant steps.

        Args:
            initial: dofs (B, *shape) by field in place of the problem's initial values.
            steps, snapshots: time steps, and how many later states to keep, evenly spaced.
            time: first and last time [s]; those of the problem by default.
        """
        if self.problem.time is None:
            raise InputError(f"{self.problem.name} is stationary: use solve")
        if steps < 1 or snapshots < 1 or steps % snapshots:
            raise InputError(
                f"steps must be a positive multiple of snapshots, got {steps} steps, {snapshots} snapshots"
            )
        inputs = Inputs.of(self.weak, p, boundary)
        u = self._packed("initial", initial or {}, self.initial_values(inputs), inputs)
        begin, end = time or self.problem.time
        dt, states, outcomes = (end - begin) / steps, [u], []
        for step in range(steps):
            rates: list[Tensor] = []
            for row in STAGES:
                base = u + dt * sum(a * k for a, k in zip(row[:-1], rates, strict=True))
                at = inputs.at(begin + (step + sum(row)) * dt, base, 1 / (row[-1] * dt))
                stage, outcome = self._solve(at, base, rtol)
                rates.append((stage - base) / (row[-1] * dt))
                outcomes.append(outcome)
            u = stage
            if (step + 1) % (steps // snapshots) == 0:
                states.append(self._with_mean(u, outcome, None))
            progress((step + 1) / steps, f"step {step + 1} of {steps}")
        total = Outcome(
            x=outcomes[-1].x,
            converged=torch.stack([o.converged for o in outcomes]).all(dim=0),
            newton_steps=sum(o.newton_steps for o in outcomes),
            linear_iterations=sum(o.linear_iterations for o in outcomes),
            residual=torch.stack([o.residual for o in outcomes]).amax(dim=0),
        )
        return self._result(torch.stack(states, dim=1), total)

    def forget(self) -> None:
        """The next solve depends on its own samples alone, to the last bit, and not on what was solved before.

        Otherwise preconditioners are kept, which is quicker.
        """
        self.system.forget()

    def initial_values(self, inputs: Inputs) -> dict[str, Tensor]:
        """Nodal interpolation of the problem's initial values; absent ones are zero."""
        weak, s = self.weak, self.weak.symbols
        result = self._zeros()
        constants = weak.constants(inputs.p, self.problem.time[0])
        fields = {getattr(s.p, name): name for name in weak.parameter_spaces}
        for name, value in self.problem.by_field(self.problem.initial(s.x, s.p)).items():
            space, x = weak.spaces[name], weak.node_coordinates(weak.spaces[name])

            def leaf(o: Any, component: tuple, directions: tuple, x: Tensor = x, space: Any = space) -> Any:
                if o == s.x:
                    return x[component[0]]
                if o in constants:
                    number = constants[o]
                    return number[..., None] if isinstance(number, Tensor) and number.ndim else number
                if o in fields and weak.parameter_spaces[fields[o]] is space:
                    return inputs.tensors[f"p.{fields[o]}"]
                raise InputError(
                    f"initial values of {self.problem.name} depend on {o}, which has no value at the nodes"
                )

            parts = [part + 0 * x[0] for _, part in Interpreter(leaf).components(lower(value))]
            parts = torch.broadcast_tensors(*parts)
            batch = parts[0].shape[:-1]
            result[name] = torch.stack(parts, -2).reshape(*batch, *weak.shapes[name]).to(weak.dtype)
        return result

    def _zeros(self) -> dict[str, Tensor]:
        weak = self.weak
        return {name: torch.zeros(shape, dtype=weak.dtype, device=weak.device) for name, shape in weak.shapes.items()}

    def _packed(self, what: str, given: Mapping[str, Any], others: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
        """Dofs (B, n) of all fields for as many samples as there are: those that are given, and the others."""
        given = dofs_by_field(self.weak, what, given)
        sizes = {f"{what}.{f}": len(u) for f, u in given.items() if u.ndim > len(self.weak.shapes[f])}
        batch = common_batch({"parameters and boundary values": inputs.batch, **sizes})
        return self.weak.pack({**others, **given}).to(self.weak.dtype).expand(batch, -1)

    def _solve(self, inputs: Inputs, guess: Tensor, rtol: float) -> tuple[Tensor, Outcome]:
        conditions, out = self.system.conditions, []
        x = guess.detach()[:, torch.as_tensor(conditions.free, device=guess.device)].contiguous()
        needed = [value for value in inputs.tensors.values() if value.requires_grad]
        u = Solve.apply(self.system, inputs, x, rtol, out, *needed)
        return u, out[0]

    def _with_mean(self, u: Tensor, outcome: Outcome, points: Tensor | None) -> Tensor:
        """Fields whose mean is given are shifted to it."""
        for condition in self.problem.conditions_of(Mean):
            start = self.system.conditions.offsets[condition.field]
            part = slice(start, start + self.weak.shapes[condition.field][-1])
            w = self._weights(condition.field, points)
            shift = condition.value - (u[:, part] @ w.to(u.dtype)) / w.sum()
            u = torch.cat([u[:, : part.start], u[:, part] + shift[:, None], u[:, part.stop :]], dim=1)
        return u

    def _weights(self, field: str, points: Tensor | None) -> Tensor:
        """Integrals of the basis functions of a scalar field."""
        space, where = self.weak.spaces[field], Where("cell", EVERYWHERE)
        entities, w = self.weak.domains.entities(where), self.weak.domains.geometry(where, points).w
        local = integrate(entities.tables(space, ())[0], w)
        zeros = torch.zeros(space.num_dofs, dtype=w.dtype, device=w.device)
        return zeros.index_add(
            -1, entities.dofmap(space).reshape(-1), local.expand(entities.dofmap(space).shape).reshape(-1)
        )

    def _result(self, u: Tensor, outcome: Outcome) -> Batch:
        return Batch(
            self.weak.unpack(u), outcome.converged, outcome.newton_steps, outcome.linear_iterations, outcome.residual
        )
