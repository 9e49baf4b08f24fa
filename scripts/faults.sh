# shellcheck shell=bash
# `./run faults [--runs N] [NAME...]`: shows that tests can fail. Sourced by ./run.
#
# Each patch in e2e/faults breaks a promise in a copy of this clone. The test that it names has to fail there, with the
# words that it names: `Test:` and `Expect:` in the lines above the patch.

FAULTS=$ROOT/e2e/faults

run_faults() {
  local runs=1 names name
  if [[ ${1-} == --runs ]]; then
    [[ ${2-} =~ ^[1-9][0-9]{0,2}$ ]] || die "--runs wants a number from 1 to 999"
    runs=$2
    shift 2
  fi
  names=("$@")
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
    step "Fault $name" "2 min to build, and $runs times its test"
    find_fault "$name" "$runs"
  done
  rm -rf .data/faults
}

# Part of ./run test: who changes what a patch is about is told at once, and not when somebody plants it next.
faults_apply() {
  local patch test
  command -v git >/dev/null || { say "git is missing: whether the faults still apply is not known"; return; }
  for patch in "$FAULTS"/*.patch; do
    GIT_CEILING_DIRECTORIES=${ROOT%/*} git apply --check "$patch" || die "$patch does not apply any more: make it anew"
    test=$(sed -n 's/^Test: //p' "$patch")
    grep -rqw --include='*.rs' "fn ${test##*::}" ./*/tests || die "$patch names a test that is not there: '$test'"
  done
  say "the faults of e2e/faults apply, and their tests are there"
}

# Every file gets a new time, so that nothing built from a patched one is taken for fresh. What was built of other
# people's crates is linked, not built again.
copy_clone() {
  local built part
  rm -rf .data/faults
  mkdir -p .data/faults/clone .data/faults/tmp .data/faults/target/debug/deps
  tar -c --exclude=./target --exclude=./.data --exclude=./.git . | tar -xm -C .data/faults/clone
  built=$(dirname "$POSTLEDGER")
  for part in build .fingerprint; do cp -a "$built/$part" .data/faults/target/debug/; done
  find "$built/deps" -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) -print0 |
    xargs -0 cp -a --link -t .data/faults/target/debug/deps
}

# find_fault NAME RUNS: the test has to find it in 9 of 10 runs. A test that needs luck would pass over a real fault as well.
find_fault() {
  local patch=$FAULTS/$1.patch log=$DATA/log/fault-$1 runs=$2 test words found=0 run
  test=$(sed -n 's/^Test: //p' "$patch")
  words=$(sed -n 's/^Expect: //p' "$patch")
  [[ -n $test && -n $words ]] || die "$patch names no test, or no words to expect"
  apply "$patch" || die "$patch does not apply any more: make it anew"
  { in_copy build --workspace && in_copy test --workspace --test '*' --no-run; } >"$log.build" 2>&1 ||
    die_with "$log.build" "with the fault '$1' it does not build: see $log.build"
  for ((run = 1; run <= runs; run++)); do
    rm -rf .data/faults/tmp
    mkdir .data/faults/tmp
    if in_copy test --workspace --test '*' -- --exact "$test" --nocapture >"$log.$run" 2>&1; then
      grep -q '^test result: ok. 1 passed' "$log.$run" || die "no test is called '$test', see $log.$run"
      say "Run $run of $runs: $test passed, see $log.$run"
    elif grep -qF -- "$words" "$log.$run"; then
      found=$((found + 1))
      say "Run $run of $runs: $(grep -F -m 1 -- "$words" "$log.$run" | cut -c 1-150)"
    else
      say "Run $run of $runs: $test failed without '$words', see $log.$run"
    fi
  done
  apply "$patch" --reverse
  say "found in $found of $runs: $1, by $test"
  ((found * 10 >= runs * 9)) || die "'$1' has to be found in 9 of 10 runs"
}

# The tests of every crate are built there: one that knows the crate with the fault has to be linked with it. What a test
# that fails keeps in its temporary folder goes with the next run.
in_copy() (
  cd .data/faults/clone || exit
  export CARGO_TARGET_DIR=$DATA/faults/target TMPDIR=$DATA/faults/tmp
  exec cargo "$1" --locked "${@:2}" 9>&-
)

# The copy lies within the clone, whose repository git must not take it for.
apply() { GIT_CEILING_DIRECTORIES=$DATA/faults git -C .data/faults/clone apply "${@:2}" "$1"; }
