#!/usr/bin/env bash
# Every script says what it does on --help and refuses what it doesn't know; the shell has no complaints.
set -euo pipefail
cd "$1"
fail() { echo "$*" && exit 1; }
for script in scripts/*; do
    [[ -x $script ]] || fail "$script is not executable"
    out=$("$script" --help </dev/null) || fail "$script --help fails"
    [[ $out == usage:* ]] || fail "$script --help says: $out"
    if [[ $(head -n 1 "$script") == *python3 ]]; then
        python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$script" || fail "$script is not valid"
    else
        bash -n "$script" || fail "$script is not valid"
    fi
done
if scripts/bench no-such-benchmark >/dev/null 2>&1; then fail "bench runs what isn't there"; fi
out=$(scripts/bench no-such-benchmark 2>&1 || true)
[[ $out == *"no benchmark 'no-such-benchmark'"* ]] || fail "bench says: $out"
if scripts/bench --fly >/dev/null 2>&1; then fail "bench takes --fly"; fi
[[ -x .ci/run ]] || fail ".ci/run is not executable"
