"""HDF5 files that are opened once a process, when first read, and travel between processes without their handle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from variform.errors import InputError


class LazyFile:
    """A file to read. A handle is never shared across a fork: another process opens the file anew."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._opened: tuple[int, h5py.File] | None = None

    def open(self) -> h5py.File:
        """The file, open for reading in this process.

        Raises:
            InputError: it is missing, damaged, or no HDF5.
        """
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = os.getpid(), h5py.File(self.path, "r")
            except FileNotFoundError:
                raise InputError(f"no data file {self.path}") from None
            except (OSError, RuntimeError) as error:
                raise InputError(f"{self.path} is damaged or no HDF5 file: {_first_line(error)}") from None
        return self._opened[1]

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Turns what HDF5 raises for files that are damaged, or lack something, into an InputError that names it."""
        try:
            yield
        except InputError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, StopIteration) as error:
            message = f"{self.path} is damaged, or lacks what its layout asks for, at {what}: {_first_line(error)}"
            raise InputError(message) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyFile) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
