"""Selective state spaces on learned slices of the domain."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from variform.operators.networks import Layout, at_least
from variform.operators.networks.transolver import Block, Sliced, Slices, divides


def scan(decay: Tensor, drive: Tensor) -> Tensor:
    """All h_t = decay_t h_(t-1) + drive_t with h_(-1) = 0 along axis 1, in as many rounds as log2 of its length.

    Source: Hillis and Steele, Data parallel algorithms, Commun. ACM 29 (1986) 1170.
    """
    reach, length = 1, decay.shape[1]
    while reach < length:
        before_a, before_b = (
            functional.pad(part[:, :-reach], (0, 0) * (part.ndim - 2) + (reach, 0), value=value)
            for part, value in ((decay, 1.0), (drive, 0.0))
        )
        decay, drive = decay * before_a, drive + decay * before_b
        reach *= 2
    return drive


class SelectiveScan(nn.Module):
    """y_t = C_t h_t + D x_t, h_t = exp(Delta_t A) h_(t-1) + Delta_t B_t x_t with Delta, B and C that depend on x.

    Args:
        width: channels, each with `states` states of its own.

    Source: Gu and Dao, Mamba: Linear-time sequence modeling with selective state spaces (2023), section 3.
    """

    def __init__(self, width: int, states: int, rank: int) -> None:
        super().__init__()
        self.states, self.rank = states, rank
        self.select = nn.Linear(width, rank + 2 * states, bias=False)
        self.step = nn.Linear(rank, width)
        self.log_a = nn.Parameter(torch.log(torch.arange(1, states + 1).float()).repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, length, width), along the length."""
        delta, b, c = self.select(x).split([self.rank, self.states, self.states], dim=-1)
        delta = functional.softplus(self.step(delta))
        decay = torch.exp(-delta[..., None] * self.log_a.exp())
        h = scan(decay, (delta * x)[..., None] * b[:, :, None])
        return (h * c[:, :, None]).sum(dim=-1) + self.skip * x


class StateSpace(nn.Module):
    """Slices of the points, scanned in both directions, and back to the points."""

    def __init__(self, width: int, slices: int, states: int, expand: int, periodic: tuple[bool, ...] | None) -> None:
        super().__init__()
        inner = expand * width
        self.slices = Slices(width, 1, slices, periodic)
        self.enter, self.leave = nn.Linear(width, 2 * inner), nn.Linear(inner, width)
        rank = max(1, width // 16)
        self.onward, self.backward_ = SelectiveScan(inner, states, rank), SelectiveScan(inner, states, rank)
        self.out = nn.Linear(width, width)

    def forward(self, u: Tensor, grid: tuple[int, ...]) -> Tensor:
        tokens, weights = self.slices(u, grid)
        x, gate = self.enter(tokens[:, 0]).chunk(2, dim=-1)
        x = functional.silu(x)
        both = self.onward(x) + self.backward_(x.flip(1)).flip(1)
        mixed = self.leave(both * functional.silu(gate))
        return self.out(Slices.back(mixed[:, None], weights))


class Mamba(Sliced):
    """A latent state-space operator: bidirectional selective scans over learned slices of the domain.

    Args:
        width: features of a point; depth: blocks; slices: tokens; states: of each channel; expand: of the width inside;
        ratio: of the feed-forward layers; local: as of Transolver.

    Source: the idea of Tiwari et al., LaMO: latent Mamba operator (2025); the slices are Transolver's, the scan is that
    of Gu and Dao 2023.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        width: int = 128,
        depth: int = 8,
        slices: int = 64,
        states: int = 16,
        expand: int = 1,
        ratio: int = 1,
        local: int = 1,
    ) -> None:
        at_least(width=width, depth=depth, slices=slices, states=states, expand=expand, ratio=ratio)
        divides(1, width)
        periodic = layout.periodic if layout.periodic and local else None
        scans = [StateSpace(width, slices, states, expand, periodic) for _ in range(depth)]
        super().__init__(layout, width, [Block(layer, width, ratio) for layer in scans])
