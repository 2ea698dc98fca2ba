"""A block that is heated inside, cooled below and radiates above: a problem of one's own, on a mesh file.

variform solve examples/heated_block.py
variform solve examples/heated_block.py --method ritz
variform solve examples/heated_block.py --mesh another.msh
"""

from functools import cache
from pathlib import Path

from ufl import grad, inner

from variform.meshes import MeshGeometry, read
from variform.problem import Dirichlet, Field, Problem
from variform.task import Parameter


@cache
def block():
    return MeshGeometry(read(Path(__file__).parent / "box.msh"))


class HeatedBlock(Problem):
    """Find T with -div(k grad T) = q, T = 1 on the back, and k dT/dn = -e (T^4 - T_a^4) on front and top.

    The other sides are insulated. Temperatures are relative to that of the back, lengths to the side of the block.
    """

    fields = {"T": Field("temperature")}
    parameters = {
        "conductivity": Parameter("k", default=1.0, above=0.0),
        "heating": Parameter("q", default=2.0),
        "emissivity": Parameter("e", default=0.5, at_least=0.0),
        "ambient": Parameter("T_a", default=0.5, at_least=0.0),
    }
    conditions = [Dirichlet("T", 1.0, on="back")]

    def geometry(self, p):
        return block()

    def energy(self, s):
        T, p = s.u["T"], s.p
        conduction = (p.conductivity / 2 * inner(grad(T), grad(T)) - p.heating * T) * s.dx
        return conduction + p.emissivity * (abs(T) ** 5 / 5 - p.ambient**4 * T) * s.ds("front", "top")

    def measure(self, solution):
        return {"mean_temperature": solution.integrate()}
