# shellcheck shell=bash
# Put one day into a Parquet file, in both modes, while everything runs. The work is done by `python -m consumer.archive`.

# native_archive DAY FILE
native_archive() {
  [[ -x $VENV/bin/python && -f $RUN_DIR/etc/archive.env ]] || die "there is no fleet here yet; ./setup.sh starts one"
  install_archive_packages "$2"
  open_programs
  bash "$ROOT/native/run.sh" archive "$1" "$2" >/dev/null || die "there is no archive, and the day is as it was; see above"
  say_archive "$1" "$2"
}

# compose_archive DAY FILE: in a container of its own, for the consumers' have no packages for it.
compose_archive() {
  local folder name=${2##*/} trust=()
  folder=$(dirname "$2")
  [[ -d $folder ]] || die "there is no folder $folder: make it, or name another one"
  ! is_secured || trust=(--volume "$TLS_DIR/ca.pem:/run/certificates/ca.pem:ro,z"
    --env "CONSUMER_POSTGRES_DSN=postgresql://logs@postgres:5432/logs?sslmode=verify-full&sslrootcert=/run/certificates/ca.pem")
  COMPOSE_FILE=docker-compose.yml:docker-compose.archive.yml COMPOSE_PATH_SEPARATOR=: \
    docker compose run --rm --no-deps --no-TTY --build --user "$(id -u):$(id -g)" --volume "$(readlink -f -- "$folder"):/archive:z" "${trust[@]}" \
    archive python -m consumer.archive "$1" "/archive/$name" </dev/null >/dev/null ||
    die "there is no archive, and the day is as it was; see above (/archive is $folder there)"
  say_archive "$1" "$2"
}

say_archive() { step "$1 is in $2 ($(du -h "$2" | cut -f1)), read back and compared; it is still in the table"; }
