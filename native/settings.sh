# shellcheck shell=bash
# All variables of the fleet with their defaults. The environment wins over .env, and .env over the defaults here.

# shellcheck disable=SC2034  # read by the scripts that source this file
# name, default
DEFAULTS=(
  COMPOSE_PROJECT_NAME=multi-region-logs
  BIND_ADDRESS=127.0.0.1
  FLEET_SECURITY=open
  APP_ALLOWED_HOSTS=
  APP_CONSOLE_URL=none
  FLEET_TENANTS_FILE=none
  POSTGRES_PASSWORD=logs
  GRAFANA_PASSWORD=logs
  LOG_LEVEL=info
  APP_OTLP_TRACES_ENDPOINT=none
  APP_ARCHIVE_DIR=none
  TOPICS_RETENTION_HOURS=168
  TOPICS_REPLICATION_FACTOR=1
  TOPICS_PARTITIONS=6
  GATEWAY_PORT=8080
  GATEWAY_SYSLOG_PORT=none
  PRODUCER_A_PORT=8081
  CONSUMER_A_PORT=8082
  PRODUCER_B_PORT=8083
  CONSUMER_B_PORT=8084
  CONSOLE_PORT=8085
  KAFKA_A_PORT=9092
  KAFKA_B_PORT=9093
  REDIS_PORT=6379
  POSTGRES_PORT=5432
  PROMETHEUS_PORT=9090
  GRAFANA_PORT=3000
  # Native mode alone: compose keeps these inside its network.
  GATEWAY_INTERNAL_PORT=8180
  PRODUCER_A_INTERNAL_PORT=8181
  CONSUMER_A_INTERNAL_PORT=8182
  PRODUCER_B_INTERNAL_PORT=8183
  CONSUMER_B_INTERNAL_PORT=8184
  CONSOLE_INTERNAL_PORT=8185
  KAFKA_A_CONTROLLER_PORT=19092
  KAFKA_B_CONTROLLER_PORT=19093
  KAFKA_A_WAN_PORT=9094
  KAFKA_B_WAN_PORT=9095
  KAFKA_A_METRICS_PORT=7071
  KAFKA_B_METRICS_PORT=7072
  MIRROR_TO_B_METRICS_PORT=7073
  MIRROR_TO_A_METRICS_PORT=7074
  POSTGRES_EXPORTER_PORT=9187
  DISKS_PORT=9188
  REDIS_EXPORTER_PORT=9121
  KAFKA_HEAP=448m
  MIRROR_HEAP=256m
  # If root starts native mode: the user that its parts run as.
  FLEET_RUN_AS=
  # For tests alone: the fleet has more levers, and its data is in memory.
  FLEET_FAULTS=off
)
# Needed in fault mode alone.
# shellcheck disable=SC2034
FAULT_DEFAULTS=(
  TOXIPROXY_PORT=8474
  # Native mode alone.
  POSTGRES_OF_CONSUMER_A_PORT=8475
  POSTGRES_OF_CONSUMER_B_PORT=8476
  KAFKA_OF_PRODUCER_A_PORT=8477
  KAFKA_OF_PRODUCER_B_PORT=8478
  KAFKA_A_PROXIED_PORT=8479
  KAFKA_B_PROXIED_PORT=8480
)
# The same names in both modes.
# shellcheck disable=SC2034  # read by the scripts that source this file
SERVICES=(
  postgres redis kafka-a kafka-b mirror-to-a mirror-to-b producer-a producer-b consumer-a consumer-b gateway console
  postgres-exporter redis-exporter disks prometheus grafana toxiproxy
)
# Directions of replication, from source to target.
# shellcheck disable=SC2034  # read by the scripts that source this file
LINKS=(a-to-b b-to-a)
# The services that fault mode can harm.
# shellcheck disable=SC2034
FILLABLE=(postgres kafka-a kafka-b)
# shellcheck disable=SC2034
CLOCKED=(gateway producer-a producer-b consumer-a consumer-b kafka-a kafka-b)

in_fault_mode() { [[ $FLEET_FAULTS == on ]]; }

# settle: set all defaults. An empty variable counts as unset, as in compose's `${NAME:-default}`.
settle() {
  local pair name
  move_internal_ports
  read_password_file POSTGRES_PASSWORD
  read_password_file GRAFANA_PASSWORD
  for pair in "${DEFAULTS[@]}" "${FAULT_DEFAULTS[@]}"; do
    name=${pair%%=*}
    [[ -n ${!name:-} ]] || printf -v "$name" '%s' "${pair#*=}"
    # Configuration files have one value a line.
    [[ ${!name} != *$'\n'* ]] || die "$name holds a line break; give it a value of one line."
    export "${name?}"
  done
  # Native mode's gateway takes the name for both loopbacks, and Docker's engine takes only a number.
  export LISTEN_ADDRESS=$BIND_ADDRESS
  [[ $BIND_ADDRESS != localhost ]] || BIND_ADDRESS=127.0.0.1
  # The address at which this machine reaches the gateway. All other parts listen on loopback.
  case $BIND_ADDRESS in
    0.0.0.0) LOCAL_ADDRESS=127.0.0.1 ;;
    *) LOCAL_ADDRESS=$BIND_ADDRESS ;;
  esac
  export LOCAL_ADDRESS
  go_direct "$LOCAL_ADDRESS"
  [[ $FLEET_FAULTS =~ ^(on|off)$ ]] || die "FLEET_FAULTS=$FLEET_FAULTS: say on or off."
  [[ $FLEET_SECURITY =~ ^(open|on)$ ]] || die "FLEET_SECURITY=$FLEET_SECURITY: say open or on."
  settle_ways
  settle_schemes
}

# move_internal_ports: where a service's port was moved, its internal one moves along, unless it is set, too.
move_internal_ports() {
  local service public internal
  for service in GATEWAY PRODUCER_A CONSUMER_A PRODUCER_B CONSUMER_B CONSOLE; do
    public=${service}_PORT internal=${service}_INTERNAL_PORT
    [[ ! ${!public:-} =~ ^[0-9]{1,5}$ || -n ${!internal:-} ]] || printf -v "$internal" '%s' "$((10#${!public} + 100))"
  done
}

# read_password_file NAME: set NAME from the file that NAME_FILE names, if there is one.
read_password_file() {
  local file="$1_FILE"
  file=${!file:-}
  [[ -n $file ]] || return 0
  [[ -z ${!1:-} ]] || die "$1 is set, and $1_FILE too; set one of them."
  [[ -f $file && -r $file ]] || die "$1_FILE: $file cannot be read."
  [[ $file == /run/secrets/* || -z $(find -L "$file" -prune -perm -004) ]] || die "$1_FILE: every user may read $file: chmod 600 $file"
  printf -v "$1" '%s' "$(<"$file")"
  [[ -n ${!1} && ${!1} != *$'\n'* ]] || die "$1_FILE: $file must hold one line."
}

# keep_passwords MODE: Compose reads the passwords of people from its environment. Native mode's programs must not get them.
keep_passwords() { [[ $1 == compose ]] || export -n POSTGRES_PASSWORD GRAFANA_PASSWORD; }

# settle_ways: set the addresses at which services reach their stores. In fault mode these are proxies that can fail.
# shellcheck disable=SC2034  # read by the scripts that source this file
settle_ways() {
  local files=docker-compose.yml
  toxiproxy_url=''
  POSTGRES_OF_CONSUMER_A=127.0.0.1:$POSTGRES_PORT POSTGRES_OF_CONSUMER_B=127.0.0.1:$POSTGRES_PORT
  KAFKA_OF_PRODUCER_A=127.0.0.1:$KAFKA_A_PORT KAFKA_OF_PRODUCER_B=127.0.0.1:$KAFKA_B_PORT
  if in_fault_mode; then
    POSTGRES_OF_CONSUMER_A=127.0.0.1:$POSTGRES_OF_CONSUMER_A_PORT POSTGRES_OF_CONSUMER_B=127.0.0.1:$POSTGRES_OF_CONSUMER_B_PORT
    KAFKA_OF_PRODUCER_A=127.0.0.1:$KAFKA_OF_PRODUCER_A_PORT KAFKA_OF_PRODUCER_B=127.0.0.1:$KAFKA_OF_PRODUCER_B_PORT
    toxiproxy_url=http://127.0.0.1:$TOXIPROXY_PORT/version
    files+=:docker-compose.faults.yml
  fi
  [[ $GATEWAY_SYSLOG_PORT == none ]] || files+=:docker-compose.syslog.yml
  if [[ $FLEET_TENANTS_FILE != none ]]; then
    # A container sees the folder, since it would go on seeing a file that was replaced by another one.
    export FLEET_TENANTS_FOLDER=${FLEET_TENANTS_FILE%/*} FLEET_TENANTS_NAME=${FLEET_TENANTS_FILE##*/}
    files+=:docker-compose.tenants.yml
  fi
  if is_secured; then
    files+=:docker-compose.secured.yml
    ! in_fault_mode || files+=:docker-compose.secured-faults.yml
    # The gateway's certificate has them. A container does not know what its machine is called.
    FLEET_MACHINE_NAMES=$(machine_names | paste -s -d ,)
    export FLEET_MACHINE_NAMES
  fi
  [[ $files == docker-compose.yml ]] || export COMPOSE_FILE=$files COMPOSE_PATH_SEPARATOR=:
  export POSTGRES_OF_CONSUMER_A POSTGRES_OF_CONSUMER_B KAFKA_OF_PRODUCER_A KAFKA_OF_PRODUCER_B
}

# is_secured: are clients asked for keys, and is what parts say to each other encrypted?
is_secured() { [[ $FLEET_SECURITY == on ]]; }

# settle_schemes: set how services and stores are spoken to, and where certificates are. A part gets paths that are relative to
# where it is started: some characters of the checkout's path have a meaning in URLs.
# shellcheck disable=SC2034  # read by the scripts that source this file, and by render
settle_schemes() {
  SCHEME=http KAFKA_SCHEME=kafka REDIS_SCHEME=redis TLS_DIR="$RUN_DIR/tls"
  CA_KEY="$RUN_DIR/secrets/ca.key" CA_CERT="$TLS_DIR/ca.pem" KEY_MODE=600 FOLDER_MODE=700
  ! is_secured || SCHEME=https KAFKA_SCHEME=kafkas REDIS_SCHEME=rediss
  gateway_url="$SCHEME://$LOCAL_ADDRESS:$GATEWAY_PORT" console_url="$SCHEME://$LOCAL_ADDRESS:$CONSOLE_PORT"
}

# remember FILE, recall FILE: save and load the variables of the running fleet, so that verbs such as `status` need none.
remember() {
  local pair name
  (
    umask 077
    for pair in "${DEFAULTS[@]}" "${FAULT_DEFAULTS[@]}"; do
      name=${pair%%=*}
      printf '%s=%s\n' "$name" "${!name}"
    done >"$1"
  )
}
recall() {
  local line
  [[ -f $1 ]] || return 0
  while IFS= read -r line; do export "${line?}"; done <"$1"
}

# socket_dir: print the folder of the Unix sockets. Their paths have at most 107 bytes, of which the longest name below takes
# 27. Some characters of a path have a special meaning to PostgreSQL, or in a URL.
socket_dir() {
  local folder="$RUN_DIR/sock"
  [[ $folder =~ ^[A-Za-z0-9/._-]{1,80}$ ]] || folder="/tmp/multi-region-logs-$UID-$(printf '%s' "$RUN_DIR" | sha256sum | cut -c1-8)"
  printf '%s\n' "$folder"
}
