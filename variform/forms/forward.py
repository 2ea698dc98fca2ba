"""Derivatives of any torch function by nested forward mode: no rules, no reverse passes.

Univariate Taylor coefficients along directions (`torch.func.jvp`, nested), and mixed derivatives from them by
polarisation. The rules of `jets` are faster where there are rules.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from variform.errors import InputError
from variform.forms.jets import Jets, Key, Laplacian

Vector = tuple[int, ...]
"""A direction of differentiation, by its components, which are whole."""


def forward_jet(function: Callable[[Tensor], Tensor], z: Tensor, keys: Iterable[Key]) -> Jets:
    """Derivatives of a function or module that acts point by point; its parameters keep their gradients.

    Args:
        function: (d, n) to (..., n).
        z: points, shape (d, n).

    Raises:
        InputError: an operation of the function has no forward mode.
    """
    terms = {key: polarised(key, len(z)) for key in keys}
    orders: dict[Vector, int] = {}
    for vector, order in itertools.chain.from_iterable(terms.values()):
        orders[vector] = max(order, orders.get(vector, 0))
    along = {vector: derivatives_along(function, z, vector, order) for vector, order in orders.items()}
    return {key: sum(c * along[vector][order] for (vector, order), c in terms[key].items()) for key in terms}


def derivatives_along(function: Callable[[Tensor], Tensor], z: Tensor, vector: Vector, order: int) -> list[Tensor]:
    """The derivatives d^k/dt^k f(z + t v) at t = 0, k = 0, ..., order.

    Raises:
        InputError: an operation of the function has no forward mode.
    """
    v = torch.tensor(vector, dtype=z.dtype, device=z.device).reshape(-1, *[1] * (z.dim() - 1))
    one = z.new_ones(())

    def lifted(k: int) -> Callable[[Tensor], tuple[Tensor, ...]]:
        if k == 0:
            return lambda t: (function(z + t * v),)

        def extended(t: Tensor) -> tuple[Tensor, ...]:
            values, tangents = torch.func.jvp(lifted(k - 1), (t,), (one,))
            return (*values, tangents[-1])

        return extended

    # The fused kernels of attention have no forward mode; those written out in matrix products do.
    with sdpa_kernel(SDPBackend.MATH), _LayerNormWrittenOut(), _naming_the_operation():
        return list(lifted(order)(torch.zeros_like(one)))


def polarised(key: Key, dim: int) -> dict[tuple[Vector, int], float]:
    """A partial derivative as a sum of c * (derivative of this order along this vector).

    With k_i derivatives along axis i, k in all: k! u_key = sum over 0 <= c_i <= k_i of
    (-1)^(k - |c|) prod_i binomial(k_i, c_i) * (d/dt)^k u(z + t c). For u_xy: half of (u_(x+y)(x+y) - u_xx - u_yy).
    """
    if isinstance(key, Laplacian):
        return {(_unit(i, dim), 2): 1.0 for i in range(key.dim)}
    if not key:
        return {(_unit(0, dim), 0): 1.0}
    k, times = len(key), Counter(key)
    result: dict[Vector, Fraction] = {}
    for counts in itertools.product(*(range(times[i] + 1) for i in range(dim))):
        divisor = math.gcd(*counts)
        if divisor:
            vector = tuple(c // divisor for c in counts)
            binomials = math.prod(math.comb(times[i], c) for i, c in enumerate(counts))
            weight = Fraction((-1) ** (k - sum(counts)) * binomials * divisor**k, math.factorial(k))
            result[vector] = result.get(vector, Fraction(0)) + weight
    return {(vector, k): float(weight) for vector, weight in result.items() if weight}


class _LayerNormWrittenOut(TorchFunctionMode):
    """torch's own layer_norm gives wrong second derivatives in nested forward mode, silently (2.15):
    the mean and deviation that it keeps are taken as constants there.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.nn.functional.layer_norm, torch.layer_norm):
            return _layer_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    y = centred * torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _unit(i: int, dim: int) -> Vector:
    return tuple(int(i == j) for j in range(dim))


@contextlib.contextmanager
def _naming_the_operation() -> Iterator[None]:
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        found = re.search(r"forward AD with (\S+)|derivative for (\S+) is not implemented", str(error))
        # A function of autograd's own kind is named by no message.
        custom = "jvp" in str(error) and "autograd.Function" in str(error)
        if not (found or custom):
            raise
        name = next(filter(None, found.groups())) if found else "a torch.autograd.Function without jvp"
        raise InputError(
            f"the network's operation {name} has no forward derivative: write it with operations that have one"
        ) from error
