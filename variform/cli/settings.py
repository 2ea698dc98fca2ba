"""Settings given as text: key=value, a mesh."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from variform.errors import InputError, unknown
from variform.problem import Problem


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
                values[name] = {**values.get(name, {}), region: value}
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
    if mesh.lstrip("+-").isdigit():
        cells = int(mesh)
        if cells < 1:
            raise InputError(f"--mesh must be 1 cell a side or more, or a mesh file, got {mesh}")
        return {"resolution" if method == "spectral" else "mesh": cells}
    from variform import meshes

    if method == "spectral":
        raise InputError("the spectral method works on a periodic box: --mesh must be a number of points a side")
    return {"mesh": meshes.read(Path(mesh))}


def _value(kind: type[Problem], name: str, text: str) -> Any:
    if text.startswith("sample:"):
        if name not in kind.random:
            raise unknown("random parameter", name, kind.random)
        numbers = text.split(":")[1:]
        if len(numbers) != 2 or not all(n.isdigit() for n in numbers):
            raise InputError(f"{name}={text}: a random field is sample:SEED:INDEX, two whole numbers")
        return kind.random[name].sample(*map(int, numbers))
    return text


def _option(key: str, text: str, option: inspect.Parameter) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    default = option.default
    wanted = (int, float) if isinstance(default, float) else int if default is None or isinstance(default, int) else str
    if isinstance(value, bool) or not isinstance(value, wanted):
        names = "a number" if isinstance(wanted, tuple) else "a whole number" if wanted is int else "a word"
        raise InputError(f"option {key} must be {names}, got {text!r}")
    if wanted is int and value < 0:
        raise InputError(f"option {key} must not be negative, got {value}")
    return value
