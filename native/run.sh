#!/usr/bin/env bash
# run.sh SERVICE [ARGUMENT...]: exec that service. The supervisor calls it for each process, setup.sh for the one-shots.
set -euo pipefail

# shellcheck source=native/surroundings.sh
source "${BASH_SOURCE[0]%/*}/surroundings.sh"
umask 077
# This script sets Java's options for each process. Options in the environment would apply to all of them.
unset JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH

# load FILE: export its NAME=VALUE lines unchanged, without evaluating them.
load() {
  local line
  while IFS= read -r line; do
    [[ -z $line || $line == \#* ]] || export "${line?}"
  done <"$1"
}

# learn FILE: set its variables without exporting them.
learn() {
  local line
  while IFS= read -r line; do
    [[ -z $line ]] || printf -v "${line%%=*}" '%s' "${line#*=}"
  done <"$1"
}

# Pid and start time together identify a process. With them setup.sh finds the processes of a killed supervisor.
note_pid() { printf '%s %s\n' "$$" "$(awk '{print $22}' "/proc/$$/stat")" >"$RUN_DIR/pid/$service"; }

# An earlier release wrote nothing about it into run.env.
is_secured() { [[ ${FLEET_SECURITY:-open} == on ]]; }

# A part that dies within ten seconds of its start is restarted after 1, 2, 4, then every 8 seconds, without end.
pace() {
  local state="$RUN_DIR/pid/$service.pace" last=0 pause=0
  [[ ! -f $state ]] || read -r last pause <"$state"
  if ((EPOCHSECONDS - last < 10)); then pause=$((pause == 0 ? 1 : pause < 8 ? pause * 2 : 8)); else pause=0; fi
  printf '%s %s\n' "$((EPOCHSECONDS + pause))" "$pause" >"$state"
  ((pause == 0)) || sleep "$pause"
}

# become USER: set `drop` to the command that turns root into that user. No part runs as root, and none can become root.
become() {
  drop=()
  user=$1
  ((EUID == 0)) || return 0
  drop_to "$1"
  HOME=$(getent passwd "$1" | cut -d : -f 6)
}

# own_folder FOLDER: make a folder that belongs to the part's user.
own_folder() {
  if ((EUID == 0)); then install -d -m 700 -o "$user" -g "$(id -gn "$user")" "$1"; else mkdir -p "$1"; fi
}

run_postgres() {
  local data=$POSTGRES_DATA file owner=()
  become "$POSTGRES_AS"
  ((EUID != 0)) || owner=(-o "$user" -g "$(id -gn "$user")")
  install -d -m 700 "${owner[@]}" "$POSTGRES_SOCKET_DIR"
  if [[ ! -d $data ]]; then
    # Make it beside its place and then move it there, so that a partial one never looks complete.
    rm -rf "$data.new"
    install -d -m 700 "${owner[@]}" "$data.new"
    (cd "$(dirname "$data")" && "${drop[@]}" "$POSTGRES_BIN/initdb" --pgdata="$data.new" --username=postgres --data-checksums \
      --encoding=UTF8 --locale=C --auth-local=peer --auth-host=scram-sha-256)
    mv "$data.new" "$data"
  fi
  for file in postgresql.conf pg_hba.conf pg_ident.conf; do
    install -m 600 "${owner[@]}" "$RUN_DIR/etc/$file" "$data/$file"
  done
  if is_secured; then
    for file in cert key ca; do install -m 600 "${owner[@]}" "$RUN_DIR/tls/postgres/$file.pem" "$data/$file.pem"; done
  fi
  cd "$(dirname "$data")"
  exec "${drop[@]}" "$POSTGRES_BIN/postgres" -D "$data"
}

run_redis() {
  own_folder "$RUN_DIR/data/redis"
  cd "$ROOT"
  # Not by its full path, which Redis takes for a pattern. If no file matches, Redis silently starts on all addresses.
  exec "${drop[@]}" redis-server - <.run/etc/redis.conf
}

# run_java HEAP METRICS_PORT METRICS_RULES CLASS ARGUMENT...: run a Java class with the options in `java_options`, by the
# command in `through`, if there are any. Paths are relative to the checkout: Java and Kafka would split its path at commas
# and colons.
run_java() {
  local heap=$1 port=$2 rules=$3
  shift 3
  cd "$ROOT"
  exec "${drop[@]}" "${through[@]}" "$JAVA" "-Xms$heap" "-Xmx$heap" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
    "-XX:ErrorFile=.run/crash/$service.log" \
    "${java_options[@]}" -Djava.awt.headless=true -Dlog4j2.configurationFile=mirrormaker/log4j2.yaml \
    "-javaagent:.run/kafka/agent/jmx_prometheus_javaagent.jar=127.0.0.1:$port:mirrormaker/$rules" \
    -cp '.run/kafka/libs/*' "$@"
}

run_kafka() {
  local config=".run/etc/$service.properties" data
  data=$(sed -n 's/^log.dirs=//p' "$ROOT/$config")
  own_folder "$ROOT/$data"
  if [[ ! -f $ROOT/$data/meta.properties ]]; then
    # A cluster id is 16 bytes in URL-safe base64. Each region has its own, so that a broker refuses the other's data.
    (cd "$ROOT" && "${drop[@]}" "$JAVA" -Xmx128m -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile=mirrormaker/log4j2.yaml -cp '.run/kafka/libs/*' \
      kafka.tools.StorageTool format --ignore-formatted --cluster-id "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)" --config "$config")
  fi
  # libfaketime works around a bug of old C libraries in waits by the monotonic clock. With a newer library the workaround
  # makes Java's threads hang.
  wrong_clock FAKETIME_FORCE_MONOTONIC_FIX=0
  run_java "$KAFKA_HEAP" "$1" jmx-kafka.yml kafka.Kafka "$config"
}

# run_mirror TARGET METRICS_PORT
run_mirror() {
  # If the network cannot be cut, setup.sh suspends the process instead (native/links.sh).
  ! grep -qs suspended "$RUN_DIR"/cut/*-to-"${service##*-}" || kill -STOP $$
  # When the watch is killed, MirrorMaker ends with it.
  through=(bash mirrormaker/watch.sh "$2" setpriv --pdeathsig KILL)
  # Without Java's second compiler, which would be busy for minutes: the copying is fast enough (docs/decisions/0014-fast-ways.md).
  java_options=(-XX:TieredStopAtLevel=1)
  local properties=mirrormaker/mm2.properties
  ! is_secured || properties=.run/etc/mm2.properties
  run_java "$MIRROR_HEAP" "$2" jmx-mirrormaker.yml org.apache.kafka.connect.mirror.MirrorMaker "$properties" --clusters "$1"
}

run_python() {
  cd "$ROOT"
  exec "${drop[@]}" "${through[@]}" "$VENV/bin/python" -m "$@"
}

# wrong_clock [NAME=VALUE...]: in fault mode, give the service a wall clock that ./setup.sh clock can set wrong. The monotonic
# clock stays true, as on a machine whose clock is stepped.
wrong_clock() {
  [[ $FLEET_FAULTS == off ]] || through=(env "LD_PRELOAD=$CLOCK_LIBRARY" "FAKETIME_TIMESTAMP_FILE=$RUN_DIR/clock/$service"
    FAKETIME_CACHE_DURATION=0 FAKETIME_DONT_FAKE_MONOTONIC=1 "$@")
}

run_service() {
  wrong_clock
  run_python "$1"
}

run_postgres_exporter() {
  exec "${drop[@]}" prometheus-postgres-exporter "--web.listen-address=127.0.0.1:$POSTGRES_EXPORTER_PORT" --disable-settings-metrics \
    "--extend.query-path=$ROOT/prometheus/exporters/postgres.yml"
}

run_redis_exporter() {
  exec "${drop[@]}" prometheus-redis-exporter "-web.listen-address=127.0.0.1:$REDIS_EXPORTER_PORT" -redis-only-metrics
}

run_prometheus() {
  own_folder "$RUN_DIR/data/prometheus"
  # Relative to the checkout: in a pattern for files, some characters of its path would stand for others.
  cd "$ROOT"
  exec "${drop[@]}" prometheus --config.file=.run/etc/prometheus.yml "--storage.tsdb.path=$RUN_DIR/data/prometheus" \
    --storage.tsdb.retention.time=15d --storage.tsdb.retention.size=2GB "--web.listen-address=127.0.0.1:$PROMETHEUS_PORT"
}

run_grafana() {
  own_folder "$GF_PATHS_DATA"
  own_folder "$GF_PATHS_PLUGINS"
  GF_PATHS_HOME=${GRAFANA_HOME:-/usr/share/grafana} "${drop[@]}" sh "$ROOT/grafana/set-password.sh"
  [[ -e $GF_PATHS_DATA/own-key ]] || unset GF_SECURITY_SECRET_KEY
  exec "${drop[@]}" grafana-server --homepath "${GRAFANA_HOME:-/usr/share/grafana}"
}

service=$1
# The command that starts the program, and Java's own options, if there are any.
through=()
java_options=()
# The supervisor and setup.sh may hold variables that this part must not get. Its own file has its settings.
keep_environment GRAFANA_HOME
learn "${BASH_SOURCE[0]%/*}/../.run/etc/run.env"
# An earlier release wrote no user into run.env. Its fleet may still be running.
RUN_AS=${RUN_AS:-$(id -un)}
POSTGRES_AS=${POSTGRES_AS:-$([[ $RUN_AS == root ]] && echo postgres || echo "$RUN_AS")}
go_direct "$BIND_ADDRESS"
[[ ! -f $RUN_DIR/etc/$service.env ]] || load "$RUN_DIR/etc/$service.env"
ulimit -Sn "$(($(ulimit -Hn | sed 's/unlimited/65536/') < 65536 ? $(ulimit -Hn) : 65536))"
mkdir -p "$RUN_DIR/pid"
note_pid
become "$RUN_AS"

case $service in
  topics-a | topics-b) run_python fleet.jobs.topics "${@:2}" ;;
  # With the certificate of the owner of the fleet, which no part can read.
  acls-a | acls-b) drop=() && run_python fleet.jobs.acls "${@:2}" ;;
  # PostgreSQL knows the superuser by the user of the machine.
  schema) become "$POSTGRES_AS" && run_python consumer.schema ;;
  # The file is the caller's, in a folder that the parts' user may not know.
  archive) drop=() && run_python consumer.archive "${@:2}" ;;
esac
pace
case $service in
  postgres) run_postgres ;;
  redis) run_redis ;;
  kafka-a) run_kafka "$KAFKA_A_METRICS_PORT" ;;
  kafka-b) run_kafka "$KAFKA_B_METRICS_PORT" ;;
  mirror-to-a) run_mirror region-a "$MIRROR_TO_A_METRICS_PORT" ;;
  mirror-to-b) run_mirror region-b "$MIRROR_TO_B_METRICS_PORT" ;;
  producer-a | producer-b) run_service producer ;;
  consumer-a | consumer-b) run_service consumer ;;
  gateway) run_service gateway ;;
  # Behind those that take and store events: a reader must not cost a writer its turn.
  console) through=(nice -n 5) && run_python console ;;
  toxiproxy) exec "${drop[@]}" "$TOXIPROXY" -host 127.0.0.1 -port "$TOXIPROXY_PORT" -config "$RUN_DIR/etc/toxiproxy.json" ;;
  postgres-exporter) run_postgres_exporter ;;
  redis-exporter) run_redis_exporter ;;
  disks) run_python fleet.jobs.disks ;;
  prometheus) run_prometheus ;;
  grafana) run_grafana ;;
  *) echo "no service of that name: $service" >&2 && exit 2 ;;
esac
