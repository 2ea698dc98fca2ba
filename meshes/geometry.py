"""A domain: its regions and the parts of its boundary by name, a mesh of any fineness, and distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import unknown
from variform.mesh import Mesh

if TYPE_CHECKING:
    from torch import Tensor


class Geometry(ABC):
    """What a problem says of its domain; meshes and networks are made from it.

    Attributes:
        dim: space dimension, 1 to 3.
        regions: names of the regions; they cover the domain and do not overlap.
        boundaries: names of the parts of the boundary; "boundary" always means all of it.
        lower, upper: corners of the bounding box [m], shape (dim,).
        default_cells: cells a side where none are asked for.
    """

    dim: int
    regions: tuple[str, ...]
    boundaries: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    default_cells: int = 32

    @abstractmethod
    def mesh(self, n: int, order: int = 1) -> Mesh:
        """A mesh with n cells a side.

        Args:
            order: of the geometry on curved walls, 1 (straight edges) or 2; flat walls are straight anyway.
        """

    @abstractmethod
    def distance(self, x: Tensor, names: tuple[str, ...]) -> Tensor:
        """A smooth approximate distance to parts of the boundary, for u = g + distance * network.

        It vanishes on the named parts and only there, is positive inside, and its inward normal derivative
        is 1 on the named parts. It can be differentiated twice away from their corners and ends, so also on
        the rest of the boundary. No names give ones.

        Args:
            x: points [m], shape (dim, ...).
            names: parts of the boundary; "boundary" is all of it.

        Returns:
            The distance [m], shape (...).

        Raises:
            InputError: the geometry has no part of that name.
        """

    def level_sets(self, x: Tensor) -> list[Tensor]:
        """Signed distances [m], shape (...), of the points x (dim, ...) to each interface between regions."""
        return []

    def known(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The given names of parts of the boundary, once each; raises InputError for one that does not exist."""
        for name in names:
            if name not in (*self.boundaries, "boundary"):
                raise unknown("boundary", name, self.boundaries)
        return ("boundary",) if "boundary" in names else tuple(dict.fromkeys(names))
