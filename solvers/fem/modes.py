"""Constants and rigid motions: what an operator may leave free, and what multigrid must know of elasticity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import ufl
from dolfinx import fem
from petsc4py import PETSc

from variform.problem import Mean, NoRigidMotion
from variform.solvers.fem.discretize import Discrete


def constrained_modes(discrete: Discrete) -> list[np.ndarray]:
    """The modes that Mean and NoRigidMotion conditions fix: owned entries of vectors of the whole system."""
    found = [mode for c in discrete.problem.conditions_of(Mean) for mode in candidates(discrete, c.field).values()]
    for c in discrete.problem.conditions_of(NoRigidMotion):
        found += candidates(discrete, c.field).values()
    return found


def candidates(discrete: Discrete, field: str) -> dict[str, np.ndarray]:
    """Motions of one field that cost no energy in common operators, by name; empty for elements without nodes.

    The constant of a scalar; the translations and rotations of a vector of as many components as the space.
    """
    if discrete.problem.fields[field].element not in ("Lagrange", "DG"):
        return {}
    V = discrete.u[field].function_space
    bs, owned = V.dofmap.bs, V.dofmap.index_map.size_local
    if bs == 1:
        return {"a constant": _in_system(discrete, field, np.ones(owned))}
    x = V.tabulate_dof_coordinates()[:owned, : V.mesh.geometry.dim]
    if bs != x.shape[1]:
        motions = {f"a translation of component {i}": np.tile(e, (owned, 1)) for i, e in enumerate(np.eye(bs))}
    else:
        motions = rigid_motions(x)
    return {name: _in_system(discrete, field, motion.ravel()) for name, motion in motions.items()}


def rigid_motions(x: np.ndarray) -> dict[str, np.ndarray]:
    """Translations and rotations of the points x (n, dim): displacements of that shape, by name."""
    dim = x.shape[1]
    motions = {f"a translation along {'xyz'[i]}": np.tile(e, (len(x), 1)) for i, e in enumerate(np.eye(dim))}
    for i, j in ((0, 1), (1, 2), (2, 0)):
        if max(i, j) < dim:
            rotation = np.zeros_like(x)
            rotation[:, i], rotation[:, j] = -x[:, j], x[:, i]
            motions[f"a rotation in the {'xyz'[i]}-{'xyz'[j]} plane"] = rotation
    return motions


def _in_system(discrete: Discrete, field: str, values: np.ndarray) -> np.ndarray:
    """Owned entries of a vector of all fields, zero but for one of them."""
    parts = []
    for name, u in discrete.u.items():
        size = u.function_space.dofmap.index_map.size_local * u.function_space.dofmap.bs
        parts.append(values if name == field else np.zeros(size))
    return np.concatenate(parts)


def nullspace(vectors: list[PETSc.Vec], comm: object) -> PETSc.NullSpace:
    """The span of vectors, which are made orthonormal in place (Gram and Schmidt, twice)."""
    for _ in range(2):
        for i, a in enumerate(vectors):
            for b in vectors[:i]:
                a.axpy(-a.dot(b), b)
            a.normalize()
    return PETSc.NullSpace().create(vectors=vectors, comm=comm)


def fixing(discrete: Discrete) -> Callable[[], None]:
    """What shifts the fields along their free modes until Mean and NoRigidMotion hold, in place."""
    steps = [_mean(discrete, c) for c in discrete.problem.conditions_of(Mean)]
    steps += [_rigid(discrete, c) for c in discrete.problem.conditions_of(NoRigidMotion)]

    def fix() -> None:
        for step in steps:
            step()

    return fix


def _integral(discrete: Discrete, expression: object) -> Callable[[], float]:
    form = fem.form(expression * ufl.Measure("dx", discrete.domain.mesh))
    return lambda: discrete.comm.allreduce(fem.assemble_scalar(form))


def _mean(discrete: Discrete, condition: Mean) -> Callable[[], None]:
    u = discrete.u[condition.field]
    volume = _integral(discrete, fem.Constant(discrete.domain.mesh, 1.0))()
    integral = _integral(discrete, u)

    def shift() -> None:
        u.x.array[:] += condition.value - integral() / volume

    return shift


def _rigid(discrete: Discrete, condition: NoRigidMotion) -> Callable[[], None]:
    u = discrete.u[condition.field]
    V, dim, motions = u.function_space, discrete.domain.mesh.geometry.dim, []
    for values in rigid_motions(V.tabulate_dof_coordinates()[:, :dim]).values():
        motions.append(fem.Function(V))
        motions[-1].x.array[:] = values.ravel()
    gram = np.array([[_integral(discrete, ufl.inner(a, b))() for a in motions] for b in motions])
    loads = [_integral(discrete, ufl.inner(u, b)) for b in motions]

    def shift() -> None:
        for c, motion in zip(np.linalg.solve(gram, [load() for load in loads]), motions, strict=True):
            u.x.array[:] -= c * motion.x.array

    return shift
