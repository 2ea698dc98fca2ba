"""A trained operator: what predicts, and its files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform.data.dataset import Dataset
from variform.errors import InputError
from variform.grid import GridSolution
from variform.mesh import Mesh
from variform.operators.checkpoint import read_tensors, write_tensors
from variform.operators.examples import INSIDE, Batch, Channels, Examples, edges_of, periodic
from variform.operators.known import numbers_of
from variform.operators.learned import Learned
from variform.operators.settings import Settings
from variform.problem import Problem
from variform.runs import read_record, write_json
from variform.solution import Solution, Stopwatch
from variform.task import Task, evaluate

TENSORS, RECORD = "operator.pt", "operator.json"
ALIKE = 1e-6
"""Relative: of times, boxes and parameters."""


@dataclass(frozen=True)
class Operator:
    """A trained network with everything that a prediction needs.

    Args:
        learned: the map, in the units of the data.
        channels: what goes in and comes out, by name.
        history: of the training, a row an epoch.
        info: JSON content: the grid and the times it was trained on, how long that took.
    """

    learned: Learned
    channels: Channels
    history: list[dict[str, float | None]] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return self.learned.settings

    @property
    def num_parameters(self) -> int:
        return self.learned.num_parameters

    def examples(self, data: Dataset, device: torch.device | None = None) -> Examples:
        """Samples of a data set as they are measured: what is given, and what follows.

        Raises:
            InputError: they do not fit the operator.
        """
        if data.dim != len(self.channels.lower):
            raise InputError(f"{data.name} has {data.dim} dimensions, the operator {len(self.channels.lower)}")
        if (evolves := data.times is not None) != (self.info["times"] is not None):
            kinds = {True: "an evolution", False: "stationary"}
            raise InputError(
                f"{data.name} is {kinds[evolves]}, what the operator was trained on is {kinds[not evolves]}"
            )
        made = Examples(data, self.settings, measured=True, channels=self.channels, device=device, dtype=self.dtype)
        self._check_times(data, made)
        self._check_grid(data)
        return made

    def _check_times(self, data: Dataset, made: Examples) -> None:
        """Refuse data whose frames lie otherwise apart."""
        if not self.learned.frames:
            return
        if self.learned.learn == "solution":
            what, found = "from first to last time", np.ptp(data.times)
            trained = np.ptp(self.info["times"])
        else:
            what, found, trained = "between two frames", made.dt, self.learned.dt
        if abs(found - trained) > ALIKE * abs(trained):
            raise InputError(f"{data.name} has {found:.7g} s {what}, the operator was trained on {trained:.7g} s")

    def _check_grid(self, data: Dataset) -> None:
        """Refuse grids of another box or periodicity; boxes of meshes are those of random domains, and differ."""
        if not (data.coordinates and self.info["grid"]):
            return
        wraps, learnt = periodic(data), tuple(self.info["periodic"])
        if wraps != learnt:
            raise InputError(f"the axes of {data.name} are periodic: {wraps}, the operator was trained on {learnt}")
        trained = np.array([self.channels.lower, self.channels.upper])
        channels = Channels.of(data)
        found = np.array([channels.lower, channels.upper])
        # Points in the middles of cells leave half a cell out at each end, which depends on the resolution.
        boxes = [(found, trained), (_of_cells(found, data.grid, wraps), _of_cells(trained, self.info["grid"], wraps))]
        if all((abs(a - b) > ALIKE * np.ptp(trained, axis=0)).any() for a, b in boxes):
            said = [" to ".join(str(tuple(corner)) for corner in box.tolist()) for box in (found, trained)]
            raise InputError(f"{data.name} lies in the box {said[0]}, the operator was trained on {said[1]}")

    def having(self, numbers: Mapping[str, Any]) -> Operator:
        """The same weights beside a known part of du/dt with these numbers: they are the task's, and not learnt."""
        if self.learned.known is None:
            return self
        return replace(self, learned=self.learned.beside(self.learned.known.having(numbers)))

    @property
    def dtype(self) -> torch.dtype:
        return self.learned.static_mean.dtype

    @torch.no_grad()
    def __call__(self, batch: Batch, steps: int | None = None) -> Tensor:
        """Predictions (B, T, C, *N) for examples, as many frames as they have targets unless said otherwise."""
        return self.learned.rollout(batch, batch.target.shape[1] if steps is None else steps)

    def predict(
        self,
        task: Task,
        *,
        resolution: int | None = None,
        steps: int | None = None,
        mesh: Mesh | int | None = None,
    ) -> Solution:
        """The solution of one instance, on a uniform grid or on a mesh, as it was trained.

        Args:
            resolution: points along each axis of the grid, by default those of the training set.
            steps: frames, of an evolution that was learnt from one frame.
            mesh: of an operator trained on meshes: a mesh, or cells a side of the problem's own domain. The solution
                has its values at the points: linear on straight cells, of second order on those of second order.

        Raises:
            InputError: the task lacks an input of the network, the network needs several frames, or it was trained on
                what is not asked for.
        """
        if mesh is not None:
            return self._on_mesh(task, mesh)
        watch = Stopwatch()
        axes = self._axes(resolution)
        batch = self._given(task, np.stack(np.meshgrid(*axes, indexing="ij")))
        count = 1 if self.learned.learn == "solution" else steps or self.settings.ahead
        with watch("predict"):
            predicted = self.having(task.values)(batch, count)[0].double().cpu().numpy()
        if self.info["times"] is None:
            values, times = predicted, np.zeros(1)
        else:
            start, end = self.info["times"]
            later = [end] if self.learned.learn == "solution" else start + self.learned.dt * np.arange(1, count + 1)
            values = np.concatenate([batch.frames[0, -1:].double().cpu().numpy(), predicted])
            times = np.array([start, *later])
        return GridSolution(
            values=self._by_field(values),
            times=times,
            lower=self.channels.lower,
            upper=self.channels.upper,
            periodic=all(self.info["periodic"]),
            mesh=task.geometry(task.p).mesh(len(axes[0]) - 1) if isinstance(task, Problem) else None,
            cost=watch.cost(parameters=self.num_parameters),
            discretization={**self._discretization, "resolution": len(axes[0])},
        )

    def _on_mesh(self, task: Task, mesh: Mesh | int) -> Solution:
        from variform.operators.nodal import mesh_of, solution_at_points

        if self.info["grid"]:
            raise InputError("the operator was trained on a grid: choose a resolution, and not a mesh")
        if not isinstance(task, Problem) or task.time is not None:
            raise InputError(f"{task.name}: only stationary problems with a weak form are predicted on meshes")
        watch, mesh = Stopwatch(), mesh_of(task, mesh)
        batch = self._given(task, mesh.points.T, edges_of(mesh.nodes))
        with watch("predict"):
            predicted = self(batch, 1)[0].double().cpu().numpy()
        values = {name: part[0] for name, part in self._by_field(predicted).items()}
        about = {**self._discretization, "cells": len(mesh.cells), "cell_type": mesh.cell_type, "degree": mesh.order}
        return solution_at_points(task, mesh, values, watch.cost(parameters=self.num_parameters), about)

    @property
    def _discretization(self) -> dict[str, Any]:
        return {
            "network": self.settings.network,
            **self.settings.options,
            "training": {k: self.info[k] for k in ("samples", "epochs", "training_s", "grid", "data")},
            "seed": self.settings.seed,
        }

    def grid(self, resolution: int | None = None) -> Tensor:
        """Coordinates in the unit box, (1, dim, *N)."""
        return self._scaled(np.stack(np.meshgrid(*self._axes(resolution), indexing="ij")))

    def _scaled(self, x: np.ndarray) -> Tensor:
        """Coordinates (dim, *N) [m] in the unit box, (1, dim, *N)."""
        lower, upper = (np.reshape(c, (-1, *[1] * (x.ndim - 1))) for c in (self.channels.lower, self.channels.upper))
        return torch.as_tensor(((x - lower) / (upper - lower))[None], dtype=self.dtype)

    def _axes(self, resolution: int | None) -> list[np.ndarray]:
        if not self.info["grid"]:
            raise InputError("the operator was trained on meshes: choose a mesh, or predict from a data file")
        return [
            np.linspace(a, b, resolution or n, endpoint=not wraps)
            for a, b, n, wraps in zip(
                self.channels.lower, self.channels.upper, self.info["grid"], self.info["periodic"], strict=True
            )
        ]

    def _given(self, task: Task, x: np.ndarray, edges: np.ndarray | None = None) -> Batch:
        """One example of an instance, its fields evaluated at the points x (dim, *N) of a grid or a mesh."""
        self._check_task(task)
        wanted = [n for n in (*self.channels.given, *self.channels.numbers) if n != INSIDE]
        missing = [name for name in wanted if name not in task.values]
        if missing:
            raise InputError(f"{task.name} has no parameter {missing[0]!r}, an input of this network")
        if self.info["inside"]:
            raise InputError("the operator was trained on domains in a box: predict from a data file")
        static = np.stack([evaluate(task.values[name], x) for name in wanted]) if wanted else x[:0]
        if self.learned.frames > 1:
            raise InputError(f"the operator starts from {self.learned.frames} frames: predict from a data file")
        frames = None
        if self.learned.frames:
            start = np.asarray(_initial(task, x), dtype=float).reshape(1, 1, -1, *x.shape[1:])
            frames = torch.as_tensor(start, dtype=self.dtype)
        return Batch(
            samples=torch.zeros(1, dtype=torch.long),
            static=torch.as_tensor(static[None], dtype=self.dtype),
            frames=frames,
            target=torch.zeros(1, 1, self.channels.components, *x.shape[1:], dtype=self.dtype),
            inside=None,
            x=self._scaled(x),
            edges=None if edges is None else torch.as_tensor(edges),
        )

    def _check_task(self, task: Task) -> None:
        """Refuse another problem than that of the training set, and other values of what was the same in all of it."""
        if (problem := self.info.get("problem", task.name)) != task.name:
            raise InputError(f"the operator was trained on the problem {problem}, and not on {task.name}")
        known = self.learned.known
        free = {*self.channels.given, *self.channels.numbers, *(known.used if known else ())}
        for name, trained in self.info.get("values", {}).items():
            if name not in free and name in task.values and not _alike(task.values[name], trained):
                given = "a function" if callable(task.values[name]) else task.values[name]
                raise InputError(f"the operator was trained on {name} = {trained}, and not on {given}")

    def _by_field(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """(T, C, *N) to fields (T, [components,] *N)."""
        found, begin = {}, 0
        for name, components in self.channels.unknowns.items():
            part = values[:, begin : begin + components]
            found[name] = part[:, 0] if components == 1 else part
            begin += components
        return found

    def save(self, folder: Path) -> None:
        """Write `operator.pt` (tensors) and `operator.json` (everything else)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v for k, v in self.learned.state_dict().items() if isinstance(v, Tensor)}
        write_tensors(folder / TENSORS, state)
        made = {
            "learn": self.learned.learn,
            "dt": self.learned.dt,
            "evolves": self.info["times"] is not None,
        }
        record = {"settings": self.settings.json(), "channels": asdict(self.channels), "learned": made}
        write_json(folder / RECORD, {**record, "history": self.history, "info": self.info})


def facts_of(data: Dataset) -> dict[str, Any]:
    """The class of the problem that a data set was generated of, and the parameters that all samples share."""
    problem = {"problem": data.name} if "card" in data.info else {}
    return {**problem, "values": numbers_of(data)}


def load(folder: Path) -> Operator:
    """Read what `Operator.save` wrote.

    Raises:
        InputError: the files are missing or damaged.
    """
    folder = Path(folder)
    try:
        record = read_record(folder, RECORD)
        tensors = read_tensors(folder / TENSORS)
        settings, made = Settings(**record["settings"]), record["learned"]
        given = record["channels"]
        corners = {key: tuple(map(float, given[key])) for key in ("lower", "upper")}
        channels = Channels(given["given"], tuple(given["numbers"]), given["unknowns"], **corners)
        learned = Learned(
            settings,
            made["learn"],
            channels.static,
            channels.components,
            dim=len(channels.lower),
            periodic=tuple(record["info"]["periodic"]),
            evolves=made["evolves"],
            dt=made["dt"],
        ).in_precision(tensors["static_mean"].dtype)
        if "held" in tensors:
            learned.hold(tensors["held"])
        learned.load_state_dict(tensors)
        history = [dict(row) for row in record["history"]]
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise InputError(f"{folder} holds no trained operator: {lines[0]}") from None
    return Operator(learned.eval(), channels, history, record["info"])


def _alike(given: Any, trained: Any) -> bool:
    """Two values of a parameter: numbers, or numbers by region."""
    if isinstance(trained, Mapping):
        return isinstance(given, Mapping) and all(_alike(given.get(key), value) for key, value in trained.items())
    return isinstance(given, int | float) and math.isclose(given, trained, rel_tol=ALIKE)


def _of_cells(box: np.ndarray, grid: Sequence[int], wraps: Sequence[bool]) -> np.ndarray:
    """Corners (2, dim) of the box whose cells have the points of a grid in their middles."""
    half = [side / (n if p else max(n - 1, 1)) / 2 for side, n, p in zip(np.ptp(box, axis=0), grid, wraps, strict=True)]
    return box + np.where([[False] * len(half), wraps], -1, [[-1], [1]]) * half


def _initial(task: Any, x: np.ndarray) -> Any:
    """Initial values of an evolution at points (dim, *N): (C, *N)."""
    if hasattr(task, "initial_values"):
        return task.initial_values(x, task.p)
    from variform.forms import values

    found = values(task, lambda point, t, p: task.initial(point, p), torch.as_tensor(x.reshape(len(x), -1)), 0.0)
    return np.concatenate([np.asarray(v).reshape(-1, *x.shape[1:]) for v in found.values()])
