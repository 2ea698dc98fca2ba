"""Training, from top to bottom: examples, network, steps, what is measured, and a state to go on from."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform.data.dataset import Dataset
from variform.data.loader import usable
from variform.errors import ComputationError, InputError
from variform.operators import checkpoint, launch, symmetry
from variform.operators.examples import INSIDE, Batch, Examples, Scale, periodic
from variform.operators.learned import Learned
from variform.operators.losses import LOSSES, relative_l2
from variform.operators.operator import Operator, facts_of
from variform.operators.optimisation import Swapped, optimiser, rate, without_nvml
from variform.operators.physics import WeakResidual
from variform.operators.settings import Settings
from variform.operators.start import first_line, start_from, tensors_of, value_of
from variform.runs import atomic

Progress = Callable[[float, str], None]
CHECKPOINTS, LOGS, HISTORY = "checkpoints", "logs", "history.csv"
ALL_AT_ONCE = 64
"""Examples that are measured together."""


def train(
    data: Dataset,
    settings: Settings | str = "fno",
    *,
    folder: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Progress = lambda fraction, text: None,
    **given: Any,
) -> Operator:
    """Train a network on a data set.

    The split "train" is learned from, "valid" chooses the weights that are kept; without splits everything is learned
    from. Every process of a torchrun or SLURM job calls this with the same arguments.

    Args:
        settings: all of them, or the name of a network, with those that are not the default as `given`.
        folder: for checkpoints, history.csv and TensorBoard's logs; nothing is written without one.
        resume: go on from the checkpoint in the folder, if there is one.
        device: "auto", "cpu" or "cuda".

    Returns:
        What predicts; the same in every process.

    Raises:
        InputError: data and settings do not fit, or the checkpoint is of another training, or damaged.
        ComputationError: the loss is no number, or the weights are none.
        Stopped: a signal came, and the state is saved.
    """
    settings = Settings.of(settings, given) if isinstance(settings, str) else settings
    fabric = launch.fabric(settings.precision, device)
    with torch.random.fork_rng(), launch.watched(fabric) as asked:
        training = Training(fabric, data, settings, folder, progress)
        if resume:
            training.restore()
        training.run(asked)
        return training.operator()


@dataclass
class State:
    """How far a training has come.

    Args:
        epoch, step: finished epochs; finished steps of the present one.
        total: the sum of losses over the examples of the present epoch so far.
        history: a row an epoch.
        best: least error on the split "valid".
        elapsed: time spent in all sessions [s].
    """

    epoch: int = 0
    step: int = 0
    total: float = 0.0
    history: list[dict[str, float | None]] = field(default_factory=list)
    best: float | None = None
    elapsed: float = 0.0


class Training:
    """One training in this process."""

    def __init__(self, fabric: Any, data: Dataset, settings: Settings, folder: Path | None, progress: Progress) -> None:
        self.fabric, self.settings, self.folder, self.progress = fabric, settings, folder, progress
        self.data, self.state = data, State()
        self.dtype = torch.float64 if settings.precision == "64-true" else torch.float32
        self.examples, self.measured = self._examples()
        first, channels = self.examples.data, self.examples.channels
        self.residual = WeakResidual(first, fabric.device, settings.residual_loss) if settings.residual else None
        symmetry.check(settings.augment, first.grid, periodic(first))
        torch.manual_seed(settings.seed)
        self.learned = Learned(
            settings,
            self.examples.learn,
            channels.static,
            channels.components,
            dim=first.dim,
            periodic=periodic(first),
            evolves=first.times is not None,
            dt=self.examples.dt if self.examples.learn != "solution" else 1.0,
        ).in_precision(self.dtype)
        if self.residual is not None:
            self.learned.hold(self.residual.prescribed((channels.components, *first.grid)).to(self.dtype))
        self._set_scales()
        self.start_digest = None
        if settings.start:
            self.start_digest = start_from(Path(settings.start), self.learned, channels)
        if self.learned.known is not None:
            self.learned.known.values.copy_(self.examples.known.values)
        self.optimiser = optimiser(self.learned, settings)
        self.network, self.optimiser = fabric.setup(self.learned, self.optimiser)
        if fabric.world_size == 1 and settings.precision in ("32-true", "64-true"):
            self.network = self.learned  # Fabric's wrapper converts nothing, which takes time
        torch.manual_seed(settings.seed + 1 + fabric.global_rank)  # layers that draw at random differ by process
        weights = list(self.learned.network.parameters())
        self.average = [w.detach().clone() for w in weights] if settings.ema else None
        self.best: dict[str, Tensor] | None = None
        self._bad: list[int] = []  # samples with a loss that is no number
        self._saved_s = -math.inf

    def _examples(self) -> tuple[Examples, Examples | None]:
        """Of the splits "train" and "valid"."""
        data, s = self.data, self.settings
        parts = {name: data.part(name) for name in ("train", "valid") if name in data.splits}
        learnt = usable(parts.get("train") or data.only(data.good))
        if s.samples:
            learnt = learnt.only(np.arange(min(s.samples, len(learnt))))
        if not len(learnt):
            raise InputError(f"the split 'train' of {data.name} is empty")
        held = self.fabric.device if _size_gb(data) <= s.memory_gb else None
        examples = Examples(learnt, s, device=held, dtype=self.dtype)
        if "valid" not in parts or not len(parts["valid"]):
            return examples, None
        valid = usable(parts["valid"])
        return examples, Examples(valid, s, measured=True, device=held, dtype=self.dtype, channels=examples.channels)

    def _set_scales(self) -> None:
        """From the first examples of the training set, as many as a thousand: the same in every process."""
        numbers = np.linspace(0, len(self.examples) - 1, min(len(self.examples), 1024)).astype(int)
        blocks = np.array_split(numbers, -(-len(numbers) // ALL_AT_ONCE))
        parts = [self.examples.__getitems__(block) for block in blocks]
        changes = self.examples.learn == "change"
        outputs = [self.examples.rates(b) for b in blocks] if changes else [part.target for part in parts]
        self.learned.set_scale("static", Scale.of([part.static for part in parts]))
        self.learned.set_scale("output", Scale.of([part.flatten(0, 1) for part in outputs]))
        if self.learned.frames:
            self.learned.set_scale("frames", Scale.of([part.frames.flatten(0, 1) for part in parts]))

    # The loop

    @without_nvml()
    def run(self, asked: launch.Asked) -> None:
        """All epochs that are left."""
        s, state = self.settings, self.state
        session, before = time.perf_counter(), state.elapsed
        while state.epoch < s.epochs and not (s.seconds and state.elapsed >= s.seconds):
            began = time.perf_counter()
            for batch, count in self._batches():
                state.total += self._step(batch, count)
                state.step += 1
                asked.elapsed, asked.failed = before + time.perf_counter() - session, bool(self._bad)
                number = asked.any()
                state.elapsed = asked.elapsed
                if asked.failed:
                    self._stop()
                if number:
                    self._check_weights()
                    self.save()
                    raise launch.Stopped(number)
            self._end_epoch(time.perf_counter() - began)
            now = time.perf_counter()
            clocks = [before + now - session, now - self._saved_s]
            state.elapsed, unsaved = launch.gathered(self.fabric, clocks)[0]  # one clock decides for all processes
            done = state.epoch == s.epochs or (s.seconds and state.elapsed >= s.seconds)
            if done or unsaved >= s.checkpoint_s:
                self.save()

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        """This process's part of what is left of the epoch, and the size of each batch over all processes."""
        s = self.settings
        order = np.random.default_rng([s.seed, self.state.epoch]).permutation(len(self.examples))
        whole = [order[i : i + s.batch] for i in range(0, len(order), s.batch)][self.state.step :]
        mine = [self._mine(part).tolist() for part in whole]
        if self.examples.device.type == "cpu" and self.examples._held is None and s.workers:
            loaded: Any = torch.utils.data.DataLoader(
                self.examples,
                batch_sampler=mine,
                num_workers=s.workers,
                collate_fn=_as_it_is,
                prefetch_factor=4,
                multiprocessing_context="forkserver",
                pin_memory=torch.cuda.is_available(),
            )
        else:
            loaded = map(self.examples.__getitems__, mine)
        for part, batch in zip(whole, loaded, strict=True):
            yield batch.to(self.fabric.device), len(part)

    def _mine(self, whole: Any) -> Any:
        """This process's part of a batch; one without an example takes what others have, and gives it no weight."""
        rank = self.fabric.global_rank
        return whole[rank :: self.fabric.world_size] if rank < len(whole) else whole[:1]

    def _step(self, batch: Batch, count: int) -> float:
        """One step; returns this process's part of the sum of losses over the batch."""
        s, world = self.settings, self.fabric.world_size
        idle, batch = self.fabric.global_rank >= count, self._varied(batch, count)
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        unroll = self._unroll()
        losses = self._losses(batch, self.network(batch, unroll, s.push_forward), unroll)
        summed = losses.sum()
        total = float(summed.detach())
        if not math.isfinite(total):
            # The step is taken: other processes wait for its gradients. All of them stop after it.
            bad = batch.samples[(~torch.isfinite(losses)).to(batch.samples.device)]
            self._bad = (bad if len(bad) else batch.samples).tolist()  # all of them, where it is their sum
        # Processes average gradients: this is the mean over the examples of all of them.
        loss = summed * (0.0 if idle else world / count)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if s.clip:
            self.fabric.clip_gradients(self.learned, self.optimiser, max_norm=s.clip, error_if_nonfinite=False)
        self.optimiser.step()
        if self.average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(self.average, list(self.learned.network.parameters()), 1 - s.ema)
        return 0.0 if idle else total

    def _varied(self, batch: Batch, count: int) -> Batch:
        """Transformed by a symmetry, and with noise, drawn anew each step for all `count` examples of all processes."""
        s, state = self.settings, self.state
        if s.augment == "none" and not s.noise:
            return batch
        draw = torch.Generator().manual_seed(hash_of(s.seed, state.epoch, state.step))
        if s.augment != "none":
            batch = symmetry.SYMMETRIES[s.augment](batch, draw, self.examples.data.dim)
        if s.noise and batch.frames is not None:
            whole = torch.randn((count, *batch.frames.shape[1:]), generator=draw, dtype=batch.frames.dtype)
            noise = self._mine(whole).to(batch.frames.device)
            shape = (-1, *[1] * (batch.frames.ndim - 3))
            batch = batch._replace(frames=batch.frames + s.noise * self.learned.frames_deviation.reshape(shape) * noise)
        return batch

    def _losses(self, batch: Batch, prediction: Tensor, unroll: int) -> Tensor:
        """One number an example."""
        s, first, losses = self.settings, self.examples.data, 0.0
        if self.residual is not None:
            losses = s.residual * self.residual(prediction[:, -1], batch.samples)
        if s.loss == "none":
            return losses
        skip = 0 if self.learned.learn == "solution" else s.push_forward
        truth = batch.target[:, skip : skip + prediction.shape[1]]
        return losses + LOSSES[s.loss](prediction, truth, periodic(first))

    def _rate(self) -> float:
        """The learning rate of this step: all of it follows from how much is done."""
        s, state = self.settings, self.state
        steps = -(-len(self.examples) // s.batch)
        done = (state.epoch + state.step / steps) / s.epochs
        if s.seconds:
            done = max(done, min(1.0, state.elapsed / s.seconds))
        return s.learning_rate * rate(s, done, state.epoch)

    def _unroll(self) -> int:
        s = self.settings
        if self.learned.learn == "solution":
            return 1
        if not s.curriculum:
            return s.unroll
        grown = 2 ** int(self.state.epoch / max(1, s.epochs / 2) * math.ceil(math.log2(max(s.unroll, 1)) + 1))
        return min(s.unroll, grown)

    def _stop(self) -> None:
        """In all processes, with the samples of all."""
        bad = sorted({sample for part in launch.gathered(self.fabric, self._bad) for sample in part})
        where = f"epoch {self.state.epoch + 1}, step {self.state.step}, at samples {', '.join(map(str, bad[:10]))}"
        raise ComputationError(f"the loss is no number in {where} of the training split; {self._way_out()}")

    def _check_weights(self) -> None:
        """Raise ComputationError where they are no numbers."""
        if not self._finite():
            where = f"epoch {self.state.epoch}, step {self.state.step}"
            raise ComputationError(f"the weights are no numbers after {where}; {self._way_out()}")

    def _way_out(self) -> str:
        kept = self.folder is not None and (self.folder / CHECKPOINTS / checkpoint.RECORD).is_file()
        why = "none was written" if self.folder else "no folder was given"
        last = f"The last good state is kept ({checkpoint.RECORD})" if kept else f"No state is kept: {why}"
        return f"take a lower learning_rate, or clip=1. {last}"

    def _end_epoch(self, seconds: float) -> None:
        """Write down the epoch, measure, keep the best weights."""
        state, count = self.state, len(self.examples)
        learning_rate = self._rate()
        loss = sum(launch.gathered(self.fabric, state.total)) / count
        error = self.measure()
        state.epoch, state.step, state.total = state.epoch + 1, 0, 0.0
        row = {"epoch": state.epoch, "loss": loss, "valid_relative_l2": error, "learning_rate": learning_rate}
        state.history.append({**row, "seconds": seconds, "samples_s": count / seconds})
        if error is not None and error < (math.inf if state.best is None else state.best):  # false of NaN
            state.best, self.best = error, self._weights()
        self._log(state.history[-1])
        share = state.epoch / self.settings.epochs
        if self.settings.seconds:
            share = max(share, state.elapsed / self.settings.seconds)
        measured = "" if error is None else f", valid {error:.2e}"
        self.progress(min(share, 1.0), f"epoch {state.epoch}, {self.settings.loss} {loss:.2e}{measured}")

    @torch.no_grad()
    def measure(self) -> float | None:
        """Mean relative L2 error over the split "valid", of the whole predicted block; None where there is none."""
        if self.measured is None:
            return None
        self.learned.eval()
        world, rank = self.fabric.world_size, self.fabric.global_rank
        errors = 0.0
        with self._averaged():
            for part in np.array_split(np.arange(len(self.measured)), -(-len(self.measured) // ALL_AT_ONCE)):
                if len(mine := part[rank::world]):
                    batch = self.measured.__getitems__(mine).to(self.fabric.device)
                    with self.fabric.autocast():
                        predicted = self.learned.rollout(batch, batch.target.shape[1])
                    errors += float(relative_l2(predicted.double(), batch.target.double()).sum())
        self.learned.train()
        return sum(launch.gathered(self.fabric, errors)) / len(self.measured)

    # What is kept

    def _averaged(self) -> Any:
        return Swapped(list(self.learned.network.parameters()), self.average)

    def _finite(self) -> bool:
        """Whether the weights and their averages are; the same in every process."""
        weights = [*self.learned.network.parameters(), *(self.average or [])]
        return bool(torch.stack([torch.isfinite(w).all() for w in weights]).all())

    def _weights(self) -> dict[str, Tensor]:
        """Those that predict now."""
        with self._averaged():
            return {name: w.detach().clone() for name, w in tensors_of(self.learned).items()}

    def save(self) -> None:
        """Write the state, by the first process; not one that is no number, from which nothing could go on."""
        self._saved_s = time.perf_counter()
        if self.folder is None:
            return
        generators = launch.gathered(self.fabric, checkpoint.generators())
        total = sum(launch.gathered(self.fabric, self.state.total))
        losses = [total, *(row["loss"] for row in self.state.history[-1:])]
        if not (all(map(math.isfinite, losses)) and self._finite()):
            return
        if self.fabric.global_rank == 0:
            s, state = self.settings, self.state
            tensors = {f"network.{k}": v for k, v in tensors_of(self.learned).items()}
            tensors |= {f"optimiser.{k}": v for k, v in checkpoint.optimiser_tensors(self.optimiser).items()}
            tensors |= {f"average.{i}": w for i, w in enumerate(self.average or [])}
            tensors |= {f"best.{k}": v for k, v in (self.best or {}).items()}
            steps = -(-len(self.examples) // s.batch)
            record = {"settings": s.json(), "data": identity(self.data), "generators": generators}
            record["start"] = self.start_digest
            record |= {**vars(state), "step_of_epoch": state.step, "total": total, "world": self.fabric.world_size}
            checkpoint.save(self.folder / CHECKPOINTS, state.epoch * steps + state.step, tensors, record)
        self.fabric.barrier()

    def restore(self) -> None:
        """Go on from the checkpoint in the folder, if there is one.

        Raises:
            InputError: it is damaged, or of other settings, data or networks.
        """
        found = checkpoint.load(self.folder / CHECKPOINTS)
        if found is None:
            return
        tensors, record = found
        before = Settings(**record["settings"])
        if changed := self.settings.differences(before):
            said = ", ".join(f"{k} {value_of(before, k)} -> {value_of(self.settings, k)}" for k in changed)
            raise InputError(f"{self.folder} was trained with other settings ({said}): resume with the same ones")
        old, new = record["data"], identity(self.data)
        if old != new:
            said = ", ".join(f"{key} {old.get(key)} -> {new[key]}" for key in new if old.get(key) != new[key])
            raise InputError(f"{self.folder} was trained on other data ({said}): resume with the same ones")
        if record.get("start") != self.start_digest:
            raise InputError(f"start={self.settings.start} holds other weights than those {self.folder} began with")

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

        try:
            self.learned.load_state_dict(part("network"))
        except RuntimeError as error:
            raise InputError(f"the checkpoint in {self.folder} is of another network: {first_line(error)}") from None
        device = self.fabric.device
        checkpoint.restore_optimiser(self.optimiser, {k: v.to(device) for k, v in part("optimiser").items()})
        if self.average is not None:
            self.average = [tensors[f"average.{i}"].to(device) for i in range(len(self.average))]
        self.best = {k: v.to(device) for k, v in part("best").items()} or None
        first = self.fabric.global_rank == 0
        self.state = State(
            epoch=record["epoch"],
            step=record["step_of_epoch"],
            total=record["total"] if first else 0.0,
            history=record["history"],
            best=record["best"],
            elapsed=record["elapsed"],
        )
        if record["world"] == self.fabric.world_size:
            checkpoint.restore_generators(record["generators"][self.fabric.global_rank])

    def _log(self, row: dict[str, float | None]) -> None:
        """history.csv, written whole, and TensorBoard's events."""
        if self.folder is None or self.fabric.global_rank != 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(self.folder / HISTORY) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.state.history)
        if not hasattr(self, "board"):
            from torch.utils.tensorboard import SummaryWriter  # a slow import

            self.board = SummaryWriter(self.folder / LOGS, purge_step=self.state.epoch)
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self.board.add_scalar(name, value, self.state.epoch)
        self.board.flush()

    def operator(self) -> Operator:
        """What predicts: the weights with the least error on "valid", or the last ones.

        Raises:
            ComputationError: the last ones are no numbers.
        """
        if self.settings.keep == "best" and self.best is not None:
            self.learned.load_state_dict(self.best)
        else:
            self._check_weights()
            self.learned.load_state_dict(self._weights())
        first, s = self.examples.data, self.settings
        info = {
            "task": first.name,
            **facts_of(first),
            "samples": len(first),
            "examples": len(self.examples),
            "grid": list(first.grid),
            "axes": [[float(a[0]), float(a[-1])] for a in first.coordinates],
            "periodic": list(periodic(first)),
            "times": None if first.times is None else [float(first.times[0]), float(first.times[-1])],
            "inside": INSIDE in self.examples.channels.given,
            "epochs": self.state.epoch,
            "training_s": self.state.elapsed,
            "valid_relative_l2": self.state.best,
            "precision": s.precision,
            "data": identity(self.data),
            "start": self.start_digest and {"run": s.start, "digest": self.start_digest},
        }
        return Operator(self.learned.eval().cpu(), self.examples.channels, self.state.history, info)


def identity(data: Dataset) -> dict[str, Any]:
    """By which data are known again; grid is [] on meshes."""
    return {"name": data.name, "samples": len(data), "digest": data.info.get("digest"), "grid": list(data.grid)}


def hash_of(*numbers: int) -> int:
    """A seed for each tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _size_gb(data: Dataset) -> float:
    """Of all values in single precision."""
    places = math.prod(data.grid) if data.coordinates else len(data.source.mesh(0).points)
    frames = 1 if data.times is None else len(data.times)
    sizes = (math.prod(info.shape) * (frames if info.time_varying else 1) for info in data.fields.values())
    return 4e-9 * places * len(data) * sum(sizes)


def _as_it_is(batch: Batch) -> Batch:
    return batch
