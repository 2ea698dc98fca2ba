"""Which code a result was measured with."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import variform.data
import variform.forms
import variform.meshes
import variform.operators
import variform.problems
import variform.solvers

DECISIVE = (
    variform.forms,
    variform.meshes,
    variform.problems,
    variform.solvers,
    variform.data,
    variform.operators,
)
"""Packages that decide a number; a report or a command line does not."""


@cache
def code_digest() -> str:
    """SHA-256 of all Python files of these packages, by their names there."""
    digest = hashlib.sha256()
    for package in DECISIVE:
        root = Path(package.__file__).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def stale(result: dict) -> str | None:
    """Why the numbers of a stored result are old; None where they are not."""
    return None if result.get("code") == code_digest() else "measured before the code was changed"
