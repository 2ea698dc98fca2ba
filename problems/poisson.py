"""Poisson's equation with constant conductivity: square, interval, cube and L-shape, all boundary conditions."""

from __future__ import annotations

from ufl import atan2, derivative, dot, grad, inner, pi, sin

from variform.meshes import Interval, LShape, UnitCube, UnitSquare
from variform.problem import Dirichlet, Field, Mean, Periodic, Problem
from variform.problems.manufactured import divergence, gradient, to_ufl
from variform.random import GaussianField
from variform.task import Parameter


class Poisson(Problem):
    """Find u with -div(k grad u) = f in the unit square and u = 0 on its boundary.

    Source: Brenner and Scott, The Mathematical Theory of Finite Element Methods, ch. 0.
    """

    fields = {"u": Field("temperature", unit="K")}
    parameters = {
        "conductivity": Parameter("k", default=1.0, unit="W/(m K)", above=0.0),
        "source": Parameter("f", default=1.0, unit="W/m^3"),
    }
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        u = s.u["u"]
        return (s.p.conductivity / 2 * inner(grad(u), grad(u)) - self.source(s.x, s.p) * u) * s.dx

    def source(self, x, p):
        return p.source

    def measure(self, solution):
        return {"centre": float(solution.at([[0.5], [0.5]])[0]), "integral": solution.integrate()}

    def reference(self):
        # Fourier series on the unit square with k = f = 1; the equation is linear in f / k.
        scale = self.values["source"] / self.values["conductivity"]
        return {"centre": 0.0736713533 * scale, "integral": 0.0351442537 * scale}


class Poisson3D(Poisson):
    """-div(k grad u) = f in the unit cube, u = 0 on its boundary."""

    def geometry(self, p):
        return UnitCube()

    def measure(self, solution):
        return {"centre": float(solution.at([[0.5]] * 3)[0]), "integral": solution.integrate()}

    def reference(self):
        # For k = f = 1 the sum over odd l, m, n of 64 / (pi^5 l m n (l^2 + m^2 + n^2)) sin(l pi x) sin(m pi y)
        # sin(n pi z), where that over n has been done in closed form, by hyperbolic functions.
        scale = self.values["source"] / self.values["conductivity"]
        return {"centre": 0.0562128298 * scale, "integral": 0.0201685003 * scale}


class PoissonManufactured(Poisson):
    """-div(k grad u) = f with the solution u = x + sin(pi x) sin(2 pi y) exp(x), and u = x on the boundary."""

    parameters = {"conductivity": Poisson.parameters["conductivity"]}
    conditions = [Dirichlet("u", lambda x, t, p: x[0])]
    solution = "x + sin(pi*x)*sin(2*pi*y)*exp(x)"

    def source(self, x, p):
        return p.conductivity * to_ufl(-divergence(gradient(self.solution, len(x))))(x)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)

    def inflow(self, s):
        """k du/dn of the exact solution."""
        return s.p.conductivity * dot(to_ufl(gradient(self.solution, len(s.x)))(s.x), s.n)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}


class Poisson1D(PoissonManufactured):
    """-(k u')' = f in (0, 1) with the solution u = x + sin(2 pi x) exp(x)."""

    solution = "x + sin(2*pi*x)*exp(x)"

    def geometry(self, p):
        return Interval()


class Poisson3DManufactured(PoissonManufactured):
    """-div(k grad u) = f in the unit cube with the solution u = x + sin(pi x) sin(pi y) sin(pi z) exp(x)."""

    solution = "x + sin(pi*x)*sin(pi*y)*sin(pi*z)*exp(x)"

    def geometry(self, p):
        return UnitCube()


class PoissonNeumann(PoissonManufactured):
    """-div(k grad u) = f, k du/dn = g on all of the boundary, which leaves u free by a constant: its mean is zero.

    The solution is u = cos(pi x) cos(2 pi y) + x^2 - 1/3.

    Source: Brenner and Scott, section 5.2.
    """

    conditions = [Mean("u", 0.0)]
    solution = "cos(pi*x)*cos(2*pi*y) + x**2 - 1/3"

    def energy(self, s):
        return super().energy(s) - self.inflow(s) * s.u["u"] * s.ds


class PoissonMultiplier(PoissonNeumann):
    """The same with the mean held by a Lagrange multiplier m: -div(k grad u) + m = f and the integral of u is zero."""

    fields = {"u": Field("temperature", unit="K"), "m": Field("multiplier", unit="W/m^3", element="Real")}
    conditions = []

    def energy(self, s):
        return None  # a saddle point

    def residual(self, s, v):
        u, m = s.u["u"], s.u["m"]
        return derivative(PoissonNeumann.energy(self, s), u, v["u"]) + (m * v["u"] + u * v["m"]) * s.dx


class PoissonRobin(PoissonManufactured):
    """-div(k grad u) = f with u given on the left and below, k du/dn on top, and k du/dn + a u on the right.

    The solution is u = x + sin(pi x) cos(2 pi y) + y^2.
    """

    parameters = {
        "conductivity": Poisson.parameters["conductivity"],
        "transfer": Parameter("a", default=2.0, unit="W/(m^2 K)", at_least=0.0),
    }
    conditions = [Dirichlet("u", lambda x, t, p: x[0] + sin(pi * x[0]) + x[1] ** 2, on=("left", "bottom"))]
    solution = "x + sin(pi*x)*cos(2*pi*y) + y**2"

    def energy(self, s):
        u, a, outside = s.u["u"], s.p.transfer, self.exact(s.x, s.t, s.p)
        exchange = a * (u**2 / 2 - outside * u) * s.ds("right")
        return super().energy(s) + exchange - self.inflow(s) * u * s.ds("right", "top")


class PoissonPeriodic(PoissonManufactured):
    """-div(k grad u) = f on the periodic unit square; u = sin(2 pi x) cos(2 pi y) + cos(4 pi x) / 4 has mean zero."""

    conditions = [Periodic("u", axes=(0, 1)), Mean("u", 0.0)]
    solution = "sin(2*pi*x)*cos(2*pi*y) + cos(4*pi*x)/4"


class PoissonLShape(Poisson):
    """-div(k grad u) + c u = f in the L-shape (-1, 1)^2 without [0, 1]^2, u = 0 on its boundary; c = 0 by default.

    At the re-entrant corner u behaves as r^(2/3): on uniform meshes the error of the gradient falls at order 2/3.

    Source: Grisvard, Elliptic Problems in Nonsmooth Domains, section 2.4.
    """

    parameters = {**Poisson.parameters, "reaction": Parameter("c", default=0.0, unit="W/(m^3 K)", at_least=0.0)}

    def geometry(self, p):
        return LShape()

    def energy(self, s):
        return super().energy(s) + s.p.reaction / 2 * s.u["u"] ** 2 * s.dx

    def orders(self, degrees):
        return {"u": {"relative_l2": 4 / 3, "relative_h1": 2 / 3}}

    def measure(self, solution):
        return {"integral": solution.integrate()}

    def reference(self):
        if self.values["reaction"]:
            return {}
        # k = f = 1: degree 5 on graded meshes, which agree to the digits given.
        return {"integral": 0.2140758 * self.values["source"] / self.values["conductivity"]}


class PoissonLShapeManufactured(PoissonManufactured):
    """-div(k grad u) = f in the L-shape with the smooth solution u = x + sin(pi x) sin(2 pi y) exp(x)."""

    def geometry(self, p):
        return LShape()


class PoissonLShapeSingular(Poisson):
    """div(k grad u) = 0 in the L-shape with u = r^(2/3) sin(2 a / 3), a the angle from the re-entrant edge x = 0.

    Its gradient is infinite at the corner: on uniform meshes orders are 4/3 and 2/3 for any degree.

    Source: Grisvard, section 2.4; Mitchell, A collection of 2D elliptic problems for testing adaptive grid refinement
    algorithms (2013), section 2.2.
    """

    parameters = {"conductivity": Poisson.parameters["conductivity"]}
    conditions = [Dirichlet("u", lambda x, t, p: PoissonLShapeSingular.singular(x))]

    def geometry(self, p):
        return LShape()

    @staticmethod
    def singular(x):
        from_axis = atan2(x[0] - x[1], -x[0] - x[1])  # of symmetry; the branch cut lies outside of the domain
        return (x[0] ** 2 + x[1] ** 2) ** (1 / 3) * sin(2 / 3 * (from_axis + 3 * pi / 4))

    def source(self, x, p):
        return 0.0

    def exact(self, x, t, p):
        return self.singular(x)

    def orders(self, degrees):
        return {"u": {"relative_l2": 4 / 3, "relative_h1": 2 / 3}}

    def measure(self, solution):
        return {}

    def reference(self):
        return {}


class PoissonSource(Problem):
    """-lap u = f with a random source f; u = 0 on the boundary of the unit square.

    Source: the data of Huang et al., DiffusionPDE (2024), which have lap u = f.
    """

    fields = {"u": Field("solution")}
    parameters = {"source": Parameter("f", default=1.0, field=True)}
    random = {"source": GaussianField(scale=3.0, modes=63)}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        u = s.u["u"]
        return (inner(grad(u), grad(u)) / 2 - s.p.source * u) * s.dx
