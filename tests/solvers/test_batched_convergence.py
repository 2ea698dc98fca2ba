"""The batched solver without DOLFINx: orders of convergence on manufactured solutions, on every cell type."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import variform
from variform.benchmarks.metrics import exact_errors
from variform.meshes import Interval, UnitCube, UnitSquare
from variform.problems import load
from variform.solvers.batched import BatchedSolver

CASES = [
    ("poisson_1d", Interval(), "interval", 3, (8, 16)),
    ("poisson_robin", UnitSquare(), "triangle", 1, (16, 32)),
    ("poisson_manufactured", UnitSquare(), "triangle", 2, (8, 16)),
    ("poisson_manufactured", UnitSquare(), "triangle", 3, (8, 16)),
    ("poisson_manufactured", UnitSquare(), "quadrilateral", 1, (16, 32)),
    ("poisson_manufactured", UnitSquare(), "quadrilateral", 3, (8, 16)),
    ("poisson_neumann", UnitSquare(), "triangle", 2, (8, 16)),
    ("poisson_3d_manufactured", UnitCube(), "tetrahedron", 2, (4, 8)),
    ("poisson_3d_manufactured", UnitCube(), "hexahedron", 1, (8, 16)),
    ("linear_elasticity", UnitSquare(), "triangle", 2, (8, 16)),
    ("stokes_manufactured", UnitSquare(), "triangle", 2, (8, 16)),
    ("kovasznay", None, "triangle", 2, (12, 24)),
]


@pytest.mark.parametrize(("name", "box", "cell_type", "degree", "sizes"), CASES)
def test_errors_fall_at_the_order_of_the_elements(name, box, cell_type, degree, sizes):
    problem, errors = load(name)(), []
    for n in sizes:
        geometry = problem.geometry(problem.p)
        simplex = cell_type in ("interval", "triangle", "tetrahedron")
        mesh = geometry.mesh(n) if box is None or simplex else box.mesh(n, cell_type=cell_type)
        solution = variform.solve(problem, method="fem-batched", mesh=mesh, degree=degree)
        assert solution.mesh.cell_type == cell_type
        errors.append(exact_errors(problem, solution, next(iter(problem.fields))))
    for norm, order in (("relative_l2", degree + 1), ("relative_h1", degree)):
        rate = np.log2(errors[0][norm] / errors[1][norm])
        assert order - 0.15 < rate < order + 0.5, (norm, rate, errors)


def test_steps_in_time_have_order_two():
    """The error in time alone: against many more steps on the same mesh."""
    problem = load("heat")()
    mesh = problem.geometry(problem.p).mesh(8)
    solver = BatchedSolver(problem, mesh)
    finest, *coarse = (solver.evolve(steps=steps).u["T"][0, -1] for steps in (256, 4, 8, 16))
    errors = [float(torch.linalg.vector_norm(u - finest)) for u in coarse]
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert rates[-1] == pytest.approx(2, abs=0.1), rates


def test_a_thousand_samples_obey_the_maximum_principle_and_scale_with_their_source():
    """-div(k grad u) = f: u > 0 inside for f > 0, and u is linear in f / k."""
    problem = load("poisson")()
    solver = BatchedSolver(problem, problem.geometry(problem.p).mesh(8))
    generator = torch.Generator().manual_seed(0)
    k, f = (0.1 + torch.rand(1000, generator=generator, dtype=torch.float64) for _ in range(2))
    batch = solver.solve({"conductivity": k, "source": f})
    one = solver.solve().u["u"][0]
    assert batch.converged.all() and (batch.u["u"] >= 0).all()
    assert torch.allclose(batch.u["u"], (f / k)[:, None] * one, rtol=1e-9, atol=1e-12)


def test_the_example_finds_the_conductivities_behind_noisy_measurements():
    path = Path(__file__).parents[2] / "examples" / "identify_conductivity.py"
    spec = importlib.util.spec_from_file_location("identify_conductivity", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.main(cells=8)
    error = found.mean(axis=0) - list(example.TRUTH.values())
    assert (abs(error) < 4 * found.std(axis=0, ddof=1) / len(found) ** 0.5).all(), found
    assert (found.std(axis=0) < 0.3 * np.array(list(example.TRUTH.values()))).all(), found
