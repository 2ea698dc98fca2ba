"""The weak residual as a loss: its minimum is the Galerkin solution of the grid, and learning without labels works."""

import numpy as np
import pytest
import torch

from variform import data, operators
from variform.errors import InputError
from variform.operators.measure import errors
from variform.operators.physics import WeakResidual


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "d.h5"
    plan = data.plan_of("darcy_lognormal", 24, resolution=17, batch=8, splits={"train": 16, "test": 8})
    data.generate(plan, path)
    return path


def galerkin(residual, sample):
    """The grid function whose residual vanishes, by the matrix of the sample."""
    n, free = len(residual.held[0]), torch.nonzero(residual.free).flatten()
    A = torch.zeros(len(residual.loads[0]), n, dtype=torch.float64)
    A[residual._row, residual._column] = residual.matrices[sample]
    u = residual.held[sample].clone()
    u[free] = torch.linalg.solve(A[:, free], -residual.loads[sample] - A @ (residual.held[sample] * ~residual.free))
    return u


def test_its_minimum_is_the_solution_of_the_grid_which_is_near_that_of_the_finer_mesh(stored):
    whole = data.read(stored)
    residual = WeakResidual(whole.part("test"), "cpu")
    for sample in range(3):
        u = galerkin(residual, sample).reshape(1, 1, 17, 17)
        assert float(residual(u, torch.tensor([sample]))) <= 1e-12  # what it is cut off at
        truth = torch.as_tensor(whole.part("test").read("h", sample)).double()
        assert float((u[0, 0] - truth).norm() / truth.norm()) < 0.02
        moved = u + 0.1 * float(u.abs().max()) * torch.rand(u.shape, generator=torch.Generator().manual_seed(0))
        assert float(residual(moved, torch.tensor([sample]))) > 1e-3


@pytest.mark.parametrize("kind", ["half_square", "norm", "half_square in H1"])
def test_it_is_the_energy_of_the_error_where_all_samples_have_one_operator(tmp_path, kind, monkeypatch):
    """Then A0 is that operator, r^T A0^-1 r = e^T A e; the inner product of H1 is it up to its lower term."""
    plan = data.plan_of("poisson_source", 4, resolution=17, mesh=32, batch=4, splits={"train": 4})
    data.generate(plan, tmp_path / "p.h5")
    if "H1" in kind:  # as where the mean operator is no inner product
        monkeypatch.setattr(np.linalg, "eigvalsh", lambda matrix: np.array([-1.0]))
    residual = WeakResidual(data.read(tmp_path / "p.h5").part("train"), "cpu", kind.split()[0])
    n, free = len(residual.held[0]), torch.nonzero(residual.free).flatten()
    A = torch.zeros(len(free), n, dtype=torch.float64)
    A[residual._row, residual._column] = residual.matrices[0]
    e = torch.rand(len(free), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    u = galerkin(residual, 0)
    energy, all_of_it = (float(w @ A[:, free] @ w) for w in (e, u[free]))
    u[free] += e
    found = float(residual(u.reshape(1, 1, 17, 17), torch.tensor([0])))
    expected = (energy / all_of_it) ** 0.5 if kind == "norm" else energy / 2 / residual.scale
    assert found == pytest.approx(expected, rel=0.06 if "H1" in kind else 1e-9)


def test_a_network_learns_from_the_form_alone(stored):
    whole = data.read(stored)
    given = {"modes": 6, "width": 12, "depth": 2, "epochs": 120, "batch": 8, "learning_rate": 5e-3, "seed": 0}
    free = operators.train(whole, "fno", loss="none", residual=1.0, **given)
    taught = operators.train(whole, "fno", **given)
    without, with_labels = (errors(o, whole.part("test"))["relative_l2"]["median"] for o in (free, taught))
    assert without < 0.12 and without < 1.5 * with_labels + 0.02
    predicted = free(free.examples(whole.part("test")).__getitems__([0]))
    edges = (predicted[..., 0, :], predicted[..., -1, :], predicted[..., 0], predicted[..., -1])
    assert all(float(edge.abs().max()) == 0 for edge in edges)  # the conditions hold exactly


def test_it_refuses_what_has_no_form_and_symmetries_that_would_move_the_fields(stored):
    line = np.linspace(0, 1, 5)
    other = data.Dataset.of("Other", (line, line), {"a": np.ones((2, 5, 5))}, {"u": np.ones((2, 5, 5))})
    with pytest.raises(InputError, match="Other is no data file of ours"):
        WeakResidual(other, "cpu")
    with pytest.raises(InputError, match="leave one of them out"):
        operators.train(data.read(stored), "fno", residual=1.0, augment="dihedral")
