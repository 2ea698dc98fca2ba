"""Derivatives in the coordinates, only those that are asked for."""

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


def jet_of(
    function: Callable[[Tensor], Tensor], z: Tensor, directions: Iterable[Directions]
) -> dict[Directions, Tensor]:
    """Derivatives of a function that acts point by point, (d, n) to (n,), at points that stay as they are.

    Reverse mode: this is done once, and the first call of torch's forward mode loads its compiler for seconds.
    """
    z = z.detach().requires_grad_()
    known: dict[Directions, Tensor] = {(): function(z)}

    def derivative(axes: Directions) -> Tensor:
        if axes not in known:
            lower = derivative(axes[:-1])
            if not lower.requires_grad:
                return torch.zeros_like(z[0])
            (gradient,) = torch.autograd.grad(lower.sum(), z, create_graph=True, materialize_grads=True)
            known.update({(*axes[:-1], i): row for i, row in enumerate(gradient)})
        return known[axes]

    return {axes: derivative(axes).detach() for axes in directions}


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
