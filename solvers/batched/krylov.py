"""Conjugate gradients for a batch of systems, each with its own convergence."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from variform.solvers.batched.layout import BatchMatrix

STEPS_UNCHECKED = 10
"""Most iterations between two looks at the true residual: a product in double precision and a wait for the device."""

NOISE = 1e-13
"""Part of r . z at which the recurrence in single precision has nothing left: the square of a few roundings."""

DROP_UNCHECKED = 1e-3
"""Part that the working precision's residual is trusted to fall to before it is computed anew."""


class Inverse(Protocol):
    """An approximate inverse, symmetric positive definite: r (n, B) to z; `select` is that of some samples."""

    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(self, r: Tensor) -> Tensor: ...

    def select(self, samples: Tensor) -> Inverse: ...


WORST_ROUNDING = 1e-6
"""Relative residual that no amount of rounding excuses: the matrix is singular for all that is known."""


def tolerance(rtol: float, rounding: Tensor) -> Tensor:
    """Relative residual at which a solution is taken: `rtol`, or its rounding where that is more."""
    return rounding.clamp(max=WORST_ROUNDING).clamp(min=rtol)


@dataclass(frozen=True)
class KrylovResult:
    """x (n, B), and for each sample |f - A x| / |f| in the 2-norm, iterations, and whether it converged."""

    x: Tensor
    relative_residual: Tensor
    iterations: Tensor
    converged: Tensor


def conjugate_gradients(
    A: BatchMatrix, inverse: Inverse, f: Tensor, x: Tensor, *, rtol: float, max_iterations: int
) -> KrylovResult:
    """Solve A_b x_b = f_b, A_b symmetric positive definite, with an approximate inverse.

    The recurrence runs in the precision of the inverse. Every few iterations its correction is added to x, and its
    residual is replaced by the true one, f - A x in the precision of A, which alone decides on convergence: so single
    precision reaches what double precision would, at half the traffic. The directions survive the replacement;
    Polak and Ribiere's formula makes up for an inverse that rounding makes a little different each time.
    A sample whose matrix is not positive definite, or holds a NaN, stops there; the others go on.

    Args:
        f, x: right-hand sides and first guesses, shape (n, B), in the precision of A.
        rtol: stop at |f - A x| <= rtol |f|, or where that residual is rounding, 2 eps |A| |x|.

    Source: Golub and Ye, SIAM J. Sci. Comput. 21 (1999) 1305, for the formula; Clark et al., Comput. Phys. Commun. 181
    (2010) 1517, section 3.1, for the replacement ("reliable updates").
    """
    now = _start(A, inverse, f, x, rtol)
    samples = torch.arange(f.shape[1], device=f.device)
    result = KrylovResult(x.clone(), *(torch.zeros_like(t) for t in (now.residual, now.iterations, now.converged)))
    iteration, rate = 0, 0.3
    active, excess = now.progress()
    while True:
        if active <= len(samples) // 2 or iteration >= max_iterations:
            now.store(result, samples)
            if active == 0 or iteration >= max_iterations:
                return result
            kept = torch.nonzero(now.active)[:, 0]
            now, samples = now.select(kept), samples[kept]
        steps = min(_steps_to_go(excess, rate), max_iterations - iteration)
        now.advance(steps)
        iteration, before = iteration + steps, excess
        active, excess = now.progress()
        rate = min(0.9, max(0.05, (excess / before) ** (1 / steps)))


def _steps_to_go(excess: float, rate: float) -> int:
    """Iterations until the residual, now `excess` times what is asked, may be small enough or not to be trusted."""
    drop = max(1 / excess, DROP_UNCHECKED)
    return min(STEPS_UNCHECKED, max(1, math.ceil(math.log(drop) / math.log(rate))))


def _start(A: BatchMatrix, inverse: Inverse, f: Tensor, x: Tensor, rtol: float) -> _Iteration:
    norm = _norm(f)
    norm = torch.where(norm > 0, norm, 1)
    working = A.to(inverse.dtype)
    r = torch.zeros_like(f, dtype=inverse.dtype)
    now = _Iteration(
        A=A,
        working=working,
        inverse=inverse,
        rtol=rtol,
        f=f,
        norm=norm,
        x=x.clone(),
        r=r,
        correction=torch.zeros_like(r),
        p=torch.zeros_like(r),
        Ap=torch.zeros_like(r),
        alpha=torch.zeros_like(r[0]),
        rz=torch.zeros_like(r[0]),
        start=torch.zeros_like(r[0]),
        rounding=2 * torch.finfo(f.dtype).eps * working.spectral_bound().to(f.dtype).expand_as(norm) / norm,
        residual=torch.zeros_like(norm),
        tolerance=torch.zeros_like(norm),
        iterations=torch.zeros_like(norm, dtype=torch.int64),
        active=torch.ones_like(norm, dtype=torch.bool),
        converged=torch.zeros_like(norm, dtype=torch.bool),
    )
    now.replace_residual()
    return now


@dataclass
class _Iteration:
    """Vectors (n, B) and numbers (B,) of the samples still carried. r, p and the correction are in units of |f|."""

    A: BatchMatrix
    working: BatchMatrix
    inverse: Inverse
    rtol: float
    f: Tensor
    norm: Tensor
    x: Tensor
    r: Tensor
    correction: Tensor
    p: Tensor
    Ap: Tensor
    alpha: Tensor
    rz: Tensor
    start: Tensor
    rounding: Tensor
    residual: Tensor
    tolerance: Tensor
    iterations: Tensor
    active: Tensor
    converged: Tensor

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            self.turn()
            self.descend()
        self.replace_residual()

    def turn(self) -> None:
        """The next direction; the first one is z itself, since p is zero."""
        z = self.inverse(self.r)
        beta = torch.where(self.rz > 0, -self.alpha * _dot(z, self.Ap) / self.rz, 0)
        self.rz = _dot(self.r, z)
        # Below rounding of what the recurrence began with there is only noise: wait for the true residual.
        self.start = torch.where(self.start > 0, self.start, self.rz)
        self.rz = torch.where(self.rz > NOISE * self.start, self.rz, 0)
        torch.addcmul(z, beta, self.p, out=self.p)

    def descend(self) -> None:
        """To the minimum along the direction. A minimum that does not exist ends the sample."""
        self.Ap = self.working @ self.p
        curvature = _dot(self.p, self.Ap)
        self.active &= curvature >= 0
        # In exact arithmetic p . r is r . z; where rounding has spoilt that, p . r still leads downhill.
        self.alpha = torch.where(self.active & (curvature > 0) & (self.rz > 0), _dot(self.p, self.r) / curvature, 0)
        self.correction.addcmul_(self.alpha, self.p)
        self.r.addcmul_(self.alpha, self.Ap, value=-1)
        self.iterations += self.active

    def replace_residual(self) -> None:
        """Add the correction to x; take the true residual; see which samples are done."""
        self.x.addcmul_(self.correction.to(self.x.dtype), self.norm)
        self.correction.zero_()
        self.start.zero_()
        r = (self.f - self.A @ self.x).div_(self.norm)
        self.r.copy_(r)
        self.residual = _norm(r)
        self.tolerance = tolerance(self.rtol, self.rounding * _norm(self.x))
        self.converged = self.residual <= self.tolerance
        self.active &= self.residual > self.tolerance  # False for a NaN too

    def progress(self) -> tuple[int, float]:
        """Samples not done, and how many times too large the worst residual among them is. Waits for the device."""
        excess = torch.where(self.active, self.residual / self.tolerance, 1).amax()
        active, excess = torch.stack([self.active.sum().to(excess.dtype), excess]).tolist()
        return int(active), excess

    def store(self, result: KrylovResult, samples: Tensor) -> None:
        result.x[:, samples] = self.x
        result.relative_residual[samples] = self.residual
        result.iterations[samples] = self.iterations
        result.converged[samples] = self.converged

    def select(self, kept: Tensor) -> _Iteration:
        parts = {}
        for name in (f.name for f in fields(self) if f.name != "rtol"):
            value = getattr(self, name)
            parts[name] = value[..., kept] if isinstance(value, Tensor) else value.select(kept)
        return replace(self, **parts)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(dim=0)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()  # several times quicker than torch's norm along the first axis
