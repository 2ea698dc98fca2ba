"""The figures of the torch weak form and of the batched solver on a GPU, in one run of a few minutes.

    python benchmarks/gpu.py [--device cuda] [--quick]

Runs from a checkout, without installation, and needs torch, h5py, fenics-ufl, fenics-basix, numpy and scipy only. The
record results/gpu_DEVICE.json is written after every figure, so that an interrupted run leaves what it measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("meshes", "problems", "solvers", "data", "operators", "benchmarks")
PACKAGES = ("torch", "numpy", "scipy", "h5py", "fenics-ufl", "fenics-basix")
LIMIT_S = 450
"""No further figure is begun after that."""


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """The folders of the checkout under the names they install as."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "variform"
        package.mkdir()
        for path in [*(ROOT / "variform").iterdir(), *(ROOT / name for name in FOLDERS)]:
            (package / path.name).symlink_to(path)
        # Run as a script, this folder is on the path, and its modules would hide others.
        sys.path[:] = [folder, *(p for p in sys.path if Path(p or ".").resolve() != ROOT / "benchmarks")]
        yield


def main() -> None:
    """Measure everything, write the record after each figure, print it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--quick", action="store_true", help="small batches: to see that it runs")
    arguments.add_argument("--out", type=Path, help="the record; results/gpu_DEVICE.json by default")
    options = arguments.parse_args()
    begin = time.perf_counter()
    with importable():
        import torch

        device = torch.device(options.device)
        path = (
            options.out
            or ROOT / "benchmarks" / "results" / f"gpu_{device.type}{'_quick' if options.quick else ''}.json"
        )
        record = {"environment": _environment(device), "quick": options.quick, "figures": []}
        batches = (16,) if options.quick else (16, 256, 4096)
        solves = (32,) if options.quick else (256, 2048, 8192)
        bandwidth = copy_bandwidth(device, options.quick)
        jobs: list[Callable[[], dict[str, Any]]] = [
            lambda: {"name": "copy bandwidth", "bytes_s": bandwidth},
            *((lambda b=b: weak_residual(device, b, bandwidth)) for b in batches),
            lambda: weak_residual(torch.device("cpu"), 16, None),
            *((lambda b=b: jacobian(device, b, bandwidth)) for b in batches[:2]),
            *((lambda b=b: darcy(device, b)) for b in solves),
            *((lambda b=b: vorticity(device, b)) for b in batches),
            *((lambda b=b: generation(device, b)) for b in solves[:2]),
            lambda: loading(device, options.quick),
        ]
        for job in jobs:
            if time.perf_counter() - begin > LIMIT_S:
                record["stopped_after_s"] = time.perf_counter() - begin
                break
            try:
                figure = job()
            except Exception as error:  # a figure that fails must not cost the others
                figure = {"failed": f"{type(error).__name__}: {str(error)[:500]}"}
            record["figures"].append(figure)
            record["wall_s"] = time.perf_counter() - begin
            _write(path, record)
            print(json.dumps(figure), flush=True)
        print(f"{path}: {time.perf_counter() - begin:.0f} s")


def copy_bandwidth(device: Any, quick: bool) -> float:
    """Bytes read and written a second by a copy of 1 GB (64 MB if quick)."""
    import torch

    x = torch.zeros((8 if quick else 128) * 2**20, dtype=torch.float64, device=device)
    y = torch.empty_like(x)
    return 2 * x.nbytes / _seconds(lambda: y.copy_(x), device)


def weak_residual(device: Any, batch: int, bandwidth: float | None) -> dict[str, Any]:
    """Nonlinear diffusion, 128^2 cells, P1, float64, compiled. Bytes: each state read, each residual written once."""
    import torch

    from variform.benchmarks.cases import NonlinearDiffusion
    from variform.forms import CompiledForm, WeakForm

    problem = NonlinearDiffusion()
    weak = WeakForm(problem, problem.geometry(problem.p).mesh(128), device=device)
    u = {"u": torch.randn(batch, *weak.shapes["u"], dtype=torch.float64, device=device)}
    form = CompiledForm(weak)
    error = (form.residual(u)["u"] - weak.residual(u)["u"]).abs().max()
    seconds = _seconds(lambda: form.residual(u), device)
    moved = 2 * u["u"].nbytes
    return {
        "name": f"weak residual, nonlinear diffusion 128^2 P1, batch {batch}, compiled, {device.type}",
        "seconds_a_sample": seconds / batch,
        "difference_to_eager": float(error),
        "least_bytes_s": moved / seconds,
        "part_of_copy_bandwidth": None if bandwidth is None else moved / seconds / bandwidth,
    }


def jacobian(device: Any, batch: int, bandwidth: float) -> dict[str, Any]:
    """Entries of the matrices of nonlinear diffusion. Bytes: states read, entries written once."""
    import torch

    from variform.benchmarks.cases import NonlinearDiffusion
    from variform.forms import WeakForm

    problem = NonlinearDiffusion()
    weak = WeakForm(problem, problem.geometry(problem.p).mesh(128), device=device)
    u = {"u": torch.randn(batch, *weak.shapes["u"], dtype=torch.float64, device=device)}
    values = weak.linearised(u)
    seconds = _seconds(lambda: weak.linearised(u), device)
    moved = u["u"].nbytes + values.nbytes
    return {
        "name": f"Jacobian entries, nonlinear diffusion 128^2 P1, batch {batch}, {device.type}",
        "seconds_a_sample": seconds / batch,
        "least_bytes_s": moved / seconds,
        "part_of_copy_bandwidth": moved / seconds / bandwidth,
    }


def darcy(device: Any, batch: int) -> dict[str, Any]:
    """Two-phase flow, 128^2 cells, P1, relative residual 1e-8: assembly and solve."""
    import torch

    from variform.benchmarks.cases import TwoPhaseFlow, two_phase
    from variform.solvers.batched import BatchedSolver

    problem = TwoPhaseFlow()
    mesh = problem.geometry(problem.p).mesh(128)
    solver = BatchedSolver(problem, mesh, device=device)
    # Drawing fields takes longer than solving: 256 of them, repeated.
    K = torch.tensor(two_phase(mesh, 128, min(batch, 256)), device=device).repeat(-(-batch // 256), 1)[:batch]
    found: list[Any] = []

    def solve() -> None:
        found[:] = [solver.solve({"K": K}, rtol=1e-8)]

    seconds = _seconds(solve, device, repeats=3)
    result = found[0]
    iterations = float(result.linear_iterations.double().mean())
    n = solver.system.pattern.n
    side = round(n**0.5)
    flops = iterations * 8 * side**3  # four dense transforms an iteration, 2 n^(3/2) each; half that with symmetry
    return {
        "name": f"Darcy 128^2 two-phase P1, relative residual 1e-8, batch {batch}, {device.type}",
        "samples_s": batch / seconds,
        "converged": bool(result.converged.all()),
        "largest_residual": float(result.residual.max()),
        "iterations": iterations,
        "transform_gflop_a_sample_at_most": flops / 1e9,
    }


def vorticity(device: Any, batch: int) -> dict[str, Any]:
    """Navier-Stokes, 64^2 points, float64, ETDRK4: time for one step of a sample, and against the bytes of its FFTs.

    A step has four stages of five transforms each; each reads and writes its array at least once.
    """
    import torch

    from variform.problems import load
    from variform.solvers.spectral import integrate

    n, steps = 64, 20
    task = type("Short", (load("navier_stokes_vorticity"),), {"time": (0.0, 0.02 * steps)})()
    w = torch.randn(batch, 1, n, n, dtype=torch.float64, device=device)
    seconds = _seconds(lambda: integrate(task, w, steps=steps), device, repeats=3)
    return {
        "name": f"vorticity 64^2, ETDRK4, batch {batch}, {device.type}",
        "steps_a_second": batch * steps / seconds,
        "least_bytes_s": 4 * 5 * 2 * w.nbytes * steps / seconds,
    }


def generation(device: Any, batch: int) -> dict[str, Any]:
    """Rows of the store of two-phase Darcy flow, residuals included, against the solves that are in them."""
    import torch

    from variform import data
    from variform.data.recipes import find
    from variform.data.solved import prepare

    plan = data.plan_of("darcy", batch, resolution=64, batch=batch, device=device.type)
    solved = prepare(find("darcy").population(plan), plan)
    p = solved.parameters([solved.population.instance(plan.seed, i) for i in range(batch)])

    def alone() -> None:
        solved.solver.forget()
        with torch.no_grad():
            solved.solver.solve(p, rtol=plan.rtol)

    seconds, floor = (_seconds(run, device, repeats=3) for run in (lambda: solved.rows(range(batch)), alone))
    return {
        "name": f"darcy generated, grid 64^2, batch {batch}, {device.type}",
        "samples_s": batch / seconds,
        "ratio_to_the_solve": seconds / floor,
    }


def loading(device: Any, quick: bool) -> dict[str, Any]:
    """Windows of 10 and 10 frames of 64^2 points from a file to the device, by two workers."""
    import numpy as np

    from variform import data
    from variform.data.loader import Windows, loader

    count, n = (8, 32) if quick else (64, 64)
    frames = np.random.default_rng(0).standard_normal((count, 51, n, n)).astype(np.float32)
    whole = data.Dataset.of("frames", [np.arange(n) / n] * 2, {}, {"w": frames}, times=np.arange(51.0))
    with tempfile.TemporaryDirectory() as folder:
        data.write(Path(folder) / "frames.h5", whole)
        batches = loader(Windows(data.read(Path(folder) / "frames.h5"), frames=10, ahead=10), 20, workers=2)
        next(iter(batches))  # the processes start
        samples, size, start = 0, 0, time.perf_counter()
        for x, y in batches:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            samples, size = samples + len(x), size + x.nbytes + y.nbytes
        if device.type == "cuda":
            import torch

            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return {
        "name": f"loader, 2 workers, to {device.type}",
        "samples_s": samples / seconds,
        "mb_s": size / seconds / 1e6,
    }


def _seconds(function: Callable[[], Any], device: Any, repeats: int = 9) -> float:
    """Median of runs that wait for the device, after one that does not count."""
    import torch

    def run() -> float:
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    run()
    return statistics.median(run() for _ in range(repeats))


def _environment(device: Any) -> dict[str, Any]:
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **{package: version(package) for package in PACKAGES},
    }


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
