#!/usr/bin/env bash
# Build .venv from requirements.lock and install variform into it, editable. Called by `make setup` and `make lock`.
#
#   tools/setup.sh                 make .venv agree with the lock; returns at once when it already does
#   tools/setup.sh lock [FLAG ...] resolve setup.cfg into requirements.lock with the locked uv
#
# The last step writes a stamp: the hash of all that .venv was made from. After a change, or a step that did not end,
# the stamp does not match, and the next call does the work again.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv=$root/.venv
stamp=$venv/.variform-stamp
sources=(requirements.lock setup.cfg pyproject.toml tools/setup.sh)

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }
fingerprint() { echo "$root"; cat "${sources[@]}" | sha256sum; }
is_done() { [[ -f $stamp && -x $venv/bin/python && $(<"$stamp") == "$(fingerprint)" ]]; }

# FFCx and torch.compile build C at run time.
require_compiler() {
    local name
    for name in ${CC:+"${CC%% *}"} cc gcc clang; do
        command -v "$name" >/dev/null && return
    done
    fail "found no C compiler (cc, gcc or clang), which forms are compiled with; install one, e.g. the package gcc."
}

# Executed, not only found: pyenv's shims exist for versions that are not switched on.
is_suitable() {
    "$1" - <<'PY' >/dev/null 2>&1
import ensurepip, pathlib, sys, sysconfig, venv
sys.exit(not (sys.version_info >= (3, 12) and pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()))
PY
}

find_python() {
    local candidate
    if [[ -n ${PYTHON:-} ]]; then
        is_suitable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python >= 3.12 with venv, ensurepip and Python.h."
        echo "$PYTHON"
        return
    fi
    for candidate in python3.12 python3.13 python3.14 python3 ~/.pyenv/versions/*/bin/python3.1[2-9]; do
        if is_suitable "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "found no Python >= 3.12 with venv, ensurepip and Python.h; install one (e.g. python3.12-dev and python3.12-venv) or name it: make setup PYTHON=/path/to/python3.12"
}

base_prefix() { "$1" -c 'import sys; print(sys.base_prefix)'; }

# .venv is whole, was made for this folder (scripts hold its path) and by the interpreter asked for, if one was.
# Without a stamp it may hold half-written packages that look installed: it is made anew, quickly, from uv's cache.
venv_is_usable() {
    [[ -f $stamp ]] && grep -q "^command = .* $venv\$" "$venv/pyvenv.cfg" && is_suitable "$venv/bin/python" && is_asked_for
}
is_asked_for() { [[ -z ${PYTHON:-} || $(base_prefix "$PYTHON") == "$(base_prefix "$venv/bin/python")" ]]; }

make_venv() {
    if venv_is_usable; then return; fi
    local python
    python=$(find_python)
    say "making .venv with $("$python" --version) ($python); new packages: 3 GB to download, 7 GB on disk"
    "$python" -m venv --clear "$venv"
}

# uv itself comes by pip, in the version and with the hashes of the lock.
make_uv() {
    if "$venv/bin/uv" --version >/dev/null 2>&1; then return; fi
    local pin
    pin=$(awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements.lock 2>/dev/null || true)
    say "fetching uv"
    if [[ -n $pin ]]; then
        "$venv/bin/python" -m pip install --quiet --no-deps --require-hashes --requirement /dev/stdin <<<"$pin"
    else
        "$venv/bin/python" -m pip install --quiet uv
    fi
}

lock() {
    make_venv
    make_uv
    say "resolving setup.cfg"
    "$venv/bin/uv" pip compile --quiet --python "$venv/bin/python" --universal --python-version 3.12 --generate-hashes \
        --extra fem --extra cad --extra dev --custom-compile-command "make lock" \
        --output-file requirements.lock "$@" setup.cfg
    say "wrote requirements.lock"
}

sync() {
    [[ $(uname -sm) == "Linux x86_64" ]] || fail "the wheels of DOLFINx are for Linux on x86_64 only, and this is $(uname -sm)."
    make_venv
    rm -f "$stamp"
    make_uv
    say "installing requirements.lock"
    "$venv/bin/uv" pip sync --python "$venv/bin/python" --require-hashes requirements.lock
    echo synced >"$stamp"
    say "installing variform"
    "$venv/bin/uv" pip install --python "$venv/bin/python" --quiet --no-deps --no-build-isolation --editable .
    fingerprint >"$stamp.new"
    mv "$stamp.new" "$stamp"
    say "done: .venv/bin/variform"
}

export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
one_at_a_time() { exec 9<setup.cfg && flock 9 2>/dev/null || true; }
case ${1:-sync} in
lock)
    one_at_a_time
    lock "${@:2}"
    ;;
sync)
    require_compiler
    if is_done && is_asked_for; then exit; fi
    one_at_a_time
    if is_done && is_asked_for; then exit; fi
    sync
    ;;
*)
    fail "unknown step $1; use lock or nothing."
    ;;
esac
