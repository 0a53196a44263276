#!/usr/bin/env bash
# Builds Millrace and runs it on this machine: data plane, control plane, demo page. Ctrl-C stops both.
set -euo pipefail
cd "$(dirname "$0")/.."

secret=${OPENVIDU_SECRET:-MY_SECRET}
port=${HTTPS_PORT:-4443}
media_port=${MILLRACE_MEDIA_PORT:-40000}
host=${DOMAIN_OR_PUBLIC_IP:-localhost}

say() { printf '%s\n' "$*"; }

say "Building Millrace (the first time takes some minutes) ..."
make --no-print-directory build

# A Unix socket's path is at most 107 bytes: a short folder of our own, wherever the clone is.
run=$(mktemp -d "${TMPDIR:-/tmp}/millrace.XXXXXX")
socket=$run/dataplane.sock
dataplane=
controlplane=

stop() {
    trap - EXIT INT TERM
    for pid in $controlplane $dataplane; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in $controlplane $dataplane; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$run"
}
trap 'stop; exit 130' INT TERM
trap stop EXIT

fail() {
    say "$1" >&2
    exit 1
}

# Loopback is announced too, so that a browser on this machine always finds a way.
announce=${MILLRACE_ANNOUNCE:-$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -E '^[0-9.]+$' | paste -sd, || true)}
announce=${announce:+$announce,}127.0.0.1

MILLRACE_CONTROL_SOCKET=$socket MILLRACE_MEDIA_PORT=$media_port MILLRACE_ANNOUNCE=$announce \
    target/release/millrace-dataplane &
dataplane=$!
for _ in $(seq 100); do
    [ -S "$socket" ] && break
    kill -0 "$dataplane" 2>/dev/null || fail "The data plane stopped; its reason is above."
    sleep 0.1
done
[ -S "$socket" ] || fail "The data plane did not open its control socket within 10 s."

MILLRACE_CONTROL_SOCKET=$socket MILLRACE_DATA_DIR=${MILLRACE_DATA_DIR:-target/run} MILLRACE_DEMO=${MILLRACE_DEMO:-true} \
    OPENVIDU_SECRET=$secret HTTPS_PORT=$port DOMAIN_OR_PUBLIC_IP=$host \
    target/release/millrace-controlplane &
controlplane=$!
serves() {
    python3 - "$port" <<'PYTHON'
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
try:
    urllib.request.urlopen(f"https://localhost:{sys.argv[1]}/healthz", timeout=2, context=context)
except Exception:
    sys.exit(1)
PYTHON
}
for _ in $(seq 100); do
    serves && break
    kill -0 "$controlplane" 2>/dev/null || fail "The control plane stopped; its reason is above."
    sleep 0.1
done
serves || fail "The control plane does not answer on port $port."

cat <<TEXT

  Millrace is running.

    Demo call    https://$host:$port/          (self-signed certificate: let the browser accept it)
    REST API     https://$host:$port/openvidu/api, user OPENVIDUAPP, secret $secret
    Metrics      https://$host:$port/metrics
    Media        UDP port $media_port on ${announce//,/, }

  Ctrl-C stops it.

TEXT
# Whichever process ends first ends the other.
wait -n "$dataplane" "$controlplane" || true
fail "One of the processes stopped; its reason is above."
