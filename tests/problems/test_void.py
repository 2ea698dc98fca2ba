"""A square with a void of any shape: sound meshes, known limits, orders on random shapes."""

import numpy as np
import pytest

from variform.data import generate, plan_of, store
from variform.data.check import check
from variform.errors import InputError
from variform.meshes.quality import check as quality
from variform.meshes.void import SquareWithVoid
from variform.problems import load
from variform.quadrature import cell_quadrature
from variform.random import EllipticRadius, SmoothRadius, generator
from variform.solvers import fem
from variform.solvers.batched import solve as batched

SHAPES = [law.sample(generator(0, i)) for law in (EllipticRadius(), SmoothRadius()) for i in range(6)]


@pytest.mark.parametrize("radius", SHAPES)
def test_meshes_fit_the_void_and_differ_in_their_points_only(radius):
    angles = np.linspace(0, 2 * np.pi, 4001)[:-1]
    rays = 0.5 + np.array([np.cos(angles), np.sin(angles)])
    area = 1 - 0.5 * (radius(rays) ** 2).mean() * 2 * np.pi
    errors = []
    for n in (4, 8):
        mesh = SquareWithVoid(radius).mesh(n)
        assert quality(mesh).angle_min > 8
        assert np.array_equal(mesh.cells, SquareWithVoid(SHAPES[0]).mesh(n).cells)
        assert np.array_equal(mesh.points, SquareWithVoid(radius).mesh(n).points)
        rim = mesh.points[np.unique(mesh.vertices_of(mesh.boundaries["void"]))]
        assert np.allclose(np.linalg.norm(rim - 0.5, axis=1), radius(rim.T), rtol=1e-12)
        errors.append(abs(cell_quadrature(mesh, 1).w.sum() - area))
        assert {name: len(f) for name, f in mesh.boundaries.items()} == dict.fromkeys(
            ("left", "right", "bottom", "top"), 4 * n
        ) | {"void": 16 * n}
    assert errors[1] < errors[0] / 3  # of second order


def test_radii_out_of_range_and_networks_are_refused():
    with pytest.raises(InputError, match=r"radius must lie between 0.02 and 0.48, got 0.5 to 0.5"):
        SquareWithVoid(lambda x: 0 * x[0] + 0.5).mesh(4)


def test_laws_keep_their_bounds_and_are_periodic():
    angles = np.linspace(-np.pi, np.pi, 500)
    rays = 0.5 + np.array([np.cos(angles), np.sin(angles)])
    for i in range(50):
        r = SmoothRadius().sample(generator(1, i))(rays)
        assert r.min() > 0.2 and r.max() < 0.4 and abs(r[0] - r[-1]) < 1e-12
        r = EllipticRadius().sample(generator(1, i))(rays)
        assert r.min() > 0.1 - 1e-12 and r.max() < 0.35 + 1e-12


@pytest.mark.parametrize("name", ["darcy_mesh", "elasticity_void"])
def test_two_implementations_agree_on_a_random_shape(name):
    instance = load(name)().sample(0, 3)
    mesh = instance.geometry(instance.p).mesh(4, 2 if name == "elasticity_void" else 1)
    a, b = fem.solve(instance, mesh=mesh), batched(instance, mesh=mesh)
    field = next(iter(instance.fields))
    assert abs(a.nodal(field) - b.nodal(field)).max() < 1e-8 * abs(a.nodal(field)).max()


def test_the_order_on_a_random_shape_is_that_of_the_elements():
    instance = load("darcy_mesh")(void=SmoothRadius().sample(generator(0, 1)), permeability=1.0)
    pulls = [batched(instance, mesh=n).integrate() for n in (4, 8, 16, 32)]
    steps = np.diff(pulls)
    assert np.log2(steps[:-1] / steps[1:]) == pytest.approx([2, 2], abs=0.2)


def test_what_flows_in_flows_out():
    instance = load("darcy_mesh")().sample(0, 2)
    solution = fem.solve(instance, mesh=8)
    area = solution.integrate(lambda h: 1 + 0 * h)
    assert -solution.reaction("h", ("left", "right", "bottom", "top")) == pytest.approx(area, rel=1e-9)
    assert solution.nodal("h").min() >= 0


@pytest.mark.parametrize("name", ["darcy_mesh", "elasticity_void"])
def test_files_hold_the_mesh_of_every_sample(name, tmp_path):
    path = tmp_path / "d.h5"
    generate(plan_of(name, 3, seed=1, resolution=21, mesh=2, batch=2), path)
    assert {f.status for f in check(path)} == {"passed"}
    data, grid = store.read(path, on="mesh"), store.read(path)
    field = data.named("output")[0]
    for i in range(3):
        mesh = data.source.mesh(i)
        instance = load(name)().sample(1, i)
        assert np.array_equal(mesh.points, instance.geometry(instance.p).mesh(2, mesh.order).points)
        solution = batched(instance, mesh=mesh)
        assert np.allclose(data.read(field, i), np.moveaxis(solution.at(mesh.points.T, field=field), -1, 0), atol=1e-12)
        inside = grid.read("inside", i) > 0.5
        x = np.stack(np.meshgrid(*grid.coordinates, indexing="ij"))
        there = np.moveaxis(solution.at(x.reshape(2, -1), field=field), -1, 0).reshape(*inside.shape, -1)
        assert np.array_equal(np.isfinite(there[..., 0]), inside)
        assert np.allclose(grid.read(field, i).reshape(there.shape)[inside], there[inside], rtol=1e-6, atol=1e-9)
        assert (grid.read(field, i)[~inside] == 0).all()
    assert 0 < store.Stored(store.LazyFile(path)).array(f"sampling/{field}").max() < 0.2
