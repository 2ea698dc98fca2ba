"""What The Well's own checker and loader make of our files."""

import runpy
import sys
from pathlib import Path

import h5py

import numpy as np
import pytest

from variform.data import Dataset, FieldInfo, generate, plan_of, read, write
from variform.data.convert import convert
from variform.data.dataset import Arrays

CHECKER = Path(__file__).with_name("check_thewell_formatting.py")
GROUPS = ("dimensions", "t0_fields", "t1_fields", "t2_fields", "scalars", "boundary_conditions")


def verdict(path, monkeypatch, capsys):
    """The text of the checker: it ends with 0 whatever it finds."""
    monkeypatch.setattr(sys, "argv", [str(CHECKER), str(path)])
    capsys.readouterr()
    runpy.run_path(str(CHECKER), run_name="__main__")
    return capsys.readouterr().out


def flow():
    rng, grid = np.random.default_rng(0), (8, 6)
    fields = {
        "w": FieldInfo("output", (), True),
        "v": FieldInfo("output", (2,), True),
        "S": FieldInfo("output", (2, 2), True),
        "f": FieldInfo("input", sample_varying=False),
    }
    arrays = {
        "w": rng.random((4, 6, *grid)),
        "v": rng.random((4, 6, *grid, 2)),
        "S": rng.random((4, 6, *grid, 2, 2)),
        "f": np.broadcast_to(rng.random(grid), (4, *grid)),
    }
    axes = (np.arange(8) / 8, np.linspace(0, 1, 6))
    return Dataset("Flow", fields, axes, Arrays(arrays), 4, np.linspace(0, 1, 6), (True, False))


@pytest.mark.filterwarnings("ignore")
def test_the_checker_passes_files_that_are_generated_and_written(tmp_path, monkeypatch, capsys):
    generate(plan_of("darcy", 4, resolution=9, batch=4), tmp_path / "darcy.h5")
    generate(plan_of("advection", 4, resolution=16, mesh=16, steps=4, snapshots=2), tmp_path / "advection.h5")
    write(tmp_path / "flow.h5", flow())
    for path in tmp_path.glob("*.h5"):
        text = verdict(path, monkeypatch, capsys)
        assert [f"/{group} passed!" in text for group in GROUPS] == [True] * 6, text
    with h5py.File(tmp_path / "flow.h5", "r+") as file:  # it does find faults
        del file["t0_fields/w"].attrs["time_varying"]
    assert "/t0_fields passed!" not in verdict(tmp_path / "flow.h5", monkeypatch, capsys)


def test_the_loader_reads_what_we_wrote(tmp_path):
    well = pytest.importorskip("the_well.data", reason="The Well's loader is not installed: make test-well")
    data = flow()
    convert(data, tmp_path / "flow", "the-well")
    loaded = well.WellDataset(path=str(tmp_path / "flow/data/train"), n_steps_input=2, n_steps_output=1)
    assert len(loaded) == 4 * 4  # trajectories and windows
    ours = read(tmp_path / "flow/data/train/Flow.hdf5")
    for number in (0, 5, 15):
        sample, window = divmod(number, 4)
        item = loaded[number]
        parts = [ours.read(name, sample)[window : window + 2].reshape(2, 8, 6, -1) for name in ("w", "v", "S")]
        assert np.array_equal(item["input_fields"].numpy(), np.concatenate(parts, axis=-1))
        assert np.array_equal(item["constant_fields"].numpy()[..., 0], ours.read("f", sample))
        assert item["boundary_conditions"].tolist() == [[2, 2], [1, 1]]  # periodic, open
