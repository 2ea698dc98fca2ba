"""Unsteady flow, DFG 2D-3: `fem.solve` against DOLFINx by hand, on one mesh with one step and one scheme.

    python -m variform.benchmarks.flow [--cells 3] [--steps 100]      # writes results/flow_cpu.json

Crank-Nicolson with dt = 1/200 s in Taylor and Hood's elements on curved triangles; Newton's method with a factorisation
that is kept while it converges; drag, lift and pressure drop after every step. By hand: one monolithic form, compiled
once, assembled into one matrix and one vector; what an expert would write for this one problem.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import dolfinx_solver  # noqa: F401  # loads MPI ahead of DOLFINx
import h5py  # noqa: F401  # its HDF5 must load ahead of PETSc's

import basix.ufl
import dolfinx
import numpy as np
import ufl
from dolfinx import fem as dfem
from dolfinx.fem import petsc as fp
from petsc4py import PETSc

from variform.benchmarks.timing import compare, write
from variform.meshes import ChannelWithCylinder
from variform.problems.unsteady_flow import DFG2D3
from variform.solvers import fem
from variform.solvers.fem.discretize import JIT
from variform.solvers.fem.mesh import distribute

RTOL, KEEP = 1e-8, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    mesh = ChannelWithCylinder().mesh(arguments.cells, 2)
    duration = arguments.steps / 200

    class Start(DFG2D3):
        time = (0.0, duration)

    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = fem.solve(Start(), mesh=mesh, steps=arguments.steps, rtol=RTOL).history["drag"]

    def theirs() -> None:
        found["by hand"] = ByHand(mesh, duration / arguments.steps).run(arguments.steps)[:, 0]

    name = f"DFG 2D-3, {arguments.steps} steps of Crank-Nicolson, {len(mesh.cells)} cells"
    figure = compare(name, ours, "hand-written DOLFINx", theirs)
    away = float(abs(found["ours"][1:] - found["by hand"]).max() / abs(found["ours"]).max())
    figure |= {"largest difference of the drag": away}
    print(f"{figure['name']}: {figure['ours_s']:.2f} s, by hand {figure['floor_s']:.2f} s, ratio {figure['ratio']:.2f}")
    write("flow_cpu", [figure])


class ByHand:
    """The flow as one monolithic form: all that does not change is compiled, allocated and located here.

    Newton's method goes on with its factors for as long as a step takes at most KEEP solves; it starts from the rates
    of the last two steps, and stops when the contraction seen so far puts the error of the solution below RTOL. Drag
    and lift need the residual in the cells at the cylinder only.
    """

    def __init__(self, mesh: Any, dt: float) -> None:
        domain, self.dt = distribute(mesh), dt
        self.mesh, facets = domain.mesh, {name: domain.facet_tags.find(tag) for name, tag in domain.boundaries.items()}
        V2 = basix.ufl.element("Lagrange", "triangle", 2, shape=(2,))
        W = dfem.functionspace(self.mesh, basix.ufl.mixed_element([V2, basix.ufl.element("Lagrange", "triangle", 1)]))
        self.w, self.old, self.rate = dfem.Function(W), dfem.Function(W), dfem.Function(W)
        self._forms(W, facets["cylinder"])
        self._conditions(W, facets)
        self._points(W)
        self.A, self.b, self.force = fp.create_matrix(self.jacobian), fp.create_vector(W), fp.create_vector(W)
        self.update = fp.create_vector(W)
        self.ksp = PETSc.KSP().create(self.mesh.comm)
        self.ksp.setOperators(self.A)
        self.ksp.setType("preonly")
        self.ksp.getPC().setType("lu")
        self.ksp.getPC().setFactorSolverType("mumps")
        self.stale, self.contraction, self.solves = True, 0.5, 0

    def _forms(self, W: dfem.FunctionSpace, cylinder: np.ndarray) -> None:
        (u, p), (v, q) = ufl.split(self.w), ufl.TestFunctions(W)
        u0, k = ufl.split(self.old)[0], ufl.split(self.rate)[0]
        # u_t = 2 / dt (u - u0) - share * k0: share is 1 for the trapezoidal rule and 0 for half a step of Euler's.
        self.share = dfem.Constant(self.mesh, 0.0)
        topology = self.mesh.topology
        for dims in ((1, 0), (0, 2)):
            topology.create_connectivity(*dims)
        ends = dolfinx.mesh.compute_incident_entities(topology, cylinder, 1, 0)
        cells = dolfinx.mesh.compute_incident_entities(topology, ends, 0, 2)
        dx = ufl.Measure("dx", self.mesh, subdomain_data=[(1, cells)], metadata={"quadrature_degree": 5})

        def flow(derivative: Any, dx: ufl.Measure) -> ufl.Form:
            momentum = ufl.dot(derivative + ufl.dot(ufl.grad(u), u), v) + 1e-3 * ufl.inner(ufl.grad(u), ufl.grad(v))
            return (momentum - p * ufl.div(v) - q * ufl.div(u)) * dx

        F = flow(2 / dfem.Constant(self.mesh, self.dt) * (u - u0) - self.share * k, dx)
        self.residual = dfem.form(F, jit_options=JIT)
        self.jacobian = dfem.form(ufl.derivative(F, self.w), jit_options=JIT)
        self.at_cylinder = dfem.form(flow(k, dx(1)), jit_options=JIT)

    def _conditions(self, W: dfem.FunctionSpace, facets: dict[str, np.ndarray]) -> None:
        V, _ = W.sub(0).collapse()
        self.inflow, still = dfem.Function(V), dfem.Function(V)
        self.inflow.interpolate(lambda x: np.stack([6 * x[1] * (0.41 - x[1]) / 0.41**2, 0 * x[0]]))
        self.profile = self.inflow.x.array.copy()
        rest = np.concatenate([facets["walls"], facets["cylinder"]])
        self.bcs = [
            dfem.dirichletbc(values, dfem.locate_dofs_topological((W.sub(0), V), 1, where), W.sub(0))
            for values, where in ((self.inflow, facets["inlet"]), (still, rest))
        ]
        self.held = np.concatenate([bc.dof_indices()[0] for bc in self.bcs])
        self.pressure = W.sub(1).collapse()[1]
        self.pushed = [dfem.locate_dofs_topological(W.sub(0).sub(i), 1, facets["cylinder"]) for i in (0, 1)]

    def _points(self, W: dfem.FunctionSpace) -> None:
        self.ends, self.p = np.array([[0.15, 0.2, 0], [0.25, 0.2, 0]]), self.w.sub(1)
        tree = dolfinx.geometry.bb_tree(self.mesh, 2, padding=1e-10)
        hits = dolfinx.geometry.compute_collisions_points(tree, self.ends)
        cells = dolfinx.geometry.compute_colliding_cells(self.mesh, hits, self.ends)
        self.in_cells = [int(cells.links(i)[0]) for i in (0, 1)]

    def run(self, steps: int) -> np.ndarray:
        """Drag and lift coefficients and pressure drop after every step, shape (steps, 3)."""
        record = np.zeros((steps, 3))
        w, rate, before = self.w.x.array, self.rate.x.array, self.rate.x.array.copy()
        for n in range(steps):
            euler = n < 2
            self.share.value = 0.0 if euler else 1.0
            for t in (n + 0.5, n + 1.0) if euler else (n + 1.0,):
                self.old.x.array[:] = w
                self.inflow.x.array[:] = self.profile * math.sin(math.pi * t * self.dt / 8)
                w += self.dt / 2 * (rate if euler else 3 * rate - before)
                self.solve()
                before, change = rate.copy(), w - self.old.x.array
                rate[:] = 2 / self.dt * change - self.share.value * before
                # A rate of the pressure would alternate: it is met at the new time, with no memory of its own.
                rate[self.pressure] = before[self.pressure] = change[self.pressure] / self.dt * (2 if euler else 1)
            record[n] = self.coefficients()
        return record

    def solve(self) -> None:
        x, before = self.w.x.petsc_vec, math.nan
        fp.set_bc(x, self.bcs)
        if self.stale:
            self.A.zeroEntries()
            fp.assemble_matrix(self.A, self.jacobian, bcs=self.bcs)
            self.A.assemble()
            self.ksp.setOperators(self.A)
        for taken in range(1, 21):
            with self.b.localForm() as local:
                local.set(0)
            fp.assemble_vector(self.b, self.residual)
            self.b.array[self.held] = 0.0
            self.ksp.solve(self.b, self.update)
            x.axpy(-1.0, self.update)
            self.solves += 1
            size = self.update.norm()
            if taken > 1:
                self.contraction = size / before
            if self.contraction / (1 - self.contraction) * size <= RTOL * x.norm():
                break
            before = size
        self.contraction, self.stale = max(self.contraction, 1e-3) ** 0.8, taken > KEEP

    def coefficients(self) -> tuple[float, float, float]:
        with self.force.localForm() as local:
            local.set(0)
        fp.assemble_vector(self.force, self.at_cylinder)
        drag, lift = (-20 * self.force.array[dofs].sum() for dofs in self.pushed)
        return drag, lift, float(np.ptp(self.p.eval(self.ends, self.in_cells)))


if __name__ == "__main__":
    main()
