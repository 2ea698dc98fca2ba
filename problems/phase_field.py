"""Interfaces: Allen and Cahn's, Cahn and Hilliard's equation, and level sets that move by mean curvature."""

from __future__ import annotations

import math

import numpy as np
from ufl import cos, grad, inner, pi, sqrt, tanh

from variform.meshes import Interval, Rectangle, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.random import Normal, generator
from variform.task import Parameter


class AllenCahn(Problem):
    """u_t = eps^2 lap u + u - u^3, a quarter of a disk of the phase u = 1 in the phase u = -1; no flux.

    The interface moves by its curvature: the disk shrinks with R^2 = R0^2 - 2 eps^2 t, up to terms in eps^2 / R^2. The
    energy, the integral of eps^2 |grad u|^2 / 2 + (1 - u^2)^2 / 4, never grows; implicit steps below 1 s keep to that.
    Four cells or more must lie in a width of the interface, 2 sqrt(2) eps.

    Source: Allen and Cahn, Acta Metall. 27 (1979), 1085.
    """

    fields = {"u": Field("order parameter")}
    parameters = {
        "width": Parameter("eps", default=0.03, unit="m", above=0.0),
        "radius": Parameter("R0", default=0.6, unit="m", above=0.0),
    }
    time = (0.0, 100.0)
    steps = 200

    def geometry(self, p):
        square = UnitSquare()
        square.default_cells = 64
        return square

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (Dt(u) * w + s.p.width**2 * inner(grad(u), grad(w)) + (u**3 - u) * w) * s.dx

    def initial(self, x, p):
        return tanh((p.radius - sqrt(x[0] ** 2 + x[1] ** 2)) / (math.sqrt(2) * p.width))

    def history(self, solution):
        energy = solution.functional(
            lambda s: (s.p.width**2 / 2 * inner(grad(s.u["u"]), grad(s.u["u"])) + (1 - s.u["u"] ** 2) ** 2 / 4) * s.dx
        )
        return {"energy": energy, "radius": self.radius(solution)}

    def radius(self, solution):
        """That of the disk of the same area [m]: a quarter of it lies in the square."""
        return math.sqrt(max(0.0, (solution.integrate() + 1) / 2) * 4 / math.pi)

    def measure(self, solution):
        return {"radius": self.radius(solution)}

    def reference(self):
        squared = self.values["radius"] ** 2 - 2 * self.values["width"] ** 2 * self.time[1]
        return {"radius": math.sqrt(squared)} if squared > 0 else {}


class AllenCahn1D(Problem):
    """u_t = d u_xx + 5 (u - u^3) on (-1, 1), u = x^2 cos(pi x) at first, u = -1 at both ends.

    Source: Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378 (2019), 686, with Dirichlet conditions as in the
    data of DeepXDE's examples.
    """

    fields = {"u": Field("order parameter", degree=2)}
    parameters = {"diffusivity": Parameter("d", default=1e-3, unit="m^2/s", above=0.0)}
    conditions = [Dirichlet("u", -1.0)]
    time = (0.0, 1.0)
    scheme, steps = "sdirk3", 100

    def geometry(self, p):
        interval = Interval(-1.0, 1.0)
        interval.default_cells = 200
        return interval

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (Dt(u) * w + s.p.diffusivity * inner(grad(u), grad(w)) - 5 * (u - u**3) * w) * s.dx

    def initial(self, x, p):
        return x[0] ** 2 * cos(pi * x[0])


class CahnHilliard(Problem):
    """c_t = M lap mu, mu = c^3 - c - kappa lap c: a mixture that separates; no flux through the boundary.

    It starts from the mean concentration and a random disturbance, band-limited, so that all meshes see the same. The
    mass is conserved; the energy, the integral of (1 - c^2)^2 / 4 + kappa |grad c|^2 / 2, never grows.

    Source: Elliott, The Cahn-Hilliard model for the kinetics of phase separation (1989).
    """

    fields = {"c": Field("concentration"), "mu": Field("chemical potential", unit="J/m^3")}
    parameters = {
        "mobility": Parameter("M", default=1.0, unit="m^5/(J s)", above=0.0),
        "gradient_energy": Parameter("kappa", default=1e-3, unit="J/m", above=0.0),
        "mean": Parameter("mean concentration", default=0.0, above=-1.0, below=1.0),
        "noise": Parameter("disturbance", default=Normal(sigma=0.05).sample(generator(0, 0)), field=True),
    }
    random = {"noise": Normal(sigma=0.05)}
    time = (0.0, 0.05)
    steps = 200

    def geometry(self, p):
        square = UnitSquare()
        square.default_cells = 48
        return square

    def residual(self, s, v):
        c, mu, q, w = s.u["c"], s.u["mu"], v["c"], v["mu"]
        transport = Dt(c) * q + s.p.mobility * inner(grad(mu), grad(q))
        potential = (mu - c**3 + c) * w - s.p.gradient_energy * inner(grad(c), grad(w))
        return (transport + potential) * s.dx

    def initial(self, x, p):
        return {"c": p.mean + p.noise}

    def history(self, solution):
        energy = solution.functional(
            lambda s: (
                ((1 - s.u["c"] ** 2) ** 2 / 4 + s.p.gradient_energy / 2 * inner(grad(s.u["c"]), grad(s.u["c"]))) * s.dx
            )
        )
        return {"mass": solution.integrate(field="c"), "energy": energy}

    def measure(self, solution):
        return {name: float(values[-1]) for name, values in solution.history.items() if name != "t"}


class MeanCurvature(Problem):
    """phi_t = |grad phi| div(grad phi / |grad phi|): every level set of phi moves by its curvature.

    phi = x^2 / a^2 + y^2 / b^2 - 1 at first: ellipses, which meet the boundary at the angles that they have at first.
    For circles, a = b, phi = (x^2 + y^2 + 2 t) / a^2 - 1, and the zero level has R^2 = a^2 - 2 t. |grad phi| is
    regularised as sqrt(|grad phi|^2 + delta^2), which costs an error of order delta^2. The area in any closed curve
    falls at the rate 2 pi.

    Source: Evans and Spruck, Motion of level sets by mean curvature I, J. Differ. Geom. 33 (1991), 635.
    """

    fields = {"phi": Field("level set function", degree=2)}
    parameters = {
        "a": Parameter("semi-axis along x", default=0.75, unit="m", above=0.0),
        "b": Parameter("semi-axis along y", default=0.75, unit="m", above=0.0),
        "regularisation": Parameter("delta", default=0.02, unit="1/m", above=0.0),
    }
    time = (0.0, 0.225)  # 80 % of the circle's life
    scheme, steps = "bdf2", 90

    def geometry(self, p):
        square = Rectangle((-1.0, -1.0), (1.0, 1.0))
        square.default_cells = 24
        return square

    def residual(self, s, v):
        phi, w = s.u["phi"], v["phi"]
        slope = sqrt(inner(grad(phi), grad(phi)) + s.p.regularisation**2)
        outside = grad(self.circles(s.x, s.t, s.p))
        normal = inner(outside, s.n) / sqrt(inner(outside, outside) + s.p.regularisation**2)
        return (Dt(phi) * w + inner(grad(phi), grad(w))) / slope * s.dx - normal * w * s.ds

    def circles(self, x, t, p):
        """phi for a = b, up to delta^2; otherwise what holds about the boundary for a while."""
        return x[0] ** 2 / p.a**2 + x[1] ** 2 / p.b**2 + t * (1 / p.a**2 + 1 / p.b**2) - 1

    def initial(self, x, p):
        return self.circles(x, 0.0, p)

    def history(self, solution):
        return {"area": self.area(solution)}

    def area(self, solution, rays=128, points=400):
        """Of phi < 0 [m^2], from where phi changes sign along rays from the centre."""
        angles = 2 * math.pi * (np.arange(rays) + 0.5) / rays
        r = np.linspace(0.0, 1.0, points)
        x = r * np.cos(angles)[:, None], r * np.sin(angles)[:, None]
        phi = solution.at(np.stack([a.ravel() for a in x])).reshape(rays, points)
        first = np.argmax(phi > 0, axis=1)
        if (first == 0).any():
            return 0.0 if (phi[:, 0] > 0).all() else float("nan")
        row = np.arange(rays)
        low, high = phi[row, first - 1], phi[row, first]
        radius = r[first - 1] + (r[first] - r[first - 1]) * low / (low - high)
        return float(math.pi * np.mean(radius**2))

    def measure(self, solution):
        return {"area": float(solution.history["area"][-1])}

    def reference(self):
        return {"area": math.pi * (self.values["a"] * self.values["b"] - 2 * self.time[1])}
