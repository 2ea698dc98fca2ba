"""The command line. Heavy libraries are imported inside the commands, so that --help stays quick."""

from __future__ import annotations

import typer

from variform import __version__
from variform.cli.bench import bench
from variform.cli.doctor import doctor
from variform.cli.output import guarded
from variform.cli.problems import problems
from variform.cli.show import show
from variform.cli.solve import solve

COMMANDS = [problems, solve, bench, show, doctor]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Solve PDEs written once as variational forms, by every method. Try: variform solve poisson --mesh 64",
)
for command in COMMANDS:
    app.command()(guarded(command))


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
    app(prog_name="variform")
