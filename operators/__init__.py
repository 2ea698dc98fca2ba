"""Learned maps from the inputs of a task to its solutions."""

from variform.operators.operator import Operator, load
from variform.operators.settings import Settings
from variform.operators.train import train

__all__ = ["Operator", "Settings", "load", "train"]
