"""Complete states of a training, from which it goes on as if it had never stopped: tensors and JSON, nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform.errors import InputError
from variform.runs import atomic, read_record, write_json

RECORD = "last.json"


def save(folder: Path, step: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write a state. The one before is there until this one is whole, and then removed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    write_tensors(path, tensors)
    write_json(folder / RECORD, {**record, "step": step, "file": path.name, "sha256": _digest(path)})
    for old in (*folder.glob("step-*.pt"), *folder.glob(".step-*"), *folder.glob(".last.*")):  # hidden: torn by kills
        if old != path:
            old.unlink()


def load(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The last state that was written; None if there is none.

    Raises:
        InputError: it is damaged.
    """
    if not (folder / RECORD).is_file():
        return None
    record = read_record(folder, RECORD)
    try:
        path = folder / record["file"]
        if _digest(path) != record["sha256"]:
            raise ValueError("its content is not what was written")
        return read_tensors(path), record
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the checkpoint in {folder} is damaged: {error}") from None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()  # a file would lend its name to the content
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, buffer)
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """What `write_tensors` wrote; nothing in the file is run.

    Raises:
        ValueError: it is damaged, or holds more than tensors.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path.name} is damaged, or holds more than tensors") from error


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Its state by parameter and name; the rates follow from the settings."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{name}": torch.as_tensor(v) for number, part in state.items() for name, v in part.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def generators() -> dict[str, Any]:
    """The states of all generators of this process, as JSON content."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 (what libraries draw from)
    version, words, gauss = random.getstate()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": _text(torch.get_rng_state()),
        "cuda": [_text(state) for state in devices],
        "numpy": [kind, keys.tolist(), *rest],
        "python": [version, list(words), gauss],
    }


def restore_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(_tensor(states["torch"]))
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([_tensor(state) for state in states["cuda"]])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))


def _text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _tensor(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def same(a: Any, b: Any) -> bool:
    """Equal as JSON content."""
    return json.loads(json.dumps(a)) == json.loads(json.dumps(b))
