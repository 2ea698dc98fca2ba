"""What people see: errors as one message and an exit code, progress on a terminal, tables."""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from variform.cli.parallel import abort_all, is_first, num_ranks
from variform.errors import ComputationError, InputError

INTERRUPTED, TERMINATED = 130, 143


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
            _leave(str(error), 2)
        except ComputationError as error:
            _leave(f"the computation failed: {error}", 1)
        except MemoryError:
            _leave("the computation failed: out of memory; take a coarser mesh or fewer points", 1)
        except OSError as error:
            _leave(f"{error.filename or 'file'}: {error.strerror or error}", 1)
        except KeyboardInterrupt:
            _leave("interrupted", INTERRUPTED)
        except Terminated:
            _leave("terminated", TERMINATED)
        except (typer.Exit, typer.Abort):
            raise
        except BaseException:
            if num_ranks() == 1:
                raise
            import traceback

            traceback.print_exc()
            abort_all(1)

    return run


def _terminate(signum: int, frame: Any) -> None:
    raise Terminated


def _leave(message: str, code: int) -> None:
    if is_first():
        print(f"variform: {message}", file=sys.stderr, flush=True)
    if num_ranks() > 1:
        abort_all(code, message)
    raise typer.Exit(code)


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
    for name in header or ("",) * len(rows[0]):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=False).print(table)


def number(value: float | None, unit: str = "") -> str:
    """Six significant digits, a dash for what is not there."""
    if value is None:
        return "-"
    return f"{value:.6g}" + (f" {unit}" if unit and unit != "-" else "")
