#!/usr/bin/env bash
# load-test.sh: split the fleet that runs under load, heal it, and prove what came of it. `./load-test.sh --help` says more.
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
# Matplotlib keeps a list of the machine's fonts; it is ours to remove.
export MPLCONFIGDIR="$root/.run/matplotlib" PYTHONPATH=$root
cd -- "$called_from"
# Not a child: Ctrl-C goes to who takes everything back.
exec "$root/.venv/bin/python" -m loadtest "$@"
