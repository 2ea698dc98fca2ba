"""Time schemes of finite elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from variform.errors import InputError, unknown
from variform.solvers.fem.discretize import Discrete
from variform.solvers.fem.time import tableaux
from variform.solvers.fem.time.explicit import ExplicitRungeKutta, Leapfrog
from variform.solvers.fem.time.imex import SBDF2, ImexRungeKutta
from variform.solvers.fem.time.implicit import BDF2, DIRK, CrankNicolson
from variform.solvers.fem.time.second_order import GeneralisedAlpha
from variform.solvers.fem.time.stepper import Stepper, time_order

SCHEMES: dict[str, Callable[..., Stepper]] = {
    "implicit_euler": partial(DIRK, tableau=tableaux.IMPLICIT_EULER),
    "crank_nicolson": CrankNicolson,
    "bdf2": BDF2,
    "sdirk2": partial(DIRK, tableau=tableaux.SDIRK2),
    "sdirk3": partial(DIRK, tableau=tableaux.SDIRK3),
    "sdirk4": partial(DIRK, tableau=tableaux.SDIRK4),
    "imex_sbdf2": partial(SBDF2, scheme="imex_sbdf2"),
    "imex2": partial(ImexRungeKutta, pair=tableaux.IMEX2, scheme="imex2"),
    "imex3": partial(ImexRungeKutta, pair=tableaux.IMEX3, scheme="imex3"),
    "heun": partial(ExplicitRungeKutta, tableau=tableaux.HEUN, scheme="heun"),
    "ssprk3": partial(ExplicitRungeKutta, tableau=tableaux.SSPRK3, scheme="ssprk3"),
    "rk4": partial(ExplicitRungeKutta, tableau=tableaux.RK4, scheme="rk4"),
    "generalized_alpha": GeneralisedAlpha,
    "leapfrog": partial(Leapfrog, scheme="leapfrog"),
}
"""Name on the command line -> what makes the stepper of a form."""

SECOND_ORDER = ("generalized_alpha", "leapfrog")
"""Those for Dt(Dt(u))."""


def stepper(scheme: str | None, discrete: Discrete, *, rho_infinity: float | None = None, **options: Any) -> Stepper:
    """The time stepper of a problem: by the scheme asked for, the problem's own, or what fits its form.

    Raises:
        InputError: no such scheme, or one that does not fit the form.
    """
    form = discrete.residual()
    order = time_order(discrete, form)
    name = scheme or discrete.problem.scheme or ("sdirk2", "generalized_alpha")[order - 1]
    if name not in SCHEMES:
        raise unknown("time scheme", name, SCHEMES)
    if (name in SECOND_ORDER) != (order == 2):
        fitting = SECOND_ORDER if order == 2 else [n for n in SCHEMES if n not in SECOND_ORDER]
        what = "Dt(Dt(u))" if order == 2 else "Dt(u) only"
        raise InputError(
            f"scheme {name!r} does not fit {discrete.problem.name}, whose form has {what}: use {', '.join(fitting)}"
        )
    if rho_infinity is not None:
        if name != "generalized_alpha":
            raise InputError(f"rho_infinity is for scheme 'generalized_alpha', not for {name!r}")
        options["rho_infinity"] = rho_infinity
    made = SCHEMES[name](discrete, form, **options)
    made.name = name
    return made


__all__ = ["SCHEMES", "Stepper", "stepper"]
