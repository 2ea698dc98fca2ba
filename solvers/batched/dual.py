"""How far dofs are from a solution: the dual norm of the residual, sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor
from ufl import div, grad, inner

from variform.forms.weak import WeakForm
from variform.problem import Mean, Problem, Symbols
from variform.solvers.batched.direct import inverse
from variform.solvers.batched.inputs import Inputs
from variform.solvers.batched.operator import Operator
from variform.solvers.batched.solver import BatchedSolver
from variform.solvers.batched.system import System


class DualNorm:
    """|r|_* = sup r(v) / |v| over the test functions, the square root of r^T A0^-1 r with A0 the inner product.

    A0 is, field by field: (grad u, grad v) + (u, v) / L^2 of Lagrange elements, L the size of the domain; the same of
    fourth-order forms, which is a weaker norm than theirs; (u, v) + L^2 (div u, div v) of RT and BDM; (u, v) of others.

    Args:
        solver: of a stationary problem.

    Source: Ern and Guermond, Finite Elements II, section 26; the Riesz map as in Mardal and Winther 2011.
    """

    def __init__(self, solver: BatchedSolver) -> None:
        self.solver, self.weak, self.system = solver, solver.weak, solver.system

    def of(self, u: Mapping[str, Tensor], p: Mapping[str, Any] | None = None, *, assembled: bool = False) -> Tensor:
        """Relative to the residual of the zero function that has the prescribed values, shape (B,).

        Prescribed values count too: the larger of this norm and of their relative error is given.

        Args:
            u: dofs by field, (B, *shape).
            p: parameters, as `BatchedSolver.solve` takes them.
            assembled: residuals of linear forms by the matrices that solves are made with: twenty times quicker, but
                blind to a mistake in these. Otherwise by the form, without any matrix.
        """
        inputs = Inputs.of(self.weak, p)
        x, conditions = self.weak.pack(u), self.system.conditions
        g = conditions.values(inputs)
        nothing = torch.zeros(len(x), conditions.size, dtype=x.dtype, device=x.device)
        start = conditions.expand(nothing, g).expand_as(x)
        if assembled and self.weak.linearised.constant:
            residuals = map(self.system.conditions.restrict, self.system.assembled_residuals([x, start], inputs))
        else:
            residuals = (self._residual(at, inputs) for at in (x, start))
        norm, first = map(self._norm, residuals)
        relative = torch.where(first > 0, norm / first, norm)
        return torch.maximum(relative, self._boundary(x, g))

    def absolute(self, u: Mapping[str, Tensor], p: Mapping[str, Any] | None = None) -> Tensor:
        """|r|_*, shape (B,)."""
        return self._norm(self._residual(self.weak.pack(u), Inputs.of(self.weak, p)))

    def _residual(self, x: Tensor, inputs: Inputs) -> Tensor:
        """Free rows; where the mean is prescribed, constants are no test functions, and the pinned row is one more."""
        return self.system.conditions.restrict(self.system.residual(x, inputs))

    def _norm(self, r: Tensor) -> Tensor:
        if not r.shape[-1]:
            return torch.zeros(len(r), dtype=torch.float64)
        rows = (r[:1] if (r == r[0]).all() else r).detach().cpu().numpy()  # often all samples have one load
        representatives = self._inverse(rows.T).T
        squares = np.einsum("bn,bn->b", rows.conj(), representatives).real
        return torch.as_tensor(np.sqrt(np.maximum(squares, 0.0)), device=r.device).expand(len(r))

    def _boundary(self, x: Tensor, g: Tensor) -> Tensor:
        """Largest error of prescribed values over the largest of them, or of the solution."""
        held = torch.as_tensor(self.system.conditions.number < 0, device=x.device).clone()
        held[list(self.system.conditions.pins.values())] = False
        if not held.any():
            return torch.zeros(len(x), dtype=torch.float64, device=x.device)
        error = (x - g)[:, held].abs().amax(dim=1)
        return error / torch.clamp(x.abs().amax(dim=1), min=torch.finfo(torch.float64).tiny)

    @cached_property
    def inner(self) -> Operator:
        """A0 on the free unknowns."""
        riesz = _Riesz(self.weak.problem, float(np.ptp(self.weak.mesh.points, axis=0).max()))
        degree = max(self.weak.degrees.values()) or None
        weak = WeakForm(riesz, self.weak.mesh, degree=degree, dtype=self.weak.dtype)
        zeros = torch.zeros(1, weak.linearised.size, dtype=weak.dtype)
        return System(weak).operator(zeros, Inputs.of(weak, None))

    @cached_property
    def _inverse(self) -> Callable[[np.ndarray], np.ndarray]:
        """A0^-1, factorised once."""
        return inverse(self.inner)


class _Riesz(Problem):
    """The inner product of the spaces of a problem, on its mesh, under its conditions."""

    def __init__(self, problem: Problem, size: float) -> None:
        self.fields, self.size = problem.fields, size
        self.conditions = [c for c in problem.conditions if not isinstance(c, Mean)] + problem.conditions_of(Mean)
        self.parameters, self._values = problem.parameters, problem.values
        super().__init__(**problem.values)

    def residual(self, s: Symbols, v: dict[str, Any]) -> ufl.Form:
        return sum((self._inner(name, s.u[name], v[name]) for name in self.fields), 0) * s.dx

    def _inner(self, name: str, u: Any, w: Any) -> Any:
        element = self.fields[name].element
        if element == "Lagrange":
            return inner(grad(u), grad(w)) + inner(u, w) / self.size**2
        if element in ("RT", "BDM"):
            return inner(u, w) + self.size**2 * inner(div(u), div(w))
        return inner(u, w)
