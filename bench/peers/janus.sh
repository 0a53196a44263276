#!/usr/bin/env bash
# Installs Janus from Debian's package and prepares in the folder $1 what it needs to be measured fairly on one machine:
#   loopback.so       lets its ICE agent use the loopback interface
#   libsrtp2.so.1     the same libsrtp as Debian's, built on OpenSSL instead of NSS, which is several times as fast
# What is there already is left alone. Without the second the tuned row is reported as not installed.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
[ -x /usr/bin/janus ] && [ -f "$out/loopback.so" ] && [ -f "$out/libsrtp2.so.1" ] && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "janus.sh: no apt-get here: Janus is measured on Debian only" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
echo "Preparing Janus ..."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends janus gcc make pkg-config libc6-dev libssl-dev dpkg-dev \
    util-linux >/dev/null
gcc -O2 -Wall -shared -fPIC -o "$out/loopback.so" "$here/loopback.c" -ldl

if [ ! -f "$out/libsrtp2.so.1" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    # The machine's own list of sources, as deb-src, without touching its configuration.
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n 's/^deb /deb-src /p' >all.list || true
    sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/*.sources >all.sources 2>/dev/null || true
    if [ -s all.sources ]; then list=all.sources; else list=all.list; fi
    mkdir lists
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/$list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
        -o APT::Sandbox::User=root)
    "${as_root[@]}" "${apt[@]}" update
    "${as_root[@]}" "${apt[@]}" source libsrtp2 >/dev/null
    cd libsrtp2-*/
    { ./configure --enable-openssl && make -j2 shared_library; } >"$out/libsrtp2.log" 2>&1 ||
        { echo "janus.sh: libsrtp2 does not build; see $out/libsrtp2.log" >&2; exit 1; }
    cp -L libsrtp2.so.1 "$out/libsrtp2.so.1"
fi
