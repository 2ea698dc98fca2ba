"""Networks that carry their derivatives forward by rules, and their Jacobians at every point."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from variform.errors import unknown
from variform.forms.elementwise import ACTIVATIONS, bspline, chebyshev, silu, tanh
from variform.forms.jets import Jets, affine, compose

Tape = list[tuple[Jets, Jets, bool]]
"""Layer by layer: what goes into the matrix, what it makes of that, and whether a bias is added."""


@dataclass(frozen=True)
class Network(ABC):
    """Matrices with elementwise functions ahead of them; one flat vector of parameters, so that Gauss-Newton can treat
    them as coordinates.

    Args:
        sizes: input, hidden and output widths.
    """

    sizes: tuple[int, ...]

    @property
    @abstractmethod
    def matrices(self) -> list[tuple[int, int, bool]]:
        """(rows, columns, whether there is a bias) of each layer."""

    @abstractmethod
    def expand(self, layer: int, h: Jets) -> Jets:
        """What the layer's matrix takes, (columns, n), from the layer's inputs."""

    @abstractmethod
    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Random parameters to begin training with, shape (P,)."""

    @property
    def num_parameters(self) -> int:
        return sum(rows * (columns + bias) for rows, columns, bias in self.matrices)

    def jet(self, theta: Tensor, inputs: Jets, tape: Tape | None = None) -> Jets:
        """Outputs (out, n) and their derivatives at n points, from those of the inputs (in, n).

        Args:
            theta: parameters, shape (P,).
            inputs: with keys as `closure` makes them.
            tape: takes what `jacobian` needs.
        """
        h, start = inputs, 0
        for layer, (rows, columns, biased) in enumerate(self.matrices):
            weight = theta[start : start + rows * columns].view(rows, columns)
            start += rows * columns
            bias = theta[start : start + rows] if biased else None
            start += rows * biased
            expanded = self.expand(layer, h)
            h = affine(weight, bias, expanded)
            if tape is not None:  # one row of the Jacobian for each point
                n = expanded[()].shape[-1]
                h = {key: value.expand(-1, n) for key, value in h.items()}
                tape.append((expanded, h, biased))
        return h


@dataclass(frozen=True)
class MLP(Network):
    """A multilayer perceptron.

    Args:
        sizes: input, hidden and output widths.
        activation: a name of `ACTIVATIONS`, between the layers.

    Raises:
        InputError: no such activation.
    """

    activation: str = "tanh"

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)

    @property
    def matrices(self) -> list[tuple[int, int, bool]]:
        return [(o, i, True) for i, o in itertools.pairwise(self.sizes)]

    def expand(self, layer: int, h: Jets) -> Jets:
        return compose(ACTIVATIONS[self.activation], h) if layer else h

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Glorot-normal weights, small random biases, no bias at the output."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for i, o in itertools.pairwise(self.sizes):
            scale = (2.0 / (i + o)) ** 0.5
            parts.append(torch.randn(i * o, generator=generator, dtype=dtype) * scale)
            parts.append(torch.rand(o, generator=generator, dtype=dtype) * 2 - 1)
        parts[-1] = torch.zeros_like(parts[-1])
        return torch.cat(parts)


@dataclass(frozen=True)
class KAN(Network):
    """A Kolmogorov-Arnold network: out_j = sum_i (w_ji silu(h_i) + sum_m c_jim B_m(h_i)), B-splines on [-1, 1].

    The paper's further factor of the spline is left in c: intervals + degree + 1 parameters an edge.

    Source: Liu et al., KAN: Kolmogorov-Arnold networks, arXiv:2404.19756, section 2.
    """

    intervals: int = 5
    degree: int = 3

    @property
    def matrices(self) -> list[tuple[int, int, bool]]:
        return [(o, i * (self.intervals + self.degree + 1), False) for i, o in itertools.pairwise(self.sizes)]

    def expand(self, layer: int, h: Jets) -> Jets:
        base, splines = compose(silu, h), _flat(compose(bspline(self.intervals, self.degree), h))
        return {key: torch.cat([base[key], splines[key]]) for key in h}

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Glorot-normal base, splines of noise 0.1 / intervals."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for i, o in itertools.pairwise(self.sizes):
            base = torch.randn(o, i, generator=generator, dtype=dtype) * (2.0 / (i + o)) ** 0.5
            count = i * (self.intervals + self.degree)
            noise = torch.randn(o, count, generator=generator, dtype=dtype) * 0.1 / self.intervals
            parts.append(torch.cat([base, noise], dim=1).reshape(-1))
        return torch.cat(parts)


@dataclass(frozen=True)
class ChebyshevKAN(Network):
    """A Kolmogorov-Arnold network of polynomials: out_j = sum_i sum_(m <= degree) c_jim T_m(tanh h_i).

    Source: Sidharth and Gokul, Chebyshev polynomial-based Kolmogorov-Arnold networks, arXiv:2405.07200.
    """

    degree: int = 4

    @property
    def matrices(self) -> list[tuple[int, int, bool]]:
        return [(o, i * (self.degree + 1), False) for i, o in itertools.pairwise(self.sizes)]

    def expand(self, layer: int, h: Jets) -> Jets:
        return _flat(compose(chebyshev(self.degree), compose(tanh, h)))

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Normal, of variance 1 / columns."""
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([torch.randn(o * c, generator=generator, dtype=dtype) / c**0.5 for o, c, _ in self.matrices])


NETWORKS: dict[str, Callable[[tuple[int, ...]], Network]] = {"mlp": MLP, "kan": KAN, "chebyshev": ChebyshevKAN}
"""By name: widths -> network."""


def network_of(name: str, sizes: tuple[int, ...]) -> Network:
    """The network of this name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    return NETWORKS[name](sizes)


def jacobian(rows: Tensor, tape: Tape) -> Tensor:
    """d rows / d theta at every point by itself, for rows (r, n) that were computed from one taped `Network.jet`.

    Points do not depend on each other: one backward pass a row gives its gradient in what each layer's matrix made,
    at all points; the gradient in the matrix is the outer product with what went in.

    Returns:
        Shape (r, n, P).
    """
    made = [value for _, linear, _ in tape for value in linear.values()]
    result = []
    for row in rows:
        if not row.requires_grad:  # a condition that holds whatever the network is, such as no flux of a pressure
            size = sum(len(linear[()]) * (len(inputs[()]) + biased) for inputs, linear, biased in tape)
            result.append(row.new_zeros(len(row), size))
            continue
        gradients = iter(torch.autograd.grad(row.sum(), made, retain_graph=True, materialize_grads=True))
        parts = []
        for inputs, linear, biased in tape:
            by_key = {key: next(gradients) for key in linear}
            weight = sum(torch.einsum("on,in->noi", g, inputs[key].detach()) for key, g in by_key.items())
            parts += [weight.flatten(1), *([by_key[()].T] if biased else [])]
        result.append(torch.cat(parts, dim=1))
    return torch.stack(result)


def _flat(a: Jets) -> Jets:
    """The axis of a basis and that of its arguments as one."""
    return {key: value.flatten(0, -2) for key, value in a.items()}
