"""Processes: alone, under torchrun, or as tasks of a SLURM job; and the signals by which they are asked to stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from variform.errors import InputError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """A signal came, and the state of the training is saved."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def fabric(precision: str, device: str = "auto") -> Any:
    """A launched `lightning_fabric.Fabric` over all processes of this job.

    Args:
        precision: of the settings; "64-true" says nothing to Fabric, which would round what the network gives to single
            precision: networks and examples are made in double precision.
        device: "auto", "cpu" or "cuda".

    Raises:
        InputError: SLURM gives several tasks, but this process is alone.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    precision = "32-true" if precision == "64-true" else precision
    world, local = _world()
    accelerator = {"auto": "auto", "cpu": "cpu", "cuda": "cuda"}.get(device, device)
    if world == 1:
        # Said in so many words: in an interactive SLURM job Fabric would otherwise wait for tasks that never come.
        made = Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[LightningEnvironment()])
    else:
        nodes = world // local
        made = Fabric(accelerator=accelerator, devices=local, num_nodes=nodes, strategy="ddp", precision=precision)
    made.launch()
    return made


def world_size() -> int:
    """Processes of this job."""
    return _world()[0]


def _world() -> tuple[int, int]:
    """Processes of this job, in all and on this node.

    Raises:
        InputError: SLURM gives several tasks, but this process was not started by srun or torchrun.
    """
    e = os.environ
    if "TORCHELASTIC_RUN_ID" in e or ("RANK" in e and "WORLD_SIZE" in e):
        return int(e["WORLD_SIZE"]), int(e.get("LOCAL_WORLD_SIZE", e["WORLD_SIZE"]))
    tasks = int(e.get("SLURM_NTASKS", e.get("SLURM_NPROCS", "1")))
    if tasks == 1:
        return 1, 1
    started = int(e.get("SLURM_STEP_NUM_TASKS", "1"))
    if "SLURM_PROCID" not in e or started != tasks:
        raise InputError(
            f"SLURM gives this job {tasks} tasks, but this process trains alone: start it by "
            f"`srun variform train ...` (one task a device; `srun -n 1` for one of them) or by torchrun"
        )
    per_node = e.get("SLURM_NTASKS_PER_NODE", e.get("SLURM_TASKS_PER_NODE", str(tasks)))
    local = int(per_node.partition("(")[0].partition(",")[0])
    if tasks % local:
        raise InputError(f"SLURM gives {tasks} tasks, {local} a node: each node must have as many tasks")
    e.setdefault("SLURM_NTASKS_PER_NODE", str(local))  # Fabric refuses to go without
    if e.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        e["SLURM_JOB_NAME"] = "variform"  # under those names, which salloc gives, Fabric would not see the tasks
    return tasks, local


class Asked:
    """What the processes of a job have to agree on after each step, or some would go on while others wait.

    Args:
        number: the signal that asked this process to stop, 0 for none.
        elapsed: this process's clock [s]; after `any`, that of the first process.
        failed: whether this process's loss is no number; after `any`, whether that of some process is.
    """

    def __init__(self, fabric: Any) -> None:
        self.fabric, self.number, self.elapsed, self.failed = fabric, 0, 0.0, False

    def any(self) -> int:
        """The signal that some process got, 0 for none; all processes call it together and get one answer."""
        if self.fabric.world_size == 1:
            return self.number
        clock = self.elapsed if self.fabric.global_rank == 0 else 0.0
        told = torch.tensor([self.number, clock, self.failed], dtype=torch.float64, device=self.fabric.device)
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
        number, self.elapsed, failed = told.tolist()
        self.failed = failed > 0
        return int(number)


@contextmanager
def watched(fabric: Any) -> Iterator[Asked]:
    """Signals only leave a mark while this lasts; a second one of a kind acts as it did before."""
    asked, before = Asked(fabric), {}

    def mark(number: int, frame: Any) -> None:
        if asked.number == number:
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
        asked.number = number

    if threading.current_thread() is not threading.main_thread():  # only there can signals be taken
        yield asked
        return
    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, mark)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def gathered(fabric: Any, value: Any) -> list[Any]:
    """JSON content of every process, by rank."""
    if fabric.world_size == 1:
        return [value]
    found: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(found, value)
    return found
