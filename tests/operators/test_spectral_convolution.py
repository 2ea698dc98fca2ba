"""Spectral convolutions by matrix products: the library's function where that is right, and the right one elsewhere."""

import itertools

import numpy as np
import pytest
import torch
from neuralop.layers.spectral_convolution import SpectralConv

from variform.operators.networks import Layout, Support, build
from variform.operators.networks.spectral import SpectralConvolution


def both(modes, **more):
    made = []
    for kind in (SpectralConv, SpectralConvolution):
        torch.manual_seed(0)
        made.append(kind(3, 4, modes, **more))
    return made


@pytest.mark.parametrize(
    ("grid", "modes"),
    [((40,), (16,)), ((41,), (16,)), ((20, 22), (12, 11)), ((8, 21), (12, 12)), ((16, 12, 14), (6, 5, 6))],
)
def test_it_is_the_function_of_the_library_where_axes_before_the_last_are_even(grid, modes):
    theirs, ours = both(modes)
    x = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(1)).requires_grad_()
    a, b = theirs(x), ours(x)
    assert torch.allclose(a, b, rtol=0, atol=2e-6 * float(a.detach().abs().max()))
    gradients = [torch.autograd.grad(y.square().sum(), [x, *kind.parameters()]) for y, kind in ((a, theirs), (b, ours))]
    for g, h in zip(*gradients, strict=True):
        assert torch.allclose(g, h, rtol=0, atol=1e-5 * float(g.abs().max()))


def plainly(u, weight, bias, kept):
    """sum over the kept k of W_k u_hat_k exp(2 pi i k.x / N), frequency by frequency, of one sample."""
    N = u.shape[1:]
    u_hat, total = np.fft.fftn(u, axes=range(1, u.ndim), norm="forward"), 0.0
    lower = [range(-(m // 2), m - m // 2) for m in kept[:-1]]
    x = np.meshgrid(*[np.arange(n) / n for n in N], indexing="ij")
    for place in itertools.product(*map(enumerate, lower), enumerate(range(kept[-1]))):
        at, k = zip(*place, strict=True)
        v = np.einsum("io,i->o", weight[(slice(None), slice(None), *at)], u_hat[(slice(None), *k)])
        wave = np.exp(2j * np.pi * sum(f * axis for f, axis in zip(k, x, strict=True)))
        twice = 1 if k[-1] == 0 or 2 * k[-1] == N[-1] else 2
        total = total + twice * np.real(v.reshape(-1, *[1] * len(N)) * wave)
    return total + bias


@pytest.mark.parametrize("grid", [(9, 12), (8, 7), (9, 7)])
def test_frequencies_are_right_on_odd_grids_and_double_precision_stays_double(grid):
    _, ours = both((5, 6))
    x = torch.randn(1, 3, *grid, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ours.weight.tensor.data = ours.weight.tensor.data.to(torch.complex128)
    ours.bias.data = ours.bias.data.double()
    weight, bias = ours.weight.tensor.detach().numpy(), ours.bias.detach().numpy()
    expected = plainly(x[0].numpy(), weight, bias, (5, 4))
    assert np.abs(ours(x)[0].detach().numpy() - expected).max() < 1e-13 * np.abs(expected).max() * 10


def test_another_output_grid_samples_the_same_function():
    _, ours = both((6, 6))
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    fine = ours(x, output_shape=(32, 48))
    assert torch.allclose(fine[..., ::2, ::3], ours(x), atol=1e-4)


def test_layers_that_halve_the_grid_keep_the_negative_frequencies_too():
    """The library's cut them off along all axes but the last, in its U-shaped network."""
    theirs, ours = both((6, 6), resolution_scaling_factor=[0.5, 0.5])
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    half = ours(x)
    assert torch.allclose(half, ours(x, output_shape=(16, 16))[..., ::2, ::2], atol=1e-5)
    assert not torch.allclose(theirs(x), half, atol=1e-2 * float(half.detach().abs().max()))
    layers = build("uno", Layout(1, 1, 2, (True, True)), {"modes": 6, "width": 8}).modules()
    kinds = {type(layer) for layer in layers if isinstance(layer, SpectralConv)}
    assert kinds == {SpectralConvolution}


def test_fields_of_odd_and_even_grids_give_one_function():
    """A band-limited input on 20 and 25 points: outputs agree where the points do."""
    torch.manual_seed(0)
    network = build("fno", Layout(1, 1, 2, (True, True)), {"modes": 6, "width": 8, "depth": 1})
    found = []
    for n in (20, 25):
        x = torch.arange(n) / n
        x, y = torch.meshgrid(x, x, indexing="ij")
        u = torch.sin(2 * np.pi * x) * torch.cos(4 * np.pi * y) + torch.cos(2 * np.pi * (x + y))
        found.append(network(u[None, None], Support(torch.stack([x, y])[None]))[0, 0, :: n // 5, :: n // 5])
    assert torch.allclose(*found, atol=1e-5)


@pytest.mark.parametrize("name", ["fno", "tfno", "codano"])
def test_networks_are_those_of_the_library_on_even_grids(name, monkeypatch):
    torch.manual_seed(0)
    network = build(name, Layout(1, 1, 2, (True, True)), {"modes": 6, "width": 8})
    u, x = torch.randn(2, 1, 24, 32), torch.rand(1, 2, 24, 32)
    ours, calls, plain = network(u, Support(x)), [], SpectralConv.forward
    monkeypatch.setattr(SpectralConvolution, "forward", lambda *given, **more: calls.append(1) or plain(*given, **more))
    theirs = network(u, Support(x))
    assert calls and torch.allclose(ours, theirs, atol=1e-5 * float(theirs.detach().abs().max()))
