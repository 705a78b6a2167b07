# shellcheck shell=bash
# Native mode's side of fault mode (docs/decisions/0007-fault-mode.md): disks that can be full, clocks that can be wrong.

VOLUME_SIZE=2g

# data_of SERVICE: print its data folder, relative to .run. In fault mode that is a small file system of its own.
data_of() { if in_fault_mode; then echo "volumes/$1/data"; else echo "data/$1"; fi; }

mount_volumes() {
  local service folder
  can_be_root || die "fault mode keeps data on small file systems in memory, and to mount those takes root, or sudo."
  for service in "${FILLABLE[@]}"; do
    folder="$RUN_DIR/volumes/$service"
    mkdir -p "$folder"
    chmod "$(way_through)" "$RUN_DIR/volumes"
    mountpoint --quiet "$folder" && continue
    as_root mount -t tmpfs -o "size=$VOLUME_SIZE,mode=$(way_through),uid=$UID,gid=$(id -g)" multi-region-logs "$folder" ||
      die "a file system in memory cannot be mounted here, so fault mode cannot work; see above."
  done
}

unmount_volumes() {
  local service folder
  for service in "${FILLABLE[@]}"; do
    folder="$RUN_DIR/volumes/$service"
    mountpoint --quiet "$folder" 2>/dev/null || continue
    can_be_root || die "$folder is a file system in memory, and to unmount it takes root, or sudo."
    as_root umount "$folder" || die "$folder cannot be unmounted; something still works in it."
  done
  rm -rf "$RUN_DIR/volumes"
}

native_fill() {
  local folder="$RUN_DIR/volumes/$1"
  mountpoint --quiet "$folder" || die "the fleet is not running"
  sh "$ROOT/native/fill.sh" "$folder/ballast" || die "the disk of $1 is not full; see above"
  step "the disk of $1 is full"
}

native_unfill() {
  rm -f "$RUN_DIR/volumes/$1/ballast"
  step "the disk of $1 has room again"
}

# set_clocks: set all clocks right, at the start of the fleet.
set_clocks() {
  local service
  mkdir -p "$RUN_DIR/clock"
  # Each service reads its own; the time is no secret.
  chmod "$(way_through)" "$RUN_DIR/clock"
  for service in "${CLOCKED[@]}"; do set_clock "$service" 0; done
}

# set_clock SERVICE SECONDS: write the file atomically, because the service may read it at any moment.
set_clock() {
  printf '%+d\n' "$2" >"$RUN_DIR/clock/$1.new"
  chmod 644 "$RUN_DIR/clock/$1.new"
  mv -f "$RUN_DIR/clock/$1.new" "$RUN_DIR/clock/$1"
}

native_clock() {
  [[ -d $RUN_DIR/clock ]] || die "the fleet is not running"
  set_clock "$1" "$2"
  await_clock "$1" "$2"
}

# await_clock SERVICE SECONDS: wait until the service shows this clock, since services read the file once a second.
await_clock() {
  sleep 1.1
  if (($2 == 0)); then step "the clock of $1 is right"; else step "the clock of $1 is wrong by $2 s"; fi
}

find_faketime() {
  local library
  for library in /usr/lib/*/faketime/libfaketimeMT.so.1 /usr/lib*/faketime/libfaketimeMT.so.1; do
    [[ -f $library ]] && printf '%s\n' "$library" && return
  done
  return 1
}
