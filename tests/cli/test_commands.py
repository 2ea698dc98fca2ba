"""The commands: what they print, what they leave behind, on one rank or two, and when they are interrupted."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import meshio
import numpy as np
import pytest
import pyvista

from variform.cli import COMMANDS
from variform.cli.summary import compared
from variform.data import Dataset, write
from variform.problems import CATALOGUE, EVOLUTIONS, load

EXAMPLES = Path(__file__).parents[2] / "examples"
MPIEXEC = str(Path(sys.executable).with_name("mpiexec"))
KEYS = {"problem", "method", "parameters", "discretization", "metrics", "cost", "environment", "seed", "status"}
HELP = """
import sys
from variform.cli import main
for words in ([], *([name] for name in sys.argv[1].split(","))):
    sys.argv = ["variform", *words, "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, words
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"basix", "dolfinx", "dolfinx_solver", "h5py", "meshio", "mpi4py", "numpy", "petsc4py", "plotly"}
DOCTOR = sys.modules["variform.cli.doctor"]  # `variform.cli.doctor` is the command
HEAVY |= {"pyvista", "scipy", "sympy", "torch", "ufl", "vtkmodules"}


def strict(text: str):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_help_of_every_command_loads_nothing_heavy():
    names = [command.__name__ for command in COMMANDS]
    run = subprocess.run([sys.executable, "-c", HELP, ",".join(names)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    shown, _, loaded = run.stdout.rpartition("loaded:")
    assert not HEAVY & set(loaded.split())
    assert all(f"variform {name} [OPTIONS]" in shown for name in names)


def test_the_version_is_that_of_the_package(variform):
    from variform import __version__

    result = variform("--version")
    assert (result.code, result.out, result.err) == (0, f"variform {__version__}\n", "")


# problems


def test_the_catalogue_is_listed_with_a_line_on_each(variform):
    listed = strict(variform("problems", "--json").out)
    assert [entry["name"] for entry in listed] == [*CATALOGUE, *EVOLUTIONS]
    assert all(len(entry["title"]) > 20 for entry in listed)
    table = variform("problems").out
    assert all(name in table for name in CATALOGUE)
    entries = {entry["name"]: entry for entry in listed}
    stokes, darcy = entries["stokes_manufactured"], entries["darcy"]
    assert (stokes["family"], stokes["dim"], stokes["time"], stokes["exact"]) == ("stokes", 2, None, True)
    assert stokes["fields"]["u"] | {"description": ""} == {
        "description": "",
        "unit": "m/s",
        "element": "Lagrange",
        "degree": 2,
        "shape": [2],
    }
    assert darcy["parameters"]["conductivity"]["allowed"] == "above 0" and darcy["methods"] == [
        "fem",
        "fem-batched",
        "ritz",
    ]
    assert (
        entries["heat"]["time"]
        and entries["heat"]["methods"] == ["fem", "fem-batched"]
        and not entries["cavity"]["exact"]
    )
    assert entries["poisson"]["references"]["centre"] == 0.0736713533


@pytest.mark.parametrize("name", [*CATALOGUE, str(EXAMPLES / "heated_block.py")])
def test_a_problem_is_shown_with_its_weak_and_strong_form(name, variform):
    result = variform("problems", name, "--json")
    shown, problem = strict(result.out), load(name)()
    assert (result.code, result.err) == (0, "")
    assert list(shown["parameters"]) == list(problem.parameters) and list(shown["fields"]) == list(problem.fields)
    assert len(shown["conditions"]) == len(problem.conditions)
    assert shown["weak_form"][:4] in ("F = ", "E = ") and "dx" in shown["weak_form"]
    if name in ("darcy_checkerboard", "darcy_phases", "darcy_mesh"):
        assert "the strong form would miss its jump" in shown["strong_form"]
    else:
        assert shown["strong_form"].count(" = 0") >= sum(f.element != "Real" for f in problem.fields.values())


def test_darcy_is_shown_to_people_and_programs_alike(variform):
    shown, text = strict(variform("problems", "darcy", "--json").out), variform("problems", "darcy").out
    assert shown["parameters"]["conductivity"]["default"] == {"clay": 0.1, "sand": 1.0}
    assert shown["regions"] == ["clay", "sand"] and set(shown["boundaries"]) == {"left", "right", "bottom", "top"}
    for line in (*shown["weak_form"].splitlines(), *shown["strong_form"].splitlines(), *shown["conditions"]):
        assert " ".join(line.split()) in " ".join(text.split())
    assert "random field" in text and "above 0" in text


# solve


def test_poisson_is_solved_and_leaves_a_complete_run_folder(variform, tmp_path):
    out = tmp_path / "runs" / "first"
    result = variform("solve", "poisson", "--mesh", "8", "--json", "--out", str(out))
    assert (result.code, result.err) == (0, "")
    record = strict(result.out)
    assert record == strict((out / "run.json").read_text()) and set(record) >= KEYS
    assert (record["problem"], record["method"], record["status"], record["seed"]) == ("poisson", "fem", "done", None)
    assert record["parameters"] == {"conductivity": 1.0, "source": 1.0}
    assert record["discretization"]["cells"] == 2 * 8 * 8 and record["cost"]["dofs"] == 9 * 9
    assert 0 < record["cost"]["wall_s"] < 60 and record["cost"]["peak_memory_mb"] > 10
    assert record["environment"]["ranks"] == 1 and record["environment"]["numpy"] == np.__version__
    metrics = record["metrics"]
    assert metrics["residual"] < 1e-10 and set(metrics) >= {"residual", "quantities"}
    for quantity in metrics["quantities"].values():  # second order: some 1 / 8^2
        assert quantity["value"] == pytest.approx(quantity["reference"], rel=4 / 8**2)
    assert metrics["quantities"]["centre"]["reference"] == 0.0736713533
    mesh = meshio.read(out / "solution.vtu")
    assert mesh.points.shape == (81, 3) and len(mesh.cells_dict["triangle"]) == 128
    middle = np.flatnonzero((mesh.points == [0.5, 0.5, 0.0]).all(axis=1))
    assert mesh.point_data["u"][middle] == pytest.approx([metrics["quantities"]["centre"]["value"]], rel=1e-14)
    assert np.asarray(pyvista.read(out / "figures" / "u.png").point_data.active_scalars).std() > 10  # not one colour
    assert {p.name for p in out.rglob("*")} == {"run.json", "solution.vtu", "solution.h5", "figures", "u.png"}


def test_parameters_and_options_are_set_by_name(variform, tmp_path):
    settings = ["source=3", "conductivity=2", "degree=2"]
    words = [word for setting in settings for word in ("--set", setting)]
    record = strict(variform("solve", "poisson", "--mesh", "8", *words, "--json", "--out", str(tmp_path / "o")).out)
    assert record["parameters"] == {"conductivity": 2.0, "source": 3.0}
    assert record["discretization"]["elements"] == {"u": "Lagrange 2"}
    for quantity in record["metrics"]["quantities"].values():
        assert quantity["value"] == pytest.approx(quantity["reference"], rel=1e-3)
    assert record["metrics"]["quantities"]["centre"]["reference"] == pytest.approx(1.5 * 0.0736713533)


def test_one_region_is_set_and_the_others_keep_what_all_were_given(variform, tmp_path):
    words = ["--set", "conductivity=2", "--set", "conductivity.clay=0.5", "--set", "heterogeneity=sample:3:4"]
    record = strict(variform("solve", "darcy", "--mesh", "2", *words, "--json", "--out", str(tmp_path / "o")).out)
    assert record["parameters"]["conductivity"] == {"clay": 0.5, "sand": 2.0}
    assert record["parameters"]["heterogeneity"] == "field"


def test_a_network_is_trained_and_measured_against_the_exact_solution(variform, tmp_path):
    words = ["--method", "pinn", "--mesh", "3", "--set", "width=6", "--set", "seed=5"]
    call = ("solve", "heat", *words, "--json", "--set")
    few = strict(variform(*call, "max_steps=2", "--out", str(tmp_path / "few")).out)
    more = strict(variform(*call, "max_steps=12", "--out", str(tmp_path / "more")).out)
    for record in (few, more):
        assert (record["seed"], record["method"], record["status"]) == (5, "pinn", "done")
        assert record["cost"]["parameters"] > 0 and record["cost"]["dofs"] is None
    assert 0 < more["metrics"]["relative_l2"] < few["metrics"]["relative_l2"] < 1
    assert more["metrics"]["residual"] < few["metrics"]["residual"]


def test_a_users_file_is_solved_on_its_mesh_and_recorded_by_its_digest(variform, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = EXAMPLES / "heated_block.py"
    result = variform("solve", str(path))
    assert (result.code, result.err) == (0, "")
    (folder,) = (tmp_path / "runs").iterdir()
    assert (
        folder.name.startswith("heated_block-fem-")
        and str(folder / "run.json").removeprefix(f"{tmp_path}/") in result.out
    )
    record = strict((folder / "run.json").read_text())
    assert record["problem_sha256"] == subprocess.check_output(["sha256sum", path], text=True).split()[0]
    assert record["discretization"]["cells"] == 1105


BAD = """
from ufl import grad, inner
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Problem

class Mine(Problem):
    fields = {"u": Field("u")}
    conditions = CONDITIONS
    def geometry(self, p):
        return UnitSquare()
    def residual(self, s, v):
        return (inner(grad(s.u["u"]), grad(v["u"])) - v["u"]) * s.dx
"""


@pytest.mark.parametrize(
    ("conditions", "message", "files"),
    [
        ("[]", "not unique: the matrix is singular, a constant can be added to 'u'", {"run.json", "last_iterate.vtu"}),
        ('[Dirichlet("u", float("nan"))]', "u is infinite or not a number at 9 points", {"run.json"}),
    ],
)
def test_a_computation_that_fails_leaves_its_record_and_what_is_finite(conditions, message, files, variform, tmp_path):
    (tmp_path / "mine.py").write_text(BAD.replace("CONDITIONS", conditions))
    result = variform("solve", str(tmp_path / "mine.py"), "--mesh", "2", "--out", str(tmp_path / "out"))
    assert result.code == 1 and result.err.startswith("variform: the computation failed: ") and message in result.err
    record = strict((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "failed" and message in record["error"]
    assert {p.name for p in (tmp_path / "out").iterdir()} == files
    shown = variform("show", str(tmp_path / "out"))
    assert shown.code == 0 and "failed" in shown.out and message in " ".join(shown.out.split())


def test_a_nonlinear_problem_that_diverges_leaves_its_last_iterate(variform, tmp_path):
    (tmp_path / "mine.py").write_text(
        BAD.replace("CONDITIONS", '[Dirichlet("u", 0.0)]')
        .replace('- v["u"])', '- 1e6 * exp(s.u["u"]) * v["u"])')
        .replace("import grad", "import exp, grad")
    )
    result = variform("solve", str(tmp_path / "mine.py"), "--mesh", "4", "--out", str(tmp_path / "out"))
    assert result.code == 1 and "Newton's method stopped" in result.err
    assert f"The last iterate is in {tmp_path / 'out' / 'last_iterate.vtu'}" in result.err
    record = strict((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "failed" and record["cost"]["dofs"] == 25
    assert np.isfinite(meshio.read(tmp_path / "out" / "last_iterate.vtu").point_data["u"]).all()


def test_a_run_is_taken_up_from_its_checkpoint_with_other_solver_options(variform, tmp_path):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    variform("solve", "p_laplace", "--mesh", "4", "--out", first)
    words = ("--restart", first, "--petsc", "ksp_type=gmres pc_type=lu", "--set", "exponent=4.1", "--json")
    one, two = (
        strict(Path(first, "run.json").read_text()),
        strict(variform("solve", "p_laplace", *words, "--out", second).out),
    )
    assert 1 <= two["discretization"]["newton_steps"] < one["discretization"]["newton_steps"]
    assert two["discretization"]["cells"] == one["discretization"]["cells"]
    quantities = two["metrics"]["quantities"]["centre"]
    assert quantities["value"] == pytest.approx(quantities["reference"], rel=0.02)  # known: the domain is the problem's
    shown = strict(variform("show", f"{first}/solution.h5", "--json").out)
    assert shown["cells"] == one["discretization"]["cells"] and list(shown["fields"]) == ["u"]


def test_flow_is_drawn_with_its_streamlines_and_told_by_field(variform, tmp_path):
    out = tmp_path / "out"
    result = variform("solve", "stokes_manufactured", "--mesh", "4", "--out", str(out))
    assert (result.code, result.err) == (0, "")
    assert {p.name for p in (out / "figures").iterdir()} == {"u.png", "u_streamlines.png", "p.png"}
    fields = strict((out / "run.json").read_text())["metrics"]["fields"]
    assert set(fields) == {"u", "p"} and 0 < fields["u"]["relative_l2"] < 0.1
    for words in ("u Lagrange 2", "relative error of u", "relative error of p", "linear iteration"):
        assert words in result.out
    shown = strict(variform("show", str(out), "--at", "0.5,0.5;0.25,0.5", "--json").out)
    assert shown["values"]["u"][0] == pytest.approx([0, 0], abs=0.05) and len(shown["values"]["p"]) == 2
    assert "0.25, 0.5" in variform("show", str(out), "--at", "0.5,0.5;0.25,0.5").out


def test_a_field_is_read_from_a_table(variform, tmp_path):
    (tmp_path / "a.csv").write_text("y,heterogeneity\n0,1\n1,3\n")
    words = ("--mesh", "4", "--json", "--set")
    (tmp_path / "b.csv").write_text("x, y, value\n0,0,1\n1,0,1\n0,1,3\n1,1,3\n")
    one, two = (
        strict(
            variform(
                "solve", "darcy", *words, f"heterogeneity={tmp_path / name}.csv", "--out", f"{tmp_path}/{name}"
            ).out
        )
        for name in ("a", "b")
    )
    assert one["metrics"]["quantities"]["mean_head"]["value"] == pytest.approx(
        two["metrics"]["quantities"]["mean_head"]["value"], rel=1e-12
    )


# converge


def test_a_study_finds_the_orders_of_theory(variform, tmp_path):
    out = tmp_path / "out"
    result = variform("converge", "poisson_1d", "--levels", "3", "--check", "--out", str(out))
    assert (result.code, result.err) == (0, "")
    assert "u relative_l2: last rate 2.00, theory 2: ok" in result.out
    content = strict((out / "converge.json").read_text())
    assert [level["cells"] for level in content["levels"]] == [8, 16, 32]
    assert content["fields"]["u"]["relative_l2"]["rates"][-1] == pytest.approx(2, abs=0.05)
    assert all(verdict["ok"] for verdict in content["verdicts"]) and len(content["verdicts"]) == 2
    assert strict((out / "run.json").read_text())["discretization"]["cells"] == 32
    assert (out / "convergence.png").stat().st_size > 10_000


def test_a_study_without_an_exact_solution_compares_its_levels(variform, tmp_path):
    words = ("--mesh", "4", "--levels", "3", "--json", "--out", str(tmp_path / "out"))
    result = variform("converge", "l_shape", *words)
    content = strict(result.out)
    differences = content["fields"]["u"]
    assert differences["kind"].startswith("difference") and len(differences["relative_l2"]["errors"]) == 2
    assert result.code == 0
    rates = {verdict["norm"]: verdict["rate"] for verdict in content["verdicts"]}
    assert rates["relative_h1"] < 0.95  # the corner: 2/3 in the end, not 1


# runs


def test_runs_are_listed_and_removed(variform, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no runs here" in variform("runs").out
    for name, status, created in [
        ("old", "failed", "2020-01-01"),
        ("new", "done", "2026-01-02"),
        ("mid", "done", "2021-01-01"),
    ]:
        record = {"problem": "poisson", "method": "fem", "status": status, "created": f"{created}T00:00:00+00:00"}
        record |= {"cost": {"dofs": 81}, "metrics": {"relative_l2": 0.5}}
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text(json.dumps(record))
    (tmp_path / "runs" / "mine").mkdir()
    (tmp_path / "runs" / "mine" / "run.json").write_text("[]")
    listed = strict(variform("runs", "--json").out)
    assert [run["name"] for run in listed] == ["new", "mid", "old"]
    assert (listed[0]["dofs"], listed[0]["relative_l2"]) == (81, 0.5) and listed[0]["bytes"] > 100
    refusal = variform("runs", "clean", "--failed")
    assert (refusal.code, refusal.err) == (2, "variform: 1 runs would be removed: say --yes\n")
    variform("runs", "clean", "--failed", "--yes")
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"new", "mid", "mine"}
    variform("runs", "clean", "--older-than", "100000", "--yes")
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"new", "mid", "mine"}
    assert strict(variform("runs", "clean", "--yes", "--json").out) == ["runs/new", "runs/mid"]
    assert {p.name for p in (tmp_path / "runs").iterdir()} == {"mine"}


# show, doctor


@pytest.mark.parametrize(
    ("value", "reference", "words"),
    [
        (0.0735, 0.0736714, "0.0735   (reference 0.0736714, off by 2.3e-03)"),
        (1e-5, 0.0, "1e-05   (reference 0, off by 1.0e-05 in absolute terms)"),
        (2.0, None, "2"),
        (float("nan"), 1.0, "-   (reference 1)"),
        (None, None, "-"),
    ],
)
def test_a_quantity_is_told_beside_its_reference(value, reference, words):
    assert compared(value, reference) == words


def test_a_run_is_shown_as_it_was_summarised(variform, tmp_path):
    out = str(tmp_path / "out")
    solved, shown = variform("solve", "poisson", "--mesh", "2", "--out", out), variform("show", out)
    assert "reference 0.0736714" in shown.out
    assert {*solved.out.splitlines()} >= {
        line for line in shown.out.splitlines() if ".json" not in line and "/" not in line
    }
    assert strict(variform("show", out, "--json").out) == strict(Path(out, "run.json").read_text())


def test_a_mesh_is_shown_with_its_regions_and_boundaries(variform):
    shown = strict(variform("show", str(EXAMPLES / "box.msh"), "--json").out)
    assert (shown["cells"], shown["cell_type"], shown["points"]) == (1105, "tetrahedron", 358)
    assert shown["boundaries"] == {"front": 104, "back": 104, "top": 104}
    assert (shown["lower"], shown["upper"]) == ([0, 0, 0], [1, 1, 1])
    assert "tetrahedron" in variform("show", str(EXAMPLES / "box.msh")).out


def test_a_data_set_is_shown_with_its_grid_and_fields(variform, tmp_path):
    line, values = np.linspace(0, 1, 5), np.zeros((3, 5, 5))
    write(tmp_path / "data.h5", Dataset.of("Darcy", (line, line), {"a": values}, {"h": values}, info={"seed": 7}))
    shown = strict(variform("show", str(tmp_path / "data.h5"), "--json").out)
    assert (shown["task"], shown["samples"], shown["grid"], shown["info"]["seed"]) == ("Darcy", 3, [5, 5], 7)
    assert shown["fields"] == {"a": "input", "h": "output"}
    assert "Darcy" in variform("show", str(tmp_path / "data.h5")).out


def test_the_doctor_finds_this_machine_ready(variform):
    result = variform("doctor", "--json")
    checks = {check["name"]: check for check in strict(result.out)}
    assert list(checks) == [name for name, _, _ in DOCTOR.CHECKS]
    assert result.code == 0, [check for check in checks.values() if check["status"] == "failed"]
    assert all(check["status"] == "ok" for name, check in checks.items() if name not in ("gmsh", "GPU"))


def test_the_doctor_tells_what_is_needed_from_what_is_not(variform, monkeypatch):
    def ill():
        raise OSError("fell over\nand more")

    monkeypatch.setattr(DOCTOR, "CHECKS", [("legs", True, ill), ("hat", False, ill), ("head", True, lambda: "clear")])
    result = variform("doctor", "--json")
    assert result.code == 1
    assert [(c["status"], c["detail"]) for c in strict(result.out)] == [
        ("failed", "OSError: fell over"),
        ("absent", "OSError: fell over"),
        ("ok", "clear"),
    ]
    assert "FAILED" in variform("doctor").out


# processes


def test_two_ranks_give_the_quantities_of_one(variform, process, tmp_path):
    words = ["solve", "darcy", "--mesh", "8", "--json", "--out"]
    two = process(*words, str(tmp_path / "two"), launcher=(MPIEXEC, "-n", "2"))
    one = strict(variform(*words, str(tmp_path / "one")).out)
    out, err = two.communicate(timeout=100)
    assert (two.returncode, err) == (0, "")
    record = strict(out)  # of one rank only
    assert record == strict((tmp_path / "two" / "run.json").read_text())
    assert (record["environment"]["ranks"], record["cost"]["dofs"]) == (2, one["cost"]["dofs"])
    for name, quantity in one["metrics"]["quantities"].items():
        assert record["metrics"]["quantities"][name]["value"] == pytest.approx(quantity["value"], rel=1e-8)
    values = [meshio.read(tmp_path / name / "solution.vtu").point_data["h"] for name in ("one", "two")]
    assert np.allclose(*values, rtol=0, atol=1e-8)


def test_bad_input_on_two_ranks_ends_both(process, tmp_path):
    words = ["solve", "poisson", "--set", "conductivity=-1", "--out", str(tmp_path / "out")]
    run = process(*words, launcher=(MPIEXEC, "-n", "2"))
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert "variform: conductivity must be above 0, got -1\n" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_methods_of_one_rank_are_refused_on_two(size, variform, tmp_path, monkeypatch):
    def abort(code, message):
        raise SystemExit(code)

    monkeypatch.setenv(size, "2")
    monkeypatch.setattr("variform.cli.output.abort_all", abort)  # MPI would end this process
    for method in ("pinn", "ritz", "spectral"):
        result = variform("solve", "poisson", "--method", method, "--out", str(tmp_path / "out"))
        line = f"variform: method {method!r} runs on one rank; only fem uses 2\n"
        assert (result.code, result.out, result.err) == (2, "", line)
    assert not (tmp_path / "out").exists()


SLOW = """
from pathlib import Path
from variform.problems.poisson import Poisson

class Slow(Poisson):
    def source(self, x, p):
        Path(STARTED).touch()
        return p.source
"""


def test_a_solve_that_is_interrupted_marks_its_run(variform, process, tmp_path):
    ends = {"SIGINT": (130, "interrupted"), "SIGTERM": (143, "terminated")}
    running = {}
    for name in ends:
        (tmp_path / f"{name}.py").write_text(SLOW.replace("STARTED", repr(str(tmp_path / f"{name}.started"))))
        words = ["--method", "pinn", "--mesh", "24", "--set", "width=48", "--set", "max_steps=100000"]
        running[name] = process("solve", str(tmp_path / f"{name}.py"), *words, "--out", str(tmp_path / name))
    for name, run in running.items():
        wait_for(tmp_path / f"{name}.started", run)
    time.sleep(0.5)
    for name, run in running.items():
        run.send_signal(signal.Signals[name])
    for name, run in running.items():
        code, word = ends[name]
        out, err = run.communicate(timeout=180)  # a step of linear algebra ends first, which a busy machine makes long
        assert (run.returncode, out, err) == (code, "", f"variform: {word}\n")
        assert [p.name for p in (tmp_path / name).iterdir()] == ["run.json"]
        record = strict((tmp_path / name / "run.json").read_text())
        assert (record["status"], record["method"]) == ("interrupted", "pinn")
        assert "max_steps=100000" in record["command"] and record["created"]
        assert "interrupted" in variform("show", str(tmp_path / name)).out


def wait_for(path: Path, run: subprocess.Popen, seconds: float = 90) -> None:
    """Until the file is there; the process must not end before."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)
