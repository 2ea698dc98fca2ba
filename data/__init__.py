"""Data sets: many instances of a task, generated, stored, read and checked."""

from variform.data.dataset import Dataset, FieldInfo, Sample
from variform.data.generate import generate, plan_of
from variform.data.store import read, write

__all__ = ["Dataset", "FieldInfo", "Sample", "generate", "plan_of", "read", "write"]
