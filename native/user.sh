# shellcheck shell=bash
# shellcheck disable=SC2153  # ROOT and RUN_DIR are set by setup.sh
# As which user the parts of native mode run, and from where. Never as root: where root starts the fleet, a user without any rights is
# made for it, or FLEET_RUN_AS names one. setup.sh and the supervisor stay what they are; run.sh becomes that user.

FLEET_ACCOUNT=multi-region-logs
SEATS=/var/lib/multi-region-logs
# Where the parts find the code, and .run: the checkout, or a copy where their user can go.
SEAT=${RUN_DIR%/*}
CODE=(console consumer fleet gateway grafana mirrormaker native producer prometheus shared)

# choose_user: to RUN_AS, and to POSTGRES_AS for PostgreSQL, which root starts as its package's user, as ever.
choose_user() {
  local wanted=${FLEET_RUN_AS:-}
  if ((EUID != 0)); then
    RUN_AS=$(id -un) POSTGRES_AS=$(id -un)
    [[ -z $wanted || $wanted == "$RUN_AS" ]] || die "FLEET_RUN_AS=$wanted: only root can start the parts as another user."
    return
  fi
  if [[ -z $wanted ]]; then
    wanted=$FLEET_ACCOUNT
    id "$wanted" >/dev/null 2>&1 || make_account
  fi
  id "$wanted" >/dev/null 2>&1 || die "FLEET_RUN_AS=$wanted: there is no such user."
  (($(id -u "$wanted") != 0)) || die "FLEET_RUN_AS=$wanted: the parts of the fleet do not run as root; name another user, or none."
  RUN_AS=$wanted POSTGRES_AS=$wanted
  ! id postgres >/dev/null 2>&1 || POSTGRES_AS=postgres
}

make_account() {
  PATH="$PATH:/usr/sbin:/sbin" useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin \
    "$FLEET_ACCOUNT" >&2 || die "no user can be made for the fleet; make one, and say FLEET_RUN_AS=ITS_NAME."
  step "user $FLEET_ACCOUNT: the parts run as it, and not as root"
}

# as_part COMMAND...: as the parts' user; before one was chosen, and in tests, as the caller.
as_part() {
  local drop=()
  ((EUID != 0)) || [[ -z ${RUN_AS:-} ]] || drop_to "$RUN_AS"
  "${drop[@]}" "$@"
}

# take_seat: let .run be where the parts' user can go, and a copy of the code beside it if that cannot be read in the checkout.
take_seat() {
  ((EUID == 0)) || return 0
  end_what_is_roots
  if [[ $SEAT == "$ROOT" ]] && ! can_read_code; then move_state; fi
  [[ $SEAT == "$ROOT" ]] || copy_code
}

can_read_code() {
  local name paths=()
  for name in "${CODE[@]}"; do paths+=("$ROOT/$name"); done
  # What Python keeps of it is made anew where it cannot be read.
  [[ -z $(as_part find "${paths[@]}" -name __pycache__ -prune -o \( ! -readable -o -type d ! -executable \) -print -quit 2>&1) ]]
}

# move_state: Compose mode, the tests and people find it by the same name, which is a link now. Then begin anew, since half of what
# setup.sh knows is below the old one.
move_state() {
  local seat
  { mkdir -p "$SEATS" && chmod 755 "$SEATS" && seat=$(mktemp -d "$SEATS/XXXXXXXX") && chmod 755 "$seat"; } ||
    die "the user $RUN_AS cannot read $ROOT, and no folder can be made in $SEATS; move the checkout to where it can."
  printf '%s\n' "$ROOT" >"$seat/checkout"
  { mv "$ROOT/.run" "$seat/.run" && ln -s "$seat/.run" "$ROOT/.run"; } || die "$ROOT/.run cannot be moved to $seat; see above."
  step "the user $RUN_AS cannot read $ROOT: .run is in $seat now, with a copy of the code beside it"
  # The new one needs what the caller gave, and would wait for the lock that this one holds.
  export POSTGRES_PASSWORD GRAFANA_PASSWORD
  exec 9>&-
  exec bash "$ROOT/setup.sh" --native
}

copy_code() {
  local name
  chmod 755 "$SEAT"
  for name in "${CODE[@]}"; do
    ! diff --recursive --brief --exclude=__pycache__ "$ROOT/$name" "$SEAT/$name" >/dev/null 2>&1 || continue
    rm -rf "$SEAT/$name.new"
    cp -R "$ROOT/$name" "$SEAT/$name.new"
    chmod -R u=rwX,go=rX "$SEAT/$name.new"
    rm -rf "${SEAT:?}/$name"
    mv "$SEAT/$name.new" "$SEAT/$name"
  done
}

# end_what_is_roots: a fleet whose parts run as another user is stopped, for its files change hands.
end_what_is_roots() {
  [[ -n $(supervisor_pid) ]] || return 0
  ! grep -qxF "RUN_AS=$RUN_AS" "$RUN_DIR/etc/run.env" 2>/dev/null || return 0
  step "the parts ran as another user; they are stopped, to run as $RUN_AS from now on"
  recall_and_end
}

# With the ports that it was started with.
recall_and_end() { (find_native_programs && native_down); }

# hand_over: what root's parts, or another user's, have written, to those who run now.
hand_over() {
  local folder owner said=''
  ((EUID == 0)) || return 0
  install -d -m 700 -o "$RUN_AS" -g "$(id -gn "$RUN_AS")" "$RUN_DIR/crash"
  for folder in "$RUN_DIR"/data/*; do
    [[ -d $folder ]] || continue
    owner=$RUN_AS
    [[ $folder != */postgres ]] || owner=$POSTGRES_AS
    [[ $(stat -c %U "$folder") != "$owner" ]] || continue
    chown -R "$owner:$(id -gn "$owner")" "$folder" || die "$folder cannot be handed over to $owner; see above."
    said+=" ${folder##*/}"
  done
  [[ -z $said ]] || step "handed over to their users, with all data:$said"
}

# check_archive_folder: retention puts days there as the parts' user, and drops none of which there is no file.
check_archive_folder() {
  [[ $APP_ARCHIVE_DIR == none ]] || as_part test -w "$APP_ARCHIVE_DIR/." ||
    warn "the user $RUN_AS cannot write to APP_ARCHIVE_DIR=$APP_ARCHIVE_DIR: until it can, retention drops no day."
}

# compile_code: the parts' user cannot write there, and would do it at each start.
compile_code() {
  ((EUID == 0)) || return 0
  (
    umask 022
    cd -- "$SEAT" || exit
    "$VENV/bin/python" -m compileall -q console consumer fleet gateway producer shared >/dev/null 2>&1 || true
    find console consumer fleet gateway producer shared -name __pycache__ -exec chmod -R go+rX {} +
  )
}

# open_programs: what is installed is no secret, and root's umask would keep the parts from it.
open_programs() {
  local folder
  ((EUID == 0)) || return 0
  for folder in "$VENV" "$KAFKA_HOME" "$(dirname "$TOXIPROXY")"; do
    [[ -d $folder ]] || continue
    [[ -z $(find "$folder" ! -type l ! -perm -004 -print -quit) ]] || chmod -R go+rX "$folder"
  done
}

# open_configuration: of what a part reads by itself, to that part. The rest, passwords among it, run.sh hands to it.
open_configuration() {
  local etc="$RUN_DIR/etc" group file
  ((EUID == 0)) || return 0
  group=$(id -gn "$RUN_AS")
  chgrp "$group" "$etc" && chmod 710 "$etc"
  for file in "$etc"/*.properties "$etc/prometheus.yml" "$etc/toxiproxy.json"; do
    [[ ! -f $file ]] || { chgrp "$group" "$file" && chmod 640 "$file"; }
  done
}
