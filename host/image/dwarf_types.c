/* Types: a hash of the layout, a text as people write it, the fields one by one. Names of aliases
 * do not count, what they stand for does; behind a pointer only the name counts, so circles end
 * there. Owns the table of resolved types; one thread. */
#include "image/dwarf_read.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEPTH_MOST = 40,
    TEXT_MOST = 400,
    FLATTEN_MOST = 6,
    TYPES_MOST = 1 << 20,
    FIELDS_MOST = 1 << 22
};
enum { NEW, BUSY, DONE };

static TypeInfo resolve(Reader *r, Dwarf_Die *die);

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

static int grow(TypeTable *t)
{
    size_t room = t->room ? t->room * 2 : 4096;
    TypeSlot *slots = calloc(room, sizeof *slots);
    if (!slots)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < t->room; i++) {
        if (!t->slots[i].offset)
            continue;
        size_t at = t->slots[i].offset * 0x9e3779b97f4a7c15u >> 20 & (room - 1);
        while (slots[at].offset)
            at = (at + 1) & (room - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->room = room;
    return KEEL_OK;
}

/* The slot of a DIE, made when there is none; NULL: no memory. Valid until the next call. */
static TypeSlot *slot_of(Reader *r, Dwarf_Off offset)
{
    TypeTable *t = &r->types;
    if (t->used * 2 >= t->room && grow(t)) {
        fail(r, KEEL_ENOMEM);
        return NULL;
    }
    size_t at = offset * 0x9e3779b97f4a7c15u >> 20 & (t->room - 1);
    while (t->slots[at].offset && t->slots[at].offset != offset)
        at = (at + 1) & (t->room - 1);
    if (!t->slots[at].offset) {
        t->slots[at].offset = offset;
        t->used++;
    }
    return &t->slots[at];
}

void types_scope(Reader *r, Dwarf_Off offset, uint32_t prefix)
{
    TypeSlot *slot = slot_of(r, offset);
    if (slot)
        slot->prefix = prefix;
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

static TypeInfo of_attribute(Reader *r, Die *d)
{
    Dwarf_Die target;
    if (d->have & HAVE_TYPE && dwarf_formref_die(&d->type, &target))
        return resolve(r, &target);
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
        snprintf(line, sizeof line, "%.20s%.350s%.20s", before, in, after);
    return text(r, line);
}

/* libdw takes short forms for signed, and offsets of 128 and more would be negative. */
static int constant(Dwarf_Attribute *a, uint64_t *ret)
{
    unsigned form = dwarf_whatform(a);
    int is_signed = form == DW_FORM_sdata || form == DW_FORM_implicit_const;
    Dwarf_Sword number;
    Dwarf_Word word;
    if (is_signed && !dwarf_formsdata(a, &number))
        *ret = (uint64_t)number;
    else if (!dwarf_formudata(a, &word))
        *ret = word;
    else
        return -1;
    return 0;
}

static TypeInfo array_type(Reader *r, Die *d)
{
    TypeInfo element = of_attribute(r, d), info = element;
    Dwarf_Die child;
    uint64_t all = 1;
    char line[TEXT_MOST];
    size_t n = (size_t)snprintf(line, sizeof line, "%.300s", string(r, element.text));
    Hash hash = mix(DW_TAG_array_type, element.hash, 0, 0);
    for (int rc = dwarf_child(&d->die, &child); !rc; rc = dwarf_siblingof(&child, &child)) {
        Die range;
        uint64_t count = 0;
        if (dwarf_tag(&child) != DW_TAG_subrange_type)
            continue;
        die_read(&child, &range);
        if (range.have & HAVE_COUNT)
            constant(&range.count, &count);
        else if (range.have & HAVE_UPPER && !constant(&range.upper, &count))
            count++;
        hash = mix(DW_TAG_subrange_type, hash, count, 0);
        all *= count;
        if (n < sizeof line - 24)
            n += (size_t)snprintf(line + n, sizeof line - n, "[%llu]", (unsigned long long)count);
    }
    info.hash = hash;
    info.bytes = d->has_bytes ? d->bytes : element.bytes * all;
    info.text = text(r, line);
    info.kind = 0;
    info.is_nameless = 0;
    return info;
}

static TypeInfo function_type(Reader *r, Die *d)
{
    TypeInfo result = of_attribute(r, d);
    Dwarf_Die child;
    char line[TEXT_MOST];
    size_t n = (size_t)snprintf(line, sizeof line, "%.100s (", string(r, result.text));
    Hash hash = mix(DW_TAG_subroutine_type, result.hash, 0, 0);
    const char *comma = "";
    for (int rc = dwarf_child(&d->die, &child); !rc; rc = dwarf_siblingof(&child, &child)) {
        Die parameter;
        if (dwarf_tag(&child) != DW_TAG_formal_parameter)
            continue;
        die_read(&child, &parameter);
        TypeInfo type = of_attribute(r, &parameter);
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
static TypeInfo pointer_type(Reader *r, Die *d, int tag)
{
    Dwarf_Die target;
    Die to;
    const char *mark = tag == DW_TAG_reference_type          ? " &"
                       : tag == DW_TAG_rvalue_reference_type ? " &&"
                       : tag == DW_TAG_ptr_to_member_type    ? " ::*"
                                                             : " *";
    TypeInfo info = {.bytes = d->has_bytes ? d->bytes : 8};
    if (!(d->have & HAVE_TYPE) || !dwarf_formref_die(&d->type, &target)) {
        info.hash = mix((uint64_t)tag, (Hash){0}, 0, 0);
        info.text = text(r, "void *");
        return info;
    }
    int kind = dwarf_tag(&target);
    if (kind == DW_TAG_structure_type || kind == DW_TAG_class_type || kind == DW_TAG_union_type ||
        kind == DW_TAG_enumeration_type) {
        die_read(&target, &to);
        const char *name = die_name(&to);
        const TypeSlot *slot = slot_of(r, dwarf_dieoffset(&target));
        char line[TEXT_MOST];
        snprintf(line, sizeof line, "%s%.180s%.180s",
                 kind == DW_TAG_structure_type ? "struct "
                 : kind == DW_TAG_union_type   ? "union "
                                               : "",
                 slot ? string(r, slot->prefix) : "", name ? name : "{...}");
        info.hash = mix((uint64_t)tag, hash_bytes(line, strlen(line)), 0, 0);
        info.text = decorate(r, "", text(r, line), mark);
        return info;
    }
    if (kind == DW_TAG_typedef) {
        die_read(&target, &to);
        const char *name = die_name(&to);
        Dwarf_Die behind = target;
        /* The alias is for people; what counts is what it stands for. */
        while (dwarf_tag(&behind) == DW_TAG_typedef && to.have & HAVE_TYPE &&
               r->types.depth < DEPTH_MOST && dwarf_formref_die(&to.type, &behind)) {
            die_read(&behind, &to);
            if (r->types.steps++ > 1 << 24)
                break;
        }
        int is_record = dwarf_tag(&behind) == DW_TAG_structure_type ||
                        dwarf_tag(&behind) == DW_TAG_class_type ||
                        dwarf_tag(&behind) == DW_TAG_union_type;
        const char *inner = is_record ? die_name(&to) : NULL;
        Hash hash = {0};
        if (is_record) {
            const char *known = inner ? inner : name ? name : "";
            hash = hash_bytes(known, strlen(known));
        } else {
            hash = resolve(r, &target).hash;
        }
        info.hash = mix((uint64_t)tag, hash, is_record, 0);
        info.text = decorate(r, "", text(r, name ? name : "?"), mark);
        return info;
    }
    TypeInfo pointee = resolve(r, &target);
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

static void member_place(Die *m, uint64_t type_bytes, AnatomyField *field)
{
    uint64_t offset = 0;
    Dwarf_Block block;
    if (m->have & HAVE_MEMBER && constant(&m->member, &offset) &&
        !dwarf_formblock(&m->member, &block) && block.length > 1 &&
        block.data[0] == DW_OP_plus_uconst) {
        const uint8_t *p = block.data + 1, *end = block.data + block.length;
        for (unsigned shift = 0; p < end && shift < 63; shift += 7) {
            offset |= (uint64_t)(*p & 0x7f) << shift;
            if (!(*p++ & 0x80))
                break;
        }
    }
    field->offset = offset;
    if (!m->bits)
        return;
    uint64_t bit = offset * 8;
    if (m->have & HAVE_DATA_BIT_OFFSET)
        bit = m->bit_offset;
    else if (m->have & HAVE_BIT_OFFSET) /* DWARF 3: from the other end of the storage */
        bit += (m->has_bytes ? m->bytes : type_bytes) * 8 - m->bit_offset - m->bits;
    field->offset = bit / 8;
    field->bit = bit % 8;
    field->bits = (uint32_t)m->bits;
}

/* What a record consists of, in `fields`; nameless records inside of it count as their own fields.
 */
static void collect(Reader *r, Dwarf_Die *record, uint64_t base, const char *prefix, int depth,
                    Buf *fields)
{
    Dwarf_Die child;
    for (int rc = dwarf_child(record, &child); !rc && !r->failed;
         rc = dwarf_siblingof(&child, &child)) {
        int tag = dwarf_tag(&child);
        if (tag != DW_TAG_member && tag != DW_TAG_inheritance && tag != DW_TAG_enumerator)
            continue;
        Die m;
        AnatomyField field = {0};
        char name[TEXT_MOST];
        die_read(&child, &m);
        const char *own = die_name(&m);
        if (m.have & (HAVE_EXTERNAL | HAVE_DECLARATION)) /* a static member */
            continue;
        snprintf(name, sizeof name, "%.190s%.190s", prefix,
                 tag == DW_TAG_inheritance ? "(base)"
                 : own                     ? own
                                           : "");
        if (tag == DW_TAG_enumerator) {
            if (m.have & HAVE_VALUE)
                constant(&m.value, &field.offset);
        } else {
            TypeInfo type = of_attribute(r, &m);
            Dwarf_Die inner;
            field.hash = type.hash;
            field.type = type.text;
            member_place(&m, type.bytes, &field);
            field.offset += base;
            if (type.is_nameless && depth < FLATTEN_MOST && type.kind &&
                type.kind - 1 != TYPE_ENUM && dwarf_formref_die(&m.type, &inner)) {
                size_t n = strlen(name);
                if (own && n < sizeof name - 1)
                    memcpy(name + n, ".", 2);
                collect(r, &inner, field.offset, name, depth + 1, fields);
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

static uint32_t qualified(Reader *r, const TypeSlot *slot, const char *name)
{
    char line[TEXT_MOST * 2];
    if (!slot || !slot->prefix)
        return text(r, name);
    snprintf(line, sizeof line, "%.390s%.390s", string(r, slot->prefix), name);
    return text(r, line);
}

static TypeInfo record_type(Reader *r, Die *d, int tag)
{
    const char *name = die_name(d);
    TypeInfo info = {.bytes = d->bytes, .kind = record_kind(tag) + 1, .is_nameless = !name};
    Buf fields = {0};
    static const char *const WORDS[] = {"struct ", "union ", "", "enum "};
    if (d->have & HAVE_DECLARATION) {
        info.hash = name ? mix((uint64_t)tag, hash_bytes(name, strlen(name)), 0, 0) : (Hash){0};
    } else {
        collect(r, &d->die, 0, "", 0, &fields);
        info.hash = hash_fields(r, &fields, info.kind - 1, info.bytes);
    }
    buf_done(&fields);
    char line[TEXT_MOST];
    const TypeSlot *slot = slot_of(r, dwarf_dieoffset(&d->die));
    snprintf(line, sizeof line, "%s%.180s%.180s", WORDS[record_kind(tag)],
             slot ? string(r, slot->prefix) : "", name ? name : "{...}");
    info.text = text(r, line);
    return info;
}

static TypeInfo make(Reader *r, Dwarf_Die *die)
{
    Die d;
    int tag = dwarf_tag(die);
    die_read(die, &d);
    const char *name = die_name(&d);
    TypeInfo info = {0};
    switch (tag) {
    case DW_TAG_base_type:
        info.hash = mix(DW_TAG_base_type, (Hash){0}, d.bytes, d.encoding);
        info.bytes = d.bytes;
        info.text = text(r, name ? name : "?");
        return info;
    case DW_TAG_pointer_type:
    case DW_TAG_reference_type:
    case DW_TAG_rvalue_reference_type:
    case DW_TAG_ptr_to_member_type:
        return pointer_type(r, &d, tag);
    case DW_TAG_array_type:
        return array_type(r, &d);
    case DW_TAG_subroutine_type:
        return function_type(r, &d);
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
        return record_type(r, &d, tag);
    case DW_TAG_typedef: {
        info = of_attribute(r, &d);
        const TypeSlot *slot = slot_of(r, dwarf_dieoffset(die));
        info.text = qualified(r, slot, name ? name : "?");
        info.kind = 0;
        info.is_nameless = 0;
        return info;
    }
    case DW_TAG_const_type:
    case DW_TAG_volatile_type:
    case DW_TAG_restrict_type:
    case DW_TAG_atomic_type:
        info = of_attribute(r, &d);
        info.text = decorate(r,
                             tag == DW_TAG_const_type      ? "const "
                             : tag == DW_TAG_volatile_type ? "volatile "
                             : tag == DW_TAG_atomic_type   ? "_Atomic "
                                                           : "",
                             info.text, "");
        return info;
    default:
        info.text = text(r, name ? name : "?");
        info.hash = mix((uint64_t)tag,
                        hash_bytes(string(r, info.text), strlen(string(r, info.text))), d.bytes, 0);
        info.bytes = d.bytes;
        return info;
    }
}

static TypeInfo resolve(Reader *r, Dwarf_Die *die)
{
    Dwarf_Off offset = dwarf_dieoffset(die);
    TypeSlot *slot = slot_of(r, offset);
    TypeInfo none = {.hash = {2, 2}};
    if (!slot || slot->state == BUSY || r->types.depth >= DEPTH_MOST)
        return none; /* a circle by value is nobody's type */
    if (slot->state == DONE)
        return slot->info;
    slot->state = BUSY;
    r->types.depth++;
    TypeInfo info = make(r, die);
    r->types.depth--;
    slot = slot_of(r, offset);
    if (slot) {
        slot->state = DONE;
        slot->info = info;
    }
    return info;
}

static void add_record(Reader *r, Die *d, const TypeInfo *info, const char *name, uint32_t scoped)
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
    collect(r, &d->die, 0, "", 0, &fields);
    t.first_field = (uint32_t)(r->maker->fields.bytes / sizeof(AnatomyField));
    t.field_count = (uint32_t)(fields.bytes / sizeof(AnatomyField));
    if (buf_add(&r->maker->fields, fields.data, fields.bytes) ||
        buf_add(&r->maker->types, &t, sizeof t))
        fail(r, KEEL_ENOMEM);
    buf_done(&fields);
}

void types_add(Reader *r, Dwarf_Die *die, const char *alias)
{
    Die d;
    Dwarf_Die target;
    die_read(die, &d);
    const char *name = alias ? alias : die_name(&d);
    if (dwarf_tag(die) == DW_TAG_typedef) {
        /* `typedef struct {…} order;`: the alias is the only name. */
        int tag =
            d.have & HAVE_TYPE && dwarf_formref_die(&d.type, &target) ? dwarf_tag(&target) : 0;
        int is_record = tag == DW_TAG_structure_type || tag == DW_TAG_class_type ||
                        tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type;
        if (is_record && name && !dwarf_hasattr(&target, DW_AT_name))
            types_add(r, &target, name);
        return;
    }
    if (!name || d.have & HAVE_DECLARATION || r->types.depth > 0)
        return;
    TypeInfo info = resolve(r, die);
    const TypeSlot *slot = slot_of(r, dwarf_dieoffset(die));
    uint32_t scoped = slot && slot->prefix ? qualified(r, slot, name) : 0;
    if (info.kind)
        add_record(r, &d, &info, name, scoped);
}
