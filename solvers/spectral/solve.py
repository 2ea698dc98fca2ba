"""Evolutions on periodic boxes by Fourier pseudo-spectral methods with ETDRK4 in time."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from variform.errors import ComputationError, InputError, unknown
from variform.evolution import Evolution
from variform.forms import values
from variform.grid import GridSolution
from variform.meshes import Box
from variform.problem import Problem
from variform.solution import Cost
from variform.solvers.spectral.etdrk4 import Etdrk2, Etdrk4
from variform.solvers.spectral.imex import Imex3
from variform.solvers.spectral.periodic import PeriodicBox

Progress = Callable[[float, str], None]
"""Called with the fraction done and what is being done."""

SCHEMES = {"etdrk4": Etdrk4, "etdrk2": Etdrk2, "imex3": Imex3}

PAUSE = 0.05
"""Least time between two reports of progress [s]."""


def solve(
    task: Evolution,
    *,
    resolution: int = 64,
    steps: int = 100,
    snapshots: int = 1,
    scheme: str = "etdrk4",
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> GridSolution:
    """Solve one evolution in double precision; the error is O(dt^4) and spectral in the grid for smooth u.

    Args:
        resolution: points along each axis, even.
        steps: equal time steps; problems without N(u) are exact for any number.
        snapshots: equally spaced times to keep, after the first time, which is kept too; divides `steps`.
        scheme: in time: etdrk4, etdrk2 or imex3, named with their orders.
        progress: called some 20 times a second at most.
        device: where to compute.

    Raises:
        InputError: the task is no Evolution, or an argument is not allowed.
        ComputationError: values became infinite or NaN.
    """
    start = time.perf_counter()
    _check(task, steps, snapshots)
    box = _cubic_box(task, resolution, device)
    u0 = _initial_values(task, box)
    ready = time.perf_counter()
    with torch.no_grad():
        u = (
            integrate(task, u0[None], steps=steps, snapshots=snapshots, scheme=scheme, progress=progress)[0]
            .cpu()
            .numpy()
        )
    end = time.perf_counter()
    values = {
        name: u[:, channels].reshape(len(u), *task.fields[name].shape, *box.shape)
        for name, channels in task.channels.items()
    }
    return GridSolution(
        values=values,
        times=np.linspace(*task.time, snapshots + 1),
        lower=box.lower,
        upper=box.upper,
        periodic=True,
        mesh=Box(box.lower, box.upper).mesh(resolution),
        cost=Cost(
            wall_s=end - start,
            stages={"set up": ready - start, "step": end - ready},
            dofs=u0.numel(),
            peak_memory_mb=_peak_memory_mb(box.device),
        ),
        discretization={
            "method": "spectral",
            "scheme": scheme,
            "resolution": resolution,
            "steps": steps,
            "dealiasing": "2/3 of N(u)",
            "device": str(box.device),
        },
    )


def integrate(
    task: Evolution,
    u0: Tensor,
    p: SimpleNamespace | Sequence[SimpleNamespace] | None = None,
    *,
    steps: int,
    snapshots: int = 1,
    scheme: str = "etdrk4",
    time: tuple[float, float] | None = None,
    mark: bool = False,
    progress: Progress | None = None,
) -> Tensor:
    """Step a batch at once, in the precision and on the device of its initial values.

    Args:
        u0: values at the first time, shape (B, C, *N), N even.
        p: parameters of all samples, or of each, which must then be numbers (functions, which initial values may
            need, are not handed on); those of the task by default.
        steps, snapshots, scheme, progress: as in `solve`.
        time: first and last time [s]; those of the task by default.
        mark: samples whose values are lost end as NaN, and the others go on.

    Returns:
        Trajectories, shape (B, snapshots + 1, C, *N), beginning with u0.

    Raises:
        InputError: an argument is not allowed.
        ComputationError: values became infinite or NaN; the message gives the step and the samples.
    """
    _check(task, steps, snapshots)
    if scheme not in SCHEMES:
        raise unknown("time scheme", scheme, SCHEMES)
    begin, end = time or task.time
    p = task.p if p is None else p
    each = [p] if isinstance(p, SimpleNamespace) else list(p)
    box = _batch_box(task, each, u0)
    u, shared = u0.movedim(1, 0), each[0] if len(each) == 1 else _stacked(each, u0)
    N = _nonlinear(task, box, shared, u)
    dt = (end - begin) / steps
    stepper = SCHEMES[scheme].of(torch.stack([_linear(task, box, q, len(u)) for q in each], dim=1), dt, u0.dtype)
    report = _throttled(progress)
    v, kept = box.fft(u), [u]
    for i in range(1, steps + 1):
        start = begin + (i - 1) * dt
        v = stepper.step(v, None if N is None else lambda u_hat, c, t=start: N(u_hat, t + c * dt))
        if not mark and not torch.isfinite(v).all():
            raise ComputationError(
                f"values of {task.name} are not finite after step {i} of {steps}, t = {begin + i * dt:g} s"
                f"{_samples_lost(v)}; take more steps, for example {4 * steps}"
            )
        if i % (steps // snapshots) == 0:
            kept.append(box.ifft(v))
        report(i / steps, f"step {i} of {steps}")
    return torch.stack(kept).movedim(2, 0)


def _check(task: Evolution, steps: int, snapshots: int) -> None:
    if not isinstance(task, Evolution):
        raise InputError(
            f"the spectral method cannot solve {getattr(task, 'name', task)}: it needs a variform.evolution.Evolution, "
            "which has a periodic box and linear(k, p)"
        )
    if task.time is None or not task.time[0] < task.time[1]:
        raise InputError(f"time of {task.name} must be (first, last) with first < last, got {task.time}")
    for name, value in (("steps", steps), ("snapshots", snapshots)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number, 1 or more, got {value}")
    if steps % snapshots:
        raise InputError(f"steps must be a multiple of snapshots, got {steps} steps and {snapshots} snapshots")


def _cubic_box(task: Evolution, resolution: int, device: str | torch.device) -> PeriodicBox:
    """As many points along each axis."""
    if not isinstance(resolution, int) or resolution < 4 or resolution % 2:
        raise InputError(f"resolution must be even and 4 or more, got {resolution}")
    try:
        torch.zeros(1, device=device)
    except (AssertionError, RuntimeError) as error:
        raise InputError(f"device {str(device)!r} is not available: {str(error).splitlines()[0]}") from error
    lower, upper = task.box(task.p)
    return PeriodicBox(tuple(lower), tuple(upper), (resolution,) * len(lower), torch.device(device))


def _batch_box(task: Evolution, each: list[SimpleNamespace], u0: Tensor) -> PeriodicBox:
    """The grid of a batch whose initial values fit task and parameters."""
    corners = {tuple(map(tuple, task.box(q))) for q in each}
    if len(corners) > 1:
        raise InputError(f"the samples of a batch must share one box, got {sorted(corners)}")
    if len(each) not in (1, len(u0)):
        raise InputError(f"{len(u0)} samples need as many sets of parameters or one, got {len(each)}")
    lower, upper = corners.pop()
    N = tuple(u0.shape[2:])
    if u0.shape[1] != _num_channels(task) or len(N) != len(lower) or any(n % 2 or n < 4 for n in N):
        raise InputError(
            f"initial values of {task.name} must have {_num_channels(task)} components on a grid of dimension "
            f"{len(lower)} with even sides of 4 or more, got shape {tuple(u0.shape[1:])}"
        )
    if u0.dtype not in (torch.float32, torch.float64) or not torch.isfinite(u0).all():
        raise InputError(f"initial values of {task.name} must be finite and float32 or float64, got {u0.dtype}")
    return PeriodicBox(lower, upper, N, u0.device)


def _initial_values(task: Evolution, box: PeriodicBox) -> Tensor:
    """Shape (C, *N)."""
    shape = (_num_channels(task), *box.shape)
    if isinstance(task, Problem) and type(task).initial_values is Evolution.initial_values:
        by_field = values(task, lambda x, t, p: task.initial(x, p), box.x.to(torch.float64))
        u0 = torch.cat([by_field[name].reshape(-1, *box.shape) for name in task.fields])
    else:
        u0 = torch.as_tensor(task.initial_values(box.x, task.p), device=box.device)
    if u0.shape != shape:
        raise InputError(f"initial_values(x, p) of {task.name} must have shape {shape}, got {tuple(u0.shape)}")
    return u0.to(torch.float64)


def _num_channels(task: Evolution) -> int:
    return max(channels.stop for channels in task.channels.values())


def _stacked(each: list[SimpleNamespace], u0: Tensor) -> SimpleNamespace:
    """The numbers among the parameters of all samples as arrays (B, 1, ...)."""
    numbers = [name for name, value in vars(each[0]).items() if isinstance(value, float)]
    return SimpleNamespace(
        **{name: u0.new_tensor([getattr(q, name) for q in each]).reshape(-1, *[1] * (u0.ndim - 2)) for name in numbers}
    )


def _linear(task: Evolution, box: PeriodicBox, p: SimpleNamespace, C: int) -> Tensor:
    """The symbol of L, shape (C, *M)."""
    L, shape = box.symbol(lambda k: task.linear(k, p)), box.k.shape[1:]
    try:
        return L.broadcast_to(C, *shape)
    except RuntimeError:
        raise InputError(
            f"linear(k, p) of {task.name} must have the shape of k[0], {tuple(shape)}, after {C} components if they "
            f"differ; got {tuple(L.shape)}"
        ) from None


def _nonlinear(
    task: Evolution, box: PeriodicBox, p: SimpleNamespace, u0: Tensor
) -> Callable[[Tensor, float], Tensor] | None:
    """N as a map of coefficients (C, B, *M) and time, from and to the resolved modes only; None if there is none."""
    grad, x = box.gradient(u0.dtype), box.x.to(u0.dtype)
    on_grid = (
        _shaped(task, "nonlinear(u, p, grad)", task.nonlinear(u0, p, grad), u0.shape) is not None,
        _shaped(task, "flux(u, p)", task.flux(u0, p), (box.dim, *u0.shape)) is not None,
    )
    u_hat = box.fft(u0)
    in_space = _shaped(task, "coefficients(u_hat, p, box)", task.coefficients(u_hat, p, box), u_hat.shape) is not None
    steady, driven = task.forcing(x, p), task.drive(x, 0.0, p) is not None
    if steady is None and not driven and not any(on_grid) and not in_space:
        return None

    def source(f: Tensor) -> Tensor:
        """Coefficients of a force, (C, *grid) or (C, B, *grid)."""
        return box.fft((f[:, None] if f.ndim == u0.ndim - 1 else f).to(u0.dtype))

    force = None if steady is None else source(steady)

    def N(u_hat: Tensor, t: float) -> Tensor:
        known = box.resolved * u_hat
        total = torch.zeros_like(u_hat) if force is None else force.expand_as(u_hat)
        if any(on_grid):
            u = box.ifft(known)
            if on_grid[0]:
                total = total + box.fft(task.nonlinear(u, p, grad))
            if on_grid[1]:
                total = total - (box.derivatives(u_hat) * box.fft(task.flux(u, p))).sum(0)
        if in_space:
            total = total + task.coefficients(known, p, box)
        if driven:
            total = total + source(task.drive(x, t, p))
        return box.resolved * total

    return N


def _shaped(task: Evolution, name: str, value: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    if value is not None and value.shape != shape:
        raise InputError(f"{name} of {task.name} must have shape {tuple(shape)}, got {(*value.shape,)}")
    return value


def _samples_lost(v: Tensor) -> str:
    """Which samples of a batch (C, B, ...) are no longer finite."""
    if v.shape[1] == 1:
        return ""
    lost = (~torch.isfinite(v)).movedim(1, 0).flatten(1).any(dim=1).nonzero()
    return f", in samples {', '.join(map(str, lost.flatten().tolist()))}"


def _throttled(progress: Progress | None) -> Progress:
    """Leaves out reports that follow the last one too soon; the end is always reported."""
    last = -math.inf

    def report(fraction: float, text: str) -> None:
        nonlocal last
        if progress is not None and (fraction == 1 or time.perf_counter() - last >= PAUSE):
            last = time.perf_counter()
            progress(fraction, text)

    return report


def _peak_memory_mb(device: torch.device) -> float:
    """Of the device, or of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
