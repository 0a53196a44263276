#!/usr/bin/env bash
# The two sans-IO cores must not be able to reach a socket, a thread pool, a clock of the system or its randomness:
# nothing that brings one may be among their dependencies.
set -euo pipefail

denied='^(tokio|mio|socket2|async-std|smol|rand|rand_core|getrandom|crossbeam.*|core_affinity|nix|rustix) '
status=0
for core in dataplane-core controlplane-room; do
    found=$(cargo tree --locked --package "$core" --edges normal --prefix none | sort -u | grep -E "$denied" || true)
    if [ -n "$found" ]; then
        echo "$core is sans-IO and must not depend on:" >&2
        echo "$found" >&2
        status=1
    fi
done
exit $status
