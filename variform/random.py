"""Random fields: the laws that random instances of a task follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace


def generator(seed: int, index: int) -> np.random.Generator:
    """A counter-based stream of its own for each (seed, index), the same on every machine."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, index]))


@dataclass(frozen=True)
class CosineSeries:
    """exp of, or plain, g(x) = sum_k c_k prod_i cos(pi k_i x_i) on the unit box.

    Args:
        coefficients: c, shape (modes,) * dim.
        log: evaluate exp(g) instead of g.
    """

    coefficients: np.ndarray
    log: bool = False

    def __call__(self, x: Any) -> Any:
        """Values at x (dim, ...), shape (...), by NumPy or torch, as x is."""
        xp = array_namespace(x)
        g = xp.asarray(self.coefficients, dtype=x.dtype, device=x.device)
        modes = xp.arange(len(self.coefficients), dtype=x.dtype, device=x.device)
        for i in range(self.coefficients.ndim):
            wave = xp.cos(np.pi * modes.reshape((-1,) + (1,) * (x.ndim - 1)) * x[i])
            # The first axis of g becomes axes of points, shared by every later dimension.
            g = xp.einsum("k...p,kp->...p" if i else "k...,kp->...p", g, wave.reshape((len(modes), -1)))
        g = g.reshape(x.shape[1:])
        return xp.exp(g) if self.log else g


@dataclass(frozen=True)
class Normal:
    """sigma g: g Gaussian on the unit box with mean zero, as of `LogNormal`, band-limited: the same on every mesh."""

    dim: int = 2
    sigma: float = 1.0
    modes: int = 16
    alpha: float = 0.0
    tau: float = 1.0

    def sample(self, seed: int, index: int) -> CosineSeries:
        return CosineSeries(_coefficients(self, seed, index))


@dataclass(frozen=True)
class LogNormal:
    """exp(sigma g): g Gaussian on the unit box, covariance ~ (tau^2 - Laplace)^(-alpha), Neumann, unit mean variance.

    The Karhunen-Loeve series of g ends at `modes` cosines a direction, so that every sample is smooth.

    Args:
        dim: dimension of the box.
        sigma: standard deviation of the logarithm [-].
        modes: cosines a direction.
        alpha: smoothness exponent [-].
        tau: inverse length scale [1/m].

    Source: the covariance of the operator-learning literature (Li et al. 2021, arXiv:2010.08895, section 5.2).
    """

    dim: int = 2
    sigma: float = 0.5
    modes: int = 8
    alpha: float = 2.0
    tau: float = 3.0

    def sample(self, seed: int, index: int) -> CosineSeries:
        return CosineSeries(_coefficients(self, seed, index), log=True)


def _coefficients(law: Normal | LogNormal, seed: int, index: int) -> np.ndarray:
    """Of the cosines, shape (modes,) * dim."""
    k = np.stack(np.meshgrid(*[np.arange(law.modes)] * law.dim, indexing="ij"))
    deviation = (np.pi**2 * (k**2).sum(axis=0) + law.tau**2) ** (-law.alpha / 2)
    deviation.flat[0] = 0.0  # the mean of g is fixed: it would only rescale the field
    mean_square = 0.5 ** (k > 0).sum(axis=0)  # of prod_i cos(pi k_i x_i) over the box
    deviation *= law.sigma / np.sqrt((mean_square * deviation**2).sum())
    noise = generator(seed, index).standard_normal(deviation.shape)
    return deviation * noise
