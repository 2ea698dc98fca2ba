"""Eigenproblems: membranes, plates and cavities."""

from __future__ import annotations

import math
from typing import Any

from ufl import curl, dot, grad, inner

from variform.meshes import LShape
from variform.problem import Dirichlet, Field, Problem
from variform.problems.plate import Plate
from variform.task import Parameter


class Eigenproblem(Problem):
    """a(u, v) = lambda m(u, v): what those below share."""

    published: tuple[float, ...] = ()
    target = 0.0
    """Eigenvalues are sought above it by default."""

    def measure(self, solution: Any) -> dict[str, float]:
        return {f"eigenvalue_{i}": float(value) for i, value in enumerate(solution.eigenvalues, start=1)}

    def reference(self) -> dict[str, float]:
        return {f"eigenvalue_{i}": value for i, value in enumerate(self.published, start=1)}


class LaplaceEigen(Eigenproblem):
    """-lap u = lambda u in the L-shape (-1, 1)^2 without [0, 1]^2, u = 0 on its boundary.

    The first mode is singular at the re-entrant corner: on uniform meshes its eigenvalue converges at order 4/3 only.

    Source: Fox, Henrici and Moler, SIAM J. Numer. Anal. 4 (1967), 89; digits of Trefethen and Betcke (2006).
    """

    fields = {"u": Field("deflection", degree=2)}
    conditions = [Dirichlet("u", 0.0)]
    published = (9.6397238440, 15.1972519265, 2 * math.pi**2)

    def geometry(self, p):
        return LShape()

    def eigen(self, s, v):
        u, w = s.u["u"], v["u"]
        return inner(grad(u), grad(w)) * s.dx, u * w * s.dx

    def orders(self, degrees):
        return {}


class PlateEigen(Plate, Eigenproblem):
    """D lap lap w = lambda w: vibrations of a clamped square plate, lambda the square of the frequency times its mass.

    Source: Leissa, Vibration of Plates (1969); the digits are from a Ritz series.
    """

    parameters = {name: Plate.parameters[name] for name in ("stiffness", "poisson_ratio", "penalty")}
    published = (1294.93398,)

    def eigen(self, s, v):
        w, z = s.u["w"], v["w"]
        return inner(self.moments(w, s.p), grad(grad(z))) * s.dx, w * z * s.dx

    def residual(self, s, v):
        return self.eigen(s, v)[0]

    def measure(self, solution):
        return Eigenproblem.measure(self, solution)

    def reference(self):
        return {name: value * self.values["stiffness"] for name, value in Eigenproblem.reference(self).items()}


class MaxwellEigen(Eigenproblem):
    """curl curl E = lambda E in an L-shaped cavity with perfectly conducting walls, n x E = 0.

    Edge elements: Lagrange elements would converge to wrong values here. All gradients have lambda = 0; eigenvalues
    are sought above a shift that leaves them out.

    Source: Dauge, Benchmark computations for Maxwell equations for the approximation of highly singular solutions
    (2004).
    """

    fields = {"E": Field("electric field", unit="V/m", shape=(2,), degree=2, element="N1curl")}
    parameters = {"permittivity": Parameter("relative permittivity", default=1.0, above=0.0)}
    conditions = [Dirichlet("E", 0.0)]
    published = (1.47562182408, 3.53403136678, math.pi**2, math.pi**2, 11.3894793979)
    target = 0.5

    def geometry(self, p):
        return LShape()

    def eigen(self, s, v):
        E, F = s.u["E"], v["E"]
        return inner(curl(E), curl(F)) * s.dx, s.p.permittivity * dot(E, F) * s.dx

    def orders(self, degrees):
        return {}

    def reference(self):
        return {name: value / self.values["permittivity"] for name, value in super().reference().items()}
