"""The form written in abstract UFL symbols, on a mesh that has a cell type but no cells."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import basix.ufl
import numpy as np
import ufl
from ufl.algorithms import expand_derivatives
from ufl.algorithms.apply_algebra_lowering import apply_algebra_lowering
from ufl.algorithms.check_arities import ArityMismatch, check_form_arity
from ufl.algorithms.remove_complex_nodes import remove_complex_nodes

from variform.errors import InputError
from variform.problem import Field, NamedMeasure, Problem, Symbols

# Derivatives of a field of low degree would vanish symbolically: the strong form needs two or more.
SYMBOLIC_DEGREE = 6
CELLS = {1: "interval", 2: "triangle", 3: "tetrahedron"}


def abstract_symbols(
    problem: Problem, dim: int, quadrature_degree: int | None = None
) -> tuple[Symbols, dict[str, Any]]:
    """Symbols and test functions of a problem in dim dimensions.

    The unknown of field f, its rate and the rate of that are coefficients named by `Symbols.u[f]`, `Symbols.u[f].rate`
    and `Symbols.u[f].rate.rate`; parameters are constants (numbers) or coefficients (fields). Subdomain numbers count
    the geometry's names from 1.
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
        if field.element == "Real":
            return ufl.FunctionSpace(mesh, basix.ufl.real_element(cell, ()))  # its derivatives are zero
        if not field.shape:
            return scalar
        return ufl.FunctionSpace(mesh, basix.ufl.element("Lagrange", cell, SYMBOLIC_DEGREE, shape=field.shape))

    u = {name: ufl.Coefficient(space(field)) for name, field in problem.fields.items()}
    for unknown in u.values():
        if problem.time:
            unknown.rate = ufl.Coefficient(unknown.ufl_function_space())
            unknown.rate.rate = ufl.Coefficient(unknown.ufl_function_space())
    # Those of a mixed space have numbers of their own: test functions of like fields would be equal otherwise.
    tests = ufl.TestFunctions(ufl.MixedFunctionSpace(*map(space, problem.fields.values())))
    v = dict(zip(problem.fields, tests, strict=True))

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
        dx=NamedMeasure(lambda: ufl.Measure("dx", mesh, metadata=metadata), numbered(regions), "region"),
        ds=NamedMeasure(lambda: ufl.Measure("ds", mesh, metadata=metadata), numbered(boundaries), "boundary"),
        dS=ufl.Measure("dS", mesh, metadata=metadata),
    )
    return s, v


def numbered(names: tuple[str, ...]) -> dict[str, int]:
    """Subdomain numbers: names counted from 1, since 0 marks what has no name."""
    return {name: i + 1 for i, name in enumerate(names)}


def checked_residual(problem: Problem, s: Symbols, v: dict[str, Any], *, complex_numbers: bool = False) -> ufl.Form:
    """The problem's residual, refused with a reason unless it is a form that is linear in the test functions.

    Args:
        complex_numbers: the form is sesquilinear, with the test functions conjugated: `inner(u, v)`; it also is where a
            field is said to be complex.
    """
    form, complex_numbers = problem.residual(s, v), complex_numbers or problem.is_complex
    if not isinstance(form, ufl.Form):
        raise InputError(f"{problem.name}.residual must return a UFL form, got {type(form).__name__}: multiply by s.dx")
    check_linear_in_test_functions(problem.name, form, v, complex_numbers)
    return form


def check_linear_in_test_functions(name: str, form: ufl.Form, v: dict[str, Any], complex_numbers: bool = False) -> None:
    """Raise InputError, naming the integrand, unless every integral is a sum of terms linear in one test function."""
    together, argument = _as_one(list(v.values()))
    for integral in form.integrals():
        lowered = apply_algebra_lowering(ufl.Form([integral]))
        expanded = expand_derivatives(lowered if complex_numbers else _real(name, lowered))
        try:
            check_form_arity(expand_derivatives(ufl.replace(expanded, together)), (argument,), complex_numbers)
        except ArityMismatch as error:  # a BaseException in UFL
            raise InputError(_not_linear(name, integral, f"{str(error).rstrip('.')}.")) from None
        if not expanded.arguments() and not expanded.empty():
            raise InputError(_not_linear(name, integral, "it has no test function."))


def _real(name: str, form: ufl.Form) -> ufl.Form:
    try:
        return remove_complex_nodes(form)
    except ValueError:
        raise InputError(
            f"the weak form of {name} has complex numbers: say so of its field, Field(..., complex=True)"
        ) from None


def _as_one(tests: list[Any]) -> tuple[dict[Any, Any], Any]:
    """The test functions as components of a single one, so that their products are not linear either."""
    mesh = ufl.domain.extract_unique_domain(tests[0])
    sizes = [math.prod(test.ufl_shape) for test in tests]
    element = basix.ufl.element("Lagrange", mesh.ufl_cell().cellname, SYMBOLIC_DEGREE, shape=(sum(sizes),))
    argument, start = ufl.TestFunction(ufl.FunctionSpace(mesh, element)), 0
    components = {}
    for test, size in zip(tests, sizes, strict=True):
        parts = np.array([argument[start + i] for i in range(size)], dtype=object).reshape(test.ufl_shape)
        components[test] = ufl.as_tensor(parts.tolist()) if test.ufl_shape else parts.item()
        start += size
    return components, argument


def _not_linear(name: str, integral: Any, reason: str) -> str:
    return (
        f"the weak form of {name} is not linear in its test functions: {reason} "
        f"The integrand: {_shorten(integral.integrand())}"
    )


def _shorten(expression: Any, length: int = 160) -> str:
    text = str(expression)
    return text if len(text) <= length else text[: length - 3] + "..."
