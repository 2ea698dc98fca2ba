"""A trained operator as one file that torch alone runs, without this package."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from variform.errors import InputError
from variform.operators.examples import INSIDE, Batch
from variform.operators.operator import Operator
from variform.runs import atomic

DESCRIPTION = "variform.json"
"""The name under which the file holds what goes in and comes out: torch.export.load(path, extra_files={name: ""})."""


class Step(nn.Module):
    """A prediction on the grid of the training, in the units of the data: the solution, or the frame that follows."""

    def __init__(self, operator: Operator) -> None:
        super().__init__()
        self.learned, self.given = operator.learned, operator.channels.static
        inputs = [name for name, count in operator.channels.given.items() for _ in range(count)]
        self.inside = inputs.index(INSIDE) if INSIDE in inputs else None
        self.register_buffer("x", operator.grid())

    def forward(self, fields: Tensor) -> Tensor:
        """(B, S + T C, *N): what is given and numbers as constant fields, then T frames, the present one last; to
        (B, C, *N)."""
        static, later = fields[:, : self.given], fields[:, self.given :]
        frames = later.unflatten(1, (self.learned.frames, -1)) if self.learned.frames else None
        inside = None if self.inside is None else static[:, self.inside : self.inside + 1]
        batch = Batch(torch.zeros(0), static, frames, torch.zeros(0), inside, self.x)
        return self.learned.rollout(batch, 1)[:, 0]


def export(operator: Operator, path: Path) -> Path:
    """Write one step of an operator on the grid of its training by torch.export; the size of the batch is free.

    In any process `torch.export.load(path).module()` gives a function of one tensor: see `Step.forward` and `describe`.

    Raises:
        InputError: it was trained on meshes, or torch cannot trace its network.
    """
    if not operator.info["grid"]:
        raise InputError("the operator was trained on meshes: only those on grids are exported")
    name, step = operator.settings.network, Step(operator).eval()
    channels = len(describe(operator)["inputs"])
    example = torch.zeros(3, channels, *operator.info["grid"], dtype=operator.dtype)
    shapes = ({0: torch.export.Dim("batch", min=1)},)
    try:
        with warnings.catch_warnings(), _plain(step), torch.no_grad():
            warnings.simplefilter("ignore")  # of what torch is made of
            program = torch.export.export(step, (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch raises of many kinds
        lines = str(error).strip().splitlines() or [""]
        raise InputError(f"the network {name} cannot be exported: {type(error).__name__}: {lines[0]}") from error
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(program, file, extra_files={DESCRIPTION: json.dumps(describe(operator))})
    return path


def describe(operator: Operator) -> dict[str, object]:
    """The channels in and out by name, the grid, and the time from frame to frame."""
    channels, learned = operator.channels, operator.learned
    unknowns = _components(channels.unknowns)
    frames = [f"{name} {ago} frames ago" if ago else name for ago in range(learned.frames)[::-1] for name in unknowns]
    return {
        "network": operator.settings.network,
        "inputs": [*_components(channels.given), *channels.numbers, *frames],
        "outputs": unknowns,
        "grid": operator.info["grid"],
        "lower": channels.lower,
        "upper": channels.upper,
        "periodic": operator.info["periodic"],
        "dt": learned.dt if learned.frames and learned.learn != "solution" else None,
    }


def _components(fields: dict[str, int]) -> list[str]:
    return [f"{name}[{i}]" if count > 1 else name for name, count in fields.items() for i in range(count)]


@contextlib.contextmanager
def _plain(step: Step) -> Iterator[None]:
    """Spectral weights met by torch's own einsum: the library plans its own by the size of the batch."""
    layers = [module for module in step.modules() if hasattr(module, "_contract")]
    before = [layer._contract for layer in layers]
    for layer in layers:
        layer._contract = _contract
    try:
        yield
    finally:
        for layer, contract in zip(layers, before, strict=True):
            layer._contract = contract


def _contract(x: Tensor, weight: Tensor, separable: bool = False) -> Tensor:
    weight = weight if isinstance(weight, Tensor) else weight.to_tensor()
    return torch.einsum("bi...,io...->bo...", x, weight)
