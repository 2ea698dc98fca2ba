"""A problem on a mesh: DOLFINx spaces, the form in DOLFINx symbols, Dirichlet and point values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import basix.ufl
import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI
from ufl.corealg.traversal import traverse_unique_terminals

from variform.errors import InputError, unknown
from variform.forms.symbols import checked_residual
from variform.problem import Dirichlet, Field, NamedMeasure, Point, Problem, Sampled, Symbols, degrees_of, resolve
from variform.quadrature import quadrature_degree
from variform.solvers.fem.mesh import DistributedMesh

JIT = {"cffi_extra_compile_args": ["-O3", "-march=native", "-g0"], "timeout": 120}


@dataclass
class Boundary:
    """One Dirichlet condition: a function that holds its values, and where they come from.

    Args:
        hold: makes the condition that a function's values are taken at the same dofs.
        derivative: its time derivative of an order, as `interpolant` gives it; None where it is not known.
    """

    field: str
    values: fem.Function
    source: Any
    hold: Callable[[fem.Function], fem.DirichletBC]
    derivative: Callable[[int], Any] = lambda order: lambda x: np.zeros((1, x.shape[1]))
    _rates: dict[int, tuple[fem.Function, Any, fem.DirichletBC]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.condition = self.hold(self.values)

    def update(self) -> None:
        """Interpolate the values anew, after time or a parameter has changed."""
        self.values.interpolate(self.source)

    def rate(self, order: int) -> fem.DirichletBC | None:
        """The time derivative of this order, at the present time, as a condition; None where it is not known."""
        if order not in self._rates:
            function, source = fem.Function(self.values.function_space), self.derivative(order)
            self._rates[order] = function, source, self.hold(function)
        function, source, condition = self._rates[order]
        if source is None:
            return None
        function.interpolate(source)
        return condition


@dataclass
class Discrete:
    """A semi-discrete problem. `u` holds the current iterate; forms refer to `symbols`.

    In an evolution `u[field].rate` and `u[field].rate.rate` are functions too, which a time stepper fills.
    """

    problem: Problem
    domain: DistributedMesh
    degrees: dict[str, int]
    quadrature_degree: int
    u: dict[str, fem.Function]
    symbols: Symbols
    v: dict[str, Any]
    boundaries: list[Boundary] = field(default_factory=list)

    @property
    def dtype(self) -> type:
        """np.float64 or np.complex128."""
        return next(iter(self.u.values())).x.array.dtype.type

    @property
    def bcs(self) -> list[fem.DirichletBC]:
        return [b.condition for b in self.boundaries]

    @property
    def num_dofs(self) -> int:
        return sum(u.function_space.dofmap.index_map.size_global * u.function_space.dofmap.bs for u in self.u.values())

    @property
    def comm(self) -> MPI.Comm:
        return self.domain.mesh.comm

    def residual(self) -> ufl.Form:
        """The checked weak form with its stabilisation."""
        form = checked_residual(self.problem, self.symbols, self.v)
        extra = self.problem.stabilisation(self.symbols, self.v)
        form = form if extra is None else form + extra
        # A prescribed dof needs an entry on the diagonal, which a pressure, say, has not.
        zero = fem.Constant(self.domain.mesh, self.dtype(0.0))
        for name in {c.field for c in self.problem.conditions_of(Point)} if len(self.u) > 1 else ():
            form += zero * ufl.inner(self.u[name], self.v[name]) * self.symbols.dx
        return form

    def set_time(self, t: float) -> None:
        """Move time-dependent symbols and Dirichlet values to time t [s]."""
        self.symbols.t.value = t
        for boundary in self.boundaries:
            boundary.update()

    def set_parameter(self, name: str, value: float) -> None:
        """Give a number another value, also where Dirichlet values depend on it; nothing is compiled."""
        getattr(self.symbols.p, name).value = value
        for boundary in self.boundaries:
            boundary.update()

    def dofs_on(self, field: str, on: tuple[str, ...], component: int | None = None) -> np.ndarray:
        """Local numbers of the dofs of a field on parts of the boundary, in its unrolled vector; ghosts included."""
        V = self.u[field].function_space
        fdim = self.domain.mesh.topology.dim - 1
        dofs = fem.locate_dofs_topological(V, fdim, self.facets(on))
        components = range(V.dofmap.bs) if component is None else [component]
        return np.concatenate([dofs * V.dofmap.bs + c for c in components])

    def facets(self, on: tuple[str, ...]) -> np.ndarray:
        """Local numbers of the facets of named parts of the boundary.

        Raises:
            InputError: the mesh has no part of that name, or one without facets.
        """
        domain, found = self.domain, []
        for name in on:
            if name == "boundary":
                found.append(dolfinx.mesh.exterior_facet_indices(domain.mesh.topology))
            elif name in domain.boundaries:
                found.append(domain.facet_tags.find(domain.boundaries[name]))
            else:
                raise unknown("boundary of the mesh", name, domain.boundaries)
        facets = np.unique(np.concatenate(found))
        if self.comm.allreduce(len(facets)) == 0:
            raise InputError(f"boundary {', '.join(on)!r} has no facets in this mesh")
        return facets


def discretize(problem: Problem, domain: DistributedMesh, degree: int | None = None) -> Discrete:
    """Spaces, symbols and conditions of a problem on a mesh.

    Args:
        degree: of the field of highest degree; the others keep their distance to it. The fields' own by default.

    Raises:
        InputError: a boundary or region name that the mesh lacks, a point that is no node.
    """
    mesh = domain.mesh
    degrees = degrees_of(problem, degree)
    spaces = {
        name: fem.functionspace(mesh, element_of(f, mesh.basix_cell(), degrees[name]))
        for name, f in problem.fields.items()
    }
    top = max(degrees.values())
    dtype = np.complex128 if problem.is_complex else np.float64
    if dtype is np.complex128 and problem.time is not None:
        raise InputError(f"{problem.name}: complex fields are for stationary problems")
    u = {name: fem.Function(V, name=name, dtype=dtype) for name, V in spaces.items()}
    for function in u.values() if problem.time is not None else ():
        function.rate = fem.Function(function.function_space, name=f"{function.name}_t")
        function.rate.rate = fem.Function(function.function_space, name=f"{function.name}_tt")
    metadata = {"quadrature_degree": quadrature_degree(top)}

    def cells() -> ufl.Measure:
        return ufl.Measure("dx", mesh, subdomain_data=domain.cell_tags, metadata=metadata)

    def facets() -> ufl.Measure:
        return ufl.Measure("ds", mesh, subdomain_data=domain.facet_tags, metadata=metadata)

    symbols = Symbols(
        u=dict(u),
        x=ufl.SpatialCoordinate(mesh),
        t=fem.Constant(mesh, dtype(0.0 if problem.time is None else problem.time[0])),
        p=SimpleNamespace(**{name: _parameter(problem, name, mesh, max(top, 1), dtype) for name in problem.parameters}),
        n=ufl.FacetNormal(mesh),
        h=ufl.CellDiameter(mesh) if domain.source.affine else _diameters(mesh, dtype),
        dx=NamedMeasure(cells, domain.regions, "region"),
        ds=NamedMeasure(facets, domain.boundaries, "boundary"),
        dS=ufl.Measure("dS", mesh, metadata=metadata),
        inverse_step=0.0 if problem.time is None else fem.Constant(mesh, 0.0),
    )
    v = _test_functions(spaces)
    discrete = Discrete(problem, domain, degrees, quadrature_degree(top), u, symbols, v)
    discrete.boundaries += [_boundary(discrete, c) for c in problem.conditions_of(Dirichlet)]
    discrete.boundaries += [_point(discrete, c) for c in problem.conditions_of(Point)]
    return discrete


def element_of(field: Field, cell: Any, degree: int) -> Any:
    """The finite element of a field on a cell type."""
    if field.element == "Real":
        return basix.ufl.real_element(cell, value_shape=field.shape)
    if field.element in ("RT", "BDM", "N1curl"):
        return basix.ufl.element(field.element, cell.name, degree)
    return basix.ufl.element(field.element, cell.name, degree, shape=field.shape or None)


def interpolate(function: fem.Function, value: Any) -> None:
    """Nodal values of a number, a callable of x (dim, n), or a UFL expression."""
    function.interpolate(interpolant(function.function_space, value, function.x.array.dtype.type))


def interpolant(V: fem.FunctionSpace, value: Any, dtype: type = np.float64) -> Any:
    """What `Function.interpolate` takes: compiled once, evaluated as often as time changes."""
    if callable(value) and not isinstance(value, ufl.core.expr.Expr):
        dim = V.mesh.geometry.dim
        return lambda x: np.zeros((*V.value_shape, x.shape[1]), dtype=dtype) + np.asarray(value(x[:dim]))
    if isinstance(value, ufl.core.expr.Expr) and not _is_constant(value):
        return fem.Expression(value, V.element.interpolation_points, jit_options=JIT, comm=V.mesh.comm, dtype=dtype)
    # UFL folds a vector of zeros to one Zero, which has a shape but no entries to compile.
    number = 0.0 if isinstance(value, ufl.classes.Zero) else dtype(value)
    return lambda x: np.zeros((*V.value_shape, x.shape[1]), dtype=dtype) + np.reshape(number, (*np.shape(number), 1))


def _is_constant(expression: Any) -> bool:
    """Nothing but numbers: UFL can evaluate it, where it would look for the value of a function without end."""
    return all(
        isinstance(terminal, (ufl.classes.ConstantValue, ufl.classes.MultiIndex))
        for terminal in traverse_unique_terminals(expression)
    )


def _test_functions(spaces: dict[str, fem.FunctionSpace]) -> dict[str, Any]:
    if len(spaces) == 1:
        return {name: ufl.TestFunction(V) for name, V in spaces.items()}
    return dict(zip(spaces, ufl.TestFunctions(ufl.MixedFunctionSpace(*spaces.values())), strict=True))


def _parameter(problem: Problem, name: str, mesh: dolfinx.mesh.Mesh, degree: int, dtype: type) -> Any:
    spec, value = problem.parameters[name], problem.values[name]
    if spec.per_region:
        return {region: fem.Constant(mesh, dtype(v)) for region, v in value.items()}
    if not spec.field:
        return fem.Constant(mesh, dtype(value))
    space = ("Lagrange", degree) if spec.smooth else ("DG", 0)
    function = fem.Function(fem.functionspace(mesh, space), name=name, dtype=dtype)
    interpolate(function, value)
    comm, values = mesh.comm, function.x.array.real
    low = comm.allreduce(values.min(initial=np.inf), op=MPI.MIN)
    high = comm.allreduce(values.max(initial=-np.inf), op=MPI.MAX)
    for number in (low, high):
        spec.validate_number(name, number)
    return function


def _diameters(mesh: dolfinx.mesh.Mesh, dtype: type) -> fem.Function:
    """Diameter of each cell's vertices, one number a cell: UFL knows none of cells that are not affine."""
    function = fem.Function(fem.functionspace(mesh, ("DG", 0)), name="h", dtype=dtype)
    topology = mesh.topology
    cells = topology.index_map(topology.dim)
    function.x.array[:] = mesh.h(topology.dim, np.arange(cells.size_local + cells.num_ghosts, dtype=np.int32))
    return function


def _boundary(discrete: Discrete, condition: Dirichlet) -> Boundary:
    s, V = discrete.symbols, discrete.u[condition.field].function_space
    if (element := discrete.problem.fields[condition.field].element) in ("DG", "Real"):
        raise InputError(
            f"a Dirichlet condition on {condition.field!r}: its element {element} has no unknowns on the boundary; "
            "state the condition in the weak form"
        )
    facets, fdim = discrete.facets(condition.names), discrete.domain.mesh.topology.dim - 1
    target, dofs, part = V, None, None
    if condition.component is None:
        dofs = fem.locate_dofs_topological(V, fdim, facets)
    else:
        part = _component(V, condition)
        target, _ = part.collapse()
        dofs = fem.locate_dofs_topological((part, target), fdim, facets)
    values = fem.Function(target, dtype=discrete.dtype)

    def hold(function: fem.Function) -> fem.DirichletBC:
        return fem.dirichletbc(function, dofs) if part is None else fem.dirichletbc(function, dofs, part)

    if isinstance(condition.value, Sampled):
        source, derivative = _sampled(discrete, condition.value, target)
    else:
        time = ufl.variable(s.t)
        value = resolve(condition, target.value_shape, s.x, time, s.p)
        if not discrete.problem.is_complex and any(
            isinstance(o, ufl.classes.ComplexValue) for o in traverse_unique_terminals(value)
        ):
            raise InputError(
                f"the Dirichlet value of {condition.field!r} is complex: say so of its field, Field(..., complex=True)"
            )
        source = interpolant(target, value, discrete.dtype)

        def derivative(order: int) -> Any:
            differentiated = value
            for _ in range(order):
                differentiated = ufl.diff(differentiated, time)
            return interpolant(target, ufl.algorithms.expand_derivatives(differentiated))

    boundary = Boundary(condition.field, values, source, hold, derivative)
    boundary.update()
    return boundary


def _sampled(discrete: Discrete, data: Sampled, V: fem.FunctionSpace) -> tuple[Any, Callable[[int], Any]]:
    """What `Function.interpolate` takes for values from NumPy, and the same for their derivatives in time."""
    dim = V.mesh.geometry.dim

    def at_present(f: Callable[..., Any] | None) -> Any:
        if f is None:
            return None

        def values(x: np.ndarray) -> np.ndarray:
            return np.zeros((*V.value_shape, x.shape[1])) + np.asarray(f(x[:dim], float(discrete.symbols.t.value)))

        return values

    known = (data.values, data.rate, data.second_rate)
    return at_present(data.values), lambda order: at_present(known[order])


def _component(V: fem.FunctionSpace, condition: Dirichlet | Point) -> fem.FunctionSpace:
    if V.dofmap.bs == 1 or condition.component not in range(V.dofmap.bs):
        raise InputError(
            f"a condition on component {condition.component} of {condition.field!r}: "
            + (f"its components are 0 to {V.dofmap.bs - 1}" if V.dofmap.bs > 1 else "it has no nodal components")
        )
    return V.sub(condition.component)


def _point(discrete: Discrete, condition: Point) -> Boundary:
    V, comm = discrete.u[condition.field].function_space, discrete.comm
    dim = discrete.domain.mesh.geometry.dim
    part = None if condition.component is None else _component(V, condition)
    target, to_parent = (V, None) if part is None else part.collapse()
    x = target.tabulate_dof_coordinates()[:, :dim]
    if len(condition.at) != dim:
        raise InputError(f"the point {condition.at} of {condition.field!r} needs {dim} coordinates")
    away = np.linalg.norm(x - np.array(condition.at), axis=1)
    size = comm.allreduce(abs(x).max(initial=0.0), op=MPI.MAX) or 1.0
    here = np.flatnonzero(away < 1e-8 * size).astype(np.int32)
    if comm.allreduce(len(here)) == 0:
        nearest = comm.allreduce(away.min(initial=np.inf), op=MPI.MIN)
        raise InputError(f"{condition.field!r} has no node at {condition.at}; the nearest is {nearest:.3g} m away")
    values = fem.Function(target, dtype=discrete.dtype)
    source = interpolant(target, condition.value, discrete.dtype)
    values.interpolate(source)
    if part is None:
        return Boundary(condition.field, values, source, lambda function: fem.dirichletbc(function, here))
    dofs = [np.asarray(to_parent, dtype=np.int32).ravel()[here], here]
    return Boundary(condition.field, values, source, lambda function: fem.dirichletbc(function, dofs, part))
