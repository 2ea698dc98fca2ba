"""Newton's method for a batch of nonlinear systems, and its derivative by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from variform.forms.weak import WeakForm
from variform.problem import Problem
from variform.solvers.batched import linear
from variform.solvers.batched.assembly import LinearAssembly
from variform.solvers.batched.conditions import Conditions
from variform.solvers.batched.inputs import Inputs
from variform.solvers.batched.memory import in_halves
from variform.solvers.batched.operator import Operator, Pattern
from variform.solvers.batched.transform import TensorGrid

PORTION_BYTES = 2**27
"""Size of the element matrices that are made at once on the CPU."""

ENOUGH_FOR_A_MEAN = 32
"""Samples whose mean operator makes a preconditioner for all that come later."""

SMALLEST_DAMPING = 2.0**-10

SMALLEST_STEP = 1e-3
"""Of a continuation, as a part of the way from the start to the wanted value."""


@dataclass(frozen=True)
class Outcome:
    """How a batch of systems was solved.

    Args:
        x: free unknowns, shape (B, size).
        converged: shape (B,), bool.
        newton_steps, linear_iterations: shape (B,), int64.
        residual: |r| / |r at the start| in the 2-norm over the free unknowns, shape (B,).
    """

    x: Tensor
    converged: Tensor
    newton_steps: Tensor
    linear_iterations: Tensor
    residual: Tensor


NAMES = tuple(Outcome.__dataclass_fields__)


def _put(values: Tensor, where: Tensor, new: Tensor) -> Tensor:
    return values.index_copy(0, where, new)


class System:
    """F(u; v) = 0 for the free unknowns of a weak form, for all samples of a batch."""

    def __init__(self, weak: WeakForm) -> None:
        self.weak, self.conditions = weak, Conditions(weak)
        self.pattern, self._entries, self._targets = self._reduced()
        spaces, fields = list(weak.spaces.values()), list(weak.problem.fields.values())
        alone = len(spaces) == 1 and spaces[0].family == "Lagrange" and not weak.dtype.is_complex
        self.may_be_definite = alone and spaces[0].degree <= 2
        convex = weak.linearised.constant and weak.problem.energy(weak.symbols) is not None
        self.must_be_definite = alone and convex and not fields[0].shape
        self.grid = None
        if alone and self.conditions.size and len(next(iter(weak.shapes.values()))) == 1:
            self.grid = TensorGrid.of(spaces[0].x.T[self.conditions.free])
        hessian = weak.problem.energy(weak.symbols) is not None and type(weak.problem).residual is Problem.residual
        self.is_hessian = hessian and weak.problem.stabilisation(weak.symbols, weak.v) is None
        self.assembly = LinearAssembly(weak.linearised)
        self._whole = Pattern.of(weak.linearised.pattern)
        self._preconditioner: Any = None
        self._built_from = 0

    def _reduced(self) -> tuple[Pattern, Tensor, Tensor | None]:
        """The pattern of the free unknowns; which entries of all go into it, and where to if periodic ones meet."""
        whole, number = self.weak.linearised.pattern, self.conditions.number
        rows = number[np.repeat(np.arange(whole.shape[0]), np.diff(whole.indptr))]
        columns = number[whole.indices]
        entries = np.flatnonzero((rows >= 0) & (columns >= 0))
        keys = rows[entries] * self.conditions.size + columns[entries]
        unique, target = np.unique(keys, return_inverse=True)
        size = self.conditions.size
        row, column = np.divmod(unique, size)
        pattern = Pattern.of(sp.csr_array((np.ones(len(unique)), (row, column)), shape=(size, size)))
        device = self.weak.device
        if len(unique) == len(entries):
            return pattern, torch.as_tensor(entries[np.argsort(keys)], device=device), None
        return pattern, torch.as_tensor(entries, device=device), torch.as_tensor(target, device=device)

    def residual(self, u: Tensor, inputs: Inputs) -> Tensor:
        """F at dofs u (..., n), for all rows."""
        return self.weak.pack(
            self.weak.residual(
                self.weak.unpack(u),
                p=inputs.p,
                t=inputs.t,
                rate=self._rate(u, inputs),
                points=inputs.tensors.get("points"),
            )
        )

    def assembled_residuals(self, states: Sequence[Tensor], inputs: Inputs) -> list[Tensor]:
        """F of a linear stationary form at several dofs (B, n) from one assembly, for all rows."""
        batch, portion = len(states[0]), self._portion(len(states[0]))
        found: list[list[Tensor]] = [[] for _ in states]
        for samples in (slice(i, i + portion) for i in range(0, batch, portion)):
            here = inputs.part(samples)
            values = self._matrices(states[0][samples], here)
            for parts, u in zip(found, states, strict=True):
                parts.append(self._affine(values, u[samples], here).expand(len(u[samples]), -1))
        return [torch.cat(parts) for parts in found]

    def operator(self, u: Tensor, inputs: Inputs) -> Operator:
        """The derivative of the free rows in the free unknowns."""
        return self._free(self._matrices(u, inputs))

    def _matrices(self, u: Tensor, inputs: Inputs) -> Tensor:
        """Entries in all rows and columns, (B, nnz)."""
        at = {"p": inputs.p, "t": inputs.t, "shift": inputs.shift or 0.0, "points": inputs.tensors.get("points")}
        if self.weak.linearised.constant:
            return self.assembly.matrices(**at)
        return torch.atleast_2d(self.weak.linearised(self.weak.unpack(u), rate=self._rate(u, inputs), **at))

    def _free(self, values: Tensor) -> Operator:
        """Those of the free unknowns."""
        chosen = values.T.index_select(0, self._entries)
        if self._targets is not None:
            zeros = torch.zeros(self.pattern.nnz, len(values), dtype=values.dtype, device=values.device)
            chosen = zeros.index_add(0, self._targets, chosen)
        return Operator(self.pattern, chosen.T)

    def _rate(self, u: Tensor, inputs: Inputs) -> dict[str, Tensor] | None:
        if inputs.shift is None:
            return None
        return self.weak.unpack(inputs.shift * (u - inputs.tensors["base"]))

    def solve_linear(self, A: Operator, f: Tensor, rtol: float) -> linear.Result:
        """A x = f; symmetric operators by conjugate gradients, and where those fail or do not apply by LU."""
        if not A.pattern.n:  # every value is prescribed
            none = torch.zeros(len(f), device=f.device)
            return linear.Result(f, none == 0, none.long(), none.to(f.real.dtype), None)
        if self._built_from < min(len(A.values), ENOUGH_FOR_A_MEAN):
            self._preconditioner = None  # the mean of a few samples serves many others badly
        definite = self.may_be_definite and (self.is_hessian or self._is_symmetric(A))
        if self._preconditioner is None:
            self._built_from = len(A.values)
        result = linear.solve(
            A,
            f,
            definite=definite,
            rtol=rtol,
            grid=self.grid,
            preconditioner=self._preconditioner if definite else None,
        )
        if not definite or self.must_be_definite or result.converged.all():
            self._preconditioner = result.preconditioner
            return result
        failed = ~result.converged
        again = linear.solve(A.part(failed), f[failed] if len(f) > 1 else f, definite=False, rtol=rtol)
        x, converged, residual = result.x.clone(), result.converged.clone(), result.relative_residual.clone()
        x[failed], converged[failed], residual[failed] = again.x, again.converged, again.relative_residual
        return linear.Result(x, converged, result.iterations, residual, None)

    def forget(self) -> None:
        """Preconditioners of earlier solves."""
        self._preconditioner, self._built_from = None, 0

    def adjoint(self, u: Tensor, inputs: Inputs, du: Tensor, rtol: float) -> Tensor:
        """z (B, n) with A^H z = du on the free unknowns, zero where values are prescribed; u as in the solution."""
        portion = self._portion(len(u))
        parts = [
            self.solve_linear(
                self.operator(u[samples], inputs.part(samples)).transpose(),
                self.conditions.restrict(du[samples]).conj().resolve_conj(),
                rtol,
            ).x.conj()
            for samples in (slice(i, i + portion) for i in range(0, len(u), portion))
        ]
        return self.conditions.expand(torch.cat(parts), torch.zeros_like(u))

    def _is_symmetric(self, A: Operator) -> bool:
        difference = (A.values - A.entries(self.pattern.transposition)).nan_to_num().abs().max()
        return bool(difference <= 1e-11 * A.values.nan_to_num().abs().max())

    @torch.no_grad()
    def solve(self, inputs: Inputs, x: Tensor, *, rtol: float, max_steps: int = 30) -> Outcome:
        """Newton's method, each sample to its own convergence; those that do not converge are marked.

        Args:
            x: first guesses of the free unknowns, shape (B, size).
            rtol: of the linear solver; a nonlinear sample has converged when a step changes it by no more than that.
        """
        outcome = self._in_portions(inputs, x, rtol, max_steps)
        failed = torch.nonzero(~outcome.converged).flatten()
        if not len(failed) or self.weak.problem.continuation is None or self.weak.linearised.constant:
            return outcome
        followed = self._follow(inputs.part(failed), x[failed], rtol, max_steps)
        return Outcome(*(_put(getattr(outcome, name), failed, getattr(followed, name)) for name in NAMES))

    def _follow(self, inputs: Inputs, x: Tensor, rtol: float, max_steps: int) -> Outcome:
        """Continuation from an easy value of a parameter to the wanted ones: steps are halved while a sample fails and
        doubled while none does.
        """
        path = self.weak.problem.continuation
        name = f"p.{path.parameter}"
        wanted = inputs.tensors[name]
        done, step, outcome = 0.0, 0.0, None
        while done < 1.0:
            part = min(1.0, done + step)
            value = (
                path.start ** (1 - part) * wanted**part if path.geometric else path.start + part * (wanted - path.start)
            )
            trial = self._in_portions(replace(inputs, tensors={**inputs.tensors, name: value}), x, rtol, max_steps)
            if not trial.converged.all():
                step /= 2
                if step < SMALLEST_STEP:
                    return replace(trial, converged=trial.converged & (part == 1.0))
                continue
            outcome = (
                trial
                if outcome is None
                else Outcome(
                    trial.x,
                    trial.converged,
                    outcome.newton_steps + trial.newton_steps,
                    outcome.linear_iterations + trial.linear_iterations,
                    trial.residual,
                )
            )
            done, x, step = part, trial.x, 2 * step if step else 0.25
        return outcome

    def _in_portions(self, inputs: Inputs, x: Tensor, rtol: float, max_steps: int) -> Outcome:
        batch = len(x)
        portion = self._portion(batch)
        parts = [
            part
            for start in range(0, batch, portion)
            for part in in_halves(
                lambda samples: self._newton(inputs.part(samples), x[samples], rtol, max_steps),
                slice(start, min(start + portion, batch)),
            )
        ]
        return Outcome(*(torch.cat([getattr(part, name) for part in parts]) for name in NAMES))

    def _portion(self, batch: int) -> int:
        jacobian, device = self.weak.linearised, self.weak.device
        room = torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else PORTION_BYTES
        return max(1, min(batch, room // (8 * max(1, jacobian.num_local))))

    def _newton(self, inputs: Inputs, x: Tensor, rtol: float, max_steps: int) -> Outcome:
        g, x = self.conditions.values(inputs), x.clone()
        g = g.expand(len(x), -1)
        if self.weak.linearised.constant:
            return self._linear(inputs, x, g, rtol)
        r = self._free_residual(x, g, inputs)
        first = torch.linalg.vector_norm(r, dim=1)
        scale = torch.where(first > 0, first, 1)
        counts = torch.zeros(2, len(x), dtype=torch.int64, device=x.device)
        converged = first == 0
        active = torch.nonzero(first.isfinite() & ~converged).flatten()
        for _ in range(max_steps):
            if not len(active):
                break
            here, held = inputs.part(active) if len(active) < len(x) else inputs, g[active]
            A = self.operator(self.conditions.expand(x[active], held), here)
            step = self.solve_linear(A, -r[active], max(rtol, 1e-13))
            counts[0, active] += 1
            counts[1, active] += step.iterations
            new, new_r, moved = self._damped(x[active], step.x, r[active], held, here)
            size = torch.linalg.vector_norm(self.conditions.expand(new, held), dim=1)
            length = torch.linalg.vector_norm(step.x, dim=1)
            done = step.converged & (length <= rtol * size)
            # Where rounding stops the residual from falling, a small step is as far as one gets.
            done |= step.converged & ~moved & (length <= 1e-9 * size)
            x[active], r[active] = new, new_r
            converged[active] = done
            active = active[moved & ~done & new_r.isfinite().all(dim=1)]
        residual = torch.linalg.vector_norm(r, dim=1) / scale
        return Outcome(x, converged, *counts, residual)

    def _linear(self, inputs: Inputs, x: Tensor, g: Tensor, rtol: float) -> Outcome:
        """One step from x reaches the solution."""
        u = self.conditions.expand(x, g)
        values = self._matrices(u, inputs)
        F = self._affine(values, u, inputs) if inputs.shift is None else torch.atleast_2d(self.residual(u, inputs))
        f = -self.conditions.restrict(F).expand(len(x), -1)
        result = self.solve_linear(self._free(values), f, rtol)
        steps = torch.ones_like(result.iterations)
        return Outcome(x + result.x, result.converged, steps, result.iterations, result.relative_residual)

    def _affine(self, values: Tensor, u: Tensor, inputs: Inputs) -> Tensor:
        """F at u of a linear stationary form, from the entries of its matrices: (B, n)."""
        F = torch.atleast_2d(self.assembly.load(p=inputs.p, t=inputs.t, points=inputs.tensors.get("points")))
        return F + Operator(self._whole, values).matvec(u) if u.any() else F

    def _free_residual(self, x: Tensor, g: Tensor, inputs: Inputs) -> Tensor:
        r = self.conditions.restrict(self.residual(self.conditions.expand(x, g), inputs))
        return r.expand(len(x), -1).clone()

    def _damped(self, x: Tensor, step: Tensor, r: Tensor, g: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
        """x + d step with the largest d = 1, 1/2, 1/4, .. that lowers each sample's residual; whether there is one."""
        norm, d = torch.linalg.vector_norm(r, dim=1), torch.ones(len(x), 1, dtype=x.real.dtype, device=x.device)
        new, new_r = x.clone(), r.clone()
        waiting = torch.arange(len(x), device=x.device)
        while len(waiting) and float(d[waiting].min()) >= SMALLEST_DAMPING:
            trial = x[waiting] + d[waiting] * step[waiting]
            trial_r = self._free_residual(trial, g[waiting], inputs.part(waiting) if len(waiting) < len(x) else inputs)
            good = torch.linalg.vector_norm(trial_r, dim=1) <= (1 - 1e-4 * d[waiting, 0]) * norm[waiting]
            new[waiting[good]], new_r[waiting[good]] = trial[good], trial_r[good]
            waiting = waiting[~good]
            d[waiting] /= 2
        moved = torch.ones(len(x), dtype=torch.bool, device=x.device)
        moved[waiting] = False
        return new, new_r, moved


class Solve(torch.autograd.Function):
    """The dofs u (B, n) of a batch of solutions as a function of its inputs.

    The derivative is that of the implicit function theorem: with A^T z = restrict(du), and prescribed values g,
    d(loss) = du . dg - z . (dF + F_u dg) at fixed free unknowns. Samples that did not converge get none. In complex
    numbers a . b is the real part of conj(a) b, and A^T conjugated too.
    """

    @staticmethod
    def forward(
        ctx: Any, system: System, inputs: Inputs, x: Tensor, rtol: float, out: list, *tensors: Tensor
    ) -> Tensor:
        plain = inputs.detached()
        outcome = system.solve(plain, x, rtol=rtol)
        out.append(outcome)
        u = system.conditions.expand(outcome.x, system.conditions.values(plain))
        ctx.system, ctx.inputs, ctx.rtol, ctx.converged = system, plain, rtol, outcome.converged
        ctx.names = [name for name, value in inputs.tensors.items() if value.requires_grad]
        ctx.save_for_backward(u)
        return u

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, du: Tensor) -> tuple:
        (u,), system = ctx.saved_tensors, ctx.system
        good = torch.nonzero(ctx.converged).flatten()  # NaN of others would come through as 0 * NaN
        if not len(good):
            return (None, None, None, None, None, *(torch.zeros_like(ctx.inputs.tensors[name]) for name in ctx.names))
        u, du, plain = u[good], du[good], ctx.inputs.part(good)
        z = system.adjoint(u, plain, du, ctx.rtol)
        with torch.enable_grad():
            leaves = {name: ctx.inputs.tensors[name].detach().requires_grad_() for name in ctx.names}
            inputs = replace(ctx.inputs, tensors={**ctx.inputs.tensors, **leaves}).part(good)
            g = system.conditions.values(inputs).expand_as(u)
            held = u + (g - g.detach())
            work = (du.conj() * g).sum() - (z.conj() * system.residual(held, inputs)).sum()
            gradients = torch.autograd.grad(work.real, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return (None, None, None, None, None, *gradients)
