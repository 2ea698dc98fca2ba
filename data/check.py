"""Whether a data file holds what it says: layout, finite values, digests, and the equation itself where it allows.

Nothing that the file says of its own residuals is believed: they are computed again, from the form in the file.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any, Literal

import numpy as np

from variform.data import readers, store
from variform.data.dataset import Dataset
from variform.data.recheck import Recheck, recheck
from variform.errors import ComputationError, InputError

Progress = Callable[[float, str], None]

ROWS = 64
"""Samples that are read at once."""
PATIENCE = 20.0, 5e-8
"""Longest time for a damaged file to be read [s], and what is added a byte: HDF5 may never come back from one."""
FLOAT32 = 1.2e-7
"""Distance of neighbouring numbers in single precision, relative."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one test.

    Args:
        test: what was tested.
        status: "not checkable" comes with the reason in `detail`.
        detail: in words.
        samples: those that failed.
        value: the largest of what was measured, where something was.
    """

    test: str
    status: Literal["passed", "failed", "not checkable"]
    detail: str
    samples: tuple[int, ...] = field(default=())
    value: float | None = None


def check(path: Path, *, progress: Progress = lambda fraction, text: None) -> list[Finding]:
    """Test a data file of any layout that can be read.

    Raises:
        InputError: there is no such file, or it has no layout that is known.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no data file {path}")
    if not is_ours(path):
        return _foreign(path, progress)
    if (fault := store.check_seal(path)) is None:
        return [Finding("checksum", "passed", "SHA-256 of the file"), *_inspect(path, progress)]
    return [Finding("checksum", "failed", fault), *_inspect_damaged(path)]


def is_ours(path: Path) -> bool:
    """Whether the file begins as ours do, or has our group."""
    if path.is_dir():
        return False
    with open(path, "rb") as file:
        if file.read(len(store.SEAL)) == store.SEAL:
            return True
    try:
        store.read(path)
    except InputError:
        return False
    return True


def _inspect_damaged(path: Path) -> list[Finding]:
    """In a process of its own, whose end is not waited for without limit."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_inspect_and_send, args=(path, there), daemon=True)
    process.start()
    there.close()
    patience = PATIENCE[0] + PATIENCE[1] * path.stat().st_size
    try:
        if connection.wait([here], timeout=patience):
            return here.recv()
        return [Finding("layout", "failed", f"the file is damaged: reading it did not end in {patience:.0f} s")]
    except EOFError:
        return [Finding("layout", "failed", "the file is damaged: the HDF5 library broke down reading it")]
    finally:
        process.kill()
        process.join()


def _inspect_and_send(path: Path, pipe: Any) -> None:
    pipe.send(_inspect(path, lambda fraction, text: None, equation=False))


def _inspect(path: Path, progress: Progress, *, equation: bool = True) -> list[Finding]:
    """All tests of a file of ours but its checksum."""
    try:
        stored = store.Stored(store.LazyFile(path))
        data = stored.dataset()
        tests = _Own(stored, data)
        findings = [Finding("layout", "passed", f"{len(data)} samples of {data.name}"), *tests.samples(progress)]
    except InputError as error:
        return [Finding("layout", "failed", str(error))]
    if any(finding.status == "failed" for finding in findings) and not equation:
        return findings
    return [*findings, *(_equation(stored, progress) if equation else [])]


class _Own:
    """Tests of single samples of a file of ours."""

    def __init__(self, stored: store.Stored, data: Dataset) -> None:
        self.stored, self.data = stored, data
        own = stored.own
        self.arrays = [
            name
            for name in _leaves(own)
            if name.split("/")[0]
            in ("state", "input", "parameter", "residual", "failed", "index", "points", "nodal", "sampling")
        ]

    def samples(self, progress: Progress) -> list[Finding]:
        """Finite values and digests, one sample after the other."""
        count, lost = len(self.data), set(self.data.bad)
        odd: list[int] = []
        changed: list[int] = []
        unreadable: dict[int, str] = {}
        digests = self.stored.array("digest")
        if digests is None or digests.shape != (count, 32):
            return [Finding("digests", "failed", "the digests of the samples are missing")]
        whole = hashlib.sha256()
        for start in range(0, count, ROWS):
            block = range(start, min(start + ROWS, count))
            for i, rows in self._read(block, unreadable):
                if not np.array_equal(store.with_digests(rows)["digest"][0], digests[i]):
                    changed.append(i)
                values = [v for k, v in rows.items() if v.dtype.kind == "f" and k.startswith(("fields", "state"))]
                if i not in lost and not all(np.isfinite(v).all() for v in values):
                    odd.append(i)
            whole.update(np.ascontiguousarray(digests[block.start : block.stop]).tobytes())
            progress(block.stop / count, f"digests of {block.stop} of {count} samples")
        found = []
        if unreadable:
            reason = next(iter(unreadable.values()))
            found.append(Finding("reading", "failed", reason, tuple(unreadable)))
        found.append(_finding("digests", "SHA-256 of every sample", "changed after being written", changed))
        skipped = f"; {len(lost)} without a solution are skipped: {_list(sorted(lost))}" if lost else ""
        found.append(_finding("finite", f"all values are finite{skipped}", "have values that are not finite", odd))
        return found

    def _read(self, block: range, unreadable: dict[int, str]) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Rows of one sample after the other; where they cannot be read, which samples these are."""
        try:
            rows = self._rows(slice(block.start, block.stop))
            for k, i in enumerate(block):
                yield i, {name: values[k : k + 1] for name, values in rows.items()}
        except InputError:
            for i in block:
                try:
                    rows = self._rows(slice(i, i + 1))
                except InputError as error:
                    unreadable[i] = str(error)
                    continue
                yield i, rows

    def _rows(self, samples: slice) -> dict[str, np.ndarray]:
        fields = {f"fields/{name}": self.data.read(name, samples) for name in self.data.fields}
        return fields | {name: self.stored.array(name, samples) for name in self.arrays}


def _leaves(group: Any) -> list[str]:
    found: list[str] = []
    group.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    return found


def _equation(stored: store.Stored, progress: Progress) -> list[Finding]:
    """The equation, computed again."""
    try:
        again: Recheck = recheck(stored, progress)
    except InputError as error:
        return [Finding("equation", "not checkable", str(error))]
    except ComputationError as error:
        return [Finding("equation", "failed", str(error))]
    return [
        Finding(
            test.name,
            "failed" if len(test.failed) else "passed",
            f"{test.what}: largest {test.largest:.1e}, allowed {test.allowed:.0e}",
            tuple(int(i) for i in test.failed),
            test.largest,
        )
        for test in again.tests
    ] + [Finding(name, "not checkable", reason) for name, reason in again.left_out.items()]


def _foreign(path: Path, progress: Progress) -> list[Finding]:
    from variform.data import grid_residual

    data = readers.open(path)
    found = [Finding("layout", "passed", f"{data.layout}: {len(data)} samples, {', '.join(data.fields)}")]
    odd = not_finite(data, progress)
    found.append(_finding("finite", "all values are finite", "have values that are not finite", odd))
    found.append(Finding("checksum", "not checkable", "the file states none"))
    found += [Finding("note", "not checkable", note) for note in data.info.get("notes", [])]
    found.append(grid_residual.finding(data.only(np.setdiff1d(np.arange(len(data)), odd)) if odd else data))
    return found


def not_finite(data: Dataset, progress: Progress = lambda fraction, text: None) -> list[int]:
    """Numbers of the samples with NaN or infinity anywhere, a few samples in memory at a time."""
    odd: set[int] = set()
    for start in range(0, len(data), ROWS):
        part = slice(start, min(start + ROWS, len(data)))
        for name in data.fields:
            values = data.read(name, part).reshape(part.stop - part.start, -1)
            if values.dtype.kind in "fc":
                odd.update((start + np.flatnonzero(~np.isfinite(values).all(axis=1))).tolist())
        progress(part.stop / len(data), f"{part.stop} of {len(data)} samples")
    return sorted(odd)


def _finding(test: str, fine: str, bad: str, samples: list[int]) -> Finding:
    if not samples:
        return Finding(test, "passed", fine)
    plural = "sample" if len(samples) == 1 else f"{len(samples)} samples"
    return Finding(test, "failed", f"{plural} {_list(samples)} {bad}", tuple(samples))


def _list(samples: list[int]) -> str:
    shown = ", ".join(map(str, samples[:10]))
    return shown + (f", ... and {len(samples) - 10} more" if len(samples) > 10 else "")
