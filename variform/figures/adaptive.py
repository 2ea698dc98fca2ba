"""What adaptive meshes look like, and how fast the error falls on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from variform.errors import InputError
from variform.figures.lines import plain_logarithms
from variform.figures.page import BLUE, INK, TITLE, VERMILION, axes_at, number, page, save
from variform.mesh import Mesh

EDGES_DRAWN = 60_000


def adaptation(steps: Sequence[Mapping[str, Any]], path: Path, *, order: float, title: str = "") -> Path:
    """Estimate, and the error where it is known, against dofs, with the slope of order `order` in dofs.

    Args:
        steps: of each mesh its dofs, estimate and perhaps error.
        path: the PNG to write.

    Raises:
        InputError: fewer than two steps.
    """
    if len(steps) < 2:
        raise InputError("a picture of adaptation needs two steps or more")
    dofs = np.array([step["dofs"] for step in steps], dtype=float)
    with page(900, 640) as figure:
        axes = axes_at(figure, 96, 66, 774, 640 - 66 - TITLE)
        looks = {"estimate": (BLUE, "o"), "error": (VERMILION, "s")}
        for key, (colour, marker) in looks.items():
            values = np.array([step.get(key, np.nan) for step in steps], dtype=float)
            if np.isfinite(values).sum() > 1:
                axes.plot(dofs, values, color=colour, marker=marker, markersize=6, linewidth=2, label=key)
        last = steps[-1].get("error", steps[-1]["estimate"])
        slope = last * (dofs / dofs[-1]) ** -order
        axes.plot(dofs, slope, color=INK, linewidth=1.2, dashes=(4, 3), label=f"dofs to the power {-order:g}")
        axes.set(xscale="log", yscale="log", xlabel="dofs", ylabel="relative error")
        axes.set_title(title, parse_math=False)
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        plain_logarithms(axes)
        for text in axes.legend(frameon=False, loc="best").get_texts():
            text.set_parse_math(False)
        return save(figure, path)


def cells(mesh: Mesh, path: Path, *, title: str = "") -> Path:
    """The edges of a plane mesh.

    Raises:
        InputError: the mesh is not plane, or has too many cells to be seen.
    """
    from matplotlib.collections import LineCollection

    if mesh.dim != 2 or len(mesh.cells) > EDGES_DRAWN:
        raise InputError(f"cells are drawn of plane meshes with at most {EDGES_DRAWN} of them")
    around = np.concatenate([mesh.cells, mesh.cells[:, :1]], axis=1)
    edges = np.unique(np.sort(np.stack([around[:, :-1], around[:, 1:]], axis=-1).reshape(-1, 2), axis=1), axis=0)
    size = np.ptp(mesh.points, axis=0)
    scale = min(1100 / size[0], 800 / size[1])
    width, height = size * scale
    with page(width + 130, height + 66 + TITLE) as figure:
        axes = axes_at(figure, 96, 66, width, height)
        axes.add_collection(LineCollection(mesh.points[edges], colors=INK, linewidths=0.4))
        low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="x", ylabel="y")
        number(axes.xaxis)
        number(axes.yaxis)
        axes.spines[:].set_visible(False)
        axes.set_title(title, parse_math=False)
        return save(figure, path)
