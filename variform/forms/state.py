"""What a form is evaluated on: fields, parameters and geometry at the quadrature points of each integral."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import ufl
from torch import Tensor

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE, Where
from variform.forms.geometry import Directions, Entities, Geometry, cells_of, contract, facets_of
from variform.forms.interpret import Interpreter
from variform.forms.spaces import Space
from variform.mesh import Mesh

Probe = tuple[Any, str, tuple[int, ...], Directions]
"""(symbol, side, component, directions): the symbol has value 1 in this one derivative and 0 in all others."""


class Domains:
    """The cells and facets of a mesh that integrals run over, made when they are first asked for.

    Args:
        degree: of the quadrature of integrals that state none.
        dtype: a real one.
    """

    def __init__(self, mesh: Mesh, degree: int, dtype: torch.dtype, device: torch.device) -> None:
        self.mesh, self.degree, self.dtype, self.device = mesh, degree, dtype, device
        self.points = torch.as_tensor(mesh.points, dtype=dtype, device=device)
        self._entities: dict[Where, Entities] = {}
        self._geometry: dict[Where, Geometry] = {}

    def entities(self, where: Where) -> Entities:
        """The cells, or facets seen from the cell on one side."""
        if where not in self._entities:
            degree = self.degree if where.degree is None else where.degree
            make = cells_of if where.kind == "cell" else facets_of
            self._entities[where] = make(self.mesh, self._members(where), degree, self.dtype, self.device)
        return self._entities[where]

    def geometry(self, where: Where, points: Tensor | None) -> Geometry:
        """Computed once for the mesh as it is, anew for points that are given."""
        if points is not None:
            return self.entities(where).geometry(points)
        if where not in self._geometry:
            # In float64 whatever the form's dtype: differences of coordinates lose digits.
            self._geometry[where] = self.entities(where).geometry(self.points)
        return self._geometry[where]

    def _members(self, where: Where) -> np.ndarray:
        mesh, number = self.mesh, where.number
        if where.kind == "cell":
            return np.arange(len(mesh.cells)) if number == EVERYWHERE else list(mesh.regions.values())[number - 1]
        if where.kind == "exterior_facet":
            return mesh.exterior_facets if number == EVERYWHERE else list(mesh.boundaries.values())[number - 1]
        if number != EVERYWHERE:
            raise InputError(f"integrals over s.dS have no parts, got number {number}")
        return mesh.interior_facets[:, "+-".index(where.side)]


@dataclass(frozen=True, eq=False)
class State:
    """Fields and numbers of one evaluation.

    Args:
        dofs: symbol -> its space and its dofs (..., *component axes, num_dofs).
        constants: symbol -> a number, or a tensor of the batch axes.
        points: of the mesh where it differs from what `domains` holds.
    """

    domains: Domains
    dofs: Mapping[Any, tuple[Space, Tensor]]
    constants: Mapping[Any, Any]
    points: Tensor | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sides", {})
        object.__setattr__(self, "_interpreters", {})

    def side(self, where: Where) -> Side:
        """Entities and geometry of an integral, and the values there."""
        if where not in self._sides:
            entities = self.domains.entities(where)
            self._sides[where] = Side(self, entities, self.domains.geometry(where, self.points))
        return self._sides[where]

    def interpreter(self, where: Where, probe: Probe | None = None) -> Interpreter:
        """What evaluates the integrands of a measure; with a probe, their part that is linear in one derivative."""
        if probe is not None:
            return self._interpreter(where, probe)
        if where not in self._interpreters:
            self._interpreters[where] = self._interpreter(where, None)
        return self._interpreters[where]

    def _interpreter(self, where: Where, probe: Probe | None) -> Interpreter:
        def leaf(side: str) -> Callable[..., Any]:
            values = self.side(where._replace(side=side))

            def value(o: Any, component: tuple[int, ...], directions: Directions) -> Any:
                if probe is not None and o == probe[0]:
                    return float((side, component, directions) == probe[1:])
                return values(o, component, directions)

            return value

        if where.kind != "interior_facet":
            return Interpreter(leaf(""))
        sides = {side: Interpreter(leaf(side)) for side in "+-"}
        return Interpreter(leaf(where.side), sides)


class Side:
    """Values at the quadrature points of one integral, seen from one side: arrays (..., q, k), or with q = 1."""

    def __init__(self, state: State, entities: Entities, geometry: Geometry) -> None:
        self.state, self.entities, self.geometry = state, entities, geometry
        self._known: dict[Any, Tensor] = {}

    def __call__(self, o: Any, component: tuple[int, ...], directions: Directions) -> Any:
        """The value of a terminal of the form, or of its derivative."""
        if o in self.state.dofs:
            space = self.state.dofs[o][0]
            parts = self.geometry.expansion(space, component, directions)
            terms = [(self._reference(o, component, c, axes), factor) for c, axes, factor in parts]
            return sum(
                value if isinstance(factor, float) and factor == 1.0 else factor * value for value, factor in terms
            )
        if not directions:
            if o in self.state.constants:
                value = self.state.constants[o]
                return value[..., None, None] if isinstance(value, Tensor) and value.ndim else value
            for kind, quantity in GEOMETRY.items():
                if isinstance(o, kind):
                    return quantity(self.geometry, component)
        raise InputError(
            f"the torch weak form does not know {o} ({type(o).__name__})" + (" derived" if directions else "")
        )

    def _reference(self, o: Any, component: tuple[int, ...], c: int, axes: Directions) -> Tensor:
        """A derivative in the reference cell."""
        space, dofs = self.state.dofs[o]
        component = () if space.piola else component
        key = (o, component, c, axes)
        if key not in self._known:
            local = self._local(o, dofs, space, component)
            is_constant = space.degree == 0 and not axes
            self._known[key] = local if is_constant else contract(self.entities.tables(space, axes)[c], local)
        return self._known[key]

    def _local(self, o: Any, dofs: Tensor, space: Space, component: tuple[int, ...]) -> Tensor:
        """Dofs of every cell, (..., dofs a cell, k)."""
        key = (o, component)
        if key not in self._known:
            values = dofs[(..., *component, slice(None))]
            in_order = space.degree == 0 and space.family != "Real" and self.entities.all_cells
            self._known[key] = values.unsqueeze(-2) if in_order else values[..., self.entities.dofmap(space)]
        return self._known[key]


def _normal(geometry: Geometry, component: tuple[int, ...]) -> Tensor:
    if geometry.n is None:
        raise InputError("the normal s.n has a meaning on facets only: s.ds, s.dS")
    return geometry.n[component[0]]


GEOMETRY: dict[type, Callable[[Geometry, tuple[int, ...]], Tensor]] = {
    ufl.classes.SpatialCoordinate: lambda geometry, component: geometry.x[component[0]],
    ufl.classes.FacetNormal: _normal,
    ufl.classes.CellDiameter: lambda geometry, component: geometry.cell_diameter,
    ufl.classes.CellVolume: lambda geometry, component: geometry.cell_volume,
    ufl.classes.FacetArea: lambda geometry, component: geometry.facet_area,
}
"""The geometric quantities of UFL that are known."""
