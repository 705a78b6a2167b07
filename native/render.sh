# shellcheck shell=bash
# shellcheck disable=SC2153  # ROOT is set by setup.sh
# Make .run/etc, the configuration files of the running fleet, from templates/, env/ and prometheus/prometheus.yml.

# render FILE: print it with each ${NAME} replaced by that variable's value.
# shellcheck disable=SC2016  # the dollars are meant as they stand
render() {
  local rest name
  rest=$(<"$1")
  while [[ $rest == *'${'* ]]; do
    printf '%s' "${rest%%'${'*}"
    rest=${rest#*'${'} name=${rest%%'}'*} rest=${rest#*'}'}
    [[ -v $name ]] || die "$1 uses \${$name}, which is not set"
    printf '%s' "${!name}"
  done
  printf '%s\n' "$rest"
}

render_all() {
  # shellcheck disable=SC2034  # read by render
  local POSTGRES_TLS REDIS_TLS POSTGRES_EXPORTER_TLS
  local etc="$RUN_DIR/etc" file name region POSTGRES_DISK KAFKA_A_DISK KAFKA_B_DISK ROLE_PASSWORDS KEY_READ='' KEYS_FILE=''
  # shellcheck disable=SC2034  # read by render
  local AUDIT_DIR=$RUN_DIR/audit
  : "${RUN_AS:=$FLEET_USER}" "${POSTGRES_AS:=$FLEET_USER}"
  read_secrets
  # `render` reads these. They are the folders above the data, since PostgreSQL creates its own.
  # shellcheck disable=SC2034
  POSTGRES_DISK=.run/$(dirname "$(data_of postgres)") KAFKA_A_DISK=.run/$(dirname "$(data_of kafka-a)") \
    KAFKA_B_DISK=.run/$(dirname "$(data_of kafka-b)")
  # shellcheck disable=SC2034  # read by render
  ROLE_PASSWORDS=$(role_passwords)
  # shellcheck disable=SC2034  # Grafana reads events through the console
  if is_secured; then
    KEYS_FILE=$RUN_DIR/keys/keys.json
    [[ ! -s $RUN_DIR/secrets/key-read ]] || KEY_READ=$(<"$RUN_DIR/secrets/key-read")
  fi
  mkdir -p "$etc"
  chmod 700 "$etc"
  for file in "$ROOT"/native/env/*.env; do
    name=${file##*/} name=${name%.env}
    set_store_options "$name"
    { render "$file" && tls_settings "$name" && passed_through "$file"; } >"$etc/${file##*/}"
  done
  for file in postgresql.conf pg_hba.conf pg_ident.conf redis.conf; do
    render "$ROOT/native/templates/$file" >"$etc/$file"
  done
  if is_secured; then
    for file in postgresql.conf redis.conf; do render "$ROOT/native/templates/${file%.conf}-tls.conf" >>"$etc/$file"; done
    render "$ROOT/native/templates/pg_hba-tls.conf" >"$etc/pg_hba.conf"
    cat "$ROOT"/mirrormaker/{mm2,mm2-tls}.properties >"$etc/mm2.properties"
  fi
  ! in_fault_mode || render "$ROOT/native/templates/postgresql-faults.conf" >>"$etc/postgresql.conf"
  ! in_fault_mode || render "$ROOT/native/templates/toxiproxy.json" >"$etc/toxiproxy.json"
  for region in a b; do render_kafka "$region" >"$etc/kafka-$region.properties"; done
  render_prometheus >"$etc/prometheus.yml"
  render_run_variables >"$etc/run.env"
  render_supervisor >"$etc/supervisord.conf"
}

render_kafka() {
  local port="KAFKA_${1^^}_PORT" wan="KAFKA_${1^^}_WAN_PORT" controller="KAFKA_${1^^}_CONTROLLER_PORT"
  local proxied="KAFKA_${1^^}_PROXIED_PORT" proxy="KAFKA_OF_PRODUCER_${1^^}"
  # shellcheck disable=SC2034  # read by render
  local KAFKA_PORT=${!port} KAFKA_WAN_PORT=${!wan} KAFKA_CONTROLLER_PORT=${!controller} KAFKA_PROXIED_PORT=${!proxied} \
    KAFKA_OF_PRODUCER=${!proxy} KAFKA_DATA
  # shellcheck disable=SC2034  # read by render
  KAFKA_DATA=".run/$(data_of "kafka-$1")"
  render "$ROOT/native/templates/kafka.properties"
  ! in_fault_mode || render "$ROOT/native/templates/kafka-faults.properties"
  ! is_secured || REGION=$1 render "$ROOT/native/templates/kafka-tls.properties"
}

# passed_through ENV_FILE: print the caller's variables that the file lacks, if they have a prefix of that service's variables.
passed_through() {
  local name prefixes='APP_'
  case ${1##*/} in
    gateway.env) prefixes='GATEWAY_' ;;
    console.env) prefixes='CONSOLE_' ;;
    producer-*) prefixes='PRODUCER_' ;;
    consumer-* | schema.env) prefixes='(APP_|CONSUMER_)' ;;
    topics-*) prefixes='TOPICS_' ;;
    *) return 0 ;;
  esac
  for name in $(compgen -e | grep -E "^$prefixes" | grep -vE '^(PRODUCER|CONSUMER)_[AB]_(INTERNAL_)?PORT$' | sort); do
    grep -q "^$name=" "$1" && continue
    [[ ${!name} != *$'\n'* ]] || die "$name holds a line break; give it a value of one line."
    printf '%s=%s\n' "$name" "${!name}"
  done
}

# render_prometheus: replace the compose file's targets with this machine's, as whole host:port strings.
render_prometheus() {
  local source target left text
  # Relative to the folder of the rendered file.
  text=$(sed 's|^\( *- *\)rules/|\1../../prometheus/rules/|' "$ROOT/prometheus/prometheus.yml")
  while read -r source target; do
    [[ -n $source && $source != \#* ]] || continue
    if [[ $target == - ]]; then
      text=$(sed -E "/^ *- *[\"']?${source//./\\.}[\"']?\$/d" <<<"$text")
    else
      text=$(sed -E "s/(^|[^A-Za-z0-9_.:-])${source//./\\.}([^A-Za-z0-9_.:-]|\$)/\1$target\2/g" <<<"$text")
    fi
  done < <(render "$ROOT/native/templates/prometheus-targets.map")
  # Paths are relative to the folder of the rendered file.
  ! is_secured || text=$(scrape_by_tls ../tls/prometheus <<<"$text")
  left=$(grep -vE '^ *#' <<<"$text" | grep -oE '[A-Za-z0-9_.-]+:[0-9]{2,5}\b' | grep -vE "^(127\.0\.0\.1|${LOCAL_ADDRESS//./\\.}):" | sort -u || true)
  [[ -z $left ]] || die "prometheus/prometheus.yml has targets that native/templates/prometheus-targets.map does not know:" "$left"
  printf '%s\n' "$text"
}

# render_run_variables: print the variables for native/run.sh, which does not see the caller's environment.
render_run_variables() {
  local name POSTGRES_DATA ROOT=$SEAT
  # shellcheck disable=SC2034  # read by its name
  POSTGRES_DATA="$RUN_DIR/$(data_of postgres)"
  for name in ROOT RUN_DIR RUN_AS POSTGRES_AS VENV KAFKA_HOME JAVA POSTGRES_BIN POSTGRES_SOCKET_DIR BIND_ADDRESS PROMETHEUS_PORT KAFKA_HEAP \
    MIRROR_HEAP KAFKA_A_METRICS_PORT KAFKA_B_METRICS_PORT MIRROR_TO_A_METRICS_PORT MIRROR_TO_B_METRICS_PORT \
    POSTGRES_EXPORTER_PORT REDIS_EXPORTER_PORT POSTGRES_DATA FLEET_SECURITY FLEET_FAULTS CLOCK_LIBRARY TOXIPROXY TOXIPROXY_PORT; do
    printf '%s=%s\n' "$name" "${!name}"
  done
}

render_supervisor() {
  # Paths are relative to the checkout, where the supervisor is started: some characters of its path have a meaning here.
  local run=.run sockets=${SOCKET_DIR#"$SEAT/"} service
  cat <<CONF
[unix_http_server]
file=$sockets/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://$sockets/supervisor.sock

[supervisord]
logfile=$run/logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile=$run/supervisord.pid
childlogdir=$run/logs
umask=077
user=$(id -un)
CONF
  for service in $(native_services); do
    cat <<CONF

[program:$service]
command=bash native/run.sh $service
; setup.sh starts them in order. Whatever dies after that is started again; run.sh sees to the pauses.
autostart=false
autorestart=true
startsecs=0
stopsignal=$(stop_signal "$service")
stopwaitsecs=$(stop_seconds "$service")
killasgroup=true
stdout_logfile=$run/logs/$service.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
redirect_stderr=true
; A changed fingerprint makes the supervisor restart the program: new settings, new code.
environment=FLEET_FINGERPRINT="$(fingerprint "$service")"
CONF
  done
}

native_services() {
  local service
  for service in "${SERVICES[@]}"; do
    [[ $service != grafana ]] || has grafana-server || continue
    [[ $service != toxiproxy ]] || in_fault_mode || continue
    printf '%s\n' "$service"
  done
}

# For PostgreSQL, INT means a fast shutdown, which ends sessions instead of waiting for them.
stop_signal() { [[ $1 == postgres ]] && echo INT || echo TERM; }
stop_seconds() { case $1 in postgres | kafka-*) echo 60 ;; mirror-*) echo 10 ;; *) echo 20 ;; esac; }

# fingerprint SERVICE: print a hash of all that the service reads at its start.
fingerprint() {
  local etc="$RUN_DIR/etc" package=${1%-[ab]}
  [ "$1" != disks ] || package=fleet
  {
    cat "$ROOT"/native/{run,surroundings}.sh "$etc/run.env"
    case $1 in
      postgres) cat "$etc/postgresql.conf" "$etc"/pg_*.conf ;;
      redis) cat "$etc/redis.conf" ;;
      kafka-*) cat "$etc/$1.properties" "$KAFKA_HOME/stamp" "$ROOT/mirrormaker/jmx-kafka.yml" "$ROOT/mirrormaker/log4j2.yaml" ;;
      mirror-*) ! is_secured || cat "$etc/mm2.properties"; cat "$etc/$1.env" "$KAFKA_HOME/stamp" "$ROOT"/mirrormaker/{mm2.properties,jmx-mirrormaker.yml,log4j2.yaml,watch.sh} ;;
      redis-exporter) cat "$etc/$1.env" ;;
      postgres-exporter) cat "$etc/$1.env" "$ROOT/prometheus/exporters/postgres.yml" ;;
      prometheus) cat "$etc/prometheus.yml" "$ROOT"/prometheus/rules/*.yml 2>/dev/null || true ;;
      grafana) cat "$etc/grafana.env" "$ROOT/grafana/set-password.sh" ;;
      toxiproxy) cat "$etc/toxiproxy.json" ;;
      *)
        cat "$etc/$1.env" "$VENV/stamp"
        find "$ROOT/$package" "$ROOT/shared" -name tests -prune -o \( -name '*.py' -o -name '*.sql' -o -path '*/templates/*' -o -path '*/static/*' \) -print0 | sort -z | xargs -0 cat
        ;;
    esac
  } | sha256sum | cut -c1-16
}
