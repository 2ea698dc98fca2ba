"""What can be solved."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table
from variform.errors import InputError

if TYPE_CHECKING:
    from variform.problem import Problem


def problems(
    name: Annotated[
        str | None, typer.Argument(help="Catalogue name, or path/to/file.py[:Class]; all by default.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the catalogue, or show one problem with its form. Example: variform problems darcy."""
    from variform.problems import CATALOGUE, EVOLUTIONS, load

    if name is not None:
        shown = _details(name)
        print_json(shown) if json else _show(shown)
    elif json:
        print_json([_entry(key) for key in (*CATALOGUE, *EVOLUTIONS)])
    else:
        print_table("", [(key, _title(load(key))) for key in (*CATALOGUE, *EVOLUTIONS)], ("problem", "what it is"))


def _entry(name: str) -> dict[str, Any]:
    """What the catalogue says of a problem, without deriving anything from its form."""
    from variform.problem import Problem
    from variform.problems import load

    problem = load(name)()
    kind = type(problem)
    return {
        "name": name,
        "title": _title(kind),
        "family": _family(name),
        "dim": _dim(problem),
        "fields": _fields(problem),
        "parameters": _parameters(problem),
        "time": problem.time,
        "exact": kind.exact is not Problem.exact,
        "methods": _methods(problem),
        "references": problem.reference(),
    }


def _details(name: str) -> dict[str, Any]:
    from variform.forms.describe import interface_text, natural_text, strong_text, weak_text
    from variform.problem import Problem
    from variform.problems import load

    problem = load(name)()
    geometry = problem.geometry(problem.p)
    return {
        "name": name,
        "description": " ".join((type(problem).__doc__ or "").split()),
        "fields": _fields(problem),
        "parameters": _parameters(problem),
        "conditions": [_condition(c, geometry.dim) for c in problem.conditions],
        "continuation": None if problem.continuation is None else problem.continuation.parameter,
        "time": problem.time,
        "regions": geometry.regions,
        "boundaries": geometry.boundaries,
        "weak_form": _text(weak_text, problem),
        "stabilised": type(problem).stabilisation is not Problem.stabilisation,
        "strong_form": _text(strong_text, problem),
        "natural_conditions": _text(natural_text, problem),
        "interface_conditions": _text(interface_text, problem),
        "quantities": problem.reference(),
    }


def _title(kind: type[Problem]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def _family(name: str) -> str:
    from variform.problems import CATALOGUE, EVOLUTIONS

    return {**CATALOGUE, **EVOLUTIONS}[name].partition(":")[0].rpartition(".")[2]


def _dim(problem: Problem) -> int | None:
    """Dimension of the domain; None where a mesh file gives it."""
    try:
        return problem.geometry(problem.p).dim
    except InputError:
        return None


def _methods(problem: Problem) -> list[str]:
    """Finite elements, also batched where those take the conditions; Ritz where there is an energy that a network can
    take. Whether a PINN can solve it is not told: its strong form must be derived first, which takes long.
    """
    from variform.evolution import Evolution
    from variform.problem import Dirichlet, NoRigidMotion, Periodic, Problem
    from variform.problems import EVOLUTIONS

    if type(problem).__module__ in {target.partition(":")[0] for target in EVOLUTIONS.values()}:
        return ["spectral"]
    spectral = ["spectral"] if isinstance(problem, Evolution) else []
    has_energy = type(problem).energy is not Problem.energy and problem.time is None
    plain = all(field.element == "Lagrange" for field in problem.fields.values())
    simple = all(isinstance(c, Dirichlet | Periodic) and not getattr(c, "component", None) for c in problem.conditions)
    held = all(field.element == "Lagrange" for name, field in problem.fields.items() if problem.dirichlet(name))
    batched = held and not problem.conditions_of(NoRigidMotion)
    return [
        "fem",
        *(["fem-batched"] if batched else []),
        *(["ritz"] if has_energy and plain and simple else []),
        *spectral,
    ]


def _fields(problem: Problem) -> dict[str, Any]:
    return {
        name: {
            "description": f.description,
            "unit": f.unit,
            "element": f.element,
            "degree": f.degree if f.element != "Real" else None,
            "shape": f.shape,
        }
        for name, f in problem.fields.items()
    }


def _parameters(problem: Problem) -> dict[str, Any]:
    return {
        name: {
            "description": q.description,
            "default": "function of x" if callable(q.default) else q.default,
            "unit": q.unit,
            "allowed": q.allowed,
            "field": q.field,
            "random": name in problem.random,
        }
        for name, q in problem.parameters.items()
    }


def _condition(condition: Any, dim: int) -> str:
    """A condition in words: "u[0] = 1 on left, right"."""
    from variform.problem import Dirichlet, Mean, NoRigidMotion, Periodic, Point

    name, component = condition.field, getattr(condition, "component", None)
    name += "" if component is None else f"[{component}]"
    match condition:
        case Dirichlet(value=value):
            return f"{name} = {'given function' if callable(value) else value} on {', '.join(condition.names)}"
        case Periodic(axes=axes):
            return f"{name} periodic along {', '.join('xyz'[a] for a in axes)}"
        case Point(at=at, value=value):
            return f"{name} = {value:g} at the point ({', '.join(f'{a:g}' for a in at)})"
        case Mean(value=value):
            return f"mean of {name} = {value:g}"
        case NoRigidMotion():
            return f"{name} without rigid motion: zero mean and zero mean rotation"
    return str(condition)


def _text(of: Any, problem: Problem) -> str:
    """A form in words, or why there are none: it has interior facets, derivatives of too high an order, ..."""
    try:
        return of(problem)
    except InputError as error:
        return f"not available: {error}"


def _show(shown: dict[str, Any]) -> None:
    typer.echo(f"{shown['name']}: {shown['description']}\n")
    fields = [(n, f["description"], f["unit"], _element(f)) for n, f in shown["fields"].items()]
    print_table("", fields, ("field", "what it is", "unit", "element"))
    if shown["parameters"]:
        print_table(
            "",
            [_parameter_row(n, q) for n, q in shown["parameters"].items()],
            ("parameter", "", "default", "unit", "allowed"),
        )
    typer.echo(f"\nregions: {', '.join(shown['regions'])}; boundaries: {', '.join(shown['boundaries'])}")
    for condition in shown["conditions"]:
        typer.echo(f"condition: {condition}")
    if shown["continuation"]:
        typer.echo(f"continuation: in {shown['continuation']}, where Newton's method fails")
    if shown["time"]:
        typer.echo(f"time: {shown['time'][0]:g} to {shown['time'][1]:g} s")
    typer.echo(f"\nweak form, as written:\n{_wrapped(shown['weak_form'])}")
    if shown["stabilised"]:
        typer.echo("  finite elements add terms for stability, which vanish for the exact solution or smooth functions")
    typer.echo(f"strong form, derived:\n{_wrapped(shown['strong_form'])}")
    natural = shown["natural_conditions"] or "none: conditions hold every field on the whole boundary"
    typer.echo(f"natural conditions, derived:\n{_wrapped(natural)}")
    if shown["interface_conditions"]:
        typer.echo(f"continuous across interfaces:\n{_wrapped(shown['interface_conditions'])}")
    for name, value in shown["quantities"].items():
        typer.echo(f"quantity: {name}, reference {number(value)}")


def _element(field: dict[str, Any]) -> str:
    """ "Lagrange 2", of a vector "Lagrange 2 (2)"."""
    words = [field["element"], "" if field["degree"] is None else str(field["degree"])]
    words.append(f"({', '.join(map(str, field['shape']))} components)" if field["shape"] else "")
    return " ".join(word for word in words if word)


def _parameter_row(name: str, q: dict[str, Any]) -> tuple[str, ...]:
    default = (
        ", ".join(f"{r}: {v:g}" for r, v in q["default"].items())
        if isinstance(q["default"], dict)
        else str(q["default"])
    )
    kind = "; random field" if q["random"] else "; field" if q["field"] else ""
    return name, q["description"], default, q["unit"], f"{q['allowed']}{kind}"


def _wrapped(form: str, width: int = 116, longest: int = 2400) -> str:
    """The lines of a form, indented, long ones broken between terms, the longest cut: --json has all of them."""
    lines = []
    for line in form.split("\n"):
        shown = line if len(line) <= longest else f"{line[:longest]} ... ({len(line)} characters)"
        indent = len(shown) - len(shown.lstrip()) + 2
        margins = {"initial_indent": " " * indent, "subsequent_indent": " " * (indent + 4)}
        lines.append(fill(shown.strip(), width, **margins, break_long_words=False, break_on_hyphens=False))
    return "\n".join(lines)
