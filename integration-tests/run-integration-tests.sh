#!/usr/bin/env bash
# The test command: every check and every test, from lint to the running fleet, on a fresh machine.
#
#   run-integration-tests.sh           everything of each run; starts a fleet if none runs, and takes down what it started
#   run-integration-tests.sh --deep    the same with the long tests: every case on the fleet, long rotations, many examples
#                                      and histories; before a capability is called done
#   run-integration-tests.sh --fast    the parts without servers: lint, types, contracts, unit and property tests
#   run-integration-tests.sh --fleet   only the end-to-end tests, on the running fleet; with `--fleet --deep` all of them
#   run-integration-tests.sh --secured only the tests of a secured fleet, on the running one, which was started with FLEET_SECURITY=on
#   run-integration-tests.sh --chaos [MINUTES]
#                                      only the fault rotation, on the running fleet in fault mode; starts one if none runs
#
# Prints what it runs, how long each part took, and its ten slowest tests. It runs a test that fails again at once. A test that
# passes then is reported as FLAKY and still fails the run. The end of all logs at that moment is kept in a folder.
# Ends with the totals, and with exit code 0 only if every part passed. docs/testing.md has a line for each part.
set -euo pipefail

cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." >/dev/null
root=$PWD
# shellcheck source=integration-tests/python.sh
source integration-tests/python.sh

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

scope=all depth=regular
while (($# > 0)); do
  case $1 in
    --fast | --fleet | --secured | --chaos) [ "$scope" = all ] || { echo "$scope and $1: one of them" >&2; exit 2; } && scope=${1#--} ;;
    --deep) depth=deep ;;
    -h | --help) usage && exit 0 ;;
    *)
      [ "$scope" = chaos ] || { echo "unknown option $1; see --help" >&2; exit 2; }
      [[ $1 =~ ^[0-9]+$ ]] || { echo "after --chaos: '$1' is no number of minutes" >&2; exit 2; }
      export CHAOS_MINUTES=$1
      ;;
  esac
  shift
done

results=$(mktemp -d)
[ "$scope" != fast ] || [ "$depth" = deep ] || depth=fast
export TEST_DEPTH=$depth TEST_REPORT=${TEST_REPORT:-$root/.run/test-report/$(date +%Y%m%d-%H%M%S)-$$}
# A dozen Python processes read the same files, so Python keeps the compiled ones beside them.
unset PYTHONDONTWRITEBYTECODE
# One worker more than cores: some tests without servers wait for processes, and each worker needs seconds to collect all
# tests. Tests with servers mostly wait, so they get more workers than cores.
WORKERS=${TEST_WORKERS:-$(($(nproc) + 1))}
SERVICE_WORKERS=${TEST_SERVICE_WORKERS:-4}
started_fleet=
interrupted_fleet=
child=
declare -a report=() beside=() beside_pids=()
failed=0

main() {
  trap 'interrupted' TERM INT HUP
  part "tools" prepare
  [ $failed = 0 ] || finish
  if [ "$scope" = all ] || [ "$scope" = fast ]; then
    # These checks are independent, and each keeps one core busy.
    begin_beside "types" mypy .
    begin_beside "prometheus rules" check_prometheus
    [ "$scope" = fast ] || begin_beside "clients of other make" python integration-tests/clients/install.py
    begin_beside "shell" check_shell
    begin_beside "format" ruff format --check .
    begin_beside "lint" ruff check .
    begin_beside "import contracts" lint-imports
    end_beside
    part "unit and property tests" tests unit -n "$WORKERS" --dist worksteal -m "not services and not fleet and not chaos"
  fi
  if [ "$scope" = all ]; then
    claim_fleet
    part "fleet up" fleet_up
    # These tests have their own servers. They and the end-to-end tests wait most of the time.
    begin_beside "component tests on real servers" tests services -n "$SERVICE_WORKERS" --dist worksteal -m "services and $(this_depth)"
  fi
  if [ "$scope" = all ] || [ "$scope" = fleet ]; then
    part "end-to-end tests on the fleet" tests fleet -m "fleet and not secured and $(this_depth) and $(this_mode)"
  fi
  [ "$scope" != secured ] || part "tests on the secured fleet" tests secured -m secured
  if [ "$scope" = all ]; then
    end_beside
    # The tests above run on a fleet as users have it. The rotation needs fault mode, which a user's fleet does not have.
    if [ -n "$started_fleet" ]; then
      part "fleet down" fleet_down
      [ "$depth" != deep ] || secured_fleet
    fi
  fi
  if [ "$scope" = all ] || [ "$scope" = chaos ]; then
    claim_faulty_fleet
    part "fleet up, in fault mode" faulty_fleet_up
    part "fault rotation" tests chaos -m chaos -s
  fi
  finish
}

# run COMMAND...: run a command so that a signal to this script is handled at once.
run() {
  local status=0
  "$@" &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

# part NAME COMMAND...: run a command and note its time and result. Commands run with errexit off, so && chains their steps.
part() {
  local name=$1 begin=$SECONDS status=passed
  shift
  printf '\n=== %s\n' "$name"
  run "$@" || status=FAILED
  note "$name" $status $((SECONDS - begin))
}

note() {
  [ "$2" = passed ] || failed=1
  report+=("$(printf '%-36s %-7s %4d s' "$@")")
}

# begin_beside NAME COMMAND...: the same in the background. end_beside waits for all of these and prints their output.
begin_beside() {
  local place=$results/beside-${#beside[@]}
  beside+=("$1")
  shift
  run_beside "$place" "$@" &
  beside_pids+=($!)
}

run_beside() {
  local place=$1 begin=$SECONDS status=passed
  shift
  ("$@") >"$place.log" 2>&1 || status=FAILED
  echo "$status $((SECONDS - begin))" >"$place.end"
}

end_beside() {
  local index place status took
  for index in "${!beside[@]}"; do
    place=$results/beside-$index status=FAILED took=0
    printf '\n=== %s (beside others)\n' "${beside[index]}"
    wait "${beside_pids[index]}" || true
    cat "$place.log"
    [ ! -e "$place.end" ] || read -r status took <"$place.end"
    note "${beside[index]}, beside others" "$status" "$took"
  done
  beside=() beside_pids=()
}

this_depth() { if [ "$depth" = deep ]; then echo "(deep or not deep)"; else echo "not deep"; fi; }

# this_mode: print the marker expression of this mode. A run takes a case that behaves alike in both modes in one of them,
# --deep takes it in both.
this_mode() {
  if [ "$depth" = deep ]; then echo "(compose or not compose)";
  elif [ "$(cat .run/mode 2>/dev/null)" = compose ]; then echo "(compose or both_modes)";
  else echo "not compose"; fi
}

prepare() {
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  make_venv && missing_tools | xargs --no-run-if-empty "${as_root[@]}" native/apt-install.sh
}

missing_tools() {
  command -v shellcheck >/dev/null || echo shellcheck
  command -v promtool >/dev/null || echo prometheus
  command -v javac >/dev/null || echo default-jdk-headless # compiles a client that tests the front door
  command -v curl >/dev/null || echo curl
  command -v chromium >/dev/null || echo chromium # opens the console's pages, driven by playwright
  # Clients of other make run on Node, and Maven brings those for Java.
  [ -n "$(command -v node)" ] || echo nodejs
  [ -n "$(command -v npm)" ] || echo npm
  [ -n "$(command -v mvn)" ] || echo maven
}

check_shell() {
  git ls-files -co --exclude-standard -- '*.sh' .ci/run | xargs shellcheck --external-sources
}

check_prometheus() {
  # promtool lives for seconds, so its garbage collector may run less often than a server's.
  export GOGC=400
  promtool check config --syntax-only prometheus/prometheus.yml &&
    promtool check rules prometheus/rules/*.yml &&
    promtool test rules prometheus/tests/*.yml
}

tests() {
  local name=$1 profile=${CI:+ci}
  shift
  case $depth in deep) profile=deep ;; fast) profile=quick ;; esac
  HYPOTHESIS_PROFILE=$profile exec pytest -q --junit-xml="$results/$name.xml" --durations=10 --durations-min=0.5 \
    --reruns 1 --fail-on-flaky "$@"
}

fleet_runs() { ./setup.sh status >/dev/null 2>&1; }

# claim_fleet: note that this script takes the fleet down, even if its start fails halfway.
claim_fleet() {
  if fleet_runs; then echo "a fleet is running; it is used, and left running"; else started_fleet=yes; fi
}

fleet_up() { [ -z "$started_fleet" ] || ./setup.sh; }

# secured_fleet: do all of the end-to-end tests and the rotation again on a fleet that asks for keys and certificates, and what a
# stranger gets of it. It starts with no data, and leaves none.
secured_fleet() {
  part "fleet up, secured" env FLEET_SECURITY=on ./setup.sh --native
  part "tests on the secured fleet" tests secured -m secured
  part "end-to-end tests, secured" tests secured-fleet -m "fleet and not secured and not unsecured and $(this_depth) and $(this_mode)"
  part "fleet down" fleet_down
  part "fleet up, secured, in fault mode" env FLEET_SECURITY=on FLEET_FAULTS=on ./setup.sh --native
  part "fault rotation, secured" tests secured-chaos -m chaos -s
  part "fleet down" faulty_down
}

# In fault mode the first one leaves the ordinary data alone, which keys and certificates are a part of.
faulty_down() { ./setup.sh down && ./setup.sh down -v; }

fleet_down() {
  # A user's fleet was interrupted: its data stays, and fault mode keeps its own in memory. Otherwise the data is removed.
  if [ -n "$interrupted_fleet" ]; then ./setup.sh down; else ./setup.sh down -v; fi
}

claim_faulty_fleet() {
  started_fleet=yes
  fleet_runs || return 0
  if grep -qx FLEET_FAULTS=on .run/settings; then
    echo "a fleet in fault mode is running; it is used, and left running"
    started_fleet=
  else
    interrupted_fleet=$(<.run/mode)
  fi
}

faulty_fleet_up() {
  [ -n "$started_fleet" ] || return 0
  if [ -n "$interrupted_fleet" ]; then
    echo "the fleet that is running makes room for one in fault mode, and comes back afterwards with its data"
    ./setup.sh down || return 1
  fi
  FLEET_FAULTS=on ./setup.sh ${interrupted_fleet:+"--$interrupted_fleet"}
}

interrupted() {
  trap '' TERM INT HUP
  printf '\ninterrupted: what was started is taken down\n'
  failed=1
  local pid
  for pid in "$child" "${beside_pids[@]}"; do
    [ -z "$pid" ] || ! pkill_tree "$pid" || wait "$pid" || true
  done
  child=
  finish
}

# pkill_tree PID: ask a process of this script and all its descendants to end, the children first: a process that waits for a
# child ends with it.
pkill_tree() {
  local one
  for one in $(pgrep -P "$1"); do pkill_tree "$one"; done
  kill -TERM "$1" 2>/dev/null
}

finish() {
  trap '' TERM INT HUP
  if [ -n "$started_fleet" ]; then
    started_fleet=
    part "fleet down" fleet_down
  fi
  [ -z "$interrupted_fleet" ] || part "fleet up again" ./setup.sh "--$interrupted_fleet"
  printf '\n=== summary\n'
  printf '%s\n' "${report[@]}"
  [ ! -e "$TEST_REPORT" ] || echo "failures, with the logs of their moment: $TEST_REPORT"
  python3 - "$results" "$failed" "$TEST_REPORT/flaky" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree
from pathlib import Path

suites = [s for file in Path(sys.argv[1]).glob("*.xml") for s in tree.parse(file).getroot().iter("testsuite")]
total = {key: sum(int(s.get(key, 0)) for s in suites) for key in ("tests", "failures", "errors", "skipped")}
flaky = Path(sys.argv[3]).read_text().splitlines() if Path(sys.argv[3]).exists() else []
for name in flaky:
    print(f"FLAKY {name}")
bad = total["failures"] + total["errors"] + len(flaky)
good = total["tests"] - total["skipped"] - bad
# A check that failed outside the test runner is a failure too.
bad += int(sys.argv[2]) if not bad else 0
print(f"{good} passed, {bad} failed, {total['skipped']} skipped")
PYTHON
  rm -rf "$results"
  exit "$failed"
}

PATH=$root/.venv/bin:$PATH
main
