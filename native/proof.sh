# shellcheck shell=bash
# shellcheck disable=SC2154  # gateway_url and console_url are set by settings.sh
# Prove that the fleet works: send an event through each region, and read it back from PostgreSQL.

PROOF_TIMEOUT_S=30

prove() {
  local region
  for region in region-a region-b; do prove_region "$1" "$region"; done
}

# prove_region MODE REGION: post one event and wait for its row. The post repeats until the gateway has found the region
# healthy. The event has an identity, so that the repeats make one row.
prove_region() {
  local mode=$1 region=$2 deadline=$((SECONDS + PROOF_TIMEOUT_S)) id body answer rows
  id=$(</proc/sys/kernel/random/uuid)
  body=$(printf '{"serviceName":"setup","level":"INFO","message":"the fleet is up","correlationId":"setup-%s","eventId":"%s","timestamp":"%s"}' \
    "$id" "$id" "$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)")
  until answer=$(post_event "$region" "$body") && [[ $answer == *"\"region\":\"$region\""* ]]; do
    ((SECONDS < deadline)) || die "the gateway did not accept an event for $region; its last answer:" "${answer:-none}"
    sleep 0.2
  done
  until rows=$("${mode}_rows_of" "$id") && [[ $rows == 1 ]]; do
    ((SECONDS < deadline)) || die "event $id was accepted by $region, and PostgreSQL has ${rows:-no answer about its} rows of it"
    sleep 0.1
  done
  step "$region: event $id accepted and read back from PostgreSQL"
}

post_event() {
  fleet_http --show-error --max-time 20 --header 'Content-Type: application/json' --header "X-Region: $1" --data "$2" \
    --config - "$gateway_url/api/logs" 2>&1 < <(key_line write)
}

say_where() {
  local gateway=$gateway_url trust=''
  ! is_secured || trust="--cacert $TLS_DIR/ca.pem "
  cat <<URLS

The fleet is up in $1 mode, after $SECONDS s.
  Gateway      $gateway/api/logs
  OpenAPI      $gateway/docs
  Prometheus   http://127.0.0.1:$PROMETHEUS_PORT
  Grafana      $(if [[ -n $grafana_url ]]; then echo "${grafana_url%/api/health} (user logs)"; else no_grafana; fi)
  PostgreSQL   postgresql://logs@127.0.0.1:$POSTGRES_PORT/logs

  curl ${trust}$(key_option write)-X POST $gateway/api/logs -H 'Content-Type: application/json' -H 'X-Region: region-a' \\
    -d '{"serviceName":"my-svc","level":"INFO","message":"Hello","correlationId":"trace-1"}'
  curl ${trust}$(key_option read)'$gateway/api/logs?from=-5m'

  $console_url/
URLS
}
