#!/usr/bin/env bash
# Runs the shell blocks of README.md, verbatim and in order, in a clean copy of this tree: `scripts/readme.sh`.
#
# Every block that is fenced as ```sh is run, in one shell, each from the top of the copy. What is not meant to be run
# (a clone, sample output) is fenced otherwise (```console, ```text). Two kinds of block are special:
# - one that begins with `./run up` is started in the background, as in a terminal of its own, until it says it is up;
# - one that begins with `./run test` is left out: it is what runs this.
# If port 8080 is taken on this machine, another one is put into the blocks.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

source scripts/common.sh

scratch=$(mktemp -d "${TMPDIR:-/tmp}/postledger-readme.XXXXXX")
finish() { (cd "$scratch/copy" && ./run down) || true; rm -rf "$scratch"; }
trap finish EXIT

chmod 711 "$scratch"
mkdir "$scratch/copy" "$scratch/blocks"
tar -cf - --exclude=./target --exclude=./.data --exclude=./.git . | tar -xf - -C "$scratch/copy"
awk -v dir="$scratch/blocks" '/^```sh$/ { file = sprintf("%s/%02d", dir, ++n); next } /^```/ { file = "" } file { print > file }' README.md

# What tests are told would be unknown settings to the product.
unset "${!POSTLEDGER_TEST_@}"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
port=$(pick_port "$scratch/port" 8080)
[[ $port == 8080 ]] || sed -i "s/8080/$port/g; s#^\./run up#& --port $port#" "$scratch"/blocks/*

# up_block FILE: returns when the stack says it is up.
up_block() {
  : >"$scratch/up.log"
  bash -euo pipefail "$1" >"$scratch/up.log" 2>&1 &
  until grep -q 'Ctrl-C' "$scratch/up.log"; do
    if ! kill -0 $! 2>/dev/null; then cat "$scratch/up.log"; die "README.md: ./run up failed"; fi
    sleep 0.2
  done
}

cd "$scratch/copy"
# shellcheck disable=SC1090 # each block is another file
for block in "$scratch"/blocks/*; do
  [[ -s $block ]] || die "README.md has no \`\`\`sh block"
  sed 's/^/  README$ /' "$block"
  case $(head -n 1 "$block") in
    './run test'*) say "  (this is what runs)" ;;
    './run up'*) up_block "$block" ;;
    *) source "$block" ;;
  esac
done
