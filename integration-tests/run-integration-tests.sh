#!/usr/bin/env bash
# The test command: every check and every test, from lint to the running fleet, on a fresh machine.
#
#   run-integration-tests.sh           everything; starts a fleet if none runs, and takes down what it started
#   run-integration-tests.sh --fast    what needs no servers: lint, types, contracts, unit and property tests
#   run-integration-tests.sh --fleet   only the end-to-end tests, on the fleet that runs
#   run-integration-tests.sh --chaos [MINUTES]
#                                      only the fault rotation, about 8 minutes or as many as said, on the fleet in fault
#                                      mode that runs; starts one if none does
#
# Says what it runs and how long each part took; ends with the totals and exit code 0 only if all of it passed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# shellcheck source=integration-tests/python.sh
source integration-tests/python.sh
scope=${1:-all}
case $scope in
  all | --fast | --fleet | --chaos) ;;
  -h | --help) sed -n '2,11p' "${BASH_SOURCE[0]}" | cut -c3-; exit 0 ;;
  *) echo "unknown option $scope; see --help" >&2; exit 2 ;;
esac
if [ $# -gt 1 ]; then
  { [ "$scope" = --chaos ] && [[ $2 =~ ^[0-9]+$ ]]; } || { echo "after $scope: '$2' is no number of minutes" >&2; exit 2; }
  export CHAOS_MINUTES=$2
fi

results=$(mktemp -d)
started_fleet=
interrupted_fleet=
declare -a report=()
failed=0

main() {
  part "tools" prepare
  [ $failed = 0 ] || finish
  if [ "$scope" = all ] || [ "$scope" = --fast ]; then
    part "format" ruff format --check .
    part "lint" ruff check .
    part "types" mypy .
    part "import contracts" lint-imports
    part "shell" check_shell
    part "prometheus rules" check_prometheus
    part "unit and property tests" tests unit -m "not services and not fleet and not chaos"
  fi
  if [ "$scope" = all ]; then
    part "fleet up" fleet_up
    part "component tests on real servers" tests services -m services
  fi
  if [ "$scope" = all ] || [ "$scope" = --fleet ]; then
    part "end-to-end tests on the fleet" tests fleet -m fleet
  fi
  if [ "$scope" = all ]; then
    # The tests above are the fleet's as users have it; what follows needs levers that a user's fleet does not have.
    if [ -n "$started_fleet" ]; then part "fleet down" fleet_down; fi
  fi
  if [ "$scope" = all ] || [ "$scope" = --chaos ]; then
    part "fleet up, in fault mode" faulty_fleet_up
    part "fault rotation" tests chaos -m chaos -s
  fi
  finish
}

# part NAME COMMAND...: run, time, remember. Commands are run with errexit off, so their steps are chained with &&.
part() {
  local name=$1 begin=$SECONDS status=passed
  shift
  printf '\n=== %s\n' "$name"
  "$@" || status=FAILED
  [ $status = passed ] || failed=1
  report+=("$(printf '%-36s %-7s %4d s' "$name" "$status" $((SECONDS - begin)))")
}

prepare() {
  PATH=$root/.venv/bin:$PATH
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  make_venv && missing_tools | xargs --no-run-if-empty "${as_root[@]}" native/apt-install.sh
}

missing_tools() {
  command -v shellcheck >/dev/null || echo shellcheck
  command -v promtool >/dev/null || echo prometheus
  command -v javac >/dev/null || echo default-jdk-headless # compiles a client that tests the front door
  command -v curl >/dev/null || echo curl
}

check_shell() {
  git ls-files -co --exclude-standard -- '*.sh' .ci/run | xargs shellcheck --external-sources
}

check_prometheus() {
  promtool check config --syntax-only prometheus/prometheus.yml &&
    promtool check rules prometheus/rules/*.yml &&
    promtool test rules prometheus/tests/*.yml
}

tests() {
  local name=$1
  shift
  HYPOTHESIS_PROFILE=${CI:+ci} pytest -q --junit-xml="$results/$name.xml" "$@"
}

fleet_up() {
  if ./setup.sh status >/dev/null 2>&1; then
    echo "a fleet is running; it is used, and left running"
  else
    started_fleet=yes
    ./setup.sh
  fi
}

fleet_down() {
  started_fleet=
  # Somebody's data stays; that of fault mode lies in memory and goes by itself.
  if [ -n "$interrupted_fleet" ]; then ./setup.sh down; else ./setup.sh down -v; fi
}

faulty_fleet_up() {
  if ./setup.sh status >/dev/null 2>&1; then
    grep -qx FLEET_FAULTS=on .run/settings && echo "a fleet in fault mode is running; it is used, and left running" && return
    interrupted_fleet=$(<.run/mode)
    echo "the fleet that is running makes room for one in fault mode, and comes back afterwards with its data"
    ./setup.sh down || return 1
  fi
  started_fleet=yes
  FLEET_FAULTS=on ./setup.sh ${interrupted_fleet:+"--$interrupted_fleet"}
}

finish() {
  [ -z "$started_fleet" ] || part "fleet down" fleet_down
  [ -z "$interrupted_fleet" ] || part "fleet up again" ./setup.sh "--$interrupted_fleet"
  printf '\n=== summary\n'
  printf '%s\n' "${report[@]}"
  python3 - "$results" "$failed" <<'PYTHON'
import sys
import xml.etree.ElementTree as tree
from pathlib import Path

suites = [s for file in Path(sys.argv[1]).glob("*.xml") for s in tree.parse(file).getroot().iter("testsuite")]
total = {key: sum(int(s.get(key, 0)) for s in suites) for key in ("tests", "failures", "errors", "skipped")}
bad = total["failures"] + total["errors"]
# A check that failed outside the test runner is a failure too.
bad += int(sys.argv[2]) if not bad else 0
print(f"{total['tests'] - total['failures'] - total['errors'] - total['skipped']} passed, {bad} failed, {total['skipped']} skipped")
PYTHON
  rm -rf "$results"
  exit "$failed"
}

main
