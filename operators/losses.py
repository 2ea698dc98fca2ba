"""What is minimised over data: one number an example."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor, tuple[bool, ...]], Tensor]
"""(prediction, truth, both (B, ...), periodic axes of the grid) -> (B,)."""

SMALLEST = 1e-12
"""Norms below are taken for it, so that nothing is divided by zero."""


def relative_l2(prediction: Tensor, truth: Tensor, periodic: tuple[bool, ...] = ()) -> Tensor:
    """||p - y||_2 / ||y||_2 over all values of an example."""
    error, norm = (prediction - truth).flatten(1), truth.flatten(1)
    return error.norm(dim=1) / norm.norm(dim=1).clamp_min(SMALLEST)


def mse(prediction: Tensor, truth: Tensor, periodic: tuple[bool, ...] = ()) -> Tensor:
    """Mean square."""
    return (prediction - truth).flatten(1).square().mean(dim=1)


def relative_h1(prediction: Tensor, truth: Tensor, periodic: tuple[bool, ...] = ()) -> Tensor:
    """The same norm of values and of first differences, in units of the box, together.

    Central differences on periodic axes, differences of neighbours on others. (B, .., *N), N with an axis for each
    entry of `periodic`.
    """
    error, whole = prediction - truth, truth
    squares = [part.flatten(1).square().mean(1) for part in (error, whole)]
    dim = len(periodic)
    for axis, wraps in zip(range(-dim, 0), periodic, strict=True):
        for i, part in enumerate((error, whole)):
            squares[i] = squares[i] + _slope(part, axis, wraps).flatten(1).square().mean(1)
    return (squares[0] / squares[1].clamp_min(SMALLEST**2)).sqrt()


def _slope(u: Tensor, axis: int, wraps: bool) -> Tensor:
    n = u.shape[axis]
    if wraps:
        return (torch.roll(u, -1, axis) - torch.roll(u, 1, axis)) * (n / 2)
    return torch.diff(u, dim=axis) * (n - 1)


LOSSES: dict[str, Loss] = {"relative_l2": relative_l2, "relative_h1": relative_h1, "mse": mse}
