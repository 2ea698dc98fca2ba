"""Darcy's law with the flux as an unknown: mass is conserved in every cell."""

from __future__ import annotations

from ufl import div, dot, inner

from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.problems.manufactured import divergence, gradient, symbol, symbolic, to_ufl
from variform.quadrature import cell_quadrature
from variform.task import Parameter


class MixedDarcy(Problem):
    """Find flux q and pressure p with q / k + grad p = 0 and div q = f, by Raviart and Thomas's elements.

    The pressure is given on the left and right, where it enters the form as a natural condition; the normal flux is
    given below and above, where it is an essential one. With k = k0 (1 + x y / 2) the solution is
    p = x + x^2 y (1 - y).

    Source: Brezzi and Fortin, Mixed and Hybrid Finite Element Methods, section IV.1.
    """

    fields = {
        "q": Field("flux", unit="m/s", shape=(2,), element="RT", degree=1),
        "p": Field("pressure", unit="Pa", element="DG", degree=0),
    }
    parameters = {"permeability": Parameter("k0", default=1.0, unit="m^2/(Pa s)", above=0.0)}
    conditions = [Dirichlet("q", lambda x, t, p: MixedDarcy.flow(x, p), on=("bottom", "top"))]
    pressure = "x + x**2*y*(1 - y)"

    def geometry(self, p):
        return UnitSquare()

    @classmethod
    def flow(cls, x, p):
        return p.permeability * to_ufl(cls.flux())(x)

    @classmethod
    def flux(cls):
        """q / k0."""
        return [-symbolic("1 + x*y/2") * slope for slope in gradient(cls.pressure)]

    def residual(self, s, v):
        (q, w), (p, r) = (s.u["q"], v["q"]), (s.u["p"], v["p"])
        k = s.p.permeability * (1 + s.x[0] * s.x[1] / 2)
        inside = (inner(q, w) / k - p * div(w) - div(q) * r) * s.dx
        supply = self.source(s.x, s.p) * r * s.dx(degree=5)  # without error, so that mass is conserved to round-off
        return inside + supply + to_ufl(self.pressure)(s.x) * dot(w, s.n) * s.ds("left", "right")

    def source(self, x, p):
        return p.permeability * to_ufl(divergence(self.flux()))(x)

    def exact(self, x, t, p):
        return {"q": self.flow(x, p), "p": to_ufl(self.pressure)(x)}

    def measure(self, solution):
        """mass_balance [m^2/s] is what the fullest cell gains or loses: the largest integral of div q - f over one."""
        rule = cell_quadrature(solution.mesh, 5)
        slopes = solution.at(rule.x, field="q", derivatives=1)
        from sympy import lambdify

        function = lambdify([symbol("x"), symbol("y")], divergence(self.flux()), "numpy")
        supply = self.values["permeability"] * function(*rule.x)
        gain = (slopes[0, 0] + slopes[1, 1] - supply) * rule.w
        return {"mass_balance": float(abs(gain.reshape(len(solution.mesh.cells), -1).sum(axis=1)).max())}

    def reference(self):
        return {"mass_balance": 0.0}
