"""Domains and meshes: boxes, families, mesh files, refinement. No DOLFINx; torch and gmsh only where needed."""

from variform.meshes.airfoil import Airfoil
from variform.meshes.box import Box, GradedInterval, Interval, Layers, Rectangle, UnitCube, UnitSquare
from variform.meshes.convert import write_mesh
from variform.meshes.families import Annulus, Disk, LShape, Quadrilateral
from variform.meshes.files import read
from variform.meshes.from_mesh import MeshGeometry
from variform.meshes.geometry import Geometry
from variform.meshes.holes import ChannelWithCylinder, PerforatedPlate, PlateWithHole
from variform.meshes.refine import refine
from variform.meshes.write import write

__all__ = [
    "Airfoil",
    "Annulus",
    "Box",
    "ChannelWithCylinder",
    "Disk",
    "Geometry",
    "GradedInterval",
    "Interval",
    "LShape",
    "Layers",
    "MeshGeometry",
    "PerforatedPlate",
    "PlateWithHole",
    "Quadrilateral",
    "Rectangle",
    "UnitCube",
    "UnitSquare",
    "read",
    "refine",
    "write",
    "write_mesh",
]
