"""A square with one void of any star-like shape: one O-grid for all shapes, of which only the points move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes.geometry import Geometry
from variform.meshes.holes import PerforatedPlate

MIDDLE, CIRCLE = 0.5, 0.25
"""Of the unit square, and the radius of the void from which all are deformed [m]."""


class SquareWithVoid(Geometry):
    """The unit square without r < radius(angle) about its middle [m].

    Sides: "left", "right", "bottom", "top" and "void". The mesh with n is that of a circular hole, 16 n cells about it,
    moved along rays: meshes of all shapes have the same cells.

    Args:
        radius: points (2, k) [m] -> the radius in their direction from the middle, shape (k,); above 0.02, below 0.48.
    """

    dim = 2
    regions = ("domain",)
    boundaries = ("left", "right", "bottom", "top", "void")
    lower, upper = np.zeros(2), np.ones(2)
    default_cells = 4

    def __init__(self, radius: Callable[[Any], Any]) -> None:
        self.radius = radius

    def mesh(self, n: int, order: int = 1) -> Mesh:
        mesh = PerforatedPlate(columns=1, rows=1, radius=CIRCLE).mesh(n, order)
        away = mesh.points - MIDDLE
        rho = np.linalg.norm(away, axis=1)
        direction = away / rho[:, None]
        r = np.asarray(self.radius((MIDDLE + direction).T), dtype=float)
        if not ((r > 0.02) & (r < 0.48)).all():
            raise InputError(f"the void's radius must lie between 0.02 and 0.48, got {r.min():.3g} to {r.max():.3g}")
        side = 0.5 / abs(direction).max(axis=1)  # the distance of the square's boundary along the ray
        moved = side - (side - rho) * (side - r) / (side - CIRCLE)
        points = MIDDLE + direction * moved[:, None]
        points[abs(rho - side) < 1e-12] = mesh.points[abs(rho - side) < 1e-12]
        boundaries = {("void" if name == "holes" else name): facets for name, facets in mesh.boundaries.items()}
        return replace(mesh, points=points, boundaries=boundaries)

    def distance(self, x: Any, names: tuple[str, ...]) -> Any:
        raise InputError("networks do not take a square with a void: solve it by finite elements")
