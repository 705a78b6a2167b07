# shellcheck shell=bash
# shellcheck disable=SC2154  # gateway_url and console_url are set by settings.sh
# Follow the events as they are stored, one line each. It goes on from where it was whatever is started again meanwhile.

TAIL_PAUSE_S=1

native_tail() { follow_events "$@"; }
compose_tail() { follow_events "$@"; }

# follow_events [-s SERVICE]... [-l LEVEL] [-f FROM] [TEXT]...: until Ctrl-C.
follow_events() {
  local option OPTIND=1 OPTARG text from=now id='' wanted=() url
  while getopts ':s:l:f:' option; do
    case $option in
      s) wanted+=(--data-urlencode "service=$OPTARG") ;;
      l) wanted+=(--data-urlencode "level=$OPTARG") ;;
      f) from=$OPTARG ;;
      *) die "tail takes -s SERVICE, -l LEVEL, -f FROM (like -10m) and TEXT" ;;
    esac
  done
  shift $((OPTIND - 1))
  for text in "$@"; do wanted+=(--data-urlencode "text=$text"); done
  url="$console_url/api/logs/tail"
  while true; do
    # Behind the last event that came, and nothing twice.
    follow_once < <(fleet_http --no-buffer --show-error --get --data-urlencode "from=${id:-$from}" "${wanted[@]}" \
      --write-out '\nstatus: %{http_code}\n' --config - "$url" 2>&1 < <(key_line read))
    sleep "$TAIL_PAUSE_S"
  done
}

# follow_once: read server-sent events until the connection ends, and note the last id.
follow_once() {
  local line event='' data='' this_id='' status='' said=''
  while IFS= read -r line; do
    case $line in
      'event: '*) event=${line#event: } ;;
      'id: '*) this_id=${line#id: } ;;
      'data: '*) data=${line#data: } ;;
      'status: '*) status=${line#status: } ;;
      '')
        [[ -z $this_id ]] || id=$this_id
        [[ -z $data ]] || show_event "$event" "$data"
        event='' data='' this_id=''
        ;;
      retry:* | :*) ;;
      *) said=$line ;;
    esac
  done
  if [[ $status == 4?? && $status != 429 ]]; then
    find_field "$said" detail
    die "the console refused that: $REPLY"
  fi
  [[ $status == 200 ]] || step "the console does not answer (${said:-status $status}); trying again" >&2
}

show_event() {
  local event=$2 time level service
  case $1 in
    log)
      find_field "$event" timestamp && time=$REPLY
      find_field "$event" level && level=$REPLY
      find_field "$event" serviceName && service=$REPLY
      find_field "$event" message
      printf '%s %-5s %s %s\n' "$time" "$level" "$service" "$REPLY"
      ;;
    behind | reset) step "$1: $event" >&2 ;;
    *) ;;
  esac
}

# find_field JSON NAME: put the first text of that name into REPLY. What a terminal would obey stays as JSON escapes it, or becomes a
# question mark: DEL, C1 and what changes the direction of writing.
find_field() {
  local LC_ALL=C text=${1#*"\"$2\":\""} string='^(([^"\]|\\.)*)"'
  REPLY=''
  [[ $text != "$1" && $text =~ $string ]] || return 0
  text=${BASH_REMATCH[1]//'\"'/'"'}
  text=${text//\\\\/\\}
  text=${text//$'\x7f'/?}
  text=${text//$'\xc2'[$'\x80'-$'\x9f']/?}
  text=${text//$'\xe2\x80'[$'\xaa'-$'\xae']/?}
  REPLY=${text//$'\xe2\x81'[$'\xa6'-$'\xa9']/?}
}
