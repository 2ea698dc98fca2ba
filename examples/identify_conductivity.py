"""Which conductivities explain the heads that were measured? Identification by the adjoint of a batched solve.

    python examples/identify_conductivity.py

Ground of two layers (the catalogue's `darcy`): clay below sand. The head is measured at 25 wells, with noise; wanted
are the conductivities of both layers. Every solve is a torch operation, so that the gradient of the misfit comes from
one adjoint solve, and SciPy's BFGS does the rest. Sixteen data sets with noise of their own are inverted at once, which
shows how far the answer can be trusted.
"""

import numpy as np
import torch
from scipy.optimize import minimize

from variform.location import locate
from variform.problems import load
from variform.solvers.batched import BatchedSolver

TRUTH = {"clay": 0.12, "sand": 1.7}
NOISE = 1e-3
"""Standard deviation of the measurements, relative to the largest head."""
DATA_SETS = 16


def main(cells: int = 32) -> np.ndarray:
    """Print and return the conductivities found, shape (data sets, 2)."""
    problem = load("darcy")()
    solver = BatchedSolver(problem, problem.geometry(problem.p).mesh(cells))
    at_wells = interpolation(solver, np.stack(np.meshgrid(*[np.linspace(0.15, 0.85, 5)] * 2)).reshape(2, -1))

    heads = solver.solve({"conductivity": TRUTH}).u["h"] @ at_wells
    noise = torch.randn(DATA_SETS, heads.shape[1], generator=torch.Generator().manual_seed(0), dtype=heads.dtype)
    measured = heads + NOISE * heads.max() * noise

    def misfit(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum of squares of all data sets and its gradient; they do not know of each other."""
        k = torch.tensor(logarithms.reshape(2, DATA_SETS)).exp().requires_grad_()
        batch = solver.solve({"conductivity": {"clay": k[0], "sand": k[1]}})
        value = ((batch.u["h"] @ at_wells - measured) ** 2).sum() / (NOISE * heads.max()) ** 2
        (gradient,) = torch.autograd.grad(value, k)
        return value.item(), (gradient * k.detach()).numpy().ravel()

    found = minimize(misfit, np.zeros(2 * DATA_SETS), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    k = np.exp(found.x).reshape(2, DATA_SETS).T
    print(f"{found.nfev} evaluations of {DATA_SETS} data sets")
    for name, column in zip(TRUTH, k.T, strict=True):
        print(f"{name}: {column.mean():.4f} +- {column.std(ddof=1):.4f}, true {TRUTH[name]}")
    return k


def interpolation(solver: BatchedSolver, x: np.ndarray) -> torch.Tensor:
    """The matrix that takes dofs to values at points x (2, n), shape (num_dofs, n)."""
    space = solver.weak.spaces["h"]
    cells, X = locate(solver.weak.mesh, x)
    matrix = np.zeros((space.num_dofs, x.shape[1]))
    np.put_along_axis(matrix, space.dofmap[cells].T, space.tabulate(X, 0)[()][:, :, 0].T, axis=0)
    return torch.tensor(matrix)


if __name__ == "__main__":
    main()
