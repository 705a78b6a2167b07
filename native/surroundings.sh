# shellcheck shell=bash
# The surroundings (machine, user, shell) must not change what these scripts and their programs do. setup.sh, run.sh and
# load-test.sh source this file before anything else.

# Reset what the caller's shell may have: options, functions with the names of programs, variables that redirect programs.
set +o noclobber +o noglob +o allexport +o posix
shopt -u nocasematch nullglob failglob dotglob nocaseglob
for name in $(compgen -A function); do unset -f "$name"; done
unset BASH_ENV ENV CDPATH GLOBIGNORE POSIXLY_CORRECT GREP_OPTIONS GREP_COLOR GREP_COLORS TAR_OPTIONS LANGUAGE
# libpq, asyncpg and the exporters read PG* variables as defaults. PYTHON* variables of the caller are meant for other programs.
for name in "${!PG@}" "${!PYTHON@}"; do unset "$name"; done
unset name PIP_USER PIP_TARGET PIP_PREFIX
# The same sort order and number format everywhere. UTF-8, because Java replaces characters of a path that the locale lacks.
export LC_ALL=C.UTF-8
# Programs keep their caches below HOME.
if [[ -z ${HOME:-} ]]; then
  HOME=$(getent passwd "$(id -u)" | cut -d : -f 6) || HOME=''
  export HOME="${HOME:-/tmp}"
fi

# keep_environment [NAME...]: stop exporting all variables but those that any program needs, and the named ones. A part of the
# fleet must not hold another part's secrets, nor those of the caller's shell.
keep_environment() {
  local name kept=" PATH HOME LC_ALL TZ TMPDIR SSL_CERT_FILE SSL_CERT_DIR http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY $* "
  for name in $(compgen -e); do
    [[ $kept == *" $name "* ]] || export -n "${name?}"
  done
}

# drop_to USER: set `drop` to the command that turns root into that user, who cannot become root again. setpriv has root's
# capabilities until it becomes something else, so it would find a program that the user cannot reach. The second one has none.
drop_to() {
  # shellcheck disable=SC2034  # read by the caller
  drop=(setpriv --reuid "$1" --regid "$(id -gn "$1")" --init-groups --no-new-privs --inh-caps=-all setpriv --no-new-privs --)
}

# go_direct ADDRESS...: use no proxy for addresses of this machine. Other addresses may need one, such as package registries
# and a collector of traces.
go_direct() {
  local name host
  for name in no_proxy NO_PROXY; do
    for host in localhost 127.0.0.1 ::1 "$@"; do
      [[ ",${!name:-}," == *",$host,"* || ${!name:-} == '*' ]] || export "$name=${!name:+${!name},}$host"
    done
  done
}

# own_http OPTION... URL: ask a part of the fleet, without a proxy and without the user's .curlrc.
own_http() { curl --disable --noproxy '*' --silent "$@"; }
