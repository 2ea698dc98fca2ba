"""Flow through layered, heterogeneous ground: Darcy's law."""

from __future__ import annotations

import sympy
from ufl import conditional, grad, inner, lt, pi, sin

from variform.meshes import Layers, Rectangle
from variform.problem import Dirichlet, Field, Problem
from variform.problems.manufactured import divergence, gradient, to_ufl, x, y
from variform.random import LogNormal
from variform.task import Parameter

INTERFACE = 0.5


class Darcy(Problem):
    """Find the hydraulic head h with -div(K a grad h) = f in ground of two layers, clay below sand.

    K is constant in each layer, a a smooth random heterogeneity (log-normal). The head is 1 on the left and 0 on the
    right, rain recharges the ground from above, the bottom is tight: K a dh/dn = r sin(pi x) on top, 0 below.

    Source: Bear, Dynamics of Fluids in Porous Media, ch. 5.
    """

    fields = {"h": Field("hydraulic head", unit="m")}
    parameters = {
        "conductivity": Parameter("K", default={"clay": 0.1, "sand": 1.0}, unit="m/d", above=0.0),
        "heterogeneity": Parameter("a", default=1.0, field=True, above=0.0),
        "recharge": Parameter("r", default=0.5, unit="m/d"),
        "pumping": Parameter("f", default=0.0, unit="1/d"),
    }
    random = {"heterogeneity": LogNormal(dim=2)}
    conditions = [Dirichlet("h", 1.0, on="left"), Dirichlet("h", 0.0, on="right")]

    def geometry(self, p):
        return Rectangle((0.0, 0.0), (1.0, 1.0), layers=Layers(axis=1, at=(INTERFACE,), names=("clay", "sand")))

    def energy(self, s):
        h, a = s.u["h"], s.p.heterogeneity
        stored = sum(k * a / 2 * inner(grad(h), grad(h)) * s.dx(layer) for layer, k in s.p.conductivity.items())
        return stored - self.source(s.x, s.p) * h * s.dx - self.inflow(s.x, s.p) * h * s.ds("top")

    def source(self, x, p):
        return p.pumping

    def inflow(self, x, p):
        return p.recharge * sin(pi * x[0])

    def measure(self, solution):
        return {"mean_head": solution.integrate()}


class DarcyManufactured(Darcy):
    """The same equation with a known solution that has a kink: h = w / K, w zero on the interface, a = 1 + x y / 2.

    w = cos(pi y) sin(pi x) (1 + x).
    """

    parameters = {
        "conductivity": Darcy.parameters["conductivity"],
        "heterogeneity": Parameter("a", default=lambda x: 1 + x[0] * x[1] / 2, field=True, above=0.0),
    }
    random = {}
    potential = sympy.cos(sympy.pi * y) * sympy.sin(sympy.pi * x) * (1 + x)
    flux = [(1 + x * y / 2) * q for q in gradient(potential)]
    conditions = [Dirichlet("h", 0.0, on=("left", "right"))]

    def source(self, x, p):
        return to_ufl(-divergence(self.flux))(x)

    def inflow(self, x, p):
        return to_ufl(self.flux[1])(x)

    def exact(self, x, t, p):
        k = conditional(lt(x[1], INTERFACE), p.conductivity["clay"], p.conductivity["sand"])
        return to_ufl(self.potential)(x) / k

    def measure(self, solution):
        return {}
