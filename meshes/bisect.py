"""Local refinement: cells are halved at their longest edge, and with them all cells about that edge."""

from __future__ import annotations

import numpy as np

from variform.errors import InputError
from variform.mesh import EDGES, Mesh


def bisect(mesh: Mesh, marked: np.ndarray) -> Mesh:
    """The mesh with each marked cell halved once, by Rivara's algorithm, in one, two or three dimensions.

    An edge is cut only when it is the longest of every cell about it, so that the mesh conforms all the time; cells
    about it with a longer edge are halved there first. In the plane no angle falls below half the smallest at first.

    Args:
        marked: cell numbers, shape (k,), or a mask, shape (num_cells,).

    Raises:
        InputError: the mesh is curved or not of simplices, or a marked cell does not exist.

    Source: Rivara, Selective refinement/derefinement algorithms for sequences of nested triangulations, Int. J. Numer.
    Methods Eng. 28 (1989).
    """
    if mesh.order > 1:
        raise InputError("a curved mesh can only be refined everywhere, not in some cells")
    if not mesh.affine:
        raise InputError(f"a mesh of {mesh.cell_type} cells can only be refined everywhere, not in some cells")
    waiting = _mask(marked, len(mesh.cells))
    points, cells = mesh.points, mesh.cells
    parent = np.arange(len(cells))
    names = list(mesh.boundaries)
    tags = np.full(cells.shape, -1)  # the boundary of each facet, which lies opposite a vertex
    for number, facets in enumerate(mesh.boundaries.values()):
        tags[tuple(facets.T)] = number
    if mesh.dim == 1:
        tags = tags[:, ::-1]
    while waiting.any():
        edge, ends, longest, waiting = _edges_to_cut(points, cells, waiting)
        number = np.full(len(ends), -1)
        number[edge] = len(points) + np.arange(len(edge))
        points = np.vstack([points, points[ends[edge]].mean(axis=1)])
        middle = number[longest]
        cut = np.flatnonzero(middle >= 0)
        first, second = (_place(cells[cut], ends[longest[cut], i]) for i in (0, 1))
        rows, kept = np.arange(len(cut)), np.flatnonzero(middle < 0)
        halves, half_tags = [], []
        for replaced, other in ((second, first), (first, second)):
            half, tag = cells[cut].copy(), tags[cut].copy()
            half[rows, replaced] = middle[cut]
            tag[rows, other] = -1  # the new facet between the halves
            halves.append(half)
            half_tags.append(tag)
        cells = np.concatenate([cells[kept], *halves])
        tags = np.concatenate([tags[kept], *half_tags])
        parent = np.concatenate([parent[kept], parent[cut], parent[cut]])
        waiting = np.concatenate([waiting[kept], np.zeros(2 * len(cut), bool)])
    if mesh.dim == 1:
        tags = tags[:, ::-1]
    regions = {name: np.flatnonzero(np.isin(parent, members)) for name, members in mesh.regions.items()}
    return Mesh(points, cells, regions, {name: np.argwhere(tags == number) for number, name in enumerate(names)})


def _mask(marked: np.ndarray, num_cells: int) -> np.ndarray:
    if marked.dtype == bool and marked.shape == (num_cells,):
        return marked
    if marked.size and (marked.dtype.kind not in "iu" or marked.min() < 0 or marked.max() >= num_cells):
        raise InputError(f"the cells to refine must be numbers from 0 to {num_cells - 1}, or a mask of all cells")
    mask = np.zeros(num_cells, bool)
    mask[marked.astype(np.int64)] = True
    return mask


def _edges_to_cut(
    points: np.ndarray, cells: np.ndarray, waiting: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of wanted edges that are the longest of all cells about them; the two ends of every edge; each cell's
    longest edge; and the waiting cells with those that stand in their way.
    """
    kind = {2: "interval", 3: "triangle", 4: "tetrahedron"}[cells.shape[1]]
    pairs = np.sort(cells[:, EDGES[kind]], axis=2)
    key, edges = np.unique(pairs @ [len(points), 1], return_inverse=True)
    edges = edges.reshape(pairs.shape[:2])
    ends = np.stack(np.divmod(key, len(points)), axis=1)
    length = np.sum((points[ends[:, 1]] - points[ends[:, 0]]) ** 2, axis=1)
    rank = np.empty(len(key), np.int64)
    rank[np.argsort(length, kind="stable")] = np.arange(len(key))  # of equal edges, one and the same is the longer
    longest = np.take_along_axis(edges, rank[edges].argmax(axis=1)[:, None], axis=1)
    wanted = np.zeros(len(key), bool)
    wanted[longest[waiting]] = True
    in_the_way = wanted[edges] & (edges != longest)
    wanted[edges[in_the_way]] = False
    return np.flatnonzero(wanted), ends, longest[:, 0], waiting | in_the_way.any(axis=1)


def _place(cells: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """Where in each cell its given vertex stands."""
    return np.argmax(cells == vertex[:, None], axis=1)
