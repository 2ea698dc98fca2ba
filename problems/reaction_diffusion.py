"""Reaction and diffusion: invading fronts (Fisher, Kolmogorov, Petrovsky, Piskunov) and patterns (Gray, Scott)."""

from __future__ import annotations

import math

import numpy as np
from ufl import cos, exp, grad, inner, pi, sqrt

from variform.meshes import Interval, Layers, Rectangle
from variform.problem import Dirichlet, Dt, Field, Periodic, Problem
from variform.random import Normal, generator
from variform.task import Parameter


class Fisher(Problem):
    """c_t = div(D grad c) + rho c (1 - c) on an interval: a front that invades c = 0.

    With D = rho = 1 the exact solution is c = (1 + exp((x - 5 t / sqrt(6)) / sqrt(6)))^-2, given at both ends; for
    other numbers lengths scale with sqrt(D / rho) and times with 1 / rho.

    Source: Ablowitz and Zeppetella, Bull. Math. Biol. 41 (1979), 835.
    """

    fields = {"c": Field("concentration", degree=2)}
    parameters = {
        "diffusivity": Parameter("D", default=1.0, unit="mm^2/d", above=0.0),
        "growth": Parameter("rho", default=1.0, unit="1/d", above=0.0),
    }
    conditions = [Dirichlet("c", lambda x, t, p: Fisher.wave(x, t, p))]
    time = (0.0, 8.0)
    steps = 160

    @staticmethod
    def wave(x, t, p):
        phase = sqrt(p.growth / p.diffusivity) * x[0] - 5 / math.sqrt(6) * p.growth * t
        return (1 + exp(phase / math.sqrt(6))) ** (-2)

    def geometry(self, p):
        interval = Interval(-20.0, 40.0)
        interval.default_cells = 300
        return interval

    def residual(self, s, v):
        c, w = s.u["c"], v["c"]
        return (Dt(c) * w + s.p.diffusivity * inner(grad(c), grad(w)) - s.p.growth * c * (1 - c) * w) * s.dx

    def initial(self, x, p):
        return self.wave(x, 0.0, p)

    def exact(self, x, t, p):
        return self.wave(x, t, p)


class FisherFront(Fisher):
    """The same from a small seed at the left end, with no flux at both: the front becomes one of the lowest speed.

    That is 2 sqrt(D rho), approached from below like 2 - 3 / (2 t) for D = rho = 1.

    Source: Bramson, Convergence of solutions of the Kolmogorov equation to travelling waves (1983).
    """

    conditions = []
    time = (0.0, 60.0)
    steps = 600

    def geometry(self, p):
        interval = Interval(0.0, 160.0)
        interval.default_cells = 400
        return interval

    def initial(self, x, p):
        return exp(-(x[0] ** 2))

    def exact(self, x, t, p):
        return None

    def history(self, solution):
        values = solution.nodal()
        return {
            "front": solution.integrate(),
            "lowest": float(values.min()),
            "highest": float(values.max()),
        }

    def measure(self, solution):
        t, front = solution.history["t"], solution.history["front"]
        late = t >= t[-1] - 5 / self.values["growth"]
        return {
            "speed": float(np.polyfit(t[late], front[late], 1)[0]),
            "lowest": float(solution.history["lowest"].min()),
            "highest": float(solution.history["highest"].max()),
        }

    def reference(self):
        late = self.time[1] - 2.5 / self.values["growth"]
        slope = 2 - 1.5 / (self.values["growth"] * late)
        return {"speed": slope * math.sqrt(self.values["diffusivity"] * self.values["growth"])}


class FisherTissue(Problem):
    """A tumour in a slice of tissue: c_t = div(D grad c) + rho c (1 - c), from a small seed.

    D is five times higher in white than in grey matter; there is no flux through the boundary.

    The tumour as it is seen in images is where c > 0.2, its core where c > 0.6.

    Source: Ezhov et al., A for-loop is all you need, PMLR 193 (2022), 566; the equation of Swanson et al., Cell Prolif.
    33 (2000), 317.
    """

    fields = {"c": Field("tumour cell density")}
    parameters = {
        "diffusivity": Parameter("D", default={"grey": 0.1, "white": 0.5}, unit="mm^2/d", above=0.0),
        "growth": Parameter("rho", default=0.05, unit="1/d", above=0.0),
        "x": Parameter("of the seed", default=35.0, unit="mm"),
        "y": Parameter("of the seed", default=25.0, unit="mm"),
    }
    time = (0.0, 120.0)
    steps = 60

    def geometry(self, p):
        layers = Layers(axis=1, at=(20.0, 40.0), names=("grey", "white", "cortex"))
        square = Rectangle((0.0, 0.0), (80.0, 60.0), layers)
        square.default_cells = 80
        return square

    def residual(self, s, v):
        c, w = s.u["c"], v["c"]
        spread = inner(grad(c), grad(w))
        matter = {"grey": ("grey", "cortex"), "white": ("white",)}
        spreading = sum(D * spread * s.dx(*matter[name]) for name, D in s.p.diffusivity.items())
        return (Dt(c) - s.p.growth * c * (1 - c)) * w * s.dx + spreading

    def initial(self, x, p):
        return exp(-((x[0] - p.x) ** 2 + (x[1] - p.y) ** 2) / 8)

    def history(self, solution):
        return {"cells": solution.integrate()}

    def measure(self, solution):
        seen = {"tumour": 0.2, "core": 0.6}
        return {
            **{
                f"{name}_area": solution.integrate(lambda c, level=level: 1.0 * (c > level))
                for name, level in seen.items()
            },
            "cells": float(solution.history["cells"][-1]),
        }


class GrayScott(Problem):
    """u_t = Du lap u - u v^2 + F (1 - u), v_t = Dv lap v + u v^2 - (F + k) v on a periodic square: spots that divide.

    A square of v in u = 1, disturbed at random, is the seed. u = 1, v = 0 is a fixed point.

    Source: Pearson, Complex patterns in a simple system, Science 261 (1993), 189.
    """

    fields = {"u": Field("substrate"), "v": Field("activator")}
    parameters = {
        "du": Parameter("Du", default=2e-5, unit="m^2/s", above=0.0),
        "dv": Parameter("Dv", default=1e-5, unit="m^2/s", above=0.0),
        "feed": Parameter("F", default=0.035, unit="1/s", at_least=0.0),
        "kill": Parameter("k", default=0.06, unit="1/s", at_least=0.0),
        "seed": Parameter("largest v at first", default=0.5, at_least=0.0),
        "noise": Parameter("disturbance", default=Normal(sigma=0.02).sample(generator(0, 0)), field=True),
    }
    random = {"noise": Normal(sigma=0.02)}
    conditions = [Periodic("u", axes=(0, 1)), Periodic("v", axes=(0, 1))]
    time = (0.0, 2500.0)
    scheme, steps = "imex_sbdf2", 1250

    def geometry(self, p):
        square = Rectangle((0.0, 0.0), (1.0, 1.0))
        square.default_cells = 64
        return square

    def residual(self, s, v):
        a, b, w, z, p = s.u["u"], s.u["v"], v["u"], v["v"], s.p
        substrate = (Dt(a) + a * b**2 - p.feed * (1 - a)) * w + p.du * inner(grad(a), grad(w))
        activator = (Dt(b) - a * b**2 + (p.feed + p.kill) * b) * z + p.dv * inner(grad(b), grad(z))
        return (substrate + activator) * s.dx

    def initial(self, x, p):
        bump = exp(-((x[0] - 0.5) ** 2 + (x[1] - 0.5) ** 2) / 0.01) * (1 + p.noise)
        return {"u": 1 - p.seed * bump, "v": p.seed / 2 * bump}

    def history(self, solution):
        return {"substrate": solution.integrate(field="u"), "activator": solution.integrate(field="v")}

    def measure(self, solution):
        return {name: float(values[-1]) for name, values in solution.history.items() if name != "t"}


class GrayScottTuring(GrayScott):
    """The same on an interval, from the uniform state u v = F + k, F (1 - u) = u v^2 with a small wave cos(2 pi m x).

    The wave grows as the linearised equations say, which `mode` solves.
    """

    parameters = {
        "du": Parameter("Du", default=8e-5, unit="m^2/s", above=0.0),
        "dv": GrayScott.parameters["dv"],
        "feed": Parameter("F", default=0.08, unit="1/s", above=0.0),
        "kill": Parameter("k", default=0.06, unit="1/s", above=0.0),
        "waves": Parameter("m", default=9.0, above=0.0),
        "amplitude": Parameter("of v, at first", default=1e-6, above=0.0),
    }
    random = {}
    conditions = [Periodic("u", axes=(0,)), Periodic("v", axes=(0,))]
    time = (0.0, 100.0)
    steps = 400

    def geometry(self, p):
        interval = Interval()
        interval.default_cells = 256
        return interval

    def uniform(self, p):
        """u, v of the uniform state with the larger v."""
        total = p.feed + p.kill
        root = (1 - 4 * total**2 / p.feed) ** 0.5
        return (1 - root) / 2, p.feed * (1 + root) / (2 * total)

    def mode(self):
        """The fastest growth rate [1/s] of the wave, and u and v of its shape, v being 1."""
        p = self.p
        u, v = self.uniform(p)
        k2 = (2 * math.pi * p.waves) ** 2
        A = np.array([[-(v**2) - p.feed - p.du * k2, -2 * u * v], [v**2, 2 * u * v - p.feed - p.kill - p.dv * k2]])
        values, vectors = np.linalg.eig(A)
        fastest = np.argmax(values.real)
        return float(values[fastest].real), np.real(vectors[:, fastest] / vectors[1, fastest])

    def initial(self, x, p):
        u, v = self.uniform(p)
        shape, wave = self.mode()[1], cos(2 * pi * p.waves * x[0])
        return {"u": u + p.amplitude * float(shape[0]) * wave, "v": v + p.amplitude * wave}

    def history(self, solution):
        x = np.linspace(0, 1, 257)[None, :-1]
        return {"wave": float(2 * np.mean(solution.at(x, field="v") * np.cos(2 * np.pi * self.values["waves"] * x[0])))}

    def measure(self, solution):
        t, wave = solution.history["t"], abs(solution.history["wave"])
        late = slice(len(t) // 2, None)
        return {"growth_rate": float(np.polyfit(t[late], np.log(wave[late]), 1)[0])}

    def reference(self):
        return {"growth_rate": self.mode()[0]}
