"""A training that begins with the weights of another one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from variform.errors import InputError
from variform.operators.examples import Channels
from variform.operators.learned import Learned
from variform.operators.operator import TENSORS, load
from variform.operators.settings import Settings


def start_from(folder: Path, learned: Learned, channels: Channels) -> str:
    """Weights and scales of another training; returns the digest of their file.

    Raises:
        InputError: there are none, or they are of another architecture.
    """
    other, s = load(folder), learned.settings
    shape = {"network", "frames", "closure", *s.options, *other.settings.options}
    changed = [key for key in s.differences(other.settings) if key in shape]
    said = [f"{key} {value_of(other.settings, key)} -> {value_of(s, key)}" for key in changed]
    if other.learned.learn != learned.learn:
        said.append(f"learn {other.learned.learn} -> {learned.learn}")
    for kind in ("given", "numbers", "unknowns"):
        if (theirs := getattr(other.channels, kind)) != (mine := getattr(channels, kind)):
            said.append(f"{kind} {', '.join(theirs) or 'none'} -> {', '.join(mine) or 'none'}")
    try:
        if not said:
            learned.load_state_dict(tensors_of(other.learned))
    except RuntimeError as error:
        said.append(first_line(error))
    if said:
        raise InputError(f"start={folder} has another architecture ({'; '.join(said)}): train from one like it")
    with open(folder / TENSORS, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """The state without what some libraries put beside it."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def value_of(settings: Settings, key: str) -> Any:
    return {**settings.json(), **settings.options}.get(key)


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[1] if len(lines) > 1 else lines[0]
