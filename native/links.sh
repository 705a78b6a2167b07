# shellcheck shell=bash
# shellcheck disable=SC2153,SC2154  # LINKS and gateway_url are set by settings.sh
# Cut one direction of replication in native mode, where everything is on loopback. Each Kafka has a listener that only the
# other region's MirrorMaker uses. The firewall drops the packets to and from its port.

native_cut() {
  local link=$1 why
  [[ -n $(supervisor_pid) ]] || die "the fleet is not running"
  [[ ! -f $RUN_DIR/cut/$link ]] || { step "$link is cut already" && return; }
  mkdir -p "$RUN_DIR/cut"
  if why=$(drop_packets "$link"); then
    echo dropped >"$RUN_DIR/cut/$link"
  else
    warn "the network of $link cannot be cut, because $why. $(mirror_of "$link") is suspended instead: nothing is copied, but its connections" \
      "stay open and it does not notice, unlike in a real split."
    # run.sh looks for this file, so that a MirrorMaker that is killed and restarted stays suspended.
    echo suspended >"$RUN_DIR/cut/$link"
    signal_tree STOP "$(native_pid "$(mirror_of "$link")")"
  fi
  step "$link is cut"
}

native_heal() {
  local link=$1 how=''
  [[ ! -f $RUN_DIR/cut/$link ]] || how=$(<"$RUN_DIR/cut/$link")
  pass_packets "$link" || [[ $how != dropped ]] || die "the packets of $link are still dropped, and only root can change that. Run this:" \
    "sudo $ROOT/setup.sh heal $link"
  rm -f "$RUN_DIR/cut/$link"
  [[ $how != suspended ]] || signal_tree CONT "$(native_pid "$(mirror_of "$link")")" || true
  [[ -z $how ]] || step "$link is whole again"
}

# heal_links: heal all links at a start and an end, also one that was cut by a fleet whose .run is gone.
heal_links() {
  local link
  for link in "${LINKS[@]}"; do "$1_heal" "$link"; done
}

native_is_cut() { [[ -f $RUN_DIR/cut/$1 ]]; }

# say_cuts MODE: print one line for each cut link. Fail if there is one.
say_cuts() {
  local link whole=0
  for link in "${LINKS[@]}"; do
    "$1_is_cut" "$link" || continue
    whole=1
    printf '%-18s cut; ./setup.sh heal %s ends that\n' "$link" "$link"
  done
  return "$whole"
}

# say_replication: print one line a direction, from the gateway's report. Fail if a direction is DOWN.
say_replication() {
  local lines
  # ask_health reports a gateway that is away.
  lines=$(fleet_http --fail --max-time 3 --header 'Accept: text/plain' --config - "$gateway_url/api/replication" < <(key_line read)) || return 0
  [[ -z $lines ]] || printf '%s\n' "$lines"
  [[ $lines != *' DOWN '* ]]
}

# say_topics MODE: compare each region's topics with the settings. Print one line a region, or one a difference. Fail if there
# is a difference.
say_topics() {
  local region said line ill=0
  for region in a b; do
    if said=$("$1_check_topics" "$region" 2>&1); then
      printf '%-18s ok   as the settings say\n' "topics-$region"
      continue
    fi
    ill=1
    while read -r line; do printf '%-18s ILL  %s\n' "topics-$region" "$line"; done <<<"${said:-cannot be asked}"
  done
  return "$ill"
}

# say_unseen: print the targets that Prometheus could not read at its last scrape, up to 15 s ago. They are no failure.
say_unseen() {
  local answer instance
  answer=$(own_http --fail --max-time 3 --get --data-urlencode 'query=up == 0 or pg_up == 0 or redis_up == 0' \
    "http://127.0.0.1:$PROMETHEUS_PORT/api/v1/query") || return 0
  while read -r instance; do
    printf '%-18s in its last look, Prometheus could not see %s, or what that watches\n' prometheus "$instance"
  done < <(grep -o '"instance":"[^"]*"' <<<"$answer" | cut -d '"' -f 4 | sort -u)
}

mirror_of() { echo "mirror-to-${1#*-to-}"; }

# ---------------------------------------------------------------- packets

# drop_packets LINK: drop packets in both directions, so that open connections hang as on a broken line. If that is not
# possible, print why and fail.
drop_packets() {
  local link=$1 source=${1%%-*} port side rule
  port="KAFKA_${source^^}_WAN_PORT"
  can_be_root || { echo "that takes root, or sudo without a password" && return 1; }
  has_iptables || install_iptables || { echo "there is no iptables, and it could not be installed" && return 1; }
  for side in --destination-port --source-port; do
    rule=(INPUT --in-interface lo --protocol tcp "$side" "${!port}" --match comment --comment "$(rule_tag "$link")" --jump DROP)
    iptables_as_root --check "${rule[@]}" 2>/dev/null && continue
    iptables_as_root --insert "${rule[@]}" 2>"$RUN_DIR/logs/iptables.log" && continue
    pass_packets "$link" || true
    echo "iptables refuses: $(head -n 1 "$RUN_DIR/logs/iptables.log")"
    return 1
  done
}

# pass_packets LINK: remove the rules, with any port. Fail if only root could look for them.
pass_packets() {
  local rule words
  has_iptables || return 0
  can_be_root silently || return 1
  while read -r rule; do
    read -ra words <<<"$rule"
    iptables_as_root --delete "${words[@]:1}"
  done < <(iptables_as_root --list-rules INPUT 2>/dev/null | grep -F -- "--comment $(rule_tag "$1") ")
}

# rule_tag LINK: print a tag that names this checkout, so that two checkouts on one machine leave each other's rules alone.
rule_tag() { printf 'multi-region-logs-%s-%s' "$(printf '%s' "$RUN_DIR" | sha256sum | cut -c1-8)" "$1"; }

has_iptables() { PATH="$PATH:/usr/sbin:/sbin" has iptables; }
# The folder of iptables is not on every user's PATH.
iptables_as_root() { as_root env PATH="$PATH:/usr/sbin:/sbin" iptables --wait 10 "$@"; }

install_iptables() {
  has apt-get || return 1
  # The program's output does not say why iptables is missing, and its failure must not end setup.sh.
  (take_lock && step "packages: iptables" && apt_install iptables) >&2
}
