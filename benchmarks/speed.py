"""Speed against the floor: our FEM solve beside a hand-written one and other libraries, the command beside a bare
script, the torch residual beside DOLFINx's C kernel.

    make bench            # or: python -m variform.benchmarks.speed

Every figure is a ratio of two times of one run, on one thread. NGSolve and scikit-fem are compared with where they are
installed (pip install ngsolve scikit-fem pyamg). Results go to benchmarks/results/.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
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

from variform.benchmarks.timing import compare, figure, write
from variform.forms import WeakForm
from variform.problems.darcy import Darcy
from variform.problems.poisson import Poisson
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.linear import MULTIGRID
from variform.solvers.fem.mesh import distribute


def main() -> None:
    """Measure, print a table, write the results."""
    torch.set_num_threads(1)
    figures = [fem_solve(128), *poisson_3d(48), command(32), weak_residual(128, batch=16)]
    write("speed_cpu", figures)
    for each in figures:
        times = f"{each['ours_s']:.4g} s, {each['floor']} {each['floor_s']:.4g} s"
        print(f"{each['name']}: {times}, ratio {each['ratio']:.2f}")


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

    return compare(f"FEM solve, Poisson P1, {cells}^2 cells", ours, "hand-written DOLFINx", by_hand)


def poisson_3d(cells: int) -> list[dict[str, Any]]:
    """Assembly and solve of Poisson P1 in the cube, by libraries in processes of their own; and on two ranks."""
    installed = [name for name, module in OTHERS.items() if importlib.util.find_spec(module)]
    rounds = [{name: _other(name, cells) for name in ["variform", *installed]} for _ in range(2)]
    best = {name: min((r[name] for r in rounds), key=lambda r: r["assemble_and_solve_s"]) for name in rounds[0]}
    ours = best.pop("variform")
    what = f"assembly and solve, Poisson P1, {cells}^3 cells"
    figures = [
        figure(what, ours["assemble_and_solve_s"], name, other["assemble_and_solve_s"])
        | {"relative_l2": ours["relative_l2"], "floor_relative_l2": other["relative_l2"], "version": other["version"]}
        for name, other in best.items()
    ]
    two = min((_other("variform", cells, ranks=2) for _ in range(2)), key=lambda r: r["assemble_and_solve_s"])
    name = f"{what}, two ranks"
    return [*figures, figure(name, two["assemble_and_solve_s"], "one rank", ours["assemble_and_solve_s"])]


OTHERS = {"dolfinx": "dolfinx", "ngsolve": "ngsolve", "scikit-fem": "skfem"}
"""Libraries of `variform.benchmarks.others`, and the modules that tell whether they are installed."""


def _other(name: str, cells: int, ranks: int = 1) -> dict[str, Any]:
    launcher = [str(Path(sys.executable).with_name("mpiexec")), "-n", str(ranks)] if ranks > 1 else []
    command = [*launcher, sys.executable, "-m", "variform.benchmarks.others", name, str(cells)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(run.stdout.splitlines()[-1])


BARE = """
import dolfinx_solver, h5py, ufl
from dolfinx import fem, mesh
from dolfinx.fem import petsc
from mpi4py import MPI

m = mesh.create_unit_square(MPI.COMM_WORLD, {n}, {n})
m.topology.create_connectivity(1, 2)
V = fem.functionspace(m, ("Lagrange", 1))
u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
bc = fem.dirichletbc(0.0, fem.locate_dofs_topological(V, 1, mesh.exterior_facet_indices(m.topology)), V)
a, L = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, fem.Constant(m, 1.0) * v * ufl.dx
options = {{"ksp_type": "cg", "pc_type": "gamg", "ksp_rtol": 1e-10}}
petsc.LinearProblem(a, L, bcs=[bc], petsc_options_prefix="bare_", petsc_options=options).solve()
"""


def command(cells: int) -> dict[str, Any]:
    """The whole command, with its pictures and files, against a script that only solves; caches warm."""
    with tempfile.TemporaryDirectory() as folder:
        solve = [str(Path(sys.executable).with_name("variform")), "solve", "poisson", "--mesh", str(cells), "--out"]
        # Whoever runs this without bytecode (PYTHONDONTWRITEBYTECODE) would measure Python's compiler.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        count = iter(range(1000))

        def run(words: list[str]) -> None:
            subprocess.run(words, check=True, capture_output=True, env=environment)

        return compare(
            f"variform solve poisson --mesh {cells}, the process",
            lambda: run([*solve, f"{folder}/{next(count)}"]),
            "bare DOLFINx script",
            lambda: run([sys.executable, "-c", BARE.format(n=cells)]),
        )


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
    return compare(name, lambda: weak.residual({"h": u}, p={"heterogeneity": a}), "DOLFINx's C kernel", assembled)


if __name__ == "__main__":
    main()
