#!/usr/bin/env bash
# bench/run.sh NAME [OPTION...]: make .venv, run one benchmark, keep its report and picture in .run/bench.
# bench/run.sh all [--quick]:    run all of them, and print every aim with what was reached. With --quick the sizes are
#                                small: they show that the benchmarks work, and measure nothing.
#
# `fleet` and `latency` need the running fleet. `all` starts one for them, unless one runs, and takes down what it started.
# A benchmark that fails its own check makes the exit code 1; a missed aim does not.
set -euo pipefail

root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/bench/*}
# shellcheck source=native/surroundings.sh
source "$root/native/surroundings.sh"
go_direct 127.0.0.1
cd -- "$root"
# shellcheck source=integration-tests/python.sh
source integration-tests/python.sh
case ${1:-} in
  '' | -h | --help) sed -n '2,7p' "$root/bench/run.sh" | cut -c3-; [ $# -gt 0 ] || exit 2; exit 0 ;;
esac
[ -x .venv/bin/python ] || echo "making .venv from requirements-dev.lock; the first time takes a minute" >&2
make_venv
# Matplotlib keeps a list of the machine's fonts; it is ours to remove.
export MPLCONFIGDIR="$root/.run/matplotlib"
results=$root/.run/bench
mkdir -p "$results"
status=0
started_fleet=

bench() { "$root/.venv/bin/python" -m bench "$@" || status=1; }

if [ "$1" != all ]; then
  bench "$@"
  exit "$status"
fi

case ${2:-} in
  '') few=3 rows=10000000 consumer=1000000 seconds=10 ids=10000000 soak=1000000 mirror=1000000 long=60 split=40 bounds=10 ;;
  --quick) few=1 rows=300000 consumer=200000 seconds=4 ids=1000000 soak=50000 mirror=300000 long=15 split=10 bounds=3 ;;
  *) echo "unknown option $2; see --help" >&2; exit 2 ;;
esac
command -v wrk >/dev/null || { echo "there is no wrk: install the package wrk" >&2; exit 2; }
# What an earlier run left must not be taken for this one's.
rm -f "$results"/{consumer,gateway,bounds,frontdoor,producer,mirror,redis,soak,reading,fleet,latency,catch-up}.{json,svg}

down() { [ -z "$started_fleet" ] || { started_fleet=; ./setup.sh down -v; }; }
trap down EXIT

# Servers of a benchmark's own first; a fleet that is up would take its share of the cores.
bench consumer --rounds "$few" --events "$consumer"
bench gateway --rounds "$few" --seconds "$seconds"
bench bounds --rounds 1 --seconds "$bounds"
bench frontdoor --rounds "$few"
bench producer --rounds "$few" --seconds "$seconds" --records "$mirror"
bench mirror --rounds "$few" --events "$mirror"
bench redis --rounds 1 --ids "$ids"
bench soak --rounds 1 --events "$soak"
bench reading --rounds 1 --rows "$rows"
# Gigabytes that wait for the disk would make the fleet wait, too.
sync
if ! ./setup.sh status >/dev/null 2>&1; then
  started_fleet=yes
  ./setup.sh
fi
# `fleet` first, because its load warms the fleet: Java compiles for minutes, on the cores that all parts share.
bench fleet --rounds "$few" --seconds "$long"
bench latency --rounds "$few"
bench catch-up --rounds "$few" --seconds "$split"
down

printf '\naims\n'
"$root/.venv/bin/python" -m bench aims "$results"/*.json
exit "$status"
