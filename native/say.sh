# shellcheck shell=bash
# The output of setup.sh: steps with the elapsed seconds, warnings, and errors that end it.

if [[ -t 1 ]]; then bold=$'\e[1m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'; else bold='' red='' yellow='' plain=''; fi

step() { printf '%s[%3ds]%s %s\n' "$bold" "$SECONDS" "$plain" "$*"; }
warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

# quietly LOG COMMAND...: run it with its output in LOG. Show the end of LOG if it fails.
quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 && return
  tail -n 25 "$log" >&2
  die "'$1 ${2:-}' failed; all of its output is in $log"
}
