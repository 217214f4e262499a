#!/usr/bin/env bash
# The deployment as an operator meets it, with a real engine: build, up, reindex, search, down.
#
#   tests/e2e/compose.sh                    as root on a machine with docker, docker-compose (or the plugin) and debootstrap
#   PYTHON=… BUNDLE=… BASE=… tests/e2e/compose.sh
#
# It starts an engine when none runs, and ends it again. Where python:3.11-slim cannot be had, a small Debian with the
# same Python stands in for it, with this machine's certificates. The build uses the host's network and the PIP_* variables.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
engine=
limit_mb=900

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
export COMPOSE_PROJECT_NAME=lookalike-e2e TAG=e2e PUBLISH=127.0.0.1:0
export COLLECTION=$work/collection GALLERY=$work/gallery BUNDLE=${BUNDLE:-$work/bundle}
# not root, wherever this runs
export RUN_AS=12345:12345

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
fail() { say "FAILED: $*" >&2; "${compose[@]}" logs --tail 60 >&2 || true; exit 1; }

wait_for() { # SECONDS COMMAND…
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "waited in vain for: $*"
        sleep 0.5
    done
}

end() {
    "${compose[@]}" --profile jobs down --timeout 15 >/dev/null 2>&1 || true
    if [[ $engine ]]; then
        kill "$engine" || true
        wait "$engine" || true
    fi
    rm -rf --one-file-system "$work"
}
trap end EXIT

status() { curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$url$1"; }
answers() { [[ $(status "$1") == "$2" ]]; }
is_healthy() { [[ $(docker inspect -f '{{.State.Health.Status}}' "$container") == healthy ]]; }

stand_in() { # NAME
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$work/base" >"$work/debootstrap.log" \
        || { tail "$work/debootstrap.log" >&2; return 1; }
    cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,locale,man}/*
    tar -C "$work/base" -c . | docker import - "$1" >/dev/null
}

if ! docker info >/dev/null 2>&1; then
    dockerd >"$work/dockerd.log" 2>&1 &
    engine=$!
    wait_for 60 docker info
    say "started an engine"
fi

if [[ -z ${BASE:-} ]]; then
    BASE=python:3.11-slim
    if ! docker image inspect "$BASE" >/dev/null 2>&1 && ! timeout 120 docker pull -q "$BASE" >/dev/null 2>&1; then
        BASE=lookalike-base:bookworm
        docker image inspect "$BASE" >/dev/null 2>&1 || stand_in "$BASE"
    fi
fi
say "base image: $BASE"

pip_settings=()
for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST; do
    if [[ ${!name:-} ]]; then pip_settings+=(--build-arg "$name"); fi
done
docker build --network host --build-arg "BASE=$BASE" "${pip_settings[@]}" --target serve --tag "lookalike:$TAG" . >"$work/build.log" 2>&1 \
    || { tail -n 40 "$work/build.log" >&2; fail "the image does not build"; }
size_mb=$(($(docker image inspect -f '{{.Size}}' "lookalike:$TAG") / 1000000))
say "built the image: $size_mb MB"
((size_mb <= limit_mb)) || fail "the image has $size_mb MB, more than $limit_mb"
docker run --rm --entrypoint python3 "lookalike:$TAG" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is not None)' \
    || fail "torch is in the image"

mkdir -p "$COLLECTION" "$GALLERY/patterns"
"$python" - "$GALLERY" <<'PICTURES'
import sys
from pathlib import Path

import numpy as np
from PIL import Image

gallery = Path(sys.argv[1])
rng = np.random.default_rng(0)
for number in range(36):
    cells = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(cells).resize((160, 160), Image.Resampling.BICUBIC).save(gallery / f"patterns/{number:02}.png")
PICTURES
[[ -e $BUNDLE ]] || "$python" -c 'from lookalike.cli import main; main()' bundle --to "$BUNDLE" >"$work/bundle.log" 2>&1 \
    || { cat "$work/bundle.log" >&2; fail "no bundle"; }
if ((EUID == 0)); then chown "$RUN_AS" "$COLLECTION"; else export RUN_AS=$EUID:$EUID; fi
say "made a gallery and have a bundle"

"${compose[@]}" up -d --no-build 2>"$work/up.log" || { cat "$work/up.log" >&2; fail "up"; }
container=$("${compose[@]}" ps -q serve)
url=http://$("${compose[@]}" port serve 8000)
wait_for 60 answers /livez 200
say "live at $url"
answers /readyz 503 || fail "/readyz answers $(status /readyz) for an empty collection"
wait_for 60 is_healthy
say "healthy, and not ready while the collection is empty"
docker exec "$container" python3 -c 'import os; assert os.getuid() and os.statvfs("/").f_flag & os.ST_RDONLY' \
    || fail "the server runs as root, or may write to its root file system"

"${compose[@]}" run --rm reindex >"$work/first.log" 2>&1 || { cat "$work/first.log" >&2; fail "reindex"; }
say "indexed"
wait_for 30 answers /readyz 200
say "ready without a restart"

picture=patterns/17.png
curl -sS --fail-with-body --max-time 30 -F "image=@$GALLERY/$picture" "$url/search" >"$work/hits.json" || { cat "$work/hits.json" >&2; fail "search"; }
"$python" - "$work/hits.json" "$picture" <<'HITS' || fail "the picture itself is not the first hit"
import json
import sys

first = json.load(open(sys.argv[1]))["results"][0]
print(f"         first hit: {first['id']}, score {first['score']:.4f}")
assert first["id"] == sys.argv[2] and first["score"] > 0.99
HITS
curl -sS --fail-with-body --max-time 30 -o "$work/original.png" "$url/images/$picture" || fail "the picture is not served"
cmp "$work/original.png" "$GALLERY/$picture" || fail "the picture served is another"
say "searched, and got the original"

"${compose[@]}" run --rm -T reindex index /gallery --origin gallery --bundle /bundle --to /collection --json >"$work/second.json" 2>"$work/second.log" \
    || { cat "$work/second.log" >&2; fail "the second reindex"; }
"$python" - "$work/second.json" <<'REPORT' || fail "the second reindex did not leave everything as it was"
import json
import sys

report = json.load(open(sys.argv[1]))
assert (report["found"], report["unchanged"], report["encoded"]) == (36, 36, 0), report
REPORT
say "indexed again: nothing to encode"

"${compose[@]}" stop --timeout 15 serve >/dev/null 2>&1
[[ $(docker inspect -f '{{.State.ExitCode}}' "$container") != 137 ]] || fail "the server did not end when asked to and was killed"
say "stopped"
echo "compose.sh: ok (image $size_mb MB)"
