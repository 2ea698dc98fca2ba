"""Run folders: what a computation leaves behind, written so that a kill loses nothing that was finished."""

from __future__ import annotations

import glob
import itertools
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from variform.errors import InputError

RECORD = "run.json"
PACKAGES = ("numpy", "torch", "fenics-ufl", "fenics-basix", "dolfinx-solver-real", "neuraloperator", "h5py", "pyvista")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the final name only when the block ends without an error."""
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_torn(path: Path) -> None:
    """Delete what killed processes left of `atomic(path)`; for a process that alone writes there."""
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*{glob.escape(path.suffix)}"):
        if re.fullmatch(r"\d+", left.name[len(path.stem) + 2 : len(left.name) - len(path.suffix)]):
            left.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Strict JSON: not-a-number and infinity become null."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(strict(content), indent=2, allow_nan=False) + "\n")


def read_record(folder: Path, name: str = RECORD) -> dict[str, Any]:
    """The record of a run folder.

    Raises:
        InputError: no such folder, or no readable file of this name in it.
    """
    path = Path(folder) / name
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{folder} is no run folder: it has no {name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not readable: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path} is not readable: it is no record of a run")
    return record


def free_folder(folder: Path | None, name: str) -> Path:
    """Where a run will go, which is not created yet; by default runs/NAME-TIME.

    Raises:
        InputError: it exists already and is not empty: nothing is overwritten.
    """
    if folder is None:
        stem = Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        folder, count = stem, 1
        while folder.exists():
            count += 1
            folder = stem.with_name(f"{stem.name}-{count}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"output folder {folder} exists already; choose another --out or remove it")
    check_parents(folder)
    return folder


def check_parents(folder: Path) -> None:
    """Raise InputError where a file is in the way of an output folder."""
    for parent in folder.parents:
        if parent.exists() and not parent.is_dir():
            raise InputError(f"cannot create output folder {folder}: {parent} is a file")


def claim(folder: Path) -> Path:
    """Create the folder, or folder-2, folder-3, ... if another run was quicker: no two runs share one."""
    for count in itertools.count(1):
        path = folder if count == 1 else folder.with_name(f"{folder.name}-{count}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable")


def environment(ranks: int = 1) -> dict[str, Any]:
    """Versions, machine and commit: what a reader needs to judge a number."""
    return {
        "variform": _version("variform"),
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name))},
        "device": _processor(),
        "threads": _threads(),
        "ranks": ranks,
        "system": f"{platform.system()} {platform.machine()}",
    }


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def command_line() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # "4,2" is for nested regions
    return int(given) if given.isdecimal() and int(given) else os.cpu_count() or 1


def _commit() -> str | None:
    """The commit of the sources, with a mark if they were changed; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here.parent:
            return None
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def strict(value: Any) -> Any:
    """Content as strict JSON takes it: no NaN or infinity, keys and unknown objects as text."""
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy and torch
        value = value.tolist()
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int, bool)) or value is None:
        return value
    return str(value)
