"""Large displacements of a rubber-like body: the compressible neo-Hookean material."""

from __future__ import annotations

from ufl import Identity, det, dot, grad, inner, ln

from variform.meshes import Box, UnitCube, UnitSquare
from variform.problem import Continuation, Dirichlet, Field, Problem
from variform.problems.linear_elasticity import CONSTANTS, lame
from variform.problems.manufactured import divergence, gradient, symbol, to_ufl
from variform.task import Parameter


class NeoHookean(Problem):
    """The displacement u that minimises the stored energy less the work of the loads; what all below share.

    psi = mu/2 (tr(F^T F) - d) - mu ln J + lam/2 (ln J)^2 with F = I + grad u in d dimensions (d = 2: plane strain) and
    J = det F; mu and lam are those of small strain. The nominal stress is P = mu (F - F^-T) + lam ln J F^-T.

    Source: Bonet and Wood, Nonlinear Continuum Mechanics for Finite Element Analysis, section 6.4.
    """

    fields = {"u": Field("displacement", unit="m", shape=(3,))}
    parameters = {
        "young": Parameter("Young's modulus E", default=10.0, unit="Pa", above=0.0),
        "poisson": Parameter("Poisson's ratio nu", default=0.3, above=-1.0, below=0.5),
    }

    def energy(self, s):
        u = s.u["u"]
        lam, mu = lame(s.p.young, s.p.poisson)
        F = Identity(len(u)) + grad(u)
        J = det(F)
        stored = mu / 2 * (inner(F, F) - len(u)) - mu * ln(J) + lam / 2 * ln(J) ** 2
        return stored * s.dx - self.work(s, u)

    def work(self, s, u):
        """That of dead loads along u."""
        raise NotImplementedError


class HyperelasticUniaxial(NeoHookean):
    """A unit cube that is stretched along x and free to contract across: homogeneous, P22 = P33 = 0.

    P11 is the force that the right side takes.

    Source: Bonet and Wood, section 6.6.
    """

    parameters = {**NeoHookean.parameters, "stretch": Parameter("length over length at rest", default=1.5, above=0.0)}
    conditions = [
        Dirichlet("u", 0.0, on="left", component=0),
        Dirichlet("u", lambda x, t, p: p.stretch - 1, on="right", component=0),
        Dirichlet("u", 0.0, on="front", component=1),
        Dirichlet("u", 0.0, on="bottom", component=2),
    ]
    continuation = Continuation("stretch", start=1.0)

    def geometry(self, p):
        return UnitCube()

    def work(self, s, u):
        return 0

    def measure(self, solution):
        transverse = 1 + float(solution.at([[1.0]] * 3)[1, 0])
        return {"transverse": transverse, "stress": solution.reaction("u", "right", component=0)}

    def reference(self):
        # The root of P22 = mu (b - 1/b) + lam ln(a b^2) / b = 0 for the transverse stretch b at the stretch a.
        known = {1.5: (0.880175, 3.782802), 0.8: (1.067338, -2.400054)}
        if self.values["poisson"] != 0.3 or self.values["stretch"] not in known:
            return {}
        transverse, stress = known[self.values["stretch"]]
        return {"transverse": transverse, "stress": stress * self.values["young"] / 10}


class HyperelasticBeam(NeoHookean):
    """A beam of length 2 and section 1 x 1, clamped on the left, bent by the dead load F, spread over its right end.

    The tip is the centre of that end. By the theory of slender beams it would sink by 32 F / E.
    """

    parameters = {
        **NeoHookean.parameters,
        "load": Parameter("F, downwards", default=0.3, unit="N"),
    }
    conditions = [Dirichlet("u", 0.0, on="left")]
    continuation = Continuation("load", start=0.0)

    def geometry(self, p):
        return Box((0.0, 0.0, 0.0), (2.0, 1.0, 1.0))

    def work(self, s, u):
        return -s.p.load * u[2] * s.ds("right")

    def measure(self, solution):
        return {"tip": float(solution.at([[2.0], [0.5], [0.5]])[2, 0])}


class HyperelasticityManufactured(NeoHookean):
    """-div P = f in plane strain in the unit square, u = 0 on its boundary.

    The solution is manufactured: u = (exp(x), 2 y) sin(pi x) sin(pi y) / 20.
    """

    fields = {"u": Field("displacement", unit="m", shape=(2,))}
    conditions = [Dirichlet("u", 0.0)]
    solution = [f"{a}*sin(pi*x)*sin(pi*y)/20" for a in ("exp(x)", "2*y")]

    def geometry(self, p):
        return UnitSquare()

    def work(self, s, u):
        force = [-entry for entry in divergence(self.exact_stress())]
        return dot(to_ufl(force, *CONSTANTS)(s.x, 0.0, s.p.young, s.p.poisson), u) * s.dx

    def exact_stress(self):
        """P of the solution, a sympy tensor."""
        import sympy

        lam, mu = lame(*map(symbol, CONSTANTS))
        F = sympy.eye(2) + sympy.Matrix(gradient(self.solution))
        inverse = F.adjugate().T / F.det()
        return (mu * (F - inverse) + lam * sympy.log(F.det()) * inverse).tolist()

    def exact(self, x, t, p):
        return to_ufl(self.solution)(x)
