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

# python_tool NAME: programs from PyPI for the tests, once, at the versions that e2e/NAME/requirements.txt has. Where PyPI cannot be
# reached the tests that want them do not run and say so; CI has to have them.
python_tool() {
  local wanted=e2e/$1/requirements.txt home=$DATA/tools/$1 python
  ! cmp -s "$wanted" "$home/requirements.txt" || return 0
  python=$(test_python) || return 1
  step "PyPI: $1" "1 min the first time"
  rm -rf "$home"
  if ! { "$python" -m venv "$home" && "$home/bin/pip" install -q --disable-pip-version-check -r "$wanted"; } >"$DATA/log/pip.log" 2>&1; then
    tail -n 5 "$DATA/log/pip.log" >&2
    [[ ${CI-} != true ]] || die "CI has to test with $1"
    return 1
  fi
  cp "$wanted" "$home/requirements.txt"
}

install_python_tools() {
  ! python_tool fuzz || export POSTLEDGER_TEST_SCHEMATHESIS=$DATA/tools/fuzz/bin/schemathesis
  ! python_tool moto || export POSTLEDGER_TEST_MOTO=$DATA/tools/moto/bin/moto_server
}

# run_fuzz [--examples N | --seconds N]: the reference against a running stack, or templates, JSON and mails by chance, for
# longer than `./run test` does, and never the same.
run_fuzz() {
  local tests=(--test it -- --nocapture fuzz::)
  export POSTLEDGER_TEST_FUZZ_EXAMPLES=200
  if [[ ${1-} == --examples || ${1-} == --seconds ]]; then
    [[ ${2-} =~ ^[1-9][0-9]{0,5}$ ]] || die "$1 wants a number"
    if [[ $1 == --examples ]]; then
      POSTLEDGER_TEST_FUZZ_EXAMPLES=$2
    else
      export POSTLEDGER_TEST_FUZZ_SECONDS=$2
      tests=(--lib --test it -- --nocapture by_chance)
    fi
    shift 2
  fi
  ((!$#)) || die "'fuzz' does not know $1, see ./run help"
  run_tests "${tests[@]}"
}

# start_test_postgres SETTING=VALUE...: a server for this run alone. It flushes like a real one, so that what a crash test sees is what an operator would.
start_test_postgres() {
  local port
  stop_test_postgres
  # Below 32768, where no outgoing connection takes it while a test has it stopped.
  port=$(pick_port .data/test-postgres.port 19429)
  postgres_start test-postgres "$port" shared_buffers=512MB max_connections=400 fsync=on synchronous_commit=on \
    wal_level=minimal max_wal_senders=0 max_wal_size=4GB checkpoint_timeout=30min timezone=UTC "$@"
  DATABASE_URL=$(postgres_url "$port" postgres)
  export DATABASE_URL POSTLEDGER_TEST_POSTGRES=$DATABASE_URL POSTLEDGER_TEST_POSTGRES_SCRIPT=$ROOT/scripts/postgres-node.sh
}

# Servers that tests made and did not remove are there as well.
stop_test_postgres() {
  local server
  for server in test-postgres $(cd .data && compgen -G 'test-postgres-*'); do
    postgres_stop "$server"
    postgres_remove "$server"
  done
}

# One node of Apache Kafka for this run alone. It starts while the tests are built; `await_test_kafka` waits for it.
# Without Kafka the tests that want it use librdkafka's mock cluster, which is less: CI has to have the real one.
start_test_kafka() {
  step "Apache Kafka $KAFKA_VERSION" "the first time 1 min and 120 MB, with Java and Maven 3 min and 400 MB; then seconds"
  remove_test_kafka
  if ! (kafka_install); then
    [[ ${CI-} != true ]] || die "CI has to test with Apache Kafka"
    NO_KAFKA=1
    return
  fi
  kafka_configure "$DATA/test-kafka/one" 1
  kafka_launch "$DATA/test-kafka/one/1"
  POSTLEDGER_TEST_KAFKA=$(<.data/test-kafka/one/brokers)
  export POSTLEDGER_TEST_KAFKA POSTLEDGER_TEST_KAFKA_NODE=$DATA/test-kafka/one/1
  export POSTLEDGER_TEST_KAFKA_SCRIPT=$ROOT/scripts/kafka-node.sh
}

await_test_kafka() { [[ -n ${NO_KAFKA-} ]] || kafka_await "$POSTLEDGER_TEST_KAFKA_NODE"; }

# Without them the tests that sign in at a provider, and those that look at pages, do not run: CI has to run them.
fetch_test_modules() {
  local name
  step "An OpenID provider and axe-core" "15 s and 15 MB the first time"
  for name in openid axe; do
    if npm_fetch "$name"; then
      export "POSTLEDGER_TEST_${name^^}=$DATA/tools/$name"
    elif [[ ${CI-} == true ]]; then
      die "CI has to test with what e2e/$name lists"
    fi
  done
}

# What our HTML is compared with (mail/src/template/tests/official) is what MJML's own compiler makes.
check_mjml() {
  step "MJML's own compiler" "30 s and 60 MB the first time"
  if npm_fetch mjml; then
    node e2e/mjml/golden.js --check "$DATA/tools/mjml" || die "what is compared with is not what MJML makes, see above"
  elif [[ ${CI-} == true ]]; then
    die "CI has to compare with what e2e/mjml lists"
  fi
}

# What the tests' browser saw, until the next run.
export_test_screenshots() {
  rm -rf .data/test-screenshots
  mkdir .data/test-screenshots
  export POSTLEDGER_TEST_SCREENSHOTS=$DATA/test-screenshots
}

warn_without_kafka() {
  [[ -n ${NO_KAFKA-} ]] || return 0
  cat >&2 <<'TEXT'

  **************************************************************************************
  * Apache Kafka could not be fetched, see above. What needs a broker is tested against  *
  * librdkafka's mock cluster, which proves nothing about a real one, or not at all.     *
  **************************************************************************************

TEXT
}

# Clusters that tests made and did not remove are there as well.
remove_test_kafka() {
  kafka_remove "$DATA"/test-kafka/*
  rm -rf .data/test-kafka
}

stop_test_servers() {
  trap '' INT TERM HUP
  stop_test_postgres
  remove_test_kafka
}

run_tests() {
  open_data
  exec 9>>.data/test.lock
  flock -n 9 || die "another ./run test of this clone is running"
  trap 'exit 130' INT TERM HUP
  trap stop_test_servers EXIT

  step "Rust, disk, memory, system packages" "2 min where packages are missing, else seconds"
  prepare test 12
  if (($#)); then only_tests "$@"; else all_checks; fi
}

all_checks() {
  step "Format, layers, clippy" "5 min the first time"
  (cargo fmt --version && cargo clippy --version) >/dev/null || die "please run 'rustup component add rustfmt clippy'"
  cargo fmt --all --check
  python3 scripts/layers.py
  python3 scripts/promises.py
  python3 scripts/locks.py
  faults_apply
  cargo clippy --workspace --all-targets --locked -- -D warnings
  step "Licences, bans and sources of the dependencies" "2 min the first time"
  install_cargo_deny
  cargo fetch -q --locked
  cargo deny --offline check licenses bans sources
  check_mjml
  step "Build, and the README's shell blocks in a clean copy" "6 min the first time"
  build
  scripts/readme.sh
  only_tests
}

only_tests() {
  local status=0
  start_test_kafka
  fetch_test_modules
  export_test_screenshots
  step "Tests" "10 min"
  start_test_postgres
  build
  POSTLEDGER_TEST_PYTHON=$(test_python)
  export POSTLEDGER_TEST_PYTHON POSTLEDGER_TEST_BINARY=$POSTLEDGER
  install_python_tools
  await_test_kafka
  warn_without_kafka
  (($#)) || set -- --tests # there are none in the documentation: without this, pages of nothing come last
  cargo test --workspace --locked --no-fail-fast "$@" | tee "$DATA/log/test.log" || status=$?
  warn_without_kafka
  all_results
  return "$status"
}

# Of all programs together, as each of them tells its own. What a failed test said last comes far above, before its backtrace.
all_results() {
  grep -A 4 "^thread '.*panicked at" "$DATA/log/test.log" | grep -vE '^stack backtrace:|^ +[0-9]+: |^ +at ' | cut -c 1-300 | head -n 60 || true
  awk '/^test result: / { programs++; passed += $4; failed += $6; ignored += $8 }
    END { if (!programs) print "\nno test program ran"; else printf "\n%d test programs: %d passed; %d failed; %d ignored\n", programs, passed, failed, ignored }' "$DATA/log/test.log"
}
