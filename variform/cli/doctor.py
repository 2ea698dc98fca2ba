"""Is this machine ready?"""

from __future__ import annotations

import importlib
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from variform.cli.output import print_json, print_table


def doctor(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the installation: compiler, libraries, a tiny solve, a picture, a GPU. Exit 1 if something needed fails."""
    checks = [_run(name, needed, check) for name, needed, check in CHECKS]
    if json:
        print_json(checks)
    else:
        marks = {"ok": "ok", "failed": "FAILED", "absent": "absent"}
        print_table("", [(marks[c["status"]], c["name"], c["detail"]) for c in checks])
    if any(c["status"] == "failed" for c in checks):
        raise typer.Exit(1)


def _run(name: str, needed: bool, check: Callable[[], str]) -> dict[str, str]:
    try:
        return {"name": name, "status": "ok", "detail": check()}
    except Exception as error:  # a doctor reports whatever ails the patient
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"name": name, "status": "failed" if needed else "absent", "detail": detail}


def _python() -> str:
    return sys.version.split()[0]


def _compiler() -> str:
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("no C compiler (cc, gcc or clang): finite elements compile each form; install one")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.is_file():
        raise RuntimeError(f"no {header}: install Python's headers (python3-dev)")
    return found


def _version(module: str, package: str) -> Callable[[], str]:
    def check() -> str:
        from importlib import metadata

        importlib.import_module(module)
        return metadata.version(package)

    return check


def _finite_elements() -> str:
    from variform.problems import load
    from variform.solvers import solve

    problem = load("poisson")()
    solution = solve(problem, "fem", mesh=32)
    error = abs(problem.measure(solution)["centre"] / problem.reference()["centre"] - 1)
    if error > 2e-3:
        raise RuntimeError(f"a Poisson solve is off by {error:.1e}")
    return f"Poisson on 32 x 32 x 2 cells in {solution.cost.wall_s:.2f} s, compilation included where it was new"


def _pictures() -> str:
    from variform import figures
    from variform.meshes import UnitSquare

    mesh = UnitSquare().mesh(4)
    with tempfile.TemporaryDirectory() as folder:
        figures.field(mesh, mesh.points[:, 0], Path(folder) / "picture.png", title="")
    return "drawn without a display"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no CUDA device: everything runs on the CPU")
    return torch.cuda.get_device_name()


CHECKS: list[tuple[str, bool, Callable[[], str]]] = [
    ("Python", True, _python),
    ("C compiler", True, _compiler),
    ("UFL", True, _version("ufl", "fenics-ufl")),
    ("torch", True, _version("torch", "torch")),
    ("DOLFINx", True, _version("dolfinx_solver", "dolfinx-solver-real")),
    ("finite elements", True, _finite_elements),
    ("neuraloperator", True, _version("neuralop", "neuraloperator")),
    ("pictures", True, _pictures),
    ("gmsh", False, _version("gmsh", "gmsh")),
    ("GPU", False, _gpu),
]
"""Name, whether it is needed, and the check: it returns a detail or raises."""
