"""Independent tasks in processes of their own, spawned and on one thread each."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from typing import Any

Task = Callable[[int], Any]
"""Number of the task -> its result; both the function and what it returns can be pickled."""


class Died(str):
    """In place of a result: how the process of the task ended."""


def results(task: Task, numbers: Iterable[int], workers: int) -> Iterator[tuple[int, Any]]:
    """Number and result of each task, as they end.

    A process that dies costs its own task, whose result is `Died`; another process takes its place. Those at work are
    killed when the iterator is closed, and end by themselves when this process is killed.
    """
    todo = deque(numbers)
    busy: dict[Any, tuple[Any, int]] = {}

    def hand_out(pipe: Any, process: Any) -> None:
        number = todo.popleft()
        busy[pipe] = process, number
        with suppress(OSError):  # it is dead: there is the end of the file to read
            pipe.send(number)

    try:
        for _ in range(min(workers, len(todo))):
            hand_out(*_started(task))
        while busy:
            for pipe in connection.wait(list(busy)):
                process, number = busy[pipe]
                try:
                    result = pipe.recv()
                except (EOFError, OSError):
                    process.join()
                    result = Died(_ending(process.exitcode))
                del busy[pipe]
                if todo:  # before the result is handed on: nobody waits while it is written
                    hand_out(*(_started(task) if isinstance(result, Died) else (pipe, process)))
                else:
                    pipe.close()
                yield number, result
    finally:
        for process, _ in busy.values():
            process.kill()
            process.join()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _started(task: Task) -> tuple[Any, Any]:
    """The pipe to a process, and the process: spawned, because a forked one would share MPI and locks."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, task), daemon=True)
    with _one_thread():
        process.start()
    there.close()
    return here, process


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are taken in another order by another number of threads."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _work(pipe: Any, task: Task) -> None:
    """Do what is asked for until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError):
        while True:
            pipe.send(task(pipe.recv()))


def _end_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)
