"""The map that is learnt: a network between scales, and how it steps from frame to frame."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from variform.operators import known
from variform.operators.examples import Batch, Scale
from variform.operators.networks import Layout, Support, build
from variform.operators.settings import Settings

Rate = Callable[[Tensor], Tensor]
"""u (B, C, *N) to du/dt."""


class Learned(nn.Module):
    """A network in the units of the data.

    Args:
        learn: "solution", "next" or "change".
        static, components: channels of static inputs and of the unknowns.
        dt: time between two frames [s]; of evolutions.
    """

    def __init__(
        self,
        settings: Settings,
        learn: str,
        static: int,
        components: int,
        *,
        dim: int,
        periodic: tuple[bool, ...],
        evolves: bool,
        dt: float = 1.0,
    ) -> None:
        super().__init__()
        self.settings, self.learn, self.dt, self.components = settings, learn, dt, components
        self.frames = (1 if learn == "solution" else settings.frames) if evolves else 0
        layout = Layout(static + self.frames * components, components, dim, periodic)
        self.network = build(settings.network, layout, settings.options)
        self.known = None if settings.closure == known.NONE else known.Known(settings.closure)
        for name, count in (("static", static), ("frames", components), ("output", components)):
            self.register_buffer(f"{name}_mean", torch.zeros(count))
            self.register_buffer(f"{name}_deviation", torch.ones(count))
        self.register_buffer("held", None)

    def set_scale(self, name: str, scale: Scale) -> None:
        """Of "static", "frames" or "output"."""
        getattr(self, f"{name}_mean").copy_(scale.mean)
        getattr(self, f"{name}_deviation").copy_(scale.deviation)

    def in_precision(self, dtype: torch.dtype) -> Learned:
        """Weights and scales in another real type, and complex weights in the complex one of the same precision.

        Module.to(float64) would drop imaginary parts, and Module.double() leave them in single precision.
        """
        pair = {torch.float32: torch.complex64, torch.float64: torch.complex128}[dtype]
        kinds = {True: pair, False: dtype}
        return self._apply(lambda t: t.to(kinds[t.is_complex()]) if t.is_complex() or t.is_floating_point() else t)

    def hold(self, values: Tensor) -> None:
        """Put these values (C, *N) into every prediction where they are numbers, on grids with other points too.

        Only on the faces of the box; a point of a face takes the value of the nearest one there.
        """
        self.held = values

    def beside(self, part: known.Known) -> Learned:
        """The same weights, which are shared, beside another known part."""
        other = copy.copy(self)
        other._modules = {**self._modules, "known": part}
        return other

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def forward(self, batch: Batch, steps: int, skip: int = 0) -> Tensor:
        """What is compared with data.

        Args:
            steps: frames to predict, where frames are learnt from; 1 otherwise.
            skip: so many more before them, without a gradient.

        Returns:
            (B, steps, C, *N): the solution, the frames after the skipped ones, or what is learnt of du/dt.
        """
        if self.learn == "solution":
            present = [] if batch.frames is None else [batch.frames[:, -1]]
            return self._inside(self._network(batch, present, "output"), batch)[:, None]
        if self.learn == "change" and not self.settings.on_line:
            return self._inside(self._network(batch, [batch.frames[:, -1]], "output"), batch)[:, None]
        return self._march(batch, steps, skip)

    def rate(self, batch: Batch, u: Tensor) -> Tensor:
        """du/dt (B, C, *N): what is learnt of it, and what is known."""
        learnt = self._network(batch, [u], "output")
        return self._inside(learnt if self.known is None else self.known(u) + learnt, batch)

    def rollout(self, batch: Batch, steps: int) -> Tensor:
        """The frames that follow, (B, steps, C, *N); of stationary tasks the solution, steps being 1."""
        return self(batch, 1) if self.learn == "solution" else self._march(batch, steps)

    def _march(self, batch: Batch, steps: int, skip: int = 0) -> Tensor:
        """Frame by frame; those after the skipped ones."""
        frames, before, predicted = list(batch.frames.unbind(1)), None, []
        for step in range(skip + steps):
            with torch.set_grad_enabled(torch.is_grad_enabled() and step >= skip):
                following, before = self._following(batch, frames, before)
            predicted.append(following)
            frames = [*frames[1:], following]
        return torch.stack(predicted[skip:], dim=1)

    def _following(self, batch: Batch, frames: list[Tensor], before: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The next frame, and the rate that AB2 takes with it."""
        if self.learn == "change":
            return integrate(lambda u: self.rate(batch, u), frames[-1], self.dt, self.settings, before)
        return self._inside(self._network(batch, frames, "output"), batch), None

    def _network(self, batch: Batch, frames: list[Tensor], scale: str) -> Tensor:
        given = [_encode(batch.static, self.static_mean, self.static_deviation)]
        given += [_encode(frame, self.frames_mean, self.frames_deviation) for frame in frames]
        out = self.network(torch.cat(given, dim=1), Support(batch.x, batch.edges))
        return _decode(out, getattr(self, f"{scale}_mean"), getattr(self, f"{scale}_deviation"))

    def _inside(self, u: Tensor, batch: Batch) -> Tensor:
        if self.held is not None:
            held = self.held[(slice(None), *_nearest(self.held.shape[1:], u.shape[2:]))].to(u.dtype)
            u = torch.where(held.isnan(), u, held)
        return u if batch.inside is None else u * batch.inside


def _nearest(old: torch.Size, new: torch.Size) -> tuple[Tensor, ...]:
    """Indices into a grid for each point of another one of the same box; faces go to faces, and only they."""
    axes = []
    for m, n in zip(old, new, strict=True):
        place = torch.round(torch.arange(n) * ((m - 1) / max(n - 1, 1))).long().clamp(1, max(m - 2, 1))
        place[0], place[-1] = 0, m - 1
        axes.append(place)
    return torch.meshgrid(*axes, indexing="ij")


def _encode(fields: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    shape = (-1, *[1] * (fields.ndim - 2))
    return (fields - mean.reshape(shape)) / deviation.reshape(shape)


def _decode(fields: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    shape = (-1, *[1] * (fields.ndim - 2))
    return fields.to(mean.dtype) * deviation.reshape(shape) + mean.reshape(shape)


def integrate(
    rate: Rate, u: Tensor, dt: float, settings: Settings, before: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """u after dt in `substeps` steps of `scheme`, and the rate that AB2 takes with it to the next call."""
    h = dt / settings.substeps
    for _ in range(settings.substeps):
        if settings.scheme == "ab2":
            here = rate(u)
            # The first step is Heun's, of the same order.
            change = 1.5 * here - 0.5 * before if before is not None else (here + rate(u + h * here)) / 2
            u, before = u + h * change, here
        else:
            u = u + h * STEPS[settings.scheme](rate, u, h)
    return u, before


def _euler(rate: Rate, u: Tensor, h: float) -> Tensor:
    return rate(u)


def _heun(rate: Rate, u: Tensor, h: float) -> Tensor:
    a = rate(u)
    return (a + rate(u + h * a)) / 2


def _rk4(rate: Rate, u: Tensor, h: float) -> Tensor:
    a = rate(u)
    b = rate(u + h / 2 * a)
    c = rate(u + h / 2 * b)
    return (a + 2 * b + 2 * c + rate(u + h * c)) / 6


STEPS = {"euler": _euler, "heun": _heun, "rk4": _rk4}
"""Mean rate over a step of the explicit schemes that start by themselves."""
