"""Families of meshes fill their domains to the order of the geometry, and name all of the boundary."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from variform.errors import InputError
from variform.mesh import Mesh
from variform.meshes import (
    Airfoil,
    Annulus,
    ChannelWithCylinder,
    Disk,
    Geometry,
    LShape,
    PerforatedPlate,
    PlateWithHole,
    Quadrilateral,
    refine,
)
from variform.meshes.blocks import smallest_angle
from variform.quadrature import cell_quadrature, facet_quadrature, reference_map, reference_rule

COOK = ((0, 0), (48, 44), (48, 60), (0, 44))
ANGLES = {
    Disk((1.0, -2.0), 0.5): 45,
    Annulus(): 27,
    Annulus((0.0, 1.0), 0.1, 1.0): 25,
    Annulus((0.0, 0.0), 0.9, 1.0): 40,
    LShape(): 45 - 1e-9,
    LShape(2.0): 18,
    Quadrilateral(COOK): 13,
    PlateWithHole(): 35,
    PlateWithHole(4.0, 4.0, 0.1): 30,
    PlateWithHole(3.0, 1.0, 0.25): 35,
    PlateWithHole(1.0, 1.2, 0.25): 30,
    PlateWithHole(1.0, 2.5, 0.25): 30,
    PerforatedPlate(): 25,
    PerforatedPlate(2.0, 1.0, 3, 2, 0.2): 20,
    ChannelWithCylinder(): 25,
    Airfoil(): 25,
    Airfoil("2412"): 25,
    Airfoil("6409", 5.0): 20,
    Airfoil("4424"): 25,
}
"""Each with a bound on its smallest angle [degrees]."""
CURVED = {
    Disk((1.0, -2.0), 0.5): (math.pi / 4, {"wall": math.pi}),
    Annulus(): (0.75 * math.pi, {"inner": math.pi, "outer": 2 * math.pi}),
    PlateWithHole(2.0, 1.0, 0.5): (2 - math.pi / 16, {"hole": math.pi / 4, "left": 0.5, "top": 2.0}),
    PerforatedPlate(2.0, 1.0, 3, 2, 0.2): (2 - 0.24 * math.pi, {"holes": 2.4 * math.pi, "bottom": 2.0}),
    ChannelWithCylinder(): (
        2.2 * 0.41 - math.pi * 0.05**2,
        {"cylinder": 0.1 * math.pi, "walls": 4.4, "inlet": 0.41, "outlet": 0.41},
    ),
}
"""Each with its area, and the lengths of parts of its boundary."""


def determinants(mesh: Mesh) -> np.ndarray:
    return np.linalg.det(reference_map(mesh, reference_rule("triangle", 5)[0])[1])


@pytest.mark.parametrize("geometry", ANGLES, ids=repr)
def test_cells_are_positive_and_well_shaped_and_parts_cover_the_boundary_once(geometry):
    for n in (1, 2, 3):
        for order in (1, 2):
            mesh = geometry.mesh(n, order)
            assert determinants(mesh).min() > 0
            assert np.degrees(smallest_angle(mesh.points[mesh.cells]).min()) > ANGLES[geometry]
            together = np.concatenate(list(mesh.boundaries.values()))
            assert np.array_equal(together[np.lexsort(together.T[::-1])], mesh.exterior_facets)
            assert tuple(mesh.boundaries) == geometry.boundaries
            assert np.array_equal(mesh.regions["domain"], np.arange(len(mesh.cells)))
            assert np.array_equal(np.unique(mesh.nodes), np.arange(len(mesh.points)))
            assert np.all((mesh.points > geometry.lower - 1e-12) & (mesh.points < geometry.upper + 1e-12))


@pytest.mark.parametrize("geometry", ANGLES, ids=repr)
def test_the_finer_mesh_has_four_times_the_cells_and_keeps_the_vertices(geometry):
    coarse, fine = geometry.mesh(2), geometry.mesh(4)
    assert len(fine.cells) == 4 * len(coarse.cells)
    assert cKDTree(fine.points).query(coarse.points)[0].max() < 1e-12


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("geometry", CURVED, ids=repr)
def test_area_and_lengths_converge_at_twice_the_order_of_the_geometry(geometry, order):
    area, lengths = CURVED[geometry]
    errors = []
    for n in (2, 4):
        mesh = geometry.mesh(n, order)
        found = [np.sum(facet_quadrature(mesh, 9, mesh.boundaries[name]).w) for name in lengths]
        errors.append(np.abs(np.array([cell_quadrature(mesh, 5).w.sum(), *found]) - [area, *lengths.values()]))
    straight = errors[0] < 1e-12 * area
    assert np.all(errors[1][straight] < 1e-12 * area)
    rates = np.log2(errors[0][~straight] / errors[1][~straight])
    assert rates == pytest.approx(2 * order, abs=0.1), errors


def test_refined_curved_meshes_fill_the_same_domain():
    mesh = ChannelWithCylinder().mesh(1, order=2)
    fine = refine(mesh)
    assert len(fine.cells) == 4 * len(mesh.cells) and fine.order == 2 and determinants(fine).min() > 0
    assert cell_quadrature(fine, 5).w.sum() == pytest.approx(cell_quadrature(mesh, 5).w.sum(), rel=1e-12)
    for name, facets in mesh.boundaries.items():
        lengths = [facet_quadrature(m, 21, m.boundaries[name]).w.sum() for m in (mesh, fine)]
        assert lengths[0] == pytest.approx(lengths[1], rel=1e-12) and len(fine.boundaries[name]) == 2 * len(facets)
    assert np.array_equal(np.unique(fine.nodes), np.arange(len(fine.points)))


def test_pressures_of_the_benchmark_are_taken_at_vertices():
    for n in (1, 2, 5):
        points = ChannelWithCylinder().mesh(n, order=2).straight.points
        for probe in ((0.15, 0.2), (0.25, 0.2)):
            assert np.linalg.norm(points - probe, axis=1).min() < 1e-15


def test_the_nodes_of_an_aerofoil_lie_on_it():
    geometry = Airfoil("0012")
    mesh = geometry.mesh(2, order=2)
    x, y = mesh.points[np.unique(mesh.nodes[mesh.boundaries["airfoil"][:, 0]])].T
    inside = (x >= 0) & (x <= 1) & (np.abs(y) < 0.1)
    thick = 0.6 * (0.2969 * np.sqrt(np.abs(x)) - 0.126 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4)
    on = inside & (np.abs(np.abs(y) - thick) < 1e-12)
    assert on.sum() == 2 * 64 and x[on].max() == 1.0 and x[on].min() < 1e-6
    far = mesh.points[mesh.vertices_of(mesh.boundaries["farfield"])]
    assert np.linalg.norm(far - [0.5, 0.0], axis=-1) == pytest.approx(10.0, rel=1e-12)


@pytest.mark.parametrize("geometry", [Disk(), Annulus(), LShape(), ChannelWithCylinder(), Airfoil()], ids=repr)
def test_distances_vanish_on_the_walls_and_are_positive_inside(geometry: Geometry):
    mesh = geometry.mesh(geometry.walls)
    first = geometry.boundaries[0]
    on = mesh.points[mesh.vertices_of(mesh.boundaries[first])].mean(axis=1)
    inside = mesh.points[mesh.cells].mean(axis=1)[:500]
    assert geometry.distance(torch.tensor(on.T.copy()), (first,)).abs().max() < 1e-12
    assert geometry.distance(torch.tensor(inside.T.copy()), ("boundary",)).min() > 0
    with pytest.raises(InputError, match="unknown boundary 'lid'"):
        geometry.distance(torch.zeros(2, 1), ("lid",))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Disk(radius=0.0), "radius must be above 0 and finite, got 0.0"),
        (lambda: Annulus(inner=1.0, outer=0.5), "inner must be below outer"),
        (lambda: LShape(0.5), "grading must be from 1 to 10"),
        (lambda: Quadrilateral(COOK[::-1]), "counter-clockwise"),
        (lambda: Quadrilateral(COOK[:3]), "four corners of two coordinates"),
        (lambda: PlateWithHole(radius=1.0), "radius must be below 0.95 of width and height"),
        (lambda: PerforatedPlate(radius=0.3), "radius must be below 0.2375"),
        (lambda: PerforatedPlate(rows=0), "columns and rows must be 1 or more"),
        (lambda: Airfoil("12"), "digits must be four"),
        (lambda: Airfoil("2012"), "both 0 or neither"),
        (lambda: Airfoil(radius=1.0), "radius must be 2 to 1000 chords"),
        (lambda: Disk().mesh(0), "1 or more, got 0"),
        (lambda: Disk().mesh(1, order=3), "the order of a geometry is 1 or 2, got 3"),
    ],
)
def test_what_is_not_such_a_domain_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
