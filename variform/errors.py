"""The two ways a command can fail: its input is wrong, or the computation is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Bad input: the message names the file, key or value and what is allowed. Exit code 2."""


class ComputationError(RuntimeError):
    """The computation failed (diverged, singular, out of memory). Exit code 1.

    `solution` is the last iterate, where there is one.
    """

    solution: Any = None


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that does not exist, with the nearest one that does."""
    allowed = sorted(allowed)
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}.{hint} Available: {', '.join(allowed) or 'none'}.")
