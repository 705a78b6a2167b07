# shellcheck shell=bash
# shellcheck disable=SC2153  # ROOT is set by setup.sh
# Find the programs that native mode needs, and install the missing ones.

KAFKA_HOME="$RUN_DIR/kafka"
VENV="$RUN_DIR/venv"
TOXIPROXY_VERSION=2.12.0
TOXIPROXY="$RUN_DIR/toxiproxy-$TOXIPROXY_VERSION/server"
CLOCK_LIBRARY=''

install_missing() {
  adopt_jars
  install_packages
  install_python_packages
  install_kafka
  ! in_fault_mode || install_toxiproxy
}

# ---------------------------------------------------------------- programs, from the distribution's packages

find_java() {
  local java version
  for java in "${JAVA_HOME:-/none}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
    [[ -x $java ]] || continue
    version=$(as_part "$java" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    ((${version:-0} >= 17)) && printf '%s\n' "$java" && return
  done
  return 1
}

# find_python: print the newest Python that is new enough. It tries to run each as the parts' user: a name on PATH may be an empty
# shim, or lie in a folder that only root can enter.
find_python() {
  local name python
  for name in python3.13 python3.12 python3.11 python3; do
    while IFS= read -r python; do
      as_part "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue
      printf '%s\n' "$python"
      return
    done < <(type -aP "$name")
  done
  return 1
}

# venv_works: is it there, and may the parts run it? One of an earlier release may be of a Python that is root's alone.
venv_works() { [[ -x $VENV/bin/python ]] && open_programs && as_part "$VENV/bin/python" -c '' 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has() { command -v "$1" >/dev/null; }
jars_are_current() { [[ -f $KAFKA_HOME/stamp && $(<"$KAFKA_HOME/stamp") == "$(jars_stamp)" ]]; }
jars_stamp() { digest "$ROOT"/mirrormaker/{pom.xml,jars.sha256}; }
digest() { cat "$@" | sha256sum | cut -c1-16; }

missing_packages() {
  local python
  find_postgres >/dev/null || postgres_package
  has redis-server || echo redis-server
  has prometheus || echo prometheus
  has prometheus-postgres-exporter || echo prometheus-postgres-exporter
  has prometheus-redis-exporter || echo prometheus-redis-exporter
  has curl || echo curl
  has setpriv && has flock || echo util-linux
  find_java >/dev/null || java_package
  jars_are_current || has mvn || echo maven
  ! in_fault_mode || find_faketime >/dev/null || echo libfaketime
  if python=$(find_python); then
    venv_works || has_venv "$python" || echo "$(basename "$python")-venv"
  else
    echo python3 python3-venv
  fi
}

java_package() {
  local version
  for version in 21 25 17; do
    apt-cache show "openjdk-$version-jre-headless" >/dev/null 2>&1 && echo "openjdk-$version-jre-headless" && return
  done
  echo default-jre-headless
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages | tr ' ' '\n')
  if ((${#missing[@]})); then
    has apt-get || die "this machine has no apt; install these by its own means and start again:" \
      "PostgreSQL >= 15 (server), Redis >= 7, Prometheus, postgres_exporter and redis_exporter (called prometheus-postgres-exporter and prometheus-redis-exporter), curl, a Java runtime >= 17, Maven, Python 3.11 to 3.13 with venv, util-linux." \
      "Missing here, by their Debian names: ${missing[*]}"
    step "packages: ${missing[*]}"
    apt_install "${missing[@]}"
  fi
  check_versions
}

check_versions() {
  local version
  check_postgres
  version=$(redis-server --version | sed -n 's/.*v=\([0-9]*\).*/\1/p')
  ((version >= 7)) || die "Redis $version is too old; 7 or later is needed."
  JAVA=$(find_java) || die "no Java runtime of version 17 or later."
  PYTHON=$(find_python) || die "no Python from 3.11 to 3.13 (looked for python3.13, python3.12, python3.11, python3)."
  ! in_fault_mode || CLOCK_LIBRARY=$(find_faketime) || die "libfaketime is still missing."
  export POSTGRES_BIN JAVA PYTHON CLOCK_LIBRARY
}

# apt_install PACKAGE...: install packages whose services must neither run nor start at boot. Services that the machine had
# before are left alone.
apt_install() {
  local root=() before unit
  if ((EUID != 0)); then
    root=(sudo)
    may_sudo || die "these packages are missing, and installing them needs root. Run this, then start again:" \
      "sudo apt-get install --no-install-recommends $*"
  fi
  mapfile -t before < <(enabled_units)
  quietly "$RUN_DIR/logs/apt.log" "${root[@]}" bash "$ROOT/native/apt-install.sh" --proxies "$@" < <(proxies)
  for unit in $(comm -13 <(printf '%s\n' "${before[@]}") <(enabled_units)); do
    [[ $unit =~ ^(postgresql|redis|prometheus) ]] || continue
    step "  leaving $unit disabled: the fleet starts its own"
    "${root[@]}" systemctl --quiet disable "$unit" >>"$RUN_DIR/logs/apt.log" 2>&1 || warn "could not disable $unit"
  done
}

# proxies: print the caller's proxies for the network, as lines with the names that apt reads.
proxies() {
  local name upper
  for name in http_proxy https_proxy no_proxy; do
    upper=${name^^}
    if [[ -n ${!name:-} ]]; then
      printf '%s=%s\n' "$name" "${!name}"
    elif [[ -n ${!upper:-} ]]; then
      printf '%s=%s\n' "$name" "${!upper}"
    elif [[ $name != no_proxy && -n ${all_proxy:-${ALL_PROXY:-}} ]]; then
      printf '%s=%s\n' "$name" "${all_proxy:-$ALL_PROXY}"
    fi
  done
}

# may_sudo: without a password, or with one if there is a terminal to type it.
may_sudo() { has sudo && { sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo true; }; }; }

# can_be_root [silently]: whether as_root will work. `silently` means without a prompt for a password.
can_be_root() {
  ((EUID != 0)) || return 0
  if [[ ${1:-} == silently ]]; then has sudo && sudo -n true 2>/dev/null; else may_sudo; fi
}
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

enabled_units() {
  has systemctl || return 0
  systemctl list-unit-files --no-legend --state=enabled --type=service 2>/dev/null | awk '{print $1}' | sort
}

# ---------------------------------------------------------------- Python packages, from the lock file

install_python_packages() {
  local stamp lock="$ROOT/requirements.lock"
  [[ $APP_OTLP_TRACES_ENDPOINT == none ]] || lock="$ROOT/requirements-otel.lock"
  stamp="$(digest "$lock") $("$PYTHON" -c 'import sys; print(sys.version)')"
  if venv_works && [[ -f $VENV/stamp && $(<"$VENV/stamp") == "$stamp" ]]; then
    install_archive_packages "$APP_ARCHIVE_DIR"
    return
  fi
  step "Python packages ($("$PYTHON" --version), from ${lock##*/})"
  # An interrupted run leaves no stamp, so the environment is built anew.
  "$PYTHON" -m venv --clear "$VENV" || die "'$PYTHON -m venv' failed"
  quietly "$RUN_DIR/logs/pip.log" "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
    --require-hashes --requirement "$lock"
  printf '%s\n' "$stamp" >"$VENV/stamp"
  install_archive_packages "$APP_ARCHIVE_DIR"
}

# install_archive_packages WISH: what Parquet files take, unless the wish is none or they are there.
install_archive_packages() {
  [[ $1 != none ]] || return 0
  ! "$VENV/bin/python" -c 'import pyarrow' 2>/dev/null || return 0
  step "Python packages for Parquet files (from requirements-archive.lock)"
  quietly "$RUN_DIR/logs/pip.log" "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input \
    --require-hashes --requirement "$ROOT/requirements-archive.lock"
}

# ---------------------------------------------------------------- Kafka, from Maven

# adopt_jars: an earlier release knew no list. Its jars need not be got again, if they are of the same pom.xml and of the list.
adopt_jars() {
  [[ -f $KAFKA_HOME/stamp && $(<"$KAFKA_HOME/stamp") == "$(digest "$ROOT/mirrormaker/pom.xml")" ]] || return 0
  ! bash "$ROOT/mirrormaker/jars.sh" check "$KAFKA_HOME" libs agent 2>/dev/null || jars_stamp >"$KAFKA_HOME/stamp"
}

install_kafka() {
  jars_are_current && return
  local build="$RUN_DIR/kafka.new"
  step "Kafka and MirrorMaker (Maven, about 60 MB)"
  rm -rf "$build"
  mkdir -p "$build"
  cp "$ROOT/mirrormaker/pom.xml" "$build/"
  # Not as arguments, because every user can see those.
  JAVA_HOME=$(java_home) JDK_JAVA_OPTIONS="${JDK_JAVA_OPTIONS:-} $(proxies | bash "$ROOT/mirrormaker/java-proxies.sh")" \
    quietly "$RUN_DIR/logs/maven.log" mvn --batch-mode --no-transfer-progress --strict-checksums --file "$build/pom.xml" package
  bash "$ROOT/mirrormaker/jars.sh" check "$build/target" libs agent || die "Kafka's jars are refused; see above."
  jars_stamp >"$build/target/stamp"
  rm -rf "$KAFKA_HOME"
  mv "$build/target" "$KAFKA_HOME"
  rm -rf "$build"
}

java_home() { dirname "$(dirname "$(readlink -f "$JAVA")")"; }

# ---------------------------------------------------------------- Toxiproxy, from its Go module

# Go compares what it gets with native/toxiproxy/go.sum.
install_toxiproxy() {
  [[ -x $TOXIPROXY ]] && return
  has_go || die "fault mode builds Toxiproxy from its Go module, and there is no Go of version 1.23 or later here." \
    "Install one and start again, or start without FLEET_FAULTS=on."
  step "Toxiproxy $TOXIPROXY_VERSION (Go module)"
  quietly "$RUN_DIR/logs/go.log" env GOFLAGS=-trimpath GOWORK=off CGO_ENABLED=0 \
    go build -C "$ROOT/native/toxiproxy" -mod=readonly -o "$TOXIPROXY" github.com/Shopify/toxiproxy/v2/cmd/server
}

has_go() {
  local version
  version=$(go env GOVERSION 2>/dev/null) && [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 23))
}
