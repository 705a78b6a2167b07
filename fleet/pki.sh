# shellcheck shell=bash
# shellcheck disable=SC2153  # TLS_DIR and the other names in capitals are set by what sources this file
# The fleet's own certificate authority. Native mode sources this file (native/pki.sh), and compose mode's one-shot `pki` does
# (fleet/jobs/pki.sh). Each holder gets a folder of its own below TLS_DIR: its certificate, its key, and the authority's
# certificate, by which it knows the others. What sources the file sets:
#
#   TLS_DIR           where these folders are
#   CA_KEY, CA_CERT   files of the authority
#   KEY_MODE          of keys, and FOLDER_MODE of the folders
#   and a function machine_names, which prints what else this machine is called, as subjectAltName has it, one a line

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

# make_leaves HOW HOLDER...: make what is missing, of other names, or about to end; with HOW=all, make all anew. Set `made`.
make_leaves() {
  local how=$1 holder
  made=()
  for holder in "${@:2}"; do
    if [[ $how == all ]] || ! has_certificate "$holder"; then
      make_certificate "$holder" && made+=("$holder")
    fi
  done
}

# say_made: tell which were made.
say_made() { ((${#made[@]} == 0)) || step "certificates, for $LEAF_DAYS days: ${made[*]}"; }

# make_authority: its key is the owner's of the fleet alone. A holder of it can be any service.
make_authority() {
  local new
  if [[ -s $CA_KEY && -s $CA_CERT ]] && still_good "$CA_CERT" "$RENEW_BEFORE_DAYS"; then return; fi
  new=$(mktemp -d "${CA_KEY%/*}/ca.XXXXXX")
  pki req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "$CA_DAYS" -subj "/CN=fleet authority $(date -u +%Y-%m-%d)" \
    -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$new/key" -out "$new/cert"
  chmod 600 "$new/key"
  chmod 644 "$new/cert"
  mv -f "$new/key" "$CA_KEY"
  mv -f "$new/cert" "$CA_CERT"
  rmdir "$new"
  step "the fleet's certificate authority, for 10 years: $CA_CERT"
}

# make_certificate HOLDER: a new key each time. The files are replaced one by one, key first; a service that reads them in between finds that
# they do not fit, and keeps what it has.
make_certificate() {
  local folder="$TLS_DIR/$1" new
  mkdir -p "$folder"
  chmod "$FOLDER_MODE" "$folder"
  new=$(mktemp -d "$folder/new.XXXXXX")
  names_of "$1" >"$new/names"
  {
    printf '[leaf]\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n'
    printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n'
    printf 'subjectAltName=%s\n' "$(paste -s -d , "$new/names")"
  } >"$new/extensions"
  pki req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj "/CN=$1" -keyout "$new/key.pem" -out "$new/request"
  pki x509 -req -in "$new/request" -CA "$CA_CERT" -CAkey "$CA_KEY" -set_serial "0x$(openssl rand -hex 16)" \
    -days "$LEAF_DAYS" -extfile "$new/extensions" -extensions leaf -out "$new/cert.pem"
  cp "$CA_CERT" "$new/ca.pem"
  # Kafka and MirrorMaker want both in one file.
  cat "$new/key.pem" "$new/cert.pem" >"$new/both.pem"
  rm -f "$new/request" "$new/extensions"
  chmod "$KEY_MODE" "$new"/*
  chown --reference="$folder" "$new"/*
  mv -f "$new/key.pem" "$folder/key.pem"
  mv -f "$new"/* "$folder/"
  rmdir "$new"
}

# has_certificate HOLDER: check that it has one of the present authority, with the present names, that does not end soon.
has_certificate() {
  local folder="$TLS_DIR/$1" file
  for file in cert key both ca; do [[ -s $folder/$file.pem ]] || return 1; done
  cmp -s "$CA_CERT" "$folder/ca.pem" && names_of "$1" | cmp -s - "$folder/names" &&
    still_good "$folder/cert.pem" "$RENEW_BEFORE_DAYS" && openssl verify -CAfile "$folder/ca.pem" "$folder/cert.pem" >/dev/null 2>&1
}

still_good() { openssl x509 -in "$1" -noout -checkend "$(($2 * 86400))" >/dev/null 2>&1; }

# say_certificates: print one line for each certificate that ends soon. Fail if one ends within days.
say_certificates() {
  local holder cert end ill=0
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
  # In fault mode a proxy stands before these, under its own name.
  [[ -z ${PROXIED_BY:-} || ! $1 =~ ^(postgres|kafka-.)$ ]] || printf 'DNS:%s\n' "$PROXIED_BY"
  [[ $1 == gateway || $1 == console ]] || return 0
  {
    name=${BIND_ADDRESS#[} name=${name%]}
    [[ $name == 0.0.0.0 || $name == :: ]] || printf 'IP:%s\n' "$name"
    machine_names
    for name in ${APP_ALLOWED_HOSTS//,/ }; do [[ $name == '*' ]] || printf 'DNS:%s\n' "$name"; done
  } | awk '$0 != "IP:127.0.0.1" && $0 != "DNS:localhost" && $0 != "DNS:gateway" && $0 != "DNS:console" && !seen[$0]++'
}

# pki ARGUMENT...: run openssl. It says much that is no error, so show it only if it fails; and it takes no settings of the machine.
pki() {
  local said
  said=$(OPENSSL_CONF=/dev/null openssl "$@" 2>&1 </dev/null) || die "openssl $1 failed:" "$said"
}

# scrape_by_tls FOLDER: read prometheus.yml from standard input, and print it with what the jobs that scrape services need. FOLDER has
# Prometheus' certificate.
scrape_by_tls() {
  awk -v folder="$1" '{print} /^  - job_name: (gateway|producer|consumer|console)$/ {
    print "    scheme: https"
    print "    tls_config: {ca_file: " folder "/ca.pem, cert_file: " folder "/cert.pem, key_file: " folder "/key.pem}"
  }'
}
