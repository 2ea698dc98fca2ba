"""Functions of tensors compiled: traced once into a flat graph, derivatives and all, then made into C++."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from variform.forms.weak import WeakForm

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any], *examples: Tensor) -> Callable[..., Any]:
    """The function, compiled for tensors of the shapes and dtypes of the examples; worth it for hundreds of calls.

    The function may take derivatives inside (`torch.autograd.grad`), must not branch on values, and returns detached
    tensors. Compiling takes seconds to a minute. Without a C++ compiler it comes back as it is, with a warning in the
    log.
    """
    compiler = os.environ.get("CXX", "g++")  # what torch itself looks for
    if shutil.which(compiler) is None:
        logger.warning("no C++ compiler (%s): the function runs as it is, about two times slower", compiler)
        return function
    import torch._inductor.exc  # loading torch's compiler takes seconds
    from torch.fx.experimental.proxy_tensor import make_fx

    # torch.compile cannot trace UFL, nor derivatives taken inside: make_fx runs both.
    flat = torch.compile(make_fx(function)(*examples), fullgraph=True, dynamic=False)
    try:
        flat(*examples)
    except torch._inductor.exc.InductorError as error:
        logger.warning("torch's compiler failed (%s): the function runs as it is", str(error).splitlines()[0])
        return function
    return flat


class Compiled:
    """A function of tensors to a tuple of tensors, compiled once for each set of shapes, differentiable any number of
    times: derivatives are compiled when they are first asked for.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self._kernels: dict[Any, Callable[..., tuple[Tensor, ...]]] = {}
        self._pullbacks: dict[tuple[bool, ...], Compiled] = {}

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
            return _Call.apply(self, *tensors)
        key = tuple((t.shape, t.dtype, t.device) for t in tensors)
        plain = [t.detach() for t in tensors]
        if key not in self._kernels:
            self._kernels[key] = compiled(self.function, *plain)
        with torch.no_grad():
            return tuple(self._kernels[key](*plain))

    def pullback(self, needed: tuple[bool, ...]) -> Compiled:
        """(tensors, cotangents of the results) to the cotangents of the needed tensors."""
        if needed not in self._pullbacks:
            count = len(needed)

            def function(*tensors: Tensor) -> tuple[Tensor, ...]:
                given, cotangents = tensors[:count], tensors[count:]

                def of_needed(*some: Tensor) -> tuple[Tensor, ...]:
                    rest = iter(some)
                    return self.function(*(next(rest) if n else t for n, t in zip(needed, given, strict=True)))

                _, back = torch.func.vjp(of_needed, *(t for n, t in zip(needed, given, strict=True) if n))
                return back(tuple(cotangents))

            self._pullbacks[needed] = Compiled(function)
        return self._pullbacks[needed]


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Compiled, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        found = iter(ctx.function.pullback(needed)(*ctx.saved_tensors, *(c.contiguous() for c in cotangents)))
        return (None, *(next(found) if n else None for n in needed))


class CompiledForm:
    """Residual and energy of a weak form as compiled kernels; arguments and results are those of the form's own.

    The first call with given shapes takes seconds. Gradients of any order work; `torch.func` does not: use the form.
    """

    def __init__(self, weak: WeakForm) -> None:
        self.weak = weak
        self._known: dict[Any, Compiled] = {}

    def residual(self, u: Mapping[str, Tensor], **arguments: Any) -> dict[str, Tensor]:
        """As `WeakForm.residual`."""
        return dict(zip(self.weak.shapes, self._call("residual", u, arguments), strict=True))

    def energy(self, u: Mapping[str, Tensor], **arguments: Any) -> Tensor:
        """As `WeakForm.energy`."""
        return self._call("energy", u, arguments)[0]

    def _call(self, name: str, u: Mapping[str, Tensor], arguments: dict[str, Any]) -> tuple[Tensor, ...]:
        from torch.utils import _pytree  # what torch.compile itself flattens arguments with

        p = {k: self._value(k, v) for k, v in (arguments.pop("p", None) or {}).items()}
        # Numbers become tensors, so that another number is not another kernel.
        t = torch.as_tensor(arguments.pop("t", 0.0), dtype=self.weak.real, device=self.weak.device)
        tensors, layout = _pytree.tree_flatten((dict(u), {"p": p, "t": t, **arguments}))
        if (name, layout) not in self._known:

            def function(*flat: Tensor) -> tuple[Tensor, ...]:
                u, arguments = _pytree.tree_unflatten(list(flat), layout)
                result = getattr(self.weak, name)(u, **arguments)
                return tuple(result.values()) if isinstance(result, dict) else (result,)

            self._known[name, layout] = Compiled(function)
        return self._known[name, layout](*tensors)

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {region: self._value(name, v) for region, v in value.items()}
        if name in self.weak.parameter_spaces and not isinstance(value, Tensor):
            return self.weak.parameter_dofs(name, value)
        return (
            torch.as_tensor(value, device=self.weak.device)
            if isinstance(value, Tensor)
            else torch.as_tensor(value, dtype=self.weak.real, device=self.weak.device)
        )
