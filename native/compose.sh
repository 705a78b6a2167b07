# shellcheck shell=bash
# The verbs of compose mode. `docker compose up -d --wait` works without them. They choose, check and report.

REGISTRY_TIMEOUT_S=20

# compose_obstacle: print why compose mode cannot work. Fail if it can.
compose_obstacle() {
  local image
  has docker || { echo "there is no docker here" && return; }
  timeout 10 docker info >/dev/null 2>&1 || { echo "no Docker engine answers" && return; }
  docker compose version >/dev/null 2>&1 || { echo "docker has no compose plugin" && return; }
  for image in $(images_from_elsewhere); do
    docker image inspect "$image" >/dev/null 2>&1 && continue
    timeout "$REGISTRY_TIMEOUT_S" docker manifest inspect "$image" >/dev/null 2>&1 && continue
    echo "the image $image is neither here nor to be had within $REGISTRY_TIMEOUT_S s"
    return
  done
  return 1
}

# images_from_elsewhere: print the images that the services use unchanged, and those that the Dockerfile builds upon.
images_from_elsewhere() {
  { docker compose config --images | grep -vE '/(app|app-faults|kafka)$' || true
    awk 'toupper($1) == "FROM" {image = $2; if (toupper($3) == "AS") stage[$4]; if (!(image in stage)) print image}' Dockerfile
  } | sort -u
}

compose_up() {
  local begin=$SECONDS
  claim_project
  open_mounts
  heal_links compose
  step "images and containers"
  local first=(preflight passwords schema)
  ! is_secured || first+=(pki acls-a acls-b)
  # What an earlier release had, and this one has not, would hold its volumes.
  docker compose up -d --build --wait --remove-orphans || {
    docker compose ps --all >&2
    docker compose logs --no-log-prefix "${first[@]}" >&2
    die "not everything became healthy; ./setup.sh logs SERVICE tells more"
  }
  if is_secured; then
    learn_keys
    learn_certificates
  fi
  # Its log has earlier starts, too.
  ! docker compose logs --no-log-prefix --since "$((SECONDS - begin + 1))s" schema 2>/dev/null |
    grep 'handed over to their owner' >/dev/null || say_moved
}

# learn_keys: put the fleet's own two keys where the verbs find them in both modes. One that cannot be had was made by another checkout.
learn_keys() {
  local scope file
  mkdir -p "$RUN_DIR/secrets"
  chmod 700 "$RUN_DIR/secrets"
  for scope in write read; do
    file="$RUN_DIR/secrets/key-$scope"
    compose_secret "key-$scope" >"$file.new" && mv -f "$file.new" "$file"
  done
}

# learn_certificates: put the authority's certificate, and the one of the owner of the fleet, where they are in native mode.
learn_certificates() {
  mkdir -p "$TLS_DIR"
  chmod "$(way_through)" "$TLS_DIR"
  docker compose run --rm --no-deps --no-TTY pki tar -C /certificates -c authority/ca.pem admin </dev/null |
    tar -C "$TLS_DIR" -x --no-same-owner || die "Docker does not hand out the certificates; see above."
  chmod -R u=rwX,go= "$TLS_DIR"/{admin,authority}
  mv -f "$TLS_DIR/authority/ca.pem" "$TLS_DIR/ca.pem"
  rmdir "$TLS_DIR/authority"
  chmod 644 "$TLS_DIR/ca.pem"
}

# compose_pki VERB: see fleet/jobs/pki.sh.
compose_pki() { docker compose run --rm --no-deps --no-TTY pki bash fleet/jobs/pki.sh "$@" </dev/null; }

# compose_key VERB...: see fleet/jobs/keys.py; in a container that mounts the file of all keys.
compose_key() {
  docker compose run --rm --no-deps --no-TTY passwords python -m fleet.jobs.keys --file /keys/keys.json \
    --pepper-file /secrets/all/keys_pepper "$@" </dev/null
}

# compose_audit verify: see fleet/jobs/audit.py; in containers that have the same volumes as the services.
compose_audit() {
  local service failed=0
  for service in gateway console; do
    docker compose run --rm --no-deps --no-TTY "$service" python -m fleet.jobs.audit --folder /audit \
      --pepper-file /run/secrets/keys_pepper "$service" </dev/null || failed=1
  done
  return "$failed"
}

compose_runs() { has docker && [[ -n $(timeout 10 docker compose ps --quiet 2>/dev/null) ]]; }

# compose_is_here: has `docker compose up` started this checkout's fleet, without setup.sh?
compose_is_here() {
  has docker && timeout 10 docker info >/dev/null 2>&1 && started_in | grep --line-regexp --fixed-strings -- "$ROOT" >/dev/null
}

compose_down() {
  refuse_other_checkout
  # The volumes of a fleet that was secured once, too.
  [[ ${1:-} != -v ]] || is_secured || export COMPOSE_FILE=${COMPOSE_FILE:-docker-compose.yml}:docker-compose.secured.yml COMPOSE_PATH_SEPARATOR=:
  docker compose down ${1:+"$1"}
  ! in_fault_mode || forget_fault_volumes
  [[ ${1:-} != -v ]] || rm -rf "$RUN_DIR"/secrets/key-{write,read} "$TLS_DIR"
  [[ ${1:-} != -v ]] || docker volume rm --force "$(claim)" >/dev/null
}

# forget_fault_volumes: remove fault mode's volumes. Their data was in memory and is gone, but their names still claim the
# project. Compose alone would remove the ordinary fleet's volumes, too.
forget_fault_volumes() {
  local names
  mapfile -t names < <(docker volume ls --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | grep -E '_(.+-memory|clock)$')
  ((${#names[@]} == 0)) || docker volume rm --force "${names[@]}" >/dev/null
}

# ---------------------------------------------------------------- the owner of the project

# Docker knows a project, with its containers and volumes, by its name alone. A second checkout that used the same name would
# take over the first one's, and its `down -v` would delete them. Containers have a label with the folder that started them.
# While there are none, a volume has that label. It is outside the project, so that `docker compose` ignores it.
claim() { echo "${COMPOSE_PROJECT_NAME}_checkout"; }
CLAIM_LABEL=multi-region-logs.checkout

claim_project() {
  [[ $(claimed_by) == "$ROOT" ]] || docker volume rm --force "$(claim)" >/dev/null
  docker volume create --label "$CLAIM_LABEL=$ROOT" "$(claim)" >/dev/null || die "Docker makes no volume; see above."
}

claimed_by() { docker volume inspect --format "{{index .Labels \"$CLAIM_LABEL\"}}" "$(claim)" 2>/dev/null || true; }

# project_folders: print the folders that started the project's containers, and the folder of the claim.
project_folders() {
  started_in
  claimed_by
}
started_in() {
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --format '{{.Label "com.docker.compose.project.working_dir"}}'
}

refuse_other_checkout() {
  local folder known='' volumes
  volumes=$(docker volume ls --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")
  # A claim without containers and volumes is void: `docker compose down -v` leaves it behind.
  [[ -n $volumes$(started_in) ]] || return 0
  while IFS= read -r folder; do
    folder=$(readlink -f -- "$folder") || continue
    [[ $folder != "$ROOT" ]] || { known=yes && continue; }
    # A checkout that was moved or removed since has no claim.
    [[ ! -f $folder/docker-compose.yml ]] || die "the Compose project $COMPOSE_PROJECT_NAME on this machine is that of another checkout, $folder." "$(how_apart)"
  done < <(project_folders | sort -u | grep .)
  # There is data without a claim, of a fleet that was started without setup.sh.
  [[ -n $known || (-f $RUN_DIR/settings && ! -d $RUN_DIR/data) || -z $volumes ]] ||
    die "there is data of a Compose project $COMPOSE_PROJECT_NAME on this machine, and no label says of which checkout." \
      "Of this one: run docker compose up -d --wait once, and then this again. Of another one:" "$(how_apart)"
}

how_apart() {
  echo "For a fleet of its own, put COMPOSE_PROJECT_NAME=$COMPOSE_PROJECT_NAME-2 into $ROOT/.env, where docker compose reads it, too, and" \
    "other ports if both shall run at the same time (.env.example lists them)."
}

# open_mounts: make the mounted files readable for the containers' users, which a checkout under a strict umask prevents.
# These files are no secrets. The checkout's own folder keeps its mode.
open_mounts() {
  local closed
  closed=$(find prometheus grafana toxiproxy \( -type d ! -perm -005 -o -type f ! -perm -004 \) -print)
  [[ -n $closed ]] || return 0
  chmod -R go+rX prometheus grafana toxiproxy || die "users of containers may not read these files, and their modes cannot be changed:" "$closed"
  step "prometheus/, grafana/ and toxiproxy/ can be read by the containers' users now"
}

compose_status() {
  local ill=0 seen=0 line name state health service url
  while IFS=$'\t' read -r name state health; do
    seen=1
    [[ $state == running && $health =~ ^(healthy|)$ ]] || ill=1
    printf '%-18s %s %s\n' "$name" "$state" "$health"
  done < <(docker compose ps --all --format $'{{.Service}}\t{{.State}}\t{{.Health}}' | grep -vE '^(preflight|passwords|pki|acls-.|topics-.|schema|roles|grafana-password)\b' | sort)
  ((seen)) || { echo "compose mode: not running (./setup.sh starts it)" && return 1; }
  for service in gateway:GATEWAY_PORT producer-a:PRODUCER_A_PORT producer-b:PRODUCER_B_PORT consumer-a:CONSUMER_A_PORT consumer-b:CONSUMER_B_PORT console:CONSOLE_PORT; do
    line=${service#*:}
    url=127.0.0.1
    [[ $service != gateway:* ]] || url=$LOCAL_ADDRESS
    url="http://$url:${!line}/ready"
    if [[ $FLEET_SECURITY == on ]]; then
      line=$(compose_readiness "${service%%:*}" 2>&1) || true
    else
      line=$(own_http --show-error --max-time 3 --write-out ' (%{http_code})' "$url" 2>&1) || true
    fi
    [[ $line == *'(200)' ]] || ill=1
    printf '%-18s /ready says %s\n' "${service%%:*}" "$line"
  done
  say_cuts compose || ill=1
  say_replication || ill=1
  say_topics compose || ill=1
  say_unseen
  ! is_secured || compose_pki check 2>/dev/null || ill=1
  return "$ill"
}

# compose_readiness SERVICE: print the answer of its internal listener, which no port of this machine leads to.
compose_readiness() {
  local -A ports=([gateway]=8180 [producer-a]=8181 [consumer-a]=8182 [producer-b]=8183 [consumer-b]=8184 [console]=8185)
  local identity=()
  ! is_secured || identity=(--identity /run/certificates)
  timeout 10 docker compose exec --no-TTY "$1" python -m fleet.jobs.healthcheck --show "${identity[@]}" "$SCHEME://127.0.0.1:${ports[$1]}/ready" </dev/null
}

# compose_check_topics REGION: print a sentence for each difference. It runs in a new container, since the one-shot's has ended.
compose_check_topics() {
  timeout 60 docker compose run --rm --no-deps --no-TTY "topics-$1" python -m fleet.jobs.topics --check </dev/null 2>/dev/null
}

compose_logs() {
  local argument options=(--tail 100)
  for argument in "$@"; do options+=("$argument"); done
  exec docker compose logs "${options[@]}"
}

compose_touch() {
  case $1 in
    kill) compose_kill "$2" ;;
    # Suspend from outside if possible: the engine's own freezer sometimes fails for a container under load.
    suspend) signal_tree STOP "$(compose_pid "$2")" || docker compose pause "$2" ;;
    resume) signal_tree CONT "$(compose_pid "$2")" || docker compose unpause "$2" ;;
    *) docker compose "$1" "$2" ;;
  esac
}

# compose_kill SERVICE: kill it from outside the container, like a crash. After `docker kill` no restart policy acts, because
# Docker takes it for the user's wish.
compose_kill() {
  local pid
  pid=$(compose_pid "$1")
  if kill -KILL "$pid" 2>/dev/null || sudo -n kill -KILL "$pid" 2>/dev/null; then return; fi
  docker compose kill "$1"
  docker compose start "$1"
}

compose_pid() { docker inspect --format '{{.State.Pid}}' "$(docker compose ps --quiet "$1")"; }

# ---------------------------------------------------------------- links

# Each direction has its own network. Disconnecting its MirrorMaker from it cuts that direction alone.
compose_cut() {
  local container network
  container=$(compose_container "$(mirror_of "$1")") || die "the fleet is not running"
  network=$(compose_network "$container" "$1")
  compose_is_cut "$1" || docker network disconnect "$network" "$container"
  step "$1 is cut"
}

compose_heal() {
  local container network
  compose_is_cut "$1" || return 0
  container=$(compose_container "$(mirror_of "$1")")
  network=$(compose_network "$container" "$1")
  docker network connect --alias "$(mirror_of "$1")" "$network" "$container"
  step "$1 is whole again"
}

compose_is_cut() {
  local container
  container=$(compose_container "$(mirror_of "$1")") || return 1
  ! docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}' "$container" |
    grep -qxF "$(compose_network "$container" "$1")"
}

# compose_container SERVICE: print its id, whether it runs or not. Fail if there is none.
compose_container() { docker compose ps --all --quiet "$1" 2>/dev/null | grep -m 1 .; }

# compose_network CONTAINER LINK: print its network's name, which begins with the project's.
compose_network() { echo "$(docker inspect --format '{{index .Config.Labels "com.docker.compose.project"}}' "$1")_wan-$2"; }

# ---------------------------------------------------------------- fault mode

# The container `ballast` mounts the disks and the clocks of the others. The script comes from here, its tools from the image.
compose_fill() {
  docker compose exec -T ballast sh -s "/volumes/$1/ballast" <native/fill.sh || die "the disk of $1 is not full; see above"
  step "the disk of $1 is full"
}

compose_unfill() {
  docker compose exec -T ballast rm -f "/volumes/$1/ballast" || die "the ballast is still there; see above"
  step "the disk of $1 has room again"
}

compose_clock() {
  [[ $1 != kafka-* ]] || die "the clock of a broker can be put wrong in native mode only: its image has no libfaketime"
  # shellcheck disable=SC2016  # for the inner shell to expand
  docker compose exec -T ballast sh -euc 'printf "%+d\n" "$2" >"$1.new" && mv "$1.new" "$1"' . "/volumes/clock/$1" "$2" </dev/null ||
    die "the clock of $1 is as it was; see above"
  await_clock "$1" "$2"
}

# ---------------------------------------------------------------- database

# compose_client USER PROGRAM ARGUMENT...: run one of PostgreSQL's programs as that user, on the services' database.
compose_client() {
  local user=$1
  [[ $user != postgres ]] || user=$(compose_admin)
  docker compose exec -T --env PGUSER="$user" --env PGDATABASE=logs postgres "${@:2}"
}

# compose_admin: print the superuser's name. In a database of an earlier release it is logs, until the next start.
compose_admin() {
  if docker compose exec -T postgres psql --username postgres --dbname logs --command '' </dev/null >/dev/null 2>&1; then
    echo postgres
  else
    echo logs
  fi
}

compose_psql() {
  local terminal=()
  [[ -t 0 && -t 1 ]] || terminal=(-T)
  docker compose exec "${terminal[@]}" --env PGUSER="$(compose_admin)" --env PGDATABASE=logs postgres psql "$@"
}
# Run it in a new container, because the one-shot's has ended.
compose_make_tables() { docker compose run --rm --no-deps --no-TTY schema </dev/null >&2; }

# compose_secret NAME: print it, from a container that mounts all of them.
compose_secret() {
  docker compose run --rm --no-deps --no-TTY --entrypoint cat passwords "/secrets/all/$1" </dev/null 2>/dev/null ||
    die "there is no secret $1 yet; ./setup.sh makes them"
}

compose_rows_of() {
  compose_client logs psql --no-psqlrc --quiet --tuples-only --no-align --command "SELECT count(*) FROM logs WHERE event_id = '$1'"
}

# compose_renew: as native_renew. PostgreSQL reads its certificate again without a start.
compose_renew() {
  local part
  is_secured || die "only a fleet with FLEET_SECURITY=on has certificates"
  take_lock
  compose_pki renew || die "there are no new certificates; see above"
  learn_certificates
  compose_runs || return 0
  compose_client postgres psql --no-psqlrc --quiet --command 'SELECT pg_reload_conf()' >/dev/null || die "PostgreSQL does not read its new certificate; see above"
  # Not by `docker kill`, after which a restart policy acts no more.
  docker compose exec --no-TTY prometheus sh -c 'kill -HUP 1' </dev/null || die "Prometheus does not read its new certificate; see above"
  for part in redis mirror-to-a mirror-to-b kafka-a kafka-b; do
    step "$part is started again, with its new certificate"
    docker compose restart "$part" || die "$part cannot be started again; see above"
    await_all_ready || die "not everything became ready again; ./setup.sh status tells more"
  done
}

READY_TIMEOUT_S=300

# await_all_ready: wait until no container is ill, and each service says that it is ready. A container is asked every few seconds alone.
await_all_ready() {
  local deadline=$((SECONDS + READY_TIMEOUT_S)) service
  while docker compose ps --format '{{.State}} {{.Health}}' | grep -vE '^running (healthy)?$' >/dev/null; do
    ((SECONDS < deadline)) || return 1
    sleep 1
  done
  for service in producer-a producer-b consumer-a consumer-b console gateway; do
    until compose_readiness "$service" >/dev/null 2>&1; do
      ((SECONDS < deadline)) || return 1
      sleep 1
    done
  done
}
