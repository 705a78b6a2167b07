#!/usr/bin/env bash
# The test command: every check and every test, from lint to the running fleet, on a fresh machine.
#
#   run-integration-tests.sh           everything; starts a fleet if none runs, and takes down what it started
#   run-integration-tests.sh --fast    what needs no servers: lint, types, contracts, unit and property tests
#   run-integration-tests.sh --fleet   only the end-to-end tests, on the fleet that runs
#
# Says what it runs and how long each part took; ends with the totals and exit code 0 only if all of it passed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
scope=${1:-all}
case $scope in
  all | --fast | --fleet) ;;
  -h | --help) sed -n '2,8p' "${BASH_SOURCE[0]}" | cut -c3-; exit 0 ;;
  *) echo "unknown option $scope; see --help" >&2; exit 2 ;;
esac

results=$(mktemp -d)
started_fleet=
declare -a report=()
failed=0

main() {
  part "tools" prepare
  [ $failed = 0 ] || finish
  if [ "$scope" != --fleet ]; then
    part "format" ruff format --check .
    part "lint" ruff check .
    part "types" mypy .
    part "import contracts" lint-imports
    part "shell" check_shell
    part "prometheus rules" check_prometheus
    part "unit and property tests" tests unit -m "not services and not fleet"
  fi
  if [ "$scope" = all ]; then
    part "fleet up" fleet_up
    part "component tests on real servers" tests services -m services
  fi
  if [ "$scope" != --fast ]; then
    part "end-to-end tests on the fleet" tests fleet -m fleet
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
  local python stamp
  python=$(find_python) || { echo "Python 3.11 or later is needed" >&2; return 1; }
  stamp=$(sha256sum requirements-dev.lock | cut -d' ' -f1)
  PATH=$root/.venv/bin:$PATH
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  install_packages "$python" "$stamp" && missing_tools | xargs --no-run-if-empty "${as_root[@]}" native/apt-install.sh
}

install_packages() {
  [ "$(cat .venv/.requirements 2>/dev/null)" != "$2" ] || return 0
  { [ -x .venv/bin/python ] || "$1" -m venv .venv; } &&
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock &&
    echo "$2" >.venv/.requirements
}

find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

missing_tools() {
  command -v shellcheck >/dev/null || echo shellcheck
  command -v promtool >/dev/null || echo prometheus
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

finish() {
  [ -z "$started_fleet" ] || part "fleet down" ./setup.sh down -v
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
