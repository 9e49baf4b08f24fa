# shellcheck shell=bash
# A Postgres of our own, apart from any other on the machine. Sourced by ./run.
# A server is a name below .data: `postgres` (the stack's) or `test-postgres` (the tests', thrown away).

# postgres_bin [MAJOR]: prints the folder of that Postgres, or of the newest that is 15 or later.
postgres_bin() {
  local bin version
  for bin in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v postgres || echo -)")"; do
    [[ -x $bin/initdb && -x $bin/pg_ctl ]] || continue
    version=$("$bin/postgres" --version | awk '{ print $3 }')
    if at_least "$version" "${1:-15}" && [[ ${version%%.*} == "${1:-${version%%.*}}" ]]; then
      echo "$bin"
      return
    fi
  done
  return 1
}

# Postgres refuses to run as root, so root hands it to the system user `postgres`.
as_postgres() {
  if ((EUID)); then
    (cd / && LC_ALL=C exec "$@")
  else
    (cd / && LC_ALL=C exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@")
  fi
}

# postgres_home NAME: makes the folder of a server, once. Where its user can't enter this repository (it may be in /root),
# the folder is a link to one in /var/lib.
postgres_home() {
  local home=$DATA/$1 elsewhere
  [[ ! -d $home ]] || return 0
  ((EUID)) || id postgres >/dev/null 2>&1 || die "root can't run Postgres: a system user 'postgres' is needed."
  if ((EUID)) || as_postgres test -x "$DATA"; then
    mkdir -m 700 "$home"
  else
    elsewhere=/var/lib/postledger-$(printf %s "$ROOT" | sha256sum | cut -c 1-12)-$1
    say "The user 'postgres' can't enter $ROOT: the data is kept in $elsewhere."
    rm -rf "$elsewhere"
    mkdir -m 700 "$elsewhere"
    ln -sfn "$elsewhere" "$home"
  fi
  ((EUID)) || chown postgres: "$home/"
}

# postgres_start NAME PORT SETTING=VALUE...: creates the server where there is none, and starts it.
postgres_start() {
  local name=$1 port=$2 home bin setting options="-c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
  shift 2
  postgres_home "$name"
  home=$(readlink -f "$DATA/$name")
  [[ -d $home/data ]] || postgres_create "$home"
  bin=$(postgres_bin_of "$home") || die "$home/data needs Postgres $(<"$home/data/PG_VERSION"), which is not installed any more."
  for setting in "port=$port" "$@"; do options+=" -c $setting"; done
  as_postgres "$bin/pg_ctl" start -s -w -t 120 -D "$home/data" -l "$home/log" -o "$options" 9>&- ||
    die_with "$home/log" "Postgres did not start, see above."
}

# What wrote the data must read it: a newer Postgres may have been installed since.
postgres_bin_of() { postgres_bin "$(<"$1/data/PG_VERSION")"; }

# The password goes through a pipe of the user's own: initdb can't read a file or a pipe of root's.
postgres_create() {
  secret "$DATA/secrets/postgres-password"
  as_postgres rm -rf "$1/new"
  # shellcheck disable=SC2016 # expands in that shell
  PASSWORD=$(<"$DATA/secrets/postgres-password") as_postgres bash -euc '
    "$1/initdb" -D "$2/new" -U postledger -A scram-sha-256 --pwfile=<(echo "$PASSWORD") -E UTF8 --locale=C.UTF-8 -N >/dev/null
    echo "CREATE DATABASE postledger" | "$1/postgres" --single -D "$2/new" postgres >/dev/null 2>"$2/log"
    sync -f "$2/new"
    mv "$2/new" "$2/data"' - "$(postgres_bin)" "$1"
}

# postgres_url PORT DATABASE
postgres_url() { echo "postgres://postledger:$(<"$DATA/secrets/postgres-password")@127.0.0.1:$1/$2"; }

# postgres_stop NAME: only if the process that its pid file names really is this server.
postgres_stop() {
  local home pid
  home=$(readlink -m "$DATA/$1")
  pid=$(head -n 1 "$home/data/postmaster.pid" 2>/dev/null) || return 0
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "-D $home/data " || return 0
  as_postgres "$(postgres_bin_of "$home")/pg_ctl" stop -s -w -t 60 -m fast -D "$home/data"
}

# postgres_crash NAME: ends it at once, without a checkpoint, and starts it again with the settings that it had.
postgres_crash() {
  local home
  home=$(readlink -f "$DATA/$1")
  as_postgres "$(postgres_bin_of "$home")/pg_ctl" restart -s -w -t 120 -m immediate -D "$home/data" -l "$home/log" 9>&- ||
    die_with "$home/log" "Postgres did not start again, see above."
}

# postgres_remove NAME: its files, wherever they are.
postgres_remove() {
  [[ ! -e $DATA/$1 && ! -L $DATA/$1 ]] || rm -rf "$(readlink -f "$DATA/$1")" "${DATA:?}/$1"
}
