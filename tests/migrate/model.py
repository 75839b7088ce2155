"""Random structs with values, and random edits of them: what the generated modules are made of, and
the oracle, which knows what every field must hold after each edit.

A Program is one state of the source: enums, structs with fields, objects with values, statics. The
values are Python's; edit() changes source and values as the rules of migration say, without looking
at any memory.
"""
import copy
import random

INTS = {"int8_t": (8, 1), "uint8_t": (8, 0), "int16_t": (16, 1), "uint16_t": (16, 0),
        "int32_t": (32, 1), "uint32_t": (32, 0), "int64_t": (64, 1), "uint64_t": (64, 0),
        "long": (64, 1), "unsigned char": (8, 0)}
FLOATS = ("float", "double")
FUNCTIONS = ("alpha", "beta", "gamma")
LITERALS = ("", "one", "a_longer_literal", "punctuation:\\\"and_so_on")


def bounds(bits, signed):
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


class Field:
    """kind: int, float, bool, enum, bits, text, array, record, pointer, inner, function, literal,
    static, tagged. `type` is a C type, an enum's or struct's number, (element, counts), or of a union
    with a tag beside it the members, each (tag, Field). What that holds is (member's name, value)."""

    def __init__(self, name, kind, type, **more):
        self.name, self.kind, self.type = name, kind, type
        self.bits = more.get("bits", 0)
        self.before = None  # its name in the build before, when KEEL_RENAMED tells


class Struct:
    def __init__(self, number, fields):
        self.number, self.fields = number, fields


class Program:
    def __init__(self, seed, flat=False):
        """`flat`: some structs never get a pointer, and keel_new makes them."""
        self.random = r = random.Random(seed)
        self.flat = flat
        self.names = 0
        self.enums = [[("E%d_%s" % (e, n), i * (1 + 2 * e)) for i, n in
                       enumerate(("NONE", "ONE", "TWO", "THREE"))] for e in range(2)]
        self.structs = []
        # Plain ones first: others hold them by value.
        for number in range(2):
            self.structs.append(Struct(number, [self.field(number, plain=True)
                                                for _ in range(r.randint(1, 4))]))
        for number in range(2, r.randint(4, 6)):
            self.structs.append(Struct(number, []))
        for s in self.structs[2:]:
            s.fields = [self.field(s.number, self.is_plain(s.number))
                        for _ in range(r.randint(2, 9))]
        for s in self.structs[2:]:
            for f in s.fields:
                if f.kind == "inner":
                    self.aim(f)
        # Objects: by the host's allocator or malloc, one or many.
        self.objects = {}
        self.how = {}
        for s in self.structs[2:]:
            self.how[s.number] = r.choice(("keel_new", "keel_new_array", "malloc", "calloc")
                                          [:2 if self.is_plain(s.number) else 4])
            count = 1 if self.how[s.number] == "keel_new" else r.randint(1, 7)
            self.objects[s.number] = [{} for _ in range(count)]
        for number, objects in self.objects.items():
            for value in objects:
                self.fill(self.structs[number], value)
        self.statics = []
        for i in range(r.randint(2, 6)):
            self.statics.append(self.static())
        self.nesting = len(self.structs)

    def is_plain(self, number):
        return number < 2 or (self.flat and number % 2 == 1)

    def name(self, prefix="f"):
        self.names += 1
        return "%s%d" % (prefix, self.names)

    # ---- fields and values

    def field(self, number, plain=False):
        r = self.random
        kinds = ["int", "int", "float", "bool", "enum", "bits", "text", "array", "tagged"]
        if not plain:
            kinds += ["record", "pointer", "pointer", "inner", "function", "literal", "static"]
        kind = r.choice(kinds)
        name = self.name()
        if kind == "int":
            return Field(name, kind, r.choice(list(INTS)))
        if kind == "float":
            return Field(name, kind, r.choice(FLOATS))
        if kind == "bits":
            return Field(name, kind, r.choice(("unsigned", "int")), bits=r.randint(2, 13))
        if kind == "enum":
            return Field(name, kind, r.randrange(len(self.enums)))
        if kind == "text":
            return Field(name, kind, r.randint(1, 20))
        if kind == "array":
            counts = [r.randint(1, 4) for _ in range(r.randint(1, 2))]
            return Field(name, kind, (r.choice(list(INTS) + list(FLOATS)), counts))
        if kind == "tagged":
            return Field(name, kind, [(tag, self.member(plain)) for tag in
                                      r.sample(range(1, 9), r.randint(1, 4))])
        if kind == "record":
            return Field(name, kind, r.randrange(2))
        if kind in ("pointer", "inner"):
            return Field(name, kind, r.randrange(2, len(self.structs)))
        return Field(name, kind, None)

    def member(self, plain):
        while True:
            f = self.field(0, plain)
            if f.kind in ("int", "float", "bool", "text", "array", "pointer", "function", "literal"):
                return f

    def aim(self, f):
        """A pointer into another struct: at one field, whose type it has."""
        targets = [t for t in self.structs[f.type].fields if t.kind in ("int", "record") or
                   (t.kind == "array" and len(t.type[1]) == 1)]
        if not targets:
            f.kind = "pointer"
            return
        t = self.random.choice(targets)
        f.target = t.name
        f.points = ("struct S%d" % t.type if t.kind == "record" else
                    t.type[0] if t.kind == "array" else t.type)

    def number(self, type):
        r = self.random
        if type in FLOATS:
            return r.randint(-1000, 1000) / 4
        low, high = bounds(*INTS[type])
        return r.choice((low, high, 0, r.randint(low, high), r.randint(0, min(high, 100))))

    def value(self, f):
        r = self.random
        if f.kind in ("int", "float"):
            return self.number(f.type)
        if f.kind == "bool":
            return r.randint(0, 1)
        if f.kind == "enum":
            return r.choice(self.enums[f.type])[0]
        if f.kind == "bits":
            low, high = bounds(f.bits, f.type == "int")
            return r.randint(low, high)
        if f.kind == "text":
            return "".join(r.choice("abcXYZ_") for _ in range(r.randint(0, f.type - 1)))
        if f.kind == "array":
            return self.array(f.type[0], f.type[1])
        if f.kind == "tagged":
            _, m = r.choice(f.type)
            return r.choice((None, (m.name, self.value(m))))
        if f.kind == "record":
            value = {}
            self.fill(self.structs[f.type], value)
            return value
        if f.kind in ("pointer", "inner"):
            return r.choice((None, r.randrange(len(self.objects[f.type]))))
        if f.kind == "function":
            return r.choice((None,) + FUNCTIONS)
        if f.kind == "literal":
            return r.choice((None,) + LITERALS)
        return r.choice((None, 0, 1, 2))  # static: an element of `table`

    def array(self, element, counts):
        if not counts:
            return self.number(element)
        return [self.array(element, counts[1:]) for _ in range(counts[0])]

    def fill(self, struct, value):
        for f in struct.fields:
            value[f.name] = self.value(f)

    def static(self):
        r = self.random
        s = {"name": self.name("s"), "type": r.choice(list(INTS) + list(FLOATS)),
             "inside": r.choice((None, None, "first", "second")), "same": r.random() < 0.3}
        s["init"] = r.choice((0, self.number(s["type"])))
        s["value"] = self.number(s["type"])
        if s["inside"] and s["same"]:
            s["name"] = "same"
            if any(o["inside"] == s["inside"] and o["name"] == "same"
                   for o in getattr(self, "statics", [])):
                s["name"] = self.name("s")
        return s

    # ---- edits

    def zero(self, f):
        if f.kind == "text":
            return ""
        if f.kind == "array":
            def zeros(counts):
                return [zeros(counts[1:]) for _ in range(counts[0])] if counts else 0
            return zeros(f.type[1])
        if f.kind == "record":
            return {t.name: self.zero(t) for t in self.structs[f.type].fields}
        if f.kind == "enum":
            return next((name for name, value in self.enums[f.type] if value == 0), 0)
        return None if f.kind in ("pointer", "inner", "function", "literal", "static",
                                  "tagged") else 0

    def holders(self, number):
        """All values of one struct, wherever they are."""
        if number in self.objects:
            yield from self.objects[number]

        def inside(struct, value):
            for f in struct.fields:
                if f.kind == "record":
                    if f.type == number:
                        yield value[f.name]
                    yield from inside(self.structs[f.type], value[f.name])
        for n, objects in self.objects.items():
            for value in objects:
                yield from inside(self.structs[n], value)

    def pointed(self, number):
        """Names of its fields that pointers point at."""
        return {f.target for s in self.structs for f in s.fields
                if f.kind == "inner" and f.type == number}

    def edit(self):
        """Another state of the source: one to four edits. Returns what was done, for people."""
        p = copy.deepcopy(self)
        r = p.random
        for s in p.structs:
            for f in s.fields:
                f.before = None
        done = []
        nested = r.choice((p.nest, p.unnest))
        if r.random() < 0.4:
            done.append(nested())
        for _ in range(r.randint(1, 4)):
            what = r.choice((p.insert, p.insert, p.remove, p.shuffle, p.widen, p.grow, p.rename,
                             p.renumber, p.more_statics, p.edit_static, p.members))
            done.append(what())
        for s in p.structs:  # zeros that nobody named may have a name now
            for f in s.fields:
                for v in p.holders(s.number) if f.kind == "enum" else ():
                    if v[f.name] == 0:
                        v[f.name] = p.zero(f)
        return p, [d for d in done if d]

    def too_small(self):
        """An edit that would lose a value: the program and the field, or None."""
        p = copy.deepcopy(self)
        for s in p.structs:
            for f in s.fields:
                f.before = None
        for s in p.random.sample(p.structs[2:], len(p.structs) - 2):
            for f in s.fields:
                if f.kind != "int" or f.name in p.pointed(s.number):
                    continue
                for type, bits in INTS.items():
                    low, high = bounds(*bits)
                    if any(not low <= v[f.name] <= high for v in p.objects[s.number]):
                        f.type = type
                        return p, "S%d.%s" % (s.number, f.name)
        return None

    # ---- what must be found

    def expected_value(self, f, value):
        if f.kind == "enum":
            return dict(self.enums[f.type]).get(value, value)
        if f.kind == "record":
            return {t.name: self.expected_value(t, value[t.name])
                    for t in self.structs[f.type].fields}
        if f.kind == "tagged":
            member = value and next(m for _, m in f.type if m.name == value[0])
            return value and [value[0], self.expected_value(member, value[1])]
        if f.kind == "function":
            return None if value is None else FUNCTIONS.index(value) * 10 + 1
        if f.kind == "literal":
            return None if value is None else value.replace("\\\"", "\"")
        return value

    def expected(self):
        found = {}
        for number, objects in self.objects.items():
            fields = [g for f in self.structs[number].fields
                      for g in (f.type if f.kind == "group" else [f])]
            for i, value in enumerate(objects):
                found["S%d[%d]" % (number, i)] = {
                    f.name: self.expected_value(f, value[f.name]) for f in fields}
        found["statics"] = {"table": [50, 51, 52]}
        for s in self.statics:
            name = "%s.%s" % (s["inside"], s["name"]) if s["inside"] else s["name"]
            found["statics"][name] = s["value"]
        return found

    def some(self):
        return self.random.choice(self.structs)

    def insert(self):
        s = self.some()
        f = self.field(s.number, self.is_plain(s.number))
        if f.kind == "inner":
            f.kind = "pointer"
        values = list(self.holders(s.number))
        s.fields.insert(self.random.randint(0, len(s.fields)), f)
        for v in values:
            v[f.name] = self.zero(f)
        return "S%d: new %s" % (s.number, f.name)

    def remove(self):
        s = self.some()
        safe = [f for f in s.fields if f.kind != "group" and f.name not in self.pointed(s.number)]
        if len(s.fields) < 2 or not safe:
            return None
        f = self.random.choice(safe)
        values = list(self.holders(s.number))
        s.fields.remove(f)
        for v in values:
            del v[f.name]
        return "S%d: without %s" % (s.number, f.name)

    def shuffle(self):
        s = self.some()
        self.random.shuffle(s.fields)
        return "S%d: another order" % s.number

    def widen(self):
        s = self.some()
        fields = [f for f in s.fields if f.kind in ("int", "bits", "float")]
        if not fields:
            return None
        f = self.random.choice(fields)
        values = [v[f.name] for v in self.holders(s.number)]
        if f.kind == "bits":
            f.bits = min(f.bits + self.random.randint(1, 9), 30)
            return "S%d.%s: %d bits" % (s.number, f.name, f.bits)
        if f.name in self.pointed(s.number):
            return None  # its pointer's type would have to change with it
        if f.kind == "float":
            f.type = "double"
            return "S%d.%s: double" % (s.number, f.name)
        small = all(abs(v) < 1 << 53 for v in values)
        fits = [t for t in INTS if all(bounds(*INTS[t])[0] <= v <= bounds(*INTS[t])[1]
                                       for v in values)]
        f.type = self.random.choice(fits + (["double"] if small else []))
        if f.type == "double":
            f.kind = "float"
        return "S%d.%s: %s" % (s.number, f.name, f.type)

    def grow(self):
        s = self.some()
        fields = [f for f in s.fields if f.kind in ("array", "text")]
        if not fields:
            return None
        f = self.random.choice(fields)
        if f.kind == "text":
            f.type += self.random.randint(1, 40)
            return "S%d.%s: char[%d]" % (s.number, f.name, f.type)
        values = list(self.holders(s.number))
        element, counts = f.type
        more = [c + self.random.randint(0, 3) for c in counts]

        def widened(value, have, want):
            if not have:
                return value
            value = [widened(v, have[1:], want[1:]) for v in value]
            blank = self.zero(Field("", "array", (element, want[1:]))) if want[1:] else 0
            return value + [copy.deepcopy(blank) for _ in range(want[0] - have[0])]
        for v in values:
            v[f.name] = widened(v[f.name], counts, more)
        f.type = (element, more)
        return "S%d.%s: %s" % (s.number, f.name, more)

    def rename(self):
        s = self.some()
        if any(f.before for f in s.fields):
            return None
        safe = [f for f in s.fields if f.kind != "group" and f.name not in self.pointed(s.number)]
        if not safe:
            return None
        f = self.random.choice(safe)
        values = list(self.holders(s.number))
        f.before, f.name = f.name, self.name("r")
        for v in values:
            v[f.name] = v.pop(f.before)
        return "S%d.%s: renamed %s" % (s.number, f.before, f.name)

    def nest(self):
        """Fields of a struct go into one of their own."""
        s = self.random.choice(self.structs[2:])
        safe = [f for f in s.fields if f.kind in ("int", "float", "bool", "text", "array") and
                not f.before and f.name not in self.pointed(s.number)]
        if len(safe) < 2 or any(f.kind == "group" for f in s.fields):
            return None
        chosen = self.random.sample(safe, self.random.randint(1, 2))
        group = Field(self.name("g"), "group", chosen)
        s.fields = [f for f in s.fields if f not in chosen]
        s.fields.insert(self.random.randint(0, len(s.fields)), group)
        return "S%d: %s nested" % (s.number, ", ".join(f.name for f in chosen))

    def unnest(self):
        for s in self.structs:
            for f in s.fields:
                if f.kind == "group":
                    at = s.fields.index(f)
                    s.fields[at:at + 1] = f.type
                    return "S%d: %s taken apart" % (s.number, f.name)
        return None

    def members(self):
        """Another union beside the same tag: one member more, or wider, or another order."""
        s = self.some()
        fields = [f for f in s.fields if f.kind == "tagged"]
        if not fields:
            return None
        f = self.random.choice(fields)
        held = [v[f.name] for v in self.holders(s.number) if v[f.name]]
        free = [t for t in range(1, 99) if t not in [tag for tag, _ in f.type]]
        f.type.insert(self.random.randint(0, len(f.type)),
                      (self.random.choice(free), self.member(s.number < 2)))
        self.random.shuffle(f.type)
        for _, m in f.type:
            if m.kind == "text":
                m.type += self.random.randint(0, 9)
            if m.kind == "int" and all(v < 1 << 63 for name, v in held if name == m.name):
                m.type = "int64_t"
        return "S%d.%s: %s" % (s.number, f.name, [(t, m.name, m.type) for t, m in f.type])

    def renumber(self):
        e = self.random.randrange(len(self.enums))
        values = self.random.sample(range(-5, 40), len(self.enums[e]))
        used = any(f.kind == "enum" and f.type == e and any(v[f.name] == 0 for v in
                   self.holders(s.number)) for s in self.structs for f in s.fields)
        if used and values[0] != 0:
            return None  # a zero that nobody set would need a name
        self.enums[e] = [(name, value) for (name, _), value in zip(self.enums[e], values)]
        self.random.shuffle(self.enums[e])
        return "enum E%d: %s" % (e, self.enums[e])

    def more_statics(self):
        s = self.static()
        s["value"] = s["init"]
        self.statics.insert(self.random.randint(0, len(self.statics)), s)
        self.random.shuffle(self.statics)
        return "static %s" % s["name"]

    def edit_static(self):
        s = self.random.choice(self.statics)
        s["value"] = s["init"] = 7 if s["init"] != 7 else 9
        return "static %s = 7" % s["name"]
