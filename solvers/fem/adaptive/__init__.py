"""Adaptive finite elements: solve, estimate, mark, refine."""

from variform.solvers.fem.adaptive.loop import ESTIMATORS, adaptive, mark

__all__ = ["ESTIMATORS", "adaptive", "mark"]
