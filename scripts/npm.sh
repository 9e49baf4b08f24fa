# shellcheck shell=bash
# An OpenID provider that is not ours, for the tests (e2e/openid). Sourced by ./run.

OPENID_FILES=$ROOT/e2e/openid
OPENID_HOME=$DATA/tools/openid

openid_fetched() { cmp -s "$OPENID_FILES/package-lock.json" "$OPENID_HOME/package-lock.json"; }

# Its modules, once, by the lock file's checksums; nothing that they bring is run to install them. Made beside their place and
# moved there whole.
openid_fetch() {
  local new=$OPENID_HOME.new
  ! openid_fetched || return 0
  rm -rf "$new"
  mkdir -p "$new"
  cp "$OPENID_FILES"/package{,-lock}.json "$new/"
  timeout 300 npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund >"$DATA/log/npm.log" 2>&1 ||
    { tail -n 5 "$DATA/log/npm.log"; return 1; }
  rm -rf "$OPENID_HOME"
  mv "$new" "$OPENID_HOME"
}
