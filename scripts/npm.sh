# shellcheck shell=bash
# What npm brings for the tests: an OpenID provider that is not ours (e2e/openid), axe-core (e2e/axe), MJML's own compiler
# (e2e/mjml). Sourced by ./run.

# npm_fetch NAME: the modules of e2e/NAME into .data/tools/NAME, once, by the lock file's checksums; nothing that they bring is
# run to install them. Made beside their place and moved there whole.
npm_fetch() {
  local files=$ROOT/e2e/$1 home=$DATA/tools/$1 new=$DATA/tools/$1.new
  ! cmp -s "$files/package-lock.json" "$home/package-lock.json" || return 0
  rm -rf "$new"
  mkdir -p "$new"
  cp "$files"/package{,-lock}.json "$new/"
  timeout 300 npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund >"$DATA/log/npm.log" 2>&1 ||
    { tail -n 5 "$DATA/log/npm.log" >&2; return 1; }
  rm -rf "$home"
  mv "$new" "$home"
}
