/* All that `keel inspect` tells, as one JSON object. Owns nothing but it; main thread. */
#include <stdlib.h>
#include <string.h>

#include "app/inspect.h"
#include "host/services.h"
#include "image/libraries.h"

enum { STATE_TYPES = 64, TYPE_NAME_MOST = 127, OWN_CONSTRUCTORS = 2 };

/* Names need not be UTF-8; JSON must. */
static json_t *text(const char *from)
{
    json_t *value = json_string(from);
    char *copy = value ? NULL : strdup(from);
    for (char *c = copy; c && *c; c++)
        *c = *c & (char)0x80 ? '?' : *c;
    if (copy)
        value = json_string(copy);
    free(copy);
    return value ? value : json_null();
}

static json_t *list(const InspectList *from)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < from->count && i < INSPECT_LIST; i++)
        json_array_append_new(array, text(from->item[i]));
    return json_pack("{s:I, s:o}", "count", (json_int_t)from->count, "names", array);
}

static json_t *image_facts(const Image *image)
{
    char abi[16];
    snprintf(abi, sizeof abi, "%u.%u", image->abi >> 16, image->abi & 0xffff);
    json_t *needs = json_array();
    for (int i = 0; i < image->needs_count; i++)
        json_array_append_new(needs, text(image->needs[i]));
    return json_pack("{s:o, s:o, s:s, s:I, s:o, s:s, s:i, s:I}", "name", text(image->name),
                     "version", text(image->version), "abi", abi, "table_bytes",
                     (json_int_t)image->table_bytes, "needs", needs, "build_id", image->build_id,
                     "segments", image->load_count, "memory_bytes",
                     (json_int_t)(image->span_last - image->span_first));
}

static json_t *services(const Image *image)
{
    json_t *array = json_array();
    for (int i = 0; i < image->needs_count; i++)
        json_array_append_new(array, json_pack("{s:o, s:b}", "id", text(image->needs[i]), "offered",
                                               services_find(image->needs[i], 0) != NULL));
    return array;
}

static json_t *libraries(const Report *r)
{
    static const char *const HOWS[] = {"missing",         "loaded already",  "by its path",
                                       "search path",     "LD_LIBRARY_PATH", "ld.so.cache",
                                       "system's folders"};
    const InspectList *needed = &r->inspection.needed;
    char found[LIBRARY_PATH_BYTES], origin[LIBRARY_PATH_BYTES / 4] = ".";
    const char *slash = strrchr(r->path, '/');
    json_t *array = json_array();
    if (slash && (size_t)(slash - r->path) < sizeof origin)
        snprintf(origin, sizeof origin, "%.*s", (int)(slash - r->path), r->path);
    for (uint32_t i = 0; i < needed->count && i < INSPECT_LIST; i++) {
        if (r->image && *r->image->foreign) {
            json_array_append_new(array,
                                  json_pack("{s:o, s:n}", "name", text(needed->item[i]), "path"));
            continue;
        }
        LibraryHow how = library_find(needed->item[i], r->inspection.runpath, origin, found);
        json_t *o = json_pack("{s:o, s:s}", "name", text(needed->item[i]), "how", HOWS[how]);
        json_object_set_new(o, "path", how == LIBRARY_MISSING ? json_null() : text(found));
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *sections(const Anatomy *a)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < a->section_count; i++)
        json_array_append_new(array, json_pack("{s:o, s:I, s:b}", "name",
                                               text(anatomy_string(a, a->sections[i].name)),
                                               "bytes", (json_int_t)a->sections[i].bytes, "code",
                                               (int)a->sections[i].is_code));
    return array;
}

/* ---- types for state: those whose names stand in the image as keel_state leaves them ---- */

typedef struct StateTypes {
    const Schema *schema;
    uint32_t seen[STATE_TYPES];
    int count;
    json_t *array;
} StateTypes;

static void add_type(StateTypes *types, const char *name, uint32_t index)
{
    const Schema *s = types->schema;
    const SchemaType *t = &s->types[index];
    for (int i = 0; i < types->count; i++)
        if (types->seen[i] == index)
            return;
    if (types->count == STATE_TYPES)
        return;
    types->seen[types->count++] = index;
    json_t *fields = json_array();
    for (uint32_t i = 0; i < t->fields; i++) {
        const SchemaField *f = &s->fields[t->first + i];
        json_t *o = json_pack("{s:o, s:o, s:I}", "name", text(schema_text(s, f->name)), "type",
                              text(schema_text(s, f->spelled)), "offset", (json_int_t)f->offset);
        if (f->bits)
            json_object_set_new(o, "bits", json_integer(f->bits));
        json_array_append_new(fields, o);
    }
    json_array_append_new(types->array, json_pack("{s:o, s:I, s:o}", "name", text(name), "bytes",
                                                  (json_int_t)t->bytes, "fields", fields));
}

/* Nonzero when it is one. */
static int take_string(StateTypes *types, const char *string, size_t bytes)
{
    uint32_t index;
    if (bytes < 2 || bytes > TYPE_NAME_MOST || !strncmp(string, "keel_", 5) ||
        !strncmp(string, "struct keel_", 12) || !strncmp(string, "std::", 5) ||
        schema_find(types->schema, string, "", &index))
        return 0;
    uint16_t kind = types->schema->types[index].kind;
    if (kind != SCHEMA_RECORD && kind != SCHEMA_UNION)
        return 0;
    add_type(types, string, index);
    return 1;
}

/* A number that some linkers put before a string may end like letters. */
enum { NUMBER_BYTES = 16 };

static void scan(StateTypes *types, const uint8_t *data, uint64_t bytes)
{
    uint64_t from = 0;
    for (uint64_t at = 0; at < bytes; at++) {
        if (!data[at])
            for (uint64_t i = from; i < at && i - from <= NUMBER_BYTES; i++)
                if (take_string(types, (const char *)data + i, at - i))
                    break;
        if (data[at] < ' ' || data[at] > '~')
            from = at + 1;
    }
}

static json_t *state_types(const Image *image, const Schema *schema)
{
    StateTypes types = {.schema = schema, .array = json_array()};
    for (uint32_t i = 0; i < schema->range_count; i++) {
        const SchemaRange *range = &schema->ranges[i];
        for (int n = 0; n < image->load_count && range->kind == SCHEMA_READABLE; n++) {
            const ImageLoad *load = &image->loads[n];
            uint64_t into = range->address - load->address;
            if (range->address >= load->address && into <= load->file_bytes &&
                range->bytes <= load->file_bytes - into)
                scan(&types, image->data + load->file_offset + into, range->bytes);
        }
    }
    return types.array;
}

/* ---- what may hurt, and what is missing ---- */

static void say(json_t *array, const char *name, const char *why)
{
    json_array_append_new(array, json_pack("{s:s, s:s}", "name", name, "text", why));
}

static json_t *hazards(const Inspection *i)
{
    json_t *array = json_array();
    char own[80];
    uint32_t usual = OWN_CONSTRUCTORS + (i->has_shim ? 1 : 0);
    if (i->constructors > usual) {
        snprintf(own, sizeof own, "%u of its own run while it is loaded, before any frame",
                 i->constructors - usual);
        say(array, "constructors", own);
    }
    if (i->tls_bytes)
        say(array, "thread-local data", "isn't state: each generation begins with its own");
    if (i->nodelete)
        say(array, "nodelete", "it could never be unloaded (link without -z nodelete)");
    if (i->unique.count)
        say(array, "unique symbols", "it could never be unloaded (compile with -fno-gnu-unique)");
    if (i->sanitizer)
        say(array, "sanitizer", "it needs a host that is built with the same one");
    if (i->text_relocations)
        say(array, "text relocations", "its code is changed as it is loaded (compile with -fPIC)");
    if (i->executable_stack)
        say(array, "executable stack", "the host's becomes so, too (link with -z noexecstack)");
    if (i->writable_code)
        say(array, "writable code", "one segment is both: the link's script makes it so");
    if (i->static_tls)
        say(array, "static thread-local data", "loading may run out of room for it");
    if (!i->bind_now)
        say(array, "symbols bound late", "a missing one ends a frame (link with -z now)");
    if (i->exported.count > 1)
        say(array, "exports",
            "more than keel_module: slower to load, may mix with others' symbols");
    return array;
}

static int has_types(const Report *r)
{
    const Schema *schema = r->detailed ? reading_schema(&r->details, NULL) : NULL;
    return schema && schema->flags & SCHEMA_HAS_DEBUG;
}

static json_t *lacks(const Report *r)
{
    const Inspection *i = &r->inspection;
    json_t *array = json_array();
    if (!i->has_symtab)
        say(array, "symbols", "reports name offsets instead of functions; nothing is compared");
    if (!i->has_debug && has_types(r))
        say(array, "debug information", "no lines in reports (-g); its types are in .keel.types");
    else if (!i->has_debug)
        say(array, "debug information",
            "no lines in reports, no types: changed ones need save and restore (-g)");
    if (!i->has_relocs)
        say(array, "link relocations",
            "rebuilds of the same code are swapped, what changed isn't named (-Wl,--emit-relocs)");
    if (!i->has_shim)
        say(array, "malloc shim",
            "its memory is libc's: undo doesn't cover it, and exit() ends the host");
    if (r->image && !*r->image->build_id)
        say(array, "build id", "reports can't be matched with a build (-Wl,--build-id)");
    return array;
}

static json_t *inspection_facts(const Inspection *i)
{
    json_t *o =
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I}", "libraries", list(&i->needed),
                  "exports", list(&i->exported), "imports", list(&i->undefined), "unique",
                  list(&i->unique), "search_path", i->runpath, "compiler", i->compiler,
                  "constructors", (json_int_t)i->constructors, "destructors",
                  (json_int_t)i->destructors, "tls_bytes", (json_int_t)i->tls_bytes);
    const struct {
        const char *name;
        uint32_t value;
    } flags[] = {
        {"has_symbols", i->has_symtab},
        {"has_debug", i->has_debug},
        {"has_relocations", i->has_relocs},
        {"has_shim", i->has_shim},
        {"nodelete", i->nodelete},
        {"text_relocations", i->text_relocations},
        {"executable_stack", i->executable_stack},
        {"writable_code", i->writable_code},
        {"static_tls", i->static_tls},
        {"bind_now", i->bind_now},
        {"sanitizer", i->sanitizer},
    };
    for (size_t f = 0; o && f < sizeof flags / sizeof *flags; f++)
        json_object_set_new(o, flags[f].name, json_boolean(flags[f].value != 0));
    return o;
}

json_t *inspect_facts(const Report *r)
{
    char hash[HASH_TEXT_BYTES];
    const Anatomy *a = r->detailed ? reading_anatomy(&r->details, NULL) : NULL;
    const Schema *schema = r->detailed ? reading_schema(&r->details, NULL) : NULL;
    json_t *o =
        json_pack("{s:i, s:o, s:b}", "format", 1, "file", text(r->path), "accepted", !r->code);
    if (r->code) {
        json_object_set_new(o, "code", json_string(err_name(r->code)));
        json_object_set_new(o, "reason", text(r->err.text));
    }
    if (r->settled) {
        json_object_set_new(o, "bytes", json_integer((json_int_t)r->bytes));
        json_object_set_new(o, "hash", json_string(hash_text(r->hash, hash)));
    }
    if (r->image) {
        json_object_set_new(o, "module", image_facts(r->image));
        json_object_set_new(o, "services", services(r->image));
    }
    if (r->inspected) {
        json_object_set_new(o, "inspection", inspection_facts(&r->inspection));
        json_object_set_new(o, "libraries", libraries(r));
        json_object_set_new(o, "hazards", hazards(&r->inspection));
        if (!r->image || !*r->image->foreign) /* what a build for macOS has is another story */
            json_object_set_new(o, "lacks", lacks(r));
    }
    if (a) {
        json_object_set_new(o, "sections", sections(a));
        json_object_set_new(o, "functions", json_integer(a->function_count));
        json_object_set_new(o, "statics", json_integer(a->object_count));
        json_object_set_new(o, "types", json_integer(a->type_count));
    }
    if (schema && r->image)
        json_object_set_new(o, "state_types", state_types(r->image, schema));
    return o;
}
