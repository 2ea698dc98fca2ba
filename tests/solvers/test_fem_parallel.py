"""The same answer on one rank, two and three; checkpoints restart on another number of them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from variform.errors import InputError
from variform.problems import load
from variform.solvers.fem import checkpoint, solve

MPIEXEC = Path(sys.executable).with_name("mpiexec")
CASES = {
    "poisson_3d_manufactured": {"mesh": 4, "degree": 2},
    "l_shape": {"mesh": 4, "degree": 3},
    "poisson_neumann": {"mesh": 6},
    "poisson_periodic": {"mesh": 6},
    "mixed_darcy": {"mesh": 6, "degree": 2},
    "elasticity_free": {"mesh": 6},
    "hyperelasticity_manufactured": {"mesh": 4, "degree": 2},
    "plate": {"mesh": 6},
    "stokes": {"mesh": 6},
    "dfg_2d1": {"mesh": 1},
}
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from variform.problems import load
from variform.solvers.fem import solve
from mpi4py import MPI

cases, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
result = {}
for name, options in cases.items():
    problem = load(name)()
    if options.get("start"):
        options = {**options, "start": str(folder / name / "solution.h5")}
    solution = solve(problem, rtol=1e-13, **options)
    inside = solution.mesh.points[solution.mesh.cells].mean(axis=1).T
    result[name] = {field: solution.at(inside, field=field).tolist() for field in problem.fields}
    result[name] |= {"quantities": list(problem.measure(solution).values()), "steps": solution.discretization}
    if MPI.COMM_WORLD.rank == 0:
        (folder / name).mkdir(exist_ok=True)
    MPI.COMM_WORLD.barrier()
    if not options.get("start"):
        solution.save(folder / name)
if MPI.COMM_WORLD.rank == 0:
    (folder / f"{MPI.COMM_WORLD.size}.json").write_text(json.dumps(result))
"""


def run(ranks: int, cases: dict, folder: Path) -> dict:
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-c", SCRIPT, json.dumps(cases), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads((folder / f"{ranks}.json").read_text())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return folder, run(2, CASES, folder)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_give_the_answer_of_one(two, name):
    problem = load(name)()
    one = solve(problem, rtol=1e-13, **CASES[name])
    inside = one.mesh.points[one.mesh.cells].mean(axis=1).T
    for field in problem.fields:
        mine, theirs = one.at(inside, field=field), np.array(two[1][name][field])
        assert mine == pytest.approx(theirs, rel=1e-12, abs=1e-12 * abs(mine).max())
    assert list(problem.measure(one).values()) == pytest.approx(two[1][name]["quantities"], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_checkpoint_of_two_ranks_restarts_on_others_at_the_solution(two, ranks):
    folder, stored = two
    restarted = run(ranks, {name: {**options, "mesh": None, "start": True} for name, options in CASES.items()}, folder)
    for name in CASES:
        problem = load(name)()
        for field in problem.fields:
            mine, theirs = np.array(restarted[name][field]), np.array(stored[name][field])
            assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-9 * abs(mine).max()), name
        if name in ("hyperelasticity_manufactured", "dfg_2d1"):
            assert restarted[name]["steps"]["newton_steps"] <= 1, "Newton's method starts at the solution"


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_holds_every_dof_exactly(tmp_path, name):
    problem = load(name)()
    solution = solve(problem, **CASES[name])
    discrete = solution._discrete
    stored = checkpoint.read(solution.save(tmp_path))
    assert stored.mesh.cells.tolist() == discrete.domain.source.cells.tolist()
    assert list(stored.mesh.boundaries) == list(discrete.domain.source.boundaries)
    before = {field: u.x.array.copy() for field, u in discrete.u.items()}
    for u in discrete.u.values():
        u.x.array[:] = -1.0
    checkpoint.fill(discrete, stored)
    for field, u in discrete.u.items():
        assert u.x.array == pytest.approx(before[field], rel=1e-14, abs=1e-14)


def test_a_checkpoint_of_another_problem_or_a_broken_one_is_refused(tmp_path):
    path = solve(load("poisson")(), mesh=4).save(tmp_path)
    with pytest.raises(InputError, match="holds nothing 0 for 'w', and Lagrange 3 is asked for"):
        solve(load("plate")(), start=str(path))
    with pytest.raises(InputError, match="holds Lagrange 1 for 'u', and Lagrange 2 is asked for"):
        solve(load("poisson")(), degree=2, start=str(path))
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="truncated, corrupt or no checkpoint"):
        solve(load("poisson")(), start=str(path))
    with pytest.raises(InputError, match="no checkpoint"):
        solve(load("poisson")(), start=str(tmp_path / "none.h5"))
