"""Mesh files of any format that meshio reads, and CAD files by way of gmsh, as `Mesh`."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import math
import os
import re
import resource
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.mesh import EDGES, SIMPLICES, Mesh
from variform.meshes import cad
from variform.meshes.split import CORNERS, MIDDLES, corner_kind, split

if TYPE_CHECKING:
    import meshio

log = logging.getLogger(__name__)

SIMPLEX = ("vertex", "line", "triangle", "tetra")
"""meshio's name of the straight simplex, by dimension."""
TAGS = ("gmsh:physical", "medit:ref")
"""meshio's cell data that hold the number of a group; 0 is none."""


def read(path: str | os.PathLike[str], *, lenient: bool = False) -> Mesh:
    """The mesh in a file: intervals, triangles or tetrahedra, straight or of second order, positively oriented.

    Quadrilaterals, hexahedra, prisms and pyramids are cut into simplices (`split`), and the log says so. CAD files
    (STEP, BREP, IGES) are meshed by gmsh, where it is installed (`cad`).

    Physical groups (Gmsh 2.2 and 4.1), references (Medit) and cell sets become `regions` and `boundaries`, by name or
    else by number. Cells without a group form the region "domain", or "unnamed" if others have one. Parts do not
    overlap: of groups that do, the smaller stays, and the log says which was left out, as it does for facets inside the
    domain. Points without a cell, cells of lower dimension without a group, and constant trailing coordinates are
    dropped.

    Args:
        lenient: take the mesh as it is, for `check`: inverted, flat and repeated cells, and points without a cell.

    Raises:
        InputError: the file is missing, of an unknown format, corrupt, or holds no such mesh; the message says which.
    """
    path = Path(path)
    try:
        raw = _load_cad(path) if path.suffix.lower() in cad.FORMATS else _load(path)
        with np.errstate(all="ignore"):  # damaged files hold wild numbers; they are refused below
            return _convert(raw, lenient)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _load_cad(path: Path) -> meshio.Mesh:
    _check(path)
    with tempfile.TemporaryDirectory() as folder:
        meshed = Path(folder) / "cad.msh"
        cad.to_msh(path, meshed)
        return _load(meshed)


def _load(path: Path) -> meshio.Mesh:
    """What meshio makes of a file, without its printing and exiting."""
    _check(path)
    import meshio  # takes a while, and only files need it

    if path.suffix.lower() not in meshio.extension_to_filetypes:
        raise InputError(
            "unknown mesh format; allowed are .msh, .vtk, .vtu, .xdmf, .mesh, .med, .inp, .step, .brep and more"
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


def _convert(raw: meshio.Mesh, lenient: bool) -> Mesh:
    dim = _dimension(raw)
    raw, edge_nodes = _simplicial(raw, dim)
    cells = _joined(raw, SIMPLEX[dim], dim + 1)
    points = np.asarray(raw.points, dtype=float)
    nodes = cells if edge_nodes is None else np.hstack([cells, edge_nodes])
    used = np.unique(cells)
    used = np.concatenate([used, np.setdiff1d(nodes, used)])
    if lenient:
        used = np.concatenate([used, np.setdiff1d(np.arange(len(points)), used)])
    number = np.full(len(points) + 1, -1)  # the last entry serves references to no point
    number[used] = np.arange(len(used))
    points, nodes = _flatten(points[used], dim, lenient), number[nodes]
    if not lenient:
        nodes = _oriented(points, nodes)
        _check_conforming(nodes[:, : dim + 1])
    cells, edge_nodes = nodes[:, : dim + 1], None if edge_nodes is None else nodes[:, dim + 1 :]
    regions = _disjoint(_groups(raw, dim), len(cells), "region")
    rest = np.setdiff1d(np.arange(len(cells)), np.concatenate([np.empty(0, np.int64), *regions.values()]))
    if len(rest):
        regions["unnamed" if regions else "domain"] = rest
    facets = _joined(raw, SIMPLEX[dim - 1], dim)
    facets = number[np.where((facets < 0) | (facets >= len(number)), -1, facets)]
    mesh = Mesh(points, cells, regions, edge_nodes=edge_nodes)
    return replace(mesh, boundaries=_boundaries(mesh, facets, _groups(raw, dim - 1)))


def _dimension(raw: meshio.Mesh) -> int:
    """The highest dimension of the cells, 1 to 3, all of which must be simplices or cells that can be cut into some."""
    blocks = [block for block in raw.cells if len(block)]
    dim = max((block.dim for block in blocks), default=0)
    if dim == 0:
        raise InputError("the file holds no cells")
    counts: dict[str, int] = {}
    for block in blocks:
        if block.dim == dim:
            counts[block.type] = counts.get(block.type, 0) + len(block)
    found = " and ".join(f"{count} of type {kind}" for kind, count in counts.items())
    if not all(corner_kind(kind) in CORNERS for kind in counts):
        raise InputError(f"its cells ({found}) are neither simplices nor quadrilaterals, hexahedra, prisms or pyramids")
    if any(corner_kind(kind) == SIMPLEX[dim] and kind not in (SIMPLEX[dim], *MIDDLES) for kind in counts):
        raise InputError(f"its cells ({found}) are of higher order; save it with elements of order 1 or 2")
    cut = {kind: count for kind, count in counts.items() if corner_kind(kind) != SIMPLEX[dim]}
    for kind, count in cut.items():
        higher = " by their corners: the middles of their edges are dropped" if kind not in CORNERS else ""
        log.warning("%d cells of type %s are cut into %s cells%s", count, kind, SIMPLEX[dim], higher)
    return dim


def _simplicial(raw: meshio.Mesh, dim: int) -> tuple[meshio.Mesh, np.ndarray | None]:
    """Straight simplices with the groups of the cells they come from; and if all cells of the highest dimension are
    simplices of second order, the points in the middle of their edges, shape (num_cells, number of EDGES).
    """
    import meshio

    top = {block.type for block in raw.cells if len(block) and block.dim == dim}
    if len(top) > 1 and top & MIDDLES.keys():
        log.warning("cells of several types are taken as straight: the middles of their edges are dropped")
    points = np.asarray(raw.points, dtype=float)
    keys = [key for key in TAGS if key in raw.cell_data]
    blocks, middles, parents = [], [], []
    data: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    for index, block in enumerate(raw.cells):
        kind = corner_kind(block.type)
        nodes = _rows(block) if kind in CORNERS else np.empty((0, 1), np.int64)
        if block.dim == dim:
            _check_nodes(nodes, points, dim)
            if len(top) == 1 and block.type in MIDDLES:
                middles.append(nodes[:, MIDDLES[block.type]])
        simplices, parent = split(
            kind, nodes[:, : CORNERS.get(kind, 1)], points if dim == 2 and kind == "quad" else None
        )
        blocks.append((SIMPLEX[block.dim] if kind in CORNERS else "vertex", simplices))
        parents.append(parent)
        for key in keys:
            data[key].append(np.asarray(raw.cell_data[key][index])[parent])
    sets = {
        name: [
            np.flatnonzero(np.isin(parent, [] if chosen is None else chosen))
            for parent, chosen in zip(parents, members, strict=False)
        ]
        for name, members in raw.cell_sets.items()
    }
    result = meshio.Mesh(points, blocks, cell_data=data, cell_sets=sets, field_data=raw.field_data)
    return result, np.concatenate(middles) if middles else None


def _rows(block: meshio.CellBlock) -> np.ndarray:
    return np.asarray(block.data).reshape(len(block), -1).astype(np.int64)


def _check_nodes(nodes: np.ndarray, points: np.ndarray, dim: int) -> None:
    if points.ndim != 2 or points.shape[1] < dim:
        raise InputError(f"its points, of shape {points.shape}, are too few or too flat for its cells")
    wrong = np.any((nodes < 0) | (nodes >= len(points)), axis=1)
    if wrong.any():
        raise InputError(f"{wrong.sum()} cells refer to points that do not exist, first cell {np.argmax(wrong)}")


def _joined(raw: meshio.Mesh, kind: str, width: int) -> np.ndarray:
    """The cells of all blocks of a type, shape (k, width)."""
    blocks = [np.asarray(block.data).reshape(len(block), width) for block in raw.cells if block.type == kind]
    return np.concatenate([np.empty((0, width)), *blocks]).astype(np.int64)


def _flatten(points: np.ndarray, dim: int, lenient: bool) -> np.ndarray:
    """The first dim coordinates, where the others are constant."""
    bad = ~np.isfinite(points).all(axis=1)
    if bad.all() or (bad.any() and not lenient):
        raise InputError(
            f"{bad.sum()} points have coordinates that are not finite numbers, first {points[np.argmax(bad)]}"
        )
    extent = np.ptp(points[~bad], axis=0)
    if np.any(extent[dim:] > 1e-10 * extent.max()):
        what = "a curve" if dim == 1 else "a surface"
        raise InputError(
            f"the mesh is {what} in space; only those in the {'x axis' if dim == 1 else 'x-y plane'} are read"
        )
    return np.ascontiguousarray(points[:, :dim])


def _oriented(points: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """The cells, inverted ones turned; raises InputError for those without a volume.

    Args:
        nodes: vertices, and for curved cells the middles of `EDGES` behind them.
    """
    dim = points.shape[1]
    edges = points[nodes[:, 1 : dim + 1]] - points[nodes[:, :1]]
    volume = np.linalg.det(edges) / math.factorial(dim)
    size = np.abs(edges).max(axis=(1, 2))
    roundoff = 4 * np.finfo(float).eps * np.abs(points).max() * size ** (dim - 1)
    flat = ~(np.isfinite(volume) & (np.abs(volume) > roundoff))
    if flat.any():
        raise InputError(
            f"{flat.sum()} cells have no volume, or none that is a number; the first is cell {np.argmax(flat)}"
        )
    turned = _turned(dim)[: nodes.shape[1]]
    nodes[volume < 0] = nodes[volume < 0][:, turned]
    return nodes


def _turned(dim: int) -> list[int]:
    """The order of the nodes of a cell of second order after its first two vertices are exchanged."""
    vertices = [1, 0, *range(2, dim + 1)]
    edges = EDGES[SIMPLICES[dim]]
    places = {frozenset(edge): dim + 1 + k for k, edge in enumerate(edges)}
    return vertices + [places[frozenset(vertices[v] for v in edge)] for edge in edges]


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
