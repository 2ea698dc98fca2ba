"""How fast data are generated and loaded: against the solver alone, and against the generator of the literature.

Run: python -m variform.benchmarks.data [--quick]; writes results/data_cpu.json.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from variform import data
from variform.benchmarks import timing
from variform.data.loader import Windows, loader
from variform.data.recipes import find
from variform.data.solved import prepare
from variform.problems import load
from variform.solvers.spectral import integrate


def generation(quick: bool) -> dict[str, Any]:
    """Two-phase Darcy flow: the rows of the store against the solves that are in them."""
    plan = data.plan_of("darcy", 64, resolution=33 if quick else 64, batch=32)
    solved = prepare(find("darcy").population(plan), plan)
    indices = range(32)
    p = solved.parameters([solved.population.instance(plan.seed, i) for i in indices])

    def alone() -> None:
        solved.solver.forget()
        with torch.no_grad():
            solved.solver.solve(p, rtol=plan.rtol)

    return timing.compare("darcy, 32 samples generated", lambda: solved.rows(indices), "batched solve", alone, 3)


def loading(quick: bool) -> list[dict[str, Any]]:
    """Windows of 10 frames and 10 frames of 64^2 points, in random order."""
    count, n = (8, 32) if quick else (64, 64)
    frames = np.random.default_rng(0).standard_normal((count, 51, n, n)).astype(np.float32)
    axes = [np.arange(n) / n] * 2
    whole = data.Dataset.of("frames", axes, {}, {"w": frames}, times=np.arange(51.0))
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames.h5"
        data.write(path, whole)
        windows = Windows(data.read(path), frames=10, ahead=10)
        for workers in (0, 1, 2):
            batches = loader(windows, 20, workers=workers)
            next(iter(batches))  # the processes start
            least, most, samples, size, start = math.inf, 0.0, 0, 0, time.perf_counter()
            for number, (x, y) in enumerate(batches):
                samples, size = samples + len(x), size + x.nbytes + y.nbytes
                if number % 10 == 9:
                    memory = _memory_mb()
                    least, most = min(least, memory), max(most, memory)
            seconds = time.perf_counter() - start
            figures.append(
                {
                    "name": f"loader, {workers} workers",
                    "samples_per_s": samples / seconds,
                    "mb_per_s": size / seconds / 1e6,
                    "memory_mb": most,
                    "growth_of_memory_mb": most - least,
                    "file_mb": path.stat().st_size / 1e6,
                }
            )
    return figures


def _memory_mb() -> float:
    """Of this process and the loader's, each page once: /proc's proportional set size."""
    pids = [os.getpid(), *(process.pid for process in multiprocessing.active_children())]
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")) / 1024


def vorticity(quick: bool) -> dict[str, Any]:
    """Navier-Stokes, nu = 1e-3, 64^2 points, 20 samples: ETDRK4 with the longest step that is no less accurate."""
    n, batch, end = (32, 4, 0.1) if quick else (64, 20, 0.5)
    kind = load("navier_stokes_vorticity")
    task = type("Short", (kind,), {"time": (0.0, end)})()
    x = np.stack(np.meshgrid(*[np.arange(n) / n] * 2, indexing="ij"))
    w0 = torch.as_tensor(np.stack([np.asarray((s := task.sample(0, i)).initial_values(x, s.p)) for i in range(batch)]))
    exact = integrate(task, w0, steps=round(end * 800))[:, -1, 0]

    def error(w: torch.Tensor) -> float:
        return float(((w - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).mean())

    start = time.perf_counter()
    theirs = error(crank_nicolson(w0[:, 0], 1e-3, end, 1e-4, torch.as_tensor(x)))
    theirs_s = time.perf_counter() - start
    for steps in (math.ceil(end * k) for k in (10, 20, 30, 40, 50, 75, 100, 200)):
        start = time.perf_counter()
        ours = error(integrate(task, w0, steps=steps)[:, -1, 0])
        ours_s = time.perf_counter() - start
        if ours <= theirs:
            break
    result = timing.figure(f"vorticity {n}^2, {batch} samples to t = {end:g}", ours_s, "Crank-Nicolson", theirs_s)
    return result | {"dt": end / steps, "error": ours, "floor_error": theirs, "floor_dt": 1e-4}


def crank_nicolson(w: torch.Tensor, nu: float, end: float, dt: float, x: torch.Tensor) -> torch.Tensor:
    """Crank-Nicolson for diffusion, Euler for advection and force, two thirds of the modes; (B, N, N) at the end.

    Written from the description in Li et al. 2021 (arXiv:2010.08895), appendix A.3.3.
    """
    n = w.shape[-1]
    k = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    kx, ky = torch.meshgrid(k, k[: n // 2 + 1].abs(), indexing="ij")
    square = 4 * math.pi**2 * (kx**2 + ky**2)
    inverse = torch.where(square > 0, 1 / square.clamp(min=1.0), 0.0)
    resolved = (3 * kx.abs() < n) & (3 * ky < n)
    ikx, iky = 2j * math.pi * kx * resolved, 2j * math.pi * ky * resolved
    phase = 2 * math.pi * (x[0] + x[1])
    f = torch.fft.rfft2(0.1 * (phase.sin() + phase.cos()))
    low, high = 1 - dt * nu / 2 * square, 1 / (1 + dt * nu / 2 * square)
    w = torch.fft.rfft2(w)
    for _ in range(round(end / dt)):
        psi = inverse * w
        u, v, w_x, w_y = torch.fft.irfft2(torch.stack([iky * psi, -ikx * psi, ikx * w, iky * w]), s=(n, n))
        w = high * (low * w + dt * (f - resolved * torch.fft.rfft2(u * w_x + v * w_y)))
    return torch.fft.irfft2(w, s=(n, n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    figures = [generation(quick), vorticity(quick), *loading(quick)]
    for found in figures:
        print({key: round(v, 6) if isinstance(v, float) else v for key, v in found.items()})
    if not quick:
        timing.write("data_cpu", figures)


if __name__ == "__main__":
    main()
