# shellcheck shell=bash
# The verbs of native mode: the same real parts as in compose mode, as processes under a supervisor, all state in .run.

START_TIMEOUT_S=300

native_up() {
  check_native
  choose_user
  take_seat
  check_ports "$(supervisor_pid)"
  [[ -n $(supervisor_pid) ]] || check_memory
  make_folders
  install_missing
  open_programs
  check_archive_folder
  compile_code
  [[ -n $(supervisor_pid) ]] || end_orphans
  heal_links native
  # Check again, because an installation takes minutes.
  check_ports "$(supervisor_pid)"
  make_socket_dir
  prepare_faults
  hand_over
  make_certificates
  make_keys
  render_all
  open_configuration
  start_supervisor
  start_in_order
}

# prepare_faults: make what fault mode needs in addition. Outside of fault mode, remove what it left.
prepare_faults() {
  [[ -z $(supervisor_pid) ]] || return 0
  if in_fault_mode; then
    mount_volumes
    set_clocks
  else
    unmount_volumes
    rm -rf "$RUN_DIR/clock"
  fi
}

# ---------------------------------------------------------------- start

# make_run_dir: make .run. If root starts the fleet, the users of its parts may enter .run to reach their data, and read no more.
make_run_dir() {
  mkdir -p "$RUN_DIR"
  chmod "$(way_through)" "$RUN_DIR"
}

way_through() { if ((EUID == 0)); then echo 711; else echo 700; fi; }

# make_folders: make the folders in .run, and close those of an earlier release, which other users could read.
make_folders() {
  mkdir -p "$RUN_DIR"/{data,logs,pid}
  chmod "$(way_through)" "$RUN_DIR/data"
  chmod 700 "$RUN_DIR"/{logs,pid}
  find "$RUN_DIR/data" -mindepth 1 -maxdepth 1 -exec chmod go= {} +
  mkdir -p "$RUN_DIR/crash"
}

# make_socket_dir: make .run/sock, or a folder in /tmp that only this user can write.
make_socket_dir() {
  mkdir -p "$SOCKET_DIR"
  [[ -O $SOCKET_DIR && ! -L $SOCKET_DIR ]] || die "$SOCKET_DIR belongs to another user; move the checkout to a path that is" \
    "shorter and has no characters but letters, digits and / . _ - in it."
  chmod "$(way_through)" "$SOCKET_DIR"
}

start_supervisor() {
  if [[ -n $(supervisor_pid) ]]; then
    # Restarts the parts with a new fingerprint, and no others.
    supervisorctl update >>"$RUN_DIR/logs/setup.log"
    return
  fi
  step "supervisor"
  rm -f "$RUN_DIR/supervisord.pid"
  # The supervisor outlives this script, so it must not keep the lock.
  (cd "$SEAT" && keep_environment GRAFANA_HOME && exec "$VENV/bin/python" -m supervisor.supervisord -c "$RUN_DIR/etc/supervisord.conf" 9>&-)
  until [[ -n $(supervisor_pid) ]] && supervisorctl pid >/dev/null 2>&1; do
    ((SECONDS < START_TIMEOUT_S)) || die "the supervisor does not answer; see $RUN_DIR/logs/supervisord.log"
  done
}

# start_in_order: start each part when the parts that it needs answer. Independent parts start together.
start_in_order() {
  local parts jobs=() job region
  rm -f "$RUN_DIR"/pid/*.pace
  step "PostgreSQL, Redis, both Kafkas, Prometheus and its exporters"
  mapfile -t parts < <(native_services | grep -E '^((postgres|redis)(-exporter)?|kafka-.|disks|prometheus|grafana|toxiproxy)$')
  start_programs "${parts[@]}"
  prepare_database 9>&- &
  jobs+=("$!:database and tables")
  for region in a b; do
    make_topics "$region" 9>&- &
    jobs+=("$!:topics of region-$region")
  done
  for job in "${jobs[@]}"; do
    wait "${job%%:*}" || die "no ${job#*:}; see above, and ./setup.sh logs"
  done
  step "MirrorMaker both ways, producers, consumers, gateway, console"
  start_programs mirror-to-a mirror-to-b producer-a producer-b consumer-a consumer-b gateway console
  step "waiting until every part is ready"
  local report
  if ! report=$(ask_health --wait "$START_TIMEOUT_S"); then
    die "not everything became ready within $START_TIMEOUT_S s (./setup.sh logs SERVICE tells more):" "$report"
  fi
}

start_programs() {
  local service
  # "already started" is no error here. The health check comes later.
  for service in $(supervisorctl start "$@" | awk '/ERROR \(/ && !/already started/ {sub(":", "", $1); print $1}'); do
    die "$service cannot be started:" "$(tail -n 5 "$RUN_DIR/logs/$service.log")"
  done
}

# make_topics REGION: in a secured fleet, no part may use a topic before it was said which parts may. A mark says that this Kafka's data
# is of a secured fleet; without it, see fleet/jobs/acls.py.
make_topics() {
  local mark="$RUN_DIR/data/secured-$1" from_open=(--from-open)
  if is_secured; then
    [[ ! -f $mark ]] || from_open=()
    run_once "acls-$1" "${from_open[@]}" || return 1
    : >"$mark"
  else
    rm -f "$mark"
  fi
  run_once "topics-$1"
}

run_once() {
  bash "$SEAT/native/run.sh" "$@" >"$RUN_DIR/logs/$1.log" 2>&1 || {
    tail -n 5 "$RUN_DIR/logs/$1.log" >&2
    return 1
  }
}

# prepare_database: create database, roles and tables of the services, once PostgreSQL answers.
prepare_database() {
  local deadline=$((SECONDS + START_TIMEOUT_S))
  until sql postgres 'SELECT 1' >/dev/null 2>&1; do
    ((SECONDS < deadline)) || die "PostgreSQL does not answer:" "$(tail -n 5 "$RUN_DIR/logs/postgres.log")"
    sleep 0.1
  done
  [[ -n $(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'logs'") ]] || sql postgres 'CREATE DATABASE logs'
  [[ -z $(sql postgres "SELECT 1 FROM pg_database WHERE datname = 'logs' AND datdba = to_regrole('logs')") ]] ||
    say_moved
  run_once schema
}

# sql DATABASE STATEMENT: run it as the superuser, through the socket.
sql() {
  PGOPTIONS='-c client_min_messages=warning' "$POSTGRES_BIN/psql" --no-psqlrc --quiet --tuples-only --no-align \
    --set ON_ERROR_STOP=1 --host "$POSTGRES_SOCKET_DIR" --port "$POSTGRES_PORT" --username postgres --dbname "$1" --command "$2"
}

# native_client USER PROGRAM ARGUMENT...: run one of PostgreSQL's programs as that user, on the services' database.
native_client() {
  PGHOST=$POSTGRES_SOCKET_DIR PGPORT=$POSTGRES_PORT PGUSER=$1 PGDATABASE=logs "$POSTGRES_BIN/$2" "${@:3}"
}

native_psql() { native_client postgres psql "$@"; }
native_make_tables() { run_once schema; }

native_rows_of() { sql logs "SELECT count(*) FROM logs WHERE event_id = '$1'"; }

# native_renew: services read their new certificates by themselves. What cannot do that is started again, one region after the
# other, so that the gateway always has one.
native_renew() {
  local part
  is_secured || die "only a fleet with FLEET_SECURITY=on has certificates"
  take_lock
  # shellcheck disable=SC2034  # read by own_certificate
  RUN_AS=$(sed -n 's/^RUN_AS=//p' "$RUN_DIR/etc/run.env") POSTGRES_AS=$(sed -n 's/^POSTGRES_AS=//p' "$RUN_DIR/etc/run.env")
  make_certificates all
  [[ -n $(supervisor_pid) ]] || return 0
  for part in redis mirror-to-a mirror-to-b kafka-a kafka-b postgres; do
    step "$part is started again, with its new certificate"
    supervisorctl restart "$part" >>"$RUN_DIR/logs/setup.log"
    ask_health --wait "$START_TIMEOUT_S" >/dev/null || die "not everything became ready again; ./setup.sh status tells more"
  done
  supervisorctl signal HUP prometheus >>"$RUN_DIR/logs/setup.log"
}

# ---------------------------------------------------------------- stop

native_down() {
  if [[ -n $(supervisor_pid) ]]; then
    step "services and mirrors"
    stop_together gateway console producer-a producer-b consumer-a consumer-b mirror-to-a mirror-to-b prometheus \
      postgres-exporter redis-exporter disks ${grafana_url:+grafana}
    step "Kafka and stores"
    stop_together kafka-a kafka-b postgres redis ${toxiproxy_url:+toxiproxy}
    local pid
    pid=$(supervisor_pid)
    kill -TERM "$pid"
    await_end 30 "$pid" || die "the supervisor (pid $pid) does not end"
  fi
  end_orphans
  heal_links native
  unmount_volumes
  rm -rf "$RUN_DIR/supervisord.pid" "$RUN_DIR/pid" "$RUN_DIR/clock" "$SOCKET_DIR"
  if [[ ${1:-} == -v ]]; then
    step "removing all data"
    rm -rf "$RUN_DIR/data" "$RUN_DIR/secrets" "$RUN_DIR/keys" "$RUN_DIR/audit" "$TLS_DIR"
  fi
}

stop_together() {
  local service
  for service in "$@"; do supervisorctl stop "$service" >>"$RUN_DIR/logs/setup.log" & done
  wait
}

# end_orphans: end the processes of a killed supervisor. Pid and start time identify each.
end_orphans() {
  local file pid started left=()
  for file in "$RUN_DIR"/pid/*; do
    [[ -f $file && $file != *.pace ]] || continue
    read -r pid started <"$file" || continue
    [[ $(awk '{print $22}' "/proc/$pid/stat" 2>/dev/null) == "$started" ]] || continue
    left+=("$pid")
    kill "-$(stop_signal "${file##*/}")" "$pid" 2>/dev/null || true
  done
  ((${#left[@]})) || return 0
  step "ending ${#left[@]} processes of an earlier run"
  await_end 20 "${left[@]}" || kill -KILL "${left[@]}" 2>/dev/null || true
  await_end 10 "${left[@]}" || die "these processes of an earlier run do not end: ${left[*]}"
}

# await_end SECONDS PID...: wait until all have ended.
await_end() {
  local deadline=$((SECONDS + $1)) pid
  shift
  for pid in "$@"; do
    while [[ -d /proc/$pid ]]; do
      ((SECONDS < deadline)) || return 1
      sleep 0.1
    done
  done
}

# ---------------------------------------------------------------- show and control

supervisor_pid() {
  local pid
  [[ -f $RUN_DIR/supervisord.pid ]] && pid=$(<"$RUN_DIR/supervisord.pid") && [[ -n $pid ]] &&
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "supervisord -c $RUN_DIR/etc/supervisord.conf" && echo "$pid"
  return 0
}

supervisorctl() { "$VENV/bin/python" -m supervisor.supervisorctl -c "$RUN_DIR/etc/supervisord.conf" "$@" 9>&-; }

ask_health() {
  local identity=()
  ! is_secured || identity=(--identity "$TLS_DIR/admin")
  (cd "$ROOT" && "$VENV/bin/python" -m native.health "${identity[@]}" "$@" \
    "postgres=postgresql://postgres@/logs?host=$POSTGRES_SOCKET_DIR&port=$POSTGRES_PORT" \
    "redis=$REDIS_SCHEME://127.0.0.1:$REDIS_PORT" \
    "kafka-a=$KAFKA_SCHEME://127.0.0.1:$KAFKA_A_PORT/logs" \
    "kafka-b=$KAFKA_SCHEME://127.0.0.1:$KAFKA_B_PORT/logs" \
    "mirror-to-a=mirror://127.0.0.1:$MIRROR_TO_A_METRICS_PORT" \
    "mirror-to-b=mirror://127.0.0.1:$MIRROR_TO_B_METRICS_PORT" \
    "producer-a=$SCHEME://127.0.0.1:$PRODUCER_A_INTERNAL_PORT/ready" \
    "producer-b=$SCHEME://127.0.0.1:$PRODUCER_B_INTERNAL_PORT/ready" \
    "consumer-a=$SCHEME://127.0.0.1:$CONSUMER_A_INTERNAL_PORT/ready" \
    "consumer-b=$SCHEME://127.0.0.1:$CONSUMER_B_INTERNAL_PORT/ready" \
    "gateway=$SCHEME://127.0.0.1:$GATEWAY_INTERNAL_PORT/ready" \
    "console=$SCHEME://127.0.0.1:$CONSOLE_INTERNAL_PORT/ready" \
    "postgres-exporter=exporter://127.0.0.1:$POSTGRES_EXPORTER_PORT/pg_up" \
    "redis-exporter=exporter://127.0.0.1:$REDIS_EXPORTER_PORT/redis_up" \
    "disks=exporter://127.0.0.1:$DISKS_PORT/disk_size_bytes" \
    "prometheus=http://127.0.0.1:$PROMETHEUS_PORT/-/ready" \
    ${toxiproxy_url:+"toxiproxy=$toxiproxy_url"} \
    ${grafana_url:+"grafana=$grafana_url"})
}

native_status() {
  if [[ -z $(supervisor_pid) ]]; then
    echo "native mode: not running (./setup.sh starts it)"
    return 1
  fi
  local ill=0
  echo "native mode, supervisor pid $(supervisor_pid), state in $RUN_DIR"
  ask_health || ill=1
  say_cuts native || ill=1
  say_replication || ill=1
  say_topics native || ill=1
  say_unseen
  ! is_secured || say_certificates || ill=1
  [[ -n $grafana_url ]] || echo "grafana            --  $(no_grafana)"
  return "$ill"
}

# native_check_topics REGION: print a sentence for each difference.
native_check_topics() { bash "$SEAT/native/run.sh" "topics-$1" --check; }

no_grafana() { echo "not installed (no package of it); dashboards are in grafana/dashboards"; }

native_logs() {
  local follow='' service files=()
  for service in "$@"; do
    case $service in
      -f | --follow) follow=-F ;;
      *) files+=("$RUN_DIR/logs/$service.log") ;;
    esac
  done
  if ((${#files[@]} == 0)); then
    for service in "${SERVICES[@]}"; do [[ ! -f $RUN_DIR/logs/$service.log ]] || files+=("$RUN_DIR/logs/$service.log"); done
  fi
  ((${#files[@]})) || die "there are no logs yet"
  exec tail -n 100 ${follow:+"$follow"} "${files[@]}"
}

native_touch() {
  local verb=$1 service=$2
  [[ -n $(supervisor_pid) ]] || die "the fleet is not running"
  rm -f "$RUN_DIR/pid/$service.pace"
  case $verb in
    kill) supervisorctl signal KILL "$service" ;;
    suspend) signal_tree STOP "$(native_pid "$service")" ;;
    resume) signal_tree CONT "$(native_pid "$service")" ;;
    *) supervisorctl "$verb" "$service" ;;
  esac
}

# signal_tree SIGNAL PID: signal the process and its children. A part has no other processes.
signal_tree() {
  local children
  children=$(cat "/proc/$2/task/"*/children 2>/dev/null) || return 1
  # shellcheck disable=SC2086  # one word a pid
  kill "-$1" "$2" $children 2>/dev/null || sudo -n kill "-$1" "$2" $children 2>/dev/null
}

native_pid() {
  local pid _
  read -r pid _ <"$RUN_DIR/pid/$1"
  echo "$pid"
}
