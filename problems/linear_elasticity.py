"""Small displacements of an elastic body: plane strain, plane stress and in space."""

from __future__ import annotations

from ufl import Identity, as_vector, atan2, cos, dot, grad, inner, sin, sqrt, sym, tr

from variform.meshes import PlateWithHole, Quadrilateral, UnitCube, UnitSquare
from variform.problem import Dirichlet, Field, NoRigidMotion, Problem
from variform.problems.manufactured import divergence, gradient, symbol, to_ufl
from variform.task import Parameter

CONSTANTS = ("young", "poisson")
"""Parameters in manufactured expressions."""


class Elasticity(Problem):
    """-div(sigma) = f with Hooke's law sigma = lam tr(eps) I + 2 mu eps, eps = sym(grad u): what all below share.

    lam = E nu / ((1 + nu) (1 - 2 nu)), mu = E / (2 (1 + nu)); in the plane that is plane strain.

    Source: Brenner and Scott, The Mathematical Theory of Finite Element Methods, ch. 11.
    """

    fields = {"u": Field("displacement", unit="m", shape=(2,), degree=2)}
    parameters = {
        "young": Parameter("Young's modulus E", default=1.0, unit="Pa", above=0.0),
        "poisson": Parameter("Poisson's ratio nu", default=0.3, above=-1.0, below=0.5),
    }

    def lame(self, p):
        """lam, mu [Pa]."""
        return lame(p.young, p.poisson)

    def stress(self, u, p):
        lam, mu = self.lame(p)
        return lam * tr(grad(u)) * Identity(len(u)) + 2 * mu * sym(grad(u))

    def energy(self, s):
        u = s.u["u"]
        return inner(self.stress(u, s.p), sym(grad(u))) / 2 * s.dx - self.work(s, u)

    def work(self, s, u):
        """That of the loads along u."""
        raise NotImplementedError


class LinearElasticity(Elasticity):
    """-div(sigma) = f in plane strain in the unit square, u = 0 on its boundary.

    The solution is manufactured: u = (sin(pi x) sin(2 pi y) exp(x), x sin(pi x) sin(pi y)).
    """

    conditions = [Dirichlet("u", 0.0)]
    solution = [
        "sin(pi*x)*sin(2*pi*y)*exp(x)",
        "x*sin(pi*x)*sin(pi*y)",
    ]

    def geometry(self, p):
        return UnitSquare()

    def work(self, s, u):
        force = [-entry for entry in divergence(self.exact_stress())]
        return dot(self.given(force, s), u) * s.dx

    def given(self, expression, s):
        """A sympy expression in the coordinates and the two elastic constants, as UFL."""
        return to_ufl(expression, *CONSTANTS)(s.x, 0.0, s.p.young, s.p.poisson)

    def exact_stress(self):
        """That of the solution, a sympy tensor."""
        lam, mu = lame(*map(symbol, CONSTANTS))
        dim = len(self.solution)
        slope = gradient(self.solution, dim)
        dilation = sum(slope[i][i] for i in range(dim))
        return [
            [lam * dilation * int(i == j) + mu * (slope[i][j] + slope[j][i]) for j in range(dim)] for i in range(dim)
        ]

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)


class Elasticity3D(LinearElasticity):
    """-div(sigma) = f in the unit cube, u = 0 on its boundary.

    The solution is manufactured: u = (exp(x), x, y) sin(pi x) sin(pi y) sin(pi z).
    """

    fields = {"u": Field("displacement", unit="m", shape=(3,))}
    solution = [f"{a}*sin(pi*x)*sin(pi*y)*sin(pi*z)" for a in ("exp(x)", "x", "y")]

    def geometry(self, p):
        return UnitCube()


class ElasticityFree(LinearElasticity):
    """-div(sigma) = f in plane strain, held by nothing: sigma n is given all round, and rigid motions are ruled out.

    The solution is manufactured: u = (sin(pi x) cos(pi y), cos(pi x) sin(pi y) + cos(2 pi x) / 4).
    """

    conditions = [NoRigidMotion("u")]
    solution = [
        "sin(pi*x)*cos(pi*y)",
        "cos(pi*x)*sin(pi*y) + cos(2*pi*x)/4",
    ]

    def work(self, s, u):
        return super().work(s, u) + dot(dot(self.given(self.exact_stress(), s), s.n), u) * s.ds


class Cook(Elasticity):
    """Cook's membrane in plane stress: clamped on the left, pulled up by the force F, spread over the right side.

    The tip is the middle of that side. Plane stress is plane strain with lam replaced by 2 mu lam / (lam + 2 mu).

    Source: Cook, Improved two-dimensional finite element (J. Struct. Div. ASCE 100, 1974).
    """

    parameters = {
        "young": Elasticity.parameters["young"],
        "poisson": Parameter("Poisson's ratio nu", default=1 / 3, above=-1.0, below=0.5),
        "force": Parameter("F, a metre of thickness", default=1.0, unit="N/m"),
    }
    conditions = [Dirichlet("u", 0.0, on="left")]
    published = 23.967

    def geometry(self, p):
        return Quadrilateral(((0.0, 0.0), (48.0, 44.0), (48.0, 60.0), (0.0, 44.0)))

    def lame(self, p):
        lam, mu = super().lame(p)
        return 2 * mu * lam / (lam + 2 * mu), mu

    def work(self, s, u):
        return s.p.force / 16 * u[1] * s.ds("right")

    def measure(self, solution):
        return {"tip": float(solution.at([[48.0], [52.0]])[1, 0])}

    def reference(self):
        if self.values["poisson"] != 1 / 3:
            return {}
        return {"tip": self.published * self.values["force"] / self.values["young"]}


class CookPlaneStrain(Cook):
    """Cook's membrane in plane strain: clamped on the left, pulled up by the force F, spread over the right side."""

    published = 21.524

    def lame(self, p):
        return lame(p.young, p.poisson)


class Kirsch(Elasticity):
    """A hole of radius a = 1 in an infinite plate under the tension S along x, in plane strain; a quarter of it.

    The hole is free; left and bottom are axes of symmetry; the exact traction acts on the right and on top. At the top
    of the hole sigma_xx is 3 S.

    Source: Timoshenko and Goodier, Theory of Elasticity, section 35.
    """

    parameters = {**Elasticity.parameters, "tension": Parameter("S", default=1.0, unit="Pa")}
    conditions = [Dirichlet("u", 0.0, on="left", component=0), Dirichlet("u", 0.0, on="bottom", component=1)]

    def geometry(self, p):
        return PlateWithHole(4.0, 4.0, 1.0)

    def work(self, s, u):
        traction = dot(self.stress(self.exact(s.x, s.t, s.p), s.p), s.n)
        return dot(traction, u) * s.ds("right", "top")

    def exact(self, x, t, p):
        r, angle, k = sqrt(x[0] ** 2 + x[1] ** 2), atan2(x[1], x[0]), 3 - 4 * p.poisson
        near = 2 / r - 2 / r**3
        along = (r * (k + 1) + 2 * (k + 1) / r) * cos(angle) + near * cos(3 * angle)
        across = (r * (k - 3) - 2 * (k - 1) / r) * sin(angle) + near * sin(3 * angle)
        return p.tension * (1 + p.poisson) / (4 * p.young) * as_vector([along, across])

    def measure(self, solution):
        slope = solution.at([[0.0], [1.0]], derivatives=1)[:, :, 0]
        lam, mu = self.lame(self.p)
        stress = lam * (slope[0, 0] + slope[1, 1]) + 2 * mu * slope[0, 0]
        return {"stress_concentration": float(stress / self.values["tension"])}

    def reference(self):
        return {"stress_concentration": 3.0}


def lame(young, poisson):
    """lam and mu of Young's modulus and Poisson's ratio: numbers, UFL or sympy."""
    return young * poisson / ((1 + poisson) * (1 - 2 * poisson)), young / (2 * (1 + poisson))
