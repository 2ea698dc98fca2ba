"""Training as a SLURM job, by submitit: it is stopped before its time is over, requeued, and goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variform.errors import InputError

DEFAULTS = {"timeout_min": 60, "nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1}
SAVED = 128 + signal.SIGUSR1
"""Exit code of a training that was asked to stop, and has."""
REQUEUE_S = 120
"""How long a process waits for its job to be requeued."""
WHOLE = {*DEFAULTS, "gpus_per_node", "mem_gb", "slurm_signal_delay_s"}


def options(given: dict[str, str]) -> dict[str, Any]:
    """Options of a job: submitit's, and any of sbatch's as slurm_KEY.

    Raises:
        InputError: a number that is none.
    """
    found: dict[str, Any] = dict(DEFAULTS)
    for key, value in given.items():
        if key not in WHOLE:
            found[key if key.startswith("slurm_") else f"slurm_{key}"] = value
        elif value.isdecimal():
            found[key] = int(value)
        else:
            raise InputError(f"--slurm {key} must be a whole number, got {value!r}")
    return found


@dataclass
class Job:
    """`variform train ... --resume` in every task of a job; submitit calls `checkpoint` when its end is near."""

    words: list[str]
    running: subprocess.Popen | None = field(default=None, repr=False)

    def __call__(self) -> int:
        command = [sys.executable, "-m", "variform", *self.words]
        self.running = subprocess.Popen(command, preexec_fn=_deaf)
        code = self._ended()
        if code == SAVED:  # by another process's signal: the job is about to be requeued
            time.sleep(REQUEUE_S)
        if code:
            raise RuntimeError(f"{' '.join(command)} ended with exit code {code}")
        return code

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        if self.running is not None:
            self.running.send_signal(signal.SIGUSR1)
            self._ended()
        return DelayedSubmission(Job(self.words))

    def _ended(self) -> int:
        """The exit code. Popen.wait holds a lock, which a signal's handler, where `checkpoint` runs, would wait for."""
        while (code := self.running.poll()) is None:
            time.sleep(0.1)
        return code


def _deaf() -> None:
    """SLURM sends the signal that is meant for submitit to every process of the job, and it would end a training."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def submit(words: list[str], folder: Path, given: dict[str, Any]) -> str:
    """Hand in `variform WORDS`, which go on where an earlier start of the job ended; the number of the job.

    Raises:
        InputError: there is no SLURM here, or it refuses the job.
    """
    import submitit

    try:
        executor = submitit.AutoExecutor(folder=folder / "slurm", cluster="slurm")
        # A task that fails ends the others, which would wait for it.
        executor.update_parameters(name="variform", slurm_srun_args=["--kill-on-bad-exit=1"], **given)
        return executor.submit(Job(words)).job_id
    except (RuntimeError, OSError, NameError, TypeError, submitit.core.utils.FailedJobError) as error:
        raise InputError(f"the job was not taken: {next(iter(str(error).splitlines()), error)}") from None
