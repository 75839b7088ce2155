/* `keel diff --json`: all of it, for scripts. Owns nothing; main thread. */
#include "app/diff.h"

#include <jansson.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

static const char *const WHAT[CHANGES] = {
    [CHANGE_ADDED] = "added", [CHANGE_REMOVED] = "removed", [CHANGE_CHANGED] = "changed",
    [CHANGE_LINES] = "lines", [CHANGE_RENAMED] = "renamed",
};

/* Names need not be UTF-8; JSON must. */
static json_t *text(const char *from)
{
    json_t *value = json_string(from);
    if (value)
        return value;
    char *copy = strdup(from);
    for (char *c = copy; c && *c; c++)
        *c = *c & (char)0x80 ? '?' : *c;
    value = copy ? json_string(copy) : NULL;
    free(copy);
    return value ? value : json_null();
}

static void place(json_t *o, const Anatomy *a, uint32_t file, uint32_t line, uint32_t unit)
{
    if (unit)
        json_object_set_new(o, "unit", text(anatomy_string(a, unit)));
    if (line) {
        json_object_set_new(o, "file", text(anatomy_string(a, file)));
        json_object_set_new(o, "line", json_integer(line));
    }
}

static json_t *function(const Diff *d, const Change *c)
{
    char hash[HASH_TEXT_BYTES];
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyFunction *f = &a->functions[c->after >= 0 ? c->after : c->before];
    json_t *o = json_pack("{s:s, s:o, s:o, s:I}", "change", WHAT[c->what], "name",
                          text(diff_function_name(a, f)), "symbol",
                          text(anatomy_string(a, f->name)), "bytes", (json_int_t)f->bytes);
    place(o, a, f->file, f->line, f->unit);
    if (c->before >= 0 && c->after >= 0) {
        const AnatomyFunction *old = &d->before.anatomy.functions[c->before];
        json_object_set_new(o, "bytes_before", json_integer((json_int_t)old->bytes));
        if (c->what == CHANGE_RENAMED)
            json_object_set_new(o, "name_before",
                                text(diff_function_name(&d->before.anatomy, old)));
    }
    if (d->difference.code_known)
        json_object_set_new(o, "fingerprint", json_string(hash_text(f->hash, hash)));
    return o;
}

static json_t *object(const Diff *d, const Change *c)
{
    static const char *const KINDS[OBJECT_KINDS] = {"data", "zeroed", "constant", "thread-local"};
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyObject *x = &a->objects[c->after >= 0 ? c->after : c->before];
    json_t *o = json_pack("{s:s, s:o, s:s, s:I}", "change", WHAT[c->what], "name",
                          text(anatomy_string(a, x->name)), "kind", KINDS[x->kind], "bytes",
                          (json_int_t)x->bytes);
    place(o, a, x->file, x->line, x->unit);
    if (x->owner)
        json_object_set_new(o, "function", text(anatomy_string(a, x->owner)));
    if (c->before >= 0 && c->after >= 0) {
        const AnatomyObject *old = &d->before.anatomy.objects[c->before];
        json_object_set_new(o, "bytes_before", json_integer((json_int_t)old->bytes));
        char values[48];
        if (compare_values(old, x, values, sizeof values))
            json_object_set_new(o, "values", text(values));
        json_object_set_new(o, "initializer_changed",
                            json_boolean(!hash_equal(old->hash, x->hash)));
    }
    return o;
}

static void add_field(void *user, const char *sign, const char *line)
{
    json_array_append_new(user, json_pack("{s:s, s:o}", "sign", sign, "text", text(line)));
}

static json_t *type(const Diff *d, const Change *c)
{
    static const char *const KINDS[TYPE_KINDS] = {"struct", "union", "class", "enum", "typedef"};
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyType *t = &a->types[c->after >= 0 ? c->after : c->before];
    json_t *fields = json_array();
    if (c->what == CHANGE_CHANGED)
        compare_fields(&d->before.anatomy, &d->before.anatomy.types[c->before], a, t, add_field,
                       fields);
    return json_pack("{s:s, s:s, s:o, s:I, s:o}", "change", WHAT[c->what], "kind", KINDS[t->kind],
                     "name", text(anatomy_string(a, t->name)), "bytes", (json_int_t)t->bytes,
                     "fields", fields);
}

static json_t *section(const Diff *d, const Change *c)
{
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomySection *s = &a->sections[c->after >= 0 ? c->after : c->before];
    return json_pack("{s:s, s:o, s:I}", "change", WHAT[c->what], "name",
                     text(anatomy_string(a, s->name)), "bytes", (json_int_t)s->bytes);
}

static json_t *list(const Diff *d, const ChangeList *changes,
                    json_t *(*make)(const Diff *, const Change *))
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < changes->count; i++)
        json_array_append_new(array, make(d, &changes->list[i]));
    return array;
}

static json_t *side(const DiffSide *s)
{
    json_t *o = json_pack(
        "{s:o, s:b, s:b, s:b, s:b, s:I, s:I, s:I}", "file", text(s->path), "has_symbols",
        (s->anatomy.flags & ANATOMY_SYMBOLS) != 0, "has_relocations",
        (s->anatomy.flags & ANATOMY_RELOCS) != 0, "has_debug",
        (s->anatomy.flags & ANATOMY_DEBUG) != 0, "has_lto", (s->anatomy.flags & ANATOMY_LTO) != 0,
        "functions", (json_int_t)s->anatomy.function_count, "statics",
        (json_int_t)s->anatomy.object_count, "types", (json_int_t)s->anatomy.type_count);
    if (s->refused)
        json_object_set_new(o, "refused", text(s->reason.text));
    return o;
}

void diff_print_json(const Diff *d)
{
    json_t *facts = json_array();
    for (int i = 0; i < d->fact_count; i++) {
        const char sign[2] = {d->facts[i].sign, 0};
        json_array_append_new(facts, json_pack("{s:s, s:s, s:o}", "sign", sign, "topic",
                                               d->facts[i].topic, "text", text(d->facts[i].text)));
    }
    json_t *o = json_pack("{s:i, s:s, s:o, s:b, s:o, s:o, s:b, s:b, s:I}", "format", 1, "verdict",
                          d->verdict_name, "text", text(d->verdict), "same", d->same, "old",
                          side(&d->before), "new", side(&d->after), "code_compared",
                          d->difference.code_known, "types_compared", d->difference.types_known,
                          "functions_same", (json_int_t)d->difference.functions_same);
    json_object_set_new(o, "functions", list(d, &d->difference.functions, function));
    json_object_set_new(o, "data", list(d, &d->difference.objects, object));
    json_object_set_new(o, "types", list(d, &d->difference.types, type));
    json_object_set_new(o, "sections", list(d, &d->difference.sections, section));
    json_t *state = json_array();
    for (size_t at = 0; at < d->state.bytes;) {
        const char *line = d->state.data + at;
        size_t n = (size_t)((const char *)memchr(line, '\n', d->state.bytes - at) - line);
        json_array_append_new(state, json_stringn(line, n));
        at += n + 1;
    }
    json_object_set_new(o, "state", state);
    json_object_set_new(o, "besides", facts);
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}
