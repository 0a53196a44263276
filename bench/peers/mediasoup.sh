#!/usr/bin/env bash
# Builds mediasoup, of which there is no package, and puts into the folder $1:
#   mediasoup-under-test     its worker and its Rust API behind a socket, from `mediasoup` beside this file
#   mediasoup                what that is built from; `mediasoup/log` tells how it went
# The crates are those of the lock file. mediasoup's own build would download a source archive for each C++ library that
# it uses; instead it gets Debian's, by a few lines for each in `mediasoup/shims`. meson and ninja come by pip.
# What is there already is left alone, unless its sources here have changed, and what was interrupted goes on. It takes
# about ten minutes on two cores.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)/mediasoup
cargo=${CARGO:-cargo}
program=mediasoup-under-test

# A digest of files beside this one.
digest() {
    (cd "$here/.." && find "$@" -type f -not -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum)
}
sources=$(digest mediasoup mediasoup.sh libsrtp2.sh)
[ -x "$out/$program" ] && [ "$(cat "$out/mediasoup/built" 2>/dev/null)" = "$sources" ] && exit 0

fail() {
    echo "mediasoup.sh: $1" >&2
    exit 1
}
command -v apt-get >/dev/null 2>&1 || fail "no apt-get here: the C++ libraries that it needs are Debian's"
"$here/../libsrtp2.sh" "$out"

echo "Preparing mediasoup ..."
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends g++ make pkg-config python3-venv libabsl-dev libuv1-dev \
    libssl-dev libflatbuffers-dev flatbuffers-compiler util-linux >/dev/null

work=$out/mediasoup
mkdir -p "$work"
cd "$work"
rm -rf src
cp -r "$here/Cargo.toml" "$here/Cargo.lock" "$here/build.rs" "$here/src" .
"$cargo" fetch --quiet --locked

# Copies the crate whose build script runs meson, as Cargo got it, and changes the copy, which takes its place below.
prepare() {
    local original wrap folder tested
    rm -rf mediasoup-sys target prepared
    original=$("$cargo" metadata --locked --offline --format-version 1 |
        python3 -c 'import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "mediasoup-sys"))')
    cp -r "$(dirname "$original")" mediasoup-sys
    chmod -R u+w mediasoup-sys
    # A subproject whose folder is there is not downloaded.
    for wrap in libuv openssl libsrtp3 flatbuffers unordered-dense; do
        folder=$(sed -n 's/^directory *= *//p' "mediasoup-sys/subprojects/$wrap.wrap")
        [ -n "$folder" ] || fail "mediasoup-sys no longer says where it expects $wrap"
        cp -r "$here/shims/${wrap/-/_}" "mediasoup-sys/subprojects/$folder"
    done
    # Its BIO callback must hand on the outcome of every finished operation, which comes with this bit and that of the
    # operation. Without it OpenSSL takes the kernel for one that speaks TLS, as soon as it was built to ask.
    tested='operationType == BIO_CB_RETURN'
    grep -q "$tested" mediasoup-sys/src/RTC/DtlsTransport.cpp || fail "mediasoup's BIO callback is not as expected"
    sed -i "s/$tested/(operationType \& BIO_CB_RETURN) != 0/" mediasoup-sys/src/RTC/DtlsTransport.cpp
    echo "$1" >prepared
}
wanted=$(digest mediasoup/shims mediasoup/Cargo.lock mediasoup.sh)
[ "$(cat prepared 2>/dev/null)" = "$wanted" ] || prepare "$wanted"

[ -x python/bin/python3 ] || python3 -m venv python
libraries="$out/libsrtp2/lib/libsrtp2.a $(pkg-config --libs libuv openssl)"
libraries="$libraries -Wl,-Bstatic $(pkg-config --libs --static absl_flat_hash_map absl_flat_hash_set) -Wl,-Bdynamic"
build() {
    exec env -u CARGO_TARGET_DIR -u CARGO_BUILD_TARGET -u RUSTFLAGS \
        PYTHON="$work/python/bin/python3" \
        MESON_ARGS="--wrap-mode=nodownload -Dlibsrtp3:libsrtp2=$out/libsrtp2" \
        MEDIASOUP_LOCAL_DEV=1 \
        WORKER_LIBRARIES="$libraries" \
        "$cargo" build --release -vv --config 'patch.crates-io.mediasoup-sys.path="mediasoup-sys"' >"$work/log" 2>&1
}
build &
building=$!
trap 'kill "$building" 2>/dev/null || true' EXIT
while kill -0 "$building" 2>/dev/null; do
    sleep 2
    [ ! -t 2 ] || printf '\r\033[2KBuilding mediasoup %s' "$(grep -o '\[[0-9]*/[0-9]*\]' log | tail -n 1)" >&2
done
[ ! -t 2 ] || printf '\r\033[2K' >&2
wait "$building" || fail "mediasoup does not build; see $work/log"
cp "target/release/$program" "$out/$program"
echo "$sources" >built
rm -rf target mediasoup-sys prepared
