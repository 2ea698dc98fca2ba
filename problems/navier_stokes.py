"""Stationary incompressible flow: the Navier-Stokes equations."""

from __future__ import annotations

import numpy as np
from ufl import as_vector, cos, div, dot, exp, grad, inner, pi, sin, sqrt

from variform.meshes import ChannelWithCylinder, Rectangle, UnitSquare
from variform.problem import Continuation, Dirichlet, Field, Mean, Problem
from variform.problems.stokes import lowest_stream_function
from variform.task import Parameter


class NavierStokes(Problem):
    """Find velocity u and kinematic pressure p with -div(nu grad u) + (u . grad) u + grad p = 0 and div u = 0.

    Taylor and Hood's elements, the full gradient in the viscous term (which fixes the outflow condition).
    """

    fields = {
        "u": Field("velocity", unit="m/s", shape=(2,), degree=2),
        "p": Field("kinematic pressure", unit="m^2/s^2", degree=1),
    }

    def viscosity(self, p):
        """nu [m^2/s]."""
        return p.viscosity

    def residual(self, s, v):
        u, p, w, q = s.u["u"], s.u["p"], v["u"], v["p"]
        viscous = self.viscosity(s.p) * inner(grad(u), grad(w))
        return (viscous + dot(dot(grad(u), u), w) - p * div(w) - q * div(u)) * s.dx


class Kovasznay(NavierStokes):
    """The flow behind a grid, with its exact solution.

    u = (1 - exp(l x) cos(2 pi y), l / (2 pi) exp(l x) sin(2 pi y)), p = (1 - exp(2 l x)) / 2,
    l = Re / 2 - sqrt(Re^2 / 4 + 4 pi^2).

    Source: Kovasznay, Laminar flow behind a two-dimensional grid, Proc. Camb. Phil. Soc. 44 (1948).
    """

    parameters = {"reynolds": Parameter("Re = 1 / nu", default=40.0, above=0.0)}
    conditions = [Dirichlet("u", lambda x, t, p: _kovasznay(x, p)["u"]), Mean("p")]

    def geometry(self, p):
        return Rectangle((-0.5, -0.5), (1.0, 1.5))

    def viscosity(self, p):
        return 1 / p.reynolds

    def exact(self, x, t, p):
        return _kovasznay(x, p)


def _kovasznay(x, p):
    rate = p.reynolds / 2 - sqrt(p.reynolds**2 / 4 + 4 * pi**2)
    decay, phase = exp(rate * x[0]), 2 * pi * x[1]
    velocity = as_vector([1 - decay * cos(phase), rate / (2 * pi) * decay * sin(phase)])
    return {"u": velocity, "p": (1 - exp(2 * rate * x[0])) / 2}


class Cavity(NavierStokes):
    """The lid-driven cavity: the unit square's top moves with velocity (1, 0), the other walls stand still.

    Published values (spectral) for Re = 1000: Botella and Peyret, Comput. Fluids 27 (1998).
    For Re = 100 (Richardson): Marchi, Suero and Araki, J. Braz. Soc. Mech. Sci. Eng. 31 (2009).
    """

    parameters = {"reynolds": Parameter("Re = 1 / nu", default=1000.0, above=0.0, at_most=10000.0)}
    conditions = [
        Dirichlet("u", lambda x, t, p: as_vector([1.0, 0.0]), on="top"),
        Dirichlet("u", 0.0, on=("left", "right", "bottom")),  # last, so that it holds in the corners: nothing leaks
        Mean("p"),
    ]
    continuation = Continuation("reynolds", start=100.0, geometric=True)

    def geometry(self, p):
        square = UnitSquare()
        square.default_cells = 64  # where the stream function is within 0.1 %
        return square

    def viscosity(self, p):
        return 1 / p.reynolds

    def measure(self, solution):
        middle = np.linspace(0, 1, 2001)
        on_vertical = solution.at(np.stack([0 * middle + 0.5, middle]), field="u")[0]
        on_horizontal = solution.at(np.stack([middle, 0 * middle + 0.5]), field="u")[1]
        return {
            "stream_function_min": lowest_stream_function(solution),
            "u_min": float(on_vertical.min()),
            "v_max": float(on_horizontal.max()),
            "v_min": float(on_horizontal.min()),
        }

    def reference(self):
        known = {
            1000.0: {
                "stream_function_min": -0.1189366,
                "u_min": -0.3885698,
                "v_max": 0.3769447,
                "v_min": -0.5270771,
            },
            100.0: {"u_min": -0.2140417, "v_max": 0.1795728, "v_min": -0.2538030},
        }
        return known.get(self.values["reynolds"], {})


class DFG2D1(NavierStokes):
    """The DFG benchmark 2D-1: stationary flow about a cylinder in a channel at Re = 20.

    Drag and lift coefficients from the residual, and the pressure drop from the front to the back of the cylinder.
    Elements of degree 3 and 2: at like cost the drag has two digits more than with 2 and 1.

    Source: Schaefer and Turek, Benchmark computations of laminar flow around a cylinder (1996). The values are
    FeatFlow's, after Nabh (1998).
    """

    fields = {
        "u": Field("velocity", unit="m/s", shape=(2,), degree=3),
        "p": Field("kinematic pressure", unit="m^2/s^2", degree=2),
    }
    parameters = {
        "viscosity": Parameter("nu", default=1e-3, unit="m^2/s", above=0.0),
        "inflow": Parameter("largest velocity of the inflow", default=0.3, unit="m/s"),
    }
    conditions = [
        Dirichlet("u", lambda x, t, p: _inflow(x, p), on="inlet"),
        Dirichlet("u", 0.0, on=("walls", "cylinder")),
    ]
    continuation = Continuation("inflow", start=0.01)

    def geometry(self, p):
        return ChannelWithCylinder()

    def orders(self, degrees):
        return {}  # walls of second order bound those of higher degrees

    def measure(self, solution):
        mean, diameter = 2 / 3 * self.values["inflow"], 0.1
        scale = 2 / (mean**2 * diameter) if mean else float("nan")
        front, back = solution.at(np.array([[0.15, 0.25], [0.2, 0.2]]), field="p")
        return {
            "drag": -scale * solution.reaction("u", "cylinder", 0),
            "lift": -scale * solution.reaction("u", "cylinder", 1),
            "pressure_drop": float(front - back),
        }

    def reference(self):
        if (self.values["viscosity"], self.values["inflow"]) != (1e-3, 0.3):
            return {}
        return {"drag": 5.57953523384, "lift": 0.010618948146, "pressure_drop": 0.11752016697}


HEIGHT = 0.41


def _inflow(x, p):
    """Poiseuille's profile [m/s]."""
    return as_vector([4 * p.inflow * x[1] * (HEIGHT - x[1]) / HEIGHT**2, 0])
