#!/bin/sh
# set-password.sh: let the password of Grafana's administrator be what GF_SECURITY_ADMIN_PASSWORD says now, and decide by which key
# Grafana encrypts. Run before Grafana in both modes; POSIX sh, because the image has no more.
#
# Grafana itself reads that variable only when it makes its database. A password that was changed in the browser stays until the
# variable changes.
set -eu

database=$GF_PATHS_DATA/grafana.db
note=$GF_PATHS_DATA/admin-password.sha256
wanted=$(printf '%s' "$GF_SECURITY_ADMIN_PASSWORD" | sha256sum | cut -d ' ' -f 1)

umask 077
# What a database holds under the key that every Grafana has, Grafana could not read under another one. FLEET_SECRET_KEY_FILE says where
# compose mode's Grafana will find the fleet's; native mode has it in Grafana's environment, if there is the note.
[ -s "$database" ] || : >"$GF_PATHS_DATA/own-key"
if [ ! -e "$GF_PATHS_DATA/own-key" ]; then
  echo "Grafana's database is of an earlier release and keeps the key that every Grafana has; without that database it gets its own"
fi
if [ -n "${FLEET_SECRET_KEY_FILE:-}" ]; then
  rm -f "$GF_PATHS_DATA/secret-key"
  if [ -e "$GF_PATHS_DATA/own-key" ]; then
    ln -s "$FLEET_SECRET_KEY_FILE" "$GF_PATHS_DATA/secret-key"
  else
    printf '%s\n' SW2YcwTIb9zpOOhoPsMm >"$GF_PATHS_DATA/secret-key"
  fi
fi

if [ -s "$database" ] && [ "$(cat "$note" 2>/dev/null)" != "$wanted" ]; then
  # Without a note the database is of an earlier version. With the default password asked for, it may have a better one: keep it.
  if [ -e "$note" ] || [ "$GF_SECURITY_ADMIN_PASSWORD" != logs ]; then
    if command -v grafana >/dev/null; then set -- grafana cli; else set -- grafana-cli; fi
    printf '%s\n' "$GF_SECURITY_ADMIN_PASSWORD" |
      "$@" --homepath "$GF_PATHS_HOME" admin reset-admin-password --password-from-stdin ||
      { echo "Grafana's password is still the one before; see above for the reason" >&2 && exit 1; }
  fi
fi
printf '%s\n' "$wanted" >"$note"
