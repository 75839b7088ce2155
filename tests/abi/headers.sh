#!/usr/bin/env bash
# Every public header compiles alone, without a warning, as C11 and C++17; twice in one file too.
source "$(dirname "$0")/common.sh" "$@"
headers=("$root"/abi/keel/*.h "$root"/host/include/keel/*.h)
((${#headers[@]} > 5)) || fail "where are the headers?"
for cc in "${compilers[@]}"; do
    language "$cc"
    for header in "${headers[@]}"; do
        [[ -e $header ]] || continue
        name=keel/$(basename "$header")
        printf '#include <%s>\n#include <%s>\nint unused_(void);\n' "$name" "$name" >"$work/one"
        "$cc" "${lang[@]}" "${strict[@]}" -I"$root/abi" -I"$root/host/include" -fsyntax-only "$work/one" ||
            fail "$cc doesn't take $name alone"
    done
    # The flags do refuse something.
    echo 'static inline unsigned cut(unsigned long long x) { return x; }' >"$work/one"
    if "$cc" "${lang[@]}" "${strict[@]}" -fsyntax-only "$work/one" 2>/dev/null; then
        fail "$cc says nothing about a silent conversion"
    fi
done
