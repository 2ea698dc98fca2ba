"""Evolutions on periodic boxes in symbol form: waves, patterns, turbulence. Solved by the spectral method.

Most have no weak form here, so that finite elements do not take them; the initial values are a random field.
"""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from variform.errors import InputError
from variform.evolution import Evolution
from variform.meshes import Box
from variform.problem import Field, Problem
from variform.random import Choice, GaussianField, Sinusoids, Uniform
from variform.task import Parameter


class Periodic(Problem, Evolution):
    """Evolutions on a box of one length in every direction, from `initial`, one function for the first field."""

    length = 1.0
    dim = 1

    def geometry(self, p):
        return Box(*self.box(p))

    def residual(self, s, v):
        raise InputError(f"{self.name} has no weak form: solve it by the spectral method")

    def box(self, p):
        return (0.0,) * self.dim, (self.length,) * self.dim

    def initial_values(self, x, p):
        return p.initial(x)[None]


def sine(length, waves=1):
    """sin(2 pi n x / L) in the first direction."""
    return lambda x: array_namespace(x).sin(2 * math.pi * waves * x[0] / length)


class Advection(Periodic):
    """u_t + c u_x = 0 on a periodic interval: the initial values travel.

    Source: the data of Brandstetter et al., Message Passing Neural PDE Solvers (2022), with a random speed.
    """

    length, time = 16.0, (0.0, 2.0)
    fields = {"u": Field("what is carried")}
    parameters = {
        "speed": Parameter("c", default=1.0, unit="m/s"),
        "initial": Parameter("u at first", default=sine(16.0), field=True),
    }
    random = {"speed": Uniform(0.1, 5.0), "initial": Sinusoids(period=(16.0,))}

    def linear(self, k, p):
        return -1j * p.speed * k[0]


class HeatOnTorus(Periodic):
    """u_t = D lap u on a periodic box."""

    dim, time = 2, (0.0, 0.05)
    fields = {"u": Field("temperature", unit="K")}
    parameters = {
        "diffusivity": Parameter("D", default=0.1, unit="m^2/s", above=0.0),
        "initial": Parameter("u at first", default=sine(1.0), unit="K", field=True),
    }
    random = {"initial": GaussianField(boundary="periodic", alpha=2.5, tau=7.0, scale=49.0, modes=16)}

    def linear(self, k, p):
        return -p.diffusivity * (k**2).sum(0)


class Burgers(Periodic):
    """u_t + (u^2 / 2)_x = nu u_xx on a periodic interval.

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations (2021), section 5.1.
    """

    time = (0.0, 1.0)
    fields = {"u": Field("velocity", unit="m/s")}
    parameters = {
        "viscosity": Parameter("nu", default=0.01, unit="m^2/s", above=0.0),
        "initial": Parameter("u at first", default=sine(1.0), unit="m/s", field=True),
    }
    random = {"initial": GaussianField(1, boundary="periodic", alpha=2.5, tau=7.0, scale=49 * math.sqrt(2), modes=60)}

    def linear(self, k, p):
        return -p.viscosity * k[0] ** 2

    def flux(self, u, p):
        return (u**2 / 2)[None]


class KortewegDeVries(Periodic):
    """u_t + 6 u u_x + u_xxx = 0 on a periodic interval: solitons pass through each other.

    By default one soliton, u = c / 2 sech^2(sqrt(c) / 2 (x - c t - x0)) with c = 1 and x0 = L / 4, up to its images.
    Mass, momentum and energy, the integrals of u, u^2 and u_x^2 / 2 - u^3, do not change.

    Source: Zabusky and Kruskal, Phys. Rev. Lett. 15 (1965), 240.
    """

    length, time = 64.0, (0.0, 20.0)
    fields = {"u": Field("elevation")}

    @staticmethod
    def soliton(x, t, speed=1.0, length=64.0):
        """The soliton and its nearest images."""
        xp, s = array_namespace(x), math.sqrt(speed) / 2
        shift = (x[0] - speed * t - length / 4 + length / 2) % length - length / 2
        return speed / 2 / xp.cosh(s * shift) ** 2

    parameters = {"initial": Parameter("u at first", default=lambda x: KortewegDeVries.soliton(x, 0.0), field=True)}
    random = {"initial": Sinusoids(period=(64.0,), waves=(1, 3), amplitude=(-0.3, 0.3))}

    def linear(self, k, p):
        return 1j * k[0] ** 3

    def flux(self, u, p):
        return (3 * u**2)[None]


class KuramotoSivashinsky(Periodic):
    """u_t + u u_x + u_xx + u_xxxx = 0 on a periodic interval: chaos in space and time; the mean does not change.

    Source: Kassam and Trefethen, SIAM J. Sci. Comput. 26 (2005), 1214.
    """

    length, time = 64.0, (0.0, 100.0)
    fields = {"u": Field("slope of a flame front")}
    parameters = {"initial": Parameter("u at first", default=sine(64.0, 2), field=True)}
    random = {"initial": Sinusoids(period=(64.0,), waves=(1, 4))}

    def linear(self, k, p):
        return k[0] ** 2 - k[0] ** 4

    def flux(self, u, p):
        return (u**2 / 2)[None]


class AllenCahnOnTorus(Periodic):
    """u_t = eps^2 lap u + u - u^3 on a periodic box: phases separate and their interfaces shrink.

    Source: Allen and Cahn, Acta Metall. 27 (1979), 1085.
    """

    dim, time = 2, (0.0, 10.0)
    fields = {"u": Field("phase")}
    parameters = {
        "width": Parameter("eps", default=0.05, unit="m", above=0.0),
        "initial": Parameter("u at first", default=sine(1.0), field=True),
    }
    random = {"initial": GaussianField(boundary="periodic", alpha=2.5, tau=7.0, sigma=0.5, modes=10)}

    def linear(self, k, p):
        return 1 - p.width**2 * (k**2).sum(0)

    def nonlinear(self, u, p, grad):
        return -(u**3)


class CahnHilliardOnTorus(Periodic):
    """u_t = lap (u^3 - u - eps^2 lap u) on a periodic box: phases separate, as much of each as at first.

    Source: Cahn and Hilliard, J. Chem. Phys. 28 (1958), 258.
    """

    dim, time = 2, (0.0, 0.05)
    fields = {"u": Field("composition")}
    parameters = {
        "width": Parameter("eps", default=0.03, unit="m", above=0.0),
        "initial": Parameter("u at first", default=sine(1.0), field=True),
    }
    random = {"initial": GaussianField(boundary="periodic", alpha=0.0, sigma=0.1, modes=12)}

    def linear(self, k, p):
        square = (k**2).sum(0)
        return square - p.width**2 * square**2

    def coefficients(self, u_hat, p, box):
        return -(box.k**2).sum(0).to(u_hat.real.dtype) * box.fft(box.ifft(u_hat) ** 3)


class GrayScottOnTorus(Periodic):
    """a_t = A lap a - a b^2 + F (1 - a), b_t = B lap b + a b^2 - (F + k) b on a periodic box: spots that divide.

    Source: Pearson, Science 261 (1993), 189.
    """

    length, dim, time = 2.5, 2, (0.0, 1000.0)
    fields = {"a": Field("substrate"), "b": Field("activator")}
    parameters = {
        "diffusivity_a": Parameter("A", default=2e-5, unit="m^2/s", above=0.0),
        "diffusivity_b": Parameter("B", default=1e-5, unit="m^2/s", above=0.0),
        "feed": Parameter("F", default=0.04, unit="1/s", above=0.0),
        "kill": Parameter("k", default=0.06, unit="1/s", above=0.0),
        "initial": Parameter("disturbance", default=sine(2.5, 2), field=True),
    }
    random = {
        "initial": GaussianField(
            boundary="periodic", alpha=2.5, tau=3.0, sigma=1.0, modes=12, lower=(0.0, 0.0), upper=(2.5, 2.5)
        )
    }

    def initial_values(self, x, p):
        xp, there = array_namespace(x), p.initial(x)
        spot = 1 / (1 + xp.exp(-6 * (there - 1.0)))
        return xp.stack([1 - spot / 2, spot / 4])

    def linear(self, k, p):
        square, array = (k**2).sum(0), array_namespace(k)
        return array.stack([-p.diffusivity_a * square - p.feed, -p.diffusivity_b * square - p.feed - p.kill])

    def nonlinear(self, u, p, grad):
        xp, reaction = array_namespace(u), u[0] * u[1] ** 2
        return xp.stack([p.feed + 0 * u[0] - reaction, reaction])


class Vorticity(Periodic):
    """w_t + v . grad w = nu lap w + f on the periodic unit square, v = (psi_y, -psi_x), -lap psi = w.

    f = 0.1 (sin 2 pi (x + y) + cos 2 pi (x + y)).

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations (2021), section 5.3.
    """

    dim, time = 2, (0.0, 50.0)
    fields = {"w": Field("vorticity", unit="1/s")}
    parameters = {
        "viscosity": Parameter("nu", default=1e-3, unit="m^2/s", above=0.0),
        "drag": Parameter("linear drag", default=0.0, unit="1/s", at_least=0.0),
        "initial": Parameter(
            "w at first",
            default=lambda x: (
                array_namespace(x).sin(2 * math.pi * x[0]) * array_namespace(x).cos(4 * math.pi * x[1])
                + array_namespace(x).cos(2 * math.pi * (x[0] + x[1]))
            ),
            unit="1/s",
            field=True,
        ),
    }
    random = {"initial": GaussianField(boundary="periodic", alpha=2.5, tau=7.0, scale=7**1.5 * math.sqrt(2), modes=20)}

    def linear(self, k, p):
        return -p.viscosity * (k**2).sum(0) - p.drag

    def coefficients(self, u_hat, p, box):
        """-v . grad w: four transforms back, one forth."""
        ik, square = box.derivatives(u_hat), (box.k**2).sum(0).to(u_hat.real.dtype)
        psi = u_hat / (square + (square == 0))
        v_x, v_y, w_x, w_y = box.ifft(box.stack([ik[1] * psi, -ik[0] * psi, ik[0] * u_hat, ik[1] * u_hat]))
        return -box.fft(v_x * w_x + v_y * w_y)

    def forcing(self, x, p):
        xp, phase = array_namespace(x), 2 * math.pi * (x[0] + x[1])
        return 0.1 * (xp.sin(phase) + xp.cos(phase))[None]


class ShortVorticity(Vorticity):
    """The same until t = 20: ten frames to start from, and ten to predict."""

    time = (0.0, 20.0)


class ThinVorticity(Vorticity):
    """The same with nu = 1e-4, until t = 30."""

    time = (0.0, 30.0)
    parameters = {**Vorticity.parameters, "viscosity": Parameter("nu", default=1e-4, unit="m^2/s", above=0.0)}


class ThinnestVorticity(Vorticity):
    """The same with nu = 1e-5, until t = 20."""

    time = (0.0, 20.0)
    parameters = {**Vorticity.parameters, "viscosity": Parameter("nu", default=1e-5, unit="m^2/s", above=0.0)}


class KolmogorovFlow(Vorticity):
    """The same on a square of side 2 pi, driven by a shear force sin(4 y) in the direction of x, with linear drag.

    Source: Kochkov et al., Machine learning accelerated computational fluid dynamics, PNAS 118 (2021).
    """

    length, time, waves = 2 * math.pi, (0.0, 20.0), 4
    parameters = {
        "viscosity": Parameter("nu", default=1e-2, unit="m^2/s", above=0.0),
        "drag": Parameter("linear drag", default=0.1, unit="1/s", at_least=0.0),
        "initial": Parameter("w at first", default=sine(2 * math.pi, 2), unit="1/s", field=True),
    }
    random = {
        "initial": GaussianField(
            boundary="periodic",
            alpha=2.5,
            tau=2.0,
            sigma=3.0,
            modes=12,
            lower=(0.0, 0.0),
            upper=(2 * math.pi, 2 * math.pi),
        )
    }

    def forcing(self, x, p):
        return -self.waves * array_namespace(x).cos(self.waves * x[1])[None]


TERMS = range(1, 6)


class ForcedWaves(Periodic):
    """u_t + alpha (u^2 / 2)_x - beta u_xx + gamma u_xxx = d(t, x), d = sum_j A_j sin(w_j t + 2 pi l_j x / L + phi_j).

    u = d at first; L = 16, five terms.

    Source: Brandstetter, Worrall and Welling, Message Passing Neural PDE Solvers (2022), section 4.
    """

    length, time = 16.0, (0.0, 4.0)
    fields = {"u": Field("solution")}
    parameters = {
        "alpha": Parameter("alpha", default=1.0),
        "beta": Parameter("beta", default=0.05, at_least=0.0),
        "gamma": Parameter("gamma", default=0.0),
        **{f"amplitude_{j}": Parameter(f"A_{j}", default=0.3 / j) for j in TERMS},
        **{f"frequency_{j}": Parameter(f"w_{j}", default=0.1 * j, unit="rad/s") for j in TERMS},
        **{f"waves_{j}": Parameter(f"l_{j}", default=float(1 + j % 2)) for j in TERMS},
        **{f"phase_{j}": Parameter(f"phi_{j}", default=float(j), unit="rad") for j in TERMS},
    }
    random = {
        **{f"amplitude_{j}": Uniform(-0.5, 0.5) for j in TERMS},
        **{f"frequency_{j}": Uniform(-0.4, 0.4) for j in TERMS},
        **{f"waves_{j}": Choice((1.0, 2.0)) for j in TERMS},
        **{f"phase_{j}": Uniform(0.0, 2 * math.pi) for j in TERMS},
    }

    def initial_values(self, x, p):
        return self.drive(x, 0.0, p)

    def linear(self, k, p):
        return -p.beta * k[0] ** 2 + 1j * p.gamma * k[0] ** 3

    def flux(self, u, p):
        return (p.alpha * u**2 / 2)[None]

    def drive(self, x, t, p):
        total = 0 * x[0]
        for j in TERMS:
            a, w, n, phi = (getattr(p, f"{name}_{j}") for name in ("amplitude", "frequency", "waves", "phase"))
            phase = w * t + 2 * math.pi / self.length * n * x[0] + phi
            total = total + a * array_namespace(x).sin(phase)
        return total[None]
