# shellcheck shell=bash
# shellcheck disable=SC2153  # RUN_DIR, ROOT, BIND_ADDRESS and others are set by setup.sh
# The fleet's own certificate authority, with FLEET_SECURITY=on alone. Each service gets a folder of its own in .run/tls: its
# certificate, its key, and the authority's certificate, by which it knows the others.

CA_DAYS=3650
LEAF_DAYS=90
# A start renews what would end sooner, and `./setup.sh renew` renews all.
RENEW_BEFORE_DAYS=30
ILL_BEFORE_DAYS=10
# What has a certificate. `admin` is the owner of the fleet.
HOLDERS=(
  gateway console producer-a producer-b consumer-a consumer-b kafka-a kafka-b mirror-to-a mirror-to-b topics-a topics-b
  postgres redis postgres-exporter redis-exporter disks prometheus grafana admin
)

# make_certificates [all]: make what is missing, of other names, or about to end. With `all`, make all but the authority's anew.
make_certificates() {
  local holder made=()
  is_secured || return 0
  has openssl || die "FLEET_SECURITY=on takes the program openssl, which makes certificates; install it."
  mkdir -p "$RUN_DIR/secrets" "$TLS_DIR"
  chmod 700 "$RUN_DIR/secrets"
  chmod "$(way_through)" "$TLS_DIR"
  make_authority
  for holder in "${HOLDERS[@]}"; do
    if [[ ${1:-} == all ]] || ! has_certificate "$holder"; then
      make_certificate "$holder" && made+=("$holder")
    fi
    own_certificate "$holder"
  done
  ((${#made[@]} == 0)) || step "certificates, for $LEAF_DAYS days: ${made[*]}"
}

# make_authority: its key is the owner's of the fleet alone. A holder of it can be any service.
make_authority() {
  local key="$RUN_DIR/secrets/ca.key" cert="$TLS_DIR/ca.pem" new
  if [[ -s $key && -s $cert ]] && still_good "$cert" "$RENEW_BEFORE_DAYS"; then return; fi
  new=$(mktemp -d "$RUN_DIR/secrets/ca.XXXXXX")
  pki req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "$CA_DAYS" -subj "/CN=fleet authority $(date -u +%Y-%m-%d)" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$new/key" -out "$new/cert"
  chmod 600 "$new/key"
  chmod 644 "$new/cert"
  mv -f "$new/key" "$key"
  mv -f "$new/cert" "$cert"
  rmdir "$new"
  step "the fleet's certificate authority, for 10 years: $cert"
}

# make_certificate HOLDER: a new key each time. The files are replaced one by one, key first; a service that reads them in between finds that
# they do not fit, and keeps what it has.
make_certificate() {
  local folder="$TLS_DIR/$1" new
  mkdir -p "$folder"
  chmod 700 "$folder"
  new=$(mktemp -d "$folder/new.XXXXXX")
  names_of "$1" >"$new/names"
  {
    printf '[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
    printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n'
    printf 'subjectAltName=%s\n' "$(paste -s -d , "$new/names")"
  } >"$new/extensions"
  pki req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$1" -keyout "$new/key.pem" -out "$new/request"
  pki x509 -req -in "$new/request" -CA "$TLS_DIR/ca.pem" -CAkey "$RUN_DIR/secrets/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
    -days "$LEAF_DAYS" -extfile "$new/extensions" -extensions leaf -out "$new/cert.pem"
  cp "$TLS_DIR/ca.pem" "$new/ca.pem"
  # Kafka and MirrorMaker want both in one file.
  cat "$new/key.pem" "$new/cert.pem" >"$new/both.pem"
  rm -f "$new/request" "$new/extensions"
  chmod 600 "$new"/*
  chown --reference="$folder" "$new"/*
  mv -f "$new/key.pem" "$folder/key.pem"
  mv -f "$new"/* "$folder/"
  rmdir "$new"
}

# has_certificate HOLDER: check that it has one of the present authority, with the present names, that does not end soon.
has_certificate() {
  local folder="$TLS_DIR/$1" file
  for file in cert key both ca; do [[ -s $folder/$file.pem ]] || return 1; done
  cmp -s "$TLS_DIR/ca.pem" "$folder/ca.pem" && names_of "$1" | cmp -s - "$folder/names" &&
    still_good "$folder/cert.pem" "$RENEW_BEFORE_DAYS" && openssl verify -CAfile "$folder/ca.pem" "$folder/cert.pem" >/dev/null 2>&1
}

still_good() { openssl x509 -in "$1" -noout -checkend "$(($2 * 86400))" >/dev/null 2>&1; }

# say_certificates: print one line for each certificate that ends soon. Fail if one ends within days.
say_certificates() {
  local holder cert end ill=0
  is_secured || return 0
  for holder in "${HOLDERS[@]}"; do
    cert="$TLS_DIR/$holder/cert.pem"
    if still_good "$cert" "$RENEW_BEFORE_DAYS"; then continue; fi
    end=$(openssl x509 -in "$cert" -noout -enddate 2>/dev/null | cut -d = -f 2) || true
    still_good "$cert" "$ILL_BEFORE_DAYS" || ill=1
    printf '%-18s certificate of %s ends on %s; ./setup.sh renew makes a new one\n' certificates "$holder" "${end:-no known day}"
  done
  return "$ill"
}

# names_of HOLDER: print what it is called, one a line: its name in the fleet, its name in compose mode, and where it listens.
names_of() {
  local name
  printf 'URI:spiffe://fleet/%s\nDNS:%s\nDNS:localhost\nIP:127.0.0.1\n' "$1" "$1"
  [[ $1 == gateway || $1 == console ]] || return 0
  {
    printf 'IP:%s\n' "$LOCAL_ADDRESS"
    hostname | tr '[:upper:]' '[:lower:]' | sed -nE 's/^([a-z0-9-]+(\.[a-z0-9-]+)*)$/DNS:\1/p'
    [[ $BIND_ADDRESS != 0.0.0.0 ]] || (hostname -I 2>/dev/null || true) | tr ' ' '\n' | sed -nE 's/^([0-9]+(\.[0-9]+){3})$/IP:\1/p'
    for name in ${APP_ALLOWED_HOSTS//,/ }; do [[ $name == '*' ]] || printf 'DNS:%s\n' "$name"; done
  } | awk '$0 != "IP:127.0.0.1" && $0 != "DNS:localhost" && $0 != "DNS:gateway" && $0 != "DNS:console" && !seen[$0]++'
}

# own_certificate HOLDER: if root starts the fleet, the folder is its part's user's; `admin` stays root's.
own_certificate() {
  local owner=${RUN_AS:-$FLEET_USER}
  ((EUID == 0)) && [[ $1 != admin ]] || return 0
  [[ $1 != postgres ]] || owner=${POSTGRES_AS:-$owner}
  [[ $(stat -c %U "$TLS_DIR/$1") == "$owner" && $(stat -c %U "$TLS_DIR/$1/key.pem") == "$owner" ]] || chown -R "$owner:$(id -gn "$owner")" "$TLS_DIR/$1"
}

# pki ARGUMENT...: run openssl. It says much that is no error, so show it only if it fails; and it takes no settings of the machine.
pki() {
  local said
  said=$(OPENSSL_CONF=/dev/null openssl "$@" 2>&1 </dev/null) || die "openssl $1 failed:" "$said"
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
