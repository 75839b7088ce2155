#!/usr/bin/env bash
# What is installed is enough for a stranger: by find_package and by pkg-config, from a folder that was moved, she builds
# a module in C and in C++ and a program of her own, and the program runs the modules.
source "$(dirname "$0")/common.sh" "$@"
build=${compilers[0]} cmake=${compilers[1]}

"$cmake" --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log" && fail "install fails"; }
mv "$work/first" "$work/moved"
prefix=$work/moved
"$prefix/bin/keel" --version | grep -q '^keel ' || fail "the installed keel doesn't run"
library=$(find "$prefix" -name libkeel-core.so)
[[ $library ]] || fail "no libkeel-core.so"
strange=$(nm -D --defined-only "$library" | awk '$3 !~ /^keel_(host|slot)_|^keel_heap_bind$/ { print $3 }')
[[ ! $strange ]] || fail "libkeel-core exports $strange"

mkdir "$work/stranger"
cd "$work/stranger"
cat >app.c <<'C'
#include <keel/host.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    keel_host *host;
    keel_slot *slot = NULL;
    struct keel_slot_status status = {.size = sizeof status};
    if (argc < 2 || keel_host_open(NULL, &host) || keel_host_add(host, argv[1], NULL, &slot))
        return fprintf(stderr, "%s\n", keel_host_error()), 1;
    for (int i = 0; i < 10; i++)
        if (keel_host_frame(host) < 0)
            return fprintf(stderr, "%s\n", keel_host_error()), 1;
    keel_slot_query(slot, &status);
    keel_host_close(host);
    printf("%s ran %d frames\n", status.name, (int)status.frames);
    return status.frames == 10 ? 0 : 1;
}
C
cat >mine.c <<'C'
#include <keel/keel.h>
#include <stdlib.h>
struct mine { uint64_t n; char *text; };
static void frame(keel *k, const struct keel_frame *f)
{
    struct mine *m = keel_state(k, struct mine);
    (void)f;
    free(m->text);
    m->text = (char *)malloc(100);
    m->n++;
}
KEEL_MODULE("mine", "1", KEEL_ON(frame, frame))
C
cp mine.c mine_cc.cc
cat >CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.22)
project(stranger C CXX)
find_package(Keel 0.1 REQUIRED)
add_executable(app app.c)
target_link_libraries(app keel::core)
keel_add_module(mine mine.c)
keel_add_module(mine_cc mine_cc.cc)
C
{ "$cmake" -G Ninja -B out -DCMAKE_PREFIX_PATH="$prefix" && "$cmake" --build out; } >"$work/log" 2>&1 ||
    { cat "$work/log" && fail "a stranger's CMake build fails"; }

mkdir byhand
export PKG_CONFIG_PATH=${library%/*}/pkgconfig
flags() { pkg-config "$@"; }
{
    # shellcheck disable=SC2046
    cc $(flags --cflags keel-core) app.c -o byhand/app $(flags --libs keel-core) &&
        cc $(flags --cflags keel-module) mine.c -o byhand/mine.so $(flags --libs keel-module) &&
        c++ $(flags --cflags keel-module) mine_cc.cc -o byhand/mine_cc.so \
            $(flags --variable=cxxlibs keel-module) $(flags --libs keel-module)
} >"$work/log" 2>&1 || { cat "$work/log" && fail "building by hand fails"; }
[[ ! -s $work/log ]] || { cat "$work/log" && fail "building by hand isn't silent"; }

export LD_LIBRARY_PATH=${library%/*} KEEL_TRIAL=$prefix/libexec/keel/keel-trial
[[ -x $KEEL_TRIAL ]] || fail "no keel-trial in libexec/keel"
for folder in out byhand; do
    for module in mine mine_cc; do
        said=$($folder/app "$folder/$module.so") || fail "$folder/app with $module.so: $said"
        [[ $said == "$module ran 10 frames" ]] || fail "$folder/app says: $said"
        exported=$(nm -D --defined-only "$folder/$module.so" | awk '{ print $3 }')
        [[ $exported == keel_module ]] || fail "$folder/$module.so exports $exported"
    done
done
if out/app /etc/hostname >"$work/log" 2>&1; then fail "a text was taken for a module"; fi
grep -q hostname "$work/log" || fail "it says: $(cat "$work/log")"
