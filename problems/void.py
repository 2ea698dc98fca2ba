"""Bodies with a random void: an elastic cell that is pulled, and flow through ground about a hole."""

from __future__ import annotations

from ufl import grad, inner

from variform.meshes.void import SquareWithVoid
from variform.problem import Dirichlet, Field, Problem
from variform.problems.linear_elasticity import Elasticity
from variform.random import EllipticRadius, GaussianField, SmoothRadius, Uniform, two_phase
from variform.task import Parameter

__all__ = ["DarcyMesh", "ElasticityVoid"]


def circle(x):
    """A radius that is the same in all directions [m]."""
    return 0 * x[0] + 0.25


class ElasticityVoid(Elasticity):
    """An elastic cell with a void in its middle, clamped below and pulled above; in plane strain.

    The void's radius is 0.2 + 0.2 / (1 + exp(g)), g a Gaussian field on the circle.

    Source: the shapes of Li et al., Fourier Neural Operator with Learned Deformations (2022), whose material is
    hyper-elastic; this one is linear.
    """

    parameters = {
        **Elasticity.parameters,
        "void": Parameter("radius", default=circle, unit="m", field=True, above=0.0),
        "traction": Parameter("traction", default=0.1, unit="Pa"),
    }
    random = {"void": SmoothRadius(), "traction": Uniform(0.05, 0.15)}
    conditions = [Dirichlet("u", 0.0, on="bottom")]

    def geometry(self, p):
        return SquareWithVoid(p.void)

    def work(self, s, u):
        return s.p.traction * u[1] * s.ds("top")

    def measure(self, solution):
        return {"pull": solution.functional(lambda s: s.u["u"][1] * s.ds("top"))}


class DarcyMesh(Problem):
    """-div(K grad h) = f in a square about an elliptic hole: h = 0 on the square's boundary, no flow into the hole.

    K is two-phase; hole and K are random.
    """

    fields = {"h": Field("hydraulic head", unit="m")}
    parameters = {
        "void": Parameter("radius of the hole", default=circle, unit="m", field=True, above=0.0),
        "permeability": Parameter("K", default=12.0, unit="m/d", field=True, above=0.0, smooth=False),
        "pumping": Parameter("f", default=1.0, unit="1/d"),
    }
    random = {
        "void": EllipticRadius(),
        "permeability": two_phase(3.0, 12.0, GaussianField(scale=3.0, modes=31)),
    }
    conditions = [Dirichlet("h", 0.0, on=("left", "right", "bottom", "top"))]

    def geometry(self, p):
        return SquareWithVoid(p.void)

    def energy(self, s):
        h = s.u["h"]
        return (s.p.permeability / 2 * inner(grad(h), grad(h)) - s.p.pumping * h) * s.dx

    def measure(self, solution):
        return {"mean_head": solution.integrate()}
