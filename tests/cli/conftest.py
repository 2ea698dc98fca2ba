"""The command line in this process, which is imported once, and as a process of its own where that is the point."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from variform.cli import main

VARIFORM = Path(sys.executable).with_name("variform")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def variform(monkeypatch, capfd):
    """Calls the program with its arguments; standard output and error are those of the whole process."""

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["variform", *arguments])
        before, code = signal.getsignal(signal.SIGTERM), 0
        capfd.readouterr()
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
        return Result(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def environment(request):
    """Where Python keeps no bytecode beside the sources, it does so in pytest's cache: a start without takes long."""
    if not sys.dont_write_bytecode:
        return os.environ
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(request.config.cache.mkdir("bytecode"))}


@pytest.fixture
def process(environment):
    """Starts the program, or another that runs it, as a process; what a test leaves running is killed."""
    started = []

    def start(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
        command = [*launcher, str(VARIFORM), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, start_new_session=True, env=environment, **pipes))
        return started[-1]

    yield start
    for running in started:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
