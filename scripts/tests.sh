# shellcheck shell=bash
# `./run test`. Sourced by ./run.

# cargo-deny, once, in a folder of this clone. Unoptimised: it is built in a minute and runs in seconds.
install_cargo_deny() {
  PATH=$DATA/tools/bin:$PATH
  [[ $(cargo-deny --version 2>/dev/null) != "cargo-deny $CARGO_DENY_VERSION" ]] || return 0
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$DATA/tools/target \
    cargo install -q --locked --debug --root "$DATA/tools" --version "$CARGO_DENY_VERSION" cargo-deny
  rm -rf "$DATA/tools/target"
}

# start_test_postgres SETTING=VALUE...: a server for this run alone. It flushes like a real one, so that what a crash test sees is what an operator would.
start_test_postgres() {
  local port
  postgres_stop test-postgres
  postgres_remove test-postgres
  port=$(pick_port .data/test-postgres.port 54429)
  postgres_start test-postgres "$port" shared_buffers=512MB max_connections=400 fsync=on synchronous_commit=on \
    wal_level=minimal max_wal_senders=0 max_wal_size=4GB checkpoint_timeout=30min timezone=UTC "$@"
  DATABASE_URL=$(postgres_url "$port" postgres)
  export DATABASE_URL POSTLEDGER_TEST_POSTGRES=$DATABASE_URL
}

stop_test_postgres() {
  trap '' INT TERM HUP
  postgres_stop test-postgres
  postgres_remove test-postgres
}

run_tests() {
  open_data
  exec 9>>.data/test.lock
  flock -n 9 || die "another ./run test of this clone is running"
  trap 'exit 130' INT TERM HUP
  trap stop_test_postgres EXIT

  step "Rust, disk, memory, system packages" "2 min where packages are missing, else seconds"
  prepare test 12
  if (($#)); then only_tests "$@"; else all_checks; fi
}

all_checks() {
  step "Format, layers, clippy" "5 min the first time"
  (cargo fmt --version && cargo clippy --version) >/dev/null || die "please run 'rustup component add rustfmt clippy'"
  cargo fmt --all --check
  python3 scripts/layers.py
  cargo clippy --workspace --all-targets --locked -- -D warnings
  step "Licences, bans and sources of the dependencies" "2 min the first time"
  install_cargo_deny
  cargo fetch -q --locked
  cargo deny --offline check licenses bans sources
  step "Build, and the README's shell blocks in a clean copy" "6 min the first time"
  build
  scripts/readme.sh
  only_tests
}

only_tests() {
  step "Tests" "10 min"
  start_test_postgres
  build
  POSTLEDGER_TEST_PYTHON=$(test_python)
  export POSTLEDGER_TEST_PYTHON POSTLEDGER_TEST_BINARY=$POSTLEDGER
  cargo test --workspace --locked "$@"
}
