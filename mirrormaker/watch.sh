#!/usr/bin/env bash
# watch.sh METRICS_PORT COMMAND...: run MirrorMaker, and end it when it stands still; who started us starts it again.
#
# MirrorMaker has no way to restart a task of its own that failed: the process lives on, answers, and copies nothing. So
# it runs as our child, we read what it tells Prometheus, and we end it when either holds:
#
#   failed   a connector, or a task of one, that copies events or writes heartbeats
#   stuck    a partition has unread records and copied none in PATIENCE_LOOKS looks
#
# Either counts only while both ends of that direction answer: over a link that is cut a new process would fare no better. What
# failed does not say between which regions it was; its consumer is gone, though, so with a region away it is the direction that
# reads fewer partitions than it did. A process that is
# suspended, or too busy to answer, is not judged. Time is counted in looks that were answered, so that none passes while
# we are suspended ourselves.
#
# Signals go through to the child; its exit status becomes ours. If we are killed outright it must not live on: the
# container ends with us, and native mode asks the kernel to see to it (native/run.sh).
set -euo pipefail

EVERY_S=${MIRROR_WATCH_EVERY_S:-5}
# A minute and a half: after a cut, Kafka's clients take up to half of that to find that the way is free again.
PATIENCE_LOOKS=${MIRROR_WATCH_PATIENCE_LOOKS:-18}
# What fails again at once is tried twice a minute and not without pause.
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
  # `wait` returns when a signal comes; the child may need its time after that.
  while status=0 && { wait "$child" || status=$?; } && kill -0 "$child" 2>/dev/null; do :; done
  kill "$watcher" 2>/dev/null || true
  return "$status"
}

# target_of COMMAND...: print the region that it copies to, nothing if it does not say.
target_of() {
  while (($# > 1)); do
    [[ $1 != --clusters ]] || { echo "$2" && return; }
    shift
  done
}

forward() { [[ -z $child ]] || kill "-$1" "$child" 2>/dev/null || true; }

# watch PORT: look at the child until it has gone or has to go.
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
    # Twice in a row, because a connector also stops and starts when its configuration is read anew.
    [[ -z $failed || $failed != "$failed_before" ]] || ! failure_counts || reason="$failed failed"
    failed_before=$failed
    reason=${reason:-$(stuck)}
    if [[ -n $reason ]] && ((seen >= YOUTH_LOOKS)); then
      end_child "$reason"
      return
    fi
  done
}

# metrics PORT: print what the child tells Prometheus; fails when it does not answer.
metrics() {
  # shellcheck disable=SC2016  # for the inner shell to expand
  timeout "$ANSWER_S" bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET /metrics HTTP/1.0\r\n\r\n" >&3 && cat <&3' "$1" 2>/dev/null
}

# facts: of the metrics on standard input, print what matters here:
#   failed CONNECTOR[/TASK]
#   partition SOURCE TARGET TOPIC/NUMBER COPIED UNREAD     the last is 1 where something is unread, else 0
facts() {
  # Numbers have a point, wherever we run.
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

# note_progress: of the facts on standard input, keep for each partition in how many looks in a row it stood still.
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

# failure_counts: would a new process fare better? Yes, if all regions answer, or both ends of a direction that lacks partitions.
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

# stuck: print which partition has stood still for too long, nothing if none has.
stuck() {
  local place
  for place in "${!still[@]}"; do
    ((${still[$place]} >= PATIENCE_LOOKS)) || continue
    echo "${place##* } has unread records and copied none in $PATIENCE_LOOKS looks, $EVERY_S s apart"
    return
  done
}

# all_answer REGION...: do the Kafkas of these regions answer? `answers` keeps what this round has heard.
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

# kafka_answers REGION: does any of its addresses answer a question for API versions, in Kafka's own protocol?
kafka_answers() {
  local variable=MIRROR_${1^^}_BOOTSTRAP_SERVERS address
  variable=${variable//-/_}
  for address in $(tr ',' ' ' <<<"${!variable:-}"); do
    # shellcheck disable=SC2016  # for the inner shell to expand
    timeout "$ANSWER_S" bash -c '
      exec 3<>"/dev/tcp/${0%:*}/${0##*:}" && printf "\0\0\0\012\0\022\0\0\0\0\0\1\377\377" >&3 &&
        [ "$(head -c 8 <&3 | tail -c 4 | od -An -tx1 | tr -d " ")" = 00000001 ]' "$address" 2>/dev/null && return
  done
  return 1
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
