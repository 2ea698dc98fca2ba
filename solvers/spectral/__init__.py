"""Fourier pseudo-spectral solvers of evolutions on periodic boxes."""

from variform.solvers.spectral.solve import integrate, solve

__all__ = ["integrate", "solve"]
