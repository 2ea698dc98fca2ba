"""Generated data are the solutions of their instances, whatever interrupts the work."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py

import numpy as np
import pytest

from variform.data import generate, plan_of, read
from variform.data.check import check
from variform.data.recipes import RECIPES, find
from variform.data.solved import is_checked
from variform.errors import ComputationError, InputError
from variform.problems import load
from variform.solvers import fem
from variform.task import evaluate

SMALL = {"resolution": 9, "batch": 4}


def test_a_data_set_holds_the_solutions_of_its_instances(tmp_path):
    plan, path = plan_of("problem:darcy", 6, seed=4, values={"recharge": 0.2}, **SMALL), tmp_path / "d.h5"
    said = []
    outcome = generate(plan, path, progress=lambda done, text: said.append((done, text)))
    data, problem = read(path), load("darcy")(recharge=0.2)
    assert (outcome.solved, outcome.failed, len(data)) == (6, (), 6)
    grid = np.stack(np.meshgrid(*data.coordinates, indexing="ij"))
    for index in range(6):
        instance = problem.sample(4, index)
        solution = fem.solve(instance, mesh=16)  # another implementation, the same elements
        a = evaluate(instance.values["heterogeneity"], grid)
        assert np.allclose(data.read("heterogeneity", index), a, rtol=1e-6)
        assert np.allclose(data.read("h", index).ravel(), solution.at(grid.reshape(2, -1)), rtol=0, atol=1e-6)
    assert np.ptp(data.read("h"), axis=0).max() > 0.01  # the instances differ
    assert said == [(0.5, "4 of 6 samples"), (1.0, "6 of 6 samples")]
    assert {f.status for f in check(path)} == {"passed"}
    assert not list(tmp_path.glob("*.parts"))


def test_two_phase_darcy_obeys_the_maximum_principle_and_its_phases_are_even(tmp_path):
    generate(plan_of("darcy", 40, seed=3, resolution=17, batch=20), tmp_path / "d.h5")
    data = read(tmp_path / "d.h5")
    K, h = data.read("permeability"), data.read("h")
    assert set(np.unique(K)) == {3.0, 12.0} and abs((K == 12).mean() - 0.5) < 0.1
    highest = 0.0736713533 / 3  # of -lap h = 1, K at its least
    assert h[:, 1:-1, 1:-1].min() > 0 and h.max() < highest
    assert abs(h[:, [0, -1]]).max() < 1e-16 and abs(h[:, :, [0, -1]]).max() < 1e-16


def test_workers_and_interruptions_change_no_digit(tmp_path):
    plan = plan_of("darcy_lognormal", 11, seed=2, **SMALL)
    digests = [generate(plan, tmp_path / f"{n}.h5", workers=n).digest for n in (1, 2)]
    first = plan.batches[0]
    assert list(first) == [0, 1, 2, 3] and digests[0] == digests[1]
    other = generate(replace(plan, first=4, count=4, splits={"train": 4}), tmp_path / "part.h5")
    assert other.digest != digests[0]
    a, b = read(tmp_path / "1.h5"), read(tmp_path / "part.h5")
    assert np.array_equal(a.read("h", slice(4, 8)), b.read("h"))  # a stream may be made piece by piece
    again = generate(plan, tmp_path / "1.h5")
    assert (again.solved, again.digest) == (0, digests[0])  # complete already


def test_a_stream_may_begin_with_samples_that_none_integrates_again(tmp_path):
    plan = plan_of("kdv", 4, seed=1, resolution=16, mesh=32, batch=2, steps=400, snapshots=4, splits={"test": 4})
    checked = [is_checked(1, index, 4) is not None for index in range(400)]
    first = next(i for i in range(1, 400) if checked[i : i + 4] == [False, False, False, True])
    generate(replace(plan, first=first), tmp_path / "d.h5")
    with h5py.File(tmp_path / "d.h5") as file:
        assert file["variform/check/sample"][()].tolist() == [first + 3]


@pytest.mark.parametrize("name", ["darcy_lognormal", pytest.param("kdv", marks=pytest.mark.slow)])
def test_ten_kills_at_random_moments_lose_nothing(name, tmp_path):
    sizes = {"darcy_lognormal": {"resolution": 17, "batch": 2}, "kdv": {"resolution": 32, "batch": 2, "mesh": 64}}[name]
    options = [f"--{key}={value}" for key, value in sizes.items()]
    command = [
        Path(sys.executable).with_name("variform"),
        "data",
        "generate",
        name,
        "-n",
        "24",
        "--seed",
        "5",
        *options,
    ]
    whole, torn = tmp_path / "whole.h5", tmp_path / "torn.h5"
    start = time.perf_counter()
    subprocess.run([*command, "--out", whole], check=True, capture_output=True)
    span, rng = time.perf_counter() - start, np.random.default_rng(0)
    for _ in range(10):
        process = subprocess.Popen([*command, "--out", torn], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(0.2, 1.0) * span)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = subprocess.run([*command, "--out", torn], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read(torn).info["digest"] == read(whole).info["digest"]
    assert not list(tmp_path.glob("*.parts")) and not list(tmp_path.glob(".*"))


def test_a_second_writer_and_another_plan_are_refused(tmp_path):
    path, plan = tmp_path / "d.h5", plan_of("darcy_lognormal", 8, **SMALL)
    inside = []

    def meanwhile(done, text):
        with pytest.raises(InputError, match=r"d\.h5 is being written by another process"):
            generate(plan, path)
        inside.append(done)
        if done < 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(plan, path, progress=meanwhile)
    assert inside == [0.5] and not path.exists()
    with pytest.raises(InputError, match=r"d\.h5\.parts holds a run with other settings: seed was 0, is 1\. Remove it"):
        generate(replace(plan, seed=1), path)
    assert generate(plan, path).solved == 4
    with pytest.raises(InputError, match=r"exists already, with other settings: count was 8, is 4"):
        generate(plan_of("darcy_lognormal", 4, **SMALL), path)


def test_a_full_disk_keeps_what_is_finished(tmp_path):
    path = tmp_path / "d.h5"
    code = (
        "import resource, sys; from variform.data import generate, plan_of; from variform.errors import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))\n"
        "try: generate(plan_of('darcy_lognormal', 8, resolution=9, batch=4), sys.argv[1])\n"
        "except ComputationError as e: print(e); sys.exit(1)\n"
    )
    full = subprocess.run([sys.executable, "-c", code, path, "60000"], capture_output=True, text=True)
    assert full.returncode == 1 and "the finished batches are kept in" in full.stdout, full.stderr
    assert not path.exists()
    assert generate(plan_of("darcy_lognormal", 8, **SMALL), path).solved <= 8
    assert {f.status for f in check(path)} == {"passed"}


def test_samples_that_fail_are_marked_listed_and_left_out_of_the_splits(tmp_path, monkeypatch):
    from variform.solvers.batched import BatchedSolver

    solve = BatchedSolver.solve

    def failing(self, *args, **kwargs):
        batch = solve(self, *args, **kwargs)
        batch.converged[1] = False
        return batch

    monkeypatch.setattr(BatchedSolver, "solve", failing)
    outcome = generate(plan_of("darcy_lognormal", 8, **SMALL), tmp_path / "d.h5")
    data = read(tmp_path / "d.h5")
    assert outcome.failed == data.bad == (1, 5)
    assert np.isnan(data.read("h", 1)).all() and np.isfinite(data.read("h", 0)).all()
    assert 1 not in np.concatenate(list(data.splits.values())) and len(data.good) == 6
    found = {f.test: f for f in check(tmp_path / "d.h5")}
    assert found["finite"].status == "passed" and "2 without a solution are skipped: 1, 5" in found["finite"].detail
    with pytest.raises(ComputationError, match="none of the 1 samples"):
        monkeypatch.setattr(BatchedSolver, "solve", lambda self, *a, **k: _none(solve(self, *a, **k)))
        generate(plan_of("darcy_lognormal", 1, **SMALL), tmp_path / "none.h5")


def _none(batch):
    batch.converged[:] = False
    return batch


@pytest.mark.parametrize(("name", "options"), [("darcy_lognormal", {}), ("heat_source", {"steps": 4, "snapshots": 2})])
def test_files_by_dolfinx_in_processes_are_those_of_the_batched_solver(name, options, tmp_path):
    paths = [tmp_path / f"{n}.h5" for n in range(2)]
    for method, workers, path in zip(("fem-batched", "fem"), (1, 2), paths, strict=True):
        generate(plan_of(name, 6, seed=2, method=method, **SMALL, **options), path, workers=workers)
        assert {f.test: f.status for f in check(path) if f.status != "passed"} == {}
    a, b = map(read, paths)
    for field, info in a.fields.items():
        assert np.allclose(a.read(field), b.read(field), rtol=1e-6, atol=1e-9), info
    assert np.ptp(a.read(next(f for f, i in a.fields.items() if i.role == "output")), axis=0).max() > 1e-3


def test_a_dolfinx_solve_that_fails_is_listed(tmp_path, monkeypatch):
    from variform.data.solved import fem as by_dolfinx

    calls = []

    def one_fails(instance, **options):
        calls.append(instance)
        if len(calls) == 4:
            raise ComputationError("no convergence")
        return fem.solve(instance, **options)

    monkeypatch.setattr(by_dolfinx, "fem", type("Module", (), {"solve": staticmethod(one_fails)}))
    plan = plan_of("darcy_lognormal", 4, seed=2, method="fem", **SMALL)
    assert generate(plan, tmp_path / "d.h5").failed == (3,)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_a_sound_file_at_a_small_size(name, tmp_path):
    recipe = find(name)
    small = {
        "resolution": 16,
        "batch": 2,
        "mesh": {"spectral": 32 if name.startswith("navier") else 64, "fem-meshes": 6}.get(recipe.method, 15),
    }
    if recipe.evolves(None):
        few = {"spectral": (20 * 40, 20), "tiers": (2000, 20)}.get(recipe.method, (20, 2))
        small |= dict(zip(("steps", "snapshots"), few, strict=True))
    generate(plan_of(name, 2, seed=1, **small), tmp_path / "d.h5")
    data = read(tmp_path / "d.h5")
    assert {f.test: f.status for f in check(tmp_path / "d.h5") if f.status != "passed"} == {}
    for other in recipe.variants:
        population = recipe.population(replace(plan_of(name, 2, **small), variant=other))
        assert population.instance(0, 0).values  # can be drawn
    assert data.info["card"]["description"] == recipe.description


def test_what_cannot_be_generated_is_refused_before_any_file_is_written(tmp_path):
    refused = [
        (("poisson",), {}, "has no random inputs"),
        (("darcy", 0), {}, "count must be 1 or more, got 0"),
        (("darcy", 4), {"resolution": 1}, "resolution must be 2 or more, got 1"),
        (("darcy", 4), {"splits": {"train": 3}}, "must have 4 samples together"),
        (("darcyy", 4), {}, "unknown data set or problem 'darcyy'"),
        (("darcy", 4), {"variant": "rought"}, "unknown variant 'rought'.*rough"),
        (("kdv", 4), {"snapshots": 7}, "steps must be a multiple of snapshots"),
        (("kdv", 4), {"mesh": 100}, "multiple of resolution for the spectral method"),
        (("darcy", 4), {"method": "spectral"}, "has no symbol form"),
        (("kdv", 4), {"method": "fem-batched"}, "has no weak form"),
    ]
    for args, options, message in refused:
        with pytest.raises(InputError, match=message):
            generate(plan_of(*args, **options), tmp_path / "d.h5")
    assert not list(tmp_path.iterdir())


def test_one_byte_and_one_scaled_solution_are_found_by_sample(tmp_path):
    path = tmp_path / "d.h5"
    generate(plan_of("darcy", 12, seed=1, resolution=17, batch=6), path)
    content = path.read_bytes()
    with h5py.File(path) as file:
        stored = file["t0_fields/h"].id
        at = next(i for i in range(stored.get_num_chunks()) if stored.get_chunk_info(i).chunk_offset[0] == 7)
        offset = stored.get_chunk_info(at).byte_offset + 512 + 100
    damaged = bytearray(content)
    damaged[offset] ^= 0x10
    path.write_bytes(damaged)
    found = {f.test: f for f in check(path)}
    assert found["checksum"].status == "failed" and found["reading"].samples == (7,)
    assert found["digests"].status == "passed"  # of the others

    path.write_bytes(content)
    for name in ("t0_fields/h", "variform/state/h"):
        with h5py.File(path, "r+") as file:
            before = file[name][5]
            file[name][5] = before * 1.001
        failed = {f.test: f.samples for f in check(path) if f.status == "failed"}
        assert failed["digests"] == (5,)
        path.write_bytes(content)


def test_a_scaled_solution_is_found_by_its_residual_alone(tmp_path):
    """Whoever computes the checksums anew is still found out by the equation."""
    from variform.data import store

    path = tmp_path / "d.h5"
    generate(plan_of("darcy", 8, seed=1, resolution=9, batch=8), path)
    with h5py.File(path, "r+") as file:
        file["variform/state/h"][5] *= 1.001
        file["t0_fields/h"][5] *= np.float32(1.001)
    from variform.data.recheck import recheck

    tests = {t.name: t for t in recheck(store.Stored(store.LazyFile(path)), lambda *a: None).tests}
    assert tests["residual"].failed.tolist() == [5]
    assert tests["residual"].values[5] == pytest.approx(1e-3, rel=1e-5)
    assert np.delete(tests["residual"].values, 5).max() < 1e-10
    assert tests["fields"].failed.tolist() == []


def test_damage_anywhere_is_reported_and_never_hangs(tmp_path):
    path = tmp_path / "d.h5"
    generate(plan_of("kdv", 4, seed=1, resolution=16, mesh=32, batch=4, steps=400, snapshots=4), path)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(4):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        assert "failed" in {f.status for f in check(path)}
    for length in (100, 600, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        try:
            assert "failed" in {f.status for f in check(path)}
        except InputError:
            assert length < 512
    os.truncate(path, 0)
    with pytest.raises(InputError):
        check(path)
