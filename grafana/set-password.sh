#!/bin/sh
# set-password.sh: let the password of Grafana's administrator be what GF_SECURITY_ADMIN_PASSWORD says now. Run before Grafana in
# both modes; POSIX sh, because the image has no more.
#
# Grafana itself reads that variable only when it makes its database. A password that was changed in the browser stays until the
# variable changes.
set -eu

database=$GF_PATHS_DATA/grafana.db
note=$GF_PATHS_DATA/admin-password.sha256
wanted=$(printf '%s' "$GF_SECURITY_ADMIN_PASSWORD" | sha256sum | cut -d ' ' -f 1)

umask 077
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
