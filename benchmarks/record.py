"""What is recorded of one solved instance: the content of run.json."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

from variform import runs
from variform.problem import Problem
from variform.solution import Solution


def describe(
    problem: Problem,
    name: str,
    method: str,
    solution: Solution,
    errors: dict[str, float],
    *,
    own_domain: bool = True,
    ranks: int = 1,
) -> dict[str, Any]:
    """The record of a run.

    Args:
        name: how the problem was called on the command line.
        errors: relative_l2 and relative_h1, where there is something to compare with.
        own_domain: solved on the problem's own domain, for which its reference values hold; not on a mesh file.
    """
    measured, reference = problem.measure(solution), problem.reference() if own_domain else {}
    quantities = {k: {"value": float(v), "reference": reference.get(k)} for k, v in measured.items()}
    residual = solution.discretization.get("residual")
    return {
        "problem": name,
        "problem_sha256": file_digest(type(problem)),
        "method": method,
        "parameters": {k: v if not callable(v) else "field" for k, v in problem.values.items()},
        "discretization": solution.discretization,
        "metrics": {**errors, "residual": residual, "quantities": quantities},
        "cost": asdict(solution.cost),
        "environment": runs.environment(ranks),
        "seed": solution.discretization.get("seed"),
        "status": solution.status,
        "created": runs.now(),
        "command": runs.command_line(),
    }


def file_digest(kind: type[Problem]) -> str | None:
    """SHA-256 of a user's problem file; None for the catalogue, which the commit pins."""
    if kind.__module__.startswith("variform."):
        return None
    return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
