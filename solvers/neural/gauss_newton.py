"""Levenberg-Marquardt: damped Gauss-Newton in the parameters of a small network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from variform.errors import ComputationError


@dataclass(frozen=True)
class Quadratic:
    """The local model of a loss: its value, gradient (P,), and positive semi-definite curvature (P, P)."""

    loss: float
    gradient: Tensor
    curvature: Tensor


def minimise(
    model: Callable[[Tensor], Quadratic],
    loss: Callable[[Tensor], float],
    theta: Tensor,
    *,
    max_steps: int,
    rtol: float = 1e-9,
    patience: int = 10,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> tuple[Tensor, list[tuple[int, float]]]:
    """Minimise a loss by steps -(H + damping I)^-1 g; the damping falls after a good step and grows after a bad one.

    Stops after `max_steps`, or when `patience` steps together lower the loss by less than a part rtol.

    Returns:
        The last parameters and the loss after each step.

    Raises:
        ComputationError: the loss is not finite at the start.

    Source: Marquardt, SIAM J. Appl. Math. 11 (1963), 431; with the energy's Hessian as curvature it is the energy
    natural gradient of Mueller and Zeinhofer, ICML 2023.
    """
    here = model(theta)
    theta = theta.detach()
    if not torch.isfinite(torch.tensor(here.loss)):
        raise ComputationError("the loss is not finite at the initial parameters")
    history = [(0, here.loss)]
    damping = 1e-3 * float(here.curvature.diagonal().mean())
    floor = 1e-12 * float(here.curvature.diagonal().max())
    for step in range(1, max_steps + 1):
        while True:
            candidate = theta - _solve(here.curvature, damping, here.gradient)
            value = loss(candidate)
            if value < here.loss:
                break
            damping *= 4
            if damping > 1e6 * float(here.curvature.diagonal().max()):
                return theta, history  # no descent at any length of step: a minimum to rounding
        theta, damping = candidate, max(damping / 3, floor)
        history.append((step, value))
        progress(step / max_steps, f"step {step}, loss {value:.3e}")
        if len(history) > patience and history[-1 - patience][1] - value < rtol * abs(value):
            break
        here = model(theta)
    return theta, history


def _solve(curvature: Tensor, damping: float, gradient: Tensor) -> Tensor:
    """(H + damping I)^-1 g, more damping where rounding has made H indefinite."""
    identity = torch.eye(len(gradient), dtype=gradient.dtype, device=gradient.device)
    while True:
        factor, info = torch.linalg.cholesky_ex(curvature + damping * identity)
        if not info:
            return torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        damping *= 10
