# shellcheck shell=bash
# What the parts of the fleet know each other by: one password a role, made at the first start and kept in .run/secrets.

# name: file, and as SECRET_NAME a variable of this script that templates can use. Those that log in to PostgreSQL come first.
ROLES=(logs_consumer logs_api grafana_reader exporter)
SECRETS=("${ROLES[@]}" redis_consumer redis_exporter redis_admin grafana_secret_key keys_pepper)

# read_secrets: make those that are missing, and learn all. They are not exported: no program gets one but from its own file.
read_secrets() {
  local name file
  mkdir -p "$RUN_DIR/secrets"
  chmod 700 "$RUN_DIR/secrets"
  for name in "${SECRETS[@]}"; do
    file="$RUN_DIR/secrets/$name"
    [[ -s $file ]] || { new_secret >"$file.new" && mv -f "$file.new" "$file"; }
    chmod 600 "$file"
    printf -v "SECRET_${name^^}" '%s' "$(<"$file")"
    # Redis knows a password by its hash.
    [[ $name != redis_* ]] || printf -v "HASH_${name^^}" '%s' "$(printf '%s' "$(<"$file")" | sha256sum | cut -d ' ' -f 1)"
  done
}

# Letters, digits, - and _ only, so that it can stand in a URL and in any file.
new_secret() { head -c 32 /dev/urandom | base64 --wrap 0 | tr '+/' '-_' | tr -d '='; }

# role_passwords: of all roles, as CONSUMER_ROLE_PASSWORDS wants them.
role_passwords() {
  local role variable pairs=()
  for role in "${ROLES[@]}"; do
    variable="SECRET_${role^^}"
    pairs+=("$role=${!variable}")
  done
  (IFS=, && printf '%s' "${pairs[*]}")
}

# make_keys: a secured fleet asks its clients for keys. The first start makes two. The gateway and the console read the file of all
# keys again whenever it changes, as the parts' user, who must not change it.
make_keys() {
  is_secured || return 0
  read_secrets
  mkdir -p "$RUN_DIR/keys" "$RUN_DIR"/audit/{gateway,console}
  chmod 700 "$RUN_DIR"/audit/{gateway,console}
  chmod 711 "$RUN_DIR/audit"
  if ((EUID == 0)); then
    chown "root:$(id -gn "$RUN_AS")" "$RUN_DIR/keys"
    chmod 750 "$RUN_DIR/keys"
    chown -R "$RUN_AS:$(id -gn "$RUN_AS")" "$RUN_DIR"/audit/{gateway,console}
  else
    chmod 700 "$RUN_DIR/keys"
  fi
  native_key first "$RUN_DIR/secrets"
}

# native_key VERB...: see fleet/jobs/keys.py.
native_key() {
  [[ $1 == first || -f $RUN_DIR/keys/keys.json ]] || die "the fleet has no keys; FLEET_SECURITY=on ./setup.sh makes the first two"
  (cd "$ROOT" && "$VENV/bin/python" -m fleet.jobs.keys --file "$RUN_DIR/keys/keys.json" --pepper-file "$RUN_DIR/secrets/keys_pepper" "$@")
}

# native_audit verify: see fleet/jobs/audit.py.
native_audit() {
  local service failed=0
  for service in gateway console; do
    (cd "$ROOT" && "$VENV/bin/python" -m fleet.jobs.audit --folder "$RUN_DIR/audit/$service" --pepper-file "$RUN_DIR/secrets/keys_pepper" \
      "$service") || failed=1
  done
  return "$failed"
}

# key_line SCOPE: print what makes curl show the fleet's own key of that scope, if there is one. As an argument, each user of the machine
# could read it.
key_line() {
  ! is_secured || [[ ! -s $RUN_DIR/secrets/key-$1 ]] || printf 'header = "Authorization: Bearer %s"\n' "$(<"$RUN_DIR/secrets/key-$1")"
}

# key_option SCOPE: print the same for a person to type.
key_option() {
  # shellcheck disable=SC2016  # for the person's shell to expand
  ! is_secured || [[ ! -s $RUN_DIR/secrets/key-$1 ]] || printf -- '-H "Authorization: Bearer $(cat %q)" ' "$RUN_DIR/secrets/key-$1"
}

native_secret() { cat "$RUN_DIR/secrets/$1" 2>/dev/null || die "there is no secret $1 yet; ./setup.sh makes them"; }
check_secret() { [[ " ${SECRETS[*]} " == *" $1 "* ]] || die "there is no secret '$1'; there are: ${SECRETS[*]}"; }

# say_moved: tell of a database whose tables belonged to user logs.
say_moved() { step "an earlier release's database: its tables get an owner that cannot log in, and user logs may read them"; }
