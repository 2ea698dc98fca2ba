"""Data sets: many instances of a task, generated, stored and read."""

from variform.data.generate import generate
from variform.data.store import Dataset, read, write

__all__ = ["Dataset", "generate", "read", "write"]
