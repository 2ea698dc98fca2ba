"""Finite elements for many samples on one mesh at once, in torch."""
