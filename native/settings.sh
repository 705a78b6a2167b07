# shellcheck shell=bash
# Everything that can be set from outside, with its default. The environment wins over .env, .env over the defaults here.

# read_dotenv FILE: take over NAME=VALUE lines, as compose does; nothing in it is evaluated.
read_dotenv() {
  local line name value
  [[ -f $1 ]] || return 0
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
    name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    [[ $value =~ ^\"(.*)\"$ || $value =~ ^\'(.*)\'$ ]] && value=${BASH_REMATCH[1]}
    [[ -v $name ]] || export "$name=$value"
  done <"$1"
}

# shellcheck disable=SC2034  # read by whoever sources this file
# name, default
DEFAULTS=(
  BIND_ADDRESS=127.0.0.1
  POSTGRES_PASSWORD=logs
  GRAFANA_PASSWORD=logs
  LOG_LEVEL=info
  TOPICS_RETENTION_HOURS=168
  GATEWAY_PORT=8080
  PRODUCER_A_PORT=8081
  CONSUMER_A_PORT=8082
  PRODUCER_B_PORT=8083
  CONSUMER_B_PORT=8084
  KAFKA_A_PORT=9092
  KAFKA_B_PORT=9093
  REDIS_PORT=6379
  POSTGRES_PORT=5432
  PROMETHEUS_PORT=9090
  GRAFANA_PORT=3000
  # Native mode alone: compose keeps these inside its network.
  KAFKA_A_CONTROLLER_PORT=19092
  KAFKA_B_CONTROLLER_PORT=19093
  KAFKA_A_WAN_PORT=9094
  KAFKA_B_WAN_PORT=9095
  KAFKA_A_METRICS_PORT=7071
  KAFKA_B_METRICS_PORT=7072
  MIRROR_TO_B_METRICS_PORT=7073
  MIRROR_TO_A_METRICS_PORT=7074
  KAFKA_HEAP=448m
  MIRROR_HEAP=256m
)
# The same names in both modes.
# shellcheck disable=SC2034  # read by whoever sources this file
SERVICES=(
  postgres redis kafka-a kafka-b mirror-to-a mirror-to-b producer-a producer-b consumer-a consumer-b gateway prometheus
  grafana
)
# Directions of replication, from source to target.
# shellcheck disable=SC2034  # read by whoever sources this file
LINKS=(a-to-b b-to-a)

# settle: an empty variable counts as unset, as in compose's `${NAME:-default}`.
settle() {
  local pair name
  for pair in "${DEFAULTS[@]}"; do
    name=${pair%%=*}
    [[ -n ${!name:-} ]] || printf -v "$name" '%s' "${pair#*=}"
    export "${name?}"
  done
  # Where this machine reaches what listens on BIND_ADDRESS.
  case $BIND_ADDRESS in
    0.0.0.0) LOCAL_ADDRESS=127.0.0.1 ;;
    *) LOCAL_ADDRESS=$BIND_ADDRESS ;;
  esac
  export LOCAL_ADDRESS
}

# remember FILE, recall FILE: what the fleet was started with, so that `status` and the like need no variables.
remember() {
  local pair name
  (
    umask 077
    for pair in "${DEFAULTS[@]}"; do
      name=${pair%%=*}
      printf '%s=%s\n' "$name" "${!name}"
    done >"$1"
  )
}
recall() {
  local name value
  [[ -f $1 ]] || return 0
  while IFS='=' read -r name value; do export "$name=$value"; done <"$1"
}
