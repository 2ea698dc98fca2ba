"""Meshes of CAD files by gmsh. Only this module imports it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from variform.errors import InputError

FORMATS = (".step", ".stp", ".brep", ".iges", ".igs")
CELLS = 20
"""Cells along the longest side of the bounding box."""
KINDS = {1: "curve", 2: "surface", 3: "solid"}


def to_msh(path: Path, out: Path, size: float | None = None) -> None:
    """Mesh a CAD file with curved cells of second order, into a `.msh` file.

    Solids (or faces, if there are none) become regions and what bounds them boundaries, under the labels of the file
    or else as "surface_1" and so on.

    Args:
        size: of the cells, in the file's unit; by default the longest side of the bounding box / 20.

    Raises:
        InputError: gmsh is not installed, or cannot read or mesh the file.
    """
    try:
        import gmsh
    except (ImportError, OSError) as error:
        raise InputError("a CAD file needs gmsh: install variform[cad]") from error

    ours = not gmsh.isInitialized()
    if ours:
        gmsh.initialize(interruptible=False)
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.model.add("variform")
    try:
        gmsh.model.occ.importShapes(str(path))
        gmsh.model.occ.synchronize()
        dim = gmsh.model.getDimension()
        if dim < 2:
            raise InputError("the CAD file holds neither solids nor faces")
        _name(gmsh.model, dim)
        box = np.array(gmsh.model.getBoundingBox(-1, -1))
        gmsh.option.setNumber("Mesh.MeshSizeMax", size or np.max(box[3:] - box[:3]) / CELLS)
        gmsh.option.setNumber("Mesh.SaveAll", 0)
        gmsh.model.mesh.generate(dim)
        gmsh.model.mesh.setOrder(2)
        if dim == 3:
            gmsh.model.mesh.optimize("HighOrder")
        gmsh.write(str(out))
    except InputError:
        raise
    except Exception as error:  # gmsh raises nothing else
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"gmsh cannot read or mesh it: {reason}") from None
    finally:
        gmsh.model.remove()
        if ours:
            gmsh.finalize()


def _name(model, dim: int) -> None:
    """Make groups of the entities of the two highest dimensions: those of one label together."""
    for d in (dim, dim - 1):
        groups: dict[str, list[int]] = {}
        for _, tag in model.getEntities(d):
            label = model.getEntityName(d, tag).rpartition("/")[2].strip()
            groups.setdefault(label or f"{KINDS[d]}_{tag}", []).append(tag)
        for name, tags in groups.items():
            model.addPhysicalGroup(d, tags, name=name)
