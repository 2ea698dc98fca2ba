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
        found["by hand"] = by_hand(mesh, arguments.steps, duration)

    name = f"DFG 2D-3, {arguments.steps} steps of Crank-Nicolson, {len(mesh.cells)} cells"
    figure = compare(name, ours, "hand-written DOLFINx", theirs)
    away = float(abs(found["ours"][3:] - found["by hand"][3:]).max() / abs(found["ours"]).max())
    figure |= {"largest difference of the drag": away}
    print(f"{figure['name']}: {figure['ours_s']:.2f} s, by hand {figure['floor_s']:.2f} s, ratio {figure['ratio']:.2f}")
    write("flow_cpu", [figure])


def by_hand(mesh: Any, steps: int, duration: float) -> np.ndarray:
    """Drag coefficients at all times; lift and pressure drop are recorded too."""
    domain = distribute(mesh)
    msh, nu, dt = domain.mesh, 1e-3, duration / steps
    V2 = basix.ufl.element("Lagrange", "triangle", 2, shape=(2,))
    W = dfem.functionspace(msh, basix.ufl.mixed_element([V2, basix.ufl.element("Lagrange", "triangle", 1)]))
    w, old, rate = dfem.Function(W), dfem.Function(W), dfem.Function(W)
    (u, p), (v, q) = ufl.split(w), ufl.TestFunctions(W)
    u0, k0 = ufl.split(old)[0], ufl.split(rate)[0]
    weight = dfem.Constant(msh, 2 / dt)
    dx = ufl.Measure("dx", msh, metadata={"quadrature_degree": 5})

    def flow(derivative: Any) -> ufl.Form:
        convection = ufl.dot(derivative + ufl.dot(ufl.grad(u), u), v) + nu * ufl.inner(ufl.grad(u), ufl.grad(v))
        return (convection - p * ufl.div(v) - q * ufl.div(u)) * dx

    # u_t = weight (u - u0) - theta u0_t: theta is 1 for the trapezoidal rule and 0 for half a step of Euler's.
    theta = dfem.Constant(msh, 0.0)
    F = flow(weight * (u - u0) - theta * k0)
    form, jacobian = dfem.form(F, jit_options=JIT), dfem.form(ufl.derivative(F, w), jit_options=JIT)
    forces = dfem.form(flow(k0), jit_options=JIT)

    inflow, t = dfem.Function(W.sub(0).collapse()[0]), 0.0
    still = dfem.Function(inflow.function_space)
    names = domain.boundaries
    facets = {name: domain.facet_tags.find(names[name]) for name in ("inlet", "walls", "cylinder")}
    spaces = (W.sub(0), inflow.function_space)
    rest = np.concatenate([facets["walls"], facets["cylinder"]])
    bcs = [
        dfem.dirichletbc(inflow, dfem.locate_dofs_topological(spaces, 1, facets["inlet"]), W.sub(0)),
        dfem.dirichletbc(still, dfem.locate_dofs_topological(spaces, 1, rest), W.sub(0)),
    ]
    drag_dofs, lift_dofs = (dfem.locate_dofs_topological(W.sub(0).sub(i), 1, facets["cylinder"]) for i in (0, 1))
    ends = np.array([[0.15, 0.2, 0], [0.25, 0.2, 0]])
    tree = dolfinx.geometry.bb_tree(msh, 2, padding=1e-10)
    cells = dolfinx.geometry.compute_colliding_cells(msh, dolfinx.geometry.compute_collisions_points(tree, ends), ends)
    at_ends = [int(cells.links(i)[0]) for i in (0, 1)]
    p_spot = w.sub(1)
    profile = inflow.x.array.copy()
    inflow.interpolate(lambda x: np.stack([6 * x[1] * (0.41 - x[1]) / 0.41**2, 0 * x[0]]))
    profile[:] = inflow.x.array
    A, b, force = fp.create_matrix(jacobian), fp.create_vector(W), fp.create_vector(W)
    ksp, dx_vector = PETSc.KSP().create(msh.comm), fp.create_vector(W)
    ksp.setOperators(A)
    ksp.setType("preonly")
    ksp.getPC().setType("lu")
    ksp.getPC().setFactorSolverType("mumps")
    stale = True

    def solve(scale: float, share: float) -> None:
        nonlocal stale
        theta.value = share
        if stale:
            rebuild()
        taken = 0
        while taken < 20:
            taken += 1
            with b.localForm() as local:
                local.set(0)
            fp.assemble_vector(b, form)
            fp.apply_lifting(b, [jacobian], [bcs], x0=[w.x.petsc_vec], alpha=-1.0)
            fp.set_bc(b, bcs, w.x.petsc_vec, -1.0)
            ksp.solve(b, dx_vector)
            w.x.petsc_vec.axpy(-1.0, dx_vector)
            if dx_vector.norm() <= RTOL * w.x.petsc_vec.norm():
                break
        stale = taken > KEEP

    def rebuild() -> None:
        A.zeroEntries()
        fp.assemble_matrix(A, jacobian, bcs=bcs)
        A.assemble()
        ksp.setOperators(A)

    drag, record = np.zeros(steps + 1), []
    for n in range(steps):
        for half in (1, 2) if n < 2 else (2,):
            t = n * dt + half * dt / 2
            inflow.x.array[:] = profile * math.sin(math.pi * t / 8)
            old.x.array[:] = w.x.array
            before = rate.x.array.copy()
            w.x.array[:] += (dt / 2 if n < 2 else dt) * before
            solve(dt / 2, 0.0 if n < 2 else 1.0)
            change = w.x.array - old.x.array
            rate.x.array[:] = (2 / dt) * change - (0.0 if n < 2 else 1.0) * before
        # The pressure has no rate; what stands there is not used.
        with force.localForm() as local:
            local.set(0)
        fp.assemble_vector(force, forces)
        drag[n + 1] = -20 * force.array[drag_dofs].sum()
        record.append((-20 * force.array[lift_dofs].sum(), np.ptp(p_spot.eval(ends, at_ends))))
    return drag


if __name__ == "__main__":
    main()
