#!/usr/bin/env bash
# A module of each language and compiler, with today's and frozen headers: no warning, one exported symbol,
# a note that is found by program header and by section, also after strip, at every level of optimisation.
source "$(dirname "$0")/common.sh" "$@"

examine() { # examine FILE WHAT
    local exported notes
    exported=$(nm -D --defined-only "$1" | awk '{ print $3 }')
    [[ $exported == keel_module ]] || fail "$2 exports: $exported"
    notes=$(readelf -nW "$1" 2>&1)
    [[ $(grep -c '^ *Keel ' <<<"$notes") == "$count" ]] || fail "$2: not its $count notes by readelf: $notes"
    # By program header: all three lie in PT_NOTE segments, whose bytes name the module and its needs.
    for text in every 1.2.3 keel.time/1 keel.task/1; do
        in_notes "$1" "$text" || fail "$2: '$text' isn't in a PT_NOTE segment"
    done
    if in_notes "$1" "no.such/9"; then fail "the search finds everything"; fi
    readelf -SW "$1" | grep -qE '\.note\.keel +NOTE ' || fail "$2: no section .note.keel of type NOTE"
}
in_notes() { # in_notes FILE TEXT: TEXT\0 is inside a PT_NOTE segment of FILE
    local type offset size rest
    while read -r type offset _ _ size rest; do
        [[ $type == NOTE ]] || continue
        head -c $((offset + size)) "$1" | tail -c $((size)) | tr '\0' '\n' | grep -xF -- "$2" >/dev/null && return 0
    done < <(readelf -lW "$1" 2>/dev/null)
    return 1
}

for cc in "${compilers[@]}"; do
    language "$cc"
    source=$here/module_c.c
    [[ $cc != *++* ]] || source=$here/module_cc.cc
    for include in "$root/abi" "$here"/frozen/*; do
        count=3 # and what its source says of its types, where the macros are known
        ! grep -q KEEL_UNION "$include"/keel/change.h 2>/dev/null || count=7
        for level in -O0 -O2 '-O2 -flto'; do
            what="$cc $level with $include"
            # shellcheck disable=SC2086
            "$cc" "${lang[@]}" "${strict[@]}" $level -shared -fPIC -fvisibility=hidden -ffunction-sections \
                -fdata-sections -Wl,--gc-sections -I"$include" -o "$work/m.so" "$source" \
                >"$work/log" 2>&1 || { cat "$work/log" && fail "$what: does not compile"; }
            [[ ! -s $work/log ]] || { cat "$work/log" && fail "$what: warnings"; }
            examine "$work/m.so" "$what"
            strip "$work/m.so"
            examine "$work/m.so" "$what, stripped"
        done
    done
done

# Both kinds of refusal that KEEL_MODULE itself makes.
language "${compilers[0]}"
for name in '""' "\"$(printf 'n%.0s' {1..64})\""; do
    printf '#include <keel/keel.h>\nKEEL_MODULE(%s, "1", KEEL_ON(frame, NULL))\n' "$name" >"$work/bad"
    if "${compilers[0]}" "${lang[@]}" -fsyntax-only -I"$root/abi" "$work/bad" 2>/dev/null; then
        fail "KEEL_MODULE takes the name $name"
    fi
done
