"""The data sets of the field by name: a problem, the laws of its inputs, and how it is solved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from variform import problems
from variform.data.solved import Plan, Population
from variform.errors import InputError, unknown
from variform.evolution import Evolution
from variform.problems.spectral_evolutions import Burgers, ForcedWaves, Vorticity
from variform.random import (
    EllipticRadius,
    Exponential,
    GaussianField,
    Mapped,
    Sinusoids,
    SmoothRadius,
    Steps,
    Uniform,
    two_phase,
)
from variform.task import Law, Task

__all__ = ["RECIPES", "Recipe", "find"]


@dataclass(frozen=True)
class Variant:
    """Another distribution, for tests out of the one that was learnt.

    Args:
        laws, values: in place of the recipe's.
    """

    description: str
    laws: Mapping[str, Law] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a data set is made.

    Args:
        problem: catalogue name, or path/to/file.py[:Class].
        description: what it holds, with its source.
        method: a key of `solved.METHODS`.
        laws: parameter -> law; those of the problem's own where it is empty.
        values: of parameters without a law, where they are not the problem's own.
        count, resolution, batch: by default.
        finer: cells of the solver's mesh an interval of the grid; points of a spectral grid a stored point.
        steps, snapshots: of an evolution.
        degree: of the elements.
        variants: name -> another distribution.
    """

    problem: str
    description: str
    method: str = "fem-batched"
    laws: Mapping[str, Law] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    count: int = 1000
    resolution: int = 64
    batch: int = 32
    finer: int = 2
    steps: int = 0
    snapshots: int = 0
    degree: int | None = None
    variants: Mapping[str, Variant] = field(default_factory=dict)

    @property
    def kind(self) -> type[Task]:
        return problems.load(self.problem)

    def population(self, plan: Plan) -> Population:
        """The random instances that a plan asks for.

        Raises:
            InputError: no such variant or parameter.
        """
        kind, variant = self.kind, self._variant(plan.variant)
        laws = {**(self.laws or kind.random), **variant.laws}
        values = {**self.values, **variant.values, **plan.values}
        laws = {name: law for name, law in laws.items() if name not in plan.values}
        if not laws:
            raise InputError(
                f"{plan.name} has no random inputs, so that all samples would be the same; "
                f"data sets by name are {', '.join(RECIPES)}"
            )
        return Population(kind(**values), laws)

    def settings(self, resolution: int) -> dict[str, Any]:
        """The fields of a plan that follow from the recipe."""
        periodic = issubclass(self.kind, Evolution) and self.method == "spectral"
        mesh = self.finer * (resolution if periodic else max(1, resolution - 1))
        if self.method == "fem-meshes":
            mesh = max(1, resolution // 10)
        found: dict[str, Any] = {"method": self.method, "mesh": mesh, "degree": self.degree}
        return found | {"steps": self.steps, "snapshots": self.snapshots}

    def evolves(self, plan: Plan) -> bool:
        return getattr(self.kind, "time", None) is not None

    def card(self, plan: Plan) -> dict[str, Any]:
        """What a reader of the file ought to know."""
        population = self.population(plan)
        return {
            "description": self.description,
            "equation": " ".join((self.kind.__doc__ or "").split()),
            "inputs": {name: repr(law) for name, law in population.laws.items()},
            "values": {k: v for k, v in population.task.values.items() if isinstance(v, int | float | dict)},
            "variant": self._variant(plan.variant).description,
            "licence": "of whoever generates it; the code is Apache-2.0",
        }

    def _variant(self, name: str) -> Variant:
        if not name:
            return Variant("as learnt")
        if name not in self.variants:
            raise unknown("variant", name, self.variants)
        return self.variants[name]


def find(name: str) -> Recipe:
    """The recipe of this name; else one for the problem of this name, with the method that takes it.

    "problem:NAME" is always the problem, also where a recipe has its name.

    Raises:
        InputError: neither is there.
    """
    if name in RECIPES:
        return RECIPES[name]
    name = name.removeprefix("problem:")
    known = {**RECIPES, **problems.CATALOGUE, **problems.EVOLUTIONS, **problems.SYSTEMS}
    if ".py" not in name and name not in known:
        raise unknown("data set or problem", name, known)
    if name in problems.SYSTEMS:  # their recipes have their names
        return RECIPES[name]
    kind = problems.load(name)
    spectral = issubclass(kind, Evolution)
    steps = {"steps": 50, "snapshots": 10} if getattr(kind, "time", None) is not None else {}
    text = " ".join((kind.__doc__ or name).split("\n\n")[0].split())
    method = "spectral" if spectral else "fem-batched"
    return Recipe(name, text, method=method, finer=1 if spectral else 2, **steps)


def _waves(
    problem: str, description: str, resolution: int, steps: int, snapshots: int, *, finer: int = 2, **others: Any
) -> Recipe:
    """By the spectral method."""
    settings = {"batch": 64, **others}
    return Recipe(
        problem,
        description,
        method="spectral",
        resolution=resolution,
        steps=steps,
        snapshots=snapshots,
        finer=finer,
        **settings,
    )


GRF = GaussianField(scale=3.0, modes=63)
"""Covariance 9 (9 - Laplace)^(-2), Neumann, zero mean: that of the Darcy sets of the literature."""
ROUGH, SMOOTH = GaussianField(alpha=1.6, modes=63), GaussianField(alpha=3.0, modes=63)

WAVES, VORTICITY = Burgers.random["initial"], Vorticity.random["initial"]

RECIPES: dict[str, Recipe] = {
    "darcy": Recipe(
        "darcy_phases",
        "Two-phase Darcy flow, K = 12 or 3, f = 1 (Li et al. 2021); K of the sign of a Gaussian field",
        variants={
            "contrast": Variant("K = 30 or 1", {"permeability": two_phase(1.0, 30.0, GRF)}),
            "rough": Variant("rougher interfaces", {"permeability": two_phase(3.0, 12.0, ROUGH)}),
            "smooth": Variant("smoother interfaces", {"permeability": two_phase(3.0, 12.0, SMOOTH)}),
            "three-phase": Variant(
                "K = 3, 7 or 12", {"permeability": Mapped(GRF, Steps((-0.1, 0.1), (3.0, 7.0, 12.0)))}
            ),
        },
    ),
    "darcy_lognormal": Recipe(
        "darcy_field",
        "Darcy flow in a smooth log-normal medium",
        laws={"permeability": Mapped(GaussianField(sigma=0.5, modes=31), Exponential())},
        variants={
            "variance": Variant(
                "twice the deviation", {"permeability": Mapped(GaussianField(sigma=1.0, modes=31), Exponential())}
            )
        },
    ),
    "darcy_phases": Recipe(
        "darcy_phases",
        "Two-phase Darcy flow, K = 10 or 5, f = 10, on 29^2 points (the data of DGenNO)",
        laws={"permeability": two_phase(5.0, 10.0, GRF)},
        values={"pumping": 10.0},
        resolution=29,
        finer=4,
        variants={"contrast": Variant("K = 20 or 2", {"permeability": two_phase(2.0, 20.0, GRF)})},
    ),
    "poisson_source": Recipe(
        "poisson_source",
        "Poisson's equation with a random source (the data of DiffusionPDE, with -lap u = f)",
        laws={"source": GRF},
        resolution=128,
        finer=1,
    ),
    "helmholtz_source": Recipe(
        "helmholtz_source",
        "The Helmholtz equation with k = 1 and a random source (the data of DiffusionPDE)",
        laws={"source": GRF},
        resolution=128,
        finer=1,
        variants={"wavenumber": Variant("k = 3", values={"wavenumber": 3.0})},
    ),
    "fisher_kpp": Recipe(
        "fisher_kpp",
        "Fronts of Fisher's equation with random diffusivity and growth, exact values at both ends",
        laws={"diffusivity": Uniform(0.5, 2.0), "growth": Uniform(0.5, 2.0)},
        resolution=128,
        steps=160,
        snapshots=40,
        variants={"fast": Variant("growth beyond what was learnt", {"growth": Uniform(2.0, 4.0)})},
    ),
    "advection": _waves(
        "advection",
        "Advection with random speeds, 100 points, 125 frames",
        100,
        124,
        124,
        finer=1,
        batch=256,
        variants={"fast": Variant("speeds beyond what was learnt", {"speed": Uniform(5.0, 7.0)})},
    ),
    "burgers_1d": _waves(
        "burgers_periodic",
        "Burgers' equation, nu = 0.01, 128 points, 128 frames",
        128,
        2540,
        127,
        variants={"rough": Variant("rougher initial values", {"initial": replace(WAVES, alpha=2.0)})},
    ),
    "kdv": _waves("kdv", "Korteweg and de Vries' equation from random waves, 128 points", 128, 2000, 100),
    "ks": _waves(
        "ks",
        "Kuramoto and Sivashinsky's equation, L = 64, 200 points, 200 frames",
        200,
        1990,
        199,
        finer=1,
        variants={"short": Variant("shorter waves at first", {"initial": Sinusoids(period=(64.0,), waves=(5, 8))})},
    ),
    "e1": _waves(
        "forced_waves",
        "E1: forced inviscid Burgers in the limit of a small viscosity, beta = 0.01 (theirs is by WENO, without any)",
        100,
        1245,
        249,
        finer=16,
        values={"alpha": 1.0, "beta": 0.01, "gamma": 0.0},
    ),
    "e2": _waves(
        "forced_waves",
        "E2: forced Burgers, beta random from 0.01 (theirs from 0) to 0.2",
        100,
        1245,
        249,
        finer=16,
        laws={**ForcedWaves.random, "beta": Uniform(0.01, 0.2)},
    ),
    "e3": _waves(
        "forced_waves",
        "E3: Burgers with dispersion, alpha, beta and gamma random; until t = 4 (theirs until 2)",
        100,
        2490,
        249,
        finer=4,
        laws={
            **ForcedWaves.random,
            "alpha": Uniform(0.0, 6.0),
            "beta": Uniform(0.1, 0.4),
            "gamma": Uniform(0.0, 1.0),
        },
    ),
    "cahn_hilliard": _waves(
        "cahn_hilliard_torus", "Cahn and Hilliard's equation from noise", 64, 2000, 40, finer=2, batch=16
    ),
    **{
        name: _waves(
            name,
            f"Vorticity on the torus, nu = {nu}, 64^2 points, a frame a time unit until t = {end} (Li et al. 2021)",
            64,
            50 * end,
            end,
            batch=20,
            count=count,
            variants={"rough": Variant("rougher initial values", {"initial": replace(VORTICITY, alpha=2.0)})},
        )
        for name, nu, end, count in (
            ("navier_stokes_vorticity", "1e-3", 50, 5000),
            ("navier_stokes_1e-3", "1e-3", 20, 1200),
            ("navier_stokes_1e-4", "1e-4", 30, 10000),
            ("navier_stokes_1e-5", "1e-5", 20, 1200),
        )
    },
    "darcy_mesh": Recipe(
        "darcy_mesh",
        "Two-phase Darcy flow about an elliptic hole, a mesh of its own for each sample",
        method="fem-meshes",
        batch=8,
        variants={"large": Variant("larger holes", {"void": EllipticRadius((0.3, 0.45))})},
    ),
    "elasticity_void": Recipe(
        "elasticity_void",
        "An elastic cell with a smooth random void, pulled; P2, a mesh of its own for each sample",
        method="fem-meshes",
        batch=8,
        resolution=41,
        variants={"rough": Variant("rougher voids", {"void": SmoothRadius(alpha=1.0)})},
    ),
    **{
        name: Recipe(
            name,
            f"Lorenz's system of 1996 in {tiers} tiers: {K} X and their exact coupling, a frame each ten steps",
            method="tiers",
            count=128,
            resolution=K,
            steps=2000,
            snapshots=200,
            variants={"forcing": Variant("F = 24", values={"F": 24.0})},
        )
        for name, tiers, K in (("lorenz96", "two", 16), ("lorenz96_three", "three", 8))
    },
    "heat_source": Recipe(
        "heat_source", "Heat from a random source that does not change, T = 0 at first", steps=40, snapshots=20
    ),
}
"""Name -> recipe."""
