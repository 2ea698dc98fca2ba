"""Poisson's equation with constant conductivity."""

from __future__ import annotations

import sympy
from ufl import grad, inner

from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.problems.manufactured import divergence, gradient, to_ufl, x, y
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


class PoissonManufactured(Poisson):
    """-div(k grad u) = f with the solution u = x + sin(pi x) sin(2 pi y) exp(x), and u = x on the boundary."""

    parameters = {"conductivity": Poisson.parameters["conductivity"]}
    conditions = [Dirichlet("u", lambda x, t, p: x[0])]
    solution = x + sympy.sin(sympy.pi * x) * sympy.sin(2 * sympy.pi * y) * sympy.exp(x)

    def source(self, x, p):
        return p.conductivity * to_ufl(-divergence(gradient(self.solution)))(x)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}
