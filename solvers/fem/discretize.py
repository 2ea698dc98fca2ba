"""A problem on a mesh: DOLFINx spaces, the form in DOLFINx symbols, Dirichlet values."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import dolfinx
import numpy as np
import ufl
from dolfinx import fem

from variform.errors import InputError, unknown
from variform.forms.symbols import checked_residual
from variform.problem import NamedMeasure, Problem, Symbols, resolve
from variform.quadrature import quadrature_degree
from variform.solvers.fem.mesh import DistributedMesh

JIT = {"cffi_extra_compile_args": ["-O3", "-march=native", "-g0"], "timeout": 120}


@dataclass
class Boundary:
    """One Dirichlet condition: a function that holds its values, and where they come from."""

    values: fem.Function
    source: Any
    condition: fem.DirichletBC

    def update(self) -> None:
        """Interpolate the values anew, after time or a parameter has changed."""
        self.values.interpolate(self.source)


@dataclass
class Discrete:
    """A semi-discrete problem. `u` holds the current iterate; forms refer to `symbols`."""

    problem: Problem
    domain: DistributedMesh
    degrees: dict[str, int]
    quadrature_degree: int
    u: dict[str, fem.Function]
    symbols: Symbols
    v: dict[str, Any]
    boundaries: list[Boundary] = field(default_factory=list)

    @property
    def bcs(self) -> list[fem.DirichletBC]:
        return [b.condition for b in self.boundaries]

    @property
    def num_dofs(self) -> int:
        return sum(u.function_space.dofmap.index_map.size_global * u.function_space.dofmap.bs for u in self.u.values())

    def residual(self) -> ufl.Form:
        """The checked weak form with its stabilisation."""
        form = checked_residual(self.problem, self.symbols, self.v)
        extra = self.problem.stabilisation(self.symbols, self.v)
        return form if extra is None else form + extra

    def set_time(self, t: float) -> None:
        """Move time-dependent symbols and Dirichlet values to time t [s]."""
        self.symbols.t.value = t
        for boundary in self.boundaries:
            boundary.update()


def discretize(problem: Problem, domain: DistributedMesh, degree: int | None = None) -> Discrete:
    """Spaces, symbols and conditions of a problem on a mesh.

    Args:
        degree: of every field; each field's own by default.

    Raises:
        InputError: a boundary or region name that the mesh lacks.
    """
    mesh = domain.mesh
    degrees = {name: degree or f.degree for name, f in problem.fields.items()}
    spaces = {
        name: fem.functionspace(mesh, ("Lagrange", degrees[name], f.shape) if f.shape else ("Lagrange", degrees[name]))
        for name, f in problem.fields.items()
    }
    top = max(degrees.values())
    u = {name: fem.Function(V, name=name) for name, V in spaces.items()}
    measures = {"metadata": {"quadrature_degree": quadrature_degree(top)}}
    symbols = Symbols(
        u=dict(u),
        x=ufl.SpatialCoordinate(mesh),
        t=fem.Constant(mesh, 0.0 if problem.time is None else float(problem.time[0])),
        p=SimpleNamespace(**{name: _parameter(problem, name, mesh, top) for name in problem.parameters}),
        n=ufl.FacetNormal(mesh),
        h=ufl.CellDiameter(mesh),
        dx=NamedMeasure(ufl.Measure("dx", mesh, subdomain_data=domain.cell_tags, **measures), domain.regions, "region"),
        ds=NamedMeasure(
            ufl.Measure("ds", mesh, subdomain_data=domain.facet_tags, **measures), domain.boundaries, "boundary"
        ),
    )
    v = _test_functions(spaces)
    discrete = Discrete(problem, domain, degrees, quadrature_degree(top), u, symbols, v)
    for name in problem.fields:
        for condition in problem.dirichlet(name):
            discrete.boundaries.append(_boundary(discrete, condition, spaces[name]))
    return discrete


def interpolate(function: fem.Function, value: Any) -> None:
    """Nodal values of a number, a callable of x (dim, n), or a UFL expression."""
    function.interpolate(interpolant(function.function_space, value))


def interpolant(V: fem.FunctionSpace, value: Any) -> Any:
    """What `Function.interpolate` takes: compiled once, evaluated as often as time changes."""
    if callable(value) and not isinstance(value, ufl.core.expr.Expr):
        dim = V.mesh.geometry.dim
        return lambda x: value(x[:dim])
    try:
        # UFL folds a vector of zeros to one Zero, which has a shape but no entries to compile.
        number = 0.0 if isinstance(value, ufl.classes.Zero) else np.float64(value)
    except (TypeError, ValueError):
        return fem.Expression(value, V.element.interpolation_points, jit_options=JIT, comm=V.mesh.comm)
    return lambda x: np.full((*V.value_shape, x.shape[1]), number)


def _test_functions(spaces: dict[str, fem.FunctionSpace]) -> dict[str, Any]:
    if len(spaces) == 1:
        return {name: ufl.TestFunction(V) for name, V in spaces.items()}
    return dict(zip(spaces, ufl.TestFunctions(ufl.MixedFunctionSpace(*spaces.values())), strict=True))


def _parameter(problem: Problem, name: str, mesh: dolfinx.mesh.Mesh, degree: int) -> Any:
    spec, value = problem.parameters[name], problem.values[name]
    if spec.per_region:
        return {region: fem.Constant(mesh, v) for region, v in value.items()}
    if not spec.field:
        return fem.Constant(mesh, value)
    space = ("Lagrange", degree) if spec.smooth else ("DG", 0)
    function = fem.Function(fem.functionspace(mesh, space), name=name)
    interpolate(function, value)
    return function


def _boundary(discrete: Discrete, condition: Any, V: fem.FunctionSpace) -> Boundary:
    domain, s = discrete.domain, discrete.symbols
    topology, fdim = domain.mesh.topology, domain.mesh.topology.dim - 1
    facets = []
    for name in condition.names:
        if name == "boundary":
            facets.append(dolfinx.mesh.exterior_facet_indices(topology))
        elif name in domain.boundaries:
            facets.append(domain.facet_tags.find(domain.boundaries[name]))
        else:
            raise unknown("boundary of the mesh", name, domain.boundaries)
    dofs = fem.locate_dofs_topological(V, fdim, np.unique(np.concatenate(facets)))
    if domain.mesh.comm.allreduce(len(dofs)) == 0:
        raise InputError(f"boundary {condition.on!r} has no facets in this mesh")
    values = fem.Function(V)
    source = interpolant(V, resolve(condition, V.value_shape, s.x, s.t, s.p))
    boundary = Boundary(values, source, fem.dirichletbc(values, dofs))
    boundary.update()
    return boundary
