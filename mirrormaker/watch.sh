#!/usr/bin/env bash
# watch.sh METRICS_PORT COMMAND...: run MirrorMaker, and end it when it stands still. The supervisor of this script, or the
# container's restart policy, starts both again.
#
# MirrorMaker cannot restart a task that failed: the process lives on, answers, and copies nothing. So it runs as a child of
# this script, which reads its metrics and ends it in either of two cases:
#
#   failed   a connector that copies events or writes heartbeats has failed, or a task of one
#   stuck    a partition has unread records and copied none in PATIENCE_LOOKS looks
#
# Either case counts only while both ends of that direction answer, since a new process cannot help with a cut link. The
# metrics do not say in which direction a task failed. But its consumer is gone: if a region is away, the failed direction is
# the one that reads fewer partitions than before. The script does not judge a process that is suspended or too busy to
# answer. It counts time in answered looks, so that none passes while the script itself is suspended.
#
# The script forwards signals to the child and takes over its exit status. If the script is killed with SIGKILL the child
# must end, too: the container ends with the script, and in native mode the kernel ends the child (native/run.sh).
set -euo pipefail

EVERY_S=${MIRROR_WATCH_EVERY_S:-5}
# A minute and a half: after a cut, Kafka's clients take up to half of that to connect again.
PATIENCE_LOOKS=${MIRROR_WATCH_PATIENCE_LOOKS:-18}
# A new process gets this many looks, so that one which fails again at once is started twice a minute and not without pause.
YOUTH_LOOKS=${MIRROR_WATCH_YOUTH_LOOKS:-6}
ANSWER_S=${MIRROR_WATCH_ANSWER_S:-4}
FAREWELL_S=${MIRROR_WATCH_FAREWELL_S:-15}

main() {
  local port=$1 watcher status=0
  shift
  child=''
  target=$(target_of "$@")
  trap 'forward TERM' TERM INT HUP
  "$@" &
  child=$!
  watch "$port" &
  watcher=$!
  # `wait` returns when a signal arrives, and the child may take some time to end after that.
  while status=0 && { wait "$child" || status=$?; } && kill -0 "$child" 2>/dev/null; do :; done
  kill "$watcher" 2>/dev/null || true
  return "$status"
}

# target_of COMMAND...: print the region that the command copies to, or nothing if it names none.
target_of() {
  while (($# > 1)); do
    [[ $1 != --clusters ]] || { echo "$2" && return; }
    shift
  done
}

forward() { [[ -z $child ]] || kill "-$1" "$child" 2>/dev/null || true; }

# watch PORT: look at the child until it has ended or has to be ended.
watch() {
  local port=$1 seen=0 failed_before='' failed reason page regions
  local -A copied=() still=() read_now=() read_most=() answers
  mapfile -t regions < <(compgen -e | sed -n 's/^MIRROR_\(.*\)_BOOTSTRAP_SERVERS$/\1/p' | tr 'A-Z_' 'a-z-')
  trap - TERM INT HUP
  while sleep "$EVERY_S" && kill -0 "$child" 2>/dev/null; do
    if ! page=$(metrics "$port" | facts) || [[ -z $page ]]; then continue; fi
    seen=$((seen + 1)) answers=() read_now=()
    failed=$(sed -n 's/^failed //p' <<<"$page" | paste -sd ' ')
    note_progress <<<"$page"
    reason=''
    # Twice in a row, because a connector also stops and starts when it reads its configuration again.
    [[ -z $failed || $failed != "$failed_before" ]] || ! failure_counts || reason="$failed failed"
    failed_before=$failed
    reason=${reason:-$(stuck)}
    if [[ -n $reason ]] && ((seen >= YOUTH_LOOKS)); then
      end_child "$reason"
      return
    fi
  done
}

# metrics PORT: print the child's metrics. Fail when it does not answer.
metrics() {
  # shellcheck disable=SC2016  # for the inner shell to expand
  timeout "$ANSWER_S" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$1" 2>/dev/null
}

# facts: read the metrics from standard input and print the facts that the watch needs:
#   failed CONNECTOR[/TASK]
#   partition SOURCE TARGET TOPIC/NUMBER COPIED UNREAD     UNREAD is 1 if a record is unread, else 0
facts() {
  # Numbers have a decimal point in the C locale.
  LC_ALL=C awk '
    function label(name, text) {
      if (!match($0, "[{,]" name "=\"[^\"]*\"")) return ""
      text = substr($0, RSTART, RLENGTH)
      sub(/^[^"]*"/, "", text)
      return substr(text, 1, length(text) - 1)
    }
    function place() { return label("source") " " label("target") " " label("topic") "/" label("partition") }
    /^mirrormaker_(connector|task)_status[{]/ && $NF + 0 == 1 && label("connector") ~ /^Mirror(Source|Heartbeat)Connector$/ {
      if (tolower(label("status")) == "failed") print "failed " label("connector") (label("task") == "" ? "" : "/" label("task"))
    }
    /^mirrormaker_copied_records_total[{]/ { copied[place()] = $NF }
    /^mirrormaker_unread_records[{]/ { unread[place()] = ($NF + 0 > 0) }
    END { for (where in unread) print "partition " where, (where in copied ? copied[where] : 0), unread[where] }
  '
}

# note_progress: read facts from standard input. Count for each partition at how many looks in a row it stood still.
note_progress() {
  local kind source target place count unread
  while read -r kind source target place count unread; do
    [[ $kind == partition ]] || continue
    place="$source $target $place"
    if [[ $unread == 0 || ${copied[$place]:-} != "$count" ]] || ! all_answer "$source" "$target"; then
      still[$place]=0
    else
      still[$place]=$((${still[$place]} + 1))
    fi
    copied[$place]=$count
    read_now[$source $target]=$((${read_now[$source $target]:-0} + 1))
    ((${read_most[$source $target]:-0} >= ${read_now[$source $target]})) || read_most[$source $target]=${read_now[$source $target]}
  done
}

# failure_counts: can a new process help? Yes, if all regions answer, or both ends of a direction that lacks partitions.
failure_counts() {
  local region
  ! all_answer "${regions[@]}" || return 0
  for region in "${regions[@]}"; do
    [[ $region != "$target" ]] || continue
    ((${read_now[$region $target]:-0} == 0 || ${read_now[$region $target]:-0} < ${read_most[$region $target]:-0})) || continue
    ! all_answer "$region" "$target" || return 0
  done
  return 1
}

# stuck: print which partition has stood still for too long, or nothing if none has.
stuck() {
  local place
  for place in "${!still[@]}"; do
    ((${still[$place]} >= PATIENCE_LOOKS)) || continue
    echo "${place##* } has unread records and copied none in $PATIENCE_LOOKS looks, $EVERY_S s apart"
    return
  done
}

# all_answer REGION...: do the Kafkas of these regions answer? `answers` keeps the answers of this look.
all_answer() {
  local region
  for region in "$@"; do
    if [[ ! -v answers[$region] ]]; then
      answers[$region]=no
      ! kafka_answers "$region" || answers[$region]=yes
    fi
    [[ ${answers[$region]} == yes ]] || return 1
  done
}

# kafka_answers REGION: does one of its addresses answer an ApiVersions request?
kafka_answers() {
  local variable=MIRROR_${1^^}_BOOTSTRAP_SERVERS address
  variable=${variable//-/_}
  for address in $(tr ',' ' ' <<<"${!variable:-}"); do
    if [[ -n ${MIRROR_TLS_FOLDER:-} ]]; then
      ! answers_by_tls "$address" || return 0
      continue
    fi
    # shellcheck disable=SC2016  # for the inner shell to expand
    timeout "$ANSWER_S" bash -c '
      exec 3<>"/dev/tcp/${0%:*}/${0##*:}" && printf "\0\0\0\012\0\022\0\0\0\0\0\1\377\377" >&3 &&
        [ "$(head -c 8 <&3 | tail -c 4 | od -An -tx1 | tr -d " ")" = 00000001 ]' "$address" 2>/dev/null && return
  done
  return 1
}

# answers_by_tls ADDRESS: the same, by the certificate that MirrorMaker has.
answers_by_tls() {
  # shellcheck disable=SC2016  # for the inner shell to expand
  timeout "$ANSWER_S" bash -c '
    [ "$(printf "\0\0\0\012\0\022\0\0\0\0\0\1\377\377" |
      openssl s_client -quiet -verify_quiet -verify_return_error -connect "$0" -CAfile "$1/ca.pem" -cert "$1/cert.pem" -key "$1/key.pem" 2>/dev/null |
      head -c 8 | tail -c 4 | od -An -tx1 | tr -d " ")" = 00000001 ]' "$1" "$MIRROR_TLS_FOLDER" 2>/dev/null
}

end_child() {
  local waited
  printf '%(%Y-%m-%dT%H:%M:%S%z)T WARN  watch MirrorMaker is ended, to be started again: %s\n' -1 "$1"
  kill -TERM "$child" 2>/dev/null || return 0
  for ((waited = 0; waited < FAREWELL_S; waited++)); do
    sleep 1
    kill -0 "$child" 2>/dev/null || return 0
  done
  kill -KILL "$child" 2>/dev/null || true
}

main "$@"
