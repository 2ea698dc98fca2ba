"""The linear solver of each operator, as PETSc options. The whole policy is this one file."""

from __future__ import annotations

import shlex
from typing import Any

from variform.errors import InputError
from variform.problem import Problem
from variform.solvers.fem.discretize import Discrete

DIRECT = {"ksp_type": "preonly", "pc_type": "lu", "pc_factor_mat_solver_type": "mumps", "mat_mumps_icntl_24": 1}
# PETSc's GAMG with its defaults for symmetric problems; the threshold saves a third of the iterations
# (14 to 9 at 66k dofs of P1).
GAMG = {"pc_type": "gamg", "pc_gamg_threshold": 0.01, "pc_gamg_coarse_eq_limit": 1000}
MULTIGRID = {"ksp_type": "cg", **GAMG}


def linear_solver(discrete: Discrete, *, is_linear: bool) -> dict[str, Any]:
    """Options by operator.

    - A convex energy of one Lagrange field of degree 1 or 2 (scalar diffusion, elasticity): CG with algebraic
      multigrid, for vectors with the rigid motions as near-nullspace.
    - A symmetric saddle point with a stated preconditioner (Stokes): MINRES with one multigrid cycle for each vector
      field and the diagonal for each scalar one.
    - Everything else (nonlinear vector fields, convection, H(div), fourth order, high degree): a direct solver.
    """
    problem = discrete.problem
    names = list(problem.fields)
    periodic = any(problem.periodic_axes(name) for name in names)
    if is_linear and len(names) > 1 and has_preconditioner(discrete) and not periodic:
        split = {"pc_type": "fieldsplit", "pc_fieldsplit_type": "additive", "ksp_type": "minres", "ksp_max_it": 2000}
        for name, field in problem.fields.items():
            block = GAMG if field.shape else {"pc_type": "jacobi"}
            split |= {f"fieldsplit_{name}_{key}": value for key, value in {"ksp_type": "preonly", **block}.items()}
        return split
    field = problem.fields[names[0]]
    multigrid = (
        len(names) == 1
        and field.element == "Lagrange"
        and discrete.degrees[names[0]] <= 2
        and (is_linear or not field.shape)
        and problem.energy(discrete.symbols) is not None
        and problem.stabilisation(discrete.symbols, discrete.v) is None
    )
    return dict(MULTIGRID if multigrid else DIRECT)


def has_preconditioner(discrete: Discrete) -> bool:
    """The problem states a preconditioner."""
    return type(discrete.problem).preconditioner is not Problem.preconditioner


def parse(text: str) -> dict[str, Any]:
    """PETSc options from text: "ksp_type=gmres pc_type=ilu", or as PETSc writes them, "-ksp_type gmres -ksp_view".

    Raises:
        InputError: a word that is neither.
    """
    words, options = shlex.split(text), {}
    position = 0
    while position < len(words):
        key, equals, value = words[position].lstrip("-").partition("=")
        position += 1
        if words[position - 1].startswith("-") and not equals:
            following = words[position] if position < len(words) else "-"
            is_flag = following.startswith("-") and not following[1:2].isdigit()
            value, position = (None, position) if is_flag else (following, position + 1)
        elif not equals:
            raise InputError(f"PETSc options are key=value or -key value, got {words[position - 1]!r}")
        if not key.replace("_", "").isalnum():
            raise InputError(f"{key!r} is no name of a PETSc option")
        options[key] = value
    return options
