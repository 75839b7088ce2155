#!/usr/bin/env bash
# layout.c holds for the headers of today and for every frozen release, in each compiler; and it notices a change.
source "$(dirname "$0")/common.sh" "$@"
compile() { "$1" "${lang[@]}" -I"$2" -fsyntax-only "$here/layout.c"; }

for cc in "${compilers[@]}"; do
    language "$cc"
    compile "$cc" "$root/abi" || fail "$cc: the ABI of today isn't what was promised"
    frozen=0
    for release in "$here"/frozen/*/; do
        compile "$cc" "$release" || fail "$cc: $release isn't what was promised"
        frozen=$((frozen + 1))
    done
    ((frozen)) || fail "where are the frozen headers?"
done

# Each of these would break modules in the field.
language "${compilers[0]}"
refuses() { # refuses FILE SED-EXPRESSION
    rm -rf "$work/keel"
    cp -r "$root/abi/keel" "$work/keel"
    sed -i "$2" "$work/keel/$1"
    ! cmp -s "$root/abi/keel/$1" "$work/keel/$1" || fail "'$2' changes nothing in $1"
    if compile "${compilers[0]}" "$work" 2>/dev/null; then fail "'$2' in $1 went unnoticed"; fi
}
refuses context.h 's/^    uint32_t mode;/    uint64_t mode;/'
refuses context.h 's/^    uint64_t tag;/    uint64_t more;\n    uint64_t tag;/'
refuses module.h 's/^    int32_t (\*start)(keel \*k);/    void *more;\n&/'
refuses module.h 's/^    const char \*version;/    char version[16];/'
refuses base.h 's/X(EBUSY, 4,/X(EBUSY, 40,/'
refuses time.h 's/^    int64_t (\*wall_ns).*/    void *more;\n&/'
refuses heap.h 's/^    void \*host;/    void *more;\n&/'

# What a frozen release says, today's headers still say: names, numbers, members. They may only add.
for release in "$here"/frozen/*/keel; do
    for old in "$release"/*.h; do
        new=$root/abi/keel/$(basename "$old")
        [[ -e $new ]] || fail "$(basename "$old") of $release is gone"
        while read -r name; do
            grep -qw "$name" "$new" || fail "$name of $old is gone"
        done < <(grep -oE '\b(KEEL|keel)_[A-Za-z0-9_]+\b' "$old" | grep -vE '_H$' | sort -u)
    done
done
