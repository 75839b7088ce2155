#!/usr/bin/env python3
"""Images of macOS, compiled by clang and linked by LLVM's Mach-O linker, through `keel inspect` and
`keel diff`: what is in them is told, the pairs of tests/pairs come out with the truth they were built
with, and damaged ones are refused. Without those tools it says so and passes."""
import argparse
import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "pairs"))
import pairs  # noqa: E402

LINKER_PLACES = ["/usr/lib/llvm-%d/bin/ld64.lld" % v for v in range(20, 12, -1)]
ARCHS = {"x86_64": "x86-64", "arm64": "arm64"}
TBD = """--- !tapi-tbd
tbd-version: 4
targets: [ x86_64-macos, arm64-macos ]
install-name: '/usr/lib/libSystem.B.dylib'
current-version: 1311
exports:
  - targets: [ x86_64-macos, arm64-macos ]
    symbols: [ dyld_stub_binder, _printf, _puts, _malloc, _free, _memset, _memcpy, _strlen,
               ___assert_rtn, ___stack_chk_fail, ___stack_chk_guard, __tlv_bootstrap, _bzero ]
...
"""
HEADERS = {
    "assert.h": "void __assert_rtn(const char *, const char *, int, const char *) "
                "__attribute__((noreturn, cold));\n"
                "#define assert(e) ((e) ? (void)0 : __assert_rtn(__func__, __FILE__, __LINE__, #e))\n",
    "stdio.h": "int printf(const char *, ...);\nint puts(const char *);\n",
    "string.h": "unsigned long strlen(const char *);\n",
}
MODULE = r"""
#include <keel/keel.h>
extern int printf(const char *, ...);
struct st { uint64_t count; };
static const char *names[] = {"alpha", "beta", "gamma"};
static _Thread_local int per_thread = 3;
__attribute__((constructor)) static void begun(void) { per_thread += printf("begun\\n"); }
static int start(keel *k) { (void)keel_state(k, struct st); return 0; }
static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    struct st *s = keel_state(k, struct st);
    printf("%s %d\n", names[s->count++ % 3], per_thread);
}
KEEL_NEEDS("keel.log/1")
KEEL_MODULE("mac", "2.1", KEEL_ON(start, start) KEEL_ON(frame, frame))
"""
# What no Mach-O file can show, or the tools don't take for it.
SKIPPED = {"debug information in other files", "debug information stripped", "stripped",
           "compressed debug information", "function added", "static added"}
LINKER = None
ABI = None


def run(command, where=None):
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if done.returncode:
        sys.exit("macho: %s\n%s" % (" ".join(command), done.stderr))


def build(folder, arch, level, sources, flags=(), out="m.dylib", link=()):
    os.makedirs(folder, exist_ok=True)
    for name, text in list(sources.items()) + list(HEADERS.items()) + [("libSystem.tbd", TBD)]:
        with open(os.path.join(folder, name), "w") as f:
            f.write(text)
    base = ["clang", "-target", arch + "-apple-macos11", "-nostdlibinc", "-I.", "-I" + ABI, "-g", "-fPIC",
            "-fvisibility=hidden", "-std=c11", "-w", level, "-ffile-prefix-map=%s/=" % folder] + list(flags)
    objects = []
    for name in sources:
        if name.endswith(".c"):
            objects.append(name[:-2] + ".o")
            run(base + ["-c", name, "-o", objects[-1]], folder)
    run([LINKER, "-dylib", "-arch", arch, "-platform_version", "macos", "11.0", "11.0", "-o", out,
         "-install_name", "@rpath/m.dylib", "-rpath", "@loader_path/lib"] + list(link) + objects +
        ["libSystem.tbd"], folder)
    return os.path.join(folder, out)


def keel(*args):
    return subprocess.run([pairs.KEEL, *args], capture_output=True, text=True, errors="replace", timeout=120)


class Wrong(Exception):
    pass


def want(good, what, done):
    if not good:
        raise Wrong("%s\n%s%s" % (what, done.stdout[-3000:], done.stderr[-3000:]))


# ---- pairs

def expected(case):
    """Types and their lines are in other files there: what is left is what the code shows."""
    mac = pairs.Case(case.name, case.change, case.verdict, case.changed, case.added, case.removed,
                     case.data, (), case.may, case.flags, case.folder, None, (), case.least)
    if case.name == "without -g":
        mac.verdict = {"same", "unknown"}  # the files that local names are of stand in the debug map
    if "types" in case.verdict:
        mac.verdict = {"same", "code", "data"}
    return mac


def check_pair(job):
    case, arch, level, top, old = job
    folder = os.path.join(top, case.folder or "new")
    sources = dict(pairs.SOURCES)
    case.change(sources)
    new = build(folder, arch, level, sources, case.flags or ())
    done = keel("diff", "--json", old, new)
    label = "%s %s: %s" % (arch, level, case.name)
    if done.returncode == 2:
        return "%s: %s" % (label, done.stderr.strip())
    answer = json.loads(done.stdout)
    wrong = pairs.judge(expected(case), answer) if not case.types else []
    if case.types and answer["verdict"] not in expected(case).verdict:
        wrong = ["verdict " + answer["verdict"]]
    shutil.rmtree(top)
    return "%s: %s" % (label, "; ".join(wrong)) if wrong else None


def check_pairs(top, every, only):
    jobs = []
    for arch in ARCHS:
        for level in ["-O0", "-O1", "-O2"] if every else ["-O0", "-O2"]:
            old = build(os.path.join(top, arch + level, "old"), arch, level, dict(pairs.SOURCES))
            for i, case in enumerate(pairs.CASES):
                if case.name in SKIPPED or (only and only not in case.name):
                    continue
                jobs.append((case, arch, level, os.path.join(top, arch + level, str(i)), old))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        wrong = [w for w in pool.map(check_pair, jobs) if w]
    print("%d pairs, %d wrong" % (len(jobs), len(wrong)))
    return wrong


# ---- what is told

def check_inspect(top):
    built = {}
    for arch, name in ARCHS.items():
        path = built[arch] = build(os.path.join(top, "module", arch), arch, "-O1", {"module.c": MODULE})
        done = keel("inspect", path)
        want(done.returncode == 1, "exit status %d" % done.returncode, done)
        want(("refused: %s: it is a Mach-O file for macOS on %s: this host runs Linux" % (path, name))
             in done.stdout, "the refusal", done)
        said = json.loads(keel("inspect", "--json", path).stdout)
        text = json.dumps(said)
        for part in ('"mac"', '"2.1"', "keel.log/1", "/usr/lib/libSystem.B.dylib", '"keel_module"', '"printf"',
                     "@loader_path/lib", "for macOS 11.0 on " + name):
            want(part in text, "%s is not told" % part, done)
        want("1 constructors" in done.stdout and "thread-local" in done.stdout, "the hazards", done)
        done = keel("run", path, "--frames", "1", "--name", os.path.join(top, "s"))
        want(done.returncode == 1 and "this host runs Linux" in done.stderr, "it was run", done)
    fat = os.path.join(top, "fat.dylib")
    lipo = shutil.which("llvm-lipo") or os.path.join(os.path.dirname(LINKER), "llvm-lipo")
    if os.path.exists(lipo):
        run([lipo, "-create", *built.values(), "-output", fat])
        for arch, name in ARCHS.items():
            done = keel("inspect", fat, "--arch", name)
            want("macOS on " + name in done.stdout and "mac 2.1" in done.stdout, "the part for " + name, done)
            done = keel("diff", fat, built[arch], "--arch", name)
            want(done.returncode == 0, "a part differs from itself", done)
        want("universal" in keel("inspect", fat).stdout, "the universal file", done)
        done = keel("run", fat, "--frames", "1", "--name", os.path.join(top, "s"))
        want(done.returncode == 1 and "universal Mach-O file for macOS: this host runs Linux" in done.stderr,
             "it was run", done)
    done = keel("diff", built["arm64"], os.path.join(os.path.dirname(pairs.KEEL), "modules", "ball.so"))
    want(done.returncode == 2 and "for macOS, the other for Linux" in done.stderr, "unlike systems", done)
    return built


# ---- damage

def check_damage(top, built, every):
    """Whatever the bytes: an answer or a sentence, never a crash, and never a hang. (Every cut and every
    word of the load commands: tests/unit/test_macho.c.)"""
    rng = random.Random(7)
    path = os.path.join(top, "damaged.dylib")
    for arch, whole in built.items():
        with open(whole, "rb") as f:
            data = f.read()
        trials = [data[:n] for n in range(0, len(data), 512 if every else 1024)]
        for _ in range(150 if every else 40):
            changed = bytearray(data)
            for _ in range(rng.randrange(1, 6)):
                at = rng.randrange(4096) if rng.random() < 0.7 else rng.randrange(len(data))
                changed[at] = rng.choice((0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)))
            trials.append(bytes(changed))
        for at in range(16, 2048, 16 if every else 64):  # counts, sizes and offsets that overflow
            for word in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"):
                trials.append(data[:at] + word + data[at + 4:])
        for trial in trials:
            with open(path, "wb") as f:
                f.write(trial)
            for command in (["inspect", path], ["diff", whole, path]):
                done = keel(*command)
                want(done.returncode in (0, 1, 2), "%s: exit status %d" % (command[0], done.returncode), done)
                want("crashed" not in done.stdout + done.stderr and "ended early" not in done.stdout + done.stderr
                     and "too long" not in done.stdout + done.stderr, "the reader was lost", done)
        print("%s: %d damaged files" % (arch, len(trials)))


def main():
    global LINKER, ABI
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keel", required=True)
    parser.add_argument("--abi", required=True, help="the folder with keel/keel.h")
    parser.add_argument("--all", action="store_true", help="every level, every cut")
    parser.add_argument("--only", help="pairs whose name contains this")
    args = parser.parse_args()
    pairs.KEEL, ABI = args.keel, args.abi
    LINKER = shutil.which("ld64.lld") or next((p for p in LINKER_PLACES if os.path.exists(p)), None)
    if not LINKER or not shutil.which("clang"):
        print("macho: clang or LLVM's Mach-O linker (ld64.lld) is not here: nothing was tested")
        return 77
    with tempfile.TemporaryDirectory(prefix="keel-macho-") as top:
        wrong = []
        try:
            wrong += check_pairs(top, args.all, args.only)
            if not args.only:
                check_damage(top, check_inspect(top), args.all)
        except Wrong as e:
            wrong.append(str(e))
    for w in wrong:
        print(w)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
