"""The equilibrated flux: a guaranteed bound of the energy error of diffusion (Prager and Synge)."""

from __future__ import annotations

import math
from typing import Any

import basix.ufl
import dolfinx
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
import ufl
from dolfinx import fem, la
from dolfinx.fem import petsc as fp

from variform.errors import InputError
from variform.forms.derive import Term, acting, is_zero, terms
from variform.forms.symbols import checked_residual
from variform.solvers.fem.adaptive.residual import on_cells, prescribed
from variform.solvers.fem.discretize import JIT, Discrete
from variform.solvers.fem.linear import DIRECT


class EquilibratedFlux:
    """For -div(K grad u) + c u = f: sigma in RT with div sigma = P(c u_h - f) that is nearest to K grad u_h.

    Then |K^(1/2) grad (u - u_h)|^2 <= sum over cells of (|K^(-1/2) (sigma - K grad u_h)| + h / pi k^(-1/2) |(1 - P)
    (c u_h - f)|)^2, with k the least eigenvalue of K; c >= 0 only makes the left side larger. P projects onto
    discontinuous polynomials. sigma comes from one global mixed problem, which gives the least bound in its space;
    where the flux is prescribed, its projection onto the facets is, and data that are no polynomials there are not
    accounted for.

    Args:
        discrete: holds the solution, of one scalar Lagrange field.
        degree: of the Raviart-Thomas space; by default one more than that of the solution, so that the bound is tight.

    Raises:
        InputError: the form is not of this kind.

    Source: Prager and Synge, Quart. Appl. Math. 5 (1947), 241; Braess and Schöberl, Math. Comp. 77 (2008), 651.
    """

    def __init__(self, discrete: Discrete, degree: int | None = None) -> None:
        self.discrete = discrete
        (self.u,) = _scalar(discrete).values()
        (self.name,) = discrete.u
        form = checked_residual(discrete.problem, discrete.symbols, discrete.v)
        self.by_measure = terms(form, discrete.v[self.name])
        self.inside = on_cells(discrete, self.by_measure)
        _refuse_robin(discrete, self.by_measure, self.u)
        self.K = _conductivity(discrete, self.inside, self.u)
        mesh = discrete.domain.mesh
        k = degree or discrete.degrees[self.name] + 1
        self.V = fem.functionspace(mesh, basix.ufl.element("RT", mesh.basix_cell(), k))
        self.Q = fem.functionspace(mesh, ("DG", k - 1))
        self.sigma = self._solve()

    @property
    def _dx(self) -> ufl.Measure:
        degree = 2 * self.discrete.degrees[self.name] + 3
        return ufl.Measure("dx", self.discrete.domain.mesh, metadata={"quadrature_degree": degree})

    def _solve(self) -> fem.Function:
        W = ufl.MixedFunctionSpace(self.V, self.Q)
        (s, r), (t, q) = ufl.TrialFunctions(W), ufl.TestFunctions(W)
        dx = self._dx
        zero = fem.Constant(self.discrete.domain.mesh, 0.0)
        a = (ufl.inner(_inverse(self.K, s), t) + r * ufl.div(t) + q * ufl.div(s) + zero * r * q) * dx
        # A source that is zero has no domain, but the block must be there.
        source = zero if is_zero(self.inside.source) else self.inside.source
        L = ufl.inner(ufl.grad(self.u), t) * dx + source * q * dx
        bcs = self._conditions()
        problem = fp.LinearProblem(
            ufl.extract_blocks(a),
            ufl.extract_blocks(L),
            bcs=bcs,
            petsc_options_prefix="variform_equilibrated_",
            petsc_options={**DIRECT, "ksp_error_if_not_converged": True},
            form_compiler_options=None,
            jit_options=JIT,
        )
        sigma, _ = problem.solve()
        return sigma

    def _conditions(self) -> list[fem.DirichletBC]:
        """sigma n = -g where the form has g v on the boundary and u is free: the projection of g onto each facet."""
        discrete, n = self.discrete, ufl.FacetNormal(self.discrete.domain.mesh)
        held = prescribed(discrete, self.name)
        free = {name: number for name, number in discrete.domain.boundaries.items() if name not in held}
        if not free:
            return []
        mesh = discrete.domain.mesh
        facets = np.unique(np.concatenate([discrete.domain.facet_tags.find(number) for number in free.values()]))
        dofs = fem.locate_dofs_topological(self.V, mesh.topology.dim - 1, facets)
        value = fem.Function(self.V)
        ds = ufl.Measure("ds", mesh, subdomain_data=discrete.domain.facet_tags)
        s, t = ufl.TrialFunction(self.V), ufl.TestFunction(self.V)
        numbers = tuple(free.values())
        A = fem.assemble_matrix(fem.form(ufl.dot(s, n) * ufl.dot(t, n) * ds(numbers), jit_options=JIT))
        A.scatter_reverse()
        given = ufl.Form([])
        for number in numbers:
            own = acting(self.by_measure, "exterior_facet", number)
            if own is not None and not is_zero(own.source):
                given += -own.source * ufl.dot(t, n) * ds(number)
        if not given.empty():
            b = fem.assemble_vector(fem.form(given, jit_options=JIT))
            b.scatter_reverse(la.InsertMode.add)
            matrix = A.to_scipy().tocsr()[dofs][:, dofs]
            value.x.array[dofs] = scipy.sparse.linalg.spsolve(scipy.sparse.csc_matrix(matrix), b.array[dofs])
            value.x.scatter_forward()
        return [fem.dirichletbc(value, dofs)]

    def indicators(self) -> np.ndarray:
        """The square of each cell's part of the bound [energy], cells of this rank."""
        mesh = self.discrete.domain.mesh
        difference = self.sigma - self.inside.flux
        rest = self.inside.source - ufl.div(self.sigma)
        h = self.discrete.symbols.h
        least = _least(self.K, mesh.geometry.dim)
        parts = [
            _by_cell(mesh, expression, self._dx)
            for expression in (ufl.inner(_inverse(self.K, difference), difference), h**2 / least / math.pi**2 * rest**2)
        ]
        return (np.sqrt(np.maximum(parts[0], 0)) + np.sqrt(np.maximum(parts[1], 0))) ** 2

    def energy(self) -> float:
        """|K^(1/2) grad u_h|^2."""
        form = fem.form(ufl.inner(self.inside.flux, ufl.grad(self.u)) * self._dx, jit_options=JIT)
        return float(self.discrete.comm.allreduce(fem.assemble_scalar(form)))


def _scalar(discrete: Discrete) -> dict[str, Any]:
    problem = discrete.problem
    fields = list(problem.fields.values())
    if len(fields) > 1 or fields[0].shape or fields[0].element != "Lagrange":
        raise InputError(
            f"the equilibrated estimator is for one scalar Lagrange field, as of diffusion; {problem.name} has others: "
            "take the residual estimator"
        )
    return discrete.u


def _refuse_robin(discrete: Discrete, by_measure: dict, u: fem.Function) -> None:
    if discrete.domain.mesh.geometry.dim == 1:
        raise InputError("the equilibrated estimator is for two and three dimensions: take the residual estimator")
    for where, term in by_measure.items():
        if where.kind != "cell" and u in ufl.algorithms.extract_coefficients(term.source):
            raise InputError(
                f"the equilibrated estimator is for Dirichlet and Neumann conditions; {discrete.problem.name} has a "
                "boundary term with u: take the residual estimator"
            )


def _conductivity(discrete: Discrete, inside: Term, u: fem.Function) -> Any:
    """K, from the flux K grad u of the form."""
    name = discrete.problem.name
    refusal = InputError(
        f"the equilibrated estimator is for -div(K grad u) + c u = f with K and c that do not depend on u; {name} is "
        "not of this kind: take the residual estimator"
    )
    w = ufl.TestFunction(u.function_space)
    dim, rows = discrete.domain.mesh.geometry.dim, []
    for i in range(dim):
        linear = ufl.algorithms.expand_derivatives(ufl.derivative(inside.flux[i] * ufl.dx(discrete.domain.mesh), u, w))
        if u in linear.coefficients():
            raise refusal
        found = [] if linear.empty() else list(terms(linear, w).values())
        if len(found) != 1 or not is_zero(found[0].source):
            raise refusal
        row = found[0]
        rows.append([row.flux[j] for j in range(dim)])
    if not is_zero(inside.source):
        domain = discrete.domain.mesh
        slope = ufl.algorithms.expand_derivatives(ufl.derivative(inside.source * ufl.dx(domain), u, w))
        if not slope.empty() and (
            u in slope.coefficients() or any(not is_zero(term.flux) for term in terms(slope, w).values())
        ):
            raise refusal
    return ufl.as_tensor(rows)


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


def _by_cell(mesh: dolfinx.mesh.Mesh, density: Any, dx: ufl.Measure) -> np.ndarray:
    """The integral over each cell of this rank."""
    w = ufl.TestFunction(fem.functionspace(mesh, ("DG", 0)))
    b = fem.assemble_vector(fem.form(density * w * dx, jit_options=JIT))
    return b.array[: mesh.topology.index_map(mesh.topology.dim).size_local].copy()
