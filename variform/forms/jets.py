"""Jets: a function's value at each point with its derivatives in the coordinates, carried forward by rules.

A jet is a dict from key to tensor. A key is a sorted tuple of axes ((0, 0, 1) is u_xxy, () the value) or the
`Laplacian`, a sum of second derivatives that is carried as one. Tensors end in the axis of the points; where nothing
depends on the point that axis may have length one.

Source: Griewank and Walther, Evaluating Derivatives, ch. 13; Li et al., Nature Machine Intelligence 6 (2024), 209 (the
forward Laplacian).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from variform.forms.pointwise import Directions


@dataclass(frozen=True)
class Laplacian:
    """The sum of the second derivatives along the first dim axes."""

    dim: int


Key = Directions | Laplacian
Jets = dict[Key, Tensor]
Elementwise = Callable[[Tensor, int], list[Tensor]]
"""(a, order) -> f(a), f'(a), ..., of that order; f may put axes ahead of those of a."""


def order_of(keys: Iterable[Key]) -> int:
    """The highest order of the derivatives."""
    return max((2 if isinstance(key, Laplacian) else len(key) for key in keys), default=0)


def closure(keys: Iterable[Key]) -> list[Key]:
    """The keys with every lower derivative that product and chain rule need, sorted by order; a Laplacian is last."""
    needed = {(), *(block for key in keys for blocks in partitions(key) for block in blocks)}
    return sorted(needed, key=lambda k: (1,) if isinstance(k, Laplacian) else (0, len(k), k))


@cache
def partitions(key: Key) -> dict[tuple[Key, ...], int]:
    """The terms of the chain rule: D f(a) = sum of times * f^(number of blocks)(a) * product of D_block a."""
    if isinstance(key, Laplacian):
        return {(key,): 1} | {((i,), (i,)): 1 for i in range(key.dim)}
    return Counter(tuple(sorted(blocks)) for blocks in _set_partitions(key)) if key else {((),): 1}


@cache
def splits(key: Key) -> dict[tuple[Key, Key], int]:
    """The terms of Leibniz's rule: D(ab) = sum over pairs of times * D_first a * D_second b."""
    if isinstance(key, Laplacian):
        return {((), key): 1, (key, ()): 1} | {((i,), (i,)): 2 for i in range(key.dim)}
    k = range(len(key))
    masks = range(1 << len(key))
    return Counter(
        (tuple(key[i] for i in k if mask >> i & 1), tuple(key[i] for i in k if not mask >> i & 1)) for mask in masks
    )


def _set_partitions(items: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for blocks in _set_partitions(rest):
        yield ((first,), *blocks)
        for i, block in enumerate(blocks):
            yield (*blocks[:i], (first, *block), *blocks[i + 1 :])


def affine(weight: Tensor, bias: Tensor | None, a: Jets) -> Jets:
    """weight (o, i) times each derivative (i, n); the bias (o,) is the value's alone."""
    result = {key: weight @ value for key, value in a.items()}
    if bias is not None:
        result[()] = result[()] + bias[:, None]
    return result


def compose(function: Elementwise, a: Jets) -> Jets:
    """The jet of f(a) for an f that acts on each element, by Faa di Bruno's rule; keys as `closure` makes them."""
    f = function(a[()], order_of(a))
    return {key: f[0] if key == () else _sum(_chain_terms(key, f, a)) for key in a}


def _chain_terms(key: Key, f: list[Tensor], a: Jets) -> Iterator[Tensor]:
    """Terms with as many blocks share their derivative of f, so that it is multiplied once."""
    by_number: dict[int, list[Tensor]] = {}
    for blocks, times in partitions(key).items():
        factors = math.prod((a[block] for block in blocks[1:]), start=a[blocks[0]])
        by_number.setdefault(len(blocks), []).append(_scaled(factors, times))
    for number, terms in by_number.items():
        yield f[number] * _sum(terms)


def product(a: Jets, b: Jets) -> Jets:
    """The jet of a b by Leibniz's rule, for the keys of b; a must have them too."""
    return {
        key: _sum(_scaled(a[first] * b[second], times) for (first, second), times in splits(key).items()) for key in b
    }


def add(a: Jets, b: Jets) -> Jets:
    """The jet of a + b."""
    return {key: a[key] + b[key] for key in b}


def _scaled(a: Tensor, times: int) -> Tensor:
    return a if times == 1 else times * a


def _sum(terms: Iterable[Tensor]) -> Tensor:
    first, *rest = terms
    return sum(rest, start=first)


def coordinates(z: Tensor, keys: Iterable[Key]) -> Jets:
    """The jet of the coordinates z (d, n) themselves: ones and zeros that do not depend on the point."""
    unit = torch.eye(len(z), dtype=z.dtype, device=z.device)
    zero = z.new_zeros(len(z), 1)
    return {
        key: z if key == () else unit[:, key[0] : key[0] + 1] if order_of([key]) == 1 else zero for key in closure(keys)
    }


def jet_of(function: Callable[[Tensor], Tensor], z: Tensor, keys: Iterable[Key]) -> Jets:
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

    def value(key: Key) -> Tensor:
        if isinstance(key, Laplacian):
            return _sum(derivative((i, i)) for i in range(key.dim))
        return derivative(key)

    return {key: value(key).detach() for key in keys}
