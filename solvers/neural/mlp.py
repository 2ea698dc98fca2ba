"""A multilayer perceptron that carries its derivatives forward (Taylor mode) through linear and tanh layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from variform.forms.pointwise import Directions


@dataclass(frozen=True)
class MLP:
    """tanh network; its parameters are one flat vector, so that Gauss-Newton can treat them as coordinates.

    Args:
        sizes: input, hidden and output widths.
    """

    sizes: tuple[int, ...]

    @property
    def num_parameters(self) -> int:
        return sum((i + 1) * o for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True))

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Glorot-normal weights, small random biases; the last layer starts at zero times a tenth of its scale."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            scale = (2.0 / (i + o)) ** 0.5
            parts.append(torch.randn(i * o, generator=generator, dtype=dtype) * scale)
            parts.append(torch.rand(o, generator=generator, dtype=dtype) * 2 - 1)
        parts[-1] = torch.zeros_like(parts[-1])
        return torch.cat(parts)

    def jet(self, theta: Tensor, inputs: dict[Directions, Tensor]) -> dict[Directions, Tensor]:
        """Outputs (out,) and their derivatives at one point, from those of the inputs (in,).

        tanh' = 1 - tanh^2; (tanh a)_jk = tanh'(a) a_jk + tanh''(a) a_j a_k.
        """
        h, start = inputs, 0
        for layer, (i, o) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            weight = theta[start : start + i * o].view(o, i)
            bias = theta[start + i * o : start + (i + 1) * o]
            start += (i + 1) * o
            h = {axes: weight @ value if axes else weight @ value + bias for axes, value in h.items()}
            if layer < len(self.sizes) - 2:
                h = _tanh(h)
        return h


def _tanh(a: dict[Directions, Tensor]) -> dict[Directions, Tensor]:
    y = torch.tanh(a[()])
    slope = 1 - y * y
    curvature = -2 * y * slope
    result = {(): y}
    for axes, value in a.items():
        if len(axes) == 1:
            result[axes] = slope * value
        elif len(axes) == 2:
            j, k = axes
            result[axes] = slope * value + curvature * a[(j,)] * a[(k,)]
    return result
