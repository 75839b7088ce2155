"""C from a Program: a module that fills the state the first time, and in every build says in JSON what
it finds. Each line "J {...}" is one struct value or the statics."""
from model import FLOATS, FUNCTIONS


def declare(p, f):
    if f.kind in ("int", "float"):
        return "%s %s;" % (f.type, f.name)
    if f.kind == "bool":
        return "_Bool %s;" % f.name
    if f.kind == "enum":
        return "enum E%d %s;" % (f.type, f.name)
    if f.kind == "bits":
        return "%s %s : %d;" % (f.type, f.name, f.bits)
    if f.kind == "text":
        return "char %s[%d];" % (f.name, f.type)
    if f.kind == "array":
        return "%s %s%s;" % (f.type[0], f.name, "".join("[%d]" % c for c in f.type[1]))
    if f.kind == "tagged":
        return "int %s_kind; union { %s } %s;" % (
            f.name, " ".join(declare(p, m) for _, m in f.type), f.name)
    if f.kind == "record":
        return "struct S%d %s;" % (f.type, f.name)
    if f.kind == "group":
        return "struct G_%s { %s } %s;" % (f.name, " ".join(declare(p, g) for g in f.type), f.name)
    if f.kind == "pointer":
        return "struct S%d *%s;" % (f.type, f.name)
    if f.kind == "inner":
        return "%s *%s;" % (f.points, f.name)
    if f.kind == "function":
        return "int (*%s)(int);" % f.name
    if f.kind == "literal":
        return "const char *%s;" % f.name
    return "int *%s;" % f.name


def number(value, type):
    if type in FLOATS:
        return repr(float(value))
    if value == -(1 << 63):
        return "INT64_MIN"
    return "%d%s" % (value, "ULL" if value > (1 << 63) - 1 else "LL")


def assign(p, f, place, value):
    """Statements that store a value."""
    if f.kind in ("int", "float"):
        return "%s = %s;" % (place, number(value, f.type))
    if f.kind in ("bool", "bits"):
        return "%s = %d;" % (place, value)
    if f.kind == "enum":
        return "%s = %s;" % (place, value)
    if f.kind == "text":
        return "strcpy(%s, \"%s\");" % (place, value)
    if f.kind == "array":
        def each(at, v):
            if isinstance(v, list):
                return "".join(each("%s[%d]" % (at, i), e) for i, e in enumerate(v))
            return "%s = %s;" % (at, number(v, f.type[0]))
        return each(place, value)
    if f.kind == "record":
        return "".join(assign(p, t, "%s.%s" % (place, t.name), value[t.name])
                       for t in p.structs[f.type].fields)
    if value is None:
        return ""
    if f.kind == "tagged":
        tag, m = next((t, m) for t, m in f.type if m.name == value[0])
        return "%s_kind = %d;%s" % (place, tag, assign(p, m, "%s.%s" % (place, m.name), value[1]))
    if f.kind == "pointer":
        return "%s = &root->all%d[%d];" % (place, f.type, value)
    if f.kind == "inner":
        address = "&root->all%d[%d].%s" % (f.type, value, f.target)
        return "%s = (void *)%s;" % (place, address)
    if f.kind == "function":
        return "%s = %s;" % (place, value)
    if f.kind == "literal":
        return "%s = \"%s\";" % (place, value)
    return "%s = &table[%d];" % (place, value)


def say(p, f, place):
    """Statements that print one value as JSON, and its expectation for what only C can compare."""
    if f.kind == "float" or (f.kind == "array" and f.type[0] in FLOATS):
        one = "put(\"%%.17g\", (double)%s);"
    elif f.kind == "int" and f.type.startswith("u") or \
            (f.kind == "array" and f.type[0].startswith("u")):
        one = "put(\"%%llu\", (unsigned long long)%s);"
    else:
        one = "put(\"%%lld\", (long long)%s);"
    if f.kind in ("int", "float", "bool", "bits", "enum"):
        return one % place
    if f.kind == "text":
        return "put(\"\\\"%%.%ds\\\"\", %s);" % (f.type, place)
    if f.kind == "array":
        def each(at, counts):
            if not counts:
                return one % at
            return "put(\"[\");" + "put(\",\");".join(
                each("%s[%d]" % (at, i), counts[1:]) for i in range(counts[0])) + "put(\"]\");"
        return each(place, f.type[1])
    if f.kind == "record":
        return say_fields(p, p.structs[f.type].fields, place)
    if f.kind == "tagged":
        return "if (!%s_kind) put(\"null\");" % place + "".join(
            "if (%s_kind == %d) { put(\"[\\\"%s\\\",\"); %s put(\"]\"); }" % (
                place, tag, m.name, say(p, m, "%s.%s" % (place, m.name))) for tag, m in f.type)
    if f.kind == "pointer":
        return "if (!%s) put(\"null\"); else put(\"%%lld\", (long long)(%s - root->all%d));" % (
            place, place, f.type)
    if f.kind == "inner":
        return "if (!%s) put(\"null\"); else { int at = -1; for (int i = 0; i < %d; i++)" \
               " if ((void *)%s == (void *)&root->all%d[i].%s) at = i; put(\"%%d\", at); }" % (
                   place, len(p.objects[f.type]), place, f.type, f.target)
    if f.kind == "function":
        return "put(!%s ? \"null\" : \"%%d\", %s ? %s(1) : 0);" % (place, place, place)
    if f.kind == "literal":
        return "if (!%s) put(\"null\"); else escaped(%s);" % (place, place)
    return "if (!%s) put(\"null\"); else put(\"%%lld\", (long long)(%s - table));" % (place, place)


def flat(fields):
    for f in fields:
        if f.kind == "group":
            for g in f.type:
                yield "%s.%s" % (f.name, g.name), g
        else:
            yield f.name, f


def say_fields(p, fields, place):
    parts = []
    for path, f in flat(fields):
        parts.append("put(\"\\\"%s\\\":\");" % f.name + say(p, f, "%s.%s" % (place, path)))
    return "put(\"{\");" + "put(\",\");".join(parts) + "put(\"}\");"


HEAD = r"""
#include <keel/keel.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int told KEEL_CACHE = 0;
static char line[65536] KEEL_CACHE = "";
static size_t used KEEL_CACHE = 0;
__attribute__((format(printf, 1, 2))) static void put(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    used += (size_t)vsnprintf(line + used, sizeof line - used, format, args);
    va_end(args);
}
static inline void escaped(const char *s)
{
    put("\"");
    for (; *s; s++)
        put(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    put("\"");
}
static void flush(keel *k)
{
    for (size_t at = 0; at < used; at += 400)
        keel_info(k, "J %.400s", line + at);
    keel_info(k, "K");
    used = 0;
}
__attribute__((noinline)) static void touch(void *p) { __asm__ volatile("" ::"r"(p) : "memory"); }
"""


def source(p, number_of_build, first):
    r = p.random
    out = [HEAD]
    for e, values in enumerate(p.enums):
        out.append("enum E%d { %s };" % (e, ", ".join("%s = %d" % v for v in values)))
    order = p.structs[2:]
    for s in order:
        out.append("struct S%d;" % s.number)
    for s in p.structs:
        out.append("struct S%d { %s };" % (s.number, " ".join(declare(p, f) for f in s.fields)))
        for f in s.fields:
            if f.before:
                out.append("KEEL_RENAMED(struct S%d, %s, %s)" % (s.number, f.before, f.name))
            if f.before and f.kind == "tagged":
                out.append("KEEL_RENAMED(struct S%d, %s_kind, %s_kind)" % (s.number, f.before, f.name))
            if f.kind == "tagged" and (not first or r.random() < .7):
                out.append("KEEL_UNION(struct S%d, %s, %s_kind, %s)" % (s.number, f.name, f.name, " ".join(
                    "KEEL_WHEN(%d, %s)" % (tag, m.name) for tag, m in f.type)))
    fields = ["struct S%d *all%d;" % (s.number, s.number) for s in order]
    r.shuffle(fields)
    out.append("struct R { %s };" % " ".join(fields))
    out.append("static struct R *root;")
    out.append("static int table[3];")
    functions = ["__attribute__((noinline)) static int %s(int x) { return x + %d; }" % (name, i * 10)
                 for i, name in enumerate(FUNCTIONS)]
    r.shuffle(functions)
    out += functions
    init = ["static %s %s = %s;" % (s["type"], s["name"], number(s["init"], s["type"]))
            for s in p.statics if not s["inside"]]
    out += init
    inner = []
    for name in ("first", "second"):
        mine = [s for s in p.statics if s["inside"] == name]
        lines = ["static %s %s = %s; touch(&%s);" % (s["type"], s["name"],
                                                     number(s["init"], s["type"]), s["name"])
                 for s in mine]
        fill = "".join("%s = %s;" % (s["name"], number(s["value"], s["type"])) for s in mine)
        tell = "".join("put(\",\\\"%s.%s\\\":\"); %s" % (
            name, s["name"], say(p, static_field(s), s["name"])) for s in mine)
        inner.append("__attribute__((noinline)) static void %s(int fill) { %s if (fill) { %s }"
                     " else { %s } }" % (name, "".join(lines), fill, tell))
    r.shuffle(inner)
    out += inner
    out.append("static int start(keel *k) {")
    if first:
        out.append("root = keel_state(k, struct R);")
        for s in order:
            n = len(p.objects[s.number])
            t = "struct S%d" % s.number
            out.append("root->all%d = %s;" % (s.number, {
                "keel_new": "keel_new(k, %s)" % t,
                "keel_new_array": "keel_new_array(k, %s, %d)" % (t, n),
                "malloc": "memset(malloc(%d * sizeof(%s)), 0, %d * sizeof(%s))" % (n, t, n, t),
                "calloc": "calloc(%d, sizeof(%s))" % (n, t)}[p.how[s.number]]))
        for s in order:
            for i, value in enumerate(p.objects[s.number]):
                for path, f in flat(s.fields):
                    out.append(assign(p, f, "root->all%d[%d].%s" % (s.number, i, path),
                                      value[f.name]))
        for s in p.statics:
            if not s["inside"]:
                out.append("%s = %s;" % (s["name"], number(s["value"], s["type"])))
        out.append("first(1); second(1); for (int i = 0; i < 3; i++) table[i] = 50 + i;")
    out.append("touch(&root); touch(table); (void)k; return 0; }")
    out.append("static void look(keel *k) {")
    for s in order:
        for i in range(len(p.objects[s.number])):
            out.append("put(\"{\\\"o\\\":\\\"S%d[%d]\\\",\\\"v\\\":\");" % (s.number, i) +
                       say_fields(p, s.fields, "root->all%d[%d]" % (s.number, i)) +
                       "put(\"}\"); flush(k);")
    out.append("put(\"{\\\"table\\\":[%d,%d,%d]\", table[0], table[1], table[2]);")
    for s in p.statics:
        if not s["inside"]:
            out.append("put(\",\\\"%s\\\":\"); %s" % (s["name"],
                                                      say(p, static_field(s), s["name"])))
    out.append("first(0); second(0); put(\"}\"); flush(k); }")
    out.append("static void frame(keel *k, const struct keel_frame *f) { (void)f;"
               " if (root != keel_state(k, struct R)) keel_error(k, \"LOST\");")
    for s in p.statics:
        if not s["inside"]:
            out.append("touch(&%s);" % s["name"])
    out.append("touch(&root); touch(table); touch((void *)alpha); touch((void *)beta);"
               " touch((void *)gamma);")
    out.append("if (!told) { told = 1; look(k); keel_info(k, \"build %d runs\"); } }" %
               number_of_build)
    # Where the interior pointers should lead, by this build's own offsets.
    out.append("KEEL_MODULE(\"m\", \"1.0\", KEEL_ON(start, start) KEEL_ON(frame, frame))")
    return "\n".join(out) + "\n"


def static_field(s):
    from model import Field
    return Field(s["name"], "float" if s["type"] in FLOATS else "int", s["type"])
