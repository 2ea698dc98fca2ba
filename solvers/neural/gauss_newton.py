"""Levenberg-Marquardt: damped Gauss-Newton in the parameters of a small network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from variform.errors import ComputationError

Quadratic = tuple[Tensor, Tensor]
"""The local model of a loss: gradient (P,) and positive semi-definite curvature (P, P)."""


def minimise(
    models: Sequence[Callable[[Tensor], Quadratic]],
    loss: Callable[[Tensor], float],
    theta: Tensor,
    *,
    max_steps: int,
    rtol: float,
    patience: int = 10,
    progress: Callable[[float, str], None] = lambda fraction, text: None,
) -> tuple[Tensor, list[tuple[int, float]]]:
    """Minimise a loss by steps -(H + damping I)^-1 g; the damping falls after a good step and grows after a bad one.

    Stops after `max_steps`, when `patience` steps together lower the loss by less than a part rtol, or when no model
    in turn gives a step that lowers it.

    Args:
        models: gradients and curvatures of the loss, or of samples of it, taken in turn.
        loss: what every step must lower.

    Returns:
        The last parameters and the loss after each step.

    Raises:
        ComputationError: the loss is not finite at the start.

    Source: Marquardt, SIAM J. Appl. Math. 11 (1963), 431; with the energy's Hessian as curvature it is the energy
    natural gradient of Mueller and Zeinhofer, ICML 2023.
    """
    value = loss(theta)
    if not math.isfinite(value):
        raise ComputationError("the loss is not finite at the initial parameters")
    history, damping, stuck = [(0, value)], None, 0
    for step, model in zip(range(1, max_steps + 1), itertools.cycle(models), strict=False):
        gradient, curvature = model(theta)
        largest = float(curvature.diagonal().max())
        damping = 1e-3 * float(curvature.diagonal().mean()) if damping is None else min(damping, largest)
        while damping < 1e6 * largest:
            candidate = theta - _solve(curvature, damping, gradient)
            lower = loss(candidate)
            if lower < value:
                theta, value, stuck = candidate, lower, 0
                break
            damping *= 4
        else:
            stuck += 1
        damping = max(damping / 3, 1e-12 * largest)
        history.append((step, value))
        progress(step / max_steps, f"step {step}, loss {value:.3e}")
        small = len(history) > patience and history[-1 - patience][1] - value < rtol * abs(value)
        if small or stuck == len(models):
            break
    return theta, history


def _solve(curvature: Tensor, damping: float, gradient: Tensor) -> Tensor:
    """(H + damping I)^-1 g, more damping where rounding has made H indefinite."""
    identity = torch.eye(len(gradient), dtype=gradient.dtype, device=gradient.device)
    while True:
        factor, info = torch.linalg.cholesky_ex(curvature + damping * identity)
        if not info:
            return torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        damping *= 10
