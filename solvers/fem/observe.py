"""What is recorded of an evolution after every step: the problem's history, and probes."""

from __future__ import annotations

import numpy as np

from variform.errors import InputError
from variform.problem import Problem
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.solution import PresentState


class Observer:
    """Called with the present time [s]: quantities by name; collective.

    Args:
        probes: points as text, "x,y x,y".

    Raises:
        InputError: a point that is malformed or outside of the domain.
    """

    def __init__(self, discrete: Discrete, probes: str = "") -> None:
        self.state, self.problem = PresentState(discrete), discrete.problem
        self.points = _points(probes, discrete.domain.mesh.geometry.dim)
        self.records = type(self.problem).history is not Problem.history
        if len(self.points):
            self.state.at(self.points.T, outside="error")

    def __call__(self, t: float) -> dict[str, float]:
        self.state.changed()
        found = {name: float(v) for name, v in self.problem.history(self.state).items()} if self.records else {}
        for name, field in self.problem.fields.items() if len(self.points) else ():
            if field.element == "Real":
                continue
            values = self.state.at(self.points.T, field=name)
            for i, point in enumerate(self.points):
                place = ", ".join(f"{c:g}" for c in point)
                for index in np.ndindex(*values.shape[:-1]):
                    component = f"[{', '.join(map(str, index))}]" if index else ""
                    found[f"{name}{component}({place})"] = float(values[(*index, i)])
        return found


def _points(text: str, dim: int) -> np.ndarray:
    """Coordinates, shape (n, dim)."""
    points = []
    for word in text.split():
        try:
            point = [float(number) for number in word.split(",")]
        except ValueError:
            point = []
        if len(point) != dim or not np.isfinite(point).all():
            raise InputError(f"a probe is {dim} numbers with commas between them and no spaces, got {word!r}")
        points.append(point)
    return np.array(points).reshape(-1, dim)
