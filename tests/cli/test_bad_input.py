"""Bad input ends in one line that names what is wrong and what is allowed, exit code 2, and nothing written."""

import json
import shutil
from pathlib import Path

import meshio
import numpy as np
import pytest

from variform import solve

BOX = Path(__file__).parents[2] / "examples" / "box.msh"

HEAD = """
from ufl import grad, inner
from variform.meshes import UnitSquare
from variform.problem import Dirichlet, Field, Point, Problem
"""
CLASS = """
class Mine(Problem):
    fields = {"u": Field("u")}
    conditions = [CONDITION]
    def geometry(self, p):
        return UnitSquare()
    def residual(self, s, v):
        u, w = s.u["u"], v["u"]
        return FORM
"""
GOOD = "(inner(grad(u), grad(w)) - w) * s.dx"


def problem(form: str = GOOD, condition: str = 'Dirichlet("u", 0.0)') -> str:
    return HEAD + CLASS.replace("FORM", form).replace("CONDITION", condition)


TASK = """
title = "Tiny"
[[task]]
name = "tiny"
problem = "poisson"
title = "Tiny"
reference = { mesh = 4 }
"""
ROW = """
[[task.row]]
method = "fem"
label = "coarse"
options = { mesh = 2 }
"""

FILES = {
    # problems
    "syntax.py": "class Mine(:\n",
    "raises.py": "raise RuntimeError('two\\nlines')\n",
    "exits.py": "import sys\nsys.exit(3)\n",
    "none.py": HEAD,
    "two.py": problem() + problem().replace("Mine", "Other"),
    "quadratic.py": problem("(inner(grad(u), grad(w)) * w - w) * s.dx"),
    "untested.py": problem("inner(grad(u), grad(u)) * s.dx"),
    "no_measure.py": problem("inner(grad(u), grad(w))"),
    "nothing.py": problem("None"),
    "typo.py": problem("(inner(grad(uu), grad(w)) - w) * s.dx"),
    "shapes.py": problem("inner(grad(u), w) * s.dx"),
    "parameter.py": problem("s.p.k * inner(grad(u), grad(w)) * s.dx"),
    "region.py": problem('w * s.dx("steel")'),
    "side.py": problem('w * s.ds("lft")'),
    "condition_on.py": problem(condition='Dirichlet("u", 0.0, on="tip")'),
    "condition_field.py": problem(condition='Dirichlet("w", 0.0)'),
    "condition_value.py": problem(condition='Dirichlet("u", "cold")'),
    "condition_shape.py": problem(condition='Dirichlet("u", lambda x, t, p: x)'),
    "measures.py": problem() + "    def measure(self, solution):\n        return {'ratio': 1 / 0}\n",
    "element.py": problem().replace('Field("u")', 'Field("u", element="Lagrnge")'),
    "no_node.py": problem(condition='Point("u", (0.3, 0.3))'),
    "point_in_space.py": problem(condition='Point("u", (0.0, 0.0, 0.0))'),
    "singular_mean.py": problem(condition='Dirichlet("u", 0.0), Mean("u")').replace("Field, ", "Field, Mean, "),
    "homeless.py": problem().replace("def geometry", "def elsewhere"),
    # tables
    "empty.csv": "",
    "headless.csv": "0,0,1\n1,0,2\n",
    "valueless.csv": "x,y,a\n0,0,1\n1,0,2\n",
    "pointless.csv": "X,value\n0,1\n1,2\n",
    "more.csv": "x,value,note\n0,1,a\n1,2,b\n",
    "word.csv": "x,value\n0,1\n\n1,much\n",
    "nan.csv": "x,value\n0,1\n1,nan\n",
    "short.csv": "x,value\n0,1\n",
    "ragged.csv": "x,value\n0,1\n1\n",
    "double.csv": "x,y,value\n0,0,1\n1,0,2\n0,0,3\n",
    "negative.csv": "x,value\n0,1\n1,-2\n",
    "line.csv": "x,y,value\n0,0,1\n1,1,2\n2,2,3\n",
    "space.csv": "z,value\n0,1\n1,2\n",
    "fine.csv": "x,value\n0,1\n1,2\n",
    # suites
    "bad.toml": "title = \n",
    "unknown_key.toml": TASK + ROW.replace("options", "option"),
    "unknown_top.toml": "speed = 1\n" + TASK + ROW,
    "missing_key.toml": TASK.replace("reference", "# reference") + ROW,
    "outside.toml": TASK.replace('"tiny"', '"../tiny"') + ROW,
    "twice.toml": TASK + ROW + ROW,
    "method.toml": TASK + ROW.replace("fem", "fme"),
    "option.toml": TASK + ROW.replace("mesh =", "mesch ="),
    "kind.toml": TASK + ROW.replace("= 2 }", "= 'fine' }"),
    "set.toml": TASK + "set = { conductvity = 2.0 }" + ROW,
    "sample.toml": TASK + "sample = { seed = 0, index = 1 }" + ROW,
    "no_reference.toml": TASK.replace("mesh = 4", "degree = 2") + ROW,
    "fine.toml": TASK + ROW,
    # meshes, runs, others
    "empty.msh": "",
    "script.geo": 'SystemCall "touch touched";\n',
    "a_file": "",
    "notes.txt": "mine",
    "full/keep": "",
    "users/run.json": '{"problem": "mine.py", "parameters": {}, "method": "fem"}',
    "damaged/run.json": '{"problem": "poi',
    "list/run.json": "[1, 2]",
    "partial/run.json": '{"metrics": {}}',
    "broken.h5": "no HDF5",
}
POISSON = ("solve", "poisson")
TABLE = ("solve", "darcy", "--mesh", "2", "--set")
CASES = {
    # names
    "an unknown problem": (["solve", "posson"], ["unknown problem 'posson'", "Did you mean 'poisson'?", "darcy, "]),
    "an unknown method": ([*POISSON, "--method", "fme"], ["unknown method 'fme'", "'fem'?", "pinn, ritz, spectral"]),
    "an unknown parameter": (
        [*POISSON, "--set", "conductvity=2"],
        ["'conductvity'", "Did you mean 'conductivity'?", "conductivity, count, degree, "],
    ),
    "an unknown region": (
        ["solve", "darcy", "--set", "conductivity.cly=2"],
        ["unknown region of parameter 'conductivity' 'cly'", "'clay'?", "clay, sand"],
    ),
    "a region of a number": ([*POISSON, "--set", "conductivity.clay=2"], ["one value", "write conductivity=2"]),
    "an unknown option": ([*POISSON, "--set", "degre=2"], ["'degre'", "Did you mean 'degree'?"]),
    "an unknown suite": (["bench", "demoo"], ["unknown suite 'demoo'", "Did you mean 'demo'?"]),
    "an unknown network": (
        [*POISSON, "--method", "pinn", "--net", "kann"],
        ["unknown network 'kann'", "Did you mean 'kan'?"],
    ),
    "a network for finite elements": (
        [*POISSON, "--net", "mlp"],
        ["--net is for neural methods (pinn, ritz)", "'fem'"],
    ),
    "an unknown command": (["slove"], ["'slove'", "Did you mean 'solve'?", "variform --help"]),
    "an unknown flag": ([*POISSON, "--mehs", "8"], ["--mehs", "--mesh", "variform solve --help"]),
    "no problem": (["solve"], ["Missing argument", "variform solve --help"]),
    "a problem to show that does not exist": (["problems", "darcyy"], ["unknown problem 'darcyy'", "'darcy'?"]),
    # values
    "no equals sign": ([*POISSON, "--set", "conductivity"], ["--set 'conductivity' must be key=value"]),
    "no value": ([*POISSON, "--set", "conductivity="], ["--set 'conductivity=' must be key=value"]),
    "a value out of range": ([*POISSON, "--set", "conductivity=0"], ["conductivity must be above 0, got 0"]),
    "a value of a region out of range": (
        ["solve", "darcy", "--set", "conductivity=1", "--set", "conductivity.clay=-1"],
        ["conductivity.clay must be above 0, got -1"],
    ),
    "not a number": ([*POISSON, "--set", "source=nan"], ["source must be finite, got nan"]),
    "infinity": ([*POISSON, "--set", "source=-inf"], ["source must be finite, got -inf"]),
    "a word for a number": ([*POISSON, "--set", "source=much"], ["source must be a number, got 'much'"]),
    "a word for a whole number": ([*POISSON, "--set", "degree=two"], ["degree must be a whole number, got 'two'"]),
    "a fraction for a whole number": ([*POISSON, "--set", "degree=1.5"], ["degree must be a whole number, got 1.5"]),
    "degree zero": ([*POISSON, "--set", "degree=0"], ["degree must be at least 1", "got 0"]),
    "no snapshots": (["solve", "heat", "--set", "snapshots=0"], ["snapshots must be at least 1", "got 0"]),
    "snapshots that do not divide the steps": (
        ["solve", "heat", "--mesh", "2", "--set", "snapshots=3"],
        ["steps must be a positive multiple of snapshots", "50 steps, 3 snapshots"],
    ),
    "a network of no width": ([*POISSON, "--method", "pinn", "--set", "width=0"], ["width must be at least 1"]),
    "a seed beyond 64 bits": ([*POISSON, "--method", "pinn", "--set", f"seed={2**64}"], ["seed must be", "below 2^63"]),
    "a tolerance that is no number": ([*POISSON, "--set", "rtol=NaN"], ["rtol must be above 0 and finite, got nan"]),
    "a device that does not exist": (
        ["solve", "heat_periodic", "--method", "spectral", "--set", "device=abacus"],
        ["device 'abacus' is not available"],
    ),
    "a sample without an index": (["solve", "darcy", "--set", "heterogeneity=sample:1"], ["sample:SEED:INDEX"]),
    "a sample of words": (["solve", "darcy", "--set", "heterogeneity=sample:a:b"], ["sample:SEED:INDEX", "whole"]),
    "a sample of a number in another script": (["solve", "darcy", "--set", "heterogeneity=sample:²:1"], ["whole"]),
    "a sample of what is not random": (
        ["solve", "darcy", "--set", "recharge=sample:0:1"],
        ["unknown random parameter 'recharge'", "heterogeneity"],
    ),
    "an empty word": ([*POISSON, "--set", "=2"], ["--set '=2' must be key=value"]),
    "a value above its range": (["solve", "plate", "--set", "poisson_ratio=0.5"], ["must be below 0.5, got 0.5"]),
    "degree minus one": ([*POISSON, "--set", "degree=-1"], ["degree must be at least 1", "got -1"]),
    "a degree below the lowest of several fields": (
        ["solve", "stokes", "--set", "degree=1"],
        ["at least 2 for Stokes"],
    ),
    # tables
    "a table that is missing": ([*TABLE, "heterogeneity=absent.csv"], ["no table absent.csv"]),
    "an empty table": ([*TABLE, "heterogeneity=empty.csv"], ["empty.csv is empty", "x, y, z"]),
    "a table without a header": (
        [*TABLE, "heterogeneity=headless.csv"],
        ["headless.csv has no header", "'heterogeneity'"],
    ),
    "a table without values": (
        [*TABLE, "heterogeneity=valueless.csv"],
        ["column of 'value' (or 'heterogeneity')", "'x', 'y', 'a'"],
    ),
    "a table without points": ([*TABLE, "heterogeneity=pointless.csv"], ["a coordinate (x, y or z)", "'X', 'value'"]),
    "a table with another column": ([*TABLE, "heterogeneity=more.csv"], ["no others", "'note'"]),
    "a table with a word": (
        [*TABLE, "heterogeneity=word.csv"],
        ["word.csv, line 4: value must be a number, got 'much'"],
    ),
    "a table with no number": ([*TABLE, "heterogeneity=nan.csv"], ["nan.csv, line 3: value must be finite, got nan"]),
    "a table of one row": ([*TABLE, "heterogeneity=short.csv"], ["short.csv must have two rows", "got 1"]),
    "a table with a short row": ([*TABLE, "heterogeneity=ragged.csv"], ["ragged.csv, line 3: 2 entries are needed"]),
    "a table with one point twice": ([*TABLE, "heterogeneity=double.csv"], ["double.csv, line 4", "on line 2 already"]),
    "a table out of range": (
        [*TABLE, "heterogeneity=negative.csv"],
        ["negative.csv, line 3: heterogeneity must be above 0, got -2"],
    ),
    "a table on a line": ([*TABLE, "heterogeneity=line.csv"], ["line.csv", "lie on one line"]),
    "a table in too many dimensions": (
        [*TABLE, "heterogeneity=space.csv"],
        ["space.csv has a column 'z'", "2 dimensions"],
    ),
    "a table that is no text": ([*TABLE, "heterogeneity=binary.csv"], ["binary.csv is no CSV file"]),
    "a table for a number": ([*POISSON, "--set", "source=fine.csv"], ["'source' is a number", "fine.csv"]),
    # solver options and restarts
    "a PETSc option misspelt": (
        [*POISSON, "--mesh", "2", "--petsc", "ksp_typ=gmres"],
        ["PETSc does not know", "ksp_typ"],
    ),
    "a PETSc option of no value": ([*POISSON, "--petsc", "ksp_type"], ["key=value or -key value, got 'ksp_type'"]),
    "a preconditioner that does not exist": (
        [*POISSON, "--mesh", "2", "--petsc", "pc_type=magic"],
        ["PETSc refuses pc_type=magic"],
    ),
    "a quotation mark without its partner": ([*POISSON, "--petsc", "pc_type='lu"], ["--petsc", "No closing quotation"]),
    "PETSc for a network": (
        [*POISSON, "--method", "pinn", "--petsc", "pc_type=lu"],
        ["--petsc is for finite elements"],
    ),
    "a restart from nothing": ([*POISSON, "--restart", "absent"], ["no checkpoint absent"]),
    "a restart from a folder without a checkpoint": ([*POISSON, "--restart", "void"], ["no checkpoint void"]),
    "a restart from garbage": ([*POISSON, "--restart", "broken.h5"], ["broken.h5 cannot be read", "no checkpoint"]),
    "a restart from another problem": ([*POISSON, "--restart", "heads"], ["holds nothing", "for 'u'"]),
    "a restart of another degree": (
        ["solve", "darcy", "--restart", "heads", "--set", "degree=2"],
        ["holds Lagrange 1 for 'h', and Lagrange 2 is asked for"],
    ),
    "a restart on another mesh": ([*POISSON, "--restart", "heads", "--mesh", "2"], ["--restart keeps the mesh"]),
    "a restart of a network": ([*POISSON, "--method", "pinn", "--restart", "heads"], ["--restart is for finite"]),
    # meshes
    "cells that are no whole number": (
        [*POISSON, "--mesh", "2.5"],
        ["--mesh must be a whole number of cells or a mesh file, got 2.5"],
    ),
    "a mesh of no known format": ([*POISSON, "--mesh", "notes.txt"], ["notes.txt", ".msh"]),
    "a mesh of garbage": ([*POISSON, "--mesh", "garbage.msh"], ["garbage.msh"]),
    "no cells": ([*POISSON, "--mesh", "0"], ["--mesh must be 1 cell a side or more", "got 0"]),
    "fewer than no cells": ([*POISSON, "--mesh", "-3"], ["--mesh must be 1 cell a side or more", "got -3"]),
    "a mesh that is missing": ([*POISSON, "--mesh", "emty.msh"], ["emty.msh: no such file", "mean 'empty.msh'?"]),
    "a mesh cut short": (["solve", "EXAMPLE", "--mesh", "cut.msh"], ["cut.msh: ", "truncated, corrupt"]),
    "an empty mesh": ([*POISSON, "--mesh", "empty.msh"], ["empty.msh: the file is empty"]),
    "a script in the place of a mesh": ([*POISSON, "--mesh", "script.geo"], [".geo script", "run shell commands"]),
    "a folder in the place of a mesh": ([*POISSON, "--mesh", "full"], ["full: is a folder"]),
    "a mesh in too many dimensions": ([*POISSON, "--mesh", str(BOX)], ["box.msh is a 3D mesh", "stated in 2D"]),
    "a mesh in too few dimensions": (["solve", "heat", "--mesh", "line.vtk"], ["line.vtk is a 1D mesh", "2D"]),
    "a mesh that lacks a boundary": (
        ["solve", "EXAMPLE", "--mesh", "sides.msh"],
        ["unknown boundary of the mesh 'back'", "Available: below, side, top."],
    ),
    "a mesh for a spectral method": (
        ["solve", "heat_periodic", "--method", "spectral", "--mesh", "line.vtk"],
        ["--mesh must be a number of points a side"],
    ),
    "an odd grid for a spectral method": (
        ["solve", "heat_periodic", "--method", "spectral", "--mesh", "7"],
        ["resolution must be even and 4 or more, got 7"],
    ),
    # a user's file
    "a file that is missing": (["solve", "absent.py"], ["no problem file absent.py"]),
    "a file with a syntax error": (["solve", "syntax.py"], ["syntax.py, line 1: "]),
    "a file that raises": (["solve", "raises.py"], ["raises.py could not be run: RuntimeError: two lines"]),
    "a file that exits": (["solve", "exits.py"], ["exits.py", "SystemExit: 3"]),
    "a file without a problem": (["solve", "none.py"], ["none.py must define one Problem", "none"]),
    "a file with two problems": (["solve", "two.py"], ["named as two.py:Class", "['Mine', 'Other']"]),
    "a class that the file lacks": (["solve", "two.py:Othr"], ["problem class of two.py 'Othr'", "'Other'?"]),
    "a form that is quadratic in v": (["solve", "quadratic.py"], ["weak form of Mine is not linear", "v_0"]),
    "a form without v": (["solve", "untested.py"], ["weak form of Mine is not linear", "grad"]),
    "a form without a measure": (["solve", "no_measure.py"], ["Mine.residual must return a UFL form", "s.dx"]),
    "a residual that returns nothing": (["solve", "nothing.py"], ["must return a UFL form, got NoneType"]),
    "a form with an unknown name": (["solve", "typo.py"], ["typo.py, line ", "NameError: name 'uu'"]),
    "a form with an unknown name, shown": (["problems", "typo.py"], ["typo.py, line ", "NameError: name 'uu'"]),
    "a form of unequal shapes": (["solve", "shapes.py"], ["shapes.py, line ", "Shapes do not match"]),
    "a form with an unknown parameter": (["solve", "parameter.py"], ["parameter.py, line ", "'k'"]),
    "a form on an unknown region": (["solve", "region.py"], ["unknown region of the mesh 'steel'", "domain"]),
    "a form on an unknown boundary": (["solve", "side.py"], ["boundary of the mesh 'lft'", "Did you mean 'left'?"]),
    "a condition on an unknown boundary": (
        ["solve", "condition_on.py"],
        ["unknown boundary of the mesh 'tip'", "bottom, left, right, top"],
    ),
    "a measured quantity that raises": (
        ["solve", "measures.py", "--mesh", "2"],
        ["measures.py, line ", "ZeroDivisionError"],
    ),
    "an unknown element": (["solve", "element.py"], ["element of field 'u' 'Lagrnge'", "Did you mean 'Lagrange'?"]),
    "a point that is no node": (["solve", "no_node.py", "--mesh", "2"], ["'u' has no node at (0.3, 0.3)", "nearest"]),
    "a point of three coordinates": (["solve", "point_in_space.py"], ["needs 2 coordinates"]),
    "a mean that is fixed already": (["solve", "singular_mean.py", "--mesh", "2"], ["leave it out"]),
    "a problem without a domain": (["solve", "homeless.py"], ["has no geometry of its own: give a mesh file"]),
    # methods that cannot solve it
    "the Ritz method for an evolution": (["solve", "heat", "--method", "ritz"], ["no energy", "use pinn"]),
    "the Ritz method without an energy": (["solve", "two.py:Mine", "--method", "ritz"], ["Mine has no energy"]),
    "the spectral method in no periodic box": (
        [*POISSON, "--method", "spectral"],
        ["cannot solve Poisson", "periodic"],
    ),
    # folders
    "an output folder that is not empty": ([*POISSON, "--out", "full"], ["output folder full exists already"]),
    "an output folder that is a file": ([*POISSON, "--out", "a_file"], ["output folder a_file exists already"]),
    "an output folder below a file": (
        [*POISSON, "--out", "a_file/x/y"],
        ["output folder a_file/x/y: a_file is a file"],
    ),
    # suites
    "a suite that is missing": (["bench", "absent.toml"], ["no suite file absent.toml"]),
    "a suite that is no TOML": (["bench", "bad.toml"], ["bad.toml: ", "line 1"]),
    "a suite that is no text": (["bench", "binary.toml"], ["binary.toml: ", "position 0"]),
    "a suite with an unknown key": (
        ["bench", "unknown_key.toml"],
        ["unknown_key.toml: unknown key of task.0.row.0 'option'", "Did you mean 'options'?"],
    ),
    "a suite with an unknown key on top": (["bench", "unknown_top.toml"], ["unknown key 'speed'", "task, title"]),
    "a suite without a reference": (
        ["bench", "missing_key.toml"],
        ["missing_key.toml: task.0.reference: Field required"],
    ),
    "a task outside of the folder": (["bench", "outside.toml"], ["outside.toml: task.0.name"]),
    "two rows of one label": (["bench", "twice.toml"], ["labels must differ", "['coarse', 'coarse']"]),
    "a row of an unknown method": (["bench", "method.toml"], ["row 'coarse'", "'fme'", "Did you mean 'fem'?"]),
    "a row with an unknown option": (["bench", "option.toml"], ["'mesch'", "Did you mean 'mesh'?"]),
    "a row with an option of another kind": (["bench", "kind.toml"], ["mesh must be a whole number, got 'fine'"]),
    "a task with an unknown parameter": (["bench", "set.toml"], ["'conductvity'", "Did you mean 'conductivity'?"]),
    "a sample of a problem that is not random": (["bench", "sample.toml"], ["poisson has no random parameter"]),
    "a reference of no size": (["bench", "no_reference.toml"], ["cells a side, 1 or more, got 0"]),
    "a file that the suite does not name": (
        ["bench", "fine.toml", "--problem", "raises.py"],
        ["no problem 'raises'", "Available: poisson"],
    ),
    "a catalogue problem as a file": (["bench", "fine.toml", "--problem", "poisson"], ["must be a file", "poisson"]),
    "a report in a foreign folder": (["bench", "fine.toml", "--out", "full"], ["full exists and holds no earlier run"]),
    "a report below a file": (
        ["bench", "fine.toml", "--out", "a_file/x"],
        ["output folder a_file/x: a_file is a file"],
    ),
    # studies
    "a study of one level": (["converge", "poisson_1d", "--levels", "1"], ["--levels must be 2 to 10, got 1"]),
    "a study from a checkpoint": (["converge", "poisson_1d", "--set", "start=heads"], ["leave out start"]),
    "a study with an unknown option": (["converge", "poisson_1d", "--set", "degre=2"], ["Did you mean 'degree'?"]),
    # runs
    "an unknown action": (["runs", "clear"], ["unknown action of runs 'clear'", "Did you mean 'clean'?"]),
    "a list that removes": (["runs", "--failed"], ["are for: variform runs clean"]),
    "runs from the future": (["runs", "clean", "--older-than", "-1"], ["--older-than must be 0 days or more, got -1"]),
    "a folder of runs that is missing": (["runs", "--folder", "absent"], ["no folder absent"]),
    # show
    "values at a word": (["show", "heads", "--at", "left"], ["--at must be numbers", "'left'"]),
    "values at half a point": (["show", "heads", "--at", "0.5"], ["each point needs 2 finite coordinates"]),
    "values outside of the domain": (["show", "heads", "--at", "2,2"], ["1 points lie outside the domain"]),
    "values of a mesh": (["show", "box.msh", "--at", "0,0"], ["--at needs a run folder"]),
    "values of a user's file": (
        ["show", "users", "--at", "0,0"],
        ["run of mine.py", "code named in a record is not run"],
    ),
    "nothing to show": (["show", "nowhere"], ["no run folder or file nowhere"]),
    "an empty folder to show": (["show", "void"], ["void is no run folder: it has no run.json"]),
    "a record cut short": (["show", "damaged"], ["damaged/run.json is not readable"]),
    "a record that is a list": (["show", "list"], ["list/run.json is not readable"]),
    "a record that lacks something": (["show", "partial"], ["partial/run.json is damaged", "'cost'"]),
    "a file of no known format": (["show", "notes.txt"], ["notes.txt: ", "allowed are .msh"]),
    "a data file that is none": (["show", "broken.h5"], ["broken.h5 is damaged or no HDF5 file"]),
}
CONDITIONS = {
    "a condition on an unknown field": (["solve", "condition_field.py"], ["'w'", "Available: u."]),
    "a condition whose value is a word": (["solve", "condition_value.py"], ["'cold'"]),
    "a condition whose value is a vector": (["solve", "condition_shape.py"], ["u", "shape"]),
}
"""Conditions that do not fit the fields; some are found only when the run has begun."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that are wrong in one way each."""
    path = tmp_path_factory.mktemp("bad")
    for name, text in FILES.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    (path / "void").mkdir()
    for name in ("binary.toml", "binary.csv"):
        (path / name).write_bytes(b"\xff\xfe")
    (path / "garbage.msh").write_bytes(bytes(range(256)) * 8)
    whole = BOX.read_bytes()
    (path / "cut.msh").write_bytes(whole[: len(whole) // 2])
    (path / "sides.msh").write_bytes(whole.replace(b'"back"', b'"side"').replace(b'"front"', b'"below"'))
    line = np.linspace(0, 1, 3)[:, None] * [1.0, 0.0, 0.0]
    meshio.write(path / "line.vtk", meshio.Mesh(line, [("line", np.array([[0, 1], [1, 2]]))]))
    shutil.copy(BOX.with_name("heated_block.py"), path)
    shutil.copy(BOX, path)
    solution = solve("darcy", mesh=2)
    (path / "heads").mkdir()
    solution.save(path / "heads")
    values = {"conductivity": {"clay": 0.1, "sand": 1.0}}
    (path / "heads" / "run.json").write_text(json.dumps({"problem": "darcy", "method": "fem", "parameters": values}))
    return path


def contents(folder: Path) -> dict[str, int]:
    paths = (p for p in folder.rglob("*") if "__pycache__" not in p.parts)
    return {str(p): p.stat().st_mtime_ns for p in paths}


def refused(variform, folder, arguments, fragments):
    before = contents(folder)
    result = variform(*["heated_block.py" if a == "EXAMPLE" else a for a in arguments])
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith("variform: ") and result.err.count("\n") == 1 and result.err.endswith("\n")
    assert len(result.err) < 1500  # the catalogue is listed where a name is not in it
    for fragment in fragments:
        assert fragment in result.err
    assert contents(folder) == before


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(case, folder, variform, monkeypatch):
    monkeypatch.chdir(folder)
    refused(variform, folder, *CASES[case])


@pytest.mark.parametrize("case", CONDITIONS)
def test_bad_conditions_are_refused_in_one_line(case, folder, variform, monkeypatch):
    monkeypatch.chdir(folder)
    arguments, fragments = CONDITIONS[case]
    try:
        refused(variform, folder, arguments, fragments)
    finally:
        shutil.rmtree(folder / "runs", ignore_errors=True)
