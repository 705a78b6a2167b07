#!/usr/bin/env bash
# pki.sh [renew | check]: the one-shot of compose mode that makes certificates; docker-compose.secured.yml mounts a volume for each holder.
# `renew` makes all anew, and `check` says which end soon.
#
# A key belongs to root, as this container does, and is open to root's group. Each service has a user of its own image, which is in that
# group, and mounts its own volume alone. PostgreSQL and the exporter for it take a key with these rights and no wider ones.
set -euo pipefail
cd -- "${BASH_SOURCE[0]%/*}/../.."

step() { printf 'pki: %s\n' "$*"; }
die() {
  printf 'pki: %s\n' "$@" >&2
  exit 1
}
# ./setup.sh says it. A container has a name of its own, which is no use to clients.
machine_names() { tr ',' '\n' <<<"${FLEET_MACHINE_NAMES:-}" | grep . || true; }

TLS_DIR=${TLS_DIR:-/certificates} BIND_ADDRESS=${BIND_ADDRESS:-127.0.0.1} APP_ALLOWED_HOSTS=${APP_ALLOWED_HOSTS:-}
CA_KEY="$TLS_DIR/authority/ca.key"
CA_CERT="$TLS_DIR/authority/ca.pem"
KEY_MODE=640 FOLDER_MODE=750
# shellcheck source=fleet/pki.sh
source fleet/pki.sh

# PostgreSQL's list of who may come in from where. The socket is in a volume of its own, which `schema` alone mounts beside it.
ACCESS='local     all  all                                            trust
hostssl   logs logs                                           all scram-sha-256
hostssl   logs logs_consumer,logs_api,grafana_reader,exporter all scram-sha-256 clientcert=verify-ca
hostnossl all  all                                            all reject'

# put HOLDER NAME: write standard input to a file in its folder, at once.
put() {
  local file="$TLS_DIR/$1/$2"
  cat >"$file.new"
  chmod "$KEY_MODE" "$file.new"
  mv -f "$file.new" "$file"
}

main() {
  local made
  case ${1:-} in
    '' | renew) ;;
    check)
      say_certificates
      return
      ;;
    *) die "what is '$1'?" ;;
  esac
  mkdir -p "$TLS_DIR/authority"
  chmod 700 "$TLS_DIR/authority"
  make_authority
  make_leaves "${1:+all}" "${HOLDERS[@]}"
  say_made
  printf '%s\n' "$ACCESS" | put postgres pg_hba.conf
  sed 's|^\( *- *\)rules/|\1/etc/prometheus/rules/|' "${PROMETHEUS_YML:-/prometheus/prometheus.yml}" |
    scrape_by_tls /run/certificates | put prometheus prometheus.yml
}

main "$@"
