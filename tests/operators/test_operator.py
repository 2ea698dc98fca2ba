"""A trained operator: files that hold it whole, predictions of new instances at any resolution."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from variform import operators
from variform.data import Dataset, generate, plan_of, read
from variform.errors import InputError
from variform.problems import load as problem_named

DARCY = problem_named("darcy")()
TINY = {"modes": 4, "width": 12, "depth": 2}


def dataset(count=4, points=17):
    """Not solutions, but maps of the fields that are as smooth: quick to make."""
    x = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * 2, indexing="ij"))
    fields = np.stack([DARCY.sample(0, i).values["heterogeneity"](x) for i in range(count)])
    heads = (1 - x[0]) + 0.3 * np.sin(np.pi * x[0]) * np.log(fields)
    return Dataset.of("Darcy", (x[0, :, 0], x[1, 0]), {"heterogeneity": fields}, {"h": heads})


@pytest.fixture(scope="module")
def operator():
    return operators.train(dataset(), "fno", **TINY, epochs=150, batch=4, learning_rate=1e-2, seed=1)


def test_a_saved_operator_predicts_bit_by_bit_the_same(operator, tmp_path):
    operator.save(tmp_path)
    back = operators.load(tmp_path)
    batch = operator.examples(dataset()).__getitems__(range(4))
    assert torch.equal(back(batch), operator(batch))
    instance = DARCY.sample(9, 9)
    assert np.array_equal(back.predict(instance).values["h"], operator.predict(instance).values["h"])
    assert (back.settings, back.channels) == (operator.settings, operator.channels)
    assert (back.history, back.info) == (operator.history, operator.info)
    assert back.num_parameters == operator.num_parameters


def test_a_file_with_more_than_tensors_is_refused_and_not_run(operator, tmp_path):
    operator.save(tmp_path)

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("run").touch, ())

    torch.save({"network": Evil()}, tmp_path / "operator.pt")
    with pytest.raises(InputError, match="holds no trained operator"):
        operators.load(tmp_path)
    assert not (tmp_path / "run").exists()


def test_predictions_at_other_resolutions_are_the_same_functions(operator):
    instance, x = DARCY.sample(0, 2), np.random.default_rng(0).random((2, 50))
    predictions = [operator.predict(instance, resolution=points) for points in (None, 33, 65)]
    for prediction, points in zip(predictions, (17, 33, 65), strict=True):
        assert prediction.values["h"].shape == (1, points, points)
        assert prediction.discretization["resolution"] == points
        assert prediction.discretization["training"]["grid"] == [17, 17]
        assert prediction.cost.parameters == operator.num_parameters
    coarse, middle, fine = (prediction.at(x) for prediction in predictions)
    assert np.linalg.norm(coarse - fine) < 0.005 * np.linalg.norm(fine)
    assert np.linalg.norm(middle - fine) < 0.3 * np.linalg.norm(coarse - fine)
    assert np.isnan(predictions[0].at(np.array([[1.1], [0.5]]))).all()


def test_inputs_given_as_numbers_are_spread(operator):
    by_number = operator.predict(problem_named("darcy")(heterogeneity=1.5))
    by_function = operator.predict(problem_named("darcy")(heterogeneity=lambda x: 0 * x[0] + 1.5))
    assert np.array_equal(by_number.values["h"], by_function.values["h"])


def test_a_problem_without_the_inputs_of_the_network_is_refused(operator):
    with pytest.raises(InputError, match="Poisson has no parameter 'heterogeneity', an input of this network"):
        operator.predict(problem_named("poisson")())


def test_another_problem_and_other_values_of_what_was_the_same_in_all_samples_are_refused(tmp_path):
    kind, tiny = problem_named("advection"), {"modes": 2, "width": 4, "depth": 1, "epochs": 1}
    plan = plan_of("advection", 2, resolution=16, steps=8, snapshots=4, values={"speed": 1.5})
    generate(plan, tmp_path / "d.h5")
    operators.train(stored := read(tmp_path / "d.h5"), "fno", **tiny).save(tmp_path / "R")
    operator = operators.load(tmp_path / "R")
    speed = operator.info["values"]["speed"]
    assert operator.info["problem"] == "Advection" and "initial" not in operator.info["values"]
    assert len(operator.predict(kind(speed=speed)).times) == 2
    said = rf"the operator was trained on speed = {speed}, and not on {2 * speed}"
    with pytest.raises(InputError, match=said):
        operator.predict(kind(speed=2 * speed))
    with pytest.raises(InputError, match="the operator was trained on the problem Advection, and not on Burgers"):
        operator.predict(problem_named("burgers_periodic")())
    untold = operators.train(replace(stored, info={}), "fno", **tiny)
    assert len(untold.predict(kind(speed=2 * speed)).times) == 2
    told = {"card": {"values": {"conductivity": {"clay": 0.2, "sand": 1.0}, "heterogeneity": 1.0, "recharge": 0.5}}}
    layers = operators.train(replace(dataset(), info=told), "fno", **tiny)
    with pytest.raises(InputError, match=r"on conductivity = {'clay': 0.2, 'sand': 1.0}, and not on {'clay': 0.1,"):
        layers.predict(DARCY.sample(0, 0))
    assert layers.predict(problem_named("darcy")(conductivity={"clay": 0.2})).values["h"].shape == (1, 17, 17)


def test_an_evolution_is_predicted_from_its_initial_values():
    """The heat equation on a circle: one step is a filter, which the network of Fourier modes learns."""
    kind = problem_named("heat_torus")
    task = kind()
    n, dim = 16, len(task.box(task.p)[0])
    lower, upper = task.box(task.p)
    axes = [a + (b - a) / n * np.arange(n) for a, b in zip(lower, upper, strict=True)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"))
    start = np.stack([np.asarray(kind().sample(0, i).initial_values(x, kind().sample(0, i).p))[0] for i in range(8)])
    u = start[:, None] * (0.8 ** np.arange(4)).reshape(1, -1, *[1] * dim)
    made = Dataset.of("Decay", axes, {}, {"u": u}, times=0.1 * np.arange(4), periodic=(True,) * dim)
    operator = operators.train(made, "fno", **TINY, epochs=80, batch=4, learning_rate=1e-2, ahead=3)
    instance = kind().sample(0, 3)
    solution = operator.predict(instance)
    (values,) = solution.values.values()
    assert np.allclose(solution.times, 0.1 * np.arange(4)) and values.shape == u[3].shape
    assert np.linalg.norm(values - u[3]) < 0.1 * np.linalg.norm(u[3])
    assert np.allclose(values[0], u[3, 0], rtol=1e-5, atol=1e-6)
    for change, said in (
        ({"times": 0.2 * np.arange(4)}, "Decay has 0.2 s between two frames, the operator was trained on 0.1 s"),
        ({"periodic": (False,) * dim}, r"periodic: \(False, .*trained on \(True, "),
        ({"coordinates": tuple(2 * a for a in axes)}, r"lies in the box \(.*trained on \(0.0, "),
    ):
        with pytest.raises(InputError, match=said):
            operator.examples(replace(made, **change))


def test_data_of_other_boxes_and_times_are_refused_and_other_resolutions_are_not():
    """With points at the ends of the axes, and in the middles of cells."""
    rng = np.random.default_rng(0)

    def maps(n, *, cells=False, side=1.0, times=None):
        line = side * ((np.arange(n) + 0.5) / n if cells else np.linspace(0, 1, n))
        u = rng.random((2, n) if times is None else (2, len(times), n))
        return Dataset.of("Maps", (line,), {"a": rng.random((2, n))}, {"u": u}, times=times)

    tiny = {"modes": 2, "width": 4, "depth": 1, "epochs": 1}
    for cells in (False, True):
        operator = operators.train(maps(16, cells=cells), "fno", **tiny)
        for same in (maps(16, cells=cells), maps(32, cells=cells)):
            assert len(operator.examples(same)) == 2
        with pytest.raises(InputError, match=r"Maps lies in the box .*, the operator was trained on"):
            operator.examples(maps(16, cells=cells, side=1.01))
    with pytest.raises(InputError, match="Maps is an evolution, what the operator was trained on is stationary"):
        operator.examples(maps(16, cells=True, times=np.arange(3.0)))
    operator = operators.train(maps(16, times=np.linspace(0, 1, 3)), "fno", learn="solution", **tiny)
    assert len(operator.examples(maps(16, times=np.linspace(0, 1, 5)))) == 2
    with pytest.raises(InputError, match="Maps has 2 s from first to last time, the operator was trained on 1 s"):
        operator.examples(maps(16, times=np.linspace(0, 2, 3)))


def test_damaged_and_missing_files_are_refused(operator, tmp_path):
    with pytest.raises(InputError, match="is no run folder"):
        operators.load(tmp_path / "absent")
    operator.save(tmp_path)
    weights, record = (tmp_path / name for name in ("operator.pt", "operator.json"))
    whole, said = weights.read_bytes(), record.read_text()
    for content in (b"", whole[:100], whole[: len(whole) // 2], b"no zip file at all"):
        weights.write_bytes(content)
        with pytest.raises(InputError, match="holds no trained operator"):
            operators.load(tmp_path)
    weights.write_bytes(whole)
    wrong = [
        said.replace('"width": 12', '"width": 13'),
        said.replace('"width": 12', '"breadth": 12'),
        json.dumps({**json.loads(said), "history": 3}),
        json.dumps({key: value for key, value in json.loads(said).items() if key != "channels"}),
    ]
    for content in wrong:
        record.write_text(content)
        with pytest.raises(InputError, match="holds no trained operator"):
            operators.load(tmp_path)
    record.write_text(said)
    assert operators.load(tmp_path).settings == operator.settings


def test_a_network_on_a_grid_predicts_on_no_mesh(operator):
    with pytest.raises(InputError, match="was trained on a grid: choose a resolution"):
        operator.predict(DARCY.sample(0, 0), mesh=8)


def test_predictions_converge_under_refinement(operator):
    """With the resolution of the grid, at first order or better: the Fourier coefficients are those of the function."""
    instance, x = DARCY.sample(0, 1), np.random.default_rng(0).random((2, 100))
    found = [operator.predict(instance, resolution=points).at(x) for points in (17, 33, 65, 129)]
    steps = [np.linalg.norm(b - a) for a, b in itertools.pairwise(found)]
    assert steps[1] < 0.6 * steps[0] and steps[2] < 0.6 * steps[1]
