"""The equilibrated flux: a guaranteed bound of the energy error of diffusion (Prager and Synge)."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import basix.ufl
import dolfinx
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fp
from petsc4py import PETSc

from variform.errors import InputError
from variform.forms.derive import Term, acting, is_zero, terms
from variform.forms.symbols import checked_residual
from variform.problem import Periodic, Sampled, resolve
from variform.solvers.fem.adaptive.patches import Balance
from variform.solvers.fem.adaptive.residual import on_cells
from variform.solvers.fem.discretize import JIT, Discrete, interpolate
from variform.solvers.fem.linear import DIRECT

MET = 1e-18
"""Dirichlet data are met where the square of what is missing is less, relative to that of u: the solver's tolerance."""


PREFIX = "variform_equilibrated_"


class EquilibratedFlux:
    """For -div(K grad u) + c u = f: sigma in RT with div sigma = P(c u_h - f), near K grad u_h.

    With r = c u_h - f - div sigma and, where the form has g v on the boundary, r_F = g + sigma n,
    |u - u_h|^2 <= sum over cells of (|K^(-1/2) (sigma - K grad u_h)| + w |r| + sum_F w_F |r_F|)^2 + |m|^2
    in the energy norm; w = min(h / pi k^(-1/2), c^(-1/2)) with k the least eigenvalue of K, w_F of the trace inequality
    of a simplex, and m a function that makes up for what Dirichlet data u_h does not meet: their interpolation error,
    taken to zero within the cells at the boundary. On one rank sigma is the sum of small mixed problems about the
    vertices, on several the solution of a global one, with a bound a little lower.

    `guaranteed` says whether all terms are there: not for Dirichlet data that are known at points only, or that change
    expression at a corner where they are not met. Integrals are by quadrature.

    Args:
        discrete: holds the solution, of one scalar Lagrange field.
        degree: of the Raviart-Thomas space; by default one more than that of the solution, so that the bound is tight.
        whole: take the global problem; by default on several ranks only.

    Raises:
        InputError: the form is not of this kind, or c or a Robin coefficient is negative.

    Source: Prager and Synge, Quart. Appl. Math. 5 (1947), 241; Braess and Schöberl, Math. Comp. 77 (2008), 651; Ern and
    Vohralík, SIAM J. Numer. Anal. 53 (2015), 1058.
    """

    def __init__(self, discrete: Discrete, degree: int | None = None, *, whole: bool | None = None) -> None:
        self.discrete = discrete
        (self.u,) = _scalar(discrete).values()
        (self.name,) = discrete.u
        form = checked_residual(discrete.problem, discrete.symbols, discrete.v)
        self.by_measure = terms(form, discrete.v[self.name])
        self.inside = on_cells(discrete, self.by_measure)
        _refuse(discrete)
        self.K, self.c = _coefficients(discrete, self.inside, self.u)
        mesh = discrete.domain.mesh
        self.facets, self.numbers = self._free()
        parts = sorted(set().union(*discrete.comm.allgather(set(self.numbers.tolist()))))
        self.natural = {number: self._natural(number) for number in parts}
        self.robin = {n: _robin(discrete, g, self.u, self._ds(n)) for n, g in self.natural.items()}
        k = degree or discrete.degrees[self.name] + 1
        self.V = fem.functionspace(mesh, basix.ufl.element("RT", mesh.basix_cell(), k))
        self.Q = fem.functionspace(mesh, ("DG", k - 1))
        self._whole = discrete.comm.size > 1 if whole is None else whole
        self.guaranteed = True

    @cached_property
    def sigma(self) -> fem.Function:
        """The flux."""
        if self._whole:
            return self._solve()
        topology = self.discrete.domain.mesh.topology
        cells = np.array([topology.connectivity(topology.dim - 1, topology.dim).links(f)[0] for f in self.facets])
        about = topology.connectivity(topology.dim, topology.dim - 1).array.reshape(-1, topology.dim + 1)
        local = np.argmax(about[cells] == self.facets[:, None], axis=1) if len(cells) else cells
        return Balance(
            V=self.V,
            Q=self.Q,
            flux=self.inside.flux,
            source=self.inside.source,
            inverse=ufl.inv(self.K),
            free=np.stack([cells, local], axis=1).astype(np.int64).reshape(-1, 2),
            ds=self._ds(metadata={"quadrature_degree": self.discrete.quadrature_degree}),
            natural=self.natural,
            degree=self.discrete.quadrature_degree,
        ).solve()

    def _free(self) -> tuple[np.ndarray, np.ndarray]:
        """Facets of the boundary where u is free, and the number of the part in which each lies, 0 for none."""
        discrete = self.discrete
        topology = discrete.domain.mesh.topology
        topology.create_connectivity(topology.dim, topology.dim - 1)
        facets = dolfinx.mesh.exterior_facet_indices(topology)
        for condition in discrete.problem.dirichlet(self.name):
            facets = np.setdiff1d(facets, discrete.facets(condition.names))
        tags = discrete.domain.facet_tags
        known = topology.index_map(topology.dim - 1)
        numbers = np.zeros(known.size_local + known.num_ghosts, dtype=np.int32)
        numbers[tags.indices] = tags.values
        return facets, numbers[facets]

    def _natural(self, number: int) -> Any:
        """The coefficient g of v on a part of the boundary; None where it is zero."""
        own = acting(self.by_measure, "exterior_facet", number)
        return None if own is None or is_zero(own.source) else own.source

    @property
    def _dx(self) -> ufl.Measure:
        return ufl.Measure("dx", self.discrete.domain.mesh, metadata=self._metadata)

    @property
    def _ds(self) -> ufl.Measure:
        """Over the facets where u is free, by the number of their part."""
        mesh = self.discrete.domain.mesh
        order = np.argsort(self.facets)
        tags = dolfinx.mesh.meshtags(
            mesh, mesh.topology.dim - 1, self.facets[order].astype(np.int32), self.numbers[order]
        )
        return ufl.Measure("ds", mesh, subdomain_data=tags, metadata=self._metadata)

    @property
    def _metadata(self) -> dict[str, int]:
        return {"quadrature_degree": 2 * self.discrete.degrees[self.name] + 3}

    def _solve(self) -> fem.Function:
        W = ufl.MixedFunctionSpace(self.V, self.Q)
        (s, r), (t, q) = ufl.TrialFunctions(W), ufl.TestFunctions(W)
        dx = self._dx
        zero = fem.Constant(self.discrete.domain.mesh, 0.0)
        a = (ufl.inner(_inverse(self.K, s), t) + r * ufl.div(t) + q * ufl.div(s) + zero * r * q) * dx
        # A source that is zero has no domain, but the block must be there.
        source = zero if is_zero(self.inside.source) else self.inside.source
        L = ufl.inner(ufl.grad(self.u), t) * dx + source * q * dx
        bcs, options = self._conditions(), {**DIRECT, "ksp_error_if_not_converged": True}
        problem = fp.LinearProblem(
            ufl.extract_blocks(a),
            ufl.extract_blocks(L),
            bcs=bcs,
            petsc_options_prefix=PREFIX,
            petsc_options=options,
            form_compiler_options=None,
            jit_options=JIT,
        )
        sigma, _ = problem.solve()
        for key in options:
            PETSc.Options(PREFIX).delValue(key)
        return sigma

    def _conditions(self) -> list[fem.DirichletBC]:
        """sigma n = -g where u is free: the projection of g onto each facet."""
        if not self.discrete.comm.allreduce(len(self.facets)):
            return []
        mesh, n, ds = self.discrete.domain.mesh, ufl.FacetNormal(self.discrete.domain.mesh), self._ds
        dofs = fem.locate_dofs_topological(self.V, mesh.topology.dim - 1, self.facets)
        value = fem.Function(self.V)
        s, t = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        numbers = tuple(self.natural)
        A = fem.assemble_matrix(fem.form(ufl.dot(s, n) * ufl.dot(t, n) * ds(numbers), jit_options=JIT))
        A.scatter_reverse()
        given = ufl.Form([])
        for number, natural in self.natural.items():
            if natural is not None:
                given += -natural * ufl.dot(t, n) * ds(number)
        if not given.empty():
            b = fem.assemble_vector(fem.form(given, jit_options=JIT))
            b.scatter_reverse(la.InsertMode.add)
            owned = dofs[dofs < self.V.dofmap.index_map.size_local]
            matrix = A.to_scipy().tocsr()[owned][:, owned]
            if len(owned):
                value.x.array[owned] = scipy.sparse.linalg.spsolve(scipy.sparse.csc_matrix(matrix), b.array[owned])
            value.x.scatter_forward()
        return [fem.dirichletbc(value, dofs)]

    def indicators(self) -> np.ndarray:
        """The square of each cell's part of the bound [energy], cells of this rank."""
        mesh, h, dim = self.discrete.domain.mesh, self.discrete.symbols.h, self.discrete.domain.mesh.geometry.dim
        difference = self.sigma - self.inside.flux
        rest = self.inside.source - ufl.div(self.sigma)
        least = _least(self.K, dim)
        weight = h**2 / least / math.pi**2
        if not is_zero(self.c):  # where c is 0 the quotient is infinite
            weight = ufl.conditional(ufl.gt(self.c * weight, 1.0), 1.0 / self.c, weight)
        parts = [
            _by_cell(mesh, expression * self._dx)
            for expression in (ufl.inner(_inverse(self.K, difference), difference), weight * rest**2)
        ]
        # ||v - mean||_F^2 <= |F| h^2 / |K| (1 / pi^2 + 2 / (dim pi)) ||grad v||_K^2
        trace = ufl.FacetArea(mesh) / ufl.CellVolume(mesh) * h**2 * (1 / math.pi**2 + 2 / (dim * math.pi)) / least
        off = ufl.dot(self.sigma, ufl.FacetNormal(mesh))
        for number, natural in self.natural.items():
            if natural is not None:
                parts.append((dim + 1) * _by_cell(mesh, trace * (natural + off) ** 2 * self._ds(number)))
        return sum(np.sqrt(np.maximum(part, 0)) for part in parts) ** 2 + self._misfit()

    def _misfit(self) -> np.ndarray:
        """The energy of a function that is g - u_h where u = g is prescribed and zero away from there, by cell."""
        discrete, s, u = self.discrete, self.discrete.symbols, self.u
        mesh = discrete.domain.mesh
        conditions = discrete.problem.dirichlet(self.name)
        nothing = np.zeros(mesh.topology.index_map(mesh.topology.dim).size_local)
        if any(isinstance(condition.value, Sampled) for condition in conditions):
            self.guaranteed = False
            return nothing
        values = [ufl.as_ufl(resolve(condition, (), s.x, s.t, s.p)) for condition in conditions]
        missed = [self._missed(value - u, c) for value, c in zip(values, conditions, strict=True)]
        worst = int(np.argmax([discrete.comm.allreduce(part.sum()) for part, _ in missed])) if missed else -1
        size = discrete.comm.allreduce(float(_by_cell(mesh, (u**2 + 1e-300) * self._dx).sum()))
        facets = [of[part > 1e-6 * MET * size] for part, of in missed]
        if not discrete.comm.allreduce(sum(map(len, facets))):
            return nothing
        theta = fem.Function(fem.functionspace(mesh, ("Lagrange", 1)))
        near = fem.locate_dofs_topological(
            theta.function_space, mesh.topology.dim - 1, np.unique(np.concatenate(facets))
        )
        theta.x.array[near] = 1.0
        theta.x.scatter_forward()
        nodal = fem.Function(u.function_space)
        interpolate(nodal, values[worst])
        m = theta * (values[worst] - nodal)
        left = sum(float(self._missed(value - u - m, c)[0].sum()) for value, c in zip(values, conditions, strict=True))
        self.guaranteed = discrete.comm.allreduce(left) <= MET * size
        density = ufl.inner(ufl.dot(self.K, ufl.grad(m)), ufl.grad(m)) + self.c * m**2
        robin = [_by_cell(mesh, a * m**2 * self._ds(n)) for n, a in self.robin.items() if a is not None]
        return sum(robin, _by_cell(mesh, density * self._dx))

    def _missed(self, difference: Any, condition: Any) -> tuple[np.ndarray, np.ndarray]:
        """The integral of the square over each facet of a condition that has an own cell, and those facets."""
        mesh = self.discrete.domain.mesh
        topology, facets = mesh.topology, np.sort(self.discrete.facets(condition.names)).astype(np.int32)
        facets = np.intersect1d(facets, dolfinx.mesh.exterior_facet_indices(topology))
        tags = dolfinx.mesh.meshtags(mesh, topology.dim - 1, facets.astype(np.int32), np.ones(len(facets), np.int32))
        ds = ufl.Measure("ds", mesh, subdomain_data=tags, metadata=self._metadata)
        by_cell = _by_cell(mesh, difference**2 * ds(1))
        cells = np.array([topology.connectivity(topology.dim - 1, topology.dim).links(f)[0] for f in facets], dtype=int)
        return by_cell[cells] if len(cells) else np.zeros(0), facets

    def energy(self) -> float:
        """The square of the energy norm of u_h."""
        u, grad = self.u, ufl.grad(self.u)
        form = (ufl.inner(ufl.dot(self.K, grad), grad) + self.c * u**2) * self._dx
        for number, coefficient in self.robin.items():
            if coefficient is not None:
                form += coefficient * u**2 * self._ds(number)
        return float(self.discrete.comm.allreduce(fem.assemble_scalar(fem.form(form, jit_options=JIT))))


def _scalar(discrete: Discrete) -> dict[str, Any]:
    problem = discrete.problem
    fields = list(problem.fields.values())
    if len(fields) > 1 or fields[0].shape or fields[0].element != "Lagrange":
        raise InputError(
            f"the equilibrated estimator is for one scalar Lagrange field, as of diffusion; {problem.name} has others: "
            "take the residual estimator"
        )
    return discrete.u


def _refuse(discrete: Discrete) -> None:
    name = discrete.problem.name
    if discrete.domain.mesh.geometry.dim == 1 or not discrete.domain.source.affine:
        raise InputError(
            "the equilibrated estimator is for triangles and tetrahedra with straight sides: take the residual one"
        )
    if discrete.problem.conditions_of(Periodic):
        raise InputError(
            f"the equilibrated estimator is not for periodic problems such as {name}: take the residual one"
        )


def _coefficients(discrete: Discrete, inside: Term, u: fem.Function) -> tuple[Any, Any]:
    """K, from the flux K grad u of the form, and c, from the source c u - f."""
    name = discrete.problem.name
    refusal = InputError(
        f"the equilibrated estimator is for -div(K grad u) + c u = f with K and c that do not depend on u; {name} is "
        "not of this kind: take the residual estimator"
    )
    w = ufl.TestFunction(u.function_space)
    mesh = discrete.domain.mesh
    dim, rows = mesh.geometry.dim, []
    for i in range(dim):
        row = _slope(inside.flux[i] * ufl.dx(mesh), u, w)
        if row is None or is_zero(row.flux) or not is_zero(row.source):
            raise refusal
        rows.append([row.flux[j] for j in range(dim)])
    if is_zero(inside.source):
        return ufl.as_tensor(rows), ufl.as_ufl(0.0)
    row = _slope(inside.source * ufl.dx(mesh), u, w)
    if row is None or not is_zero(row.flux):
        raise refusal
    _not_negative(row.source, ufl.dx(mesh, degree=4), f"{name}: the equilibrated estimator needs c >= 0 in c u")
    return ufl.as_tensor(rows), row.source


def _robin(discrete: Discrete, natural: Any, u: fem.Function, ds: ufl.Measure) -> Any:
    """The coefficient of u in the boundary term; None where there is none."""
    if natural is None or u not in ufl.algorithms.extract_coefficients(natural):
        return None
    mesh, name = discrete.domain.mesh, discrete.problem.name
    row = _slope(natural * ufl.dx(mesh), u, ufl.TestFunction(u.function_space))
    if row is None or not is_zero(row.flux):
        raise InputError(
            f"the equilibrated estimator is for boundary terms that are linear in u; that of {name} is not: take the "
            "residual estimator"
        )
    _not_negative(row.source, ds, f"{name}: the equilibrated estimator needs a Robin coefficient >= 0")
    return row.source


def _slope(form: ufl.Form, u: fem.Function, w: Any) -> Term | None:
    """The derivative with respect to u; None where it depends on u."""
    linear = ufl.algorithms.expand_derivatives(ufl.derivative(form, u, w))
    if linear.empty():
        return Term(ufl.as_ufl(0.0), ufl.zero(u.function_space.mesh.geometry.dim), ufl.as_ufl(0.0))
    if u in linear.coefficients():
        return None
    found = terms(linear, w)
    return acting(found, "cell", 0) or Term(*(ufl.as_ufl(0.0),) * 3)


def _not_negative(coefficient: Any, measure: ufl.Measure, message: str) -> None:
    if is_zero(coefficient):
        return
    below = fem.form(ufl.min_value(coefficient, 0.0) ** 2 * measure, jit_options=JIT)
    if below.mesh.comm.allreduce(fem.assemble_scalar(below)) > 0:
        raise InputError(f"{message}: take the residual estimator")


def _inverse(K: Any, vector: Any) -> Any:
    return vector / K[0, 0] if K.ufl_shape == (1, 1) else ufl.dot(ufl.inv(K), vector)


def _least(K: Any, dim: int) -> Any:
    """A lower bound of the eigenvalues of K: exact in one and two dimensions, Gershgorin's in three."""
    if dim == 1:
        return K[0, 0]
    if dim == 2:
        middle, half = (K[0, 0] + K[1, 1]) / 2, (K[0, 0] - K[1, 1]) / 2
        return middle - ufl.sqrt(half**2 + K[0, 1] * K[1, 0])
    rows = [K[i, i] - sum(abs(K[i, j]) for j in range(dim) if j != i) for i in range(dim)]
    return ufl.min_value(ufl.min_value(rows[0], rows[1]), rows[2])


def _by_cell(mesh: dolfinx.mesh.Mesh, integral: ufl.Form) -> np.ndarray:
    """The part of each cell of this rank."""
    w = ufl.TestFunction(fem.functionspace(mesh, ("DG", 0)))
    weighted = ufl.Form([i.reconstruct(integrand=i.integrand() * w) for i in integral.integrals()])
    b = fem.assemble_vector(fem.form(weighted, jit_options=JIT))
    return b.array[: mesh.topology.index_map(mesh.topology.dim).size_local].copy()
