# shellcheck shell=bash
# `./run bench [MEASURE...]` and `./run soak [--minutes N]`. Sourced by ./run.

run_bench() {
  prepare_measures
  step "Measures" "20 min for all of them; leave the machine alone meanwhile"
  start_test_kafka
  # Flushes as a real one; room for a million readers.
  start_measured_postgres
  await_test_kafka
  measure bench/RESULTS.md "$@"
}

# Fails where an answer was an error of the server, or something was left over. .data/soak gets the figures and a graph.
run_soak() {
  local minutes=60
  if [[ ${1-} == --minutes ]]; then
    [[ ${2-} =~ ^[1-9][0-9]{0,3}$ ]] || die "--minutes wants a number from 1 to 9999"
    minutes=$2
    shift 2
  fi
  ((!$#)) || die "'soak' does not know $1, see ./run help"
  prepare_measures
  step "Soak" "$minutes min and a few more"
  start_measured_postgres
  measure "$DATA/soak" --soak "$minutes" || die "the soak found something wrong, see above"
  say "figures and a graph: $DATA/soak"
}

prepare_measures() {
  open_data
  exec 9>>.data/test.lock
  flock -n 9 || die "another ./run test of this clone is running"
  trap 'exit 130' INT TERM HUP
  trap stop_test_servers EXIT

  step "Rust, disk, memory, system packages" "2 min where packages are missing, else seconds"
  check_space "$ROOT" 15
  prepare bench 15
  # Thousands of connections, at both ends.
  ulimit -n 16384 || die "16384 open files are needed: ulimit -n"
  step "Build with optimizations" "8 min the first time on two cores"
  cargo build --workspace --release --locked 9>&- || die "the build failed, see above."
}

start_measured_postgres() {
  start_test_postgres shared_buffers=2GB max_wal_size=16GB
  POSTLEDGER_TEST_PYTHON=$(test_python) || die "a Python with aiosmtpd and prometheus_client is missing"
  export POSTLEDGER_TEST_PYTHON POSTLEDGER_TEST_BINARY=${POSTLEDGER%/debug/postledger}/release/postledger
}

measure() { PATH=$(postgres_bin):$PATH "${POSTLEDGER%/debug/postledger}/release/postledger-bench" "$@"; }
