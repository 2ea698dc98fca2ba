"""Data files of any layout, opened in one form."""

from __future__ import annotations

from pathlib import Path

from variform.data import store
from variform.data.dataset import Dataset


def open(path: Path | str) -> Dataset:
    """A data set of any known layout.

    Raises:
        InputError: no such file, or no layout that is known.
    """
    return store.read(Path(path))
