"""Derivatives in the coordinates: forward mode, only those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from variform.forms.pointwise import Directions


def closure(directions: Iterable[Directions]) -> list[Directions]:
    """The directions with every lower derivative that product and chain rule need, sorted by order."""
    needed: set[Directions] = {()}
    for derivative in directions:
        for i in range(1 << len(derivative)):
            needed.add(tuple(d for k, d in enumerate(derivative) if i >> k & 1))
    if any(len(d) > 2 for d in needed):
        raise ValueError("derivatives above the second are not propagated")
    return sorted(needed, key=lambda d: (len(d), d))


def jet_of(function: Callable[[Tensor], Tensor], z: Tensor, directions: Iterable[Directions]) -> dict[Directions, Tensor]:
    """Derivatives of a function that acts point by point: (d, n) to (n,), by nested forward mode."""

    def along(f: Callable[[Tensor], Tensor], axis: int) -> Callable[[Tensor], Tensor]:
        def derivative(point: Tensor) -> Tensor:
            tangent = torch.zeros_like(point)
            tangent[axis] = 1.0
            return torch.func.jvp(f, (point,), (tangent,))[1]

        return derivative

    result = {}
    for axes in directions:
        f = function
        for axis in axes:
            f = along(f, axis)
        result[axes] = f(z).detach()
    return result


def product(a: dict[Directions, Tensor], b: dict[Directions, Tensor]) -> dict[Directions, Tensor]:
    """The jet of a b by Leibniz's rule, for derivatives up to the second."""
    result = {}
    for axes in b:
        total = a[()] * b[axes] + (a[axes] * b[()] if axes else 0.0)
        if len(axes) == 2:
            j, k = axes
            total = total + a[(j,)] * b[(k,)] + a[(k,)] * b[(j,)]
        result[axes] = total
    return result
