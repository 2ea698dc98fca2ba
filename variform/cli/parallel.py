"""Under mpiexec, torchrun or srun: which rank this is, by the launcher's environment, so that one rank needs no MPI."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

RANK = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "RANK", "SLURM_PROCID")
SIZE = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")


def rank() -> int:
    return _first_of(RANK, 0)


def num_ranks() -> int:
    """Of MPI: processes that train together are not counted."""
    return _first_of(SIZE, 1)


def is_first() -> bool:
    return rank() == 0


def on_first_rank(function: Callable[[], Any]) -> Any:
    """Run on the first rank only and give everyone its result, or its error."""
    if num_ranks() == 1:
        return function()
    comm = _communicator()
    outcome: tuple[Any, BaseException | None] = (None, None)
    if is_first():
        try:
            outcome = function(), None
        except Exception as error:  # every rank must raise it: the others wait for a message
            outcome = None, error
    result, error = comm.bcast(outcome)
    if error is not None:
        raise error
    return result


def abort_all(code: int, message: str = "") -> NoReturn:
    """End every rank: one that failed alone would leave the others waiting."""
    if not is_first():
        time.sleep(1)  # where all ranks fail alike the first one speaks, and ends the job meanwhile
        print(f"variform: rank {rank()}: {message}", file=sys.stderr, flush=True)
    _communicator().Abort(code)
    raise SystemExit(code)


def _communicator() -> Any:
    import dolfinx_solver  # noqa: F401  # loads MPI ahead of the bindings

    from mpi4py import MPI

    return MPI.COMM_WORLD


def _first_of(names: tuple[str, ...], default: int) -> int:
    return next((int(os.environ[name]) for name in names if name in os.environ), default)
