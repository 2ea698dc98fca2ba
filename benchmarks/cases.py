"""Problems and inputs that several benchmarks measure on, free of DOLFINx."""

from __future__ import annotations

import numpy as np
import scipy.fft
from ufl import grad, inner

from variform.mesh import Mesh
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem
from variform.task import Parameter


class NonlinearDiffusion(Problem):
    """-div((1 + u^2) grad u) = 1 in the unit square, u = 0 on its boundary."""

    fields = {"u": Field("temperature", unit="K")}
    parameters = {"f": Parameter("source", default=1.0, unit="W/m^3")}
    conditions = [Dirichlet("u", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def residual(self, s, v):
        u = s.u["u"]
        return (1 + u**2) * inner(grad(u), grad(v["u"])) * s.dx - s.p.f * v["u"] * s.dx


class TwoPhaseFlow(Problem):
    """-div(K grad h) = 1 in the unit square, h = 0 on its boundary, with one K a cell.

    Source: Li et al., Fourier Neural Operator for Parametric Partial Differential Equations (2021), section 5.2.
    """

    fields = {"h": Field("hydraulic head", unit="m")}
    parameters = {"K": Parameter("conductivity", default=3.0, unit="m/d", field=True, smooth=False, above=0.0)}
    conditions = [Dirichlet("h", 0.0)]

    def geometry(self, p):
        return UnitSquare()

    def energy(self, s):
        h = s.u["h"]
        return s.p.K / 2 * inner(grad(h), grad(h)) * s.dx - h * s.dx


def two_phase(mesh: Mesh, cells: int, batch: int, seed: int = 0) -> np.ndarray:
    """K = 12 where a Gaussian field is positive, 3 elsewhere, shape (batch, num_cells): both halves of a square agree.

    The field has the covariance (9 - Laplace)^-2 with Neumann conditions, sampled at the middles of cells^2 squares.

    Args:
        mesh: of the unit square, cut into cells^2 squares.
    """
    k = np.pi**2 * (np.arange(cells)[:, None] ** 2 + np.arange(cells) ** 2)
    noise = np.random.default_rng(seed).standard_normal((batch, cells, cells)) / (k + 9)
    noise[:, 0, 0] = 0
    positive = scipy.fft.idctn(noise, axes=(1, 2), norm="ortho") > 0
    i, j = (mesh.points[mesh.cells].mean(axis=1).T * cells).astype(int)
    return np.where(positive[:, i, j], 12.0, 3.0)
