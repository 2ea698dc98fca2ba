"""Flow through ground, uniform, layered, chequered or random: Darcy's law for the head."""

from __future__ import annotations

import math

from ufl import conditional, grad, gt, inner, lt, pi, sin

from variform.meshes import Layers, Rectangle, UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.problems.manufactured import divergence, gradient, symbolic, to_ufl
from variform.random import GaussianField, LogNormal, two_phase
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
    potential = "cos(pi*y)*sin(pi*x)*(1 + x)"
    conditions = [Dirichlet("h", 0.0, on=("left", "right"))]

    def source(self, x, p):
        return to_ufl(-divergence(self.flux()))(x)

    def flux(self):
        """a grad w."""
        return [symbolic("1 + x*y/2") * slope for slope in gradient(self.potential)]

    def inflow(self, x, p):
        return to_ufl(self.flux()[1])(x)

    def exact(self, x, t, p):
        k = conditional(lt(x[1], INTERFACE), p.conductivity["clay"], p.conductivity["sand"])
        return to_ufl(self.potential)(x) / k

    def measure(self, solution):
        return {}


class DarcyConstant(Problem):
    """-div(K grad h) = 0 with one K: the head h = 1 - x falls evenly from left to right, and K flows through.

    Source: Bear, section 5.1.
    """

    fields = {"h": Field("hydraulic head", unit="m")}
    parameters = {"conductivity": Parameter("K", default=2.0, unit="m/d", above=0.0)}
    conditions = [Dirichlet("h", 1.0, on="left"), Dirichlet("h", 0.0, on="right")]

    def geometry(self, p):
        return UnitSquare()

    def conductivity(self, x, p):
        return p.conductivity

    def energy(self, s):
        return self.conductivity(s.x, s.p) / 2 * inner(grad(s.u["h"]), grad(s.u["h"])) * s.dx

    def exact(self, x, t, p):
        return 1 - x[0]

    def measure(self, solution):
        return {"inflow": solution.reaction("h", "left")}

    def reference(self):
        return {"inflow": self.values["conductivity"]}


class DarcyCheckerboard(DarcyConstant):
    """-div(K grad h) = 0 in a cell of a checkerboard: K = K1 in two opposite quarters, K2 in the others.

    Heads 1 and 0 on the left and right; no flow through bottom and top. The flow is the effective conductivity of the
    board, the geometric mean. At the centre h behaves as r^a with a = 4/pi arctan(sqrt(Kmin / Kmax)), 0.39 by default:
    the energy, and with it the flow, converges at order 2 a only, from above.

    Source: Dykhne, Conductivity of a two-dimensional two-phase system (Sov. Phys. JETP 32, 1971).
    """

    parameters = {
        "first": Parameter("K1", default=1.0, unit="m/d", above=0.0),
        "second": Parameter("K2", default=10.0, unit="m/d", above=0.0),
    }

    def conductivity(self, x, p):
        # In the mesh of an even number of cells a side no cell is cut.
        return conditional(gt((x[0] - 0.5) * (x[1] - 0.5), 0), p.first, p.second)

    def exact(self, x, t, p):
        return None

    def measure(self, solution):
        return {"effective_conductivity": solution.reaction("h", "left")}

    def reference(self):
        return {"effective_conductivity": math.sqrt(self.values["first"] * self.values["second"])}


class DarcyField(DarcyConstant):
    """-div(K grad h) = f with a random, log-normal K; h = 0 on the boundary.

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations (2021), section 5.2.
    """

    parameters = {
        "permeability": Parameter("K", default=1.0, unit="m/d", field=True, above=0.0),
        "pumping": Parameter("f", default=1.0, unit="1/d"),
    }
    random = {"permeability": LogNormal(dim=2)}
    conditions = [Dirichlet("h", 0.0)]

    def conductivity(self, x, p):
        return p.permeability

    def energy(self, s):
        return super().energy(s) - s.p.pumping * s.u["h"] * s.dx

    def exact(self, x, t, p):
        return None

    def measure(self, solution):
        return {"mean_head": solution.integrate()}

    def reference(self):
        if callable(self.values["permeability"]):
            return {}
        # The Fourier series of -div(grad h) = 1 on the unit square.
        return {"mean_head": 0.0351442537 * self.values["pumping"] / self.values["permeability"]}


class DarcyPhases(DarcyField):
    """-div(K grad h) = f, h = 0 on the boundary, K one of a few values in each place: no gradient at the interfaces.

    K is constant in each cell: 12 where a Gaussian field is positive, 3 elsewhere.

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations (2021), section 5.2.
    """

    parameters = {
        "permeability": Parameter("K", default=12.0, unit="m/d", field=True, above=0.0, smooth=False),
        "pumping": Parameter("f", default=1.0, unit="1/d"),
    }
    random = {"permeability": two_phase(3.0, 12.0, GaussianField(scale=3.0, modes=63))}
