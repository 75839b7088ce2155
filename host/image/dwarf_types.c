/* Types: a hash of the layout, a text as people write it, the fields one by one. Names of aliases
 * do not count, what they stand for does; behind a pointer only the name counts, so circles end
 * there. Owns the table of resolved types; one thread. */
#include "image/dwarf_read.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_text.h"

enum {
    DEPTH_MOST = 40,
    TEXT_MOST = 400,
    FLATTEN_MOST = 6,
    STEPS_MOST = 1 << 24,
    TYPES_MOST = 1 << 20,
    FIELDS_MOST = 1 << 22
};
enum { NEW, BUSY, DONE };

static TypeInfo resolve(Reader *r, uint32_t die);

static void fail(Reader *r, int code)
{
    r->failed = r->failed ? r->failed : code;
}

static uint32_t text(Reader *r, const char *from)
{
    return anatomy_text(r->maker, from, strlen(from));
}

static const char *string(const Reader *r, uint32_t at)
{
    return r->maker->strings.bytes ? r->maker->strings.data + at : "";
}

static const Die *die_at(const Reader *r, uint32_t index)
{
    return &r->dies->list[index];
}

void types_done(TypeTable *table)
{
    if (!table)
        return;
    free(table->slots);
    free(table->seen);
    *table = (TypeTable){0};
}

/* 1 when this hash was there already. */
static int seen(Reader *r, Hash id, Hash hash)
{
    TypeTable *t = &r->types;
    uint64_t key = (id.low ^ (hash.low * 0x9e3779b97f4a7c15u)) | 1;
    if (t->seen_used * 2 >= t->seen_room) {
        size_t room = t->seen_room ? t->seen_room * 2 : 4096;
        uint64_t *fresh = calloc(room, sizeof *fresh);
        if (!fresh) {
            fail(r, KEEL_ENOMEM);
            return 1;
        }
        for (size_t i = 0; i < t->seen_room; i++) {
            size_t at = t->seen[i] >> 20 & (room - 1);
            while (t->seen[i] && fresh[at])
                at = (at + 1) & (room - 1);
            if (t->seen[i])
                fresh[at] = t->seen[i];
        }
        free(t->seen);
        t->seen = fresh;
        t->seen_room = room;
    }
    size_t at = key >> 20 & (t->seen_room - 1);
    while (t->seen[at] && t->seen[at] != key)
        at = (at + 1) & (t->seen_room - 1);
    if (t->seen[at])
        return 1;
    t->seen[at] = key;
    t->seen_used++;
    return 0;
}

static Hash mix(uint64_t tag, Hash a, uint64_t b, uint64_t c)
{
    const uint64_t bits[] = {tag, a.low, a.high, b, c};
    return hash_bytes(bits, sizeof bits);
}

static TypeInfo of_attribute(Reader *r, const Die *d)
{
    uint32_t target = dies_type(r->dies, d);
    if (target)
        return resolve(r, target);
    return (TypeInfo){.hash = {1, 1}, .text = text(r, "void")};
}

/* `T *`, `const T`, or for pointers to functions and arrays as C writes them, roughly. */
static uint32_t decorate(Reader *r, const char *before, uint32_t inner, const char *after)
{
    char line[TEXT_MOST];
    const char *in = string(r, inner);
    const char *star = strstr(in, "(*");
    if (!*before && star && *after == ' ')
        snprintf(line, sizeof line, "%.*s(*%.10s%.350s", (int)(star - in), in, after + 1, star + 1);
    else
        text_put(line, sizeof line, text_join(line, sizeof line, before, in, 350), after, 20);
    return text(r, line);
}

static TypeInfo array_type(Reader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    TypeInfo element = of_attribute(r, d), info = element;
    uint64_t all = 1;
    char line[TEXT_MOST];
    size_t n = (size_t)snprintf(line, sizeof line, "%.300s", string(r, element.text));
    Hash hash = mix(DW_TAG_array_type, element.hash, 0, 0);
    for (uint32_t child = dies_child(r->dies, die); child;
         child = dies_after(r->dies, die, child)) {
        if (die_at(r, child)->tag != DW_TAG_subrange_type)
            continue;
        uint64_t count = die_at(r, child)->value;
        hash = mix(DW_TAG_subrange_type, hash, count, 0);
        all *= count;
        if (n < sizeof line - 24)
            n += (size_t)snprintf(line + n, sizeof line - n, "[%llu]", (unsigned long long)count);
    }
    info.hash = hash;
    info.bytes = d->have & DIE_BYTES ? d->bytes : element.bytes * all;
    info.text = text(r, line);
    info.kind = 0;
    info.is_nameless = 0;
    return info;
}

static TypeInfo function_type(Reader *r, uint32_t die)
{
    TypeInfo result = of_attribute(r, die_at(r, die));
    char line[TEXT_MOST];
    size_t n = (size_t)snprintf(line, sizeof line, "%.100s (", string(r, result.text));
    Hash hash = mix(DW_TAG_subroutine_type, result.hash, 0, 0);
    const char *comma = "";
    for (uint32_t child = dies_child(r->dies, die); child;
         child = dies_after(r->dies, die, child)) {
        if (die_at(r, child)->tag != DW_TAG_formal_parameter)
            continue;
        TypeInfo type = of_attribute(r, die_at(r, child));
        hash = mix(DW_TAG_formal_parameter, hash, type.hash.low, type.hash.high);
        if (n < sizeof line - 64)
            n +=
                (size_t)snprintf(line + n, sizeof line - n, "%s%.60s", comma, string(r, type.text));
        comma = ", ";
    }
    if (n < sizeof line - 2)
        snprintf(line + n, sizeof line - n, ")");
    return (TypeInfo){.hash = hash, .text = text(r, line)};
}

/* Only the name of what is pointed to counts: its layout may change without touching this one's. */
static TypeInfo pointer_type(Reader *r, const Die *d)
{
    int tag = d->tag;
    uint32_t target = dies_type(r->dies, d);
    const char *mark = tag == DW_TAG_reference_type          ? " &"
                       : tag == DW_TAG_rvalue_reference_type ? " &&"
                       : tag == DW_TAG_ptr_to_member_type    ? " ::*"
                                                             : " *";
    TypeInfo info = {.bytes = d->have & DIE_BYTES ? d->bytes : 8};
    if (!target) {
        info.hash = mix((uint64_t)tag, (Hash){0}, 0, 0);
        info.text = text(r, "void *");
        return info;
    }
    const Die *to = die_at(r, target);
    int kind = to->tag;
    if (kind == DW_TAG_structure_type || kind == DW_TAG_class_type || kind == DW_TAG_union_type ||
        kind == DW_TAG_enumeration_type) {
        char line[TEXT_MOST];
        size_t n = text_join(line, sizeof line,
                             kind == DW_TAG_structure_type ? "struct "
                             : kind == DW_TAG_union_type   ? "union "
                                                           : "",
                             string(r, r->types.slots[target].prefix), 180);
        text_put(line, sizeof line, n, to->name ? to->name : "{...}", 180);
        info.hash = mix((uint64_t)tag, hash_bytes(line, strlen(line)), 0, 0);
        info.text = decorate(r, "", text(r, line), mark);
        return info;
    }
    if (kind == DW_TAG_typedef) {
        const char *name = to->name;
        /* The alias is for people; what counts is what it stands for. */
        for (uint32_t next; to->tag == DW_TAG_typedef && r->types.depth < DEPTH_MOST &&
                            (next = dies_type(r->dies, to)) && r->types.steps++ < STEPS_MOST;)
            to = die_at(r, next);
        int is_record = to->tag == DW_TAG_structure_type || to->tag == DW_TAG_class_type ||
                        to->tag == DW_TAG_union_type;
        const char *inner = is_record ? to->name : NULL;
        Hash hash = {0};
        if (is_record) {
            const char *known = inner ? inner : name ? name : "";
            hash = hash_bytes(known, strlen(known));
        } else {
            hash = resolve(r, target).hash;
        }
        info.hash = mix((uint64_t)tag, hash, is_record, 0);
        info.text = decorate(r, "", text(r, name ? name : "?"), mark);
        return info;
    }
    TypeInfo pointee = resolve(r, target);
    info.hash = mix((uint64_t)tag, pointee.hash, 0, 0);
    const char *in = string(r, pointee.text), *open = strstr(in, " (");
    if (kind == DW_TAG_subroutine_type && open) {
        char line[TEXT_MOST];
        snprintf(line, sizeof line, "%.*s (*)%.300s", (int)(open - in), in, open + 1);
        info.text = text(r, line);
    } else {
        info.text = decorate(r, "", pointee.text, mark);
    }
    return info;
}

static uint32_t record_kind(int tag)
{
    return tag == DW_TAG_structure_type     ? TYPE_STRUCT
           : tag == DW_TAG_union_type       ? TYPE_UNION
           : tag == DW_TAG_class_type       ? TYPE_CLASS
           : tag == DW_TAG_enumeration_type ? TYPE_ENUM
                                            : TYPE_ALIAS;
}

/* What a record consists of, in `fields`; nameless records inside of it count as their own fields.
 */
static void collect(Reader *r, uint32_t record, uint64_t base, const char *prefix, int depth,
                    Buf *fields)
{
    for (uint32_t child = dies_child(r->dies, record); child && !r->failed;
         child = dies_after(r->dies, record, child)) {
        const Die *m = die_at(r, child);
        AnatomyField field = {.bits = m->bits};
        char name[TEXT_MOST];
        if (m->tag != DW_TAG_member && m->tag != DW_TAG_inheritance && m->tag != DW_TAG_enumerator)
            continue;
        if (m->have & (DIE_EXTERNAL | DIE_DECLARATION)) /* a static member */
            continue;
        const char *own = m->tag == DW_TAG_inheritance ? "(base)" : m->name ? m->name : "";
        size_t n = text_join(name, sizeof name, prefix, own, 190);
        if (m->tag == DW_TAG_enumerator) {
            field.offset = m->have & DIE_VALUE ? m->value : 0;
        } else {
            TypeInfo type = of_attribute(r, m);
            field.hash = type.hash;
            field.type = type.text;
            field.offset = base + die_member_place(m, type.bytes, &field.bit);
            if (type.is_nameless && depth < FLATTEN_MOST && type.kind &&
                type.kind - 1 != TYPE_ENUM) {
                if (m->name && n < sizeof name - 1)
                    memcpy(name + n, ".", 2);
                collect(r, dies_type(r->dies, m), field.offset, name, depth + 1, fields);
                continue;
            }
        }
        field.name = text(r, name);
        if (fields->bytes > FIELDS_MOST * sizeof field || buf_add(fields, &field, sizeof field))
            fail(r, KEEL_ENOMEM);
    }
}

static Hash hash_fields(const Reader *r, const Buf *fields, uint32_t kind, uint64_t bytes)
{
    const AnatomyField *list = (const AnatomyField *)fields->data;
    Hash hash = mix(kind == TYPE_CLASS ? TYPE_STRUCT : kind, (Hash){0}, bytes, 0);
    for (size_t i = 0; i < fields->bytes / sizeof *list; i++) {
        const char *name = string(r, list[i].name);
        hash = mix(list[i].offset, hash, list[i].hash.low, list[i].hash.high);
        hash = mix((uint64_t)list[i].bit << 32 | list[i].bits, hash,
                   hash_bytes(name, strlen(name)).low, 0);
    }
    return hash;
}

static uint32_t qualified(Reader *r, uint32_t die, const char *name)
{
    char line[TEXT_MOST * 2];
    uint32_t prefix = r->types.slots[die].prefix;
    if (!prefix)
        return text(r, name);
    text_join(line, sizeof line, string(r, prefix), name, 390);
    return text(r, line);
}

static TypeInfo record_type(Reader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    const char *name = d->name;
    int tag = d->tag;
    TypeInfo info = {.bytes = d->bytes, .kind = record_kind(tag) + 1, .is_nameless = !name};
    Buf fields = {0};
    static const char *const WORDS[] = {"struct ", "union ", "", "enum "};
    if (d->have & DIE_DECLARATION) {
        info.hash = name ? mix((uint64_t)tag, hash_bytes(name, strlen(name)), 0, 0) : (Hash){0};
    } else {
        collect(r, die, 0, "", 0, &fields);
        info.hash = hash_fields(r, &fields, info.kind - 1, info.bytes);
    }
    buf_done(&fields);
    char line[TEXT_MOST];
    size_t n = text_join(line, sizeof line, WORDS[record_kind(tag)],
                         string(r, r->types.slots[die].prefix), 180);
    text_put(line, sizeof line, n, name ? name : "{...}", 180);
    info.text = text(r, line);
    return info;
}

static TypeInfo make(Reader *r, uint32_t die)
{
    const Die *d = die_at(r, die);
    const char *name = d->name;
    int tag = d->tag;
    TypeInfo info = {0};
    switch (tag) {
    case DW_TAG_base_type:
        info.hash = mix(DW_TAG_base_type, (Hash){0}, d->bytes, d->encoding);
        info.bytes = d->bytes;
        info.text = text(r, name ? name : "?");
        return info;
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
    case DW_TAG_ptr_to_member_type:
        return pointer_type(r, d);
    case DW_TAG_array_type:
        return array_type(r, die);
    case DW_TAG_subroutine_type:
        return function_type(r, die);
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
        return record_type(r, die);
    case DW_TAG_typedef:
        info = of_attribute(r, d);
        info.text = qualified(r, die, name ? name : "?");
        info.kind = 0;
        info.is_nameless = 0;
        return info;
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_atomic_type:
        info = of_attribute(r, d);
        info.text = decorate(r,
                             tag == DW_TAG_const_type      ? "const "
                             : tag == DW_TAG_volatile_type ? "volatile "
                             : tag == DW_TAG_atomic_type   ? "_Atomic "
                                                           : "",
                             info.text, "");
        return info;
    default:
        info.text = text(r, name ? name : "?");
        info.hash =
            mix((uint64_t)tag, hash_bytes(string(r, info.text), strlen(string(r, info.text))),
                d->bytes, 0);
        info.bytes = d->bytes;
        return info;
    }
}

static TypeInfo resolve(Reader *r, uint32_t die)
{
    TypeSlot *slot = &r->types.slots[die];
    TypeInfo none = {.hash = {2, 2}};
    if (slot->state == DONE)
        return slot->info;
    if (slot->state == BUSY || r->types.depth >= DEPTH_MOST)
        return none; /* a circle by value is nobody's type */
    slot->state = BUSY;
    r->types.depth++;
    slot->info = make(r, die);
    r->types.depth--;
    slot->state = DONE;
    return slot->info;
}

static void add_record(Reader *r, uint32_t die, const TypeInfo *info, const char *name,
                       uint32_t scoped)
{
    Buf fields = {0};
    AnatomyType t = {.hash = info->hash, .bytes = info->bytes, .kind = info->kind - 1};
    const char *whole = scoped ? string(r, scoped) : name;
    uint32_t kind = t.kind == TYPE_CLASS ? TYPE_STRUCT : t.kind;
    t.id = mix(kind, hash_bytes(whole, strlen(whole)), 0, 0);
    if (seen(r, t.id, t.hash))
        return;
    if (r->maker->types.bytes / sizeof t >= TYPES_MOST) {
        r->maker->flags |= ANATOMY_TYPES_CUT;
        return;
    }
    t.name = scoped ? scoped : text(r, name);
    collect(r, die, 0, "", 0, &fields);
    t.first_field = (uint32_t)(r->maker->fields.bytes / sizeof(AnatomyField));
    t.field_count = (uint32_t)(fields.bytes / sizeof(AnatomyField));
    if (buf_add(&r->maker->fields, fields.data, fields.bytes) ||
        buf_add(&r->maker->types, &t, sizeof t))
        fail(r, KEEL_ENOMEM);
    buf_done(&fields);
}

void types_add(Reader *r, uint32_t die, const char *alias)
{
    const Die *d = die_at(r, die);
    const char *name = alias ? alias : d->name;
    if (d->tag == DW_TAG_typedef) {
        /* `typedef struct {…} order;`: the alias is the only name. */
        uint32_t target = dies_type(r->dies, d);
        int tag = die_at(r, target)->tag;
        int is_record = tag == DW_TAG_structure_type || tag == DW_TAG_class_type ||
                        tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
        if (is_record && name && !die_at(r, target)->name)
            types_add(r, target, name);
        return;
    }
    if (!name || d->have & DIE_DECLARATION || r->types.depth > 0)
        return;
    TypeInfo info = resolve(r, die);
    uint32_t scoped = r->types.slots[die].prefix ? qualified(r, die, name) : 0;
    if (info.kind)
        add_record(r, die, &info, name, scoped);
}
