"""Speed of network derivatives: the strong residual of Poisson's equation, forward and backward, beside DeepXDE's.

    python -m variform.benchmarks.networks

One 4 x 64 tanh network, 4096 points in the unit square, loss = mean of (-u_xx - u_yy - 1)^2 and its gradient in the
parameters, on one thread; medians of alternating runs of one process. DeepXDE is not a dependency: it is compared with
where it is installed (pip install deepxde). Results go to benchmarks/results/.
"""

from __future__ import annotations

import importlib.util
import io
import os
import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform import runs
from variform.forms.compiled import compiled
from variform.forms.jets import Laplacian, coordinates
from variform.forms.laplacian import only_laplacians, spread
from variform.forms.pointwise import At, PointwiseForm, names_of
from variform.problems.poisson import Poisson
from variform.solvers.neural.networks import MLP

RESULTS = Path(__file__).parent / "results"
REPEATS = 41
POINTS = 4096
NETWORK = MLP((2, 64, 64, 64, 64, 1))
Evaluation = Callable[[], tuple[Tensor, list[Tensor]]]
"""() -> the loss and its gradients by layer: matrix, bias, matrix, ..."""


def main() -> None:
    """Measure, print a table, write the results."""
    torch.set_num_threads(1)
    figures = [figure for dtype in (torch.float32, torch.float64) for figure in residual(dtype)]
    record = {"environment": {**runs.environment(), "threads": 1}, "created": runs.now(), "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    runs.write_json(RESULTS / "networks_cpu.json", record)
    for figure in figures:
        times = f"{1e3 * figure['ours_s']:.4g} ms, {figure['floor']} {1e3 * figure['floor_s']:.4g} ms"
        print(f"{figure['name']}: {times}, {figure['floor']} / ours {1 / figure['ratio']:.2f}")


def residual(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Ours, compiled and as it is, against DeepXDE and against autograd, as they are and compiled."""
    x = torch.as_tensor(np.random.default_rng(0).random((2, POINTS)), dtype=dtype)
    theta = NETWORK.initial(0, dtype)
    forward, apart, reverse = by_rules(x), by_rules(x, laplacian=False), by_autograd(x)
    evaluations = {
        "ours compiled": _at(compiled(forward, theta), theta),
        "u_xx and u_yy apart, compiled": _at(compiled(apart, theta), theta),
        "ours": _at(forward, theta),
        "autograd": _at(reverse, theta),
        "autograd compiled": _at(compiled(reverse, theta), theta),
    }
    if importlib.util.find_spec("deepxde"):
        evaluations["DeepXDE"] = deepxde(x, theta)
    _check_equal(evaluations)
    seconds = {name: statistics.median(times) for name, times in _alternating(evaluations).items()}
    kind = f"strong residual and its gradient, Poisson, {POINTS} points, 4 x 64 tanh, {str(dtype).split('.')[1]}"
    return [
        {"name": f"{kind}, {ours}", "ours_s": seconds[ours], "floor": floor, "floor_s": seconds[floor]}
        | {"ratio": seconds[ours] / seconds[floor]}
        for ours in ("ours compiled", "ours")
        for floor in seconds
        if not floor.startswith("ours")
    ]


def by_rules(x: Tensor, laplacian: bool = True) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """theta -> loss and gradient, by the form's strong residual, its second derivatives carried as one or apart."""
    problem = Poisson()
    form = PointwiseForm(problem, 2, *names_of(problem))
    strong = form.strong("u", 0)
    assert only_laplacians(form, [strong])
    inputs, at = coordinates(x, [Laplacian(2)] if laplacian else [(0, 0), (1, 1)]), At(x, {})

    def loss_and_gradient(theta: Tensor) -> tuple[Tensor, Tensor]:
        theta = theta.detach().requires_grad_()
        jet = {("u", (), key): value[0] for key, value in NETWORK.jet(theta, inputs).items()}
        loss = (form.evaluate(strong, spread(jet, 2), at)[()] ** 2).mean()
        return loss.detach(), torch.autograd.grad(loss, theta)[0]

    return loss_and_gradient


def by_autograd(x: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """theta -> loss and gradient, by two nested reverse passes, as most codes have it."""
    points = x.T.contiguous()

    def loss_and_gradient(theta: Tensor) -> tuple[Tensor, Tensor]:
        theta, z = theta.detach().requires_grad_(), points.detach().requires_grad_()
        h, layers = z, _layers(theta)
        for i, (weight, bias) in enumerate(layers):
            h = torch.nn.functional.linear(torch.tanh(h) if i else h, weight, bias)
        (slope,) = torch.autograd.grad(h.sum(), z, create_graph=True)
        second = [torch.autograd.grad(slope[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(2)]
        loss = ((-second[0] - second[1] - 1) ** 2).mean()
        return loss.detach(), torch.autograd.grad(loss, theta)[0]

    return loss_and_gradient


def deepxde(x: Tensor, theta: Tensor) -> Evaluation:
    """DeepXDE's own training loss (as `Model.train` calls it) at the same points and parameters, PyTorch back end."""
    os.environ["DDE_BACKEND"] = "pytorch"
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        import deepxde as dde

        dde.config.set_default_float(str(x.dtype).split(".")[1])

        def equation(z: Tensor, u: Tensor) -> Tensor:
            return -dde.grad.hessian(u, z, i=0, j=0) - dde.grad.hessian(u, z, i=1, j=1) - 1

        data = dde.data.PDE(dde.geometry.Rectangle([0, 0], [1, 1]), equation, [], num_domain=POINTS)
        network = dde.nn.FNN(list(NETWORK.sizes), "tanh", "Glorot normal")
        model = dde.Model(data, network)
        model.compile("adam", lr=1e-3)
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for linear, (weight, bias) in zip(network.linears, _layers(theta), strict=True):
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
    points = x.T.contiguous().numpy()

    def run() -> tuple[Tensor, list[Tensor]]:
        losses = model.outputs_losses_train(points, None, None)[1]
        loss = torch.sum(losses)
        model.opt.zero_grad()
        loss.backward()
        parameters = [p for linear in network.linears for p in (linear.weight, linear.bias)]
        return loss.detach(), [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    return run


def _layers(theta: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of each layer."""
    result, start = [], 0
    for rows, columns, _ in NETWORK.matrices:
        end = start + rows * columns
        result.append((theta[start:end].view(rows, columns), theta[end : end + rows]))
        start = end + rows
    return result


def _at(function: Callable[[Tensor], tuple[Tensor, Tensor]], theta: Tensor) -> Evaluation:
    def run() -> tuple[Tensor, list[Tensor]]:
        loss, gradient = function(theta)
        return loss, [gradient]

    return run


def _check_equal(evaluations: dict[str, Evaluation]) -> None:
    """All compute the same loss and gradient."""
    first, *others = (evaluate() for evaluate in evaluations.values())
    expected = first[1][0]
    rtol = 1e-3 if expected.dtype == torch.float32 else 1e-10
    for loss, gradients in others:
        gradient = torch.cat([g.reshape(-1) for g in gradients])
        assert abs(loss - first[0]) <= rtol * abs(first[0])
        assert (gradient - expected).abs().max() <= rtol * expected.abs().max()


def _alternating(evaluations: dict[str, Evaluation]) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in evaluations}
    for _ in range(REPEATS):
        for name, evaluate in evaluations.items():
            start = time.perf_counter()
            evaluate()
            times[name].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
