"""Networks by name, all with one interface: fields (B, inputs, *N) and where they lie to fields (B, outputs, *N)."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from variform.errors import InputError, unknown


@dataclass(frozen=True)
class Layout:
    """What a network is made for.

    Args:
        inputs, outputs: channels.
        dim: space dimension.
        periodic: of each axis of a grid; () on meshes.
    """

    inputs: int
    outputs: int
    dim: int
    periodic: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Support:
    """Where the fields of a batch have their values.

    Args:
        x: coordinates in the unit box, (1 or B, dim, *N): N has dim axes on a grid, one axis (points) on a mesh.
        edges: (2, E), both directions, of a mesh; None on a grid.
    """

    x: Tensor
    edges: Tensor | None = None

    @property
    def on_mesh(self) -> bool:
        return self.edges is not None


NETWORKS = {
    name: f"variform.operators.networks.{place}"
    for name, place in {
        "fno": "fourier:FNO",
        "tfno": "fourier:TFNO",
        "uno": "fourier:UNO",
        "codano": "codano:CODANO",
        "deeponet": "deeponet:DeepONet",
        "multionet": "deeponet:MultiONet",
        "unet": "unet:UNet",
        "transolver": "transolver:Transolver",
        "mamba": "mamba:Mamba",
        "meshgraph": "meshgraph:MeshGraph",
        "gino": "gino:GINO",
        "polynomial": "pointwise:Polynomial",
        "pointwise": "pointwise:Pointwise",
    }.items()
}
"""Name -> class. Its __init__ takes a layout, and options by keyword; its forward, fields and their support."""


def build(name: str, layout: Layout, options: Mapping[str, Any] = {}) -> nn.Module:
    """A network with weights drawn from torch's generator.

    Raises:
        InputError: no such network or option, or a value that it does not take.
    """
    known = options_of(name)
    for key in options:
        if key not in known:
            raise unknown(f"option of {name}", key, known)
    kind, where = _class(name), "grid" if layout.periodic else "mesh"
    if where not in kind.takes:
        raise InputError(f"{name} works on a grid, and these data lie on meshes; on both do {', '.join(_on_both())}")
    return kind(layout, **options)


def _on_both() -> list[str]:
    return [name for name in NETWORKS if "mesh" in _class(name).takes]


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The options of a network by name."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    parameters = inspect.signature(_class(name).__init__).parameters
    return {key: p for key, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _class(name: str) -> type[nn.Module]:
    module, _, kind = NETWORKS[name].partition(":")
    return getattr(importlib.import_module(module), kind)


def at_least(**numbers: float) -> None:
    """Raise InputError for options below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} must be 1 or more, got {value}")
