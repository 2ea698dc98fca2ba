"""Speed of the torch weak form beside DOLFINx's C kernel, and of batched solves beside a loop of DOLFINx solves.

    python -m variform.benchmarks.batched

One thread each; medians of alternating runs. Results go to benchmarks/results/batched_cpu.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import variform.solvers.fem  # noqa: F401  # loads MPI and HDF5 in the right order

import numpy as np  # isort: skip
import torch
from dolfinx import fem
from dolfinx.fem import petsc
from petsc4py import PETSc

from variform.benchmarks.cases import NonlinearDiffusion, TwoPhaseFlow, two_phase
from variform.benchmarks.timing import compare, figure, write
from variform.forms import CompiledForm, WeakForm
from variform.solvers.batched import BatchedSolver
from variform.solvers.fem.discretize import JIT, discretize
from variform.solvers.fem.linear import GAMG
from variform.solvers.fem.mesh import distribute

CELLS, RTOL = 128, 1e-8
LOOP = 24
"""Samples that a DOLFINx loop is timed on."""

VARIANTS: dict[str, dict[str, Any]] = {
    "CG, GAMG of each matrix": {"ksp_type": "cg", **GAMG},
    "CG, GAMG with the first interpolation": {"ksp_type": "cg", **GAMG, "pc_gamg_reuse_interpolation": True},
    "CG, GAMG of the first matrix": {"ksp_type": "cg", **GAMG, "reuse": True},
    "CG, incomplete Cholesky": {"ksp_type": "cg", "pc_type": "icc"},
    "Cholesky, MUMPS": {"ksp_type": "preonly", "pc_type": "cholesky", "pc_factor_mat_solver_type": "mumps"},
}
"""Linear solvers of the loop; the fastest counts."""


def main() -> None:
    """Measure, print, write the results."""
    if sys.argv[1:]:  # one of two processes: how long the loop takes with this variant
        print(json.dumps(loop(sys.argv[1])))
        return
    torch.set_num_threads(1)
    figures = [*weak_residual(16), *darcy((1, 16, 256))]
    write("batched_cpu", figures)
    for entry in figures:
        ours, floor = (f"{1e3 * entry[key]:.4g} ms" for key in ("ours_s", "floor_s"))
        print(f"{entry['name']}: {ours}, {entry['floor']} {floor}, ratio {entry['ratio']:.2f}")


def weak_residual(batch: int) -> list[dict[str, Any]]:
    """Nonlinear diffusion, P1: the residuals of a batch, against as many assemblies by DOLFINx."""
    problem = NonlinearDiffusion()
    mesh = problem.geometry(problem.p).mesh(CELLS)
    weak = WeakForm(problem, mesh)
    form = CompiledForm(weak)
    u = torch.randn(batch, *weak.shapes["u"], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    discrete = discretize(problem, distribute(mesh))
    kernel = fem.form(discrete.residual(), jit_options=JIT)
    discrete.u["u"].x.array[:] = np.random.default_rng(0).standard_normal(len(discrete.u["u"].x.array))
    b = fem.create_vector(discrete.u["u"].function_space)

    def assembled() -> None:
        for _ in range(batch):
            b.array[:] = 0
            fem.assemble_vector(b.array, kernel)

    name = f"weak residual of {batch} samples, nonlinear diffusion P1, {CELLS}^2 cells"
    return [
        compare(f"{name}, torch {how}", lambda r=r: r({"u": u}), "DOLFINx's C kernel", assembled)
        for how, r in (("compiled", form.residual), ("eager", weak.residual))
    ]


def darcy(batches: tuple[int, ...]) -> list[dict[str, Any]]:
    """Two-phase flow, seconds a sample with assembly, at a relative residual of 1e-8."""
    times = {name: loop(name)["seconds_a_sample"] for name in VARIANTS}
    times = {name: t for name, t in times.items() if np.isfinite(t)}  # the others do not converge
    fastest = min(times, key=times.__getitem__)
    two = _two_processes(fastest)
    problem = TwoPhaseFlow()
    mesh = problem.geometry(problem.p).mesh(CELLS)
    solver = BatchedSolver(problem, mesh)
    K = torch.tensor(two_phase(mesh, CELLS, max(batches)))
    figures = []
    for batch in batches:
        found: list[Any] = []
        ours = _best(lambda batch=batch, found=found: found.append(solver.solve({"K": K[:batch]}, rtol=RTOL))) / batch
        what = f"Darcy two-phase P1, {CELLS}^2 cells, one of {batch} samples"
        more = {
            "samples_s": 1 / ours,
            "iterations": float(found[-1].linear_iterations.double().mean()),
            "largest_residual": float(found[-1].residual.max()),
            "converged": bool(found[-1].converged.all()),
        }
        floor = f"DOLFINx loop, {fastest}"
        figures.append(figure(what, ours, f"{floor}, one process", times[fastest]) | more | {"variants_s": times})
        figures.append(figure(what, ours, f"{floor}, two processes", two))
    return figures


def loop(variant: str, repeats: int = 2) -> dict[str, Any]:
    """Seconds a sample of assembling and solving one after the other, everything reused that can be."""
    problem = TwoPhaseFlow()
    mesh = problem.geometry(problem.p).mesh(CELLS)
    discrete = discretize(problem, distribute(mesh))
    (u,), k = discrete.u.values(), discrete.symbols.p.K
    F = discrete.residual()
    J = fem.form(petsc.derivative_block(F, u), jit_options=JIT)
    L = fem.form(F, jit_options=JIT)
    options = dict(VARIANTS[variant])
    reuse = options.pop("reuse", False)
    A, b, bcs = petsc.create_matrix(J), fem.create_vector(u.function_space), discrete.bcs
    ksp = PETSc.KSP().create()
    prefix = f"loop_{abs(hash(variant))}_"
    if options["ksp_type"] != "preonly":
        options |= {"ksp_rtol": RTOL, "ksp_norm_type": "unpreconditioned"}
    for key, value in options.items():
        PETSc.Options()[prefix + key] = value
    ksp.setOptionsPrefix(prefix)
    ksp.setOperators(A)
    ksp.setFromOptions()
    original = u.function_space.mesh.topology.original_cell_index
    fields = two_phase(mesh, CELLS, LOOP)[:, original]
    x, rhs = A.createVecLeft(), A.createVecLeft()

    def solve(field: np.ndarray) -> None:
        k.x.array[:] = field
        A.zeroEntries()
        petsc.assemble_matrix(A, J, bcs=bcs)
        A.assemble()
        u.x.array[:] = 0
        b.array[:] = 0
        fem.assemble_vector(b.array, L)
        for bc in bcs:
            bc.set(b.array, u.x.array, alpha=-1.0)
        rhs.array[:] = -b.array
        ksp.solve(rhs, x)

    solve(fields[0])
    if reuse:
        ksp.getPC().setReusePreconditioner(True)

    def run() -> None:
        for field in fields:
            solve(field)

    seconds = _best(run, repeats) / len(fields)
    residual = (A @ x - rhs).norm() / rhs.norm()
    failed = ksp.getConvergedReason() <= 0 or residual > 2 * RTOL
    return {"seconds_a_sample": float("inf") if failed else seconds, "residual": residual}


def _two_processes(variant: str) -> float:
    """Seconds a sample of two loops side by side."""
    command = [sys.executable, "-m", "variform.benchmarks.batched", variant]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    times = [
        json.loads(next(line for line in p.communicate()[0].splitlines() if line.startswith("{")))["seconds_a_sample"]
        for p in both
    ]
    return 1 / sum(1 / t for t in times)


def _best(function: Callable[[], Any], repeats: int = 3) -> float:
    """The fastest of some runs [s], after one that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
