"""Symmetries of an equation, by which one example makes many: the same transformation of everything in it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from variform.errors import InputError
from variform.operators.examples import Batch


def shifts(batch: Batch, generator: torch.Generator, dim: int) -> Batch:
    """Translations of the torus by whole points, one a batch and axis: for equations without places of their own."""
    sizes = batch.target.shape[-dim:]
    by = [int(torch.randint(n, (), generator=generator)) for n in sizes]
    return _moved(batch, lambda u: torch.roll(u, by, tuple(range(-dim, 0))))


def antidiagonal(batch: Batch, generator: torch.Generator, dim: int) -> Batch:
    """Translations of the plane torus along (1, -1), which a force that is a function of x + y allows."""
    by = int(torch.randint(batch.target.shape[-1], (), generator=generator))
    return _moved(batch, lambda u: torch.roll(u, (by, -by), (-2, -1)))


def dihedral(batch: Batch, generator: torch.Generator, dim: int) -> Batch:
    """Reflections of a box and exchanges of its axes: for scalars on squares and cubes whose data are all given."""
    flipped = [axis for axis in range(-dim, 0) if torch.rand((), generator=generator) < 0.5]
    order = [int(i) - dim for i in torch.randperm(dim, generator=generator)]

    def move(u: Tensor) -> Tensor:
        lead = list(range(u.ndim - dim))
        return u.flip(flipped).permute(*lead, *(u.ndim + axis for axis in order))

    return _moved(batch, move)


def _moved(batch: Batch, move: Callable[[Tensor], Tensor]) -> Batch:
    """Coordinates stay: it is the fields that move."""
    parts = {name: getattr(batch, name) for name in ("static", "frames", "target", "inside")}
    return batch._replace(**{name: part if part is None else move(part) for name, part in parts.items()})


SYMMETRIES: dict[str, Callable[[Batch, torch.Generator, int], Batch]] = {
    "shifts": shifts,
    "antidiagonal": antidiagonal,
    "dihedral": dihedral,
}


def check(name: str, grid: tuple[int, ...], periodic: tuple[bool, ...]) -> None:
    """Raise InputError where the data do not have the axes for a symmetry."""
    if name == "none":
        return
    if not grid:
        raise InputError(f"augment={name} moves fields on grids, these lie on meshes")
    if name in ("shifts", "antidiagonal") and not (periodic and all(periodic)):
        raise InputError(f"augment={name} is for periodic axes, which these data do not have")
    if name == "antidiagonal" and (len(grid) != 2 or grid[0] != grid[1]):
        raise InputError(f"augment=antidiagonal is for squares, the grid is {' x '.join(map(str, grid))}")
    if name == "dihedral" and len(set(grid)) > 1:
        raise InputError(f"augment=dihedral needs as many points along each axis, the grid is {grid}")
