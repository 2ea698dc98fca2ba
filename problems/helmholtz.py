"""Time-harmonic waves: Helmholtz' equation."""

from __future__ import annotations

import math

from ufl import cos, exp, grad, inner, sin

from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.random import GaussianField
from variform.task import Parameter


class Helmholtz(Problem):
    """-lap u - k^2 u = 0 in the unit square with du/dn - i k u = g on its boundary, an impedance; exp(-i omega t).

    g is that of the plane wave u = exp(i k d . x), d = (cos a, sin a). On a given mesh the error grows with k: ten
    points a wavelength are not enough for many wavelengths (pollution).

    Source: Ihlenburg, Finite Element Analysis of Acoustic Scattering (1998), chapters 2 and 4.
    """

    fields = {"u": Field("pressure", unit="Pa", degree=2, complex=True)}
    parameters = {
        "wavenumber": Parameter("k", default=20.0, unit="1/m", above=0.0),
        "angle": Parameter("a", default=math.pi / 8, unit="rad"),
    }

    def geometry(self, p):
        square = UnitSquare()
        square.default_cells = 48
        return square

    def residual(self, s, v):
        u, w, k = s.u["u"], v["u"], s.p.wavenumber
        inside = (inner(grad(u), grad(w)) - k**2 * inner(u, w)) * s.dx
        normal = cos(s.p.angle) * s.n[0] + sin(s.p.angle) * s.n[1]
        given = 1j * k * (normal - 1) * self.exact(s.x, s.t, s.p)
        return inside - inner(1j * k * u + given, w) * s.ds

    def exact(self, x, t, p):
        return exp(1j * p.wavenumber * (cos(p.angle) * x[0] + sin(p.angle) * x[1]))

    def measure(self, solution):
        return {"largest": float(abs(solution.nodal()).max())}

    def reference(self):
        return {"largest": 1.0}


class HelmholtzSource(Problem):
    """lap u + k^2 u = f with a random source f, below the first resonance; u = 0 on the boundary of the unit square.

    Source: the data of Huang et al., DiffusionPDE (2024), k = 1.
    """

    fields = {"u": Field("amplitude")}
    parameters = {
        "wavenumber": Parameter("k", default=1.0, unit="1/m", above=0.0),
        "source": Parameter("f", default=1.0, field=True),
    }
    random = {"source": GaussianField(scale=3.0, modes=63)}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return (inner(grad(u), grad(w)) - s.p.wavenumber**2 * u * w + s.p.source * w) * s.dx
