"""What every solver returns: values anywhere, what it cost, how it ended."""

from __future__ import annotations

import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from variform.mesh import Mesh
from variform.problem import Symbols
from variform.quadrature import cell_quadrature

if TYPE_CHECKING:
    from variform.figures import Drawing

Status = Literal["done", "failed", "interrupted"]


@dataclass(frozen=True)
class Cost:
    """Wall time [s] in all and by stage; peak memory [MB]; unknowns: dofs of a mesh or grid, or network parameters."""

    wall_s: float
    stages: dict[str, float] = field(default_factory=dict)
    dofs: int | None = None
    parameters: int | None = None
    peak_memory_mb: float | None = None


class Stopwatch:
    """Wall time by stage: `with watch("assemble"): ...`. A stage inside another one is not counted twice."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._inside: list[float] = []  # time spent in inner stages, by depth
        self.stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.stages[stage] = self.stages.get(stage, 0.0) + elapsed - self._inside.pop()
            if self._inside:
                self._inside[-1] += elapsed

    def cost(self, *, dofs: int | None = None, parameters: int | None = None) -> Cost:
        """Everything since the stopwatch was made; memory is the peak of the whole process so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Cost(time.perf_counter() - self._start, dict(self.stages), dofs, parameters, peak)


class Solution(ABC):
    """A solved instance. Final classes: one per support (mesh, grid, network)."""

    status: Status
    cost: Cost
    support: Literal["mesh", "grid", "network"]
    mesh: Mesh
    """A mesh of the domain, on which pictures are drawn and integrals taken."""
    history: Mapping[str, np.ndarray] = MappingProxyType({})
    """Of an evolution: the times "t" [s] of all steps, and what was recorded at each by name; shapes (steps + 1,)."""
    discretization: dict[str, Any]
    """How it was discretised, for the record: mesh, element or network, tolerances, iterations."""

    @abstractmethod
    def at(
        self, x: np.ndarray, *, field: str | None = None, t: float | None = None, derivatives: int = 0
    ) -> np.ndarray:
        """Values or gradients of one field. Finite elements also take outside="error" instead of "nan".

        Args:
            x: points [m], shape (dim, n).
            field: name of the field; the first by default.
            t: time [s]; the last computed by default.
            derivatives: 0 for values, shape (*field shape, n); 1 for gradients, shape (*field shape, dim, n).

        Returns:
            NaN at points outside the domain.
        """

    @property
    def drawn(self) -> Mesh:
        """The mesh at whose points `nodal` gives values; of second order where the solution is more than linear."""
        return self.mesh

    def nodal(self, field: str | None = None) -> np.ndarray:
        """Values of a field at the points of `drawn` at the last time, shape (*field shape, n)."""
        return self.at(self.drawn.points.T, field=field)

    def functional(self, form: Callable[[Symbols], Any]) -> float:
        """The integral that `form` writes in UFL in the solution's symbols, e.g. lambda s: s.u["p"] * s.ds("in").

        NaN where the support is no finite-element space: quantities that need it are then not available.
        """
        return float("nan")

    def reaction(self, field: str, on: str | tuple[str, ...], component: int | None = None) -> float:
        """What holds the field at its Dirichlet values on parts of the boundary: F(u_h; v) with v = 1 there.

        Forces and fluxes so computed converge twice as fast as integrals of the stress; but only at first order where
        the part meets another that holds the field, since v is 1 in their corner. NaN like `functional`.
        """
        return float("nan")

    def integrate(
        self, function: Callable[[np.ndarray], np.ndarray] | None = None, *, degree: int = 4, **at: Any
    ) -> Any:
        """Integral over the domain of the field, or of function(values); `at` takes field, t and derivatives."""
        rule = cell_quadrature(self.mesh, degree)
        values = self.at(rule.x, **at)
        return (values if function is None else function(values)) @ rule.w

    def plot(self, field: str | None = None, kind: str | None = None) -> Drawing:
        """A picture of one field at the last time: notebooks show it, `.save(path)` writes the PNG.

        Args:
            field: name of the field; the first by default.
            kind: "field" by default, "surface" (scalars in the plane), "warped" or "streamlines" (vectors).

        Raises:
            InputError: another kind, or a field that this kind does not show.
            ComputationError: this machine cannot render.
        """
        from variform.figures import draw

        return draw(self.drawn, self.nodal(field), kind=kind or "field", title=field or "")
