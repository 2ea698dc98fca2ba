"""A finite-element solution: evaluated anywhere, on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import dolfinx
import numpy as np
import ufl
from dolfinx import fem
from mpi4py import MPI

from variform import meshes
from variform.errors import InputError, unknown
from variform.mesh import SIMPLICES, Mesh
from variform.problem import Mean, Symbols
from variform.quadrature import distance_outside, pull_back, reference_map
from variform.solution import Cost, Solution, Status
from variform.solvers.fem import checkpoint
from variform.solvers.fem.discretize import JIT, Discrete

FEW = 100
"""Points up to which their places in the reference cell are remembered."""


class FemSolution(Solution):
    """Dofs at one or more times. Every method is collective: call it on all ranks with the same arguments.

    Args:
        discrete: the discretisation that was solved.
        snapshots: (time, dofs of each field on this rank); the last is the present state of `discrete.u`.
    """

    support = "mesh"

    def __init__(
        self,
        discrete: Discrete,
        snapshots: list[tuple[float | None, dict[str, np.ndarray]]],
        cost: Cost,
        discretization: dict[str, Any],
        status: Status = "done",
    ) -> None:
        self._discrete, self._snapshots = discrete, snapshots
        self.cost, self.discretization, self.status = cost, discretization, status
        self._gradients: dict[str, tuple[Any, fem.Function]] = {}
        self._compiled: dict[Any, tuple[Any, Any]] = {}
        self._pulled_back: dict[bytes, np.ndarray] = {}  # of few points, such as an evolution's probes
        self._located: tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None

    @cached_property
    def _tree(self) -> Any:
        domain = self._discrete.domain.mesh
        dim, padding = domain.topology.dim, 1e-10
        if self.mesh.order > 1:  # curved cells leave the box around their nodes
            known = domain.topology.index_map(dim)
            padding = 0.05 * domain.h(dim, np.arange(known.size_local, dtype=np.int32)).max(initial=0.0)
        return dolfinx.geometry.bb_tree(domain, dim, padding=padding)

    @property
    def discrete(self) -> Discrete:
        """The discretisation, which holds the state that was asked for last; see `restore`."""
        return self._discrete

    def restore(self) -> None:
        """Put the last state into the discretisation."""
        for name in self._discrete.u:
            self._restore(name, None)

    @property
    def mesh(self) -> Mesh:
        return self._discrete.domain.source

    @property
    def times(self) -> list[float | None]:
        return [t for t, _ in self._snapshots]

    @property
    def drawn(self) -> Mesh:
        return self.mesh.second_order if max(self._discrete.degrees.values()) > 1 else self.mesh

    def nodal(self, field: str | None = None, t: float | None = None) -> np.ndarray:
        function, mesh = self._restore(field, t), self.drawn
        V = function.function_space
        shape, comm = V.value_shape, V.mesh.comm
        if self._element(function.name) == "Real":
            return np.full(len(mesh.points), self._number(function))
        # In each cell by itself, and then the mean of all cells at a node: they differ for DG, RT and their like.
        nodes = fem.functionspace(V.mesh, ("DG", mesh.order, shape) if shape else ("DG", mesh.order))
        values = fem.Function(nodes, dtype=self._discrete.dtype)
        values.interpolate(function)
        topology, bs = V.mesh.topology, nodes.dofmap.bs
        owned = topology.index_map(topology.dim).size_local
        by_cell = values.x.array.reshape(-1, bs)[nodes.dofmap.list[:owned]]
        result, count = (
            np.zeros((len(mesh.points), bs), dtype=by_cell.dtype),
            np.bincount(mesh.nodes.ravel(), minlength=len(mesh.points)),
        )
        for cells, part in comm.allgather((topology.original_cell_index[:owned], by_cell)):
            np.add.at(result, mesh.nodes[cells], part)
        return (result.T / np.maximum(count, 1)).reshape(*shape, -1)

    def functional(self, form: Callable[[Symbols], Any]) -> float:
        discrete = self._discrete
        for name in discrete.u:
            self._restore(name, None)
        integral = form(discrete.symbols)
        return 0.0 if integral == 0 else self._assemble(integral)

    def _assemble(self, integral: ufl.Form) -> Any:
        """The value of an integral, compiled once; complex of complex fields."""
        known = self._compiled.get(hash(integral))
        if known is None or not known[0].equals(integral):
            compiled = fem.form(integral, jit_options=JIT, dtype=self._discrete.dtype)
            known = self._compiled[hash(integral)] = integral, compiled
        return np.asarray(self._discrete.comm.allreduce(fem.assemble_scalar(known[1]))).item()

    def integrate(
        self, function: Callable[[np.ndarray], np.ndarray] | None = None, *, degree: int = 4, **at: Any
    ) -> Any:
        """As for every solution; the integral of a field itself is assembled in the cells, which is exact."""
        if function is not None or at.get("derivatives", 0):
            return super().integrate(function, degree=degree, **at)
        u = self._restore(at.get("field"), at.get("t"))
        dx = ufl.Measure("dx", u.function_space.mesh)
        if not u.ufl_shape:
            return self._assemble(u * dx)
        return np.array([self._assemble(u[i] * dx) for i in np.ndindex(*u.ufl_shape)]).reshape(u.ufl_shape)

    def reaction(self, field: str, on: str | tuple[str, ...], component: int | None = None) -> float:
        discrete = self._discrete
        names = (on,) if isinstance(on, str) else tuple(on)
        if field not in discrete.u:
            raise unknown("field", field, discrete.u)
        if (element := self._element(field)) != "Lagrange":
            raise InputError(f"the reaction of {field!r}: its element {element} has no values on the boundary to hold")
        for name in discrete.u:
            self._restore(name, None)
        if ("residual", field) not in self._compiled:
            residual = discrete.residual()
            block = list(discrete.u).index(field)
            form = ufl.extract_blocks(residual)[block] if len(discrete.u) > 1 else residual
            self._compiled["residual", field] = form, fem.form(form, jit_options=JIT, dtype=discrete.dtype)
        V = discrete.u[field].function_space
        if ("dofs", field, names, component) not in self._compiled:
            dofs = discrete.dofs_on(field, names, component)
            owned = dofs[dofs < V.dofmap.index_map.size_local * V.dofmap.bs]
            self._compiled["dofs", field, names, component] = names, owned
        owned = self._compiled["dofs", field, names, component][1]
        return np.asarray(discrete.comm.allreduce(self._residual(field)[owned].sum())).item()

    def _residual(self, field: str) -> np.ndarray:
        """The residual vector of one field, owned dofs added up."""
        V, dtype = self._discrete.u[field].function_space, self._discrete.dtype
        b = fem.create_vector(V, dtype=dtype)
        fem.assemble_vector(b.array, self._compiled["residual", field][1])
        b.scatter_reverse(dolfinx.la.InsertMode.add)
        return b.array

    def exact_errors(self, field: str | None = None) -> dict[str, float]:
        """Errors to the problem's exact solution at the last time, by quadrature of degree 2k + 3 in the cells.

        Returns:
            relative_l2 = ||u_h - u|| / ||u||, relative_h1 the same of the gradients, and, for an energy of one field,
            relative_energy = sqrt(a(e, e) / a(u, u)) with a its second derivative at u_h. Of a field that a Mean
            condition fixes, constants do not count. Empty where no exact solution is known.
        """
        discrete, problem = self._discrete, self._discrete.problem
        name = field or next(iter(discrete.u))
        u, s = self._restore(name, None), discrete.symbols
        if problem.time is not None:
            s.t.value = self.times[-1]
        exact = problem.by_field(problem.exact(s.x, s.t, s.p)).get(name)
        if exact is None:
            return {}
        exact = ufl.as_ufl(exact)
        if isinstance(exact, ufl.classes.Zero):  # which knows no mesh
            exact = 0 * u
        return self._errors(name, u, exact, 2 * max(discrete.degrees.values()) + 3)

    def errors(self, reference: FemSolution, field: str | None = None) -> dict[str, float]:
        """Errors to another solution of the same problem, on its (finer) mesh; names as of `exact_errors`."""
        name = field or next(iter(self._discrete.u))
        coarse, fine = self._restore(name, None), reference._restore(name, None)
        V = fine.function_space
        cells = np.arange(V.mesh.topology.index_map(V.mesh.topology.dim).size_local, dtype=np.int32)
        here = fem.Function(V, dtype=self._discrete.dtype)
        data = fem.create_interpolation_data(V, coarse.function_space, cells, padding=1e-8)
        here.interpolate_nonmatching(coarse, cells, data)
        here.x.scatter_forward()
        return reference._errors(name, here, fine, reference._discrete.quadrature_degree)

    def _errors(self, name: str, u: fem.Function, truth: Any, degree: int) -> dict[str, float]:
        discrete, problem = self._discrete, self._discrete.problem
        dx = ufl.Measure("dx", discrete.domain.mesh, metadata={"quadrature_degree": degree})

        def integral(form: Any) -> float:
            return discrete.comm.allreduce(fem.assemble_scalar(fem.form(form, jit_options=JIT, dtype=discrete.dtype)))

        error = u - truth
        if any(c.field == name for c in problem.conditions_of(Mean)):
            volume = integral(fem.Constant(discrete.domain.mesh, discrete.dtype(1.0)) * dx)
            error = error - fem.Constant(discrete.domain.mesh, integral(error * dx) / volume)
            truth = truth - fem.Constant(discrete.domain.mesh, integral(truth * dx) / volume)
        norms = {"relative_l2": lambda e: ufl.inner(e, e) * dx}
        if self._element(name) == "Lagrange":
            norms["relative_h1"] = lambda e: ufl.inner(ufl.grad(e), ufl.grad(e)) * dx
        energy = problem.energy(discrete.symbols) if len(discrete.u) == 1 else None
        if energy is not None:
            own = discrete.u[name]
            v, w = ufl.TestFunction(own.function_space), ufl.TrialFunction(own.function_space)
            a = ufl.algorithms.expand_derivatives(ufl.derivative(ufl.derivative(energy, own, v), own, w))
            norms["relative_energy"] = lambda e: ufl.replace(a, {v: e, w: e})
        squares = {norm: (integral(of(error)).real, integral(of(truth)).real) for norm, of in norms.items()}
        return {norm: float(np.sqrt(e / size)) if size else float("nan") for norm, (e, size) in squares.items()}

    def write(self, path: Path | str) -> None:
        """All fields at the last time as a `.vtu` or `.vtkhdf` file, by the first rank; collective."""
        values = {name: self.nodal(name) for name in self._discrete.u}
        if self._discrete.comm.rank == 0:
            meshes.write(Path(path), self.drawn, values)
        self._discrete.comm.barrier()

    def save(self, folder: Path) -> Path:
        """A checkpoint of the last state, from which `solve` starts on any number of ranks; collective."""
        for name in self._discrete.u:
            self._restore(name, None)
        return checkpoint.write(folder / "solution.h5", self._discrete)

    def at(
        self,
        x: np.ndarray,
        *,
        field: str | None = None,
        t: float | None = None,
        derivatives: int = 0,
        outside: Literal["nan", "error"] = "nan",
    ) -> np.ndarray:
        x = np.atleast_2d(np.asarray(x, dtype=float))
        if len(x) != self.mesh.dim:
            raise InputError(f"points need shape ({self.mesh.dim}, n), got {x.shape}")
        function = self._restore(field, t)
        shape = function.ufl_shape
        if derivatives not in (0, 1):
            raise InputError(f"finite elements give values and gradients, not derivatives={derivatives}")
        dim = (self.mesh.dim,) if derivatives else ()
        if self._element(function.name) == "Real":
            values = np.full((x.shape[1], 1), 0.0 if derivatives else self._number(function))
        elif derivatives and self._discrete.degrees[function.name] == 0:
            values = np.zeros((x.shape[1], *shape, *dim))
        else:
            values = self._evaluate(self._gradient(function) if derivatives else function, x)
        values = values.reshape(-1, *shape, *dim).transpose(*range(1, 1 + len(shape) + len(dim)), 0)
        if outside == "error" and np.isnan(values).any():
            lost = x[:, np.isnan(values.reshape(-1, x.shape[1])).any(axis=0)]
            raise InputError(f"{lost.shape[1]} points lie outside the domain, first {tuple(lost[:, 0].tolist())}")
        return values

    def _element(self, field: str) -> str:
        return self._discrete.problem.fields[field].element

    def _number(self, function: fem.Function) -> float:
        """The value of a Real field, on every rank."""
        own = function.x.array[0] if function.function_space.dofmap.index_map.size_local else 0.0
        return float(self._discrete.comm.allreduce(own))

    def _restore(self, field: str | None, t: float | None) -> fem.Function:
        """The field's function, holding the values of time t."""
        name = field or next(iter(self._discrete.u))
        if name not in self._discrete.u:
            raise unknown("field", name, self._discrete.u)
        index = -1
        if t is not None:
            known = np.array(self.times, dtype=float)
            matches = np.flatnonzero(np.isclose(known, t, rtol=1e-9, atol=1e-14))
            if not len(matches):
                raise InputError(f"time {t:g} was not stored; stored times: {', '.join(f'{k:g}' for k in known)}")
            index = matches[-1]
        function = self._discrete.u[name]
        function.x.array[:] = self._snapshots[index][1][name]
        return function

    def _gradient(self, function: fem.Function) -> fem.Function:
        """grad u_h, which on straight simplices is polynomial of one degree less, so that interpolation is exact.

        RT, BDM and N1curl are of the full degree, and so are parallelograms and boxes. On other quadrilaterals and
        hexahedra and on curved cells it is rational, and approximated in the same space.
        """
        if function.name not in self._gradients:
            simplices = self.mesh.cell_type == SIMPLICES[self.mesh.dim]
            lower = simplices and self._element(function.name) in ("Lagrange", "DG")
            degree = self._discrete.degrees[function.name] - lower
            shape = (*function.ufl_shape, self.mesh.dim)
            V = fem.functionspace(function.function_space.mesh, ("DG", degree, shape))
            dtype, points = self._discrete.dtype, V.element.interpolation_points
            expression = fem.Expression(ufl.grad(function), points, jit_options=JIT, dtype=dtype)
            self._gradients[function.name] = expression, fem.Function(V, dtype=dtype)
        expression, gradient = self._gradients[function.name]
        gradient.interpolate(expression)
        return gradient

    def _evaluate(self, function: fem.Function, x: np.ndarray) -> np.ndarray:
        """Values (n, components): each point by the lowest rank that has a cell there; NaN where none has."""
        comm = self._discrete.domain.mesh.comm
        points, found, cells = self._locate(x)
        components = int(np.prod(function.ufl_shape, initial=1))
        values = np.zeros((len(points), components), dtype=self._discrete.dtype)
        if found.any():
            values[found] = self._in_cells(function, points[found], cells).reshape(-1, components)
        nobody = ~found
        if comm.size > 1:
            owner = np.where(found, comm.rank, comm.size)
            comm.Allreduce(MPI.IN_PLACE, owner, op=MPI.MIN)
            values[owner != comm.rank] = 0.0
            comm.Allreduce(MPI.IN_PLACE, values, op=MPI.SUM)
            nobody = owner == comm.size
        values[nobody] = np.nan
        return values

    def _in_cells(self, function: fem.Function, points: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Values (n, components) at points (n, 3), each in a cell of its own."""
        if self.mesh.affine:
            return function.eval(points, cells)
        # DOLFINx's Newton's method starts in a corner: on quadrilaterals moved by a fifth of their size it failed for 3
        # points in 100,000, and more often in curved cells.
        V, topology = function.function_space, self._discrete.domain.mesh.topology
        original, element = topology.original_cell_index[cells], V.element.basix_element
        key = points.tobytes() + original.tobytes() if len(points) <= FEW else b""
        X = self._pulled_back.get(key)
        if X is None:
            X = pull_back(self.mesh, points[:, : self.mesh.dim], original)
            if key:
                self._pulled_back[key] = X
        dofs = function.x.array.reshape(-1, V.dofmap.bs)[V.dofmap.list[cells]]
        if V.element.needs_dof_transformations:
            topology.create_entity_permutations()
            V.element.Tt_apply(dofs.reshape(-1), topology.get_cell_permutation_info()[cells], V.dofmap.bs)
        reference = np.einsum("nkd,nkb->nbd", element.tabulate(0, X)[0], dofs)
        J = reference_map(self.mesh, X[:, None], original)[1][:, 0]
        return element.push_forward(reference, J, np.linalg.det(J), np.linalg.inv(J))

    def _locate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (n, 3), which of them have a cell on this rank, and those cells; remembered for the gradient."""
        if self._located is None or not np.array_equal(self._located[0], x):
            points = np.zeros((x.shape[1], 3))
            points[:, : len(x)] = x.T
            candidates = dolfinx.geometry.compute_collisions_points(self._tree, points)
            cell = self._in_affine_cells(points, candidates) if self.mesh.affine else self._by_map(x.T, candidates)
            found = cell >= 0
            self._located = x.copy(), (points, found, cell[found])
        return self._located[1]

    def _in_affine_cells(self, points: np.ndarray, candidates: Any) -> np.ndarray:
        """The cell of each point (n, 3), or -1."""
        cells = dolfinx.geometry.compute_colliding_cells(self._discrete.domain.mesh, candidates, points)
        found = cells.offsets[1:] > cells.offsets[:-1]
        cell = np.full(len(points), -1, dtype=np.int32)
        cell[found] = cells.array[cells.offsets[:-1][found]]
        return cell

    def _by_map(self, x: np.ndarray, candidates: Any) -> np.ndarray:
        """The same for points x (n, dim) and cells that are not the convex hull of their nodes, where DOLFINx looks."""
        point = np.repeat(np.arange(len(x)), np.diff(candidates.offsets))
        original = self._discrete.domain.mesh.topology.original_cell_index
        outside = distance_outside(self.mesh, pull_back(self.mesh, x[point], original[candidates.array]))
        inside = np.flatnonzero(outside < 1e-8)
        inside = inside[np.argsort(-outside[inside], kind="stable")]
        cell = np.full(len(x), -1, dtype=np.int32)
        cell[point[inside]] = candidates.array[inside]  # the last one written, which lies deepest, remains
        return cell


class PresentState(FemSolution):
    """The state of an evolution under way: nothing is stored, nothing restored."""

    def __init__(self, discrete: Discrete) -> None:
        super().__init__(discrete, [], Cost(0.0), {})
        self._residuals: dict[str, np.ndarray] = {}

    def changed(self) -> None:
        """The state is another one than before."""
        self._residuals.clear()

    def _residual(self, field: str) -> np.ndarray:
        if field not in self._residuals:  # drag and lift are of one vector
            self._residuals[field] = super()._residual(field)
        return self._residuals[field]

    @property
    def times(self) -> list[float | None]:
        return [float(self._discrete.symbols.t.value)]

    def _restore(self, field: str | None, t: float | None) -> fem.Function:
        name = field or next(iter(self._discrete.u))
        if name not in self._discrete.u:
            raise unknown("field", name, self._discrete.u)
        return self._discrete.u[name]
