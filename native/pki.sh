# shellcheck shell=bash
# shellcheck disable=SC2153  # RUN_DIR, ROOT, BIND_ADDRESS and others are set by setup.sh
# Certificates of a fleet with FLEET_SECURITY=on, and how its parts are spoken to. fleet/pki.sh makes them, in native mode in .run/tls.

# shellcheck source=fleet/pki.sh
source fleet/pki.sh

# make_certificates [all]: make what is missing, of other names, or about to end. With `all`, make all but the authority's anew.
make_certificates() {
  local holder made
  is_secured || return 0
  has openssl || die "FLEET_SECURITY=on takes the program openssl, which makes certificates; install it."
  mkdir -p "$RUN_DIR/secrets" "$TLS_DIR"
  chmod 700 "$RUN_DIR/secrets"
  chmod "$(way_through)" "$TLS_DIR"
  make_authority
  make_leaves "${1:-}" "${HOLDERS[@]}"
  for holder in "${HOLDERS[@]}"; do own_certificate "$holder"; done
  say_made
}

# machine_names: print what this machine is called, and, where the gateway listens on all of its addresses, these.
machine_names() {
  hostname | tr '[:upper:]' '[:lower:]' | sed -nE 's/^([a-z0-9-]+(\.[a-z0-9-]+)*)$/DNS:\1/p'
  [[ $BIND_ADDRESS != 0.0.0.0 ]] || (hostname -I 2>/dev/null || true) | tr ' ' '\n' | sed -nE 's/^([0-9]+(\.[0-9]+){3})$/IP:\1/p'
}

# own_certificate HOLDER: if root starts the fleet, the folder is its part's user's; `admin` stays root's.
own_certificate() {
  local owner=${RUN_AS:-$FLEET_USER}
  ((EUID == 0)) && [[ $1 != admin ]] || return 0
  [[ $1 != postgres ]] || owner=${POSTGRES_AS:-$owner}
  [[ $(stat -c %U "$TLS_DIR/$1") == "$owner" && $(stat -c %U "$TLS_DIR/$1/key.pem") == "$owner" ]] || chown -R "$owner:$(id -gn "$owner")" "$TLS_DIR/$1"
}

# fleet_http OPTION... URL: ask a public listener of the fleet.
fleet_http() {
  if is_secured; then own_http --cacert "$TLS_DIR/ca.pem" "$@"; else own_http "$@"; fi
}

# set_store_options SERVICE: set what a URL of a store needs behind it, and nothing in an open fleet.
# shellcheck disable=SC2034  # read by render
set_store_options() {
  local folder=.run/tls/$1
  POSTGRES_TLS='' REDIS_TLS='' POSTGRES_EXPORTER_TLS='?sslmode=disable'
  is_secured || return 0
  # An archive is the owner's.
  [[ $1 != archive ]] || folder=.run/tls/admin
  POSTGRES_TLS="?sslmode=verify-full&sslrootcert=$folder/ca.pem&sslcert=$folder/cert.pem&sslkey=$folder/key.pem"
  POSTGRES_EXPORTER_TLS=$POSTGRES_TLS
  REDIS_TLS="?ssl_ca_certs=$folder/ca.pem&ssl_certfile=$folder/cert.pem&ssl_keyfile=$folder/key.pem"
}

# tls_settings SERVICE: print the settings by which it finds its certificate, as lines of its environment file.
tls_settings() {
  local folder=.run/tls/$1 prefix=${1%-[ab]}
  is_secured || return 0
  prefix=${prefix^^}
  case $1 in
    gateway | console | producer-? | consumer-?)
      printf "${prefix}_%s=$folder/%s\n" TLS_CERT_FILE cert.pem TLS_KEY_FILE key.pem \
        FLEET_CERT_FILE cert.pem FLEET_KEY_FILE key.pem FLEET_CA_FILE ca.pem
      ;;
  esac
  case $1 in
    acls-?) folder=.run/tls/admin ;;
    mirror-to-?) printf 'MIRROR_TLS_FOLDER=%s\n' "$folder" ;;
    redis-exporter)
      printf 'REDIS_EXPORTER_TLS_%s=%s\n' CA_CERT_FILE "$folder/ca.pem" CLIENT_CERT_FILE "$folder/cert.pem" CLIENT_KEY_FILE "$folder/key.pem"
      ;;
    grafana)
      # Its data source of the console trusts these authorities, and no others.
      printf 'SSL_CERT_FILE=%s/ca.pem\nFLEET_POSTGRES_SSLMODE=verify-full\n' "$TLS_DIR/grafana"
      printf 'FLEET_POSTGRES_%s=%s\n' CA "$TLS_DIR/grafana/ca.pem" CERT "$TLS_DIR/grafana/cert.pem" KEY "$TLS_DIR/grafana/key.pem"
      ;;
  esac
  case $1 in
    producer-? | consumer-? | topics-? | acls-?)
      printf "${prefix}_KAFKA_%s\n" SECURITY_PROTOCOL=SSL "CERT_FILE=$folder/cert.pem" "KEY_FILE=$folder/key.pem" "CA_FILE=$folder/ca.pem"
      ;;
  esac
}
