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
    "poisson_1d": "variform.problems.poisson:Poisson1D",
    "poisson_3d": "variform.problems.poisson:Poisson3D",
    "poisson_3d_manufactured": "variform.problems.poisson:Poisson3DManufactured",
    "poisson_neumann": "variform.problems.poisson:PoissonNeumann",
    "poisson_multiplier": "variform.problems.poisson:PoissonMultiplier",
    "poisson_robin": "variform.problems.poisson:PoissonRobin",
    "poisson_periodic": "variform.problems.poisson:PoissonPeriodic",
    "poisson_source": "variform.problems.poisson:PoissonSource",
    "l_shape": "variform.problems.poisson:PoissonLShape",
    "l_shape_manufactured": "variform.problems.poisson:PoissonLShapeManufactured",
    "l_shape_singular": "variform.problems.poisson:PoissonLShapeSingular",
    "darcy": "variform.problems.darcy:Darcy",
    "darcy_manufactured": "variform.problems.darcy:DarcyManufactured",
    "darcy_constant": "variform.problems.darcy:DarcyConstant",
    "darcy_checkerboard": "variform.problems.darcy:DarcyCheckerboard",
    "darcy_field": "variform.problems.darcy:DarcyField",
    "darcy_phases": "variform.problems.darcy:DarcyPhases",
    "darcy_mesh": "variform.problems.void:DarcyMesh",
    "mixed_darcy": "variform.problems.mixed_darcy:MixedDarcy",
    "linear_elasticity": "variform.problems.linear_elasticity:LinearElasticity",
    "elasticity_3d": "variform.problems.linear_elasticity:Elasticity3D",
    "elasticity_free": "variform.problems.linear_elasticity:ElasticityFree",
    "cook": "variform.problems.linear_elasticity:Cook",
    "cook_plane_strain": "variform.problems.linear_elasticity:CookPlaneStrain",
    "elasticity_void": "variform.problems.void:ElasticityVoid",
    "plate_with_hole": "variform.problems.linear_elasticity:Kirsch",
    "hyperelasticity_manufactured": "variform.problems.hyperelasticity:HyperelasticityManufactured",
    "hyperelastic_uniaxial": "variform.problems.hyperelasticity:HyperelasticUniaxial",
    "hyperelastic_beam": "variform.problems.hyperelasticity:HyperelasticBeam",
    "heat": "variform.problems.heat:Heat",
    "heat_periodic": "variform.problems.heat:HeatPeriodic",
    "heat_source": "variform.problems.heat:HeatSource",
    "heat_manufactured": "variform.problems.heat:HeatManufactured",
    "burgers_1d": "variform.problems.burgers:Burgers1D",
    "burgers_2d": "variform.problems.burgers:Burgers2D",
    "allen_cahn": "variform.problems.phase_field:AllenCahn",
    "allen_cahn_1d": "variform.problems.phase_field:AllenCahn1D",
    "cahn_hilliard": "variform.problems.phase_field:CahnHilliard",
    "mean_curvature": "variform.problems.phase_field:MeanCurvature",
    "fisher_kpp": "variform.problems.reaction_diffusion:Fisher",
    "fisher_kpp_front": "variform.problems.reaction_diffusion:FisherFront",
    "fisher_kpp_tissue": "variform.problems.reaction_diffusion:FisherTissue",
    "gray_scott": "variform.problems.reaction_diffusion:GrayScott",
    "gray_scott_turing": "variform.problems.reaction_diffusion:GrayScottTuring",
    "p_laplace": "variform.problems.p_laplace:PLaplace",
    "p_laplace_manufactured": "variform.problems.p_laplace:PLaplaceManufactured",
    "plate": "variform.problems.plate:Plate",
    "plate_manufactured": "variform.problems.plate:PlateManufactured",
    "plate_supported": "variform.problems.plate:PlateSupported",
    "plate_supported_manufactured": "variform.problems.plate:PlateSupportedManufactured",
    "advection_diffusion": "variform.problems.advection_diffusion:AdvectionDiffusion",
    "advection_diffusion_manufactured": "variform.problems.advection_diffusion:AdvectionDiffusionManufactured",
    "rotating_gaussian": "variform.problems.advection_diffusion:RotatingGaussian",
    "wave": "variform.problems.wave:Wave",
    "elastodynamics": "variform.problems.wave:ElastodynamicsManufactured",
    "elastic_bar": "variform.problems.wave:ElasticBar",
    "stokes": "variform.problems.stokes:Stokes",
    "stokes_manufactured": "variform.problems.stokes:StokesManufactured",
    "kovasznay": "variform.problems.navier_stokes:Kovasznay",
    "cavity": "variform.problems.navier_stokes:Cavity",
    "laplace_eigen": "variform.problems.eigenproblems:LaplaceEigen",
    "plate_eigen": "variform.problems.eigenproblems:PlateEigen",
    "maxwell_eigen": "variform.problems.eigenproblems:MaxwellEigen",
    "helmholtz": "variform.problems.helmholtz:Helmholtz",
    "helmholtz_source": "variform.problems.helmholtz:HelmholtzSource",
    "dfg_2d1": "variform.problems.navier_stokes:DFG2D1",
    "dfg_2d2": "variform.problems.unsteady_flow:DFG2D2",
    "dfg_2d3": "variform.problems.unsteady_flow:DFG2D3",
    "taylor_green": "variform.problems.unsteady_flow:TaylorGreen",
}
"""Name on the command line -> module:class."""

EVOLUTIONS = {
    "advection": "variform.problems.spectral_evolutions:Advection",
    "heat_torus": "variform.problems.spectral_evolutions:HeatOnTorus",
    "burgers_periodic": "variform.problems.spectral_evolutions:Burgers",
    "kdv": "variform.problems.spectral_evolutions:KortewegDeVries",
    "ks": "variform.problems.spectral_evolutions:KuramotoSivashinsky",
    "allen_cahn_torus": "variform.problems.spectral_evolutions:AllenCahnOnTorus",
    "cahn_hilliard_torus": "variform.problems.spectral_evolutions:CahnHilliardOnTorus",
    "gray_scott_torus": "variform.problems.spectral_evolutions:GrayScottOnTorus",
    "navier_stokes_vorticity": "variform.problems.spectral_evolutions:Vorticity",
    "navier_stokes_1e-4": "variform.problems.spectral_evolutions:ThinVorticity",
    "navier_stokes_1e-3": "variform.problems.spectral_evolutions:ShortVorticity",
    "navier_stokes_1e-5": "variform.problems.spectral_evolutions:ThinnestVorticity",
    "kolmogorov_flow": "variform.problems.spectral_evolutions:KolmogorovFlow",
    "forced_waves": "variform.problems.spectral_evolutions:ForcedWaves",
}
"""The same of evolutions in symbol form only, which the spectral method solves."""

SYSTEMS = {
    "lorenz96": "variform.problems.lorenz96:Lorenz96",
    "lorenz96_three": "variform.problems.lorenz96:Lorenz96Three",
}
"""The same of systems of ordinary differential equations, of which data sets are made."""


def load(name: str) -> type[Problem]:
    """The problem class of a catalogue name or of `path/to/file.py[:Class]`; a file is run as code.

    Raises:
        InputError: no such name, file or class, or the file fails to run.
    """
    if ".py" in name:
        return _from_file(*name.split(".py:", 1)) if ".py:" in name else _from_file(name.removesuffix(".py"), None)
    if name not in (known := {**CATALOGUE, **EVOLUTIONS, **SYSTEMS}):
        raise unknown("problem", name, known)
    module, _, class_name = known[name].partition(":")
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
