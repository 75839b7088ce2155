# shellcheck shell=bash disable=SC2034
# Sourced by the tests of this folder: arguments, a folder to work in, the compilers' strict flags.
set -euo pipefail
root=$1
shift
compilers=("$@")
here=$root/tests/abi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" && exit 1; }
strict=(-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wundef -Werror)

# language COMPILER: sets `lang` to its flags.
language() {
    case $1 in
    *++*) lang=(-x c++ -std=c++17) ;;
    *) lang=(-x c -std=c11 -Wstrict-prototypes -Wc++-compat) ;;
    esac
}
