"""Aerofoils of the NACA's four-digit series in a circular far field, in an O-grid by a conformal map."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from variform.errors import InputError
from variform.meshes.blocks import Block
from variform.meshes.families import Family

AROUND = 32
"""Cells around the aerofoil for n = 1."""


class Airfoil(Family):
    """What lies between an aerofoil, "airfoil", and a circle about the middle of its chord, "farfield" [m].

    The chord of length 1 goes from (0, 0) to the sharp trailing edge (1, 0); the thickness is that of the series with
    the last coefficient -0.1036, which closes it. There are 32 n cells around, closer at both edges.

    The Karman-Trefftz map makes the aerofoil nearly a circle, in whose plane the grid is one of rays and rings.

    Args:
        digits: camber in hundredths of the chord, its place in tenths, thickness in hundredths: "0012", "2412".
        radius: of the far field, in chords.

    Source: Abbott and von Doenhoff, Theory of Wing Sections, ch. 6; Milne-Thomson, Theoretical Aerodynamics, ch. 7.
    """

    boundaries = ("airfoil", "farfield")
    walls = 4

    def __init__(self, digits: str = "0012", radius: float = 10.0) -> None:
        digits = str(digits)
        if len(digits) != 4 or not digits.isdigit() or not 4 <= int(digits[2:]) <= 40:
            raise InputError(f"digits must be four, the last two of them 04 to 40, such as '0012', got {digits!r}")
        if (digits[0] == "0") != (digits[1] == "0"):
            raise InputError(f"the first two digits are camber and its place, both 0 or neither, got {digits!r}")
        if not 2 <= radius <= 1000:
            raise InputError(f"radius must be 2 to 1000 chords, got {radius}")
        self.digits, self.radius = digits, float(radius)
        self.camber, self.place, self.thickness = int(digits[0]) / 100, int(digits[1]) / 10, int(digits[2:]) / 100
        super().__init__((0.5 - radius, -radius), (0.5 + radius, radius))

    def __repr__(self) -> str:
        return f"Airfoil({self.digits!r}, {self.radius})"

    def surface(self, angle: np.ndarray) -> np.ndarray:
        """Points x + iy of the aerofoil: angle 0 is the trailing edge, then the upper side, pi the leading edge."""
        root = np.cos(angle / 2)  # of the place along the chord; negative on the lower side
        x = root**2
        poly = -0.1260 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4
        half = 5 * self.thickness * (0.2969 * root + np.sign(root) * poly)
        line, slope = self._camber_line(x)
        return x + 1j * line + half * 1j * (1 + 1j * slope) / np.hypot(1, slope)

    def _camber_line(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        m, p = self.camber, self.place
        if m == 0:
            return 0 * x, 0 * x
        fore = x < p
        line = np.where(fore, m / p**2 * (2 * p * x - x**2), m / (1 - p) ** 2 * (1 - 2 * p + 2 * p * x - x**2))
        return line, np.where(fore, 2 * m / p**2, 2 * m / (1 - p) ** 2) * (p - x)

    def blocks(self, n: int) -> list[Block]:
        size = np.abs(self._table[2] - self._centre).mean()
        across = round(AROUND * np.log(self.radius / size) / (2 * np.pi))
        return [Block(self._grid, (across * n, AROUND * n), {"left": "airfoil", "right": "farfield"})]

    @cached_property
    def _poles(self) -> tuple[complex, complex, float]:
        """Trailing edge, a point half the leading edge's radius inside the nose, and the exponent of the map."""
        slope = self._camber_line(np.zeros(1))[1][0]
        nose = 1.1019 * self.thickness**2 / 2 * (1 + 1j * slope) / np.hypot(1, slope)
        return 1.0, complex(nose), 2 - 2 * np.arctan(1.21125 * self.thickness) / np.pi

    def _to_circle(self, z: np.ndarray, phase: np.ndarray | None = None) -> np.ndarray:
        """(z - z1) / (z - z2) = ((w - b) / (w + b))^k solved for w, on the branch where the left has that phase."""
        edge, nose, k = self._poles
        b = (edge - nose) / (2 * k)
        quotient = (z - edge) / (z - nose)
        angle = np.angle(quotient)
        if phase is not None:
            angle = angle + 2 * np.pi * np.round((phase - angle) / (2 * np.pi))
        v = np.abs(quotient) ** (1 / k) * np.exp(1j * angle / k)
        return b * (1 + v) / (1 - v)

    def _from_circle(self, w: np.ndarray) -> np.ndarray:
        edge, nose, k = self._poles
        b = (edge - nose) / (2 * k)
        v = ((w - b) / (w + b)) ** k
        return (edge - nose * v) / (1 - v)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Angle, phase and image in the circle's plane of points all round the surface, densely."""
        angle = np.linspace(0, 2 * np.pi, 4001)
        edge, nose, _ = self._poles
        z = self.surface(angle)
        phase = np.angle((z[1:-1] - edge) / (z[1:-1] - nose))
        phase = np.unwrap(np.concatenate([phase[:1], phase, phase[-1:]]))
        return angle, phase, self._to_circle(z, phase)

    @cached_property
    def _centre(self) -> complex:
        """The middle of the near circle: of its extents, as its points are not evenly spaced."""
        w = self._table[2]
        return complex(w.real.max() + w.real.min(), w.imag.max() + w.imag.min()) / 2

    def _grid(self, s: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Rays through even angles about the middle of the near circle; rings that grow geometrically."""
        angle, phase, w = self._table
        around = np.unwrap(np.angle(w - self._centre))
        turn = around[0] + 2 * np.pi * t
        on_surface = np.where(t == 1, 0.0, np.interp(turn, around, angle))
        inner = self.surface(on_surface)
        outer = 0.5 + self.radius * np.exp(1j * turn)
        start = self._to_circle(inner, np.interp(on_surface, angle, phase)) - self._centre
        # Far away the maps are near the identity plus a shift: the two logarithms are on the same branch.
        growth = np.log((self._to_circle(outer) - self._centre) / start)
        z = self._from_circle(self._centre + start * np.exp(s * growth))
        z = np.where(s == 0, inner, np.where(s == 1, outer, z))
        return np.stack([z.real, z.imag], axis=-1)
