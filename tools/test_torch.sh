#!/usr/bin/env bash
# Run the tests of the compiler, the batched solver and the networks in an environment without DOLFINx, PETSc, MPI and
# gmsh: what a machine has that only trains. Versions are those of requirements.lock. Called by `make test-torch`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv=$root/.venv-torch
uv=$root/.venv/bin/uv

[[ -x $venv/bin/python ]] || "$uv" venv --quiet --python "$root/.venv/bin/python" "$venv"
"$uv" pip install --quiet --python "$venv/bin/python" --constraint <(grep -oE '^[a-zA-Z0-9._-]+==[^ ;]+' requirements.lock) \
    --editable . hypothesis pytest
"$venv/bin/python" -c '
from importlib.util import find_spec
found = [name for name in ("dolfinx", "dolfinx_solver", "petsc4py", "mpi4py", "gmsh") if find_spec(name)]
assert not found, f"the environment is to be without {found}"
'
"$venv/bin/python" -m pytest -q -p no:cacheprovider "$@"
