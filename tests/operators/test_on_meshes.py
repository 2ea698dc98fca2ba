"""Predictions on meshes: solutions like those of finite elements, whatever mesh they are asked for."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from variform import operators
from variform.data.dataset import Dataset, FieldInfo
from variform.errors import InputError
from variform.mesh import Mesh
from variform.operators.measure import draw_samples, predictions
from variform.operators.nodal import solution_at_points
from variform.problems import load as problem_named
from variform.solution import Cost

DARCY, STOKES = problem_named("darcy"), problem_named("stokes")
SMALL = {"width": 16, "depth": 2, "heads": 2, "slices": 8}


@dataclass(frozen=True)
class OnMesh:
    values: dict
    shared: Mesh

    def read(self, name, samples, times):
        return self.values[name][samples]

    def mesh(self, sample):
        return self.shared


def square(cells):
    return DARCY().geometry(DARCY().p).mesh(cells, 1)


def heterogeneity(c):
    return lambda x: 1 + c * x[0] * x[1]


def dataset(cells=8, count=6):
    """k(x) to a function of it, at the points of one mesh."""
    mesh, c = square(cells), np.linspace(0.2, 2, count)
    k = np.array([heterogeneity(each)(mesh.points.T) for each in c])
    u = np.sin(np.pi * mesh.points[:, 0]) / k
    infos = {"heterogeneity": FieldInfo("input"), "h": FieldInfo("output")}
    return Dataset("Darcy", infos, (), OnMesh({"heterogeneity": k, "h": u}, mesh), count)


def instance(c=0.56):
    return DARCY(heterogeneity=heterogeneity(c))


def renumbered(mesh):
    order = np.random.default_rng(0).permutation(len(mesh.points))
    cells = np.argsort(order)[mesh.cells]
    return replace(mesh, points=mesh.points[order], cells=cells)


@pytest.fixture(scope="module", params=["transolver", "gino"])
def operator(request):
    options = SMALL if request.param == "transolver" else {"modes": 4, "width": 12, "depth": 2, "latent": 8}
    return operators.train(dataset(), request.param, **options, epochs=120, batch=6, learning_rate=1e-2, seed=0)


def test_a_prediction_is_a_solution_on_the_mesh(operator, tmp_path):
    data = dataset()
    predicted, truth = predictions(operator, data)
    solution = operator.predict(instance(), mesh=8)
    assert np.allclose(solution.nodal("h"), predicted[1, 0, 0], atol=1e-5)
    assert np.linalg.norm(solution.nodal("h") - truth[1, 0, 0].numpy()) < 0.1 * truth[1].norm()
    middles = solution.mesh.points[solution.mesh.cells].mean(axis=1).T
    means = solution.nodal("h")[solution.mesh.cells].mean(axis=1)
    assert np.allclose(solution.at(middles), means) and np.isnan(solution.at(np.array([[2.0], [0.0]]))).all()
    assert solution.integrate(degree=1) == pytest.approx(means.mean(), rel=1e-12)  # all cells have one size
    assert solution.functional(lambda s: s.u["h"] * s.dx) == pytest.approx(means.mean(), rel=1e-12)
    assert solution.save(tmp_path).name == "solution.npz"
    assert solution.discretization["network"] == operator.settings.network and solution.cost.parameters > 0


def test_the_order_of_the_points_does_not_matter(operator):
    mesh, x = square(8), np.random.default_rng(1).random((2, 40))
    one, other = (operator.predict(instance(), mesh=each) for each in (mesh, renumbered(mesh)))
    assert np.allclose(one.at(x), other.at(x), atol=1e-5)


def test_finer_meshes_give_nearly_the_same_function(operator):
    x = np.random.default_rng(1).random((2, 200))
    coarse, fine, curved = (operator.predict(instance(), mesh=m) for m in (8, 16, square(8).second_order))
    for other in (fine, curved):
        assert np.linalg.norm(coarse.at(x) - other.at(x)) < 0.2 * np.linalg.norm(coarse.at(x))
    assert curved.discretization["degree"] == 2 and len(curved.drawn.points) == 17**2


def test_values_at_points_are_the_dofs_of_elements_of_second_order():
    """Quadratic velocities and linear pressures come back exactly."""
    task = STOKES()
    mesh = task.geometry(task.p).mesh(3, 1).second_order
    x, y = mesh.points.T
    solution = solution_at_points(task, mesh, {"u": np.array([x * y, x**2]), "p": 2 * x - y}, Cost(0.0), {})
    z = mesh.points[mesh.cells[:, :3]].mean(axis=1).T
    assert np.allclose(solution.at(z, field="u"), [z[0] * z[1], z[0] ** 2], atol=1e-12)
    assert np.allclose(solution.at(z, field="p"), 2 * z[0] - z[1], atol=1e-12)


def test_pictures_of_samples_on_meshes(operator, tmp_path):
    data = dataset()
    path = draw_samples(operator, data, *predictions(operator, data), tmp_path / "f" / "samples.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_is_refused(operator):
    with pytest.raises(InputError, match="trained on meshes: choose a mesh"):
        operator.predict(instance())
    with pytest.raises(InputError, match="has no parameter 'heterogeneity'"):
        operator.predict(STOKES(), mesh=4)
    with pytest.raises(InputError, match="only stationary problems"):
        operator.predict(problem_named("heat")(), mesh=4)
