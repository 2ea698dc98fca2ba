"""Problems on mesh files that others made."""

from pathlib import Path

import numpy as np
import pytest

from variform import meshes
from variform.problems import load
from variform.quadrature import cell_quadrature
from variform.solvers.fem import solve

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "meshes"
PROBLEMS = {
    "beams.msh": "poisson_3d",
    "box.msh": "poisson_3d",
    "cylinder_stokes.msh": "poisson",
    "mixedtriquad.msh": "poisson",
    "quadratic_tri.msh": "poisson",
    "tagged_gmsh4.msh": "poisson",
    "troublesome_mesh.vtk": "poisson",
}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no reference data beside the checkout")


@pytest.mark.parametrize("name", PROBLEMS)
def test_poissons_equation_on_a_file(name):
    """The energy identity a(u, u) = (f, u), the maximum principle's sign, and the total flux."""
    mesh = meshes.read(FOLDER / name)
    solution = solve(load(PROBLEMS[name])(), mesh=mesh, degree=2, rtol=1e-12)
    volume = cell_quadrature(mesh, 4).w.sum()
    stiffness = solution.functional(lambda s: sum(s.u["u"].dx(i) ** 2 for i in range(mesh.dim)) * s.dx)
    assert stiffness == pytest.approx(solution.integrate(), rel=1e-8) and stiffness > 0
    assert solution.reaction("u", "boundary") == pytest.approx(-volume, rel=1e-8)
    assert np.isfinite(solution.nodal()).all() and solution.nodal().max() > 0
    assert solution.mesh.order == (2 if name == "quadratic_tri.msh" else 1)


def test_every_file_in_the_folder_is_among_them():
    assert {p.name for p in FOLDER.iterdir() if p.is_file()} - {"README.md"} == set(PROBLEMS)
