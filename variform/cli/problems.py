"""What can be solved."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from variform.cli.output import number, print_json, print_table


def problems(
    name: Annotated[
        str | None, typer.Argument(help="Catalogue name, or path/to/file.py[:Class]; all by default.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the catalogue, or show one problem with its form. Example: variform problems darcy."""
    from variform.problems import CATALOGUE, load

    if name is None:
        listed = {key: (load(key).__doc__ or "").strip().splitlines()[0] for key in CATALOGUE}
        if json:
            print_json([{"name": key, "title": title} for key, title in listed.items()])
        else:
            print_table("", list(listed.items()), ("problem", "what it is"))
        return
    shown = _details(name)
    if json:
        print_json(shown)
    else:
        _show(shown)


def _details(name: str) -> dict[str, Any]:
    from variform.forms.describe import strong_text, weak_text
    from variform.problem import Dirichlet
    from variform.problems import load

    problem = load(name)()
    geometry = problem.geometry(problem.p)
    conditions = [
        f"{c.field} = {'given function' if callable(c.value) else c.value} on {', '.join(c.names)}"
        if isinstance(c, Dirichlet)
        else f"{c.field} periodic along {', '.join('xyz'[a] for a in c.axes)}"
        for c in problem.conditions
    ]
    return {
        "name": name,
        "description": " ".join((type(problem).__doc__ or "").split()),
        "fields": {
            n: {"description": f.description, "unit": f.unit, "shape": f.shape} for n, f in problem.fields.items()
        },
        "parameters": {
            n: {
                "description": q.description,
                "default": "function of x" if callable(q.default) else q.default,
                "unit": q.unit,
                "above": q.above,
                "at_least": q.at_least,
                "field": q.field,
                "random": n in problem.random,
            }
            for n, q in problem.parameters.items()
        },
        "conditions": conditions,
        "time": problem.time,
        "regions": geometry.regions,
        "boundaries": geometry.boundaries,
        "weak_form": weak_text(problem),
        "strong_form": strong_text(problem),
        "quantities": problem.reference(),
    }


def _show(shown: dict[str, Any]) -> None:
    typer.echo(f"{shown['name']}: {shown['description']}\n")
    fields = [(n, f["description"], f["unit"]) for n, f in shown["fields"].items()]
    print_table("", fields, ("field", "what it is", "unit"))
    if shown["parameters"]:
        print_table(
            "",
            [_parameter_row(n, q) for n, q in shown["parameters"].items()],
            ("parameter", "", "default", "unit", "allowed"),
        )
    typer.echo(f"\nregions: {', '.join(shown['regions'])}; boundaries: {', '.join(shown['boundaries'])}")
    for condition in shown["conditions"]:
        typer.echo(f"condition: {condition}")
    if shown["time"]:
        typer.echo(f"time: {shown['time'][0]:g} to {shown['time'][1]:g} s")
    typer.echo(f"\nweak form, as written:\n  {shown['weak_form'].replace(chr(10), chr(10) + '  ')}")
    typer.echo(f"strong form, derived:\n  {shown['strong_form'].replace(chr(10), chr(10) + '  ')}")
    for name, value in shown["quantities"].items():
        typer.echo(f"quantity: {name}, reference {number(value)}")


def _parameter_row(name: str, q: dict[str, Any]) -> tuple[str, ...]:
    default = (
        ", ".join(f"{r}: {v:g}" for r, v in q["default"].items())
        if isinstance(q["default"], dict)
        else str(q["default"])
    )
    bound = f"above {q['above']:g}" if q["above"] is not None else ""
    bound = f"at least {q['at_least']:g}" if q["at_least"] is not None else bound
    kind = "; random field" if q["random"] else "; field" if q["field"] else ""
    return name, q["description"], default, q["unit"], f"{bound or 'any'}{kind}"
