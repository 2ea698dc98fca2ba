"""Batches as large as memory allows."""

from __future__ import annotations

from collections.abc import Callable

import torch

from variform.errors import ComputationError


def in_halves[T](function: Callable[[slice], T], samples: slice) -> list[T]:
    """The function of all samples, of their halves if memory runs out, of quarters, ..: the parts in order.

    Raises:
        ComputationError: one sample alone does not fit.
    """
    try:
        return [function(samples)]
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        if samples.stop - samples.start <= 1:
            raise ComputationError(f"out of memory for a single sample: take a coarser mesh ({error})") from None
    # outside of the handler, whose traceback keeps the tensors of the failed attempt alive
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (samples.start + samples.stop) // 2
    halves = slice(samples.start, middle), slice(middle, samples.stop)
    return [part for half in halves for part in in_halves(function, half)]


def _is_out_of_memory(error: BaseException) -> bool:
    """torch's CPU allocator raises a bare RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
