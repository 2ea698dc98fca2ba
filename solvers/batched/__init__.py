"""Finite elements in torch for thousands of instances on one mesh, on CPU and GPU, differentiable."""

from variform.solvers.batched.solve import solve
from variform.solvers.batched.solver import Batch, BatchedSolver

__all__ = ["Batch", "BatchedSolver", "solve"]
