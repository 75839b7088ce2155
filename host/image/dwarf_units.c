/* Walks the units of the debug information: functions, statics with the function around them, and
 * the places of types. Owns nothing but the reader's lists; one thread. */
#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/dwarf_text.h"

#include "image/dwarf_read.h"

enum { DEPTH_MOST = 48, PREFIX_MOST = 512, FILE_MOST = 1000, FILES_MOST = 1 << 20 };

/* Where a walk is. */
typedef struct Scope {
    char prefix[PREFIX_MOST];
    uint32_t prefix_text; /* the same in the maker's strings; 0: none */
    uint64_t function;    /* stands for the enclosing function; 0: none */
    uint32_t function_name;
} Scope;

static void fail(Reader *r, int code)
{
    r->failed = r->failed ? r->failed : code;
}

static uint32_t text(Reader *r, const char *from)
{
    return from ? anatomy_text(r->maker, from, strlen(from)) : 0;
}

static Die *die_at(const Reader *r, uint32_t index)
{
    return &r->dies->list[index];
}

/* Each name is kept once a unit. */
static uint32_t file_name(Reader *r, const Die *d)
{
    char path[FILE_MOST];
    if (!(d->have & DIE_FILE) || d->file >= FILES_MOST)
        return 0;
    if (d->file >= r->file_room) {
        uint32_t room = d->file < 64 ? 128 : d->file * 2;
        uint32_t *names = realloc(r->file_names, room * sizeof *names);
        if (!names) {
            fail(r, KEEL_ENOMEM);
            return 0;
        }
        memset(names + r->file_room, 0, (room - r->file_room) * sizeof *names);
        r->file_names = names;
        r->file_room = room;
    }
    if (!r->file_names[d->file] && dies_file(r->dies, r->unit, d->file, path, sizeof path))
        r->file_names[d->file] = text(r, path);
    return r->file_names[d->file];
}

/* Name, scope and place of a function may stand at the declaration that it points to. */
static void follow(Reader *r, const Die *d, const char **name, const char **linkage, uint32_t *file,
                   uint32_t *line, uint32_t *declared)
{
    for (int i = 0; i < 4; i++) {
        if (!*name)
            *name = d->name;
        if (!*linkage)
            *linkage = d->linkage;
        if (!*line)
            *line = d->line;
        if (!*file) /* a definition may leave out the file that its declaration names */
            *file = file_name(r, d);
        uint32_t to = d->have & (DIE_ORIGIN | DIE_SPECIFICATION) ? dies_at(r->dies, d->refers) : 0;
        if (!to)
            return;
        *declared = to;
        d = die_at(r, to);
    }
}

static uint32_t prefix_of(const Reader *r, uint32_t declared)
{
    return r->types.slots[declared].prefix; /* of 0: none */
}

static void take_function(Reader *r, const Die *d, const Scope *scope, Scope *inner)
{
    const char *name = NULL, *linkage = NULL;
    uint32_t file = 0, line = 0;
    uint32_t declared = 0;
    follow(r, d, &name, &linkage, &file, &line, &declared);
    if (!name)
        return;
    uint32_t prefix = prefix_of(r, declared);
    const char *around = prefix ? r->maker->strings.data + prefix : scope->prefix;
    char whole[PREFIX_MOST + 300];
    text_put(whole, sizeof whole, text_put(whole, sizeof whole, 0, around, 500), name, 290);
    /* A function in a namespace without a name has neither, and its symbol is no name for people.
     * (`around` moves when text is added.) */
    int says_more = linkage || *around || !r->is_c;
    const char *key = linkage ? linkage : whole;
    inner->function = hash_bytes(key, strlen(key)).low | 1;
    inner->function_name = text(r, whole);
    text_join(inner->prefix, sizeof inner->prefix, whole, "::", 500);
    inner->prefix_text = text(r, inner->prefix);
    if (!(d->have & DIE_ADDRESS) || !d->address)
        return;
    Line at = {.address = d->address,
               .pretty = says_more ? inner->function_name : 0,
               .file = file,
               .line = line};
    if (buf_add(&r->lines, &at, sizeof at))
        fail(r, KEEL_ENOMEM);
}

/* What kind of number a variable is, through names for types and qualifiers. */
static uint32_t value_of(const Reader *r, const Die *at)
{
    for (int i = 0; i < 8; i++) {
        uint32_t to = at->type                       ? dies_type(r->dies, at)
                      : at->have & DIE_SPECIFICATION ? dies_at(r->dies, at->refers)
                                                     : 0;
        if (!to)
            break;
        at = die_at(r, to);
        switch (at->tag) {
        case DW_TAG_variable:
        case DW_TAG_member:
        case DW_TAG_typedef:
        case DW_TAG_const_type:
        case DW_TAG_volatile_type:
            continue;
        case DW_TAG_enumeration_type:
            return VALUE_SIGNED;
        case DW_TAG_base_type:
            break;
        default:
            return VALUE_NONE;
        }
        switch (at->encoding) {
        case DW_ATE_float:
            return VALUE_FLOAT;
        case DW_ATE_boolean:
            return VALUE_BOOL;
        case DW_ATE_signed:
        case DW_ATE_signed_char:
            return VALUE_SIGNED;
        case DW_ATE_unsigned:
        case DW_ATE_unsigned_char:
            return VALUE_UNSIGNED;
        default:
            return VALUE_NONE;
        }
    }
    return VALUE_NONE;
}

static void take_variable(Reader *r, const Die *d, const Scope *scope)
{
    const char *name = NULL, *linkage = NULL;
    uint32_t file = 0, line = 0;
    uint32_t declared = 0;
    if (!(d->have & DIE_ADDRESS))
        return;
    follow(r, d, &name, &linkage, &file, &line, &declared);
    Owner o = {.address = d->address,
               .function = scope->function,
               .name = scope->function_name,
               .file = file,
               .line = line,
               .value = value_of(r, d)};
    if (name && (linkage || scope->prefix_text || !r->is_c)) {
        uint32_t prefix = prefix_of(r, declared);
        char whole[PREFIX_MOST + 300];
        snprintf(whole, sizeof whole, "%.500s%.290s",
                 scope->function ? ""
                 : prefix        ? r->maker->strings.data + prefix
                                 : scope->prefix,
                 name);
        o.pretty = text(r, whole);
    }
    if (buf_add(&r->owners, &o, sizeof o))
        fail(r, KEEL_ENOMEM);
}

static void take(Reader *r, uint32_t die, const Scope *scope, int depth);

static void walk_inside(Reader *r, uint32_t die, const Scope *scope, int depth)
{
    uint32_t end = die_at(r, die)->next;
    for (uint32_t child = die + 1; child < end && depth < DEPTH_MOST && !r->failed;
         child = die_at(r, child)->next)
        take(r, child, scope, depth + 1);
}

static void remember(Reader *r, Buf *list, uint32_t die)
{
    if (buf_add(list, &die, sizeof die))
        fail(r, KEEL_ENOMEM);
}

static void found_type(Reader *r, uint32_t die, const Scope *scope)
{
    r->types.slots[die].prefix = scope->prefix_text;
    remember(r, &r->found, die);
}

static void walk_named(Reader *r, uint32_t die, const Scope *scope, int depth)
{
    const char *name = die_at(r, die)->name;
    Scope inner = *scope;
    if (name) {
        size_t n = text_put(inner.prefix, sizeof inner.prefix, 0, scope->prefix, 300);
        n = text_put(inner.prefix, sizeof inner.prefix, n, name, 200);
        text_put(inner.prefix, sizeof inner.prefix, n, "::", 2);
        inner.prefix_text = text(r, inner.prefix);
    }
    walk_inside(r, die, &inner, depth);
}

static void take(Reader *r, uint32_t die, const Scope *scope, int depth)
{
    const Die *d = die_at(r, die);
    Scope inner;
    switch (d->tag) {
    case DW_TAG_subprogram:
        r->types.slots[die].prefix = scope->prefix_text;
        if (d->have & DIE_DECLARATION)
            return;
        inner = *scope;
        take_function(r, d, scope, &inner);
        walk_inside(r, die, &inner, depth);
        return;
    case DW_TAG_member: /* a static one; its definition points here */
    case DW_TAG_variable:
        if (d->have & DIE_DECLARATION)
            r->types.slots[die].prefix = scope->prefix_text;
        if (d->have & DIE_SPECIFICATION && !scope->function)
            remember(r, &r->later, die);
        else
            take_variable(r, d, scope);
        return;
    case DW_TAG_lexical_block:
        walk_inside(r, die, scope, depth);
        return;
    case DW_TAG_namespace:
        walk_named(r, die, scope, depth);
        return;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        found_type(r, die, scope);
        if (!(d->have & DIE_DECLARATION) && d->next > die + 1)
            walk_named(r, die, scope, depth);
        return;
    case DW_TAG_enumeration_type:
    case DW_TAG_typedef:
        found_type(r, die, scope);
        return;
    default:
        return;
    }
}

static void take_later(Reader *r)
{
    const Scope none = {0};
    const uint32_t *list = (const uint32_t *)(const void *)r->later.data;
    for (size_t i = 0; i < r->later.bytes / sizeof *list && !r->failed; i++)
        take_variable(r, die_at(r, list[i]), &none);
    r->later.bytes = 0;
}

/* "GNU GIMPLE" is what gcc calls the unit that the link made. */
static void check_producer(Reader *r)
{
    const char *producer = r->unit->producer;
    if (producer && (!strncmp(producer, "GNU GIMPLE", 10) || strstr(producer, " -flto")))
        r->maker->flags |= ANATOMY_LTO;
    if (r->unit->is_split)
        r->maker->flags |= ANATOMY_SPLIT;
}

static void add_types(Reader *r)
{
    const uint32_t *found = (const uint32_t *)(const void *)r->found.data;
    for (size_t i = 0; i < r->found.bytes / sizeof *found && !r->failed; i++)
        types_add(r, found[i], NULL);
}

int dwarf_read_units(Reader *r)
{
    r->types.slots = calloc(r->dies->count, sizeof *r->types.slots);
    if (!r->types.slots)
        fail(r, KEEL_ENOMEM);
    for (uint32_t i = 0; i < dies_unit_count(r->dies) && !r->failed; i++) {
        const Scope scope = {0};
        r->unit = dies_unit(r->dies, i);
        check_producer(r);
        int language = (int)r->unit->language;
        r->is_c = language == DW_LANG_C89 || language == DW_LANG_C99 || language == DW_LANG_C11 ||
                  language == DW_LANG_C;
        if (r->maker->flags & ANATOMY_SPLIT) /* looking further would open other files */
            break;
        walk_inside(r, r->unit->first, &scope, 0);
        take_later(r);
        if (r->file_names)
            memset(r->file_names, 0, r->file_room * sizeof *r->file_names);
    }
    free(r->file_names);
    if (!r->failed && !(r->maker->flags & (ANATOMY_LTO | ANATOMY_SPLIT)))
        add_types(r);
    return r->failed;
}
