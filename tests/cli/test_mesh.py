"""Mesh files on the command line."""

import json

import meshio
import numpy as np
import pytest

from variform.meshes import ChannelWithCylinder, UnitSquare, read, write_mesh


@pytest.fixture
def channel(tmp_path):
    write_mesh(tmp_path / "channel.msh", ChannelWithCylinder().mesh(1, order=2))
    return str(tmp_path / "channel.msh")


def test_info_tells_sizes_names_and_quality(variform, channel):
    found = json.loads(variform("mesh", "info", channel, "--json").out)
    assert (found["cells"], found["order"], found["cell_type"]) == (456, 2, "triangle")
    assert found["boundaries"] == {"inlet": 6, "outlet": 6, "walls": 48, "cylinder": 24}
    assert found["measure"] == pytest.approx(2.2 * 0.41 - np.pi * 0.05**2, rel=1e-5) and found["angle_min"] > 25
    result = variform("mesh", "info", channel)
    assert result.code == 0 and "inlet 6, outlet 6" in result.out


def test_convert_and_refine_write_meshes_with_the_same_names(variform, channel, tmp_path):
    out = tmp_path / "fine.msh"
    result = variform("mesh", "refine", channel, str(out))
    assert (result.code, result.err) == (0, "") and result.out.startswith("1824 cells")
    fine = read(out)
    assert fine.order == 2 and len(fine.boundaries["cylinder"]) == 48
    again = variform("mesh", "refine", channel, str(out))
    assert again.code == 2 and again.err == f"variform: {out} exists; choose another name\n"
    assert variform("mesh", "convert", channel, str(tmp_path / "channel.vtu")).code == 0
    assert len(read(tmp_path / "channel.vtu").cells) == 456
    result = variform("mesh", "convert", channel, str(tmp_path / "channel.png"))
    assert result.code == 2 and "cannot write this format; allowed are .msh" in result.err


def test_refine_near_a_point_leaves_the_rest(variform, tmp_path):
    write_mesh(tmp_path / "square.msh", UnitSquare().mesh(4))
    source, out = str(tmp_path / "square.msh"), str(tmp_path / "out.msh")
    assert variform("mesh", "refine", source, out, "--times", "3", "--near", "0,0", "--radius", "0.3").code == 0
    mesh = read(out)
    sizes = np.ptp(mesh.points[mesh.cells], axis=1).max(axis=1)
    assert sizes.max() == 0.25 and sizes.min() <= 0.125 and 32 < len(mesh.cells) < 100
    for arguments, message in (
        (["--near", "0,0"], "--near and --radius go together"),
        (["--near", "0", "--radius", "1"], "takes 2 numbers"),
        (["--near", "9,9", "--radius", "1"], "take a larger --radius"),
    ):
        result = variform("mesh", "refine", source, str(tmp_path / "other.msh"), *arguments)
        assert result.code == 2 and message in result.err and not (tmp_path / "other.msh").exists()


def test_check_counts_what_is_wrong_and_exits_with_one(variform, channel, tmp_path):
    result = variform("mesh", "check", channel)
    assert (result.code, result.err) == (0, "") and "no problems found" in result.out
    good = UnitSquare().mesh(2)
    cells = np.vstack([good.cells, good.cells[0], good.cells[3, ::-1]])
    meshio.write(tmp_path / "broken.vtk", meshio.Mesh(np.pad(good.points, ((0, 0), (0, 1))), [("triangle", cells)]))
    result = variform("mesh", "check", str(tmp_path / "broken.vtk"))
    assert result.code == 1
    assert (
        "problem: 1 cells that are folded, flat or turned" in result.out
        and "problem: 2 cells that appear twice" in result.out
    )
    result = variform("mesh", "check", str(tmp_path / "broken.vtk"), "--json")
    assert result.code == 1 and json.loads(result.out)["problems"]["duplicate_cells"] == 2
    result = variform("mesh", "check", str(tmp_path / "none.msh"))
    assert result.code == 2 and "no such file" in result.err
