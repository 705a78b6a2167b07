#!/usr/bin/env bash
# load-test.sh: split the running fleet under load, heal it, and prove the result. `./load-test.sh --help` says more.
set -euo pipefail

called_from=$PWD
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/*}
# shellcheck source=native/surroundings.sh
source "$root/native/surroundings.sh"
go_direct 127.0.0.1
cd -- "$root"
# shellcheck source=integration-tests/python.sh
source integration-tests/python.sh
[ -x .venv/bin/python ] || echo "making .venv from requirements-dev.lock; the first time takes a minute" >&2
make_venv
# Matplotlib caches a list of the machine's fonts. In .run it goes with the fleet's other files.
export MPLCONFIGDIR="$root/.run/matplotlib" PYTHONPATH=$root
cd -- "$called_from"
# exec, so that Ctrl-C goes to the process that takes all levers back.
exec "$root/.venv/bin/python" -m loadtest "$@"
