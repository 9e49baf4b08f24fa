# shellcheck shell=bash
# `./run faults [NAME...]`: shows that tests can fail. Sourced by ./run.
#
# Each patch in e2e/faults breaks a promise in a copy of this clone. The test that it names has to fail there, with the
# words that it names: `Test:` and `Expect:` in the lines above the patch.

FAULTS=$ROOT/e2e/faults

run_faults() {
  local names=("$@") name
  ((${#names[@]})) || mapfile -t names < <(basename -s .patch "$FAULTS"/*.patch)
  for name in "${names[@]}"; do
    [[ -f $FAULTS/$name.patch ]] || die "there is no fault '$name', only: $(basename -s .patch "$FAULTS"/*.patch | tr '\n' ' ')"
  done
  command -v git >/dev/null || die "git is needed to apply patches"
  open_data
  exec 9>>.data/test.lock
  flock -n 9 || die "another ./run test of this clone is running"
  trap 'exit 130' INT TERM HUP
  trap stop_test_servers EXIT

  step "Rust, disk, memory, system packages" "2 min where packages are missing, else seconds"
  prepare test 15
  step "Build, the tests as well" "8 min the first time"
  build
  cargo test --workspace --locked --no-run 2>/dev/null || die "the tests do not build, see ./run test"
  step "Copy of this clone" "1 min"
  copy_clone
  start_test_kafka
  start_test_postgres
  POSTLEDGER_TEST_PYTHON=$(test_python) || die "a Python with aiosmtpd is missing"
  export POSTLEDGER_TEST_PYTHON POSTLEDGER_TEST_BINARY=$DATA/faults/target/debug/postledger
  await_test_kafka
  for name in "${names[@]}"; do
    step "Fault $name" "5 min"
    find_fault "$name"
  done
  rm -rf .data/faults
}

# Every file gets a new time, so that nothing built from a patched one is taken for fresh. What was built of other
# people's crates is linked, not built again.
copy_clone() {
  local built part
  rm -rf .data/faults
  mkdir -p .data/faults/clone .data/faults/target/debug/deps
  tar -c --exclude=./target --exclude=./.data --exclude=./.git . | tar -xm -C .data/faults/clone
  built=$(dirname "$POSTLEDGER")
  for part in build .fingerprint; do cp -a "$built/$part" .data/faults/target/debug/; done
  find "$built/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) -print0 |
    xargs -0 cp -a --link -t .data/faults/target/debug/deps
}

find_fault() {
  local patch=$FAULTS/$1.patch log=$DATA/log/fault-$1.log test words
  test=$(sed -n 's/^Test: //p' "$patch")
  words=$(sed -n 's/^Expect: //p' "$patch")
  [[ -n $test && -n $words ]] || die "$patch names no test, or no words to expect"
  apply "$patch" || die "$patch does not apply any more: make it anew"
  (cd .data/faults/clone && CARGO_TARGET_DIR=$DATA/faults/target build)
  if cargo test --workspace --locked --test it -- --exact "$test" --nocapture >"$log" 2>&1; then
    die "$test did not find the fault '$1': see $log"
  fi
  grep -qF -- "$words" "$log" || { tail -n 30 "$log"; die "$test failed without '$words': see $log"; }
  apply "$patch" --reverse
  say "$test found it: $(grep -F -m 1 -- "$words" "$log")"
}

# The copy lies within the clone, whose repository git must not take it for.
apply() { GIT_CEILING_DIRECTORIES=$DATA/faults git -C .data/faults/clone apply "${@:2}" "$1"; }
