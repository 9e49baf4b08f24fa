# shellcheck shell=bash
# Words, ports and processes. Sourced by ./run, never run by itself.

# Standard output belongs to programs: a port, a URL, a process, the results of tests. What people read goes to standard error.
say() { printf '%s\n' "$*" >&2; }
die() { printf 'run: %s\n' "$*" >&2; exit 1; }

# die_with FILE "what failed": the end of its log first.
die_with() {
  tail -n 20 "$1" >&2 || true
  die "$2"
}

# step "Build" "5 min the first time, seconds later"
steps=0
step() { steps=$((steps + 1)); printf '\n[%d] %s (%s)\n' "$steps" "$1" "$2" >&2; }

at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$2" ]]; }

random_hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# secret FILE: makes a file of 64 random hexadecimal characters, once, that only its owner can read.
secret() {
  [[ -s $1 ]] || (umask 077 && random_hex 32 >"$1.new" && mv "$1.new" "$1")
}

port_number() {
  if [[ ! $1 =~ ^[1-9][0-9]{0,4}$ ]] || (($1 > 65535)); then die "'$1' is no port"; fi
  echo "$1"
}

# file NAME: the whole path of a file that the caller named from where he stood.
file() { (cd "$CALLED_FROM" && [[ -f $1 ]] && readlink -f "$1") || die "there is no file '$1'"; }

json_string() { local s=${1//\\/\\\\}; printf '"%s"' "${s//\"/\\\"}"; }

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# broker_list HOST:PORT,...: the same, if it is a list of such.
broker_list() {
  local one='([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}'
  [[ $1 =~ ^$one(,$one)*$ ]] || die "'$1' is no HOST:PORT"
  echo "$1"
}

# reachable HOST:PORT: within 5 s.
reachable() {
  local host=${1%:*}
  host=${host#[}
  # shellcheck disable=SC2016 # expands in that shell
  timeout 5 bash -c 'exec 3<>"/dev/tcp/$1/$2"' - "${host%]}" "${1##*:}" 2>/dev/null
}

# Names the process that listens on a port, where we may look.
port_owner() {
  local inode pid
  inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && $2 ~ port "$" { print $10; exit }')
  pid=$(find /proc/[0-9]*/fd -lname "socket:\[${inode:-none}\]" 2>/dev/null | head -n 1 | cut -d/ -f3) || true
  if [[ -n $pid ]]; then printf '%s, process %s' "$(cat "/proc/$pid/comm")" "$pid"; else printf 'another program'; fi
}

# pick_port FILE FIRST: the port remembered in FILE, else FIRST or the next free one; remembers it.
pick_port() {
  local port
  port=$(cat "$1" 2>/dev/null || echo "$2")
  while port_taken "$port"; do port=$((port + 1)); done
  echo "$port" >"$1"
  echo "$port"
}

# A process is its number and the moment it started: numbers are used again.
started() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} != Z ]] && echo "${stat[19]}"
}

remember_process() { printf '%s %s\n' "$2" "$(started "$2")" >"$1"; }

# remembered_process FILE: prints the number of the process that FILE names, if that very process still runs.
remembered_process() {
  local pid since
  read -r pid since 2>/dev/null <"$1" || return 1
  [[ -n $since && $(started "$pid") == "$since" ]] && echo "$pid"
}

# stop_process FILE SECONDS: asks it to end, waits, and ends it where it does not.
stop_process() {
  local pid tenths=$(($2 * 10))
  if pid=$(remembered_process "$1"); then
    kill -TERM "$pid"
    while ((tenths-- > 0)) && remembered_process "$1" >/dev/null; do sleep 0.1; done
    if remembered_process "$1" >/dev/null; then
      say "Process $pid did not stop within $2 s and is killed."
      kill -KILL "$pid"
    fi
  fi
  rm -f "$1"
}
