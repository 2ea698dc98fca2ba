"""Batched linear systems agree with scipy's sparse LU, one sample at a time, by every path."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import spsolve

from variform.errors import ComputationError, InputError
from variform.mesh import Mesh
from variform.meshes import Disk, LShape, UnitCube, UnitSquare
from variform.solvers.batched.galerkin import SampleMultigrid
from variform.solvers.batched.linear import choose, solve
from variform.solvers.batched.memory import in_halves
from variform.solvers.batched.multigrid import Cycle
from variform.solvers.batched.operator import Operator, Pattern
from variform.solvers.batched.transform import FastDiagonalization, TensorGrid


@dataclass(frozen=True)
class Discrete:
    """-div(k grad u) = 1 with linear elements, k constant on cells, assembled here by numpy alone.

    `per_cell` (nnz, cells) maps the coefficient to the values of the free unknowns' matrix.
    """

    mesh: Mesh
    pattern: Pattern
    per_cell: sp.csr_array
    mass: torch.Tensor
    load: torch.Tensor
    points: np.ndarray

    @classmethod
    def of(cls, mesh: Mesh, dirichlet=None) -> Discrete:
        mesh = mesh.straight
        dim, cells, corners = mesh.dim, mesh.cells, mesh.points[mesh.cells]
        edges = corners[:, 1:] - corners[:, :1]
        volume = abs(np.linalg.det(edges)) / [1, 1, 2, 6][dim]
        gradients = np.linalg.inv(edges)
        gradients = np.concatenate([-gradients.sum(axis=2, keepdims=True), gradients], axis=2)
        stiffness = np.einsum("cai,caj,c->cij", gradients, gradients, volume)
        mass = (np.ones((dim + 1, dim + 1)) + np.eye(dim + 1)) / ((dim + 1) * (dim + 2)) * volume[:, None, None]
        rows, columns = np.repeat(cells, dim + 1), np.tile(cells, (1, dim + 1)).ravel()
        n = len(mesh.points)
        full = Pattern.of(sp.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)))
        free = np.ones(n, bool)
        names = mesh.boundaries if dirichlet is None else dirichlet
        for facets in (mesh.boundaries[name] for name in names):
            free[cells[facets[:, 0]][:, mesh.facet_vertices][np.arange(len(facets)), facets[:, 1]]] = False
        entry = np.searchsorted(full.rows * n + full.indices, rows * n + columns)
        cell = np.repeat(np.arange(len(cells)), (dim + 1) ** 2)
        pattern, kept = full.submatrix(free)
        assembled = sp.csr_array((stiffness.ravel(), (entry, cell)), shape=(full.nnz, len(cells)))[kept]
        mass_values = torch.from_numpy(np.bincount(entry, mass.ravel(), full.nnz)[kept])
        load = np.bincount(cells.ravel(), np.repeat(volume / (dim + 1), dim + 1), n)
        return cls(mesh, pattern, assembled, mass_values, torch.from_numpy(load[free]), mesh.points[free])

    def operator(self, k: np.ndarray) -> Operator:
        """k: shape (B, cells)."""
        return Operator(self.pattern, torch.from_numpy(np.ascontiguousarray(self.per_cell @ k.T)).T)

    def two_phase(self, batch: int, low: float, high: float, seed: int = 0) -> np.ndarray:
        """Random inclusions: where a sum of random waves is positive; shape (batch, cells)."""
        random, centres = np.random.default_rng(seed), self.mesh.points[self.mesh.cells].mean(axis=1)
        waves = random.normal(size=(batch, 40, self.mesh.dim)) * 12
        phases = random.uniform(0, 2 * np.pi, (batch, 40, 1))
        return np.where(np.cos(waves @ centres.T + phases).sum(axis=1) > 0, high, low)


def graded(mesh: Mesh) -> Mesh:
    return replace(mesh, points=mesh.points**1.5)


def shuffled(mesh: Mesh) -> Mesh:
    """The same mesh, its points numbered at random."""
    number = np.random.default_rng(0).permutation(len(mesh.points))
    points = np.empty_like(mesh.points)
    points[number] = mesh.points
    return replace(mesh, points=points, cells=number[mesh.cells])


def lu(A: Operator, f: torch.Tensor) -> np.ndarray:
    """scipy's sparse LU, sample by sample, with one step of refinement."""
    x = []
    for b in range(len(f)):
        matrix = A.sample(b).tocsc()
        first = spsolve(matrix, f[b].numpy())
        x.append(first + spsolve(matrix, f[b].numpy() - matrix @ first))
    return np.array(x)


def agree(x: torch.Tensor, reference: np.ndarray) -> float:
    return float((abs(x.numpy() - reference).max(axis=1) / abs(reference).max(axis=1)).max())


SYSTEMS = {
    "square": (lambda: UnitSquare().mesh(24), None, FastDiagonalization),
    "square, points shuffled": (lambda: shuffled(UnitSquare().mesh(24)), None, FastDiagonalization),
    "square, mixed sides": (lambda: UnitSquare().mesh(17), ["left", "top"], FastDiagonalization),
    "square, graded": (lambda: graded(UnitSquare().mesh(24)), ["left"], FastDiagonalization),
    "cube, mixed sides": (lambda: UnitCube().mesh(10), ["left", "right", "top"], FastDiagonalization),
    "disk": (lambda: Disk().mesh(40), None, Cycle),
    "L shape": (lambda: LShape().mesh(24), None, Cycle),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_agrees_with_sparse_lu(name):
    mesh, dirichlet, kind = SYSTEMS[name]
    discrete = Discrete.of(mesh(), dirichlet)
    A = discrete.operator(discrete.two_phase(6, 3.0, 12.0))
    f = discrete.load * torch.rand(6, 1, dtype=torch.float64)
    r = solve(A, f, definite=True, rtol=1e-12, grid=TensorGrid.of(discrete.points))
    assert isinstance(r.preconditioner, kind) and r.converged.all()
    true = torch.linalg.vector_norm(f - A.matvec(r.x), dim=1) / torch.linalg.vector_norm(f, dim=1)
    assert torch.allclose(r.relative_residual, true, rtol=0.5, atol=1e-15)
    assert agree(r.x, lu(A, f)) < 1e-10


@pytest.mark.parametrize(("geometry", "cells"), [(UnitSquare, [24, 48, 96]), (Disk, [24, 48, 96])])
def test_iterations_do_not_grow_with_refinement(geometry, cells):
    iterations = []
    for n in cells:
        discrete = Discrete.of(geometry().mesh(n))
        A = discrete.operator(discrete.two_phase(4, 3.0, 12.0))
        r = solve(A, discrete.load[None], definite=True, rtol=1e-8, grid=TensorGrid.of(discrete.points))
        iterations.append(int(r.iterations.max()))
    assert iterations[-1] < 1.5 * iterations[0] and iterations[-1] < 50, iterations  # without: 4 times as many


@pytest.mark.parametrize(
    ("mesh", "dirichlet", "reaction"),
    [
        (graded(UnitSquare().mesh(21)), ["left", "top"], 0.0),
        (UnitSquare().mesh(16), ["left"], 0.0),
        (UnitSquare().mesh(16), [], 1.0),
        (UnitCube().mesh(9), None, 0.0),
    ],
)
def test_fast_diagonalisation_is_exact_for_a_separable_operator(mesh, dirichlet, reaction):
    """The Laplacian on a graded or uniform box with fixed and free sides, and with a lumped reaction term."""
    discrete = Discrete.of(mesh, dirichlet)
    values = discrete.operator(np.ones((1, len(discrete.mesh.cells)))).values
    if reaction:
        x, y = (np.where((p == 0) | (p == 1), 0.5, 1.0) for p in discrete.points.T)
        values[0, discrete.pattern.diagonal] += reaction * torch.from_numpy(x * y)
    grid = TensorGrid.of(discrete.points)
    A = Operator(discrete.pattern, values).submatrix(grid.order)
    inverse = FastDiagonalization.nearest(A.mean(), grid.shape, torch.zeros(0, dtype=torch.float64))
    f = torch.rand(discrete.pattern.n, 2, dtype=torch.float64)
    assert torch.linalg.vector_norm(A.matvec(inverse(f).T).T - f) < 1e-10 * torch.linalg.vector_norm(f)


@pytest.mark.parametrize(("mesh", "cells"), [(UnitSquare, 32), (Disk, 40), (UnitCube, 10)])
def test_high_contrast_takes_a_multigrid_of_its_own_for_each_sample(mesh, cells):
    discrete = Discrete.of(mesh().mesh(cells))
    A, f = discrete.operator(discrete.two_phase(5, 1.0, 1e4)), discrete.load.expand(5, -1)
    own = solve(A, f, definite=True, rtol=1e-11, preconditioner=SampleMultigrid.of(A.pattern, A.mean(), A.values))
    shared = solve(A, f, definite=True, rtol=1e-11, contrast=1.0, max_iterations=2000)
    chosen = solve(A, f, definite=True, rtol=1e-11)
    assert own.converged.all() and agree(own.x, lu(A, f)) < 1e-8 and agree(chosen.x, lu(A, f)) < 1e-8
    assert own.iterations.max() < 60 and 2 * own.iterations.max() < shared.iterations.max()
    assert isinstance(chosen.preconditioner, SampleMultigrid) == (mesh is UnitCube)  # LU on plane meshes


def test_indefinite_unsymmetric_and_complex_systems_are_solved_by_lu():
    discrete = Discrete.of(Disk().mesh(24))
    stiffness = discrete.operator(discrete.two_phase(4, 1.0, 3.0)).values
    wave = torch.tensor([30.0, 50.0, 70.0, 90.0], dtype=torch.float64)[:, None]
    skew = torch.rand(4, discrete.pattern.nnz, dtype=torch.float64) * discrete.mass.mean()
    for values in (stiffness - wave * discrete.mass, stiffness + 20 * skew, stiffness - (wave + 3j) * discrete.mass):
        A = Operator(discrete.pattern, values)
        f = (discrete.load * torch.rand(4, 1, dtype=torch.float64)).to(values.dtype)
        r = solve(A, f, definite=False)
        assert r.converged.all() and agree(r.x, lu(A, f)) < 1e-10
        y = solve(A.transpose(), f, definite=False).x
        left, right = (f * y).sum(dim=1), (r.x * f).sum(dim=1)  # f . A^-T f = A^-1 f . f
        assert torch.allclose(left, right, rtol=1e-9)


def test_one_operator_serves_many_right_hand_sides():
    for mesh, grid in ((Disk().mesh(24), False), (UnitSquare().mesh(20), True)):
        discrete = Discrete.of(mesh)
        A = discrete.operator(np.ones((1, len(discrete.mesh.cells))))
        f = torch.randn(7, A.pattern.n, dtype=torch.float64)
        r = solve(A, f, definite=True, rtol=1e-12, grid=TensorGrid.of(discrete.points) if grid else None)
        assert r.x.shape == f.shape and r.converged.all() and agree(r.x, lu(A, f)) < 1e-10


@pytest.mark.parametrize("mesh", [UnitSquare, Disk])
def test_a_poisoned_sample_spoils_no_other(mesh):
    discrete = Discrete.of(mesh().mesh(20))
    A, f = discrete.operator(discrete.two_phase(6, 3.0, 12.0)), discrete.load.expand(6, -1).clone()
    values = A.values.clone()
    values[1, 40] = torch.nan
    values[2] -= 200 * discrete.mass  # indefinite
    f[4] = 0
    good = torch.tensor([0, 3, 5])
    poisoned = Operator(A.pattern, values)
    for preconditioner in (choose(A), SampleMultigrid.of(A.pattern, A.mean(), A.values)):
        r = solve(poisoned, f, definite=True, rtol=1e-12, preconditioner=preconditioner)
        assert r.converged.tolist() == [True, False, False, True, True, True]
        assert not r.x[4].any() and agree(r.x[good], lu(A.part(good), f[good])) < 1e-10
    values[3] = 0  # singular
    r = solve(Operator(A.pattern, values), f, definite=False)
    assert r.converged.tolist() == [True, False, True, False, True, True]
    good = torch.tensor([0, 2, 5])
    assert agree(r.x[good], lu(poisoned.part(good), f[good])) < 1e-9


def test_a_batch_without_one_finite_sample_is_reported_not_raised():
    discrete = Discrete.of(UnitSquare().mesh(6))
    A = discrete.operator(np.full((3, len(discrete.mesh.cells)), np.nan))
    assert not solve(A, discrete.load[None], definite=True).converged.any()


def test_a_singular_neumann_problem_is_not_reported_as_solved():
    discrete = Discrete.of(UnitSquare().mesh(12), [])
    A = discrete.operator(np.ones((1, len(discrete.mesh.cells))))
    assert not solve(A, discrete.load[None], definite=False).converged.any()


def test_a_sample_alone_gives_what_it_gives_in_a_batch():
    discrete = Discrete.of(UnitSquare().mesh(32))
    A, grid = discrete.operator(discrete.two_phase(9, 3.0, 12.0)), TensorGrid.of(discrete.points)
    whole = solve(A, discrete.load[None], definite=True, rtol=1e-12, grid=grid)
    for b in (0, 8):
        part = slice(b, b + 1)
        one = solve(
            Operator(A.pattern, torch.cat([A.values[part]] * 2)),
            discrete.load[None],
            definite=True,
            rtol=1e-12,
            grid=grid,
            preconditioner=whole.preconditioner,
        )
        assert agree(one.x[:1], whole.x[part].numpy()) < 1e-11


def test_a_first_guess_saves_iterations():
    discrete = Discrete.of(Disk().mesh(24))
    A, f = discrete.operator(discrete.two_phase(3, 3.0, 12.0)), discrete.load[None]
    first = solve(A, f, definite=True, rtol=1e-8)
    assert solve(A, f, definite=True, rtol=1e-7, x0=first.x).iterations.max() == 0


def test_memory_that_runs_out_halves_the_batch():
    tried = []

    def limited(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return list(range(part.start, part.stop))

    parts = in_halves(limited, slice(2, 13))
    assert [b for part in parts for b in part] == list(range(2, 13)) and max(tried) == 11
    with pytest.raises(ComputationError, match="out of memory for a single sample"):
        in_halves(lambda part: torch.empty(2**60), slice(0, 4))
    with pytest.raises(RuntimeError, match="another"):
        in_halves(lambda part: (_ for _ in ()).throw(RuntimeError("another")), slice(0, 4))


def test_shapes_that_do_not_match_are_refused():
    discrete = Discrete.of(UnitSquare().mesh(6))
    A = discrete.operator(discrete.two_phase(3, 1.0, 2.0))
    for wrong in (torch.zeros(2, A.pattern.n), torch.zeros(3, 5), torch.zeros(A.pattern.n)):
        with pytest.raises(InputError, match="f must have shape"):
            solve(A, wrong.double(), definite=True)
    with pytest.raises(InputError, match="float64"):
        solve(A, torch.zeros(3, A.pattern.n), definite=True)
    with pytest.raises(InputError, match="values must have shape"):
        Operator(A.pattern, torch.zeros(3, 1))
