#!/usr/bin/env bash
# scripts/setup on made-up machines: nothing missing, root, sudo, neither, no apt, apt failing.
set -euo pipefail
setup=$1/scripts/setup
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
bin=$work/bin
export CALLS=$work/calls
mkdir "$bin"
touch "$CALLS"
chmod 666 "$CALLS"
for tool in bash cat chmod env grep id mktemp nproc rm sleep tail; do ln -s "$(type -P $tool)" "$bin/$tool"; done

program() { # program NAME: its body comes on stdin
    { echo '#!/bin/bash' && cat; } >"$bin/$1"
    chmod 755 "$bin/$1"
}
fail() { echo "$*" && exit 1; }
setpriv=$(type -P setpriv)
# As a user without rights, whoever runs this test.
user() {
    if ((EUID == 0)); then "$setpriv" --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
expect() { # expect STATUS TEXT COMMAND...
    local want=$1 text=$2 status=0 out
    shift 2
    : >"$CALLS"
    out=$(PATH=$bin TMPDIR=/tmp "$@" 2>&1 </dev/null) || status=$?
    [[ $status == "$want" ]] || fail "status $status instead of $want from $*: $out"
    [[ -z $text && -z $out || -n $text && $out == *"$text"* ]] || fail "expected '$text' from $*, got: $out"
}
script=("$bin/bash" "$setup")
if ((EUID == 0)) && ! "$setpriv" --reuid=65534 --regid=65534 --clear-groups cat "$setup" >/dev/null 2>&1; then
    cp "$setup" "$work/setup" # the clone may lie where others can't read
    script=("$bin/bash" "$work/setup")
fi

expect 2 'usage' "${script[@]}"
expect 2 "don't know 'fly'" "${script[@]}" fly
expect 0 'usage' "${script[@]}" --help
expect 0 'libuv1-dev' "${script[@]}" run --print
expect 0 'libcmocka-dev' "${script[@]}" test --print

# No apt here: one sentence with the packages.
expect 3 'please install' "${script[@]}" run
expect 3 'libjansson-dev' "${script[@]}" run

program apt-get <<'SH'
echo "apt-get $*" >>"$CALLS"
case " $* " in
*" update "*) [[ -z ${FAIL_UPDATE-} ]] || { echo "E: no network" && exit 100; } ;;
*" --assume-no "*) printf 'Need to get 12.3 MB of archives.\nAfter this operation, 45 MB of additional disk space will be used.\nAbort.\n' && exit 1 ;;
*) [[ -z ${FAIL_INSTALL-} ]] || { echo "E: broken packages" && exit 100; } ;;
esac
SH
program dpkg-query <<'SH'
shift 2
for package; do [[ $package == "${LACK-}" || ${LACK-} == all ]] || echo "installed $package"; done
echo "config-files $LACK"
SH

# Nothing missing: silent, and apt isn't even asked.
expect 0 '' "${script[@]}" test
[[ ! -s $CALLS ]] || fail "asked apt although nothing was missing: $(cat "$CALLS")"

# Neither root nor sudo: the exact line, for what is missing only, and 3.
expect 3 \
    'apt-get update && apt-get install -y -o DPkg::Lock::Timeout=300 --no-install-recommends libuv1-dev' \
    user env LACK=libuv1-dev "${script[@]}" run
[[ ! -s $CALLS ]] || fail "ran apt without the right to"

# Root by sudo: update first, then the size, then the installation.
program sudo <<'SH'
echo "sudo $*" >>"$CALLS"
[[ $1 == -n ]] && shift
exec "$@"
SH
ln -s "$(type -P true)" "$bin/true"
expect 0 'Need to get 12.3 MB' user env LACK=libuv1-dev "${script[@]}" run
mapfile -t calls < <(grep '^apt-get' "$CALLS")
[[ ${calls[0]} == *update* && ${calls[1]} == *--assume-no*libuv1-dev* && ${calls[2]} == *'install -y'*libuv1-dev* ]] ||
    fail "in the wrong order: ${calls[*]}"
[[ ${calls[2]} == *DPkg::Lock::Timeout=300* && ${calls[2]} == *--no-install-recommends* ]] ||
    fail "without its options: ${calls[2]}"
[[ ${calls[2]} != *libjansson* ]] || fail "installs what is there: ${calls[2]}"

expect 1 'no network' user env LACK=all FAIL_UPDATE=1 "${script[@]}" run
expect 1 'broken packages' user env LACK=all FAIL_INSTALL=1 "${script[@]}" run
if ((EUID == 0)); then
    expect 0 'Installed' env LACK=all "${script[@]}" test
    ! grep -q '^sudo' "$CALLS" || fail "root used sudo"
fi
