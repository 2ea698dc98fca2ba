"""Fields on meshes as VTK files, for ParaView and PyVista."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from variform.errors import InputError
from variform.figures.vtk import vtk_grid
from variform.mesh import Mesh
from variform.runs import atomic

if TYPE_CHECKING:
    from vtkmodules.vtkCommonCore import vtkDataArray
    from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

SUFFIXES = (".vtu", ".vtkhdf")


def write(path: Path, mesh: Mesh, fields: dict[str, np.ndarray]) -> None:
    """Write a `.vtu` or a `.vtkhdf` file atomically, with curved cells as VTK's quadratic ones.

    Vectors have three components in the file and tensors nine, row by row. If the mesh has regions, the cell data
    `region` numbers them from 0, -1 where there is none, and the field data hold the number of each name.

    Args:
        path: its suffix chooses the format.
        fields: name -> values at the mesh's points, shape (n,), (k, n) or (k, l, n) with k, l <= 3; complex ones are
            written as two, name_real and name_imag.

    Raises:
        InputError: another suffix, or values of another shape.
        OSError: the file cannot be written.
    """
    path, n = Path(path), len(mesh.points)
    fields = {key: part for name, values in fields.items() for key, part in _real_parts(name, values).items()}
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {' or '.join(SUFFIXES)}")
    for name, values in fields.items():
        shape = np.shape(values)
        if not 1 <= len(shape) <= 3 or shape[-1] != n or max(shape[:-1], default=1) > 3:
            raise InputError(f"{name} must be of shape ({n},), (k, {n}) or (k, l, {n}), k, l <= 3, got {shape}")
    grid = vtk_grid(mesh, fields)
    _add_regions(grid, mesh)
    with atomic(path) as temporary:
        writer = _writer(path.suffix)
        writer.SetFileName(str(temporary))
        writer.SetInputData(grid)
        if not writer.Write():
            raise OSError(f"VTK could not write {path}")


def _real_parts(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    return (
        {f"{name}_real": np.real(values), f"{name}_imag": np.imag(values)}
        if np.iscomplexobj(values)
        else {name: values}
    )


def _writer(suffix: str) -> object:
    """Slow imports, hence here."""
    if suffix == ".vtkhdf":
        from vtkmodules.vtkIOHDF import vtkHDFWriter

        return vtkHDFWriter()
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

    writer = vtkXMLUnstructuredGridWriter()
    writer.SetDataModeToBinary()  # VTK's default, raw bytes after the XML, is read by few other programs
    return writer


def _add_regions(grid: vtkUnstructuredGrid, mesh: Mesh) -> None:
    if not mesh.regions:
        return
    region = np.full(len(mesh.cells), -1)
    for i, (name, cells) in enumerate(mesh.regions.items()):
        region[cells] = i
        # One number a name, as Gmsh does it: meshio refuses files that hold strings.
        grid.GetFieldData().AddArray(_named(name, np.array([i])))
    grid.GetCellData().AddArray(_named("region", region))


def _named(name: str, numbers: np.ndarray) -> vtkDataArray:
    from vtkmodules.util.numpy_support import numpy_to_vtk

    array = numpy_to_vtk(numbers.astype(np.int32), deep=True)
    array.SetName(name)
    return array
