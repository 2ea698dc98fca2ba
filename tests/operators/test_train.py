"""Fourier neural operators: four samples fitted, every parameter trained, saved and predicted at any resolution."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from variform.data import Dataset
from variform.errors import InputError
from variform.operators import load, train
from variform.operators.networks import FNOSettings, fno
from variform.operators.train import Scale, relative_l2
from variform.problems import load as problem_named

TINY = FNOSettings(modes=4, width=12, depth=2)
DARCY = problem_named("darcy")()


def dataset(count=4, points=17):
    """Not solutions, but maps of the fields that are as smooth: quick to make."""
    x = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * 2, indexing="ij"))
    fields = np.stack([DARCY.sample(0, i).values["heterogeneity"](x) for i in range(count)])
    heads = (1 - x[0]) + 0.3 * np.sin(np.pi * x[0]) * np.log(fields)
    return Dataset.of("Darcy", (x[0, :, 0], x[1, 0]), {"heterogeneity": fields}, {"h": heads})


@pytest.fixture(scope="module")
def operator():
    return train(dataset(), settings=TINY, epochs=150, batch=4, learning_rate=1e-2, seed=1)


def tensors(data):
    fields = [np.stack(list(part.values()), axis=1) for part in (data.inputs, data.outputs)]
    return [torch.as_tensor(part, dtype=torch.float32) for part in fields]


def test_four_samples_are_fitted(operator):
    inputs, outputs = tensors(dataset())
    with torch.no_grad():
        errors = relative_l2(operator(inputs), outputs)
    assert errors.max() < 0.03
    assert operator.history[0][1] > 10 * operator.history[-1][1]
    assert [epoch for epoch, _ in operator.history] == list(range(1, 151))
    assert (operator.info["samples"], operator.info["resolution"], operator.info["epochs"]) == (4, 17, 150)


def test_every_parameter_has_a_gradient():
    inputs, outputs = tensors(dataset(2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = fno(1, 1, 2, TINY)
    relative_l2(network(inputs), outputs).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("padding", [0.0, 0.25])
@pytest.mark.parametrize(("dim", "channels"), [(1, (1, 2)), (2, (3, 1))])
def test_batch_channels_and_resolution_are_free(dim, channels, padding):
    network = fno(*channels, dim, replace(TINY, padding=padding))
    for batch, points in ((1, 12), (3, 20)):
        assert network(torch.zeros(batch, channels[0], *[points] * dim)).shape == (batch, channels[1], *[points] * dim)


def test_a_saved_operator_predicts_bit_by_bit_the_same(operator, tmp_path):
    operator.save(tmp_path)
    back = load(tmp_path)
    inputs, _ = tensors(dataset())
    with torch.no_grad():
        assert torch.equal(back(inputs), operator(inputs))
    instance = DARCY.sample(9, 9)
    assert np.array_equal(back.predict(instance).values["h"], operator.predict(instance).values["h"])
    assert (back.settings, back.inputs, back.outputs) == (TINY, ("heterogeneity",), ("h",))
    assert (back.history, back.info) == (operator.history, operator.info)
    assert back.num_parameters == operator.num_parameters


def test_a_checkpoint_holds_tensors_only_and_no_code_is_run_by_loading_it(operator, tmp_path):
    operator.save(tmp_path)
    content = torch.load(tmp_path / "operator.pt", weights_only=True)
    assert content and all(type(value) is torch.Tensor for value in content.values())

    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("run").touch, ())

    torch.save({"network": Evil()}, tmp_path / "operator.pt")
    with pytest.raises(InputError, match="holds no trained operator"):
        load(tmp_path)
    assert not (tmp_path / "run").exists()


def test_predictions_at_other_resolutions_are_the_same_functions(operator):
    instance, x = DARCY.sample(0, 2), np.random.default_rng(0).random((2, 50))
    predictions = [operator.predict(instance, resolution=points) for points in (None, 33, 65)]
    for prediction, points in zip(predictions, (17, 33, 65), strict=True):
        assert prediction.values["h"].shape == (1, points, points)
        assert prediction.discretization["resolution"] == points
        assert prediction.discretization["training_resolution"] == 17
        assert prediction.cost.parameters == operator.num_parameters
    coarse, middle, fine = (prediction.at(x) for prediction in predictions)
    assert np.linalg.norm(coarse - fine) < 0.005 * np.linalg.norm(fine)
    assert np.linalg.norm(middle - fine) < 0.3 * np.linalg.norm(coarse - fine)
    assert np.isnan(predictions[0].at(np.array([[1.1], [0.5]]))).all()


def test_inputs_given_as_numbers_are_spread(operator):
    by_number = operator.predict(problem_named("darcy")(heterogeneity=1.5))
    by_function = operator.predict(problem_named("darcy")(heterogeneity=lambda x: 0 * x[0] + 1.5))
    assert np.array_equal(by_number.values["h"], by_function.values["h"])


def test_the_seed_decides_and_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    runs = [train(dataset(2), settings=TINY, epochs=2, seed=seed).history for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_training_stops_when_its_time_is_over():
    said = []
    operator = train(
        dataset(2), settings=TINY, epochs=10**6, seconds=0.5, progress=lambda done, text: said.append(done)
    )
    assert 1 <= operator.info["epochs"] < 10**4 and 0.4 < operator.info["training_s"] < 5
    assert said == sorted(said) and said[-1] <= 1


def test_scales_are_those_of_the_training_set_and_invert_each_other():
    fields = torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 + 7
    scale = Scale.of(fields)
    encoded = scale.encode(fields)
    assert torch.allclose(encoded.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(encoded.std((0, 2, 3)), torch.ones(2), atol=1e-5)
    assert torch.allclose(scale.decode(encoded), fields, atol=1e-5)
    assert torch.isfinite(Scale.of(torch.ones(3, 1, 4, 4)).encode(torch.ones(3, 1, 4, 4))).all()


def test_a_problem_without_the_inputs_of_the_network_is_refused(operator):
    with pytest.raises(InputError, match="Poisson has no parameter 'heterogeneity', an input of this network"):
        operator.predict(problem_named("poisson")())


def test_damaged_and_missing_checkpoints_are_refused(operator, tmp_path):
    with pytest.raises(InputError, match="holds no trained operator"):
        load(tmp_path / "absent")
    operator.save(tmp_path)
    weights, record = (tmp_path / name for name in ("operator.pt", "operator.json"))
    whole, said = weights.read_bytes(), record.read_text()
    for content in (b"", whole[:100], whole[: len(whole) // 2], b"no zip file at all"):
        weights.write_bytes(content)
        with pytest.raises(InputError, match="holds no trained operator"):
            load(tmp_path)
    weights.write_bytes(whole)
    wrong = [
        said.replace('"width": 12', '"width": 13'),
        said.replace('"width": 12', '"breadth": 12'),
        said[: len(said) // 2],
        json.dumps([]),
        json.dumps({**json.loads(said), "history": 3}),
    ]
    for content in wrong:
        record.write_text(content)
        with pytest.raises(InputError, match="holds no trained operator"):
            load(tmp_path)
    record.write_text(said)
    assert load(tmp_path).settings == TINY
