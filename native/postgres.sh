# shellcheck shell=bash
# shellcheck disable=SC2153  # RUN_DIR is set by setup.sh
# Which of the installed PostgreSQL servers runs: the newest one, or the one that existing data is of. A server reads the data of its
# own major version alone.

# postgres_folders: print the folders where servers' programs may be, the newest first.
postgres_folders() {
  printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV
  dirname "$(command -v postgres || echo /none/)"
}

# major_of FOLDER: print the major version of the server there.
major_of() { "$1/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# postgres_servers: print major version and folder of each server, the newest first.
postgres_servers() {
  local folder
  while IFS= read -r folder; do
    [[ -x $folder/initdb && -x $folder/postgres ]] || continue
    printf '%s %s\n' "$(major_of "$folder")" "$folder"
  done < <(postgres_folders)
}

# version_of_data: print the major version that the data is of; nothing if there is no data.
version_of_data() { cat "$RUN_DIR/$(data_of postgres)/PG_VERSION" 2>/dev/null || true; }

# find_postgres: print the folder of the programs of the server that the data needs. Fail if there is none.
find_postgres() {
  local wanted version folder
  wanted=$(version_of_data)
  while read -r version folder; do
    [[ ${wanted:-$version} == "$version" ]] || continue
    printf '%s\n' "$folder"
    return
  done < <(postgres_servers)
  return 1
}

# postgres_package: print the name of the package that has that server.
postgres_package() {
  local wanted
  wanted=$(version_of_data)
  [[ -z $wanted ]] && echo postgresql && return
  ! apt-cache show "postgresql-$wanted" >/dev/null 2>&1 || echo "postgresql-$wanted"
}

# check_postgres: set POSTGRES_BIN, or say why there is no server.
check_postgres() {
  local wanted version newest
  wanted=$(version_of_data)
  POSTGRES_BIN=$(find_postgres) || {
    [[ -n $wanted ]] || die "PostgreSQL's server programs are still missing."
    die "the data in $RUN_DIR/$(data_of postgres) is PostgreSQL $wanted's, and no server of that version is installed." \
      "Install postgresql-$wanted and start again; the data is as it was." \
      "Or move that folder elsewhere, start again, and restore a backup (docs/operating.md)."
  }
  version=$(major_of "$POSTGRES_BIN")
  ((version >= 15)) || die "PostgreSQL $version is too old; 15 or later is needed."
  newest=$(postgres_servers | sort -rn | awk 'NR == 1 {print $1}')
  [[ -z $wanted || $newest == "$version" ]] ||
    step "PostgreSQL $version goes on, because the data is of that version; $newest is here, too, and docs/operating.md says how to move"
}
