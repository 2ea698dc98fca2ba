"""Finite elements on quadrilaterals and hexahedra that are no boxes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from variform.benchmarks.metrics import exact_errors, observed_rates
from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import Layers, UnitCube, UnitSquare, read
from variform.problems import load
from variform.quadrature import facet_quadrature, reference_map
from variform.solvers.fem import checkpoint, solve
from variform.solvers.fem.discretize import discretize
from variform.solvers.fem.mesh import distribute

SQUARE = (UnitSquare(), "quadrilateral", "poisson_manufactured")
CUBE = (UnitCube(), "hexahedron", "poisson_3d_manufactured")
MPIEXEC = Path(sys.executable).with_name("mpiexec")


def perturbed(mesh: Mesh, amount: float, seed: int = 0) -> Mesh:
    """The mesh with all points inside the unit square or cube moved at random, by `amount` [m] an axis at most."""
    inside = np.all((mesh.points > 1e-9) & (mesh.points < 1 - 1e-9), axis=1, keepdims=True)
    moves = np.random.default_rng(seed).uniform(-amount, amount, mesh.points.shape)
    return replace(mesh, points=mesh.points + inside * moves)


def grid(case: tuple, n: int) -> Mesh:
    return perturbed(case[0].mesh(n, cell_type=case[1]), 0.2 / n)


@pytest.mark.parametrize(
    ("case", "degree", "cells"), [(SQUARE, 1, [16, 32, 64]), (SQUARE, 2, [16, 32, 64]), (CUBE, 1, [4, 8, 16])]
)
def test_the_error_falls_at_order_degree_plus_one_and_that_of_the_gradient_at_degree(case, degree, cells):
    problem = load(case[2])()
    errors = [exact_errors(problem, solve(problem, mesh=grid(case, n), degree=degree)) for n in cells]
    for norm, order in (("relative_l2", degree + 1), ("relative_h1", degree)):
        rates = observed_rates([1 / n for n in cells], [e[norm] for e in errors])
        assert rates[-1] == pytest.approx(order, abs=0.1), f"{norm}: {errors=}, {rates=}"


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("case", [SQUARE, CUBE])
def test_a_solution_has_its_cells_own_values_at_any_point_and_at_the_nodes(case, order):
    """x and u_h are the same shape functions of X, so that u_h at x(X) needs no search and no Newton's method."""
    mesh = case[0].mesh(3, cell_type=case[1])
    mesh = perturbed(mesh if order == 1 else mesh.second_order, 0.05 if order == 1 else 0.02)
    solution = solve(load(case[2])(), mesh=mesh, degree=order)
    nodal = solution.nodal()
    X = np.random.default_rng(1).random((7, mesh.dim))
    x, _ = reference_map(mesh, X)
    ours, _ = reference_map(replace(mesh, points=np.repeat(nodal[:, None], mesh.dim, axis=1)), X)
    np.testing.assert_allclose(solution.at(x.reshape(-1, mesh.dim).T), ours[..., 0].ravel(), atol=1e-12)
    np.testing.assert_allclose(solution.at(mesh.points.T), nodal, atol=1e-12)
    assert np.isnan(solution.at(np.full((mesh.dim, 1), 1.001))).all()


@pytest.mark.parametrize("case", [(SQUARE, "mixed_darcy", 2), (SQUARE, "poisson_manufactured", 3), (CUBE, CUBE[2], 3)])
def test_values_of_every_kind_of_element_are_those_of_dolfinx(case):
    """Whose own evaluation finds these few points; dofs of RT need an orientation, and its values Piola's map."""
    geometry, name, degree = case
    mesh = grid(geometry, 4)
    solution = solve(load(name)(), mesh=mesh, degree=degree)
    x = np.random.default_rng(3).uniform(0.05, 0.95, (mesh.dim, 100))
    for field, u in solution._discrete.u.items():
        ours = solution.at(x, field=field)
        points, found, cells = solution._locate(x)
        theirs = u.eval(points, cells, tol=1e-10, maxit=50)
        assert found.all() and abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours.reshape(-1, 100), theirs.T, atol=1e-12)


def test_diameters_facet_tags_and_regions_are_those_of_the_mesh():
    mesh = perturbed(UnitCube(Layers(2, (0.4,), ("low", "high"))).mesh(3, cell_type="hexahedron"), 0.05)
    moved = replace(mesh, points=mesh.points + 0.1 * np.sin(3 * mesh.points[:, ::-1]))
    discrete = discretize(load("poisson_3d_manufactured")(), distribute(moved), 1)
    solution = solve(load("poisson_3d_manufactured")(), mesh=moved, degree=1)
    for name, facets in moved.boundaries.items():
        measured = solution.functional(lambda s, name=name: (s.n[0] + 2 * s.n[2]) * s.ds(name))
        rule = facet_quadrature(moved, 3, facets)
        assert measured == pytest.approx(np.dot([1, 0, 2], rule.normal) @ rule.w, abs=1e-13)
    corners = moved.points[moved.cells]
    longest = np.linalg.norm(corners[:, :, None] - corners[:, None], axis=3).max(axis=(1, 2))
    original = discrete.domain.mesh.topology.original_cell_index
    np.testing.assert_allclose(discrete.symbols.h.x.array, longest[original], rtol=1e-14)
    assert set(discrete.domain.cell_tags.values) == {1, 2}


def test_a_checkpoint_and_a_vtk_file_hold_the_solution(tmp_path):
    pyvista = pytest.importorskip("pyvista")
    for case in (SQUARE, CUBE):
        mesh = grid(case, 3).second_order
        solution = solve(load(case[2])(), mesh=mesh, degree=2)
        stored = checkpoint.read(solution.save(tmp_path / case[1]))
        assert stored.mesh.cell_type == case[1]
        np.testing.assert_array_equal(stored.mesh.nodes, mesh.nodes)
        again = solve(load(case[2])(), degree=2, start=str(tmp_path / case[1]))
        np.testing.assert_allclose(again.nodal(), solution.nodal(), atol=1e-10)
        solution.write(tmp_path / f"{case[1]}.vtu")
        found = pyvista.read(tmp_path / f"{case[1]}.vtu")
        np.testing.assert_array_equal(found["u"], solution.nodal())
        inside = np.random.default_rng(2).uniform(0.1, 0.9, (20, mesh.dim))
        probes = pyvista.PolyData(np.pad(inside, ((0, 0), (0, 3 - mesh.dim)))).sample(found)
        np.testing.assert_allclose(probes["u"], solution.at(inside.T), atol=1e-6)
        assert len(read(tmp_path / f"{case[1]}.vtu").cells) == len(mesh.cells) * (2 if mesh.dim == 2 else 6)


def test_vertices_in_a_cycle_are_refused_by_the_cell():
    mesh = UnitSquare().mesh(4, cell_type="quadrilateral")
    cells = mesh.cells.copy()
    cells[5] = cells[5][[0, 1, 3, 2]]
    with pytest.raises(
        InputError, match=r"1 cells are folded or flat; the first is cell 5, a quadrilateral of vertices"
    ):
        solve(load("poisson")(), mesh=replace(mesh, cells=cells))


SCRIPT = """
import sys
import numpy as np
from variform.problems import load
from variform.solvers.fem import solve
from tests.solvers.test_fem_quadrilaterals import CUBE, SQUARE, grid
values = []
for case in (SQUARE, CUBE):
    mesh = grid(case, 5)
    solution = solve(load(case[2])(), mesh=mesh, degree=2, rtol=1e-13)
    x = np.random.default_rng(0).random((mesh.dim, 200))
    values += [solution.at(x), solution.nodal(), solution.at(x, derivatives=1).ravel()]
    values.append(np.array([solution.functional(lambda s: s.h * s.u["u"] * s.ds("left") + s.u["u"] ** 2 * s.dx)]))
if solution._discrete.comm.rank == 0:
    np.save(sys.argv[1], np.concatenate(values))
"""


@pytest.mark.skipif(not MPIEXEC.exists(), reason="needs MPICH's mpiexec")
def test_two_ranks_give_what_one_gives(tmp_path):
    for ranks in (1, 2):
        command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-c", SCRIPT, str(tmp_path / f"{ranks}.npy")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert ended.returncode == 0, ended.stderr[-3000:]
    np.testing.assert_allclose(*(np.load(tmp_path / f"{ranks}.npy") for ranks in (1, 2)), atol=1e-11)
