"""Finite elements by DOLFINx and PETSc: the reference every other method is measured against."""

import dolfinx_solver  # noqa: F401  # loads MPI ahead of the bindings
import h5py  # noqa: F401  # its HDF5 must load ahead of PETSc's

from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.solve import solve

__all__ = ["FemSolution", "solve"]
