"""Fields on meshes as VTK files, for viewing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from variform.mesh import Mesh
from variform.runs import atomic


def write(path: Path, mesh: Mesh, fields: dict[str, np.ndarray]) -> None:
    """Write a `.vtu` file atomically.

    Args:
        fields: name -> values at the mesh's points, shape (n,) or (dim, n).
    """
    import meshio  # a slow import

    def padded(columns: np.ndarray) -> np.ndarray:
        return np.hstack([columns, np.zeros((len(columns), 3 - columns.shape[1]))])

    kind = {"interval": "line", "tetrahedron": "tetra"}.get(mesh.cell_type, mesh.cell_type)
    data = {name: v if v.ndim == 1 else padded(v.reshape(-1, v.shape[-1]).T) for name, v in fields.items()}
    with atomic(Path(path)) as temporary:
        meshio.Mesh(padded(mesh.points), [(kind, mesh.cells)], point_data=data).write(temporary, file_format="vtu")
