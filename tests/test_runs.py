"""What a run leaves behind is whole or not there, strict JSON, and in a folder of its own."""

import json
import os
import re
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

import variform
from variform import runs
from variform.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# atomic


def test_a_file_appears_whole_when_its_writer_is_done(tmp_path):
    path = tmp_path / "field.vtu"
    with runs.atomic(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".vtu"  # formats go by the suffix
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("all of it")
    assert path.read_text() == "all of it" and names(tmp_path) == ["field.vtu"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_a_writer_that_fails_leaves_what_was_there(old, failure, tmp_path):
    path = tmp_path / "run.json"
    if old:
        path.write_text(old)
    with pytest.raises(failure), runs.atomic(path) as temporary:
        temporary.write_text("half")
        raise failure
    assert names(tmp_path) == (["run.json"] if old else [])
    assert not old or path.read_text() == old


def test_what_killed_writers_of_a_file_left_can_be_removed_and_nothing_else(tmp_path):
    for name in (".d.12.h5", ".d.3456.h5", ".d.e.7.h5", ".d.x.h5", ".d.1.pt", ".dd.1.h5", "d.1.h5"):
        (tmp_path / name).write_text("half")
    runs.remove_torn(tmp_path / "d.h5")
    assert names(tmp_path) == [".d.1.pt", ".d.e.7.h5", ".d.x.h5", ".dd.1.h5", "d.1.h5"]


def test_a_writer_that_writes_nothing_leaves_what_was_there(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), runs.atomic(path):
        pass
    assert path.read_text() == "old" and names(tmp_path) == ["run.json"]


def test_the_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: events.append("fsync") or fsync(file))
    monkeypatch.setattr(os, "replace", lambda *paths: events.append("replace") or replace(*paths))
    runs.write_json(tmp_path / "run.json", {})
    assert events == ["fsync", "replace"]


# JSON


def test_records_are_strict_json(tmp_path):
    content = {
        "nan": float("nan"),
        "infinity": [1.0, -np.inf, (np.float64("nan"), np.float32(0.5))],
        "numbers": [np.int64(3), np.bool_(True), torch.tensor(2.5)],
        "array": np.array([[1.0, np.nan]]),
        3: Path("a/b"),
        "none": None,
        "text": "K⁻¹",
    }
    path = tmp_path / "run.json"
    runs.write_json(path, content)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "nan": None,
        "infinity": [1.0, None, [None, 0.5]],
        "numbers": [3, True, 2.5],
        "array": [[1.0, None]],
        "3": "a/b",
        "none": None,
        "text": "K⁻¹",
    }
    assert runs.read_record(tmp_path)["text"] == "K⁻¹"


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    runs.write_json(path, {"status": "done"})

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        runs.write_json(path, {"status": "failed"})
    assert runs.read_record(tmp_path) == {"status": "done"} and names(tmp_path) == ["run.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no run folder: it has no run.json"),
        (b'{"status": ', "run.json is not readable"),
        (b"\xff\xfe", "run.json is not readable"),
        (b"[]", "run.json is not readable"),
        (b"", "run.json is not readable"),
    ],
)
def test_a_record_that_is_missing_or_damaged_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        runs.read_record(tmp_path)
    assert str(tmp_path) in str(refused.value)


# folders


class Noon(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 12, 30, 15, tzinfo=tz)


@pytest.fixture
def noon(tmp_path, monkeypatch):
    """A working folder where time stands still."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "datetime", Noon)
    return Path("runs/poisson-fem-20260102-123015")


def test_runs_of_one_second_are_numbered(noon):
    expected = [noon, noon.with_name(f"{noon.name}-2"), noon.with_name(f"{noon.name}-3")]
    for folder in expected:
        assert runs.free_folder(None, "poisson-fem") == folder
        assert not folder.exists()  # it is not created yet
        folder.mkdir(parents=True)
    assert runs.free_folder(None, "poisson-pinn").name == "poisson-pinn-20260102-123015"


def test_two_runs_that_were_promised_one_folder_do_not_share_it(noon):
    promised = [runs.free_folder(None, "poisson-fem") for _ in range(3)]
    assert promised == [noon] * 3
    claimed = [runs.claim(folder) for folder in promised]
    assert [folder.name for folder in claimed] == [noon.name, f"{noon.name}-2", f"{noon.name}-3"]
    assert all(folder.is_dir() for folder in claimed)


def test_a_given_folder_may_be_new_or_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "new/below"):
        assert runs.free_folder(tmp_path / name, "unused") == tmp_path / name
    assert names(tmp_path) == ["empty"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("full", "full exists already"), ("file", "file exists already"), ("file/below", "file is a file")],
)
def test_nothing_is_overwritten(name, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "run.json").touch()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message):
        runs.free_folder(tmp_path / name, "unused")


# environment


def test_the_environment_says_what_a_number_depends_on(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = runs.environment(ranks=4)
    assert set(environment) >= {"variform", "commit", "python", "device", "threads", "ranks", "system"}
    assert (environment["threads"], environment["ranks"]) == (3, 4)
    assert environment["numpy"] == np.__version__ and environment["torch"] == torch.__version__.partition("+")[0]
    assert environment["device"] and json.loads(json.dumps(environment)) == environment


@pytest.mark.parametrize(("text", "threads"), [("4,2", 4), ("", None), ("many", None), ("0", None), (None, None)])
def test_threads_are_read_from_the_environment_where_it_names_them(text, threads, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if text is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert runs.environment()["threads"] == (threads or os.cpu_count())


def test_the_commit_is_that_of_the_sources():
    here = Path(variform.__file__).parents[1]
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    if git.returncode:
        assert runs.environment()["commit"] is None
    else:
        assert runs.environment()["commit"].removesuffix("-dirty") == git.stdout.strip()


def test_the_time_is_in_utc():
    assert datetime.fromisoformat(runs.now()).utcoffset() == timedelta(0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", runs.now())


def test_the_command_line_is_what_was_typed_without_the_path(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/variform", "solve", "poisson", "--mesh", "8"])
    assert runs.command_line() == "variform solve poisson --mesh 8"
