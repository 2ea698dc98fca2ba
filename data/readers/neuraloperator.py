"""Tensors of neuraloperator: a dictionary {x, y} in a file .pt."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np

from variform.data.dataset import Dataset
from variform.errors import InputError


def read(path: Path) -> Dataset:
    """x (samples, *grid) as input, y as output; a channel axis of length 1 is left out.

    Raises:
        InputError: damaged, more than tensors, or shapes that do not agree.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of the pickle's age
            stored = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{path} is damaged, or holds more than tensors: {reason}") from None
    if not isinstance(stored, dict) or not all(isinstance(stored.get(key), torch.Tensor) for key in "xy"):
        raise InputError(f"{path} must hold a dictionary with the tensors 'x' and 'y'")
    kept = (torch.float32, torch.float64)
    for key in "xy":
        if stored[key].is_complex() or stored[key].layout != torch.strided:
            raise InputError(f"{path}: {key} must be a dense tensor of real numbers, got {stored[key].dtype}")
    arrays = {
        key: (stored[key] if stored[key].dtype in kept else stored[key].to(torch.float32)).detach().numpy()
        for key in "xy"
    }
    for key, values in arrays.items():
        if values.ndim == 4 and values.shape[1] == 1:
            arrays[key] = values[:, 0]
    x, y = arrays["x"], arrays["y"]
    if x.shape != y.shape or not 2 <= x.ndim <= 4 or min(x.shape) < 1 or min(x.shape[1:]) < 2:
        raise InputError(
            f"{path}: x and y must be tensors of one shape (samples, *grid), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    axes = [np.linspace(0, 1, n) for n in x.shape[1:]]
    notes = ["the file has no coordinates: the unit box with both ends is taken"]
    return Dataset.of(path.stem, axes, {"x": x}, {"y": y}, info={"notes": notes}, layout="neuraloperator")
