#!/usr/bin/env bash
# From a commit to a tried image and a champion, on this machine: what .github/workflows/deliver.yml does there.
# It stops at the first step that fails, with a sentence.
#   PYTHON_IMAGE             the base (docker.io/library/python:3.11-slim)
#   LIFECYCLE_IMAGE          the result's name (localhost/lifecycle:COMMIT)
#   ENGINE                   with what it is built and run: docker, podman with its options, or buildah (which only builds)
#   LIFECYCLE_BUILD_OPTIONS  more words for the build, as in "--isolation chroot"
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
base=${PYTHON_IMAGE:-docker.io/library/python:3.11-slim}
image=${LIFECYCLE_IMAGE:-localhost/lifecycle:$(git rev-parse --short=12 HEAD)}
read -ra options <<<"${LIFECYCLE_BUILD_OPTIONS:-}"
step() { printf '\n=== %s ===\n' "$1"; }
stop() { echo "deliver: stopped: $1" >&2; exit 1; }

if [ -z "${ENGINE:-}" ]; then
  if command -v docker >/dev/null && docker info >/dev/null 2>&1; then ENGINE=docker
  elif command -v podman >/dev/null; then ENGINE=podman
  elif command -v buildah >/dev/null; then ENGINE=buildah
  else stop "docker, podman and buildah are missing, of which one builds the image: apt-get install podman."; fi
fi
export ENGINE
read -ra engine <<<"$ENGINE"
[ "${engine[0]}" = docker ] || options+=(--format docker) # the other format knows no HEALTHCHECK

step "test"
make test || stop "a test fails; nothing was built."

step "rebuild and gate"
make repro || stop "the pipeline does not rebuild; nothing was built."
grep -q '"model": "' models/champion.json || stop "there is no champion to deliver: no model has passed the quality gate yet."

step "image $image"
"${engine[@]}" build "${options[@]}" --build-arg "PYTHON_IMAGE=$base" --tag "$image" . ||
  stop "${engine[0]} cannot build the image; is $base there?"

step "smoke test"
if [ "${engine[0]}" = buildah ]; then
  echo "not run: buildah builds, but runs no server; apt-get install podman."
else
  ops/smoke_container.sh "$image" || stop "the container does not answer as it should; the image is not to be used."
fi

step "promote"
lifecycle promote --if-blessed || stop "the champion could not be moved."
echo "deliver: $image is built and tried; commit models/ where \`git status\` shows that the champion moved."
