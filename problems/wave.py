"""Waves: the scalar wave equation and elastodynamics."""

from __future__ import annotations

import math

from ufl import cos, dot, grad, inner, pi, sin, sym

from variform.meshes import Interval, UnitSquare
from variform.problem import Dirichlet, Dt, Field, Problem
from variform.problems.linear_elasticity import Elasticity, LinearElasticity
from variform.problems.manufactured import divergence, symbol, symbolic, to_ufl
from variform.task import Parameter


class Wave(Problem):
    """u_tt = c^2 lap u in the unit square, u = 0 on the boundary: the lowest standing wave.

    u = sin(pi x) sin(pi y) cos(sqrt(2) pi c t). The energy, the integral of u_t^2 / 2 + c^2 |grad u|^2 / 2, stays.

    Source: Evans, Partial Differential Equations, section 2.4.
    """

    fields = {"u": Field("displacement", unit="m", degree=2)}
    parameters = {"speed": Parameter("c", default=1.0, unit="m/s", above=0.0)}
    conditions = [Dirichlet("u", 0.0)]
    time = (0.0, 2.0)
    steps = 200

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (Dt(Dt(u)) * w + s.p.speed**2 * inner(grad(u), grad(w))) * s.dx

    def initial(self, x, p):
        return self.exact(x, 0.0, p)

    def exact(self, x, t, p):
        return sin(pi * x[0]) * sin(pi * x[1]) * cos(math.sqrt(2) * pi * p.speed * t)

    def history(self, solution):
        u = "u"
        kinetic = solution.functional(lambda s: Dt(s.u[u]) ** 2 / 2 * s.dx)
        potential = solution.functional(lambda s: s.p.speed**2 / 2 * inner(grad(s.u[u]), grad(s.u[u])) * s.dx)
        return {"energy": kinetic + potential, "kinetic_energy": kinetic}

    def measure(self, solution):
        return {"energy": float(solution.history["energy"][-1])}

    def reference(self):
        return {"energy": math.pi**2 / 4 * self.values["speed"] ** 2}


class Elastodynamics(Elasticity):
    """rho u_tt + c rho u_t - div(sigma) = f with Hooke's law: what those below share."""

    parameters = {
        **Elasticity.parameters,
        "density": Parameter("rho", default=1.0, unit="kg/m^3", above=0.0),
        "damping": Parameter("c", default=0.0, unit="1/s", at_least=0.0),
    }

    def energy(self, s):
        return None

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        inertia = s.p.density * dot(Dt(Dt(u)) + s.p.damping * Dt(u), w)
        return (inertia + inner(self.stress(u, s.p), sym(grad(w)))) * s.dx - self.work(s, w)

    def history(self, solution):
        kinetic = solution.functional(lambda s: s.p.density / 2 * dot(Dt(s.u["u"]), Dt(s.u["u"])) * s.dx)
        strain = solution.functional(lambda s: inner(self.stress(s.u["u"], s.p), sym(grad(s.u["u"]))) / 2 * s.dx)
        return {"energy": kinetic + strain, "kinetic_energy": kinetic}


class ElastodynamicsManufactured(Elastodynamics):
    """rho u_tt + c rho u_t - div(sigma) = f in plane strain, u given on the boundary of the unit square.

    The solution is u = (sin(pi x) cos(2 t), x y sin(2 t) + y^2 cos(t)).
    """

    solution = ["sin(pi*x)*cos(2*t)", "x*y*sin(2*t) + y**2*cos(t)"]
    conditions = [Dirichlet("u", lambda x, t, p: to_ufl(ElastodynamicsManufactured.solution)(x, t))]
    time = (0.0, 1.0)

    def geometry(self, p):
        return UnitSquare()

    def work(self, s, u):
        constants = ("young", "poisson", "density", "damping")
        t = symbol("t")
        stress = LinearElasticity.exact_stress(self)
        force = [
            symbol("density") * (component.diff(t, 2) + symbol("damping") * component.diff(t)) - spread
            for component, spread in zip(symbolic(self.solution), divergence(stress), strict=True)
        ]
        values = (s.p.young, s.p.poisson, s.p.density, s.p.damping)
        return dot(to_ufl(force, *constants)(s.x, s.t, *values), u) * s.dx

    def initial(self, x, p):
        return to_ufl(self.solution)(x, 0.0)

    def initial_rate(self, x, p):
        return to_ufl([component.diff(symbol("t")) for component in symbolic(self.solution)])(x, 0.0)

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x, t)


class ElasticBar(Problem):
    """A bar of length L, clamped at x = 0, at rest until the stress sigma0 pulls its end from t = 0 on.

    rho u_tt = E u_xx. A step of stress runs with c = sqrt(E / rho): the end moves with sigma0 / (rho c); at the clamp
    the step is reflected, and the stress there is 2 sigma0; at t = 2 L / c the end has moved by 2 sigma0 L / E, and
    turns.

    Source: Graff, Wave Motion in Elastic Solids, section 2.3.
    """

    fields = {"u": Field("displacement", unit="m")}
    parameters = {
        "young": Parameter("E", default=1.0, unit="Pa", above=0.0),
        "density": Parameter("rho", default=1.0, unit="kg/m^3", above=0.0),
        "stress": Parameter("sigma0", default=1e-3, unit="Pa"),
        "length": Parameter("L", default=1.0, unit="m", above=0.0),
    }
    conditions = [Dirichlet("u", 0.0, on="left")]
    time = (0.0, 2.0)
    steps = 800

    def geometry(self, p):
        bar = Interval(0.0, self.values["length"])
        bar.default_cells = 400
        return bar

    def residual(self, s, v):
        u, w, p = s.u["u"], v["u"], s.p
        return (p.density * Dt(Dt(u)) * w + p.young * inner(grad(u), grad(w))) * s.dx - p.stress * w * s.ds("right")

    def history(self, solution):
        strain = solution.functional(lambda s: s.p.young / 2 * inner(grad(s.u["u"]), grad(s.u["u"])) * s.dx)
        kinetic = solution.functional(lambda s: s.p.density / 2 * Dt(s.u["u"]) ** 2 * s.dx)
        end = float(solution.at([[self.values["length"]]])[0])
        return {
            "end": end,
            "clamp_stress": -solution.reaction("u", "left"),
            "energy": kinetic + strain - self.values["stress"] * end,
        }

    def measure(self, solution):
        t, end, stress = (solution.history[name] for name in ("t", "end", "clamp_stress"))
        crossing = self.values["length"] * math.sqrt(self.values["density"] / self.values["young"])
        rising = (t > 0.2 * crossing) & (t < 0.9 * crossing)
        held = (t > 1.2 * crossing) & (t < 1.8 * crossing)
        slope = ((end[rising] - end[rising].mean()) * (t[rising] - t[rising].mean())).sum()
        return {
            "end_velocity": float(slope / ((t[rising] - t[rising].mean()) ** 2).sum()),
            "clamp_stress": float(stress[held].mean()),
            "end_displacement": float(end.max()),
        }

    def reference(self):
        E, rho, sigma, length = (self.values[name] for name in ("young", "density", "stress", "length"))
        return {
            "end_velocity": sigma / math.sqrt(E * rho),
            "clamp_stress": 2 * sigma,
            "end_displacement": 2 * sigma * length / E,
        }
