"""What a training is told: one flat set of settings, checked before anything is read or written."""

from __future__ import annotations

import dataclasses
import inspect
import math
from dataclasses import dataclass, field
from typing import Any

from variform.errors import InputError, unknown
from variform.operators import known, networks

CHOICES = {
    "learn": ("auto", "solution", "next", "change"),
    "loss": ("relative_l2", "relative_h1", "mse", "none"),
    "residual_loss": ("norm", "half_square"),
    "schedule": ("cosine", "onecycle", "step", "constant"),
    "optimiser": ("adamw", "adam", "sgd"),
    "precision": ("32-true", "64-true", "bf16-mixed"),
    "scheme": ("euler", "heun", "rk4", "ab2"),
    "augment": ("none", "shifts", "antidiagonal", "dihedral"),
    "keep": ("best", "last"),
}
"""Settings that are one of a few words."""
MAY_BE_ZERO = {
    *("weight_decay", "clip", "ema", "residual", "warmup", "curriculum", "push_forward", "noise"),
    *("seed", "workers", "seconds", "samples", "checkpoint_s"),
}


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Args:
        network: a name in `networks.NETWORKS`.
        options: of the network.
        learn: "solution": inputs to outputs at the last time; "next": the frames that follow; "change": du/dt;
            "auto": solution of stationary data, next of evolutions.
        closure: of "change": the task of the catalogue whose known tendency f is added, du/dt = f(u) + K(u), so that
            the network K is what f lacks; "none": the network is all of du/dt.
        start: folder of a finished training, whose weights and scales this one begins with; "": drawn at random.
        epochs: passes over the training split.
        batch: samples a step, of all processes together.
        optimiser, learning_rate, weight_decay: AdamW by default.
        schedule: of the learning rate over all steps: "cosine" to zero, "onecycle" (up over 30 %, down to 1e-4 of the
            start), "step" (halved every `halve` epochs), "constant".
        warmup: part of all steps over which the rate rises from zero.
        halve: epochs of "step".
        clip: largest norm of the gradient; 0: not clipped.
        ema: decay of the exponential moving average of the weights, which is then what predicts; 0: none.
        loss: of predictions against data, the mean over samples; "none": without labels, by the residual alone.
        residual: weight of the weak residual in the loss; 0: left out.
        residual_loss: "norm": its dual norm sqrt(r^T A0^-1 r), relative; "half_square": 1/2 r^T A0^-1 r.
        augment: symmetry of the equation by which every batch is transformed: "shifts" of a torus, "antidiagonal"
            shifts, "dihedral" reflections and exchanges of axes, "none". That the equation has it is for you to know.
        frames, ahead: of evolutions: frames given, and frames predicted of a window.
        unroll: predicted frames that the loss goes through; the rest of a window only counts when it is measured. Of
            "change" above 1: the loss is on frames and goes through the scheme ("on-line"), and not on du/dt.
        curriculum: 1: unroll grows 1, 2, 4, .. to its value over the first half of the epochs.
        push_forward: predicted frames before the first one with a gradient (Brandstetter et al. 2022); of "change"
            too, then on-line.
        noise: relative deviation of Gaussian noise on the frames given.
        scheme, substeps: of "change": how du/dt is integrated between two frames.
        stride: frames of the file between two frames of a window.
        precision: Lightning Fabric's word for it.
        samples: of the training split to learn from; 0: all.
        seconds: stop at the end of the epoch that passes this time, with the schedule ended; 0: no limit.
        checkpoint_s: least time between two checkpoints, which are made at the ends of epochs; 0: after each.
        keep: which weights predict: those with the least error on the split "valid", or the last.
        workers: processes that load data where it does not fit `memory_gb`; 0: this one.
        memory_gb: data up to this size is held in memory, on the device.
        seed: of weights, order, noise and shifts.
    """

    network: str
    options: dict[str, Any] = field(default_factory=dict)
    learn: str = "auto"
    closure: str = known.NONE
    start: str = ""
    epochs: int = 100
    batch: int = 20
    optimiser: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    warmup: float = 0.0
    halve: int = 100
    clip: float = 0.0
    ema: float = 0.0
    loss: str = "relative_l2"
    residual: float = 0.0
    residual_loss: str = "norm"
    augment: str = "none"
    frames: int = 1
    ahead: int = 1
    unroll: int = 1
    curriculum: int = 0
    push_forward: int = 0
    noise: float = 0.0
    scheme: str = "rk4"
    substeps: int = 1
    stride: int = 1
    precision: str = "32-true"
    samples: int = 0
    seconds: float = 0.0
    checkpoint_s: float = 10.0
    keep: str = "best"
    workers: int = 0
    memory_gb: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network not in networks.NETWORKS:
            raise unknown("network", self.network, networks.NETWORKS)
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown(f"value of {name}", getattr(self, name), allowed)
        for setting in _own():
            value = getattr(self, setting.name)
            if isinstance(value, int | float):
                _check_number(setting.name, value)
        for name, value in self.options.items():
            if isinstance(value, int | float):
                _check_option(name, value)
        if self.loss == "none" and not self.residual:
            raise InputError("loss=none learns without labels: give the residual a weight, residual=1")
        if self.residual and self.augment != "none":
            raise InputError("augment moves the fields, and not the matrices of the residual: leave one of them out")
        if self.unroll > self.ahead:
            raise InputError(f"unroll must not be above ahead, got {self.unroll} and {self.ahead}")
        if self.push_forward + self.unroll > self.ahead:
            raise InputError(
                f"push_forward and unroll must fit into ahead, got {self.push_forward} + {self.unroll} and {self.ahead}"
            )
        if self.closure != known.NONE:
            known.kind(self.closure)
            if self.learn != "change":
                raise InputError(f"closure={self.closure} is what du/dt lacks: it needs learn=change, got {self.learn}")
        if self.learn == "change" and self.frames != 1:
            raise InputError(f"learn=change starts from one frame, got frames={self.frames}")

    @property
    def on_line(self) -> bool:
        """Of learn=change: the loss is on frames, through the scheme."""
        return self.unroll > 1 or self.push_forward > 0

    @classmethod
    def of(cls, network: str, given: dict[str, Any]) -> Settings:
        """From a flat dict of settings and of options of the network.

        Raises:
            InputError: a key that is neither, or a value of the wrong kind; the nearest key is named.
        """
        own, options = {s.name: s for s in _own()}, networks_options(network)
        mine: dict[str, Any] = {}
        theirs: dict[str, Any] = {}
        for key, value in given.items():
            if key in own:
                mine[key] = _converted(key, value, str(own[key].type))
            elif key in options:
                theirs[key] = _converted(key, value, str(options[key].annotation))
            else:
                raise unknown(f"setting of the training of {network}", key, [*own, *options])
        return cls(network=network, options=theirs, **mine)

    def json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def differences(self, other: Settings) -> list[str]:
        """Keys in which the two differ."""
        a, b = ({**s.json(), **s.options} for s in (self, other))
        return sorted(k for k in a.keys() | b.keys() if k != "options" and a.get(k) != b.get(k))


def networks_options(network: str) -> dict[str, inspect.Parameter]:
    """Options of a network by name.

    Raises:
        InputError: there is no such network.
    """
    if network not in networks.NETWORKS:
        raise unknown("network", network, networks.NETWORKS)
    return networks.options_of(network)


def _own() -> list[dataclasses.Field]:
    return [s for s in dataclasses.fields(Settings) if s.name not in ("network", "options")]


def _check_number(name: str, value: float) -> None:
    least_is_zero = name in MAY_BE_ZERO
    if not math.isfinite(value) or value < 0 or (value == 0 and not least_is_zero):
        raise InputError(f"{name} must be {'0 or above' if least_is_zero else 'above 0'} and finite, got {value}")
    if name in ("ema", "warmup") and value >= 1:
        raise InputError(f"{name} must be below 1, got {value}")
    if name == "seed" and value >= 2**63:
        raise InputError(f"seed must be below 2**63, got {value}")


def _check_option(name: str, value: float) -> None:
    """Of a network, which checks what else it asks for."""
    if not math.isfinite(value) or (name == "padding" and value < 0):
        raise InputError(f"{name} must be {'0 or above and ' if name == 'padding' else ''}finite, got {value}")


def _converted(key: str, value: Any, annotation: str) -> Any:
    """A whole number, a number or a word, as the annotation says; "3" and "1e-3" are numbers too."""
    kind = next(kind for kind in (int, float, str) if kind.__name__ in annotation)
    if kind is str:
        return str(value)
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number) or (kind is int and not number.is_integer()):
        raise InputError(f"{key} must be a {'whole ' if kind is int else ''}number, got {value!r}")
    return int(number) if kind is int else number
