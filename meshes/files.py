"""Mesh files of any format that meshio reads, as `Mesh`. Only this module imports meshio."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import math
import os
import re
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.mesh import Mesh

if TYPE_CHECKING:
    import meshio

log = logging.getLogger(__name__)

SIMPLEX = ("vertex", "line", "triangle", "tetra")
"""meshio's name of the straight simplex, by dimension."""
TAGS = ("gmsh:physical", "medit:ref")
"""meshio's cell data that hold the number of a group; 0 is none."""


def read(path: str | os.PathLike[str]) -> Mesh:
    """The mesh in a file: intervals, triangles or tetrahedra, positively oriented.

    Physical groups (Gmsh 2.2 and 4.1), references (Medit) and cell sets become `regions` and `boundaries`, by name or
    else by number. Cells without a group form the region "domain", or "unnamed" if others have one. Parts do not
    overlap: of groups that do, the smaller stays, and the log says which was left out, as it does for facets inside the
    domain. Points without a cell, cells of lower dimension without a group, and constant trailing coordinates are
    dropped.

    Raises:
        InputError: the file is missing, of an unknown format, corrupt, or holds no such mesh; the message says which.
    """
    path = Path(path)
    try:
        raw = _load(path)
        with np.errstate(all="ignore"):  # damaged files hold wild numbers; they are refused below
            return _convert(raw)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _load(path: Path) -> meshio.Mesh:
    """What meshio makes of a file, without its printing and exiting."""
    _check(path)
    import meshio  # takes a while, and only files need it

    if path.suffix.lower() not in meshio.extension_to_filetypes:
        raise InputError(
            "unknown mesh format; allowed are .msh, .vtk, .vtu, .xdmf, .mesh, .med, .inp and others of meshio"
        )
    printed = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            _bounded_memory(path),
        ):
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="string or file could not be read")
            raw = meshio.read(path)
    except (Exception, SystemExit) as error:
        raise InputError(_reason(error, printed.getvalue())) from None
    if "not closed by" in printed.getvalue():
        raise InputError("the file is truncated: a section has no end")
    _check_count(path, sum(len(block) for block in raw.cells))
    return raw


@contextlib.contextmanager
def _bounded_memory(path: Path) -> Iterator[None]:
    """Inside, this process may allocate 2 GiB and 200 times the file's size: meshio makes a table as long as the
    largest point number, and a damaged number would otherwise fill the machine's memory.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + 2**31 + 200 * path.stat().st_size
    if soft != resource.RLIM_INFINITY:
        bound = min(bound, soft)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _check_count(path: Path, found: int) -> None:
    """Refuse a legacy VTK file of more cells than were found: of one cut short meshio returns those before the cut."""
    declared = re.findall(rb"^CELL_TYPES\s+(\d+)", path.read_bytes(), re.M) if path.suffix.lower() == ".vtk" else []
    if declared and int(declared[-1]) != found:
        raise InputError(
            f"the file is truncated or corrupt: it announces {int(declared[-1])} cells, {found} could be read"
        )


def _check(path: Path) -> None:
    if path.suffix.lower().startswith(".geo"):
        raise InputError(
            "a .geo script can run shell commands and is not read; mesh it first with gmsh, to a .msh file"
        )
    if path.is_dir():
        raise InputError("is a folder, not a mesh file")
    if not path.exists():
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
        raise InputError("no such file" + (f"; did you mean {near[0]!r}?" if near else ""))
    if path.stat().st_size == 0:
        raise InputError("the file is empty")


def _reason(error: BaseException, printed: str) -> str:
    if isinstance(error, (PermissionError, ImportError)):
        return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    if "Incompatible cell data 'gmsh:physical'" in str(error):
        return "only some cells have a physical group, which meshio does not read: save it with Mesh.SaveAll = 0"
    said = "" if isinstance(error, SystemExit) else f"{error}"
    detail = (said or printed).strip().partition("\n")[0][:200]
    return "cannot be read: it is truncated, corrupt or of another format" + (f" ({detail})" if detail else "")


def _convert(raw: meshio.Mesh) -> Mesh:
    dim = _dimension(raw)
    cells = _joined(raw, SIMPLEX[dim], dim + 1)
    points = np.asarray(raw.points, dtype=float)
    if points.ndim != 2 or points.shape[1] < dim:
        raise InputError(f"its points, of shape {points.shape}, are too few or too flat for its cells")
    wrong = np.any((cells < 0) | (cells >= len(points)), axis=1)
    if wrong.any():
        raise InputError(f"{wrong.sum()} cells refer to points that do not exist, first cell {np.argmax(wrong)}")
    used = np.unique(cells)
    number = np.full(len(points) + 1, -1)  # the last entry serves references to no point
    number[used] = np.arange(len(used))
    points = _flatten(points[used], dim)
    cells = _oriented(points, number[cells])
    _check_conforming(cells)
    regions = _disjoint(_groups(raw, dim), len(cells), "region")
    rest = np.setdiff1d(np.arange(len(cells)), np.concatenate([np.empty(0, np.int64), *regions.values()]))
    if len(rest):
        regions["unnamed" if regions else "domain"] = rest
    facets = _joined(raw, SIMPLEX[dim - 1], dim)
    facets = number[np.where((facets < 0) | (facets >= len(number)), -1, facets)]
    mesh = Mesh(points, cells, regions)
    return Mesh(points, cells, regions, _boundaries(mesh, facets, _groups(raw, dim - 1)))


def _dimension(raw: meshio.Mesh) -> int:
    """The dimension of the cells, which are simplices of one type; 1 to 3."""
    blocks = [block for block in raw.cells if len(block)]
    dim = max((block.dim for block in blocks), default=0)
    if dim == 0:
        raise InputError("the file holds no cells")
    counts: dict[str, int] = {}
    for block in blocks:
        if block.dim == dim:
            counts[block.type] = counts.get(block.type, 0) + len(block)
    found = " and ".join(f"{count} of type {kind}" for kind, count in counts.items())
    if len(counts) > 1:
        raise InputError(f"mixed cells ({found}): simplices of one type are needed")
    kind = next(iter(counts))
    if kind != SIMPLEX[dim]:
        curved = kind.rstrip("0123456789") == SIMPLEX[dim]
        hint = "; save it with elements of order 1" if curved else ""
        raise InputError(f"its cells ({found}) are not straight intervals, triangles or tetrahedra{hint}")
    return dim


def _joined(raw: meshio.Mesh, kind: str, width: int) -> np.ndarray:
    """The cells of all blocks of a type, shape (k, width)."""
    blocks = [np.asarray(block.data).reshape(len(block), width) for block in raw.cells if block.type == kind]
    return np.concatenate([np.empty((0, width)), *blocks]).astype(np.int64)


def _flatten(points: np.ndarray, dim: int) -> np.ndarray:
    """The first dim coordinates, where the others are constant."""
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise InputError(
            f"{bad.sum()} points have coordinates that are not finite numbers, first {points[np.argmax(bad)]}"
        )
    extent = np.ptp(points, axis=0)
    if np.any(extent[dim:] > 1e-10 * extent.max()):
        what = "a curve" if dim == 1 else "a surface"
        raise InputError(
            f"the mesh is {what} in space; only those in the {'x axis' if dim == 1 else 'x-y plane'} are read"
        )
    return np.ascontiguousarray(points[:, :dim])


def _oriented(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The cells, inverted ones turned; raises InputError for those without a volume."""
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    volume = np.linalg.det(edges) / math.factorial(points.shape[1])
    size = np.abs(edges).max(axis=(1, 2))
    roundoff = 4 * np.finfo(float).eps * np.abs(points).max() * size ** (points.shape[1] - 1)
    flat = ~(np.isfinite(volume) & (np.abs(volume) > roundoff))
    if flat.any():
        raise InputError(
            f"{flat.sum()} cells have no volume, or none that is a number; the first is cell {np.argmax(flat)}"
        )
    cells[volume < 0, :2] = cells[volume < 0, 1::-1]
    return cells


def _check_conforming(cells: np.ndarray) -> None:
    ordered = np.sort(cells, axis=1)
    if len(np.unique(ordered, axis=0)) < len(cells):
        raise InputError("some cells appear twice")
    facets = np.concatenate([np.delete(ordered, i, axis=1) for i in range(cells.shape[1])])
    if np.unique(facets, axis=0, return_counts=True)[1].max() > 2:
        raise InputError("some facets belong to more than two cells")


def _groups(raw: meshio.Mesh, dim: int) -> dict[str, np.ndarray]:
    """Name -> numbers of the simplices of that dimension; a set's name comes before a group's number."""
    names = {int(tag): name for name, (tag, d) in _names(raw).items() if d == dim}
    groups = {}
    for key in (key for key in TAGS if key in raw.cell_data):
        blocks = [data for data, block in zip(raw.cell_data[key], raw.cells, strict=True) if block.type == SIMPLEX[dim]]
        tags = np.concatenate([np.empty(0, np.int64), *blocks])
        groups |= {names.get(int(t), str(int(t))): np.flatnonzero(tags == t) for t in np.unique(tags[tags != 0])}
    for name, members in raw.cell_sets.items():
        start, found = 0, [np.empty(0, np.int64)]
        for block, chosen in zip(raw.cells, members, strict=False):
            if block.type == SIMPLEX[dim]:
                found.append(start + np.asarray([] if chosen is None else chosen, dtype=np.int64))
                start += len(block)
        if not name.startswith("gmsh:") and sum(map(len, found)):
            groups[name] = np.unique(np.concatenate(found))
    for name in (name for name in names.values() if name not in groups):
        log.warning("group %r is named but empty (Gmsh saves no groups with Mesh.SaveAll = 1)", name)
    return groups


def _names(raw: meshio.Mesh) -> dict[str, tuple[int, int]]:
    """Gmsh's names of physical groups: name -> (number, dimension)."""
    return {name: tuple(value) for name, value in raw.field_data.items() if np.shape(value) == (2,)}


def _disjoint(groups: dict[str, np.ndarray], total: int, kind: str) -> dict[str, np.ndarray]:
    """The groups without those that overlap a smaller one, or an earlier one of the same size."""
    taken, kept = np.zeros(total, bool), set()
    for name in sorted(groups, key=lambda name: len(groups[name])):
        if taken[groups[name]].any():
            log.warning("%s %r overlaps another one and is left out", kind, name)
        else:
            taken[groups[name]] = True
            kept.add(name)
    return {name: group for name, group in groups.items() if name in kept}


def _boundaries(mesh: Mesh, facets: np.ndarray, groups: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Name -> exterior facets (cell, local facet), of groups of facets given by their vertices, shape (k, dim)."""
    exterior = mesh.exterior_facets
    vertices = np.vstack([np.sort(mesh.vertices_of(exterior), axis=1), np.sort(facets, axis=1)])
    match = np.unique(vertices, axis=0, return_inverse=True)[1].reshape(-1)
    row = np.full(len(vertices), -1)
    row[match[: len(exterior)]] = np.arange(len(exterior))
    row = row[match[len(exterior) :]]
    found = {name: np.unique(row[group][row[group] >= 0]) for name, group in groups.items()}
    for name, group in groups.items():
        inside = np.sum(row[group] < 0)
        if inside:
            log.info("boundary %r: %d of %d facets are not on the boundary and are dropped", name, inside, len(group))
    found = _disjoint({name: rows for name, rows in found.items() if len(rows)}, len(exterior), "boundary")
    if len(found.get("boundary", exterior)) < len(exterior):
        raise InputError(
            'a group called "boundary" is only a part of it: that name means all of the boundary, rename it'
        )
    return {name: exterior[rows] for name, rows in found.items()}
