# shellcheck shell=bash
# What a machine, a user or a shell brings along must not change what these scripts and what they start do. Sourced before
# anything else by setup.sh, run.sh and load-test.sh.

# Of whoever started us: options, functions by the names of programs, variables that redirect programs.
set +o noclobber +o noglob +o allexport +o posix
shopt -u nocasematch nullglob failglob dotglob nocaseglob
for name in $(compgen -A function); do unset -f "$name"; done
unset BASH_ENV ENV CDPATH GLOBIGNORE POSIXLY_CORRECT GREP_OPTIONS GREP_COLOR GREP_COLORS TAR_OPTIONS LANGUAGE
# libpq, asyncpg and the exporters would take them for what nobody told them. A module path or an option of Python is for other
# programs than ours.
for name in "${!PG@}" "${!PYTHON@}"; do unset "$name"; done
unset name PIP_USER PIP_TARGET PIP_PREFIX
# The same order, the same digits and points everywhere; UTF-8, because Java makes of a path whatever the locale can write.
export LC_ALL=C.UTF-8
# Programs keep their caches below it.
if [[ -z ${HOME:-} ]]; then
  HOME=$(getent passwd "$(id -u)" | cut -d : -f 6) || HOME=''
  export HOME="${HOME:-/tmp}"
fi

# go_direct ADDRESS...: what is on this machine is never asked for through a proxy; what is beyond may have to be, like packages
# and a collector of traces.
go_direct() {
  local name host
  for name in no_proxy NO_PROXY; do
    for host in localhost 127.0.0.1 ::1 "$@"; do
      [[ ",${!name:-}," == *",$host,"* || ${!name:-} == '*' ]] || export "$name=${!name:+${!name},}$host"
    done
  done
}

# own_http OPTION... URL: ask a part of the fleet. Neither a proxy nor somebody's .curlrc has a say in it.
own_http() { curl --disable --noproxy '*' --silent "$@"; }
