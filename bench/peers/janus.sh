#!/usr/bin/env bash
# Installs Janus from Debian's package and prepares in the folder $1 what it needs to be measured fairly on one machine:
#   loopback.so       lets its ICE agent use the loopback interface
#   libsrtp2.so.1     the same libsrtp as Debian's, built on OpenSSL instead of NSS, which is several times as fast
# What is there already is left alone. Without the second the tuned row is reported as not installed.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)

if [ ! -x /usr/bin/janus ] || [ ! -f "$out/loopback.so" ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "janus.sh: no apt-get here: Janus is measured on Debian only" >&2
        exit 1
    fi
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    export DEBIAN_FRONTEND=noninteractive
    echo "Preparing Janus ..."
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends janus gcc libc6-dev util-linux >/dev/null
    gcc -O2 -Wall -shared -fPIC -o "$out/loopback.so" "$here/loopback.c" -ldl
fi
"$here/libsrtp2.sh" "$out"
