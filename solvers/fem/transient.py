"""Evolutions by finite elements: the loop over time steps, its checkpoints, histories and snapshots."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from dolfinx import fem
from mpi4py import MPI

from variform.errors import ComputationError, InputError
from variform.solvers.fem import checkpoint
from variform.solvers.fem.discretize import Discrete, interpolate
from variform.solvers.fem.time import SCHEMES, Stepper, stepper
from variform.solvers.fem.time.newton import failed
from variform.solvers.fem.time.stage import State, state_of
from variform.solvers.fem.time.stepper import largest

Snapshots = list[tuple[float, State]]
Observe = Callable[[float], dict[str, float]]

SAFETY, SHRINK, GROW, KEEP = 0.9, 0.2, 5.0, 1.25
"""Of the step size control: a step that could grow by less than KEEP stays, and the factors with it."""
SMALLEST_STEP = 1e-12
"""As a part of the whole time."""


class Evolution:
    """An evolution under way: everything that a checkpoint holds, so that a resumed run ends with the same numbers.

    Args:
        discrete: holds the present state.
        steps: of constant length; with a tolerance the first one is that long.
        snapshots: how many later states to keep, evenly spaced in time; the first is kept too.
        tolerance: of the local error of a step, root mean square over the dofs of a field over its largest value;
            None for constant steps.
        observe: quantities at the present state, recorded after every step.
        folder: of the checkpoints; None for none.
        every: steps between them. There the Jacobian is assembled anew, as a resumed run must.

    Raises:
        InputError: steps that do not fit the snapshots, a tolerance for a scheme that estimates no error, a time that
            ends before it starts, a checkpoint of another run (what differs is named).
    """

    def __init__(
        self,
        discrete: Discrete,
        *,
        scheme: str | None,
        steps: int | None,
        snapshots: int,
        tolerance: float | None,
        observe: Observe,
        folder: Path | None = None,
        every: int = 50,
        **options: Any,
    ) -> None:
        problem = discrete.problem
        self.discrete, self.observe, self.folder, self.every = discrete, observe, folder, every
        self.start, self.end = map(float, problem.time)
        if not self.end > self.start:
            raise InputError(f"{problem.name}: the last time {self.end:g} s must be after the first, {self.start:g} s")
        self.steps, self.tolerance = steps or problem.steps, tolerance
        if self.steps < 1 or snapshots < 1 or (tolerance is None and self.steps % snapshots):
            raise InputError(
                f"steps must be a positive multiple of snapshots, got {self.steps} steps, {snapshots} snapshots"
            )
        self.stepper: Stepper = stepper(scheme, discrete, **options)
        if tolerance is not None and self.stepper.error_order is None:
            able = [
                n for n, make in SCHEMES.items() if getattr(getattr(make, "keywords", {}).get("tableau"), "error", None)
            ]
            raise InputError(
                f"scheme {self.stepper.name!r} estimates no error, so that a tolerance cannot control its steps: use "
                f"{', '.join(able)}"
            )
        self.targets = np.linspace(self.start, self.end, snapshots + 1)
        self.t, self.number, self.rejected = self.start, 0, 0
        self.dt = (self.end - self.start) / self.steps
        self.states: Snapshots = []
        self.rows: list[dict[str, float]] = []
        self.scale: dict[str, float] = {}
        self.earlier: dict[str, Any] = {}
        self.identity = _identity(discrete) | {
            "scheme": self.stepper.name,
            "steps": self.steps,
            "snapshots": snapshots,
            "tolerance": tolerance,
            "checkpoint_every": every,
            "rtol": options.get("rtol"),
        }

    def run(self, initial: Callable[[], None], progress: Callable[[float, str], None]) -> None:
        """Step to the last time; from the last checkpoint, where there is one.

        Args:
            initial: puts the initial values into the fields.

        Raises:
            ComputationError: a step failed, which with error control has been made shorter before.
        """
        if not self._resume():
            initial()
            self.discrete.set_time(self.start)
            self.stepper.start(self.start, self.dt, None if self.tolerance else self.steps)
            self._keep()
            self._record()
        while len(self.states) < len(self.targets):
            try:
                self._advance() if self.tolerance is None else self._advance_by_error()
            except ComputationError as error:
                raise failed(f"step {self.number + 1}", self.t, error) from None
            self._record()
            if self.t == self.targets[len(self.states)]:
                self._keep()
            if self.number % self.every == 0 and len(self.states) < len(self.targets):
                self.stepper.forget()
                self._save()
            done = (self.t - self.start) / (self.end - self.start)
            of = f" of {self.steps}" if self.tolerance is None else f", dt = {self.dt:.3g} s"
            progress(done, f"step {self.number}{of}")

    def _advance(self) -> None:
        dt = (self.end - self.start) / self.steps
        self.discrete.symbols.inverse_step.value = 1 / dt
        self.stepper.step(self.number, self.start + self.number * dt, dt)
        self.number += 1
        per_snapshot = self.steps // (len(self.targets) - 1)
        whole, part = divmod(self.number, per_snapshot)
        self.t = float(self.targets[whole]) if part == 0 else self.start + self.number * dt

    def _advance_by_error(self) -> None:
        """One accepted step."""
        stepper = self.stepper
        target = float(self.targets[len(self.states)])
        before = self._state()
        while True:
            left = target - self.t
            # What is left is divided evenly where one or two steps will do: no step is made tiny by a target.
            dt = left if 1.01 * self.dt >= left else left / 2 if 2 * self.dt > left else self.dt
            self.discrete.symbols.inverse_step.value = 1 / dt
            try:
                error, reason = self._size(stepper.step(self.number, self.t, dt)), ""
            except ComputationError as caught:
                error, reason = math.nan, f" ({caught})"
            if error <= 1.0:
                break
            self.rejected += 1
            self._restore(before)
            power = error ** (-1 / stepper.error_order) if error > 0 and math.isfinite(error) else 0.0
            self.dt = dt * max(SHRINK, SAFETY * power)
            stepper.forget()
            if self.dt < SMALLEST_STEP * (self.end - self.start):
                raise ComputationError(f"no step is short enough for tolerance {self.tolerance:g}{reason}")
        self.number += 1
        self.t = target if dt == left else self.t + dt
        factor = min(GROW, SAFETY * error ** (-1 / stepper.error_order)) if error > 0 else GROW
        if dt >= 0.99 * self.dt and (factor < 1 or factor >= KEEP):
            self.dt = dt * factor

    def _size(self, errors: State | None) -> float:
        """The largest error of a field, as a part of the tolerance."""
        comm, worst = self.discrete.comm, 0.0
        now = largest({name: self.discrete.u[name].x.array for name in errors or {}}, comm)
        for name, error in (errors or {}).items():
            u = self.discrete.u[name]
            owned = u.function_space.dofmap.index_map.size_local * u.function_space.dofmap.bs
            total = comm.allreduce(np.array([np.sum(error[:owned] ** 2), owned]), op=MPI.SUM)
            self.scale[name] = max(self.scale.get(name, 0.0), now[name])
            if total[0] > 0:
                worst = max(worst, math.sqrt(total[0] / total[1]) / (self.tolerance * self.scale[name]))
        return worst

    def _functions(self) -> Iterator[tuple[str, str, fem.Function]]:
        """Names, fields and functions that make the state."""
        for name, u in self.discrete.u.items():
            yield name, name, u
            yield f"{name}_t", name, u.rate
            yield f"{name}_tt", name, u.rate.rate
        for label, function in self.stepper.memory.items():
            field = next(n for n, u in self.discrete.u.items() if label.startswith(f"{n}_") and _same(u, function))
            yield label, field, function

    def _state(self) -> dict[str, np.ndarray]:
        return {label: function.x.array.copy() for label, _, function in self._functions()}

    def _restore(self, state: dict[str, np.ndarray]) -> None:
        for label, _, function in self._functions():
            function.x.array[:] = state[label]

    def _record(self) -> None:
        self.rows.append({"t": self.t, **self.observe(self.t)})

    def _keep(self) -> None:
        """The present state as the next snapshot."""
        index = len(self.states)
        self.states.append((self.t, state_of(self.discrete)))
        if self.folder is not None:
            checkpoint.write(self.folder / f"snapshot-{index:05d}.h5", self.discrete, attributes={"t": self.t})

    def _save(self) -> None:
        if self.folder is None:
            return
        path = self.folder / f"step-{self.number:08d}.h5"
        names = list(self.rows[0])
        checkpoint.write(
            path,
            self.discrete,
            functions={label: (field, function) for label, field, function in self._functions()},
            attributes={
                "identity": json.dumps(self.identity),
                "t": self.t,
                "dt": self.dt,
                "number": self.number,
                "rejected": self.rejected,
                "snapshots": len(self.states),
                "scale": json.dumps(self.scale),
                "counts": json.dumps(self.counts),
            },
            arrays={f"history/{i}": np.array([row[name] for row in self.rows]) for i, name in enumerate(names)}
            | {"history_names": np.array([name.encode() for name in names])},
        )
        if self.discrete.comm.rank == 0:
            for older in self.folder.glob("step-*.h5"):
                if older != path:
                    older.unlink(missing_ok=True)
        self.discrete.comm.barrier()

    def _resume(self) -> bool:
        """Go on from the checkpoint in the folder; False if there is none."""
        found = sorted(self.folder.glob("step-*.h5")) if self.folder is not None else []
        found = self.discrete.comm.bcast(found)
        if not found:
            return False
        stored = checkpoint.read(found[-1])
        identity = json.loads(stored.attributes["identity"])
        if identity != json.loads(json.dumps(self.identity)):
            keys = [k for k in {**identity, **self.identity} if identity.get(k) != self.identity.get(k)]
            changes = "; ".join(f"{k} was {_words(identity.get(k))}, is {_words(self.identity.get(k))}" for k in keys)
            raise InputError(f"{found[-1]} is of another run, which cannot go on with what is asked for now: {changes}")
        for index in range(int(stored.attributes["snapshots"])):
            snapshot = checkpoint.read(self.folder / f"snapshot-{index:05d}.h5")
            checkpoint.fill(self.discrete, snapshot)
            self.states.append((float(snapshot.attributes["t"]), state_of(self.discrete)))
        checkpoint.fill(self.discrete, stored, {label: (f, u) for label, f, u in self._functions()})
        self.t, self.dt = float(stored.attributes["t"]), float(stored.attributes["dt"])
        self.number, self.rejected = int(stored.attributes["number"]), int(stored.attributes["rejected"])
        self.scale = json.loads(stored.attributes["scale"])
        self.earlier = json.loads(stored.attributes["counts"])
        names = [name.decode() for name in stored.arrays["history_names"]]
        columns = [stored.arrays[f"history/{i}"] for i in range(len(names))]
        self.rows = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
        self.discrete.set_time(self.t)
        self.stepper.resume(self.t)
        return True

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Recorded quantities by name, and the times "t" [s], each of shape (steps + 1,)."""
        return {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}

    @property
    def counts(self) -> dict[str, Any]:
        done = {name: count + self.earlier.get(name, 0) for name, count in self.stepper.counts.items()}
        counts: dict[str, Any] = {"scheme": self.stepper.name, "steps": self.number, **done}
        if self.tolerance is not None:
            counts |= {"tolerance": self.tolerance, "rejected_steps": self.rejected}
        return counts


def set_initial_values(discrete: Discrete) -> None:
    """Nodal interpolation of the problem's initial values; absent ones are zero."""
    problem, s = discrete.problem, discrete.symbols
    for name, value in problem.by_field(problem.initial(s.x, s.p)).items():
        interpolate(discrete.u[name], value)
    for name, value in problem.by_field(problem.initial_rate(s.x, s.p)).items():
        interpolate(discrete.u[name].rate, value)


def _identity(discrete: Discrete) -> dict[str, Any]:
    """What a resumed run must share with the one it continues, as JSON takes it."""
    problem, source = discrete.problem, discrete.domain.source
    parameters = {}
    for name, value in problem.values.items():
        symbol = getattr(discrete.symbols.p, name)
        if callable(value):
            dofs = checkpoint.by_cell(symbol, source, discrete.comm)
            parameters[name] = f"a field, sha256 {hashlib.sha256(dofs.tobytes()).hexdigest()[:12]}"
        else:
            parameters[name] = value
    mesh = hashlib.sha256(source.points.tobytes() + source.cells.tobytes()).hexdigest()[:12]
    return {
        "problem": problem.name,
        "time": list(map(float, problem.time)),
        **parameters,
        "mesh": f"{len(source.cells)} cells, sha256 {mesh}",
        "degrees": dict(discrete.degrees),
    }


def _same(u: fem.Function, function: fem.Function) -> bool:
    return u.function_space == function.function_space


def _words(value: Any) -> str:
    return "absent" if value is None else f"{value:.12g}" if isinstance(value, float) else str(value)
