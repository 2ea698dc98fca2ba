"""Finite elements by DOLFINx and PETSc: the reference every other method is measured against."""

import os

import dolfinx_solver  # noqa: F401  # loads MPI ahead of the bindings
import h5py  # noqa: F401  # its HDF5 must load ahead of PETSc's

# PETSc would catch SIGTERM and abort: the run could neither be marked as interrupted nor resumed.
os.environ["PETSC_OPTIONS"] = f"{os.environ.get('PETSC_OPTIONS', '')} -no_signal_handler"

from variform.solvers.fem.solution import FemSolution
from variform.solvers.fem.solve import solve

__all__ = ["FemSolution", "solve"]
