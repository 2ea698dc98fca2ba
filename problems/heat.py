"""The heat equation, in a box held at zero and on a periodic box."""

from __future__ import annotations

import math

from ufl import cos, exp, grad, inner, pi, sin

from variform.evolution import Evolution
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Dt, Field, Periodic, Problem
from variform.problems.manufactured import laplacian, symbol, symbolic, to_ufl
from variform.random import GaussianField
from variform.task import Parameter


class Heat(Problem):
    """Find T with dT/dt = div(k grad T), T = 0 on the boundary of the unit square, T = sin(pi x) sin(pi y) at first.

    The exact solution decays: T = exp(-2 pi^2 k t) sin(pi x) sin(pi y).

    Source: Evans, Partial Differential Equations, section 2.3.
    """

    fields = {"T": Field("temperature", unit="K")}
    parameters = {"diffusivity": Parameter("k", default=1.0, unit="m^2/s", above=0.0)}
    conditions = [Dirichlet("T", 0.0)]
    time = (0.0, 0.05)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        T, w = s.u["T"], v["T"]
        return (Dt(T) * w + s.p.diffusivity * inner(grad(T), grad(w))) * s.dx

    def initial(self, x, p):
        return sin(pi * x[0]) * sin(pi * x[1])

    def exact(self, x, t, p):
        return exp(-2 * pi**2 * p.diffusivity * t) * self.initial(x, p)

    def measure(self, solution):
        return {"heat": solution.integrate()}

    def reference(self):
        return {"heat": 4 / math.pi**2 * math.exp(-2 * math.pi**2 * self.values["diffusivity"] * self.time[1])}


class HeatPeriodic(Heat, Evolution):
    """dT/dt = div(k grad T) on the periodic unit square, from T = exp(cos(2 pi x) + sin(2 pi y)) / 4."""

    parameters = {"diffusivity": Parameter("k", default=0.1, unit="m^2/s", above=0.0)}
    conditions = [Periodic("T", axes=(0, 1))]

    def initial(self, x, p):
        return exp(cos(2 * pi * x[0]) + sin(2 * pi * x[1])) / 4

    def exact(self, x, t, p):
        return None

    def reference(self):
        # Heat is conserved: the integral of the initial values, I0(1)^2 / 4.
        bessel_i0_of_1 = 1.2660658777520084
        return {"heat": bessel_i0_of_1**2 / 4}

    def box(self, p):
        return (0.0, 0.0), (1.0, 1.0)

    def linear(self, k, p):
        return -p.diffusivity * (k[0] ** 2 + k[1] ** 2)


class HeatManufactured(Heat):
    """dT/dt = div(k grad T) + f in the unit square, T given on its boundary: T = (1 + x^2 y) cos(2 t) + sin(pi x) t.

    By Crank and Nicolson's scheme: where boundary values depend on time, diagonally implicit Runge-Kutta methods lose
    a part of their order at moderate steps.
    """

    conditions = [Dirichlet("T", lambda x, t, p: to_ufl(HeatManufactured.solution)(x, t))]
    solution = "(1 + x**2*y)*cos(2*t) + sin(pi*x)*t"
    time = (0.0, 1.0)
    scheme = "crank_nicolson"

    def residual(self, s, v):
        rate = to_ufl(symbolic(self.solution).diff(symbol("t")))(s.x, s.t)
        source = rate - s.p.diffusivity * to_ufl(laplacian(self.solution))(s.x, s.t)
        return super().residual(s, v) - source * v["T"] * s.dx

    def initial(self, x, p):
        return to_ufl(self.solution)(x, 0.0)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x, t)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}


class HeatSource(Heat):
    """dT/dt = div(k grad T) + f with a random source f that does not change; T = 0 at first and on the boundary."""

    parameters = {
        "diffusivity": Parameter("k", default=0.1, unit="m^2/s", above=0.0),
        "source": Parameter("f", default=1.0, unit="K/s", field=True),
    }
    random = {"source": GaussianField(scale=3.0, modes=31)}
    time = (0.0, 1.0)

    def residual(self, s, v):
        return super().residual(s, v) - s.p.source * v["T"] * s.dx

    def initial(self, x, p):
        return 0.0 * x[0]

    def exact(self, x, t, p):
        return None

    def reference(self):
        return {}
