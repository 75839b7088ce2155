#!/usr/bin/env bash
# scripts/test and .ci/run with a made-up cmake and ctest: they print every build's closing line, and fail when
# one build, one test or one fuzzing run fails.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/scripts" "$work/tree/.ci" "$work/bin"
cp "$1/scripts/test" "$work/tree/scripts"
cp "$1/.ci/run" "$work/tree/.ci"
cat >"$work/tree/scripts/setup" <<'SH'
#!/bin/sh
exit ${FAIL_SETUP:-0}
SH
cat >"$work/bin/cmake" <<'SH'
#!/bin/sh
[ "$2" != "${FAIL_BUILD-}" ] || { echo "error: made up" && exit 1; }
SH
cat >"$work/bin/ctest" <<'SH'
#!/bin/sh
echo "$*" >>"$CALLS"
if [ "$2" = "${FAIL_TESTS-}" ]; then echo "67% tests passed, 1 tests failed out of 3" && exit 8; fi
if [ "$2" = "${FAIL_CTEST-}" ]; then exit 0; fi
echo "100% tests passed, 0 tests failed out of 3"
SH
chmod 755 "$work/tree/scripts/setup" "$work/bin/"*
export CALLS=$work/calls PATH=$work/bin:$PATH
cd "$work/tree"

fail() { echo "$*" && exit 1; }
expect() { # expect STATUS TEXT COMMAND...
    local want=$1 text=$2 status=0 out
    shift 2
    : >"$CALLS"
    out=$("$@" 2>&1 </dev/null) || status=$?
    [[ $status == "$want" ]] || fail "status $status instead of $want from $*: $out"
    [[ $out == *"$text"* ]] || fail "expected '$text' from $*, got: $out"
}
passed='100% tests passed, 0 tests failed out of 3'
failed='67% tests passed, 1 tests failed out of 3'

expect 0 "build/dev: $passed" scripts/test
[[ $(wc -l <"$CALLS") == 1 ]] || fail "scripts/test runs more than the dev build"
grep -q -e '-LE ^long\$' "$CALLS" || fail "scripts/test runs the long tests"
grep -q -e '--no-tests=error' "$CALLS" || fail "scripts/test passes where there is no test"
for folder in dev asan tsan fuzz; do
    expect 0 "build/$folder: $passed" .ci/run
    FAIL_TESTS=build/$folder expect 1 "build/$folder: $failed" .ci/run
    FAIL_CTEST=build/$folder expect 1 "build/$folder: ctest did not end" .ci/run
    FAIL_BUILD=build/$folder expect 1 "building build/$folder failed" .ci/run
done
# One that fails doesn't hide what the others would have said.
FAIL_TESTS=build/dev expect 1 "build/tsan: $passed" .ci/run
FAIL_TESTS=build/matrix/clang expect 1 "build/matrix/clang (lld): $failed" scripts/test --long
FAIL_TESTS=build/matrix/gcc expect 1 "build/matrix/clang (mold): $passed" scripts/test --long
for cell in gcc clang; do
    [[ $(grep -c -e "build/matrix/$cell .*-L ^images" "$CALLS") == 4 ]] || fail "$cell has not four linkers"
done
FAIL_SETUP=3 expect 3 '' .ci/run
expect 0 "$passed" scripts/test -R unit.test_control
grep -q -e '-R unit.test_control' "$CALLS" || fail "scripts/test keeps its arguments from ctest"
