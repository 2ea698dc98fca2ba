"""Networks: shapes, gradients, symmetries that they have by construction, formulas by hand."""

import numpy as np
import pytest
import torch

from variform.errors import InputError
from variform.operators.losses import relative_l2
from variform.operators.networks import NETWORKS, Layout, Support, build, options_of
from variform.operators.networks.gino import Mean, Near
from variform.operators.networks.mamba import scan
from variform.operators.networks.meshgraph import MeshGraph, grid_edges
from variform.operators.networks.transolver import Slices

SMALL = {
    "fno": {"modes": 4, "width": 8, "depth": 2},
    "tfno": {"modes": 4, "width": 8, "depth": 2, "rank": 0.5},
    "uno": {"modes": 4, "width": 8},
    "codano": {"modes": 4, "width": 8, "depth": 2},
    "deeponet": {"width": 32, "depth": 3, "sensors": 5},
    "multionet": {"width": 32, "depth": 3, "sensors": 5},
    "unet": {"width": 8, "depth": 2},
    "transolver": {"width": 16, "depth": 2, "heads": 2, "slices": 8},
    "mamba": {"width": 16, "depth": 2, "slices": 8, "states": 4},
    "meshgraph": {"width": 16, "depth": 3},
    "gino": {"modes": 4, "width": 12, "depth": 2, "latent": 8, "kernel": 16},
    "polynomial": {},
    "pointwise": {"width": 16},
}
POINTWISE = ("polynomial", "pointwise")
"""They see one place alone: what they can fit is in test_closure.py."""
ON_MESHES = ("transolver", "mamba", "meshgraph", "gino")


def grid(*sizes, periodic=False):
    axes = [torch.arange(n) / n if periodic else torch.linspace(0, 1, n) for n in sizes]
    return Support(torch.stack(torch.meshgrid(*axes, indexing="ij"))[None])


def made(name, *, inputs=1, outputs=1, dim=2, periodic=False, seed=0, **options):
    torch.manual_seed(seed)
    return build(name, Layout(inputs, outputs, dim, (periodic,) * dim), {**SMALL[name], **options})


def cloud(count=30):
    """Points without order, and edges between near ones."""
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    near = torch.cdist(x, x).topk(4, largest=False).indices[:, 1:]
    ends = torch.stack([torch.arange(count).repeat_interleave(3), near.flatten()])
    return Support(x.T[None], torch.cat([ends, ends.flip(0)], dim=1))


def doubled(network):
    """In double precision; Module.double() leaves complex weights in single."""
    kinds = {True: torch.complex128, False: torch.float64}
    return network._apply(lambda t: t.to(kinds[t.is_complex()]) if t.is_complex() or t.is_floating_point() else t)


def test_every_network_is_tested():
    assert SMALL.keys() == NETWORKS.keys()


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_batch_channels_and_resolution_are_free(name, periodic):
    for dim, sizes in ((1, [(12,), (21,)]), (2, [(12, 12), (13, 18)])):
        network = made(name, inputs=2, outputs=3, dim=dim, periodic=periodic)
        for batch, N in zip((1, 3), sizes, strict=True):
            out = network(torch.randn(batch, 2, *N), grid(*N, periodic=periodic))
            assert out.shape == (batch, 3, *N) and torch.isfinite(out).all()


@pytest.mark.parametrize("name", ["fno", "codano", "unet", "deeponet", "transolver", "gino"])
def test_in_space_too(name):
    network = made(name, dim=3, **({"modes": 3} if "modes" in SMALL[name] else {}))
    assert network(torch.randn(1, 1, 8, 9, 10), grid(8, 9, 10)).shape == (1, 1, 8, 9, 10)


@pytest.mark.parametrize("name", ON_MESHES)
def test_on_meshes_the_order_of_points_does_not_matter(name):
    torch.manual_seed(0)
    network = doubled(build(name, Layout(1, 2, 2), SMALL[name]))
    support = cloud()
    x, u = support.x.double(), torch.randn(2, 1, 30, dtype=torch.float64)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    moved = Support(x[:, :, order], torch.argsort(order)[support.edges])
    there, here = network(u[:, :, order], moved), network(u, Support(x, support.edges))
    assert torch.allclose(there, here[:, :, order], atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_a_gradient(name):
    network = made(name)
    u = torch.randn(2, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    (network(u, grid(12, 12)) - 1).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in POINTWISE])
def test_four_smooth_samples_are_learned(name):
    line = np.linspace(0, 1, 12)
    x, y = np.meshgrid(line, line, indexing="ij")
    a = np.array([1 + 0.4 * np.sin(np.pi * (x + k * y / 2)) for k in range(4)])
    u = torch.as_tensor(a[:, None], dtype=torch.float32)
    target = torch.as_tensor((np.sin(np.pi * x) * y / a)[:, None], dtype=torch.float32)
    network = made(name)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 300)
    losses = []
    for _ in range(300):
        loss = relative_l2(network(u, grid(12, 12)), target).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 6


@pytest.mark.parametrize("name", ["fno", "tfno", "unet", "meshgraph"])
def test_on_a_torus_they_commute_with_shifts(name):
    """U-Net with shifts by as many points as it halves."""
    network = made(name, periodic=True)
    if name == "meshgraph":  # which takes coordinates too
        network.encode[0][0].weight.data[:, 1:] = 0
    u, support = torch.randn(1, 1, 16, 16), grid(16, 16, periodic=True)
    moved = network(torch.roll(u, (4, 8), (2, 3)), support)
    assert torch.allclose(moved, torch.roll(network(u, support), (4, 8), (2, 3)), atol=1e-4)


@pytest.mark.parametrize("name", ["fno", "codano", "deeponet", "gino"])
def test_finer_grids_give_the_same_function(name):
    network, out = made(name), []
    for n in (33, 65, 129):
        support = grid(n, n)
        x, y = support.x[0]
        out.append(
            network((torch.sin(3 * x) * torch.cos(2 * y))[None, None], support)[
                0, 0, :: (n - 1) // 32, :: (n - 1) // 32
            ]
        )
    errors = [((a - out[2]).norm() / out[2].norm()).item() for a in out[:2]]
    assert errors[0] < 0.05 and errors[1] <= 0.6 * errors[0]


def test_samples_with_points_of_their_own_are_taken_one_by_one():
    torch.manual_seed(0)
    network, x = build("gino", Layout(1, 1, 2), SMALL["gino"]), torch.rand(3, 2, 40)
    u, edges = torch.randn(3, 1, 40), torch.zeros(2, 0, dtype=torch.long)
    together = network(u, Support(x, edges))
    alone = [network(u[i : i + 1], Support(x[i : i + 1], edges)) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_what_a_ball_gathers_is_the_weighted_mean_of_its_points():
    """And moving a point across the edge of the ball changes nothing abruptly."""
    near, mean = Near(), Mean(torch.nn.Linear(4, 3))
    y, x, f = torch.rand(20, 2), torch.rand(5, 2), torch.randn(2, 20, 3)
    found = mean(y, near(y, x, 0.4), x, f)
    for i in range(5):
        d = (y - x[i]).norm(dim=1)
        w = torch.where(d < 0.4, (1 + torch.cos(torch.pi * d / 0.4)) / 2, 0.0)
        k = mean.kernel(torch.cat([y, x[i].expand(20, 2)], dim=1))
        assert torch.allclose(found[:, i], (w[:, None] * k * f).sum(1) / w.sum(), atol=1e-5)
    (edge,) = near(torch.tensor([[0.3999, 0.0]]), torch.zeros(1, 2), 0.4)["weights"]
    assert edge < 1e-6


def test_codomain_attention_does_not_depend_on_the_size_of_the_grid():
    torch.manual_seed(0)
    tokens = made("codano", inputs=2, periodic=True).network
    layer = tokens.network.attention_layers[0]

    def attended(n, temperature=None):
        x = torch.arange(n) / n
        waves = torch.stack([torch.sin(2 * torch.pi * (k % 2 + 1) * x + k) for k in range(8)])
        u = 3 * (waves[:, :, None] * torch.cos(2 * torch.pi * x))[None]
        tokens(torch.zeros(1, 2, n, n))  # which sets the layers to this size
        layer.temperature = temperature or layer.temperature
        return layer.compute_attention(torch.cat([u, u.flip(1)]), 1)[..., :: n // 16, :: n // 16]

    def differs(*temperature):
        a, b = (attended(n, *temperature) for n in (16, 64))
        return ((a - b).norm() / b.norm()).item()

    assert differs() < 3e-5 and differs(1.0) > 1e-4


def test_the_weights_of_slices_add_up_to_one_and_constant_tokens_come_back():
    torch.manual_seed(0)
    slices = Slices(16, 2, 8, (False, False))
    u = torch.randn(2, 30, 16)
    weights = slices.weights(u, (5, 6))
    assert weights.shape == (2, 2, 30, 8) and torch.allclose(weights.sum(-1), torch.ones(2, 2, 30))
    assert torch.allclose(Slices.back(torch.ones(2, 2, 8, 8), weights), torch.ones(2, 30, 16))


def test_the_parallel_scan_is_the_recurrence():
    decay, drive = torch.rand(2, 37, 3, 4, dtype=torch.float64), torch.randn(2, 37, 3, 4, dtype=torch.float64)
    h, states = torch.zeros(2, 3, 4, dtype=torch.float64), []
    for t in range(37):
        h = decay[:, t] * h + drive[:, t]
        states.append(h)
    assert torch.allclose(scan(decay, drive), torch.stack(states, 1), rtol=1e-12, atol=1e-12)


def test_multionet_is_its_formula():
    network = made("multionet", dim=1)
    u, support = torch.randn(2, 1, 5), grid(5)  # as many points as sensors
    network.weights.data = torch.tensor([0.5, -1.0, 2.0])
    network.bias.data = torch.tensor([0.3])
    b, t, total = u[:, 0], support.x[0].T, 0
    for i, (w, of_input, of_place) in enumerate(zip((0.5, -1.0, 2.0), network.branch, network.trunk, strict=True)):
        b, t = of_input(b), torch.tanh(of_place(t))
        b = b if i == 2 else torch.nn.functional.gelu(b)
        total = total + w * b @ t.T
    assert torch.allclose(network(u, support)[:, 0], total / 3 + 0.3, atol=1e-5)


def test_a_point_receives_the_sum_of_its_edges():
    torch.manual_seed(0)
    network = build("meshgraph", Layout(1, 1, 1), {"width": 4, "depth": 1})
    assert isinstance(network, MeshGraph)
    ends = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])  # a path of three points
    x, u = torch.tensor([[[0.0, 0.5, 1.5]]]), torch.tensor([[[1.0, 2.0, 3.0]]])
    nodes = network.encode(torch.stack([u[0, 0], x[0, 0]], dim=-1))
    between = torch.tensor([[0.5, 0.5], [-0.5, 0.5], [1.0, 1.0], [-1.0, 1.0]]) / 0.75
    (step,) = network.steps
    e = network.measure(between)
    e = e + step.edge(torch.cat([e, nodes[ends[0]], nodes[ends[1]]], dim=-1))
    received = torch.stack([e[1], e[0] + e[3], e[2]])
    out = network.decode(nodes + step.node(torch.cat([nodes, received], dim=-1)))
    assert torch.allclose(network(u, Support(x, ends))[0, 0], out[:, 0], atol=1e-6)


def test_edges_of_a_grid_join_neighbours_around_periodic_axes_too():
    pairs = {tuple(pair) for pair in grid_edges((3, 2), (True, False)).T.tolist()}
    around = {(0, 2), (2, 4), (4, 0), (1, 3), (3, 5), (5, 1)}
    across = {(0, 1), (2, 3), (4, 5)}
    assert pairs == around | across | {(b, a) for a, b in around | across}


def test_one_seed_gives_one_network(capsys):
    for name in NETWORKS:
        a, b, c = (made(name, seed=seed).state_dict() for seed in (1, 1, 2))
        tensors = [key for key, value in a.items() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(a[key], b[key]) for key in tensors)
        differs = not all(torch.equal(a[key], c[key]) for key in tensors)
        assert differs == (name != "polynomial")  # which starts from zero
    assert capsys.readouterr().out == ""


def test_bad_names_options_and_supports_are_refused():
    with pytest.raises(InputError, match=r"unknown network 'fn0'. Did you mean 'fno'"):
        build("fn0", Layout(1, 1, 2, (False,) * 2))
    with pytest.raises(InputError, match=r"unknown option of fno 'mode'. Did you mean 'modes'"):
        made("fno", mode=3)
    with pytest.raises(InputError, match="heads must divide width, got 3 and 16"):
        made("transolver", heads=3)
    with pytest.raises(InputError, match="modes must be 2 or more and at most latent, got 9 and 8"):
        made("gino", modes=9)
    with pytest.raises(InputError, match=r"radius must be 0, or at least a spacing of the latent grid, 0.143, got 0.1"):
        made("gino", radius=0.1)
    with pytest.raises(InputError, match="depth must be 1 or more"):
        made("unet", depth=0)
    with pytest.raises(InputError, match="fno works on a grid, and these data lie on meshes; on both do transolver"):
        build("fno", Layout(1, 1, 2))
    assert {"modes", "width", "depth", "padding", "places"} == options_of("fno").keys()
