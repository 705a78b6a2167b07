#!/usr/bin/env bash
# watch.sh METRICS_PORT COMMAND ARGUMENT...: become COMMAND, which is MirrorMaker, and end it once a part of it has failed, so that
# whoever started it starts it anew.
#
# Connect gives a connector or task that failed no second chance, and one that starts while its source has no address fails at
# once. There is no other handle: in this mode MirrorMaker takes no orders. While a region cannot be reached a new start would
# end the same way, so it waits until both can.
set -euo pipefail

PAUSE_S=5
GRACE_S=15

watch_over() {
  local mirror=$1 port=$2 me=$BASHPID bad=0
  while sleep "$PAUSE_S" && belongs_to "$me" "$mirror"; do
    # Twice, because a connector also stops and starts when its configuration is read anew.
    if has_failed "$port"; then bad=$((bad + 1)); else bad=0; fi
    ((bad >= 2)) || continue
    answers "$MIRROR_REGION_A_BOOTSTRAP_SERVERS" || continue
    answers "$MIRROR_REGION_B_BOOTSTRAP_SERVERS" || continue
    printf '%(%FT%TZ)T WARN  watch.sh a connector or task has failed, and both regions answer: ending this MirrorMaker\n' -1
    kill -TERM "$mirror"
    sleep "$GRACE_S"
    ! belongs_to "$me" "$mirror" || kill -KILL "$mirror"
  done
}

# belongs_to CHILD PARENT: when a process is gone, its children belong to another one.
belongs_to() { [[ $(awk '/^PPid:/ {print $2}' "/proc/$1/status") == "$2" ]]; }

has_failed() { grep -q '^mirrormaker_\(connector\|task\)_status{.*status="failed".*} 1' < <(metrics "$1"); }

# shellcheck disable=SC2016  # for the inner shell to expand
metrics() {
  timeout 4 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' . "$1" 2>/dev/null || true
}

# answers HOST:PORT,...: whether one of them takes a connection.
# shellcheck disable=SC2016  # for the inner shell to expand
answers() {
  local addresses address
  IFS=, read -ra addresses <<<"$1"
  for address in "${addresses[@]}"; do
    timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' . "${address%:*}" "${address##*:}" 2>/dev/null && return
  done
  return 1
}

port=$1
shift
watch_over $$ "$port" &
exec "$@"
