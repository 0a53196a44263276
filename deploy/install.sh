#!/usr/bin/env bash
# Installs what is missing of: node (Node.js 20 and npm), python (Python 3.11 with venv), browser (Chromium), ffmpeg, valgrind,
# cable (ip, tc and ethtool).
# What is there is left alone.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }

for what in "$@"; do
    case $what in
        node)
            if ! command -v npm >/dev/null 2>&1; then
                echo "Node.js 20 or later with npm is needed and was not found." >&2
                exit 1
            fi
            ;;
        # Debian keeps what makes virtual environments in a package of its own.
        python) python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3 python3-venv) ;;
        browser) need chromium chromium ;;
        ffmpeg) need ffmpeg ffmpeg ;;
        valgrind) need valgrind valgrind ;;
        cable) need ip iproute2; need tc iproute2; need ethtool ethtool ;;
        *) echo "install.sh: unknown: $what" >&2; exit 2 ;;
    esac
done

[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Please install: ${missing[*]}" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "Installing ${missing[*]} ..."
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
