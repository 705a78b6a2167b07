# shellcheck shell=bash
# Read the file .env as Docker Compose does, so that setup.sh in both modes and `docker compose` get the same values. An
# ambiguous line is refused, with its number and what to write instead.

# read_dotenv FILE: export the variables of FILE, or of the files in COMPOSE_ENV_FILES if that is set. A name that the
# environment or the shell already has keeps its value. Nothing in a file is evaluated, and what is no setting of the fleet can
# be used in other lines only: no program shall find its library path there.
read_dotenv() {
  local file name files=("$1")
  local -A dotenv=()
  if [[ -n ${COMPOSE_ENV_FILES:-} ]]; then
    IFS=, read -ra files <<<"$COMPOSE_ENV_FILES"
  elif [[ ! -e $1 || ${COMPOSE_DISABLE_ENV_FILE:-} == @(1|true) ]]; then
    return 0
  fi
  for file in "${files[@]}"; do
    [[ -e $file ]] || die "COMPOSE_ENV_FILES names $file, and there is no such file."
    [[ ! -d $file ]] || die "$file is a folder; it should be a file of NAME=VALUE lines."
    [[ -r $file ]] || die "$file is there and cannot be read; change its owner or its mode."
    parse_dotenv "$file"
    ! has_password "$file" || warn "others may read $file, which has a password in it: chmod 600 $file"
  done
  for name in "${!dotenv[@]}"; do
    ! is_setting "$name" || [[ -v $name ]] || export "$name=${dotenv[$name]}"
  done
}

is_setting() {
  local pair
  [[ ! $1 =~ _PASSWORD_FILE$ ]] || return 0
  [[ ! $1 =~ ^(APP|CHAOS|COMPOSE|CONSUMER|DISKS|DOCKER|FLEET|GATEWAY|GRAFANA|PRODUCER|TOPICS)_|^(https?|no|all)_proxy$|^(HTTPS?|NO|ALL)_PROXY$ ]] || return 0
  for pair in "${DEFAULTS[@]}" "${FAULT_DEFAULTS[@]}"; do [[ $1 != "${pair%%=*}" ]] || return 0; done
  return 1
}

# has_password FILE: has it one, and may others read it?
has_password() { [[ -n $(find -L "$1" -prune -perm -004) ]] && grep -qE '^[^#]*(PASSWORD|DSN)[[:space:]]*[=:][[:space:]]*[^[:space:]]' "$1"; }

# parse_dotenv FILE: fill the caller's array `dotenv`.
parse_dotenv() {
  local file=$1 number=0 line name rest value
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    ((number > 1)) || line=${line#$'\xef\xbb\xbf'}
    trim line
    [[ -n $line && $line != '#'* ]] || continue
    if [[ $line =~ ^export[[:space:]]+(.*)$ ]]; then line=${BASH_REMATCH[1]}; fi
    # A name without a value means the environment's value, which wins anyway.
    if [[ ! $line =~ [=:] ]]; then
      [[ $line =~ ^[][[:alnum:]_.-]+$ ]] || refuse_line "'$line' is no NAME=VALUE"
      continue
    fi
    name=${line%%[=:]*} rest=${line#*[=:]}
    trim name
    trim rest
    [[ $name =~ ^[][[:alnum:]_.-]+$ ]] || refuse_line "'$name' is no name of a variable"
    case $rest in
      \'* | \"*) quoted_value "$rest" ;;
      *) plain_value "$rest" ;;
    esac
    # A shell has no variables of other names, and no part of the fleet reads them.
    [[ ! $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || dotenv[$name]=$value
  done <"$file"
}

refuse_line() { die "$file, line $number: $1."; }

# trim NAME: remove white space from both ends of that variable.
trim() {
  local -n trimmed=$1
  local blank=$'[[:space:]\u00a0\u0085]'
  while [[ $trimmed == $blank* ]]; do trimmed=${trimmed:1}; done
  while [[ $trimmed == *$blank ]]; do trimmed=${trimmed%?}; done
}

# plain_value TEXT: set `value` to an unquoted value. A comment begins with a blank and a number sign.
plain_value() {
  value=${1%%' #'*}
  trim value
  expand "$value"
}

# quoted_value TEXT: set `value` to the text between TEXT's first character, a quote, and the next such quote that no
# backslash escapes.
quoted_value() {
  local quote=${1:0:1} text=${1:1} kept='' part
  while :; do
    [[ $text == *"$quote"* ]] || refuse_line "a value begins with $quote and does not end with it on the same line"
    part=${text%%"$quote"*} text=${text#*"$quote"}
    # After an odd number of backslashes the quote belongs to the value.
    [[ $part =~ (^|[^\\])(\\\\)*\\$ ]] || break
    kept+=${part%\\}$quote
  done
  value=$kept$part
  trim text
  [[ -z $text || $text == '#'* ]] || refuse_line "after the closing $quote comes '$text'; put all of the value between the quotes, or begin a comment with #"
  [[ $quote == "'" ]] || { unescape && expand "$value"; }
}

# unescape: resolve the backslashes in `value`, as between double quotes. An escaped dollar becomes `$$`, which `expand` turns
# into one.
unescape() {
  local text=$value
  value=''
  while [[ $text == *\\* ]]; do
    value+=${text%%\\*} text=${text#*\\}
    case ${text:0:1} in
      \\) value+=\\ ;;
      \") value+=\" ;;
      \$) value+=\$\$ ;;
      t) value+=$'\t' ;;
      [abcfnrv0]) refuse_line "\\${text:0:1} stands for a control character, which no value here can hold" ;;
      *) value+=\\${text:0:1} ;;
    esac
    text=${text:1}
  done
  value+=$text
}

# expand TEXT: set `value` to TEXT with its variables replaced: $NAME, ${NAME}, ${NAME:-else}, ${NAME-else}, ${NAME:+then},
# ${NAME+then}, ${NAME:?error}, ${NAME?error}, and $$ for a dollar.
expand() {
  local text=$1 done_before='' name mark more
  while [[ $text == *'$'* ]]; do
    done_before+=${text%%'$'*} text=${text#*'$'}
    if [[ $text == '$'* ]]; then
      done_before+='$' text=${text:1}
    elif [[ $text =~ ^[A-Za-z_][A-Za-z0-9_]* ]]; then
      name=${BASH_REMATCH[0]} text=${text:${#BASH_REMATCH[0]}}
      done_before+=$(looked_up "$name")
    elif [[ $text == '{'* ]]; then
      split_braces
      [[ $more =~ ^([A-Za-z_][A-Za-z0-9_]*)((:?[-+?])(.*))?$ ]] || refuse_line "what is \${$more}? Write \$\$ for a dollar"
      name=${BASH_REMATCH[1]} mark=${BASH_REMATCH[3]} more=${BASH_REMATCH[4]}
      choose "$name" "$mark" "$more"
      done_before+=$value
    else
      done_before+='$'
    fi
  done
  value=$done_before$text
}

# split_braces: `text` begins with a brace. Move what is inside the braces to `more`, and leave the rest in `text`.
split_braces() {
  local depth=0 index
  for ((index = 0; index < ${#text}; index++)); do
    case ${text:index:1} in
      '{')
        ((index == 0)) || [[ ${text:index-1:1} == '$' ]] || break
        depth=$((depth + 1))
        ;;
      '}')
        depth=$((depth - 1))
        ((depth > 0)) || { more=${text:1:index-1} text=${text:index+1} && return; }
        ;;
    esac
  done
  refuse_line "braces do not match in \$$text; write \$\$ for a dollar"
}

# choose NAME MARK TEXT: set `value` to the value of ${NAMEmarkTEXT}.
choose() {
  local found there=no
  found=$(looked_up "$1")
  ! is_known "$1" || there=yes
  [[ ! $2 == :* || -n $found ]] || there=no
  case ${2#:} in
    '') value=$found ;;
    -) if [[ $there == yes ]]; then value=$found; else expand "$3"; fi ;;
    +) if [[ $there == yes ]]; then expand "$3"; else value=$found; fi ;;
    \?) if [[ $there == yes ]]; then value=$found; else refuse_line "$1 is needed: ${3:-it is not set}"; fi ;;
  esac
}

# The environment wins over the lines above.
is_exported() { [[ -v $1 && $(declare -p "$1") =~ ^declare\ -[[:alpha:]]*x ]]; }
is_known() { is_exported "$1" || [[ -v dotenv[$1] ]]; }
looked_up() { if is_exported "$1"; then printf '%s' "${!1}"; else printf '%s' "${dotenv[$1]:-}"; fi; }
