"""Slow viscous flow: Stokes' equations."""

from __future__ import annotations

import numpy as np
from ufl import as_vector, div, dot, grad, inner

from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Mean, Problem
from variform.problems.manufactured import gradient, laplacian, rotation, to_ufl
from variform.task import Parameter


class Stokes(Problem):
    """Find velocity u and pressure p with -div(mu grad u) + grad p = f and div u = 0 in the unit square.

    Taylor and Hood's elements. The walls do not slip, the lid moves with u = 4 x (1 - x): a driven cavity.

    Source: Elman, Silvester and Wathen, Finite Elements and Fast Iterative Solvers, ch. 3 and 4.
    """

    fields = {
        "u": Field("velocity", unit="m/s", shape=(2,), degree=2),
        "p": Field("pressure", unit="Pa", degree=1),
    }
    parameters = {"viscosity": Parameter("mu", default=1.0, unit="Pa s", above=0.0)}
    conditions = [
        Dirichlet("u", lambda x, t, p: as_vector([4 * x[0] * (1 - x[0]), 0]), on="top"),
        Dirichlet("u", 0.0, on=("left", "right", "bottom")),
        Mean("p"),
    ]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, p, w, q = s.u["u"], s.u["p"], v["u"], v["p"]
        viscous = s.p.viscosity * inner(grad(u), grad(w))
        return (viscous - p * div(w) - q * div(u) - dot(self.force(s.x, s.p), w)) * s.dx

    def force(self, x, p):
        """The body force f [N/m^3]."""
        return as_vector([0 * x[0], 0 * x[0]])

    def preconditioner(self, s, u, v):
        mu = s.p.viscosity
        return (mu * inner(grad(u["u"]), grad(v["u"])) + u["p"] * v["p"] / mu) * s.dx

    def measure(self, solution):
        return {"stream_function_min": lowest_stream_function(solution)}


class StokesManufactured(Stokes):
    """Stokes' equations with the stream function sin(pi x)^2 sin(pi y)^2 / pi and p = cos(pi x) exp(y)."""

    stream = "sin(pi*x)**2*sin(pi*y)**2/pi"
    pressure = "cos(pi*x)*exp(y)"
    conditions = [Dirichlet("u", 0.0), Mean("p")]

    def force(self, x, p):
        return -p.viscosity * to_ufl(laplacian(rotation(self.stream)))(x) + to_ufl(gradient(self.pressure))(x)

    def exact(self, x, t, p):
        return {"u": to_ufl(rotation(self.stream))(x), "p": to_ufl(self.pressure)(x)}

    def measure(self, solution):
        return {}


def lowest_stream_function(solution, lines: int = 200) -> float:
    """min of psi(x, y) = integral of u from the bottom, where psi = 0, to y; by Gauss's rule between the lines of a
    grid, with a parabola through the lowest value and its neighbours along each axis.
    """
    x = np.linspace(0, 1, lines + 1)
    points, weights = np.polynomial.legendre.leggauss(3)
    y = (x[:-1, None] + (points + 1) / 2 * np.diff(x)[:, None]).ravel()
    grid = np.stack(np.meshgrid(x, y, indexing="ij")).reshape(2, -1)
    u = solution.at(grid, field="u")[0].reshape(lines + 1, lines, 3)
    psi = np.pad(np.cumsum(u @ weights / (2 * lines), axis=1), ((0, 0), (1, 0)))
    i, j = np.unravel_index(np.argmin(psi), psi.shape)
    lowest = psi[i, j]
    for before, after in ((psi[i - 1, j], psi[i + 1, j]), (psi[i, j - 1], psi[i, j + 1])):
        lowest -= (after - before) ** 2 / (8 * (after - 2 * psi[i, j] + before))
    return float(lowest)
