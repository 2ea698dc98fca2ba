"""The catalogue and users' own files: every problem states what it needs; wrong names and files are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from variform.errors import InputError
from variform.forms import values
from variform.forms.symbols import checked_residual, symbols_on
from variform.problem import Problem, resolve
from variform.problems import CATALOGUE, load

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "heated_block.py")
BODY = "from variform.problem import Problem\n"


@pytest.mark.parametrize("name", [*CATALOGUE, EXAMPLE])
def test_every_problem_has_a_form_on_its_geometry_whose_names_exist(name):
    problem = load(name)()
    geometry = problem.geometry(problem.p)
    s, v = symbols_on(problem, geometry.dim, tuple(geometry.regions), tuple(geometry.boundaries))
    assert not checked_residual(problem, s, v).empty()
    for field in problem.fields:
        for condition in problem.dirichlet(field):
            assert set(condition.names) <= {*geometry.boundaries, "boundary"}
    for parameter in problem.parameters.values():
        assert parameter.description and parameter.unit
    for key, value in problem.reference().items():
        assert isinstance(key, str) and np.isfinite(value)
    assert type(problem).__doc__


@pytest.mark.parametrize("name", ["poisson_manufactured", "darcy_manufactured", "heat"])
def test_exact_solutions_meet_the_dirichlet_and_initial_conditions(name):
    problem = load(name)()
    x, t = torch.tensor(np.random.default_rng(0).random((2, 30))), 0.02
    sides = {"left": (0, 0.0), "right": (0, 1.0), "bottom": (1, 0.0), "top": (1, 1.0)}
    (field,) = problem.fields
    for condition in problem.dirichlet(field):
        for axis, level in (sides[side] for side in (sides if "boundary" in condition.names else condition.names)):
            on = x.clone()
            on[axis] = level
            held = values(
                problem, lambda *symbols, c=condition: resolve(c, problem.fields[field].shape, *symbols), on, t
            )[field]
            assert torch.allclose(values(problem, problem.exact, on, t)[field], held, atol=1e-14)
    if problem.time:
        initial = values(problem, lambda x, t, p: problem.initial(x, p), x)[field]
        assert torch.allclose(values(problem, problem.exact, x, problem.time[0])[field], initial, atol=1e-14)


def test_an_unknown_name_is_answered_by_the_nearest_and_all():
    with pytest.raises(
        InputError, match=r"unknown problem 'posson'\. Did you mean 'poisson'\? Available: advection, .*"
    ):
        load("posson")


def write(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_file_with_one_class_is_loaded_with_or_without_its_name(tmp_path):
    path = write(tmp_path, BODY + "class Base: pass\nclass Mine(Problem, Base):\n    answer = 42\n")
    assert issubclass(load(path), Problem)
    assert load(path).answer == load(f"{path}:Mine").answer == 42


def test_a_file_with_two_classes_needs_the_name_of_one(tmp_path):
    path = write(tmp_path, BODY + "class First(Problem): pass\nclass Second(First): pass\n")
    with pytest.raises(InputError, match=r"named as .*mine\.py:Class; it defines \['First', 'Second'\]"):
        load(path)
    assert load(f"{path}:Second").__name__ == "Second"
    with pytest.raises(InputError, match=r"unknown problem class of .* 'Secnod'\. Did you mean 'Second'\?"):
        load(f"{path}:Secnod")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class Mine(Problem:\n", r"mine\.py, line 1: "),
        ("x = 1\nraise KeyError('lost')\n", "could not be run: KeyError: 'lost'"),
        (
            "import nowhere_to_be_found\n",
            "could not be run: ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        (BODY, "must define one Problem, .* it defines none"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as refused:
        load(write(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["absent.py", "absent.py:Mine"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(InputError, match=r"no problem file .*absent\.py"):
        load(str(tmp_path / name))
