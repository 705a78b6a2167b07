# shellcheck shell=bash
# shellcheck disable=SC2153  # CALLED_FROM is set by setup.sh
# Make and restore a logical backup of the database, in both modes, while everything runs.

LOCK_TIMEOUT=30s

native_backup() { backup native "$1"; }
native_restore() { restore native "$1"; }
compose_backup() { backup compose "$1"; }
compose_restore() { restore compose "$1"; }

# from_caller FILE: print its path as the caller means it, since setup.sh works in the checkout.
from_caller() { [[ $1 == /* ]] && echo "$1" || echo "$CALLED_FROM/$1"; }

# backup MODE FILE: write a backup. MODE_client runs one of PostgreSQL's programs.
backup() {
  local client=$1_client file=$2
  [[ -d $(dirname "$file") ]] || die "there is no folder $(dirname "$file") for the backup"
  [[ ! -d $file ]] || die "$file is a folder; name the file that the backup shall become"
  # Write under another name first, so that half a backup never looks like a whole one. Only its owner may read it.
  (umask 077 && "$client" postgres pg_dump --format=custom </dev/null >"$file.partial") || {
    rm -f "$file.partial"
    die "there is no backup: pg_dump failed, see above; is PostgreSQL up? (./setup.sh status)"
  }
  sync "$file.partial"
  mv -f "$file.partial" "$file"
  step "backup in $file ($(du -h "$file" | cut -f1))"
}

# restore MODE FILE: restore in one transaction, so that a failed restore leaves the database unchanged. PostgreSQL runs what the file
# holds, so it runs as a role that can change the fleet's tables and nothing else.
restore() {
  local client=$1_client file=$2
  [[ -f $file && -r $file ]] || die "there is no backup $file"
  "$client" logs_migrator pg_restore --list <"$file" | grep ' TABLE public consumer_offsets ' >/dev/null ||
    die "$file is no backup of this database; ./setup.sh backup FILE makes one"
  restore_script "$client" "$file" | "$client" logs_migrator psql --no-psqlrc --quiet --output /dev/null --set ON_ERROR_STOP=1 ||
    die "nothing was restored, the database is as it was; see above for the reason"
  # The backup may be of an earlier release, which had less.
  "$1_make_tables" || die "the database is restored, and its schema could not be brought to this release, see above; ./setup.sh does that"
  step "restored from $file; the consumers replay what is missing from Kafka"
}

# restore_script CLIENT FILE: print the SQL. COMMIT comes last, and only if the whole backup could be read.
#
# The script locks tables first, in the order of the consumers, so that there is no deadlock. Then it drops the whole schema.
# `pg_restore --clean` cannot do that: PostgreSQL refuses its list of drops for partitions, and the list lacks days that were
# created or dropped since the backup. The restored database gets a new identity, because ids that Redis has for the old one
# may belong to rows that are gone.
restore_script() {
  cat <<SQL
BEGIN;
SET ROLE logs_owner;
SET LOCAL client_min_messages = warning;
SET LOCAL lock_timeout = '$LOCK_TIMEOUT';
SELECT format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', name)
  FROM unnest(ARRAY['logs', 'consumer_offsets', 'store_identity', 'writers']) AS name WHERE to_regclass(name) IS NOT NULL
\\gexec
DROP SCHEMA public CASCADE;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
COMMENT ON SCHEMA public IS 'standard public schema';
SQL
  "$1" logs_migrator pg_restore --no-owner --no-privileges --file=- <"$2" && cat consumer/grants.sql &&
    echo 'UPDATE public.store_identity SET id = pg_catalog.gen_random_uuid(); COMMIT;'
}
