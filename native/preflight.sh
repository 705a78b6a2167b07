# shellcheck shell=bash
# Check for causes that would make a start fail halfway, before anything is installed or started.

MEMORY_WANTED_MIB=2560
MEMORY_NEEDED_MIB=1280

check_exposure() {
  local name
  [[ $POSTGRES_PASSWORD =~ ^[A-Za-z0-9._~-]+$ ]] ||
    die "POSTGRES_PASSWORD becomes part of a URL: use letters, digits and . _ ~ - only."
  case $BIND_ADDRESS in
    \[*:*\]) ;;
    *:*) die "BIND_ADDRESS=$BIND_ADDRESS: give an IPv4 address, like 127.0.0.1; in compose mode an IPv6 one in brackets will do, [$BIND_ADDRESS]." ;;
    *) is_ipv4 "$BIND_ADDRESS" || die "BIND_ADDRESS=$BIND_ADDRESS: give an IPv4 address, like 127.0.0.1, and no name." ;;
  esac
  [[ ! $BIND_ADDRESS =~ ^127\. && $BIND_ADDRESS != '[::1]' ]] || return 0
  [[ $FLEET_SECURITY == on ]] || die \
    "BIND_ADDRESS=$BIND_ADDRESS opens the gateway to other machines: set FLEET_SECURITY=on, which keeps what is the fleet's own off" \
    "its port. Or leave BIND_ADDRESS at 127.0.0.1."
  for name in POSTGRES_PASSWORD GRAFANA_PASSWORD; do
    [[ ${!name} != logs ]] || die \
      "BIND_ADDRESS=$BIND_ADDRESS would show the fleet to others while $name is the default." \
      "Set $name, or leave BIND_ADDRESS at 127.0.0.1."
  done
}

# check_tenants MODE: check that the gateway can read the tenants' file. What it says, the gateway tells.
check_tenants() {
  local folder=${FLEET_TENANTS_FILE%/*} others
  [[ $FLEET_TENANTS_FILE != none ]] || return 0
  [[ $FLEET_TENANTS_FILE == /*/* ]] ||
    die "FLEET_TENANTS_FILE=$FLEET_TENANTS_FILE: give the whole path of a file in a folder, like /etc/fleet/tenants.toml."
  [[ -f $FLEET_TENANTS_FILE && -r $FLEET_TENANTS_FILE ]] || die "FLEET_TENANTS_FILE: $FLEET_TENANTS_FILE is no file that can be read."
  [[ $1 == compose ]] || return 0
  others=$(find "$folder" -mindepth 1 -maxdepth 1 ! -name '*.toml' ! -name '.*.sw?' ! -name '*~' -print -quit)
  [[ -z $others ]] || die \
    "FLEET_TENANTS_FILE: the gateway's container sees the whole of $folder, and $others is none of its business." \
    "Give the file a folder of its own."
}

# is_ipv4 TEXT: check for four numbers up to 255.
is_ipv4() {
  local number
  [[ $1 =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]] || return 1
  for number in ${1//./ }; do ((10#$number <= 255)) || return 1; done
}

# check_native: check the limits of native mode.
check_native() {
  [[ $BIND_ADDRESS != *:* ]] || die "BIND_ADDRESS=$BIND_ADDRESS: native mode listens on IPv4 addresses only; give one, like 127.0.0.1."
  # Python makes no environment in a folder whose path has a colon, and Java takes the colon for the end of the path.
  [[ $ROOT != *[:$'\n']* ]] || die "native mode cannot work below $ROOT, whose name has a colon or a line break in it; move the checkout."
}

check_memory() {
  local available
  available=$(awk '/^(MemAvailable|SwapFree):/ {sum += $2} END {print int(sum / 1024)}' /proc/meminfo)
  if ((available < MEMORY_NEEDED_MIB)); then
    die "only $available MiB of memory are free; the fleet needs about $MEMORY_WANTED_MIB MiB." \
      "Free some, or lower KAFKA_HEAP (now $KAFKA_HEAP) and MIRROR_HEAP (now $MIRROR_HEAP)."
  elif ((available < MEMORY_WANTED_MIB)); then
    warn "only $available MiB of memory are free; the fleet likes to have $MEMORY_WANTED_MIB MiB."
  fi
}

# check_ports [PID]: check that each port is free, or held by a descendant of PID, this fleet's supervisor.
check_ports() {
  local ours=${1:-} variable port inode holder order=() problems=()
  local -A wanted=() listening=() holders=()
  local settings=("${DEFAULTS[@]}")
  ! in_fault_mode || settings+=("${FAULT_DEFAULTS[@]}")
  for variable in "${settings[@]}"; do
    variable=${variable%%=*}
    [[ $variable == *_PORT ]] || continue
    port=${!variable}
    # Syslog is taken where it is asked for.
    [[ $variable:$port != GATEWAY_SYSLOG_PORT:none ]] || continue
    if [[ ! $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then die "$variable=$port is no port number."; fi
    [[ ! -v wanted[$port] ]] || die "$variable and ${wanted[$port]} both ask for port $port."
    wanted[$port]=$variable
    order+=("$port")
  done
  while read -r port inode; do
    listening[$((16#$port))]=$inode
  done < <(awk '$4 == "0A" {n = split($2, address, ":"); print address[n], $10}' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  for port in "${order[@]}"; do
    [[ -v listening[$port] ]] || continue
    ((${#holders[@]})) || read_socket_holders holders
    holder=${holders[${listening[$port]}]:-}
    [[ -n $ours && -n $holder ]] && descends_from "$holder" "$ours" && continue
    problems+=("port $port is taken by $(describe_holder "$holder"); set ${wanted[$port]} to another one")
  done
  ((${#problems[@]} == 0)) || die "the fleet cannot have all of its ports:" "${problems[@]}"
}

# read_socket_holders NAME: fill the associative array NAME with socket inode -> pid, for all processes that this user can read.
read_socket_holders() {
  # shellcheck disable=SC2034  # the caller's array, by another name
  local -n found=$1
  local folder socket
  while read -r folder socket; do
    socket=${socket#socket:[} folder=${folder#/proc/}
    # shellcheck disable=SC2034
    found["${socket%]}"]=${folder%%/*}
  done < <(find /proc/[0-9]*/fd -lname 'socket:*' -printf '%h %l\n' 2>/dev/null || true)
}

describe_holder() {
  if [[ -n $1 && -r /proc/$1/cmdline ]]; then
    printf 'pid %s (%.120s)' "$1" "$(tr '\0' ' ' <"/proc/$1/cmdline")"
  else
    printf 'a process of another user (root can see which: ss -ltnp)'
  fi
}

descends_from() {
  local pid=$1 ancestor=$2
  while [[ -n $pid ]] && ((pid > 1)); do
    ((pid != ancestor)) || return 0
    pid=$(awk '/^PPid:/ {print $2}' "/proc/$pid/status" 2>/dev/null) || return 1
  done
  return 1
}
