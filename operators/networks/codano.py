"""Codomain attention on uniform grids, from `neuraloperator`: every variable is a token."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from variform.errors import InputError
from variform.operators.networks import Layout, at_least
from variform.operators.networks.fourier import OnBox
from variform.operators.networks.layers import quiet

FEATURES = 8
"""Channels of the function by which a variable is known."""


class Tokens(nn.Module):
    """Variables as tokens to unknowns: each input is one; each output is one too, and starts as zero.

    Args:
        inputs, outputs: variables; walls: channels of coordinates that follow them and that every token sees.
    """

    def __init__(
        self, inputs: int, outputs: int, walls: int, *, dim: int, modes: int, width: int, depth: int, heads: int
    ) -> None:
        from variform.operators.networks.spectral import SpectralConvolution

        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.names = [f"input{i}" for i in range(inputs)] + [f"output{i}" for i in range(outputs)]
        with quiet():
            self.network = _kind()(
                hidden_variable_codimension=width,
                lifting_channels=2 * width,
                projection_channels=2 * width,
                use_positional_encoding=True,
                positional_encoding_dim=FEATURES,
                positional_encoding_modes=[4] * dim,
                static_channel_dim=walls,
                variable_ids=self.names,
                n_layers=depth,
                conv_module=SpectralConvolution,
                n_modes=[[modes] * dim] * depth,
                per_layer_scaling_factors=[[1] * dim] * depth,
                n_heads=[heads] * depth,
                attention_scaling_factors=[1] * depth,
                attention_token_dim=width,  # of a whole variable
                # Layers that normalise every token would forget how large the inputs are.
                layer_kwargs={"norm": None, "factorization": None},
                domain_padding=None,
            )
        for layer in self.network.attention_layers:
            for block in (layer.Key, layer.Query, layer.Value):
                block.non_linearity = nn.Identity()  # of its own: torch.export stumbles on a shared one

    def forward(self, fields: Tensor) -> Tensor:
        """(B, inputs + walls, *N) to (B, outputs, *N)."""
        given, x = fields[:, : self.inputs], fields[:, self.inputs :]
        asked = fields.new_zeros(fields.shape[0], self.outputs, *fields.shape[2:])
        for layer in self.network.attention_layers:
            # q . k is a sum over the grid, of which the library takes the square root for the number: with this
            # it is a mean times the root of the channels, on every grid.
            layer.temperature = math.sqrt(math.prod(fields.shape[2:]))
        static = x if x.shape[1] else None
        return self.network(torch.cat([given, asked], dim=1), static, self.names)[:, -self.outputs :]


def _kind() -> Any:
    from neuralop.models import CODANO as Network  # a slow import

    class OnAnyGrid(Network):
        """With functions that tell the variables apart that are the same on every grid."""

        def _get_positional_encoding(self, x: Tensor, input_variable_ids: list[str]) -> Tensor:
            dims, N = tuple(range(-self.n_dim, 0)), x.shape[-self.n_dim :]
            waves = [
                torch.fft.irfftn(self.positional_encoding[name], s=N, dim=dims, norm="forward")
                for name in input_variable_ids
            ]
            return torch.stack(waves, dim=1)

    return OnAnyGrid


class CODANO(OnBox):
    """A codomain attention neural operator: attention among variables, whose keys and values are Fourier layers.

    Args:
        modes: kept an axis; width: channels of a variable; depth: layers; heads: of attention;
        padding: as of FNO.

    Source: Rahman et al., Pretraining codomain attention neural operators for solving multiphysics PDEs (NeurIPS 2024),
    arXiv:2403.12553.
    """

    takes: ClassVar[tuple[str, ...]] = ("grid",)

    def __init__(
        self,
        layout: Layout,
        *,
        modes: int = 12,
        width: int = 16,
        depth: int = 3,
        heads: int = 2,
        padding: float = 0.25,
    ) -> None:
        at_least(modes=modes, width=width, depth=depth, heads=heads)
        if modes < 2:
            raise InputError(f"modes must be 2 or more, got {modes}")
        walls = layout.periodic.count(False)
        sizes = {"dim": layout.dim, "modes": modes, "width": width, "depth": depth, "heads": heads}
        super().__init__(Tokens(layout.inputs, layout.outputs, walls, **sizes), layout.periodic, padding)
