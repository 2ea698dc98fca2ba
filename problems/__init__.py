"""What to solve: the catalogue, one file a family, and problems from a user's own file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path

from variform.errors import InputError, unknown
from variform.problem import Problem

CATALOGUE = {
    "poisson": "variform.problems.poisson:Poisson",
    "poisson_manufactured": "variform.problems.poisson:PoissonManufactured",
    "darcy": "variform.problems.darcy:Darcy",
    "darcy_manufactured": "variform.problems.darcy:DarcyManufactured",
    "heat": "variform.problems.heat:Heat",
    "heat_periodic": "variform.problems.heat:HeatPeriodic",
}
"""Name on the command line -> module:class."""


def load(name: str) -> type[Problem]:
    """The problem class of a catalogue name or of `path/to/file.py[:Class]`; a file is run as code.

    Raises:
        InputError: no such name, file or class, or the file fails to run.
    """
    if ".py" in name:
        return _from_file(*name.split(".py:", 1)) if ".py:" in name else _from_file(name.removesuffix(".py"), None)
    if name not in CATALOGUE:
        raise unknown("problem", name, CATALOGUE)
    module, _, class_name = CATALOGUE[name].partition(":")
    return getattr(importlib.import_module(module), class_name)


def _from_file(stem: str, class_name: str | None) -> type[Problem]:
    path = Path(f"{stem}.py")
    if not path.is_file():
        raise InputError(f"no problem file {path}")
    spec = importlib.util.spec_from_file_location(f"variform_user_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where inspect and pickle look for the class
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:  # whatever a user's file raises is bad input
        raise InputError(f"{path} could not be run: {type(error).__name__}: {error}") from error
    own = {
        n: c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, Problem) and c.__module__ == spec.name
    }
    if class_name is not None:
        if class_name not in own:
            raise unknown(f"problem class of {path}", class_name, own)
        return own[class_name]
    if len(own) != 1:
        raise InputError(
            f"{path} must define one Problem, or be named as {path}:Class; it defines {list(own) or 'none'}"
        )
    return next(iter(own.values()))
