"""Settings given as text: key=value, a mesh."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

from variform.errors import InputError, unknown
from variform.problem import Problem
from variform.random import generator

KINDS = (("float", (int, float), "a number"), ("int", int, "a whole number"), ("str", str, "a word"))
"""What the annotation of an option says, what its value must be, and that in words."""


def parse_settings(
    kind: type[Problem], settings: list[str], options: dict[str, inspect.Parameter]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split `key=value` into parameter values of the problem and options of the method.

    Raises:
        InputError: no `=`, a key that is neither, a value of the wrong kind.
    """
    values: dict[str, Any] = {}
    chosen: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key or not text:
            raise InputError(f"--set {setting!r} must be key=value")
        name, dot, region = key.partition(".")
        if name in kind.parameters:
            value = _value(kind, name, text)
            if dot:
                if not kind.parameters[name].per_region:
                    raise InputError(f"parameter {name!r} has one value for all regions: write {name}={text}")
                before = values.get(name, {})
                if not isinstance(before, dict):  # one value for all regions, given earlier
                    before = dict.fromkeys(kind.parameters[name].default, before)
                values[name] = {**before, region: value}
            else:
                values[name] = value
        elif key in options:
            chosen[key] = _option(key, text, options[key])
        else:
            raise unknown("parameter or option", key, [*kind.parameters, *options])
    return values, chosen


def parse_mesh(mesh: str | None, method: str, problem: Problem) -> dict[str, Any]:
    """The method's option for `--mesh N|FILE`; empty where none was given."""
    if mesh is None:
        return {}
    if mesh.lstrip("+-").isdecimal():
        cells = int(mesh)
        if cells < 1:
            raise InputError(f"--mesh must be 1 cell a side or more, or a mesh file, got {mesh}")
        return {"resolution" if method == "spectral" else "mesh": cells}
    if _is_number(mesh):
        raise InputError(f"--mesh must be a whole number of cells or a mesh file, got {mesh}")
    from variform import meshes

    if method == "spectral":
        raise InputError("the spectral method works on a periodic box: --mesh must be a number of points a side")
    given = meshes.read(Path(mesh))
    stated = type(problem).geometry is not Problem.geometry and problem.geometry(problem.p).dim
    if stated and given.dim != stated:
        raise InputError(f"{mesh} is a {given.dim}D mesh, but {problem.name} is stated in {stated}D")
    return {"mesh": given}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(kind: type[Problem], name: str, text: str) -> Any:
    if text.startswith("sample:"):
        if name not in kind.random:
            raise unknown("random parameter", name, kind.random)
        numbers = text.split(":")[1:]
        if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
            raise InputError(f"{name}={text}: a random field is sample:SEED:INDEX, two whole numbers")
        return kind.random[name].sample(generator(*map(int, numbers), name))
    if text.lower().endswith(".csv"):
        from variform import table

        if not kind.parameters[name].field:
            raise InputError(f"parameter {name!r} is a number, not a field: it cannot be the table {text}")
        return table.read(Path(text), name, kind.parameters[name])
    return text


def _option(key: str, text: str, option: inspect.Parameter) -> Any:
    if str(option.annotation) == "str":
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    return check_option(key, value, option)


def check_option(key: str, value: Any, option: inspect.Parameter) -> Any:
    """The value, if it is what the method's `solve` takes: a whole number, a number or a word."""
    kinds = str(option.annotation)
    wanted, words = next(((kind, words) for name, kind, words in KINDS if name in kinds), (type(None), "left as it is"))
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise InputError(f"option {key} must be {words}, got {value!r}")
    least = 0 if key == "seed" else 1
    if wanted is int and not least <= value < 2**63:
        raise InputError(f"option {key} must be at least {least} and below 2^63, got {value}")
    if wanted == (int, float) and not 0 < value < math.inf:
        raise InputError(f"option {key} must be above 0 and finite, got {value}")
    return value
