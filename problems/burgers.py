"""Burgers' equation: steepening and diffusion, in one and two dimensions."""

from __future__ import annotations

import math

from ufl import as_vector, dot, exp, grad, inner, pi, sin

from variform.meshes import GradedInterval, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.task import Parameter


class Burgers1D(Problem):
    """u_t + u u_x = nu u_xx on (-1, 1), u = -sin(pi x) at first, u = 0 at both ends.

    A layer forms at x = 0, steepest at t = 1.6037 / pi, where u_x = -152.00516 for nu = 0.01 / pi. The mesh is graded
    towards it.

    Source: Basdevant et al., Spectral and finite difference solutions of the Burgers equation, Comput. Fluids 14
    (1986), 23.
    """

    fields = {"u": Field("velocity", unit="m/s", degree=3)}
    parameters = {"viscosity": Parameter("nu", default=0.01 / math.pi, unit="m^2/s", above=0.0)}
    conditions = [Dirichlet("u", 0.0)]
    time = (0.0, 1.6037 / math.pi)
    scheme, steps = "sdirk3", 400

    def geometry(self, p):
        interval = GradedInterval(-1.0, 1.0, centre=0.0, grading=5.0)
        interval.default_cells = 200
        return interval

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (Dt(u) * w + u * u.dx(0) * w + s.p.viscosity * inner(grad(u), grad(w))) * s.dx

    def initial(self, x, p):
        return -sin(pi * x[0])

    def measure(self, solution):
        return {"slope": float(solution.at([[0.0]], derivatives=1)[0, 0])}

    def reference(self):
        return {"slope": -152.00516} if self.values["viscosity"] == 0.01 / math.pi else {}


class Burgers2D(Problem):
    """u_t + (u . grad) u = lap u / Re in the unit square, a diagonal front that moves; u is given on the boundary.

    The exact solution is u = (3/4 - E, 3/4 + E), E = 1 / (4 (1 + exp((-4 x + 4 y - t) Re / 32))).

    Source: Fletcher, Generating exact solutions of the two-dimensional Burgers' equations, Int. J. Numer. Methods
    Fluids 3 (1983).
    """

    fields = {"u": Field("velocity", unit="m/s", shape=(2,), degree=2)}
    parameters = {"reynolds": Parameter("Re = 1 / nu", default=100.0, above=0.0)}
    conditions = [Dirichlet("u", lambda x, t, p: _front(x, t, p))]
    time = (0.0, 1.0)

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (dot(Dt(u) + dot(grad(u), u), w) + inner(grad(u), grad(w)) / s.p.reynolds) * s.dx

    def initial(self, x, p):
        return _front(x, 0.0, p)

    def exact(self, x, t, p):
        return _front(x, t, p)


def _front(x, t, p):
    front = 1 / (4 * (1 + exp((-4 * x[0] + 4 * x[1] - t) * p.reynolds / 32)))
    return as_vector([0.75 - front, 0.75 + front])
