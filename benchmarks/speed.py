"""Speed against the floor: our FEM solve beside a hand-written one, the torch residual beside DOLFINx's C kernel.

    make bench            # or: python -m variform.benchmarks.speed

Every figure is a ratio of two medians of one run, on one thread. Results go to benchmarks/results/.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import variform.solvers.fem as finite_elements  # loads MPI and HDF5 in the right order

import basix.ufl  # isort: skip
import dolfinx  # isort: skip
import numpy as np
import torch
import ufl
from dolfinx import fem
from dolfinx.fem import petsc
from mpi4py import MPI

from variform import runs
from variform.forms import WeakForm
from variform.problems.darcy import Darcy
from variform.problems.poisson import Poisson
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.mesh import distribute
from variform.solvers.fem.system import MULTIGRID

RESULTS = Path(__file__).parent / "results"
REPEATS = 9


def main() -> None:
    """Measure, print a table, write the results."""
    torch.set_num_threads(1)
    figures = [fem_solve(128), weak_residual(128, batch=16)]
    record = {"environment": {**runs.environment(), "threads": 1}, "created": runs.now(), "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    runs.write_json(RESULTS / "speed_cpu.json", record)
    for figure in figures:
        times = f"{figure['ours_s']:.4g} s, {figure['floor']} {figure['floor_s']:.4g} s"
        print(f"{figure['name']}: {times}, ratio {figure['ratio']:.2f}")


def fem_solve(cells: int) -> dict[str, Any]:
    """Poisson P1: from a mesh of arrays to the solution, against a script with the same options."""
    problem = Poisson()
    mesh = problem.geometry(problem.p).mesh(cells)

    def ours() -> None:
        finite_elements.solve(problem, mesh=mesh)

    def by_hand() -> None:
        element = ufl.Mesh(basix.ufl.element("Lagrange", "triangle", 1, shape=(2,)))
        domain = dolfinx.mesh.create_mesh(MPI.COMM_WORLD, mesh.cells, element, mesh.points)
        V = fem.functionspace(domain, ("Lagrange", 1))
        u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
        domain.topology.create_connectivity(1, 2)
        facets = dolfinx.mesh.exterior_facet_indices(domain.topology)
        bc = fem.dirichletbc(0.0, fem.locate_dofs_topological(V, 1, facets), V)
        k, f = fem.Constant(domain, 1.0), fem.Constant(domain, 1.0)
        petsc.LinearProblem(
            k * ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx,
            f * v * ufl.dx,
            bcs=[bc],
            petsc_options_prefix="by_hand_",
            petsc_options={**MULTIGRID, "ksp_rtol": 1e-10, "ksp_error_if_not_converged": True},
            jit_options=JIT,
        ).solve()

    return _compare(f"FEM solve, Poisson P1, {cells}^2 cells", ours, "hand-written DOLFINx", by_hand)


def weak_residual(cells: int, batch: int) -> dict[str, Any]:
    """Darcy P1, one sample's residual: torch on a batch, against DOLFINx's assembly of one vector."""
    problem = Darcy().sample(0, 0)
    mesh = problem.geometry(problem.p).mesh(cells)
    weak = WeakForm(problem, mesh)
    u = torch.randn(batch, weak.spaces["h"].num_dofs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = weak.parameter_dofs("heterogeneity", problem.values["heterogeneity"])
    discrete = discretize(problem, distribute(mesh))
    form = fem.form(discrete.residual(), jit_options=JIT)
    discrete.u["h"].x.array[:] = np.random.default_rng(0).standard_normal(len(discrete.u["h"].x.array))
    b = fem.create_vector(discrete.u["h"].function_space)

    def assembled() -> None:
        b.array[:] = 0
        for _ in range(batch):
            fem.assemble_vector(b.array, form)

    name = f"weak residual of {batch} samples, Darcy P1, {cells}^2 cells, torch eager"
    return _compare(name, lambda: weak.residual({"h": u}, p={"heterogeneity": a}), "DOLFINx's C kernel", assembled)


def _compare(name: str, ours: Callable[[], Any], floor: str, other: Callable[[], Any]) -> dict[str, Any]:
    """Medians of alternating runs, after one of each that does not count."""
    ours(), other()
    a, b = [], []
    for _ in range(REPEATS):
        a.append(_seconds(ours))
        b.append(_seconds(other))
    ours_s, floor_s = statistics.median(a), statistics.median(b)
    return {"name": name, "ours_s": ours_s, "floor": floor, "floor_s": floor_s, "ratio": ours_s / floor_s}


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
