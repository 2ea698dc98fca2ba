"""The form written in abstract UFL symbols, on a mesh that has a cell type but no cells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import basix.ufl
import ufl

from variform.errors import InputError
from variform.problem import Field, NamedMeasure, Problem, Symbols

# Derivatives of a field of low degree would vanish symbolically: the strong form needs two or more.
SYMBOLIC_DEGREE = 6
CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}


def abstract_symbols(problem: Problem, dim: int, quadrature_degree: int | None = None) -> tuple[Symbols, dict[str, Any]]:
    """Symbols and test functions of a problem in dim dimensions.

    The unknown of field f and its rate are coefficients named by `Symbols.u[f]` and `Symbols.u[f].rate`; parameters
    are constants (numbers) or coefficients (fields). Subdomain numbers count the geometry's names from 1.
    """
    geometry = problem.geometry(problem.p)
    return symbols_on(problem, dim, geometry.regions, geometry.boundaries, quadrature_degree)


def symbols_on(
    problem: Problem,
    dim: int,
    regions: tuple[str, ...],
    boundaries: tuple[str, ...],
    quadrature_degree: int | None = None,
) -> tuple[Symbols, dict[str, Any]]:
    """The same, where the names of regions and boundaries come from a mesh."""
    cell = CELLS[dim]
    mesh = ufl.Mesh(basix.ufl.element("Lagrange", cell, 1, shape=(dim,)))
    scalar = ufl.FunctionSpace(mesh, basix.ufl.element("Lagrange", cell, SYMBOLIC_DEGREE))

    def space(field: Field) -> ufl.FunctionSpace:
        if not field.shape:
            return scalar
        return ufl.FunctionSpace(mesh, basix.ufl.element("Lagrange", cell, SYMBOLIC_DEGREE, shape=field.shape))

    u = {name: ufl.Coefficient(space(field)) for name, field in problem.fields.items()}
    for unknown in u.values():
        if problem.time:
            unknown.rate = ufl.Coefficient(unknown.ufl_function_space())
    v = {name: ufl.TestFunction(space(field)) for name, field in problem.fields.items()}

    def parameter(name: str) -> Any:
        spec = problem.parameters[name]
        if spec.per_region:
            return {region: ufl.Constant(mesh) for region in spec.default}
        return ufl.Coefficient(scalar) if spec.field else ufl.Constant(mesh)

    metadata = {} if quadrature_degree is None else {"quadrature_degree": quadrature_degree}
    s = Symbols(
        u=u,
        x=ufl.SpatialCoordinate(mesh),
        t=ufl.Constant(mesh),
        p=SimpleNamespace(**{name: parameter(name) for name in problem.parameters}),
        n=ufl.FacetNormal(mesh),
        h=ufl.CellDiameter(mesh),
        dx=NamedMeasure(ufl.Measure("dx", mesh, metadata=metadata), numbered(regions), "region"),
        ds=NamedMeasure(ufl.Measure("ds", mesh, metadata=metadata), numbered(boundaries), "boundary"),
    )
    return s, v


def numbered(names: tuple[str, ...]) -> dict[str, int]:
    """Subdomain numbers: names counted from 1, since 0 marks what has no name."""
    return {name: i + 1 for i, name in enumerate(names)}


def checked_residual(problem: Problem, s: Symbols, v: dict[str, Any]) -> ufl.Form:
    """The problem's residual, refused with a reason unless it is a form that is linear in the test functions."""
    form = problem.residual(s, v)
    if not isinstance(form, ufl.Form):
        raise InputError(f"{problem.name}.residual must return a UFL form, got {type(form).__name__}: multiply by s.dx")
    check_linear_in_test_functions(problem.name, form, v)
    return form


def check_linear_in_test_functions(name: str, form: ufl.Form, v: dict[str, Any]) -> None:
    """Raise InputError, naming the term, unless every integral is linear in the test functions."""
    from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
    from ufl.algorithms.check_arities import ArityMismatch, check_form_arity

    for field, test in v.items():
        others = {w: ufl.zero(w.ufl_shape) for f, w in v.items() if f != field}
        for integral in form.integrals():
            term = ufl.Form([integral])
            if test not in term.arguments() or not (others.keys() >= set(term.arguments()) - {test}):
                continue
            try:
                check_form_arity(apply_algebra_lowering(ufl.replace(term, others) if others else term), (test,))
            except ArityMismatch as error:  # a BaseException in UFL
                raise InputError(
                    f"{name}.residual is not linear in the test function v[{field!r}]: {error} "
                    f"In the integrand: {_shorten(integral.integrand())}"
                ) from None
    for integral in form.integrals():
        if not ufl.Form([integral]).arguments():
            raise InputError(
                f"{name}.residual has a term without a test function: every term must be linear in v. "
                f"The integrand: {_shorten(integral.integrand())}"
            )


def _shorten(expression: Any, length: int = 160) -> str:
    text = str(expression)
    return text if len(text) <= length else text[: length - 3] + "..."
