"""The residual estimator, derived from the weak form: what the strong form leaves in cells, and jumps of the flux."""

from __future__ import annotations

from typing import Any

import numpy as np
import ufl
from dolfinx import fem, la

from variform.errors import InputError
from variform.forms.derive import EVERYWHERE, Term, acting, is_zero, terms
from variform.forms.symbols import checked_residual
from variform.solvers.fem.discretize import JIT, Discrete


def residual_indicators(discrete: Discrete, form: ufl.Form | None = None) -> np.ndarray:
    """The square of each cell's indicator, cells of this rank.

    eta_K^2 = sum over fields of h_K^2 |source - div flux|_K^2 + 1/2 sum_F h_F |[flux n]|_F^2 + sum over the boundary
    where nothing is prescribed of h_F |natural residual|_F^2: equivalent to the error in H1 up to constants that are
    not known. Of fourth order, in the plane with interior penalty: h_K^4 |source - div flux + div div moment|_K^2,
    h_F^3 |[shear force]|_F^2 and h_F of what is left of the moments, penalty included: the error in H2.

    Args:
        form: the residual at the present state; the problem's by default.

    Raises:
        InputError: elements other than Lagrange's.

    Source: Verfürth, A Posteriori Error Estimation Techniques for Finite Element Methods (2013), section 1.4; Brenner,
    Gudi and Sung, IMA J. Numer. Anal. 30 (2010), 777 (fourth order).
    """
    form = checked_residual(discrete.problem, discrete.symbols, discrete.v) if form is None else form
    mesh, n, h = discrete.domain.mesh, discrete.symbols.n, discrete.symbols.h
    w = ufl.TestFunction(fem.functionspace(mesh, ("DG", 0)))
    top = max(discrete.degrees.values())
    metadata = {"quadrature_degree": 2 * top + 2}
    dx, dS = (ufl.Measure(kind, mesh, metadata=metadata) for kind in ("dx", "dS"))
    total = ufl.Form([])
    for name, field in discrete.problem.fields.items():
        if field.element == "Real":
            continue
        if field.element != "Lagrange":
            raise InputError(f"the residual estimator is for Lagrange elements, {name!r} has {field.element}")
        by_measure = terms(form, discrete.v[name])
        inside = on_cells(discrete, by_measure)
        if inside is None:
            continue
        if inside.order == 2:
            total += _fourth_order(discrete, name, form, inside, w, metadata)
            continue
        strong = inside.source if is_zero(inside.flux) else inside.source - ufl.div(inside.flux)
        total += h**2 * ufl.inner(strong, strong) * w * dx
        if not is_zero(inside.flux):
            jump = ufl.jump(inside.flux, n)
            total += ufl.avg(h) * ufl.inner(jump, jump) * ufl.avg(w) * dS
        total += _boundary(discrete, name, by_measure, inside, w, metadata)
    b = fem.assemble_vector(fem.form(total, jit_options=JIT))
    b.scatter_reverse(la.InsertMode.add)
    owned = mesh.topology.index_map(mesh.topology.dim).size_local
    return b.array[:owned].copy()


def derivatives(discrete: Discrete) -> int:
    """The order of the highest derivative of the first field's test function: that of the energy norm."""
    name = next(n for n, field in discrete.problem.fields.items() if field.element == "Lagrange")
    form = checked_residual(discrete.problem, discrete.symbols, discrete.v)
    return max(term.order for term in terms(form, discrete.v[name]).values())


def _fourth_order(discrete: Discrete, name: str, form: ufl.Form, inside: Term, w: Any, metadata: dict) -> ufl.Form:
    """Coefficients of v and of its normal derivative after integration by parts, interior penalty included.

    What is left of tangential derivatives of jumps between cells is bounded by the jumps themselves.
    """
    extra = discrete.problem.stabilisation(discrete.symbols, discrete.v)
    by_measure = terms(form if extra is None else form + extra, discrete.v[name])
    mesh, n, h = discrete.domain.mesh, discrete.symbols.n, discrete.symbols.h
    dx, dS = (ufl.Measure(kind, mesh, metadata=metadata) for kind in ("dx", "dS"))
    ds = ufl.Measure("ds", mesh, subdomain_data=discrete.domain.facet_tags, metadata=metadata)
    bending, shear = ufl.dot(inside.moment, n), inside.flux - ufl.div(inside.moment)
    strong = inside.source - ufl.div(shear)
    total = h**4 * strong**2 * w * dx + ufl.avg(h) ** 3 * ufl.jump(shear, n) ** 2 * ufl.avg(w) * dS
    for side in "+-":
        left = ufl.dot(n, bending)(side)
        for where, term in by_measure.items():
            if where.kind == "interior_facet" and where.side == side:
                left += ufl.dot(term.flux, n(side))
        total += ufl.avg(h) * left**2 * w(side) * dS
    held = prescribed(discrete, name)
    along = ufl.as_vector([-n[1], n[0]])
    for part, number in discrete.domain.boundaries.items():
        own = acting(by_measure, "exterior_facet", number) or Term(0.0, ufl.zero(2), 0.0)
        total += h * (ufl.dot(n, bending) + ufl.dot(own.flux, n)) ** 2 * w * ds(number)
        if part not in held:  # Kirchhoff's shear force
            force = ufl.dot(shear, n) - ufl.dot(ufl.grad(ufl.dot(bending, along)), along) + own.source
            total += h**3 * force**2 * w * ds(number)
    return total


def on_cells(discrete: Discrete, by_measure: dict) -> Term | None:
    """The coefficients of all cell integrals as expressions that hold in every region."""
    whole = acting({w: t for w, t in by_measure.items() if w.number == EVERYWHERE}, "cell", 0)
    result = whole
    for name, number in discrete.domain.regions.items():
        own = acting({w: t for w, t in by_measure.items() if w.number == number}, "cell", number)
        if own is None:
            continue
        inside = indicator(discrete, name)
        part = Term(inside * own.source, inside * own.flux, inside * own.moment)
        result = part if result is None else result + part
    return result


def indicator(discrete: Discrete, region: str) -> fem.Function:
    """1 in a region, 0 elsewhere."""
    function = fem.Function(fem.functionspace(discrete.domain.mesh, ("DG", 0)))
    tags = discrete.domain.cell_tags
    function.x.array[tags.find(discrete.domain.regions[region])] = 1.0
    return function


def prescribed(discrete: Discrete, field: str) -> dict[str, set[int]]:
    """Boundary name -> components (all that there are, for a scalar 0) that Dirichlet conditions hold there."""
    size = int(np.prod(discrete.problem.fields[field].shape, initial=1))
    held: dict[str, set[int]] = {}
    for condition in discrete.problem.dirichlet(field):
        names = discrete.domain.boundaries if "boundary" in condition.names else condition.names
        for name in names:
            held.setdefault(name, set()).update(range(size) if condition.component is None else {condition.component})
    return held


def _boundary(discrete: Discrete, field: str, by_measure: dict, inside: Term, w: Any, metadata: dict) -> ufl.Form:
    """h_F |natural residual|^2 where the field is free."""
    n, h, held = discrete.symbols.n, discrete.symbols.h, prescribed(discrete, field)
    size = int(np.prod(discrete.problem.fields[field].shape, initial=1))
    total = ufl.Form([])
    ds = ufl.Measure("ds", discrete.domain.mesh, subdomain_data=discrete.domain.facet_tags, metadata=metadata)
    for name, number in discrete.domain.boundaries.items():
        free = set(range(size)) - held.get(name, set())
        own = acting(by_measure, "exterior_facet", number)
        natural = ufl.dot(inside.flux, n) if not is_zero(inside.flux) else 0
        if own is not None:
            natural = natural + own.source
        if not free or (isinstance(natural, int) and natural == 0):
            continue
        if natural.ufl_shape:
            natural = ufl.as_vector([natural[i] for i in sorted(free)])
        total += h * ufl.inner(natural, natural) * w * ds(number)
    return total
