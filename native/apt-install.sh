#!/usr/bin/env bash
# apt-install.sh [--proxies] PACKAGE...: as root, install packages and let none of their services start. With --proxies it
# reads NAME=VALUE lines from standard input, because sudo drops its caller's variables and every user can see arguments.
set -euo pipefail

# Packages are for all users of this machine, whatever umask its administrator uses.
umask 022
if [[ ${1:-} == --proxies ]]; then
  shift
  while IFS= read -r line; do [[ ! $line =~ ^[a-z]+_proxy= ]] || export "${line?}"; done
fi

MARK='# by setup.sh of multi-region-logs, for the time of an installation'
POLICY=/usr/sbin/policy-rc.d
NO_CLUSTER=/etc/postgresql-common/createcluster.d/multi-region-logs.conf

# Debian asks this file before a package starts a service. One that already forbids it stays, unless a killed run of this
# script left it.
forbid_service_starts() {
  ! grep -qs "$MARK" "$POLICY" || { policy_is_ours=1 && return 0; }
  [[ ! -x $POLICY ]] || "$POLICY" any start >/dev/null 2>&1 || return 0
  [[ ! -e $POLICY ]] || mv "$POLICY" "$POLICY.before-setup"
  printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >"$POLICY"
  chmod 755 "$POLICY"
  policy_is_ours=1
}

# PostgreSQL's package would make a database cluster of its own.
forbid_main_cluster() {
  mkdir -p "$(dirname "$NO_CLUSTER")"
  printf 'create_main_cluster = false\n' >"$NO_CLUSTER"
}

put_back() {
  rm -f "$NO_CLUSTER"
  [[ -n ${policy_is_ours:-} ]] || return 0
  rm -f "$POLICY"
  [[ ! -e $POLICY.before-setup ]] || mv "$POLICY.before-setup" "$POLICY"
}

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
trap put_back EXIT
trap 'exit 130' INT TERM
forbid_service_starts
[[ " $* " != *" postgresql"[\ -]* ]] || forbid_main_cluster
# Finish an interrupted installation first, because apt refuses to work before.
[[ -z $(dpkg --audit) ]] || dpkg --configure -a
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
