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
                           remove NAME   stop it, delete its data
TEXT
}

# It flushes like a real one: what it acknowledged has to be there after a crash.
create() {
  local server=test-postgres-$1 port
  [[ ! -e $DATA/$server ]] || die "$1 exists already"
  install -d -m 700 "$DATA/secrets"
  # Below 32768, where no outgoing connection takes it while the server is stopped.
  port=$(pick_port "$DATA/$server.port" 19529)
  postgres_start "$server" "$port" max_connections=400 fsync=on synchronous_commit=on timezone=UTC
  postgres_url "$port" postgres
}

remove() {
  postgres_stop "test-postgres-$1"
  postgres_remove "test-postgres-$1"
  rm -f "$DATA/test-postgres-$1.port"
}

command=${1:-help}
case $command in
  create | crash | remove) [[ ${2-} =~ ^[a-z0-9-]+$ ]] || die "which server? See scripts/postgres-node.sh help" ;;
esac
case $command in
  create | remove) "$command" "$2" ;;
  crash) postgres_crash "test-postgres-$2" ;;
  help | -h | --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
