#!/usr/bin/env bash
# A Postgres of a test's own, for tests that crash it. `./run test` stops and removes in the end what is left of them.
set -euo pipefail
ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
DATA=$ROOT/.data

source "$ROOT/scripts/common.sh"
source "$ROOT/scripts/postgres.sh"

usage() {
  cat <<'TEXT'
A server is a name, the last part of its folder .data/test-postgres-NAME.

  scripts/postgres-node.sh create NAME   make a server with a port of its own and start it; prints a superuser's URL
                           crash NAME    end it without a checkpoint, as a crash does, and start it again: it recovers
                           save NAME     stop it, copy its files, start it again
                           restore NAME  stop it, put the copied files in their place, start it
                           promote NAME  make a standby of it and promote that, as a failover does: a new timeline
                           remove NAME   stop it, delete its data
TEXT
}

start() { postgres_start "$1" "$(<"$DATA/$1.port")" max_connections=400 fsync=on synchronous_commit=on timezone=UTC; }

# It flushes like a real one: what it acknowledged has to be there after a crash.
create() {
  local server=test-postgres-$1 port
  [[ ! -e $DATA/$server ]] || die "$1 exists already"
  install -d -m 700 "$DATA/secrets"
  # Below 32768, where no outgoing connection takes it while the server is stopped.
  port=$(pick_port "$DATA/$server.port" 19529)
  start "$server"
  postgres_url "$port" postgres
}

# A copy of all files has every mark that the original has.
save() {
  local server=test-postgres-$1 home
  postgres_stop "$server"
  home=$(readlink -f "$DATA/$server")
  as_postgres cp -a "$home/data" "$home/saved"
  start "$server"
}

restore() {
  local server=test-postgres-$1 home
  postgres_stop "$server"
  home=$(readlink -f "$DATA/$server")
  as_postgres rm -rf "$home/data"
  as_postgres cp -a "$home/saved" "$home/data"
  start "$server"
}

promote() {
  local server=test-postgres-$1 home
  postgres_stop "$server"
  home=$(readlink -f "$DATA/$server")
  as_postgres touch "$home/data/standby.signal"
  start "$server"
  as_postgres "$(postgres_bin_of "$home")/pg_ctl" promote -s -w -t 120 -D "$home/data"
}

remove() {
  postgres_stop "test-postgres-$1"
  postgres_remove "test-postgres-$1"
  rm -f "$DATA/test-postgres-$1.port"
}

command=${1:-help}
case $command in
  create | crash | save | restore | promote | remove) [[ ${2-} =~ ^[a-z0-9-]+$ ]] || die "which server? See scripts/postgres-node.sh help" ;;
esac
case $command in
  create | save | restore | promote | remove) "$command" "$2" ;;
  crash) postgres_crash "test-postgres-$2" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
