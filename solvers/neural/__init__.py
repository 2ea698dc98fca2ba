"""Networks as trial functions: the strong form by least squares (PINN), the energy by Ritz's method."""

from variform.solvers.neural import pinn, ritz
from variform.solvers.neural.solution import NetworkSolution

__all__ = ["NetworkSolution", "pinn", "ritz"]
