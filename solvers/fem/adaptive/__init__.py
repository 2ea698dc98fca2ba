"""Adaptive finite elements: solve, estimate, mark, refine."""

from variform.solvers.fem.adaptive.loop import ESTIMATORS, mark, solve

__all__ = ["ESTIMATORS", "mark", "solve"]
