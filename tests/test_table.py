"""Tables are linear between their points and constant beyond, for NumPy and torch; bad files: tests/cli."""

import numpy as np
import pytest
import torch

from variform.table import Table, read
from variform.task import Parameter


@pytest.fixture
def write(tmp_path):
    def write(text, name="a"):
        (tmp_path / "a.csv").write_text(text)
        return read(tmp_path / "a.csv", name, Parameter("a", default=1.0, field=True))

    return write


def test_one_coordinate_is_interpolated_and_constant_beyond_the_ends(write):
    table = write("\ufeffy , value\n 2,5\n0,1\n\n1,3\n")  # in any order, with a byte-order mark and blanks
    x = np.array([[9.0] * 6, [-1.0, 0.0, 0.25, 1.5, 2.0, 7.0]])
    assert table(x) == pytest.approx([1, 1, 1.5, 4, 5, 5])
    assert table(x.reshape(2, 2, 3)).shape == (2, 3)


@pytest.mark.parametrize("dim", [2, 3])
def test_scattered_points_reproduce_linear_functions_and_take_the_nearest_outside(dim):
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * dim), -1).reshape(-1, dim)
    points = np.vstack([corners, np.random.default_rng(0).uniform(size=(20, dim))])
    slope = np.arange(1.0, dim + 1)
    table = Table(tuple(range(dim)), points, 2 + points @ slope)
    x = np.random.default_rng(1).uniform(size=(dim, 50))
    assert table(x) == pytest.approx(2 + slope @ x)
    assert table(np.full((dim, 1), 4.0)) == pytest.approx([2 + slope.sum()])
    assert table(np.full((dim, 1), -4.0)) == pytest.approx([2])


def test_torch_gets_the_same_values_and_their_gradient(write):
    for table in (write("x,a\n0,1\n1,3\n"), write("x,y,a\n0,0,1\n1,0,3\n0,1,1\n1,1,3\n")):
        x = torch.tensor([[0.3, 0.9], [0.2, 0.6]], dtype=torch.float64, requires_grad=True)
        values = table(x)
        assert values.dtype == torch.float64 and values.detach().numpy() == pytest.approx(table(x.detach().numpy()))
        (gradient,) = torch.autograd.grad(values.sum(), x)
        assert gradient.numpy() == pytest.approx(np.array([[2.0, 2.0], [0.0, 0.0]]))
