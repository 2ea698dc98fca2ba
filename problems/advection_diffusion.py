"""Transport by a flow and by diffusion, stabilised along the streamlines."""

from __future__ import annotations

import numpy as np
from ufl import as_vector, cos, div, dot, exp, grad, inner, pi, sin, sqrt

from variform.meshes import Rectangle, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.problems.manufactured import gradient, laplacian, to_ufl
from variform.task import Parameter


class AdvectionDiffusion(Problem):
    """Find c with -eps lap c + b . grad c = f in the unit square, b = (1, 0), c = 0 on the left and 1 on the right.

    No flux through bottom and top; the exact solution (exp(x / eps) - 1) / (exp(1 / eps) - 1) has a layer of width eps
    on the right. Streamline diffusion (SUPG) with tau = h / (2 |b|) (coth Pe - 1 / Pe), Pe = |b| h / (2 eps).

    Source: Brooks and Hughes, CMAME 32 (1982).
    """

    fields = {"c": Field("concentration", unit="kg/m^3")}
    parameters = {"diffusivity": Parameter("eps", default=0.01, unit="m^2/s", above=0.0)}
    conditions = [Dirichlet("c", 0.0, on="left"), Dirichlet("c", 1.0, on="right")]
    velocity = (1.0, 0.0)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        c, w, b = s.u["c"], v["c"], as_vector(self.velocity)
        flow = s.p.diffusivity * inner(grad(c), grad(w)) + dot(b, grad(c)) * w
        return (flow - self.source(s.x, s.p) * w) * s.dx

    def source(self, x, p):
        """f [kg/(m^3 s)]."""
        return 0 * x[0]

    def stabilisation(self, s, v):
        c, w, b = s.u["c"], v["c"], as_vector(self.velocity)
        speed = sqrt(dot(b, b))
        peclet = speed * s.h / (2 * s.p.diffusivity)
        tau = s.h / (2 * speed) * (_coth(peclet) - 1 / peclet)
        strong = -s.p.diffusivity * div(grad(c)) + dot(b, grad(c)) - self.source(s.x, s.p)
        return tau * dot(b, grad(w)) * strong * s.dx

    def exact(self, x, t, p):
        at_wall = exp(-1 / p.diffusivity)
        return (exp((x[0] - 1) / p.diffusivity) - at_wall) / (1 - at_wall)

    def measure(self, solution):
        c = solution.nodal()
        return {"overshoot": float(max(0.0, -c.min(), c.max() - 1)), "integral": solution.integrate()}

    def reference(self):
        eps = self.values["diffusivity"]
        return {"overshoot": 0.0, "integral": float(eps - np.exp(-1 / eps) / -np.expm1(-1 / eps))}


def _coth(a):
    """(1 + e^-2a) / (1 - e^-2a), which does not overflow."""
    return (1 + exp(-2 * a)) / (1 - exp(-2 * a))


class AdvectionDiffusionManufactured(AdvectionDiffusion):
    """The same equation with b = (2, 1) and the solution sin(2 x + y) + exp(x y), given on the whole boundary."""

    parameters = {"diffusivity": Parameter("eps", default=0.1, unit="m^2/s", above=0.0)}
    velocity = (2.0, 1.0)
    solution = "sin(2*x + y) + exp(x*y)"
    conditions = [Dirichlet("c", lambda x, t, p: to_ufl(AdvectionDiffusionManufactured.solution)(x))]

    def source(self, x, p):
        b = self.velocity
        transport = sum(v * d for v, d in zip(b, gradient(self.solution), strict=True))
        return -p.diffusivity * to_ufl(laplacian(self.solution))(x) + to_ufl(transport)(x)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)

    def measure(self, solution):
        return {}

    def reference(self):
        return {}


class RotatingGaussian(Problem):
    """c_t + b . grad c = eps lap c on (-1, 1)^2, b = 2 pi (-y, x): a bell that turns once in a second and spreads.

    The exact solution, given on the boundary, is c = w^2 / q exp(-|x - m(t)|^2 / q) with q = w^2 + 4 eps t and m(t) the
    centre, half a metre away from the middle. Streamline diffusion (SUPG) with tau = ((2 / dt)^2 + (2 |b| / h)^2 +
    (12 eps / h^2)^2)^(-1/2), of which the first term is left out where nothing steps in time.

    Source: Brooks and Hughes, CMAME 32 (1982); tau of Shakib, Hughes and Johan, CMAME 89 (1991).
    """

    fields = {"c": Field("concentration", unit="kg/m^3", degree=2)}
    parameters = {
        "diffusivity": Parameter("eps", default=1e-3, unit="m^2/s", above=0.0),
        "width": Parameter("w", default=0.25, unit="m", above=0.0),
    }
    conditions = [Dirichlet("c", lambda x, t, p: RotatingGaussian.bell(x, t, p))]
    time = (0.0, 1.0)
    scheme, steps = "crank_nicolson", 200

    @staticmethod
    def bell(x, t, p):
        q = p.width**2 + 4 * p.diffusivity * t
        squared = (x[0] - 0.5 * cos(2 * pi * t)) ** 2 + (x[1] - 0.5 * sin(2 * pi * t)) ** 2
        return p.width**2 / q * exp(-squared / q)

    def geometry(self, p):
        return Rectangle((-1.0, -1.0), (1.0, 1.0))

    def velocity(self, x):
        return 2 * pi * as_vector([-x[1], x[0]])

    def residual(self, s, v):
        c, w = s.u["c"], v["c"]
        return ((Dt(c) + dot(self.velocity(s.x), grad(c))) * w + s.p.diffusivity * inner(grad(c), grad(w))) * s.dx

    def stabilisation(self, s, v):
        c, w, b, eps = s.u["c"], v["c"], self.velocity(s.x), s.p.diffusivity
        tau = 1 / sqrt((2 * s.inverse_step) ** 2 + 4 * dot(b, b) / s.h**2 + (12 * eps / s.h**2) ** 2)
        strong = Dt(c) + dot(b, grad(c)) - eps * div(grad(c))
        return tau * dot(b, grad(w)) * strong * s.dx

    def initial(self, x, p):
        return self.bell(x, 0.0, p)

    def exact(self, x, t, p):
        return self.bell(x, t, p)

    def history(self, solution):
        return {"mass": solution.integrate()}

    def measure(self, solution):
        c = solution.nodal()
        return {"highest": float(c.max()), "undershoot": float(max(0.0, -c.min()))}

    def reference(self):
        width, eps = self.values["width"], self.values["diffusivity"]
        return {"highest": width**2 / (width**2 + 4 * eps * self.time[1]), "undershoot": 0.0}
