#!/usr/bin/env bash
# Let The Well's own loader read our files, in an environment that has it. Called by `make test-well`.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv=$root/.venv-well
uv=$root/.venv/bin/uv

[[ -x $venv/bin/python ]] || "$uv" venv --quiet --python "$root/.venv/bin/python" "$venv"
# The Well pins libraries at other versions than requirements.lock does: this environment has its own.
"$uv" pip install --quiet --python "$venv/bin/python" --editable ".[well]" hypothesis pytest
"$venv/bin/python" -m pytest -q tests/data/test_the_well.py
