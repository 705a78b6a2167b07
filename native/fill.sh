#!/bin/sh
# fill.sh FILE: let FILE fill its file system, which is a small one in memory. It runs natively and, for a volume of compose
# mode, in a container that has it mounted.
set -eu

file=$1
left_kib() { df -Pk "$(dirname "$file")" | awk 'NR == 2 {print $4}'; }

wanted=$(left_kib)
free=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
if [ $((wanted + 262144)) -gt "$free" ]; then
  echo "to fill it takes $((wanted / 1024)) MiB of memory, and only $((free / 1024)) MiB are free" >&2
  exit 1
fi
touch "$file"
# First take all space at once, which works if no other process writes, and then the rest until none is left. A server that
# finds its disk full frees what it could not finish. The loop takes that, too.
fallocate --offset "$(stat -c %s "$file")" --length $((wanted * 1024)) "$file" 2>/dev/null || true
for _ in 1 2 3 4 5 6 7 8 9 10; do
  while dd if=/dev/zero of="$file" bs=64k oflag=append conv=notrunc 2>/dev/null; do :; done
  dd if=/dev/zero of="$file" bs=4k oflag=append conv=notrunc 2>/dev/null || true
  [ "$(left_kib)" -ge 64 ] || exit 0
  sleep 0.1
done
echo "$(left_kib) KiB are still free" >&2
rm -f "$file"
exit 1
