"""A multilayer perceptron that carries its derivatives forward (Taylor mode) through linear and tanh layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from variform.forms.pointwise import Directions

Jets = dict[Directions, Tensor]
Tape = list[tuple[Jets, Jets]]


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
        """Glorot-normal weights, small random biases, no bias at the output."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for i, o in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            scale = (2.0 / (i + o)) ** 0.5
            parts.append(torch.randn(i * o, generator=generator, dtype=dtype) * scale)
            parts.append(torch.rand(o, generator=generator, dtype=dtype) * 2 - 1)
        parts[-1] = torch.zeros_like(parts[-1])
        return torch.cat(parts)

    def jet(self, theta: Tensor, inputs: Jets, tape: Tape | None = None) -> Jets:
        """Outputs (out, n) and their derivatives at n points, from those of the inputs (in, n).

        tanh' = 1 - tanh^2; (tanh a)_jk = tanh'(a) a_jk + tanh''(a) a_j a_k.

        Args:
            tape: takes, layer by layer, what goes into it and what its matrix makes of that: see `jacobian`.
        """
        h, start = inputs, 0
        for layer, (i, o) in enumerate(zip(self.sizes[:-1], self.sizes[1:], strict=True)):
            weight = theta[start : start + i * o].view(o, i)
            bias = theta[start + i * o : start + (i + 1) * o, None]
            start += (i + 1) * o
            linear = {axes: weight @ value if axes else weight @ value + bias for axes, value in h.items()}
            if tape is not None:
                tape.append((h, linear))
            h = _tanh(linear) if layer < len(self.sizes) - 2 else linear
        return h


def jacobian(rows: Tensor, tape: Tape) -> Tensor:
    """d rows / d theta at every point by itself, for rows (r, n) that were computed from one taped `MLP.jet`.

    Points do not depend on each other: one backward pass a row gives its gradient in what each layer's matrix made,
    at all points; the gradient in the matrix is the outer product with what went in.

    Returns:
        Shape (r, n, P).
    """
    made = [value for _, linear in tape for value in linear.values()]
    result = []
    for row in rows:
        if not row.requires_grad:  # a condition that holds whatever the network is, such as no flux of a pressure
            size = sum(len(linear[()]) * (len(inputs[()]) + 1) for inputs, linear in tape)
            result.append(row.new_zeros(len(row), size))
            continue
        gradients = iter(torch.autograd.grad(row.sum(), made, retain_graph=True, materialize_grads=True))
        parts = []
        for inputs, linear in tape:
            by_axes = {axes: next(gradients) for axes in linear}
            weight = sum(torch.einsum("on,in->noi", g, inputs[axes].detach()) for axes, g in by_axes.items())
            parts += [weight.flatten(1), by_axes[()].T]
        result.append(torch.cat(parts, dim=1))
    return torch.stack(result)


def _tanh(a: Jets) -> Jets:
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
