"""The command line. Heavy libraries are imported inside the commands, so that --help stays quick."""

from __future__ import annotations

import os
import sys

import typer

from variform import __version__
from variform.cli.bench import bench
from variform.cli.converge import converge
from variform.cli.data import data
from variform.cli.doctor import doctor
from variform.cli.mesh import mesh
from variform.cli.output import guarded, leave
from variform.cli.predict import predict
from variform.cli.problems import problems
from variform.cli.runs import runs
from variform.cli.show import show
from variform.cli.solve import solve
from variform.cli.train import train

UsageError = typer.BadParameter.__base__  # typer names only its subclass
# Threads that wait for work by spinning take the cores from those that have some: on two shared cores a small network
# trained in 11 s so, and in 4 s like this. It must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = [problems, solve, converge, train, predict, bench, runs, show, doctor]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Solve PDEs written once as variational forms, by every method. Try: variform solve poisson --mesh 64",
)
for command in COMMANDS:
    app.command()(guarded(command))
app.add_typer(mesh, name="mesh")
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"variform {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Solve PDEs written once as variational forms, by every method. Try: variform solve poisson --mesh 64."""


def main() -> None:
    """The entry point: words that make no command are bad input like any other, one line and exit code 2."""
    if not sys.argv[1:]:
        app(prog_name="variform")  # shows the help
    try:
        code = app(prog_name="variform", standalone_mode=False)
    except UsageError as error:
        where = error.ctx.command_path if error.ctx else "variform"
        leave(f"{error.format_message().rstrip('.')}; see {where} --help", 2)
    sys.exit(code)
