"""The p-Laplace equation: diffusion that depends on the gradient."""

from __future__ import annotations

from ufl import grad, inner, sqrt

from variform.meshes import Disk, UnitSquare
from variform.problem import Continuation, Dirichlet, Field, Problem
from variform.problems.manufactured import divergence, gradient, to_ufl
from variform.task import Parameter


class PLaplace(Problem):
    """Find u on the unit disc, zero on its wall, that minimises the integral of (kappa^2 + |grad u|^2)^(p/2) / p - u.

    For kappa = 0 the solution is ((p-1)/p) 2^(-1/(p-1)) (1 - r^(p/(p-1))). Newton's method starts from kappa = 1.

    Source: Lindqvist, Notes on the p-Laplace Equation.
    """

    fields = {"u": Field("potential", degree=2)}
    parameters = {
        "exponent": Parameter("p", default=4.0, above=1.0, at_most=20.0),
        "regularisation": Parameter("kappa", default=1e-6, above=0.0),
    }
    conditions = [Dirichlet("u", 0.0)]
    continuation = Continuation("regularisation", start=1.0, geometric=True)

    def geometry(self, p):
        return Disk()

    def energy(self, s):
        u, p = s.u["u"], s.p.exponent
        size = s.p.regularisation**2 + inner(grad(u), grad(u))
        return (size ** (p / 2) / p - self.source(s.x, s.p) * u) * s.dx

    def source(self, x, p):
        return 1.0 + 0 * x[0]

    def exact(self, x, t, p):
        q = p.exponent / (p.exponent - 1)
        return 2 ** (1 - q) / q * (1 - sqrt(inner(x, x)) ** q)

    def orders(self, degrees):
        return {}  # the gradient is Hoelder continuous only, at the centre

    def measure(self, solution):
        return {"centre": float(solution.at([[0.0], [0.0]])[0])}

    def reference(self):
        q = self.values["exponent"] / (self.values["exponent"] - 1)
        return {"centre": 2 ** (1 - q) / q}


class PLaplaceManufactured(PLaplace):
    """The p-Laplace equation for p = 4, kappa = 1 in the unit square with the solution sin(x) + cos(y) x + y^2."""

    parameters = {}
    continuation = None
    solution = "sin(x) + cos(y)*x + y**2"
    conditions = [Dirichlet("u", lambda x, t, p: to_ufl(PLaplaceManufactured.solution)(x))]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        u = s.u["u"]
        return ((1 + inner(grad(u), grad(u))) ** 2 / 4 - self.source(s.x, s.p) * u) * s.dx

    def source(self, x, p):
        slope = gradient(self.solution)
        return to_ufl(-divergence([(1 + sum(g**2 for g in slope)) * g for g in slope]))(x)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)

    def orders(self, degrees):
        return Problem.orders(self, degrees)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}
