#!/usr/bin/env bash
# Run an image as it is meant to be run, ask it, and stop it: ops/smoke_container.sh IMAGE [MODELS_FOLDER]
# ENGINE says with what (docker, or podman with its options); the first of docker and podman that is there otherwise.
set -euo pipefail
image=${1:?smoke: expected the name of an image}
here=$(cd "$(dirname "$0")/.." && pwd)
models=${2:-$here/models}
fail() { echo "smoke: $1" >&2; exit 1; }
if [ -n "${ENGINE:-}" ]; then read -ra engine <<<"$ENGINE"
elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then engine=(docker)
elif command -v podman >/dev/null; then engine=(podman)
else fail "neither docker nor podman can be run: apt-get install podman"; fi

# podman asks for higher limits than some hosts may give, and for systemd's clock: these are enough, and the health check is
# run below.
podman=()
[ "${engine[0]}" != podman ] || podman=(--ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --health-interval disable)
container=$("${engine[@]}" run --detach --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
  "${podman[@]}" --publish 127.0.0.1::8000 "$image") || fail "$image does not start"
trap '"${engine[@]}" rm --force --volumes "$container" >/dev/null 2>&1 || true' EXIT
published=$("${engine[@]}" port "$container" 8000/tcp | head -n 1)
[[ $published == 127.0.0.1:* ]] || fail "port 8000 is published on ${published:-nothing}, expected 127.0.0.1"
python3 "$here/ops/ask_server.py" "http://$published" "$models" || {
  "${engine[@]}" logs "$container" >&2 || true
  fail "$image does not answer as it should"
}

inside() { "${engine[@]}" exec "$container" "$@"; }
user=$(inside id -u)
[ "$user" -ne 0 ] || fail "the server is root"
echo "user: $user"
for folder in / /srv/lifecycle/models /opt/lifecycle /etc /home; do
  if inside touch "$folder/.written" 2>/dev/null; then fail "$folder can be written"; fi
done
inside touch /tmp/.written || fail "/tmp cannot be written"
echo "root file system: read-only"
capabilities=$(inside grep -E '^Cap(Eff|Prm|Bnd)' /proc/1/status | awk '{print $2}' | sort -u)
[ "$capabilities" = 0000000000000000 ] || fail "the server has capabilities: $capabilities"
echo "capabilities: none"
inside python -c 'from lifecycle.serving.scorer import import_treelite; import_treelite().gtil' ||
  fail "treelite cannot be imported from the serving lock"
echo "treelite: imports without scipy"
sleep 1 # longer than the log's flush_seconds
inside sh -c 'cat /var/lib/lifecycle/predictions/segments/* | grep -q "\"kind\":\"prediction\""' || fail "the prediction is not in the log"
echo "prediction log: written"
if [ "${engine[0]}" = podman ]; then
  "${engine[@]}" healthcheck run "$container" >/dev/null || fail "the image's HEALTHCHECK fails"
  echo "healthcheck: passes"
fi

"${engine[@]}" stop -t 45 "$container" >/dev/null
status=$("${engine[@]}" inspect --format '{{.State.ExitCode}}' "$container")
[ "$status" -eq 0 ] || fail "after SIGTERM the exit status is $status, expected 0"
echo "SIGTERM: exit status 0"
