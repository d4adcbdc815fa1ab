#!/usr/bin/env bash
# Build the image and try it, with neither Docker nor an image registry: the base is made here, of Debian's packages.
#   ops/try_container.sh       the base, the image, and a container
#   ops/try_container.sh base  the base alone, unless it is there
# As root on Debian or Ubuntu: apt-get install buildah podman runc containernetworking-plugins iptables debootstrap
#   LIFECYCLE_CONTAINER_CACHE  where the base is kept for the next time (.lifecycle/container)
#   LIFECYCLE_DEBIAN_MIRROR    where debootstrap gets its packages (its own default)
#   PIP_INDEX_URL, PIP_CERT, PIP_DEFAULT_TIMEOUT  are handed to the build, where they are set
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
limit=250 # MB of root file system
fail() { echo "try_container: $1" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "root is needed, for debootstrap and for containers without user namespaces"
for program in buildah podman debootstrap; do
  command -v "$program" >/dev/null || fail "$program is not installed: apt-get install $program"
done
[ -d "$here/models/releases" ] || fail "there is no champion to serve: make repro"

# shellcheck disable=SC1091 # ID and VERSION_CODENAME
. /etc/os-release
cache=${LIFECYCLE_CONTAINER_CACHE:-$here/.lifecycle/container}
mkdir -p "$cache"
base=$cache/base-$ID-$VERSION_CODENAME-$(dpkg --print-architecture).tar
work=$(mktemp -d)
store=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs) # the machine's own images stay as they are
trap 'rm -rf "$work"' EXIT

if [ ! -f "$base" ]; then
  echo "base: made of $ID $VERSION_CODENAME by debootstrap"
  components=main
  [ "$ID" != ubuntu ] || components=main,universe # where python3-venv is
  debootstrap --variant=minbase --components="$components" --include=python3,python3-venv,ca-certificates \
    "$VERSION_CODENAME" "$work/tree" ${LIFECYCLE_DEBIAN_MIRROR:+"$LIFECYCLE_DEBIAN_MIRROR"} >"$work/debootstrap.log" 2>&1 ||
    { tail -n 5 "$work/debootstrap.log" >&2; fail "debootstrap cannot make $ID $VERSION_CODENAME"; }
  # what the official slim images leave out too
  tar -C "$work/tree" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' --exclude='./dev/*' \
    -cf "$base.new" .
  mv "$base.new" "$base"
  rm -rf "$work/tree"
fi
[ "${1:-}" != base ] || exit 0
mkdir "$work/base"
ln "$base" "$work/base/base.tar" 2>/dev/null || cp "$base" "$work/base/base.tar"
printf 'FROM scratch\nADD base.tar /\nENV LANG=C.UTF-8\n' >"$work/base/Dockerfile"
buildah "${store[@]}" bud --quiet --isolation chroot --format docker -t localhost/python:slim "$work/base" >/dev/null

given=()
for name in PIP_INDEX_URL PIP_CERT PIP_DEFAULT_TIMEOUT; do
  [ -z "${!name:-}" ] || given+=(--build-arg "$name=${!name}")
done
[ -z "${PIP_CERT:-}" ] || given+=(--volume "$PIP_CERT:$PIP_CERT:ro")
began=$SECONDS
buildah "${store[@]}" bud --isolation chroot --pull-never --format docker --build-arg PYTHON_IMAGE=localhost/python:slim \
  "${given[@]}" -t localhost/lifecycle:try "$here" >"$work/build.log" 2>&1 ||
  { tail -n 20 "$work/build.log" >&2; fail "the image cannot be built"; }
echo "build: $((SECONDS - began)) s"

measure() { # megabytes of an image's root file system, on stdout
  local container folder
  container=$(buildah "${store[@]}" from --pull-never "$1")
  folder=$(buildah "${store[@]}" mount "$container")
  du -xsm --apparent-size "$folder" | cut -f 1
  buildah "${store[@]}" umount "$container" >/dev/null
  buildah "${store[@]}" rm "$container" >/dev/null
}
mounted=$(buildah "${store[@]}" from --pull-never localhost/lifecycle:try)
folder=$(buildah "${store[@]}" mount "$mounted")
pickles=$(find "$folder/srv" "$folder/opt" \( -name '*.joblib' -o -name '*.pkl' \) -print)
[ -z "$pickles" ] || fail "the image holds pickles: $pickles"
buildah "${store[@]}" rm "$mounted" >/dev/null
size=$(measure localhost/lifecycle:try)
echo "size: $size MB (the base $(measure localhost/python:slim) MB) of at most $limit"
[ "$size" -le "$limit" ] || fail "the image is $size MB, at most $limit were expected"

runtime=()
[ -z "$(command -v runc)" ] || runtime=(--runtime runc)
ENGINE="podman ${store[*]} ${runtime[*]} --cgroup-manager cgroupfs --events-backend file --log-level fatal" \
  "$here/ops/smoke_container.sh" localhost/lifecycle:try
echo "try_container: all is well"
