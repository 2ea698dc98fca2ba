"""Domains and meshes: boxes, mesh files, refinement. Imports neither DOLFINx nor gmsh, and torch only for distances."""

from variform.meshes.box import Box, Interval, Layers, Rectangle, UnitCube, UnitSquare
from variform.meshes.files import read
from variform.meshes.from_mesh import MeshGeometry
from variform.meshes.geometry import Geometry
from variform.meshes.refine import refine
from variform.meshes.write import write

__all__ = [
    "Box",
    "Geometry",
    "Interval",
    "Layers",
    "MeshGeometry",
    "Rectangle",
    "UnitCube",
    "UnitSquare",
    "read",
    "refine",
    "write",
]
