#!/usr/bin/env bash
# Check the import contracts of pyproject.toml. They need a regular copy of the packages: an editable install maps
# folders to packages by a finder that the checker cannot follow.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf .lint build # a build folder left over brings deleted modules back
.venv/bin/uv pip install --python .venv/bin/python --quiet --no-cache --no-deps --no-build-isolation --target .lint .
rm -rf build

# A folder missing from setup.cfg would be neither installed nor checked.
missing=$(comm -23 \
    <({ find variform -name '*.py'; find meshes problems solvers data operators benchmarks -name '*.py' -printf 'variform/%p\n'; } | sort) \
    <(cd .lint && find variform -name '*.py' | sort))
if [[ -n $missing ]]; then
    printf 'not installed: list the package in setup.cfg\n%s\n' "$missing" >&2
    exit 1
fi

# From .lint, so that `import variform` finds the copy and not the folder of that name at the root.
cd .lint
PYTHONPATH=. ../.venv/bin/lint-imports --config ../pyproject.toml --no-cache
