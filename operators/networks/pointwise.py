"""Maps of the values at one place, the same at every place: what a closure of an ODE has to be better than."""

from __future__ import annotations

import math
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from variform.operators.networks import Layout, Support, at_least
from variform.operators.networks.layers import mlp


class Polynomial(nn.Module):
    """A polynomial in the values at each place, with one set of coefficients.

    In Hermite's basis, He_n(x) / sqrt(n!), orthonormal for normal x: standardised values make the fit well conditioned.

    Args:
        degree: in all channels together.

    Source: Wilks, Q. J. R. Meteorol. Soc. 131 (2005), 389, fits such polynomials to the coupling in Lorenz's system.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid", "mesh")

    def __init__(self, layout: Layout, *, degree: int = 3) -> None:
        super().__init__()
        at_least(degree=degree)
        powers = product(range(degree + 1), repeat=layout.inputs)
        self.powers = [each for each in powers if sum(each) <= degree]
        self.degree = degree
        self.coefficients = nn.Parameter(torch.zeros(len(self.powers), layout.outputs))

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        """(B, inputs, *N) to (B, outputs, *N)."""
        hermite = [torch.ones_like(fields), fields]
        for n in range(1, self.degree):
            hermite.append(fields * hermite[n] - n * hermite[n - 1])
        scaled = [values / math.sqrt(math.factorial(n)) for n, values in enumerate(hermite)]
        terms = [math.prod(scaled[n][:, i] for i, n in enumerate(each) if n) for each in self.powers]
        ones = torch.ones_like(fields[:, 0])
        basis = torch.stack([ones * term for term in terms], dim=-1)
        return (basis @ self.coefficients.to(basis.dtype)).movedim(-1, 1)


class Pointwise(nn.Module):
    """A perceptron of the values at each place.

    Args:
        width: of the hidden layers; depth: how many.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid", "mesh")

    def __init__(self, layout: Layout, *, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        at_least(width=width, depth=depth)
        self.network = mlp(layout.inputs, *[width] * depth, layout.outputs)

    def forward(self, fields: Tensor, support: Support) -> Tensor:
        """(B, inputs, *N) to (B, outputs, *N)."""
        return self.network(fields.movedim(1, -1)).movedim(-1, 1)
