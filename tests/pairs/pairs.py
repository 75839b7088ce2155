#!/usr/bin/env python3
"""Pairs of images whose difference is known by construction, through `keel diff --json`.

Each case edits one source of a small module (or how it is built) and says what must come out: the
verdict, and exactly which functions changed. Every case is built by each compiler at each level. A
"same" that is none and a "changed" that is none both fail. With --after, a reading of each that begins from the other's
must be the one that is made from nothing, too.
"""
import argparse
import concurrent.futures
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

MAIN = r'''
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "shape.h"

struct order { int32_t price; int32_t amount; struct order *next; };
enum side { BUY, SELL };
typedef struct { int x, y; } point;

static struct order book[8];
static int calls;
int speed = 7;
double gravity = 9.8;
static const int primes[] = {2, 3, 5, 7, 11, 13, 17, 19};
const char *names[] = {"alpha", "beta", "gamma"};
point origin = {1, 2};

NOINLINE static int callee(int x)
{
    static int n;
    n += x;
    return n * 3 + calls;
}

NOINLINE static int other_static(int x)
{
    static int n;
    n -= x;
    return n ^ 0x55;
}

NOINLINE int first(int a)
{
    int local = a + callee(a);
    calls++;
    return local * 2;
}

NOINLINE int second(int a)
{
    printf("second says %d\n", a);
    return other_static(a) + primes[a & 7];
}

NOINLINE int choose(int k)
{
    switch (k) {
    case 0: puts("zero"); return 11;
    case 1: puts("one"); return 22;
    case 2: puts("two"); return first(k);
    case 3: puts("three"); return 44;
    case 4: puts("four"); return second(k);
    case 5: puts("five"); return 66;
    case 6: return 77;
    default: return 0;
    }
}

NOINLINE const char *colour(int k)
{
    switch (k) {
    case 0: return "red";
    case 1: return "green";
    case 2: return "blue";
    case 3: return "cyan";
    case 4: return "infrared";
    case 5: return "black";
    }
    return "none";
}

NOINLINE double scale(double v)
{
    return v * gravity + 2.5;
}

NOINLINE int total(void)
{
    int sum = 0;
    for (unsigned i = 0; i < sizeof book / sizeof *book; i++)
        sum += book[i].price * book[i].amount;
    return sum;
}

NOINLINE int checked(int v)
{
    assert(v > 0);
    return v - 1;
}

NOINLINE int area(int w, int h)
{
    return shape_area(w, h) + speed;
}

NOINLINE unsigned weights(unsigned at)
{
    unsigned w[12] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 4, 2};
    unsigned sum = 0;
    for (unsigned i = 0; i < 12; i++)
        sum += w[(i * at) % 12] * i;
    return sum;
}

NOINLINE void put(unsigned i, int price)
{
    book[i & 7].price = price;
    book[i & 7].amount = BUY;
    book[i & 7].next = &book[(i + 1) & 7];
    speed += names[i % 3][0];
}

int entry(int k)
{
    put((unsigned)k, k);
    return first(k) + second(k) + choose(k) + (int)scale(k) + total() + checked(k + 1) + area(k, k) +
           (int)strlen(colour(k)) + origin.x + (int)weights((unsigned)k) + helper_entry(k);
}
'''

HEADER = r'''
#define NOINLINE __attribute__((noinline))
static inline int shape_area(int w, int h)
{
    return w * h;
}
int helper_entry(int k);
'''

# What gcc makes clones and parts of from -O2 on: by_field.isra, with_constant.constprop, rarely.cold, partly.part.
HELPER = r'''
#include <stdio.h>
#include "shape.h"

static int calls = 4;

NOINLINE static int callee(int x)
{
    return x * 5 + calls++;
}

struct triple { int a, b, c; };

NOINLINE static int by_field(const struct triple *t, int k)
{
    return t->b * 3 + k + calls;
}

NOINLINE static int with_constant(int k, int times)
{
    int sum = calls;
    for (int i = 0; i < times; i++)
        sum += sum * k + i;
    return sum;
}

__attribute__((cold)) NOINLINE void seldom(int k)
{
    printf("seldom %d\n", k);
}

NOINLINE int rarely(int k)
{
    if (__builtin_expect(k == 77, 0)) {
        seldom(k);
        calls += 3;
        seldom(calls);
    }
    return k + 5;
}

static void partly(int k)
{
    if (k < 4)
        return;
    for (int i = 0; i < k; i++) {
        printf("%d of %d\n", i, k);
        calls += i * k;
        if (calls > 900)
            puts("many");
        printf("%d and %d\n", calls, k);
    }
}

NOINLINE int more(int k)
{
    partly(k + 1);
    return k + calls;
}

NOINLINE int much(int k)
{
    partly(k * 2);
    return k - calls;
}

NOINLINE int clones(int k)
{
    struct triple t = {k, k + 1, k + 2};
    partly(k);
    return by_field(&t, k) + by_field(&t, 3) + with_constant(k, 6) + with_constant(k + 1, 6) + rarely(k);
}

NOINLINE int helper_entry(int k)
{
    return callee(k) + clones(k) + more(k) + much(k) + 1;
}
'''

MAIN_CC = r'''
#include <cstdint>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>
#include "shape.hh"

namespace {
int calls = 3;
NOINLINE int hidden(int k) { return k * 7 + calls; }
struct Order { int32_t price; int32_t amount; };
struct Guard { int *count; explicit Guard(int *c) : count(c) { ++*count; } ~Guard() { --*count; } };
}

struct Shape {
    virtual ~Shape() {}
    virtual int area() const = 0;
    virtual int edges() const { return 0; }
    int kind = 1;
};

struct Square : Shape {
    int side;
    explicit Square(int s) : side(s) {}
    int area() const override;
    int edges() const override;
};

NOINLINE int Square::area() const { return side * side; }
NOINLINE int Square::edges() const { return 4; }

struct First : std::runtime_error { First() : std::runtime_error("first") {} };
struct Second : std::runtime_error { Second() : std::runtime_error("second") {} };

NOINLINE int risky(int k)
{
    if (k > 100)
        throw First();
    if (k > 50)
        throw Second();
    return k + calls;
}

NOINLINE int caught(int k)
{
    Guard guard(&calls);
    try {
        return risky(k);
    } catch (const First &) {
        return -1;
    } catch (const std::exception &) {
        return -2;
    }
}

NOINLINE int twice(int k)
{
    return clamp<int>(k * 2, 0, 500) + (int)clamp<long>(k, 1, 7);
}

NOINLINE int with_lambda(int k)
{
    auto add = [k](int x) { return x + k; };
    int sum = 0;
    for (int i = 0; i < 4; i++)
        sum += add(i);
    return sum + [](int y) { return y * 3; }(k);
}

NOINLINE int sum_of(const std::vector<Order> &orders)
{
    int sum = 0;
    for (const auto &o : orders)
        sum += o.price * o.amount;
    return sum;
}

NOINLINE std::string greeting(const std::string &name) { return "hello " + name; }

extern "C" __attribute__((visibility("default"))) int entry(int k)
{
    std::vector<Order> orders(3, Order{k, 2});
    Square square(k);
    const Shape &shape = square;
    Box<int> box(k);
    return caught(k) + hidden(k) + twice(k) + with_lambda(k) + sum_of(orders) + shape.area() + shape.edges() +
           (int)greeting("x").size() + box.get() + Box<double>(2.5).whole();
}
'''

HEADER_CC = r'''
#define NOINLINE __attribute__((noinline))
template <class T> NOINLINE T clamp(T value, T low, T high)
{
    return value < low ? low : value > high ? high : value;
}
template <class T> class Box {
    T value;
public:
    explicit Box(T v) : value(v) {}
    NOINLINE T get() const { return value; }
    NOINLINE int whole() const { return (int)value; }
};
'''

SOURCES = {"main.c": MAIN, "shape.h": HEADER, "helper.c": HELPER}
SOURCES_CC = {"main.cc": MAIN_CC, "shape.hh": HEADER_CC}
FLAGS = ["-fPIC", "-ffunction-sections", "-fdata-sections", "-fno-semantic-interposition",
         "-fvisibility=hidden", "-w"]
LINK = ["-shared", "-Wl,--emit-relocs", "-Wl,-z,now", "-Wl,--build-id=sha1"]


def swap_functions(text, a, b):
    """Exchanges two top-level functions."""
    def span(name):
        at = text.index(name)
        start = text.rindex("\n\n", 0, at) + 2
        return start, text.index("\n}\n", at) + 3
    (a0, a1), (b0, b1) = sorted([span(a), span(b)])
    return text[:a0] + text[b0:b1] + text[a1:b0] + text[a0:a1] + text[b1:]


def edit(old, new, name=None, count=1):
    def change(sources):
        at = name or next(iter(sources))  # the first is the main one
        if old not in sources[at]:
            sys.exit(f"pairs: no {old!r} in {at}")
        sources[at] = sources[at].replace(old, new, count)
    return change


def reorder(a, b, name=None):
    def change(sources):
        main = name or next(iter(sources))
        sources[main] = swap_functions(sources[main], a, b)
    return change


def spaces(sources):
    sources["main.c"] = "\n\n\n" + sources["main.c"].replace("    return", "\n\n    return ").replace(
        "assert(v > 0);", "assert(v > 0);")


class Case:
    """verdict: one, or several that are all true. changed/added/removed/types: names; None: any.
    `may`: functions that may be among the changed, since compilers see through calls."""

    def __init__(self, name, change, verdict, changed=(), added=(), removed=(), data=(), types=(),
                 may=(), flags=None, folder=None, strip=None, fields=(), least=0, strict=True, clone=None):
        def known(names):
            return None if names is None else set(names)
        self.name, self.change, self.changed = name, change, set(changed)
        self.verdict = {verdict} if isinstance(verdict, str) else set(verdict)
        self.added, self.removed = known(added), known(removed)
        self.data, self.types, self.may = set(data), known(types), known(may)
        self.flags, self.folder, self.strip, self.fields = flags, folder, strip, fields
        self.strict = strict  # added and removed are all there
        self.least = least  # of `may`, so many must have changed
        self.clone = clone  # a symbol's beginning that gcc -O2 makes, or the pair would show nothing


def nothing(_):
    pass


CASES = [
    Case("again", nothing, "same"),
    Case("comment", edit("static int calls;", "static int calls; /* how often */"), "same"),
    Case("white space in a line", edit("int local = a + callee(a);", "int local  =  a  +  callee( a );"),
         "same"),
    Case("renamed local", lambda s: (edit("int local =", "int renamed =")(s),
                                     edit("return local * 2", "return renamed * 2")(s)), "same"),
    Case("renamed parameter", edit("scale(double v)\n{\n    return v *", "scale(double value)\n{\n    return value *"),
         "same"),
    Case("other folder", nothing, "same", folder="elsewhere/deep/down"),
    Case("without -g", nothing, "same", flags=["-g0"]),
    Case("-g3", nothing, "same", flags=["-g3"]),
    Case("DWARF 4", nothing, "same", flags=["-gdwarf-4"]),
    Case("compressed debug information", nothing, "same", flags=["-gz"]),
    Case("debug information in other files", nothing, "same", flags=["-gsplit-dwarf"]),
    Case("debug information stripped", nothing, "same", strip=["-g"]),
    Case("stripped", nothing, "same", strip=[]),
    Case("functions reordered", reorder("double scale", "int total"), "same"),
    Case("statics inside functions reordered", reorder("int callee", "int other_static"), "same"),
    Case("lines moved", edit("NOINLINE int checked", "\n\n\nNOINLINE int checked"), "lines"),
    Case("blank line above all", edit("#include <assert.h>", "\n#include <assert.h>"), "lines"),
    Case("constant in code", edit("return local * 2;", "return local * 5;"), "code", ["first"],
         may=["choose", "entry"]),
    Case("another constant", edit("return n ^ 0x55;", "return n ^ 0x56;"), "code", ["other_static"]),
    Case("callee's body", edit("return n * 3 + calls;", "return n * 7 - calls;"), "code", ["callee"],
         may=["first"]),
    Case("same name in another file", edit("return x * 5 + calls++;", "return x * 6 + calls++;", "helper.c"),
         "code", ["callee"], may=["helper_entry"]),
    Case("double constant", edit("+ 2.5;", "+ 2.75;"), "code", ["scale"]),
    Case("literal", edit("second says", "Second says"), "code", ["second"]),
    Case("literal's length", edit("second says", "second now says"), "code", ["second"]),
    Case("literal in a table of cases", edit('"cyan"', '"navy"'), "code", ["colour"]),
    Case("literal that is another's tail", edit('"red"', '"pink"'), "code", ["colour"]),
    Case("value in a switch", edit("return 44;", "return 45;"), "code", ["choose"]),
    Case("two cases exchanged", lambda s: (edit("case 0: puts", "case 9: puts")(s), edit("case 1: puts", "case 0: puts")(s),
                                           edit("case 9: puts", "case 1: puts")(s)), "code", ["choose"]),
    Case("case added", edit("case 6: return 77;", "case 6: return 77; case 7: return 88;"), "code",
         ["choose"]),
    Case("array in a function", edit("{9, 8, 7, 6,", "{9, 8, 7, 3,"), "code", ["weights"]),
    Case("end of an array in a function", edit("0, 4, 2}", "0, 4, 1}"), "code", ["weights"]),
    Case("header's inline", edit("return w * h;", "return w * h * 2;", "shape.h"), "code",
         may=["area", "shape_area"], least=1),
    Case("function added", edit("NOINLINE int first", "NOINLINE int fresh(int a)\n{\n    return a * 99;\n}\n\nNOINLINE int first"),
         "code", added=["fresh"], flags=["-fvisibility=default"]),
    Case("function removed", edit("+ helper_entry(k);", ";"), "code", ["entry"]),
    Case("call added", edit("return v - 1;", "return v - 1 + speed;"), "code", ["checked"]),
    Case("call of another", edit("return first(k);", "return area(k, k);"), "code", ["choose"]),
    Case("other static used", edit("speed += names", "calls += names"), "code", ["put"]),
    Case("clone without a pointer", edit("t->b * 3", "t->b * 5", "helper.c"), "code",
         may=["by_field", "clones"], least=1, clone="by_field.isra."),
    Case("clone without a pointer, other lines", edit("struct triple {", "\n\nstruct triple {", "helper.c"), "same",
         clone="by_field.isra."),
    Case("clone for a constant", edit("sum * k + i", "sum * k - i", "helper.c"), "code",
         may=["with_constant", "clones"], least=1, clone="with_constant.constprop."),
    Case("constant of a clone", lambda s: edit("6)", "7)", "helper.c", 2)(s), "code",
         may=["with_constant", "clones"], least=1, clone="with_constant.constprop."),
    Case("cold part", edit("calls += 3;", "calls += 4;", "helper.c"), "code", ["rarely"], may=["clones"],
         clone="rarely.cold"),
    Case("part that isn't inlined", edit("calls += i * k;", "calls -= i * k;", "helper.c"), "code",
         may=["partly", "more", "much", "clones"], least=1, clone="partly.part."),
    Case("clones reordered", reorder("int by_field", "int with_constant", "helper.c"), "same",
         clone="by_field.isra."),
    Case("static's initializer", edit("int speed = 7;", "int speed = 8;"), "data", data=["speed"]),
    Case("double's initializer", edit("double gravity = 9.8;", "double gravity = 1.62;"), "data",
         data=["gravity"]),
    Case("static initializer in another file", edit("calls = 4;", "calls = 5;", "helper.c"), "data",
         data=["calls"]),
    Case("pointer to another literal", edit('"beta"', '"bete"'), "data", data=["names"]),
    Case("struct's initializer", edit("origin = {1, 2}", "origin = {1, 3}"), "data", data=["origin"]),
    Case("constant table", edit("2, 3, 5, 7, 11,", "2, 3, 5, 9, 11,"), "code", may=["second"],
         data=["primes"]),
    Case("field added", edit("struct order *next; };", "struct order *next; uint32_t venue; };"), "types",
         types=["order"], may=["put", "total", "entry"], data=["book"], fields=["+ uint32_t venue at 16"]),
    Case("field widened", edit("int32_t price;", "int64_t price;"), "types", types=["order"],
         may=["put", "total", "entry"], data=["book"], fields=["~ price int32_t → int64_t"]),
    Case("fields exchanged", edit("int32_t price; int32_t amount;", "int32_t amount; int32_t price;"), "types",
         types=["order"], may=["put", "total", "entry"], fields=["~ price at 0 → 4", "~ amount at 4 → 0"]),
    Case("field renamed", lambda s: edit("amount", "quantity", count=9)(s), "types", types=["order"],
         fields=["- int32_t amount at 4", "+ int32_t quantity at 4"]),
    Case("enumerator added", edit("BUY, SELL", "BUY, SELL, HOLD"), "types", types=["side"],
         fields=["+ HOLD = 2"]),
    Case("enumerators exchanged", edit("BUY, SELL", "SELL, BUY"), "types", types=["side"], changed=["put"],
         may=["entry"]),
    Case("nameless struct", edit("{ int x, y; } point;", "{ int x, y, z; } point;"), "types", types=["point"],
         data=["origin"], fields=["+ int z at 8"]),
    Case("type's alias", edit("int32_t price;", "int price;"), "same"),
    Case("static added", lambda s: (edit("static int calls;", "static int calls;\nint extra[3];")(s),
                                    edit("int speed = 7;", "int before_speed = 3;\nint speed = 7;")(s)),
         "code", data=[], flags=["-fvisibility=default"]),
]


LAMBDA = ["with_lambda", "with_lambda::operator()", "operator()"]
CASES_CC = [
    Case("again", nothing, "same"),
    Case("comment", edit("int kind = 1;", "int kind = 1; /* which */"), "same"),
    Case("lines", edit("struct Shape {", "\n\nstruct Shape {"), "same"),
    Case("renamed local", lambda s: (edit("auto add =", "auto plus =")(s), edit("add(i)", "plus(i)")(s)),
         "same"),
    Case("other folder", nothing, "same", folder="elsewhere/deep"),
    Case("without -g", nothing, "same", flags=["-g0"]),
    Case("debug information stripped", nothing, "same", strip=["-g"]),
    Case("methods reordered", lambda s: edit(
        "NOINLINE int Square::area() const { return side * side; }\n"
        "NOINLINE int Square::edges() const { return 4; }\n",
        "NOINLINE int Square::edges() const { return 4; }\n"
        "NOINLINE int Square::area() const { return side * side; }\n")(s), "same"),
    Case("functions reordered", reorder("int with_lambda", "int twice"), "same"),
    Case("template's body", edit("? low : value > high", "? high : value > high", "shape.hh"), "code",
         ["clamp<int>"], may=["twice", "clamp<long int>", "clamp<long>"], least=2),
    Case("another instance", edit("(int)clamp<long>(k, 1, 7)", "(int)clamp<short>(k, 1, 7)"), "code",
         ["twice"], added=["clamp<short>", "clamp<short int>"], removed=["clamp<long>", "clamp<long int>"],
         strict=False),
    Case("method of a class template", edit("return (int)value;", "return (int)value + 1;", "shape.hh"),
         "code", ["Box<double>::whole"], may=["entry"]),
    Case("lambda's body", edit("return x + k;", "return x - k;"), "code",
         may=LAMBDA, least=1),
    Case("second lambda", edit("return y * 3;", "return y * 5;"), "code",
         may=LAMBDA, least=1),
    Case("virtual function", edit("return side * side;", "return side * side * 2;"), "code", ["Square::area"],
         may=["entry"]),
    Case("another vtable", lambda s: (edit("    int edges() const override;\n", "")(s),
                                      edit("NOINLINE int Square::edges() const { return 4; }\n", "")(s)),
         ("code", "types"), may=["entry", "edges", "Square", "Shape"], removed=["Square::edges"], added=["Shape::edges"], strict=False, data=["_ZTV6Square"],
         types=None),
    Case("another exception caught", edit("catch (const First &)", "catch (const Second &)"), "code",
         ["caught"], may=["entry"]),
    Case("one more caught", edit("} catch (const First &) {", "} catch (const Second &) {\n"
                                 "        return -3;\n    } catch (const First &) {"), "code", ["caught"], may=["entry"]),
    Case("all are caught", edit("catch (const std::exception &)", "catch (...)"), "code", ["caught"], may=["entry"]),
    Case("another exception thrown", edit("throw Second();", "throw First();"), "code", ["risky"],
         may=["caught", "First", "Second", "entry"], removed=None),
    Case("destructor", edit("~Guard() { --*count; }", "~Guard() { *count -= 2; }"), "code",
         may=["caught", "(anonymous namespace)::Guard::~Guard", "Guard::~Guard", "entry"], least=1),
    Case("function in a namespace without a name", edit("return k * 7 + calls;", "return k * 9 + calls;"), "code",
         ["hidden"], may=["entry"]),
    Case("static without a name's space", edit("int calls = 3;", "int calls = 4;"), "data", data=["calls"]),
    Case("literal", edit('"hello "', '"hullo "'), "code", ["greeting"], may=["entry"]),
    Case("field in a namespace without a name", edit("int32_t amount; };", "int32_t amount; int32_t venue; };"),
         "types", types=["Order"], may=None, added=None, removed=None),
    Case("field of a base class", edit("int kind = 1;", "int kind = 1; int colour = 2;"), "types",
         types=["Shape", "Square"], may=None, added=None, removed=None),
]


class Suite:
    """One language: its sources, which of them are compiled, its compilers and cases."""

    def __init__(self, sources, units, compilers, flags, cases, levels):
        self.sources, self.units, self.compilers = sources, units, compilers
        self.flags, self.cases = flags, cases
        self.levels = levels  # of --all


TAKEN = []  # of each pair: fingerprints taken over, and all
SUITES = [
    Suite(SOURCES, ("main.c", "helper.c"), ("gcc", "clang"), ["-std=c11"], CASES, ["-O0", "-O1", "-O2", "-O3"]),
    Suite(SOURCES_CC, ("main.cc",), ("g++", "clang++"), ["-std=c++17"], CASES_CC, ["-O0", "-O2"]),
]


def run(command, where=None):
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if done.returncode and command[0] != KEEL:
        sys.exit(f"pairs: {' '.join(command)}\n{done.stderr}")
    return done


class Objects:
    """Each unit is compiled once, however many links and cases it is part of: what decides is its text, that of the
    headers, the compiler and its options."""

    def __init__(self, top):
        self.top, self.lock, self.known = top, threading.Lock(), {}

    def get(self, command, unit, sources, folder):
        texts = [text for name, text in sorted(sources.items()) if name == unit or "h" in name.split(".")[-1]]
        key = hashlib.sha256(repr((command, unit, texts, folder)).encode()).hexdigest()[:16]
        with self.lock:
            mine = key not in self.known
            if mine:
                self.known[key] = concurrent.futures.Future()
            known = self.known[key]
        if mine:
            known.set_result(self.compile(command, unit, sources, os.path.join(self.top, key, folder)))
        return known.result()

    def compile(self, command, unit, sources, where):
        os.makedirs(where)
        for name, text in sources.items():
            with open(os.path.join(where, name), "w") as f:
                f.write(text)
        out = unit.split(".")[0] + ".o"
        run([*command, f"-ffile-prefix-map={where}/=", "-c", unit, "-o", out], where)
        return os.path.join(where, out)


def build(suite, folder, compiler, level, sources, flags, linker, strip=None, source_folder="here"):
    os.makedirs(folder, exist_ok=True)
    command = [compiler, *FLAGS, *suite.flags, "-g", level, *(flags or [])]
    objects = [OBJECTS.get(command, unit, sources, source_folder) for unit in suite.units]
    run([compiler, *LINK, *linker, *(flags or []), *objects, "-o", "m.so"], folder)
    if strip is not None:
        run(["strip", *strip, "m.so"], folder)
    return os.path.join(folder, "m.so")


def names(answer, change):
    return {f["name"] for f in answer["functions"] if f["change"] == change}


def judge(case, answer):
    """What is wrong, or nothing."""
    wrong = []
    changed = names(answer, "changed")
    if answer["verdict"] not in case.verdict:
        wrong.append(f"verdict {answer['verdict']}, wanted {' or '.join(sorted(case.verdict))}")
    if not case.changed <= changed:
        wrong.append(f"not seen as changed: {sorted(case.changed - changed)}")
    if len(changed) < case.least:
        wrong.append("nothing seen as changed")
    if case.may is not None and changed - case.changed - case.may:
        wrong.append(f"wrongly changed: {sorted(changed - case.changed - case.may)}")
    for what, wanted in (("added", case.added), ("removed", case.removed)):
        # What is inlined everywhere was never there to be added.
        if wanted is not None and (names(answer, what) - wanted or
                                   (case.strict and wanted - names(answer, what))):
            wrong.append(f"{what}: {sorted(names(answer, what))}")
    data = {d["name"] for d in answer["data"] if d["change"] == "changed"}
    if data != case.data and not ((case.types is None or case.types) and
                                  (case.may is None or data <= case.data)):
        wrong.append(f"data {sorted(data)}, wanted {sorted(case.data)}")
    types = {t["name"] for t in answer["types"] if t["change"] == "changed" and "<" not in t["name"]}
    if answer["types_compared"] and case.types is not None and types != case.types:
        wrong.append(f"types {sorted(types)}, wanted {sorted(case.types)}")
    lines = {f["sign"] + " " + f["text"] for t in answer["types"] for f in t["fields"]}
    for field in case.fields:
        if field not in lines:
            wrong.append(f"no field line {field!r} in {sorted(lines)}")
    return wrong


def check(job):
    suite, case, compiler, level, linker, base_folder, old = job
    sources = dict(suite.sources)
    case.change(sources)
    before = old
    if case.clone and compiler == "gcc" and level == "-O2" and " " + case.clone not in run(["nm", old]).stdout:
        return f"{compiler} {level}: {case.name}: no symbol {case.clone}"
    if case.flags and "-fvisibility=default" in case.flags:
        before = build(suite, os.path.join(base_folder, "old"), compiler, level, dict(suite.sources), case.flags,
                       linker)
    new = build(suite, os.path.join(base_folder, "new"), compiler, level, sources, case.flags, linker, case.strip,
                case.folder or "here")
    done = run([KEEL, "diff", "--json", before, new])
    label = f"{compiler} {level} {' '.join(linker)}: {case.name}"
    if done.returncode not in (0, 1) or not done.stdout:
        return f"{label}: {done.stderr.strip()} ({done.returncode})"
    answer = json.loads(done.stdout)
    wrong = judge(case, answer)
    if done.returncode != (0 if answer["verdict"] == "same" else 1):
        wrong.append(f"exit status {done.returncode} for {answer['verdict']}")
    if AFTER:
        done = subprocess.run([AFTER, before, new], capture_output=True, text=True)
        if done.returncode:
            wrong.append((done.stdout + done.stderr).strip())
        else:
            TAKEN.append([int(n) for n in done.stdout.split()])
    shutil.rmtree(base_folder)
    return f"{label}: {'; '.join(wrong)}" if wrong else None


def main():
    global KEEL, OBJECTS, AFTER
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--keel", required=True, help="the program keel")
    parser.add_argument("--all", action="store_true", help="every case with every compiler and level")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--compiler", action="append", help="this one, not all that are here")
    parser.add_argument("--link", help="what chooses the linker, such as -fuse-ld=mold")
    parser.add_argument("--after", help="the program of after.c")
    args = parser.parse_args()
    KEEL, AFTER = args.keel, args.after
    linkers = [[]] + [[f"-fuse-ld={l}"] for l in ("lld",) if args.all and shutil.which("ld." + l)]
    if args.link:
        linkers = [args.link.split()]
    with tempfile.TemporaryDirectory(prefix="keel-pairs-") as top:
        OBJECTS, jobs = Objects(os.path.join(top, "objects")), []
        for suite in SUITES:
            levels = suite.levels if args.all else ["-O0", "-O2"]
            cases = [c for c in suite.cases if not args.only or args.only in c.name]
            compilers = [c for c in suite.compilers
                         if shutil.which(c) and (not args.compiler or c in map(os.path.basename, args.compiler))]
            for compiler, level, linker in itertools.product(compilers, levels, linkers):
                tag = f"{compiler}{level}{'-'.join(linker)}"
                old = build(suite, os.path.join(top, tag, "old"), compiler, level, dict(suite.sources), None,
                            linker)
                for i, case in enumerate(cases):
                    if not args.all and not args.only and i % 2 != (level == "-O2"):
                        continue
                    jobs.append((suite, case, compiler, level, linker, os.path.join(top, tag, str(i)), old))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = [w for w in pool.map(check, jobs) if w]
    for w in wrong:
        print(w)
    print(f"{len(jobs)} pairs, {len(wrong)} wrong")
    if TAKEN:
        taken, parts = (sum(column) for column in zip(*TAKEN))
        print(f"{taken} of {parts} fingerprints were those of the other build's reading")
        if not 0 < taken < parts and not args.only:
            return 1
    return 1 if wrong or not jobs else 0


if __name__ == "__main__":
    sys.exit(main())
