"""Generated data are the solutions of their instances."""

import numpy as np
import pytest

from variform.data import generate, read
from variform.errors import InputError
from variform.problems import load
from variform.solvers import fem
from variform.task import evaluate


def test_a_data_set_holds_the_solutions_of_its_instances(tmp_path):
    problem, path, said = load("darcy")(recharge=0.2), tmp_path / "data.h5", []
    data = generate(problem, 3, path, resolution=9, seed=4, progress=lambda done, text: said.append((done, text)))
    grid = np.stack(np.meshgrid(*data.coordinates, indexing="ij"))
    assert grid.shape == (2, 9, 9) and len(data) == 3
    for index in range(3):
        instance = problem.sample(4, index)
        solution = fem.solve(instance, mesh=16)
        assert np.array_equal(data.inputs["heterogeneity"][index], evaluate(instance.values["heterogeneity"], grid))
        assert np.allclose(data.outputs["h"][index].ravel(), solution.at(grid.reshape(2, -1)), rtol=0, atol=1e-12)
    assert np.allclose(data.outputs["h"][:, 0], 1.0) and np.allclose(data.outputs["h"][:, -1], 0.0)
    assert np.ptp(data.outputs["h"], axis=0).max() > 0.01  # the instances differ
    assert [text for _, text in said] == ["instance 1 of 3", "instance 2 of 3", "instance 3 of 3"]

    stored = read(path)
    assert stored.name == "Darcy"
    assert np.array_equal(stored.outputs["h"], data.outputs["h"].astype(np.float32))
    assert (stored.info["seed"], stored.info["indices"], stored.info["mesh"]) == (4, [0, 3], 16)
    assert stored.info["discretization"]["elements"] == {"h": "Lagrange 1"}


@pytest.mark.parametrize(
    ("name", "message"), [("poisson", "Poisson has no random instances"), ("heat", "Heat has no random instances")]
)
def test_what_cannot_be_generated_is_refused_before_any_file_is_written(name, message, tmp_path):
    with pytest.raises(InputError, match=message):
        generate(load(name)(), 1, tmp_path / "data.h5")
    with pytest.raises(InputError, match="count must be 1 or more, got 0"):
        generate(load("darcy")(), 0, tmp_path / "data.h5")
    with pytest.raises(InputError, match="resolution must be 2 or more, got 1"):
        generate(load("darcy")(), 1, tmp_path / "data.h5", resolution=1)
    assert not list(tmp_path.iterdir())
