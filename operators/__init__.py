"""Learned maps from the inputs of a task to its solutions."""

from variform.operators.train import Operator, load, train

__all__ = ["Operator", "load", "train"]
