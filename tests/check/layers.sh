#!/usr/bin/env bash
# scripts/check-layers refuses each fault that it is there for, names file and line, and passes a clean tree.
set -euo pipefail
check=$1/scripts/check-layers
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree() { # a clean small tree
    rm -rf "$work/t"
    mkdir -p "$work"/t/{abi/keel,host/{base,state,swap,include/keel},modules/ball}
    printf '/* a */\n#include <stdint.h>\n' >"$work/t/abi/keel/base.h"
    printf '/* a */\n#include "base.h"\n' >"$work/t/abi/keel/keel.h"
    printf '/* a */\n#include <keel/base.h>\n' >"$work/t/host/base/err.h"
    printf '/* a */\n#include "base/err.h"\n' >"$work/t/host/state/state.h"
    printf '/* a */\n#include "state/state.h"\n#include "base/err.h"\n' >"$work/t/host/state/state.c"
    printf '/* a */\n#include "state/state.h"\n#include <keel/host.h>\n' >"$work/t/host/swap/swap.c"
    printf '/* a */\n#include <keel/keel.h>\n' >"$work/t/host/include/keel/host.h"
    printf '/* a */\n#include <keel/keel.h>\n#include "own.h"\n' >"$work/t/modules/ball/ball.c"
}
refuses() { # refuses FILE LINE TEXT: with that line added, check-layers names the file and says TEXT
    local out
    mkdir -p "$(dirname "$work/t/$1")"
    [[ -e $work/t/$1 ]] || echo '/* a */' >"$work/t/$1"
    printf '%s\n' "$2" >>"$work/t/$1"
    if out=$("$check" "$work/t"); then
        echo "accepted '$2' in $1" && exit 1
    fi
    [[ $out == *"$3"* && ($3 == circle || $out == *"$1:"*) ]] || { echo "for '$2' in $1 it said: $out" && exit 1; }
    tree
}

tree
"$check" "$work/t" || { echo "the clean tree was refused" && exit 1; }
refuses host/base/err.h '#include "state/state.h"' 'above it'
refuses host/state/state.c '#  include "swap/swap.h"' 'above it'
refuses host/state/state.c '#include "state.h"' 'without its room'
refuses host/state/state.c '#include "attic/x.h"' 'no room in the stack'
refuses host/attic/x.c '' 'not in the stack'
refuses host/base/err.h '#include "base/err.h"' 'circle'
refuses abi/keel/base.h '#include "keel.h"' 'circle'
refuses abi/keel/base.h '#include "base/err.h"' 'only itself'
refuses abi/keel/base.h '#include <uv/unix.h>' 'only itself'
refuses abi/keel/base.h '#include <keel/host.h>' 'embedding API'
refuses modules/ball/ball.c '#include "base/err.h"' 'a module includes'
refuses host/include/keel/host.h '#include "base/err.h"' 'public header'

echo 'int x;' >"$work/t/host/base/bare.c"
if "$check" "$work/t" >/dev/null; then echo "accepted a file without a comment" && exit 1; fi
mkdir "$work/empty"
if "$check" "$work/empty" 2>/dev/null; then echo "accepted an empty folder" && exit 1; fi
