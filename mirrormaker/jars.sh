#!/usr/bin/env bash
# jars.sh check FOLDER PART...   compare the jars in FOLDER/PART (libs, agent) with jars.sha256; a sentence for each difference
# jars.sh renew                  get the jars of pom.xml and write jars.sha256; read its diff before you commit it
#
# Maven asks a repository for a version and believes what comes. This list says which bytes were tested.
set -euo pipefail

HERE=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
LIST="$HERE/jars.sha256"

say() { printf '%s\n' "$*" >&2; }

# hashes PART...: print hash and path of each jar of the current folder, as sha256sum does.
hashes() {
  local part
  for part in "$@"; do find "$part" -name '*.jar' -type f -print0; done | LC_ALL=C sort -z | xargs -0 --no-run-if-empty sha256sum
}

check() {
  local folder=$1 part hash path wrong=0
  local -A known=() found=()
  shift
  while read -r hash path; do
    [[ $hash == \#* || -z $path || " $* " != *" ${path%%/*} "* ]] || known[$path]=$hash
  done <"$LIST"
  for part in "$@"; do [[ -d $folder/$part ]] || { say "there is no folder $folder/$part with jars" && return 1; }; done
  while read -r hash path; do
    found[$path]=$hash
    [[ ${known[$path]:-} != "$hash" ]] || continue
    wrong=1
    if [[ -n ${known[$path]:-} ]]; then
      say "$path is not the jar that was tested: its SHA-256 is $hash, and mirrormaker/jars.sha256 says ${known[$path]}."
    else
      say "$path is not in mirrormaker/jars.sha256; its SHA-256 is $hash."
    fi
  done < <(cd -- "$folder" && hashes "$@")
  for path in "${!known[@]}"; do
    [[ -z ${found[$path]:-} ]] || continue
    wrong=1
    say "$path is missing."
  done
  ((wrong == 0)) || {
    say "None of these jars is used. If mirrormaker/pom.xml was changed, mirrormaker/jars.sh renew writes the list anew." \
      "Otherwise a jar was changed on its way: remove it from Maven's local repository (~/.m2/repository), and start again."
    return 1
  }
}

# renew: the list has each jar's coordinates in a comment, which sha256sum --check ignores.
renew() {
  local build list="$LIST.new"
  build=$(mktemp -d)
  # shellcheck disable=SC2064  # the folder of now
  trap "rm -rf '$build' '$list'" EXIT
  cp "$HERE/pom.xml" "$build/"
  mvn --batch-mode --quiet --strict-checksums --file "$build/pom.xml" package dependency:list -DincludeScope=runtime -DoutputFile="$build/target/list" >&2
  {
    echo "# The jars of pom.xml with their SHA-256, written by mirrormaker/jars.sh renew."
    (cd "$build/target" && hashes libs agent) | while read -r hash path; do
      printf '# %s\n%s  %s\n' "$(coordinates "$path" "$build")" "$hash" "$path"
    done
  } >"$list"
  mv "$list" "$LIST"
  say "mirrormaker/jars.sha256 has $(grep -vc '^#' "$LIST") jars"
}

# coordinates PATH BUILD: print GROUP:NAME:VERSION of a jar; the agent's are in pom.xml, its name has no version.
coordinates() {
  if [[ $1 == agent/* ]]; then
    echo "io.prometheus.jmx:jmx_prometheus_javaagent:$(sed -n 's|.*<jmx-exporter.version>\(.*\)</.*|\1|p' "$2/pom.xml")"
  else
    awk -F: -v file="${1#*/}" '{sub(/^ +/, "", $1)} NF >= 5 && $2 "-" (NF == 5 ? $4 : $5 "-" $4) ".jar" == file {print $1 ":" $2 ":" (NF == 5 ? $4 : $5)}' \
      "$2/target/list"
  fi
}

case ${1:-} in
  check) (($# >= 3)) && check "${@:2}" ;;
  renew) renew ;;
  *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac
