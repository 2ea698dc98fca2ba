"""Parameters are checked once, by name and value; random fields are the same on every machine and back end."""

import math

import numpy as np
import pytest
import torch

from variform.errors import InputError
from variform.problems import load
from variform.random import LogNormal, generator
from variform.task import Parameter, evaluate

REFUSED = [
    ("poisson", {"conductvity": 1.0}, r"unknown parameter of Poisson 'conductvity'\. Did you mean 'conductivity'\?"),
    ("poisson", {"conductivity": 0.0}, "conductivity must be above 0, got 0"),
    ("poisson", {"conductivity": -1}, "conductivity must be above 0, got -1"),
    ("poisson", {"conductivity": math.nan}, "conductivity must be finite, got nan"),
    ("poisson", {"source": -math.inf}, "source must be finite, got -inf"),
    ("poisson", {"source": "much"}, "source must be a number, got 'much'"),
    ("poisson", {"source": None}, "source must be a number, got None"),
    ("poisson", {"source": [1.0, 2.0]}, "source must be a number, got"),
    ("poisson", {"source": {"clay": 1.0}}, "source must be a number, got"),
    ("poisson", {"source": lambda x: x[0]}, "source must be a number, got"),
    ("darcy", {"conductivity": {"silt": 1.0}}, "unknown region of parameter 'conductivity' 'silt'.*: clay, sand"),
    ("darcy", {"conductivity": {"clay": 0.0}}, "conductivity.clay must be above 0, got 0"),
    ("darcy", {"conductivity": -2.0}, "conductivity.clay must be above 0, got -2"),
    ("darcy", {"heterogeneity": "rough"}, "heterogeneity must be a number or a function of x, got 'rough'"),
    ("darcy", {"heterogeneity": -1.0}, "heterogeneity must be above 0, got -1"),
]


@pytest.mark.parametrize(("name", "given", "message"), REFUSED)
def test_values_that_are_not_allowed_are_refused_with_name_rule_and_value(name, given, message):
    with pytest.raises(InputError, match=message):
        load(name)(**given)


def test_a_bound_that_belongs_to_the_range_is_allowed():
    parameter = Parameter("emissivity", default=0.5, at_least=0.0)
    assert parameter.validate("emissivity", 0) == 0.0
    with pytest.raises(InputError, match="emissivity must be at least 0, got -1e-09"):
        parameter.validate("emissivity", -1e-9)


def test_numbers_of_any_kind_become_floats_and_regions_keep_their_defaults():
    assert load("poisson")(source=np.float32(2)).values == {"conductivity": 1.0, "source": 2.0}
    assert load("darcy")(conductivity={"clay": 3}).values["conductivity"] == {"clay": 3.0, "sand": 1.0}
    assert load("darcy")(conductivity=2).values["conductivity"] == {"clay": 2.0, "sand": 2.0}
    assert load("darcy")().values["conductivity"] is not load("darcy").parameters["conductivity"].default


def test_a_field_may_be_a_number_or_a_function():
    x = np.random.default_rng(0).random((2, 5))
    assert evaluate(load("darcy")(heterogeneity=2).values["heterogeneity"], x).tolist() == [2.0] * 5
    assert evaluate(load("darcy")(heterogeneity=lambda x: x[0]).values["heterogeneity"], x).tolist() == x[0].tolist()
    numbers = evaluate(3.0, torch.as_tensor(x, dtype=torch.float32))
    assert numbers.dtype == torch.float32 and numbers.tolist() == [3.0] * 5


def test_instances_are_new_and_leave_the_others_as_they_were():
    problem = load("darcy")(recharge=0.1)
    drawn = problem.sample(0, 0)
    assert drawn is not problem and type(drawn) is type(problem)
    assert drawn.values["recharge"] == 0.1 and callable(drawn.values["heterogeneity"])
    assert problem.values["heterogeneity"] == 1.0


def field(seed, index, points):
    return load("darcy")().sample(seed, index).values["heterogeneity"](points)


def test_a_field_depends_on_seed_and_index_alone_and_is_positive():
    x = np.random.default_rng(0).random((2, 200))
    assert np.array_equal(field(7, 3, x), field(7, 3, x))
    others = [field(7, 4, x), field(8, 3, x), field(3, 7, x)]
    for other in others:
        assert abs(np.log(other) - np.log(field(7, 3, x))).max() > 0.1
    assert (field(7, 3, x) > 0).all()


def test_coefficients_follow_the_law_from_a_counter_based_stream_of_their_own():
    law = LogNormal(dim=1, modes=3, sigma=1.0)
    stream = np.random.Generator(np.random.Philox(key=5, counter=[0, 0, 0, 9]))
    deviation = np.array([0.0, *((np.pi**2 * k**2 + 9.0) ** -1.0 for k in (1, 2))])
    deviation /= np.sqrt((deviation**2).sum())  # of the orthonormal cosines
    drawn = law.sample(generator(5, 9)).inner.coefficients
    assert np.allclose(drawn, deviation * stream.standard_normal(3), rtol=1e-14)


def test_numpy_and_torch_evaluate_alike_on_points_and_grids_in_one_to_three_dimensions():
    rng = np.random.default_rng(0)
    for dim, shape in ((1, (9,)), (2, (4, 5)), (3, (2, 3, 4))):
        function = LogNormal(dim=dim, modes=4).sample(generator(1, 2))
        x = rng.random((dim, *shape))
        by_numpy, by_torch = function(x), function(torch.as_tensor(x))
        assert by_numpy.shape == shape and tuple(by_torch.shape) == shape
        assert np.allclose(by_numpy, by_torch, rtol=1e-12)
        coefficients = function.inner.coefficients
        k = np.indices(coefficients.shape).reshape(dim, -1)
        waves = np.cos(np.pi * np.einsum("dk,dn->dkn", k, x.reshape(dim, -1)))
        waves = (np.where(k > 0, np.sqrt(2), 1.0)[..., None] * waves).prod(axis=0)
        by_hand = np.exp(coefficients.ravel() @ waves)
        assert np.allclose(by_numpy.ravel(), by_hand, rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_logarithm_has_mean_zero_and_the_variance_of_the_law(dim):
    law = LogNormal(dim=dim, sigma=0.5)
    line = (np.arange(2 * law.modes) + 0.5) / (2 * law.modes)  # exact for products of two of the cosines
    x = np.stack(np.meshgrid(*[line] * dim, indexing="ij"))
    logarithms = np.stack([np.log(law.sample(generator(0, i))(x)) for i in range(1500)])
    assert abs(logarithms.reshape(1500, -1).mean(axis=1)).max() < 1e-12  # of every sample over the box
    squares = (logarithms**2).reshape(1500, -1).mean(axis=1)
    error = 5 * squares.std() / np.sqrt(1500)
    assert error < 0.2 * law.sigma**2
    assert squares.mean() == pytest.approx(law.sigma**2, abs=error)
