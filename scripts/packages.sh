# shellcheck shell=bash
# What the machine must have. Sourced by ./run.

check_rust() {
  local version
  [[ ! -d ~/.cargo/bin ]] || PATH=$PATH:~/.cargo/bin
  version=$(rustc --version 2>/dev/null | cut -d' ' -f2) || true
  [[ -n $version ]] || die "Rust is missing. Install it as https://rustup.rs says, then call again."
  at_least "${version%%-*}" "$RUST_VERSION" ||
    die "Rust $RUST_VERSION or later is needed, here is $version. 'rustup update stable' brings it (https://rustup.rs)."
}

# check_space FOLDER GB: of free disk where the build goes, and 2 GB of memory to link it.
check_space() {
  local memory
  check_disk "$@"
  memory=$(awk '/^(MemTotal|SwapTotal):/ { kb += $2 } END { print int(kb / 1000 / 1000 + 0.5) }' /proc/meminfo)
  ((memory >= 2)) || die "2 GB of memory (swap included) are needed to build, here are $memory GB."
}

check_disk() {
  local free
  free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
  ((free >= $2)) || die "$2 GB of free disk are needed in $1, there are $free GB."
}

# A Python that has the SMTP server of the tests, another verifier of DKIM signatures, and Prometheus's own reader of metrics.
test_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import aiosmtpd, dkim, nacl, prometheus_client' 2>/dev/null; then command -v "$python"; return; fi
  done
  return 1
}

# The Debian packages that are missing, by what they bring: what is there in another way is as good.
missing_packages() {
  local tool
  if [[ $1 == kafka ]]; then
    java_bin >/dev/null || echo default-jre-headless
    kafka_fetched || command -v mvn >/dev/null || echo maven
    return
  fi
  for tool in gcc g++ make pkg-config curl; do command -v "$tool" >/dev/null || echo "$tool"; done
  [[ -e /usr/include/stdio.h ]] || echo libc6-dev
  [[ -e /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
  [[ -e /usr/include/openssl/ssl.h ]] || echo libssl-dev
  postgres_bin >/dev/null || echo postgresql
  [[ $1 != up ]] || return 0
  test_python >/dev/null || printf '%s\n' python3 python3-aiosmtpd python3-dkim python3-nacl python3-prometheus-client
  "$(test_python || echo /usr/bin/python3)" -c 'import ensurepip' 2>/dev/null || echo python3-venv
  [[ $1 != bench ]] || command -v wrk >/dev/null || echo wrk
  # A real browser, and the OpenID provider that it signs in at.
  command -v chromedriver >/dev/null || printf '%s\n' chromium chromium-driver
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

# Debian's package starts a server of its own when it is installed, which nobody asked for: this file prevents it meanwhile.
NO_CLUSTER=/etc/postgresql-common/createcluster.d/postledger.conf

# install_packages up|test|bench|kafka
install_packages() {
  local missing install log=$DATA/log/apt.log
  mapfile -t missing < <(missing_packages "$1")
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "please install what Debian calls: ${missing[*]}"
  install=(apt-get install -y --no-install-recommends "${missing[@]}")
  if ((EUID)); then
    say "Packages are missing. Please run this and call again:"
    if [[ " ${missing[*]} " == *" postgresql "* ]]; then
      say "  sudo mkdir -p ${NO_CLUSTER%/*}"
      say "  echo 'create_main_cluster = false' | sudo tee $NO_CLUSTER"
    fi
    say "  sudo apt-get update && sudo ${install[*]}"
    exit 1
  fi
  say "Installing: ${missing[*]}"
  mkdir -p "${NO_CLUSTER%/*}"
  echo 'create_main_cluster = false' >"$NO_CLUSTER"
  (apt-get update && DEBIAN_FRONTEND=noninteractive "${install[@]}") >"$log" 2>&1 || { tail -n 20 "$log" >&2; missing=(failed); }
  rm -f "$NO_CLUSTER"
  [[ ${missing[0]} != failed ]] || die "the packages could not be installed, see above."
  mapfile -t missing < <(missing_packages "$1")
  ((${#missing[@]} == 0)) || die "still missing after their installation: ${missing[*]} (Postgres must be 15 or later, Java 17)"
}
