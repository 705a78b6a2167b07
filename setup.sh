#!/usr/bin/env bash
# setup.sh: start the whole fleet and prove that it works. `./setup.sh --help` lists its other verbs.
set -euo pipefail

# Work through symbolic links, and from any folder.
ROOT=$(readlink -f -- "${BASH_SOURCE[0]}")
ROOT=${ROOT%/*}
# shellcheck source=native/surroundings.sh
source "$ROOT/native/surroundings.sh"
# .run has passwords and events: only its owner may read it.
umask 077

CALLED_FROM=$PWD
# A link where root starts the fleet in a folder that only root can read; see native/user.sh.
RUN_DIR=$(readlink -f -- "$ROOT/.run")
FLEET_USER=$(id -un)
export ROOT RUN_DIR FLEET_USER
cd -- "$ROOT"

# shellcheck source=native/say.sh
source native/say.sh
# shellcheck source=native/dotenv.sh
source native/dotenv.sh
# shellcheck source=native/settings.sh
source native/settings.sh
# shellcheck source=native/preflight.sh
source native/preflight.sh
# shellcheck source=native/secrets.sh
source native/secrets.sh
# shellcheck source=native/pki.sh
source native/pki.sh
# shellcheck source=native/user.sh
source native/user.sh
# shellcheck source=native/postgres.sh
source native/postgres.sh
# shellcheck source=native/install.sh
source native/install.sh
# shellcheck source=native/render.sh
source native/render.sh
# shellcheck source=native/fleet.sh
source native/fleet.sh
# shellcheck source=native/links.sh
source native/links.sh
# shellcheck source=native/volumes.sh
source native/volumes.sh
# shellcheck source=native/backup.sh
source native/backup.sh
# shellcheck source=native/tail.sh
source native/tail.sh
# shellcheck source=native/archive.sh
source native/archive.sh
# shellcheck source=native/compose.sh
source native/compose.sh
# shellcheck source=native/proof.sh
source native/proof.sh

SOCKET_DIR=$(socket_dir)
POSTGRES_SOCKET_DIR="$SOCKET_DIR/postgres"
export SOCKET_DIR POSTGRES_SOCKET_DIR

usage() {
  cat <<HELP
Usage: ./setup.sh [--compose | --native]   start the whole fleet and prove it with one event through each region
       ./setup.sh down [-v]                stop it; -v removes its data, too
       ./setup.sh status                   each part and its health; exit code 1 if something is ill
       ./setup.sh logs [SERVICE] [-f]      what the parts, or one part, wrote
       ./setup.sh start|stop|restart|kill|suspend|resume SERVICE
                                           kill is kill -9, and the part comes back by itself; a suspended one keeps
                                           its connections and says nothing until it is resumed
       ./setup.sh backup FILE              save the database in FILE
       ./setup.sh restore FILE             set it back to that, while everything runs; the consumers replay what is missing
       ./setup.sh psql [ARGUMENT...]       PostgreSQL's client, as the one who may do everything
       ./setup.sh secret NAME              print a password that the fleet made for itself
       ./setup.sh renew                    make the certificates of a secured fleet (FLEET_SECURITY=on) anew
       ./setup.sh key new NAME --scope SCOPE [--tenant T] [--expires 90d] [--address CIDR]
       ./setup.sh key list | revoke ID | rotate ID [--overlap 7d]
                                           keys of clients, where FLEET_SECURITY=on asks for them; SCOPE is write, read, ops,
                                           admin, or several with commas
       ./setup.sh audit verify             say whether the audit logs of a secured fleet were changed, and at which line
       ./setup.sh archive DAY FILE         save a day that is over, like 2026-11-23, in a Parquet file
       ./setup.sh tail [-s SERVICE] [-l LEVEL] [-f FROM] [TEXT]
                                           follow the events as they are stored, none left out; FROM is like -10m
       ./setup.sh cut|heal LINK            break the network of one direction of replication, and nothing else; mend it

In fault mode, which is for tests (FLEET_FAULTS=on ./setup.sh starts it; its data is in memory, and gone after down):
       ./setup.sh fill|unfill DISK         leave no room on the disk of that service; give it back
       ./setup.sh clock CLOCK SECONDS      put a service's wall clock wrong by that much, or right again with 0
       TOXIPROXY_PORT (8474)               where Toxiproxy takes orders; it stands between producers and Kafka, and between
                                           consumers and PostgreSQL

Without --compose or --native it takes Docker Compose where that works and its images can be had, else native mode: the
same parts as processes of this machine, on loopback, with all state in .run. Ports and passwords are variables, in the
environment or in a file .env; .env.example lists them.

SERVICE is one of: ${SERVICES[*]}
LINK is one of: ${LINKS[*]}
NAME is one of: ${SECRETS[*]}
DISK is one of: ${FILLABLE[*]}
CLOCK is one of: ${CLOCKED[*]} (that of a broker in native mode only)
HELP
}

main() {
  local wish=''
  case ${1:-} in
    -h | --help | help) usage ;;
    '' | up | --compose | --native)
      [[ ${1:-} == --* ]] && wish=${1#--}
      (($# <= 1)) || die "nothing may follow ${1:-}" "$(usage)"
      up "$wish"
      ;;
    down)
      [[ $# -eq 1 || ($# -eq 2 && $2 == -v) ]] || die "down takes nothing but -v"
      down "${2:-}"
      ;;
    status) in_remembered_mode status ;;
    logs) shift && check_services "$@" && in_remembered_mode logs "$@" ;;
    start | stop | restart | kill | suspend | resume)
      (($# == 2)) || die "$1 takes one SERVICE: ${SERVICES[*]}"
      check_services "$2"
      in_remembered_mode touch "$1" "$2"
      ;;
    cut | heal)
      [[ $# -eq 2 && " ${LINKS[*]} " == *" $2 "* ]] || die "$1 takes one LINK: ${LINKS[*]}"
      in_remembered_mode "$1" "$2"
      ;;
    fill | unfill)
      [[ $# -eq 2 && " ${FILLABLE[*]} " == *" $2 "* ]] || die "$1 takes one DISK: ${FILLABLE[*]}"
      in_remembered_mode "$1" "$2"
      ;;
    clock)
      [[ $# -eq 3 && " ${CLOCKED[*]} " == *" $2 "* ]] || die "clock takes one CLOCK of ${CLOCKED[*]}, and SECONDS"
      [[ $3 =~ ^([+-]?)0*([0-9]{1,9})$ ]] || die "'$3' is no number of seconds; it may be negative, and have 9 digits"
      in_remembered_mode clock "$2" "${BASH_REMATCH[1]#+}${BASH_REMATCH[2]}"
      ;;
    backup | restore)
      (($# == 2)) || die "$1 takes one FILE"
      in_remembered_mode "$1" "$(from_caller "$2")"
      ;;
    psql | tail) in_remembered_mode "$@" ;;
    renew)
      (($# == 1)) || die "renew takes nothing"
      in_remembered_mode renew
      ;;
    secret)
      (($# == 2)) || die "secret takes one NAME: ${SECRETS[*]}"
      check_secret "$2"
      in_remembered_mode secret "$2"
      ;;
    key)
      [[ ${2:-} =~ ^(new|list|revoke|rotate)$ ]] || die "key takes new, list, revoke or rotate" "$(usage)"
      in_remembered_mode "$@"
      ;;
    audit)
      [[ $# -eq 2 && ${2:-} == verify ]] || die "audit takes verify" "$(usage)"
      in_remembered_mode audit
      ;;
    archive)
      (($# == 3)) || die "archive takes a DAY, like 2026-11-23, and a FILE, like 2026-11-23.parquet"
      [[ $2 =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}$ ]] || die "'$2' is no day: write it like 2026-11-23"
      in_remembered_mode archive "$2" "$(from_caller "$3")"
      ;;
    *) usage >&2 && die "what is '$1'?" ;;
  esac
}

check_services() {
  local name
  for name in "$@"; do
    [[ $name == -f || $name == --follow || " ${SERVICES[*]} " == *" $name "* ]] || die "no service '$name'; there are: ${SERVICES[*]}"
  done
}

up() {
  local mode
  read_dotenv "$ROOT/.env"
  settle
  check_exposure
  take_lock
  mode=$(choose_mode "$1")
  check_tenants "$mode"
  refuse_second_mode "$mode"
  [[ $mode == native ]] || refuse_other_checkout
  echo "$mode" >"$RUN_DIR/mode"
  remember "$RUN_DIR/settings"
  keep_passwords "$mode"
  find_grafana "$mode"
  "${mode}_up"
  prove "$mode"
  say_where "$mode"
}

down() {
  take_lock
  if [[ ${1:-} == -v && -f $RUN_DIR/mode ]] && grep -qx FLEET_FAULTS=on "$RUN_DIR/settings"; then
    step "fault mode's data is in memory and goes with it; the ordinary data stays, ./setup.sh down -v again removes that"
    set --
  fi
  in_remembered_mode down "$@"
  # A later `down -v` removes the ordinary fleet's data, since that of fault mode is gone.
  [[ ! -f $RUN_DIR/mode ]] || mv "$RUN_DIR/mode" "$RUN_DIR/mode.last"
  [[ ! -f $RUN_DIR/settings ]] || sed -i 's/^FLEET_FAULTS=on$/FLEET_FAULTS=off/' "$RUN_DIR/settings"
  step "down"
}

# take_lock: let one setup.sh run at a time. A second one waits, and then finds the work done.
take_lock() {
  make_run_dir
  exec 9>>"$RUN_DIR/lock"
  has flock || return 0
  flock --nonblock 9 || { step "another setup.sh is at work here; waiting for it" && flock 9; }
}

# choose_mode WISH: print compose or native, and say why on standard error.
choose_mode() {
  local why
  case $1 in
    native) step "native mode, as asked for" >&2 && echo native ;;
    compose)
      why=$(compose_obstacle) && die "compose mode cannot work here: $why"
      step "compose mode, as asked for" >&2 && echo compose
      ;;
    *)
      if why=$(compose_obstacle); then
        step "native mode, because $why" >&2 && echo native
      else
        step "compose mode, because Docker Compose and the images are there" >&2 && echo compose
      fi
      ;;
  esac
}

refuse_second_mode() {
  local mode faults
  [[ -f $RUN_DIR/mode ]] || return 0
  mode=$(<"$RUN_DIR/mode")
  faults=$(sed -n 's/^FLEET_FAULTS=//p' "$RUN_DIR/settings")
  case $mode in
    native) [[ -n $(supervisor_pid) ]] || return 0 ;;
    compose) compose_runs || return 0 ;;
  esac
  [[ $mode == "$1" ]] || die "the fleet runs in $mode mode; ./setup.sh down ends that."
  [[ ${faults:-off} == "$FLEET_FAULTS" ]] || die "the fleet runs with FLEET_FAULTS=${faults:-off}; ./setup.sh down ends that."
}

in_remembered_mode() {
  local mode=native verb=$1
  shift
  recall "$RUN_DIR/settings"
  # In an earlier release Compose chose the project's name.
  [[ -v COMPOSE_PROJECT_NAME ]] || read_dotenv "$ROOT/.env"
  settle
  if [[ -f $RUN_DIR/mode ]]; then
    mode=$(<"$RUN_DIR/mode")
  elif compose_is_here; then
    mode=compose
  elif [[ -f $RUN_DIR/mode.last ]]; then
    mode=$(<"$RUN_DIR/mode.last")
  fi
  [[ $mode == compose ]] || find_native_programs
  keep_passwords "$mode"
  find_grafana "$mode"
  if [[ $verb =~ ^(fill|unfill|clock)$ || " $* " == *" toxiproxy "* ]]; then
    in_fault_mode || die "the fleet is not in fault mode; FLEET_FAULTS=on ./setup.sh starts one that is"
  fi
  "${mode}_$verb" "$@"
}

# find_native_programs: find the programs that an earlier start installed. Install none.
find_native_programs() {
  POSTGRES_BIN=$(find_postgres || true)
  export POSTGRES_BIN
}

find_grafana() {
  grafana_url=''
  [[ $1 == native ]] && ! has grafana-server || grafana_url="http://127.0.0.1:$GRAFANA_PORT/api/health"
}

main "$@"
