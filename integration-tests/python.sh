# shellcheck shell=bash
# The Python of tests and tools: .venv, made from requirements-dev.lock. Sourced, in the checkout, by the scripts that need it.

# make_venv: make .venv, or bring it up to the lock file; does nothing when it is.
make_venv() {
  local python stamp
  stamp=$(sha256sum requirements-dev.lock | cut -d' ' -f1)
  [ "$(cat .venv/.requirements 2>/dev/null)" != "$stamp" ] || return 0
  python=$(find_python) || { echo "Python 3.11 or later is needed, with venv" >&2; return 1; }
  { [ -x .venv/bin/python ] || "$python" -m venv .venv; } &&
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.lock &&
    echo "$stamp" >.venv/.requirements
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
