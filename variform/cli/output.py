"""What people see: errors as one message and an exit code, progress on a terminal, tables."""

from __future__ import annotations

import functools
import json
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from variform.cli.parallel import abort_all, is_first, num_ranks
from variform.errors import ComputationError, InputError

INTERRUPTED, TERMINATED = 130, 143
OUT_OF_MEMORY = "the computation failed: out of memory; take a coarser mesh, fewer points or a smaller network"

TORCH_OUT_OF_MEMORY = ("can't allocate memory", "CUDA out of memory")


class Terminated(BaseException):
    """SIGTERM: the run is marked as interrupted, like by Ctrl-C."""


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors into exit codes: 2 bad input, 1 failed computation, 130 and 143 interrupted."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGTERM, _terminate)
        try:
            command(*args, **kwargs)
        except InputError as error:
            leave(str(error), 2)
        except ComputationError as error:
            leave(f"the computation failed: {error}", 1)
        except MemoryError:
            leave(OUT_OF_MEMORY, 1)
        except OSError as error:
            leave(f"{error.filename or 'file'}: {error.strerror or error}", 1)
        except KeyboardInterrupt:
            leave("interrupted", INTERRUPTED)
        except Terminated:
            leave("terminated", TERMINATED)
        except (typer.Exit, typer.Abort):
            raise
        except BaseException as error:
            if isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_OUT_OF_MEMORY):
                leave(OUT_OF_MEMORY, 1)
            if number := _stopped(error):
                leave(f"stopped by {error}, and saved: the same command goes on", 128 + number)
            if place := _in_users_file(error):
                leave(f"{place}: {type(error).__name__}: {error}", 2)
            if num_ranks() == 1:
                raise
            traceback.print_exc()
            abort_all(1)

    return run


def _terminate(signum: int, frame: Any) -> None:
    raise Terminated


def _stopped(error: BaseException) -> int:
    """The signal by which a training was stopped, its state being saved; 0 where the error is another."""
    launch = sys.modules.get("variform.operators.launch")  # imports torch: where it was not needed, nothing was trained
    return error.number if launch is not None and isinstance(error, launch.Stopped) else 0


def leave(message: str, code: int) -> NoReturn:
    """End the command, on all ranks, with one line on standard error."""
    message = " ".join(message.split())
    if is_first():
        print(f"variform: {message}", file=sys.stderr, flush=True)
    if num_ranks() > 1:
        abort_all(code, message)
    raise SystemExit(code)


def _in_users_file(error: BaseException) -> str:
    """File and line where a user's problem raised the error; empty if none did."""
    frames = reversed(list(traceback.walk_tb(error.__traceback__)))
    return next((f"{f.f_code.co_filename}, line {n}" for f, n in frames if _is_users(f.f_globals)), "")


def _is_users(module: dict[str, Any]) -> bool:
    return str(module.get("__name__")).startswith("variform_user_")  # so named by `problems.load`


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, str], None]]:
    """A bar on standard error; nothing where that is not a terminal."""
    if not (sys.stderr.isatty() and is_first()):
        yield lambda fraction, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0, text="")

        def report(fraction: float, text: str, what: str = title) -> None:
            bar.update(task, completed=fraction, text=text, description=what)

        yield report


def print_json(content: Any) -> None:
    """Strict JSON on standard output, by the first rank."""
    from variform.runs import strict

    if is_first():
        typer.echo(json.dumps(strict(content), indent=2, allow_nan=False))


def print_table(title: str, rows: list[tuple[str, ...]], header: tuple[str, ...] | None = None) -> None:
    """A plain table, by the first rank."""
    if not is_first():
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, show_header=header is not None, pad_edge=False)
    for i, name in enumerate(header or ("",) * max(map(len, rows), default=0)):
        table.add_column(name, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=False).print(table)


def number(value: float | None, unit: str = "") -> str:
    """Six significant digits, a dash for what is not there or not a number."""
    if value is None or value != value:
        return "-"
    return f"{value:.6g}" + (f" {unit}" if unit and unit != "-" else "")
