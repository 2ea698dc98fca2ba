"""A trained network as a solution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Geometry, MeshGeometry
from variform.problem import Problem
from variform.runs import atomic
from variform.solution import Cost, Solution, Status
from variform.solvers.neural.trial import Trial

CHUNK = 20_000


class NetworkSolution(Solution):
    """A trial function with its trained parameters; exact at any point, NaN outside the domain's bounding box."""

    support = "network"

    def __init__(
        self,
        trial: Trial,
        theta: Tensor,
        cost: Cost,
        discretization: dict[str, Any],
        history: list[tuple[int, float]],
        status: Status = "done",
    ) -> None:
        self.trial, self.theta, self.training = trial, theta.detach(), history
        self.cost, self.discretization, self.status = cost, discretization, status

    @property
    def mesh(self) -> Mesh:
        return self.trial.mesh

    def at(
        self, x: np.ndarray, *, field: str | None = None, t: float | None = None, derivatives: int = 0
    ) -> np.ndarray:
        problem, dim = self.trial.problem, self.mesh.dim
        name = field or next(iter(problem.fields))
        if derivatives not in (0, 1):
            raise InputError(f"networks give values and gradients, not derivatives={derivatives}")
        x = np.atleast_2d(np.asarray(x, dtype=float))
        directions = [(i,) for i in range(dim)] if derivatives else [()]
        shape = problem.fields[name].shape
        keys = [(name, c, axes) for c in np.ndindex(*shape) for axes in directions]
        values = np.concatenate(
            [self._chunk(x[:, i : i + CHUNK], t, keys) for i in range(0, x.shape[1], CHUNK)], axis=1
        )
        lower, upper = (
            np.asarray(b, dtype=float)[:, None] for b in (self.trial.geometry.lower, self.trial.geometry.upper)
        )
        margin = 1e-9 * (upper - lower)
        values[:, ((x < lower - margin) | (x > upper + margin)).any(axis=0)] = np.nan
        return values.reshape(*shape, *((dim,) if derivatives else ()), -1)

    def save(self, folder: Path) -> Path:
        """Write `network.npz`: the parameters, the layers, and the loss after each step."""
        path = Path(folder) / "network.npz"
        layers, history = self.trial.network.sizes, np.array(self.training)
        with atomic(path) as temporary:
            np.savez(temporary, parameters=self.theta.numpy(), layers=layers, history=history)
        return path

    def _chunk(self, x: np.ndarray, t: float | None, keys: list[Any]) -> np.ndarray:
        """Values (keys, n); points are grouped by their side of every interface."""
        points, trial = torch.as_tensor(x), self.trial
        interval = trial.problem.time
        times = None if interval is None else torch.full_like(points[0], interval[1] if t is None else t)
        sides = trial.sides_at(points).T.tolist()
        values = np.empty((len(keys), x.shape[1]))
        for side in {tuple(s) for s in sides}:
            here = torch.tensor([tuple(s) == side for s in sides])
            directions = {axes for _, _, axes in keys}
            data = trial.prepare_at(points[:, here], None if times is None else times[here], side, directions, {})
            with torch.no_grad():
                jet = trial.jet(self.theta, data)
            values[:, here.numpy()] = torch.stack([jet[key] for key in keys]).numpy()
        return values


def geometry_and_mesh(problem: Problem, mesh: Mesh | int | None) -> tuple[Geometry, Mesh]:
    """The problem's own geometry with a mesh of it, or the geometry of a given mesh.

    By default 12 cells a side, 8 in an evolution, whose points are multiplied by those in time.
    """
    if isinstance(mesh, Mesh):
        return MeshGeometry(mesh), mesh
    geometry = problem.geometry(problem.p)
    return geometry, geometry.mesh(mesh or (8 if problem.time else 12))


def record(trial: Trial, network: str, **more: Any) -> dict[str, Any]:
    """What a run's record says of a network."""
    return {"network": network, "layers": list(trial.network.sizes), "cells": len(trial.mesh.cells), **more}
