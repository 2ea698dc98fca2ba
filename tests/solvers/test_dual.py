"""The dual norm of the residual is what its definition says, and tells how far a function is from the solution."""

import numpy as np
import pytest
import torch

from variform.problems import load
from variform.random import LogNormal, generator
from variform.solvers.batched import BatchedSolver
from variform.solvers.batched.dual import DualNorm

FIELD = LogNormal().sample(generator(0, 0))


def solver_of(name, cells, degree=None, **values):
    problem = load(name)(**values)
    return BatchedSolver(problem, problem.geometry(problem.p).mesh(cells), degree=degree)


def test_it_is_the_supremum_over_the_test_functions():
    solver = solver_of("poisson", 5)
    norm, weak = DualNorm(solver), solver.weak
    u = {
        "u" if "u" in weak.shapes else next(iter(weak.shapes)): torch.rand(1, weak.linearised.size, dtype=torch.float64)
    }
    riesz = norm._inverse
    n = solver.system.conditions.size
    inner = np.linalg.inv(riesz(np.eye(n)))
    r = norm._residual(weak.pack(u), _inputs(solver))[0].numpy()
    found = float(norm.absolute(u)[0])
    best = np.linalg.solve(inner, r)
    assert r @ best / np.sqrt(best @ inner @ best) == pytest.approx(found, rel=1e-9)
    for v in np.random.default_rng(0).standard_normal((200, n)):
        assert r @ v / np.sqrt(v @ inner @ v) <= found * (1 + 1e-12)


def _inputs(solver):
    from variform.solvers.batched.inputs import Inputs

    return Inputs.of(solver.weak, None)


@pytest.mark.parametrize(
    ("name", "values"),
    [("darcy_field", {"permeability": FIELD}), ("poisson_source", {"source": FIELD}), ("darcy", {}), ("stokes", {})],
)
def test_a_solution_has_none_and_a_scaled_one_its_thousandth(name, values):
    solver = solver_of(name, 12, **values)
    u = solver.solve(rtol=1e-12).u
    norm = DualNorm(solver)
    assert float(norm.of(u)[0]) < 1e-9
    scaled = {field: 1.001 * dofs for field, dofs in u.items()}
    least = 1e-5 if name == "stokes" else 2e-4  # the lid's corners make the residual of zero large
    assert least < float(norm.of(scaled)[0]) < 5e-3


def test_it_falls_with_the_energy_error_of_a_coarser_solution():
    fine = solver_of("poisson_manufactured", 32)
    name = next(iter(fine.weak.shapes))
    found = []
    for cells in (8, 16):
        coarse = solver_of("poisson_manufactured", cells)
        from variform.data.solved.on_mesh import Interpolation

        line = np.linspace(0, 1, 33)
        values = Interpolation(coarse.weak, (line, line))(name, coarse.solve().u[name].numpy())[0]
        x = np.rint(fine.weak.spaces[name].x * 32).astype(int)
        found.append(float(DualNorm(fine).of({name: torch.as_tensor(values[x[0], x[1]])[None]})[0]))
    assert found[0] / found[1] == pytest.approx(2, rel=0.15)
