"""Functions of tensors compiled: traced once into a flat graph, derivatives and all, then made into C++."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from typing import Any

from torch import Tensor

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
