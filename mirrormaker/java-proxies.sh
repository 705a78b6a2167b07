#!/usr/bin/env bash
# java-proxies.sh: read lines http_proxy=URL, https_proxy=URL and no_proxy=HOST,HOST from standard input, and print them as
# options for Java, because Maven reads no such variables. It also runs while an image is built.
set -euo pipefail

decoded() { printf '%b' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/%\([0-9A-Fa-f][0-9A-Fa-f]\)/\\x\1/g')"; }

options='' direct=''
while IFS='=' read -r name url; do
  case $name in
    no_proxy) direct=$(printf '%s' "$url" | tr -d ' ' | sed 's/^\./*./; s/,\./,*./g; s/,,*/|/g') ;;
    http_proxy | https_proxy)
      scheme=${name%_proxy} rest=${url#*://} rest=${rest%%/*} login=''
      case $url in
        '') continue ;;
        *://*) ;;
        *) rest=${url%%/*} ;;
      esac
      case $rest in *@*) login=${rest%@*} rest=${rest##*@} ;; esac
      host=$rest port=80
      case $rest in *:[0-9]*) port=${rest##*:} host=${rest%:*} ;; esac
      options="$options -D$scheme.proxyHost=$host -D$scheme.proxyPort=$port"
      [ -z "$login" ] ||
        options="$options -D$scheme.proxyUser=$(decoded "${login%%:*}") -D$scheme.proxyPassword=$(decoded "${login#*:}")"
      ;;
  esac
done
[ -z "$options" ] || printf '%s\n' "-Daether.connector.http.useSystemProperties=true$options -Dhttp.nonProxyHosts=$direct"
