"""Pictures to look at in a notebook."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from variform.errors import InputError
from variform.figures import pictures
from variform.mesh import Mesh
from variform.runs import atomic

KINDS = ("field", "surface", "warped", "streamlines")


@dataclass(frozen=True, repr=False)
class Drawing:
    """A PNG that notebooks show inline."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png

    def save(self, path: Path | str) -> Path:
        """Write the PNG, whole or not at all; the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_bytes(self.png)
        return path


def draw(mesh: Mesh, values: np.ndarray, *, kind: str = "field", title: str = "", unit: str = "") -> Drawing:
    """A picture of values at the mesh's points, of one of KINDS.

    Raises:
        InputError: another kind, or values that this kind does not show.
        ComputationError: this machine cannot render.
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    with tempfile.TemporaryDirectory() as folder:
        path = getattr(pictures, kind)(mesh, values, Path(folder) / "picture.png", title=title, unit=unit)
        return Drawing(path.read_bytes())
