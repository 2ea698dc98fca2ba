"""Thin plates: Kirchhoff's equation by the C0 interior penalty method."""

from __future__ import annotations

from ufl import Identity, avg, dot, grad, inner, jump, tr

from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.problems.manufactured import laplacian, to_ufl
from variform.task import Parameter


class Plate(Problem):
    """Find the deflection w of a clamped square plate with D lap lap w = q, w = 0 and dw/dn = 0 on the boundary.

    Continuous elements of degree 3; the normal derivative is made continuous, and zero on the boundary, by interior
    penalty. Degree 2 works but its error in L2 is of order 2 only.

    Source: Brenner and Sung, C0 interior penalty methods, J. Sci. Comput. 22 (2005).
    """

    fields = {"w": Field("deflection", unit="m", degree=3)}
    parameters = {
        "stiffness": Parameter("D", default=1.0, unit="N m", above=0.0),
        "poisson_ratio": Parameter("nu", default=0.3, at_least=0.0, below=0.5),
        "load": Parameter("q", default=1.0, unit="N/m^2"),
        "penalty": Parameter("alpha, of the interior penalty", default=12.0, above=0.0),
    }
    conditions = [Dirichlet("w", 0.0)]
    clamped = True
    centre = 0.001265319

    def geometry(self, p):
        return UnitSquare()

    def moments(self, w, p):
        """M = D ((1 - nu) grad grad w + nu lap w I) [N]."""
        curvature = grad(grad(w))
        return p.stiffness * ((1 - p.poisson_ratio) * curvature + p.poisson_ratio * tr(curvature) * Identity(2))

    def residual(self, s, v):
        w, z = s.u["w"], v["w"]
        return (inner(self.moments(w, s.p), grad(grad(z))) - self.source(s.x, s.p) * z) * s.dx

    def source(self, x, p):
        """q [N/m^2]."""
        return p.load

    def stabilisation(self, s, v):
        w, z, n = s.u["w"], v["w"], s.n
        weight = s.p.penalty * s.p.stiffness

        def bending(u):
            return dot(n, dot(self.moments(u, s.p), n))

        def inside(u, z):
            return avg(bending(u)) * jump(grad(z), n)

        def outside(u, z):
            return bending(u) * dot(grad(z), n)

        terms = -(inside(w, z) + inside(z, w)) * s.dS
        terms += weight / avg(s.h) * jump(grad(w), n) * jump(grad(z), n) * s.dS
        if self.clamped:
            terms += -(outside(w, z) + outside(z, w)) * s.ds
            terms += weight / s.h * dot(grad(w), n) * dot(grad(z), n) * s.ds
        return terms

    def orders(self, degrees):
        k = degrees["w"]
        return {"w": {"relative_l2": 2 if k == 2 else k + 1, "relative_h1": k}}

    def measure(self, solution):
        return {"centre": float(solution.at([[0.5], [0.5]])[0])}

    def reference(self):
        return {"centre": self.centre * self.values["load"] / self.values["stiffness"]}


class PlateSupported(Plate):
    """A simply supported square plate: D lap lap w = q, w = 0 and no bending moment on the boundary."""

    clamped = False
    centre = 0.00406235266  # Navier's series


class PlateManufactured(Plate):
    """The clamped plate with the deflection sin(pi x)^2 sin(pi y)^2."""

    parameters = {name: Plate.parameters[name] for name in ("stiffness", "poisson_ratio", "penalty")}
    deflection = "sin(pi*x)**2*sin(pi*y)**2"

    def source(self, x, p):
        return p.stiffness * to_ufl(laplacian(laplacian(self.deflection)))(x)

    def exact(self, x, t, p):
        return to_ufl(self.deflection)(x)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}


class PlateSupportedManufactured(PlateManufactured):
    """The simply supported plate with the deflection sin(pi x) sin(2 pi y)."""

    clamped = False
    deflection = "sin(pi*x)*sin(2*pi*y)"
