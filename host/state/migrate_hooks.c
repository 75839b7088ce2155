/* Types whose meaning changed: what KEEL_CONVERT names converts each object after the rules did,
 * from a copy of the old one that is read by the names of its fields. All functions run in one
 * guarded call at the end of the migration, when all pointers are what they will be. On the way
 * back, where the old build has no function, objects become what they were at the swap. [frame] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keel/change.h>

#include "state/migrate_run.h"

/* ---- while objects are rewritten ---- */

static uint64_t real_from(const Walk *w, const uint8_t *from)
{
    return w->here.from_real + (uint64_t)(from - w->here.from);
}

static int note_old(Walk *w, const Op *op, const uint8_t *from, const uint8_t *to)
{
    HookEntry entry = {.now = w->here.to_real + (uint64_t)(to - w->here.to),
                       .object = w->here.object,
                       .at = w->old_bytes.bytes,
                       .type = op->from_type,
                       .to_type = op->to_type,
                       .bytes = (uint32_t)op->bytes,
                       .hook = op->hook,
                       .path = op->path};
    if (buf_add(&w->old_bytes, from, op->bytes) || buf_add(&w->hooked, &entry, sizeof entry))
        return walk_refuse(w, "no memory to convert a %s", plan_text(w->m, op->path));
    return 0;
}

static int by_now(const void *a, const void *b)
{
    const HookEntry *x = a, *y = b;
    return x->now != y->now ? (x->now < y->now ? -1 : 1)
                            : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Pointers, and unions that may hold some, are the rules'; all else is as it was. */
static void keep_pointers(const Schema *s, uint32_t type, const uint8_t *from, uint8_t *to)
{
    const SchemaType *t = &s->types[type];
    uint64_t each;
    switch (t->kind) {
    case SCHEMA_POINTER:
    case SCHEMA_UNION:
        memcpy(to, from, t->bytes);
        break;
    case SCHEMA_ARRAY:
        each = s->types[t->target].bytes;
        for (uint64_t i = 0; i < t->count && each; i++)
            keep_pointers(s, t->target, from + i * each, to + i * each);
        break;
    case SCHEMA_RECORD:
        for (uint32_t i = 0; i < t->fields; i++) {
            const SchemaField *f = &s->fields[t->first + i];
            keep_pointers(s, f->type, from + f->offset, to + f->offset);
        }
        break;
    default:
        break;
    }
}

static int from_attic(Walk *w, const Op *op, const uint8_t *from, uint8_t *to)
{
    const MigrateAttic *attic = w->run->attic;
    const HookEntry key = {.now = real_from(w, from),
                           .bytes = (uint32_t)w->m->to->types[op->to_type].bytes};
    const HookEntry *found = attic->hooked.bytes
                                 ? bsearch(&key, attic->hooked.data,
                                           attic->hooked.bytes / sizeof key, sizeof key, by_now)
                                 : NULL;
    if (!found || (found->object && !w->here.is_marked))
        return walk_refuse(w,
                           "%s: one was made since the swap, in another version, and the build "
                           "before has no KEEL_CONVERT for it",
                           plan_text(w->m, op->path));
    uint8_t *was = malloc(found->bytes + 1);
    if (!was)
        return walk_refuse(w, "no memory to convert a %s", plan_text(w->m, op->path));
    memcpy(was, attic->old_bytes.data + found->at, found->bytes);
    keep_pointers(w->m->to, op->to_type, to, was);
    memcpy(to, was, found->bytes);
    free(was);
    return 0;
}

int hooks_object(Walk *w, const Op *op, const uint8_t *from, uint8_t *to)
{
    if (op->hook != HOOK_ATTIC)
        return note_old(w, op, from, to);
    return w->run->attic ? from_attic(w, op, from, to) : 0; /* the line was taken out: no matter */
}

void hooks_keep(Walk *w, MigrateAttic *attic)
{
    attic->hooked = w->hooked;
    attic->old_bytes = w->old_bytes;
    w->hooked = w->old_bytes = (Buf){0};
    HookEntry *list = (HookEntry *)(void *)attic->hooked.data;
    size_t count = attic->hooked.bytes / sizeof *list;
    for (size_t i = 0; i < count; i++)
        if (list[i].object)
            ((ObjectHead *)(uintptr_t)list[i].object - 1)->reserved = 1;
    if (count)
        qsort(list, count, sizeof *list, by_now);
}

/* ---- the old object, by names ---- */

typedef struct OldView {
    struct keel_old abi;
    const Schema *schema;
    uint32_t type;
    const uint8_t *data;
    char wrong[160]; /* the first question that has no answer */
} OldView;

typedef struct Spot {
    const uint8_t *data;
    uint32_t type;
    uint8_t bit, bits;
} Spot;

static int step(const Schema *s, const char *name, size_t bytes, Spot *spot, int depth)
{
    const SchemaType *t = &s->types[spot->type];
    if ((t->kind != SCHEMA_RECORD && t->kind != SCHEMA_UNION) || depth > SCHEMA_DEPTH)
        return 0;
    for (uint32_t i = 0; i < t->fields; i++) {
        const SchemaField *f = &s->fields[t->first + i];
        const char *is = schema_text(s, f->name);
        Spot inner = {spot->data + f->offset, f->type, f->bit, f->bits};
        if ((strlen(is) == bytes && bytes && !memcmp(is, name, bytes)) ||
            ((!*is || f->flags & SCHEMA_BASE) && step(s, name, bytes, &inner, depth + 1))) {
            *spot = inner;
            return 1;
        }
    }
    return 0;
}

static int find(const Schema *s, const char *path, Spot *spot)
{
    while (*path) {
        if (*path == '[') {
            char *end;
            unsigned long long i = strtoull(path + 1, &end, 10);
            const SchemaType *t = &s->types[spot->type];
            if (end == path + 1 || *end != ']' || t->kind != SCHEMA_ARRAY || i >= t->count)
                return 0;
            *spot = (Spot){spot->data + i * s->types[t->target].bytes, t->target, 0, 0};
            path = end + 1;
            continue;
        }
        path += *path == '.';
        size_t bytes = strcspn(path, ".[");
        if (!step(s, path, bytes, spot, 0))
            return 0;
        path += bytes;
    }
    return 1;
}

static int64_t read_number(const Schema *s, const Spot *spot, uint32_t as, void *to)
{
    const SchemaType *t = &s->types[spot->type];
    double real = 0;
    if (t->kind == SCHEMA_FLOAT) {
        long double large;
        float small;
        if (t->bytes == 4) {
            memcpy(&small, spot->data, 4);
            real = (double)small;
        } else if (t->bytes == 8) {
            memcpy(&real, spot->data, 8);
        } else {
            memcpy(&large, spot->data, sizeof large);
            real = (double)large;
        }
        int64_t whole = real >= -0x1p63 && real < 0x1p63 ? (int64_t)real : 0;
        uint64_t natural = real >= 0 && real < 0x1p64 ? (uint64_t)real : (uint64_t)whole;
        memcpy(to,
               as == KEEL_OLD_F64   ? (void *)&real
               : as == KEEL_OLD_I64 ? (void *)&whole
                                    : (void *)&natural,
               8);
        return (int64_t)t->bytes;
    }
    if ((t->kind != SCHEMA_INT && t->kind != SCHEMA_ENUM && t->kind != SCHEMA_BOOL) || t->bytes > 8)
        return KEEL_ETYPE;
    int64_t value = schema_tag(t, spot->data, spot->bit, spot->bits);
    real = t->flags & SCHEMA_SIGNED ? (double)value : (double)(uint64_t)value;
    memcpy(to, as == KEEL_OLD_F64 ? (void *)&real : (void *)&value, 8);
    return (int64_t)t->bytes;
}

static int64_t read_text(const Schema *s, const Spot *spot, char *to, uint64_t bytes)
{
    const SchemaType *t = &s->types[spot->type];
    if (t->kind != SCHEMA_ARRAY || s->types[t->target].bytes != 1 || !bytes)
        return KEEL_ETYPE;
    size_t has = strnlen((const char *)spot->data, t->bytes);
    size_t n = has < bytes ? has : (size_t)bytes - 1;
    memcpy(to, spot->data, n);
    to[n] = 0;
    return (int64_t)has;
}

/* Runs inside the module's call: takes no lock and no memory. */
static int64_t old_read(const struct keel_old *old, const char *path, uint32_t as, void *to,
                        uint64_t bytes)
{
    OldView *view = (OldView *)(uintptr_t)old->host;
    Spot spot = {.data = view->data, .type = view->type};
    int64_t rc = KEEL_ENOTFOUND;
    if (find(view->schema, path, &spot)) {
        uint64_t has = view->schema->types[spot.type].bytes;
        if (as == KEEL_OLD_TEXT) {
            rc = read_text(view->schema, &spot, to, bytes);
        } else if (as == KEEL_OLD_BYTES) {
            if (bytes)
                memcpy(to, spot.data, has < bytes ? has : bytes);
            return (int64_t)has;
        } else if (as >= KEEL_OLD_F64 && as <= KEEL_OLD_U64 && bytes == 8) {
            rc = read_number(view->schema, &spot, as, to);
        } else {
            rc = KEEL_EINVAL;
        }
    }
    if (rc < 0 && as != KEEL_OLD_BYTES && !view->wrong[0])
        snprintf(view->wrong, sizeof view->wrong, "%.100s, which the old one %s", path,
                 rc == KEEL_ENOTFOUND ? "hasn't" : "has as something else");
    if (rc < 0 && as == KEEL_OLD_TEXT && bytes)
        *(char *)to = 0;
    return rc;
}

/* ---- the call ---- */

typedef struct Pass {
    const Walk *w;
    uint64_t done;
    const char *type; /* whose function runs */
    OldView view;
} Pass;

static const struct keel_convert *function_of(const Walk *w, const HookEntry *entry)
{
    const SchemaHook *hook = schema_hook(w->m->to, entry->to_type);
    const struct keel_convert *found = NULL;
    for (uint64_t i = 0; hook && i < w->run->converters.count; i++) {
        const struct keel_convert *one = &w->run->converters.list[i];
        if (one->size >= sizeof *one && one->version == hook->version && one->type &&
            !strcmp(one->type, schema_text(w->m->to, hook->type)))
            found = one;
    }
    return found;
}

static int32_t run_all(void *user, keel *k)
{
    Pass *pass = user;
    const Walk *w = pass->w;
    const HookEntry *list = (const HookEntry *)(const void *)w->hooked.data;
    const struct keel_convert *function = NULL;
    for (size_t i = 0; i < w->hooked.bytes / sizeof *list; i++) {
        const HookEntry *entry = &list[i];
        const SchemaHook *before = schema_hook(w->m->from, entry->type);
        if (!i || list[i - 1].to_type != entry->to_type)
            function = function_of(w, entry);
        pass->type = plan_text(w->m, entry->path);
        pass->view = (OldView){.schema = w->m->from,
                               .type = entry->type,
                               .data = (const uint8_t *)w->old_bytes.data + entry->at};
        pass->view.abi = (struct keel_old){.size = sizeof pass->view.abi,
                                           .version = before ? before->version : 0,
                                           .host = &pass->view,
                                           .read = old_read};
        int32_t rc = function->convert(k, (void *)(uintptr_t)entry->now, &pass->view.abi);
        if (!rc && pass->view.wrong[0])
            rc = k->fail(k, KEEL_ETYPE, "it asks for %s", pass->view.wrong);
        if (rc)
            return rc;
        pass->done++;
    }
    return 0;
}

int hooks_run(Walk *w)
{
    const HookEntry *list = (const HookEntry *)(const void *)w->hooked.data;
    size_t count = w->hooked.bytes / sizeof *list;
    if (!count)
        return 0;
    for (size_t i = 0; i < count; i++)
        if ((!i || list[i - 1].to_type != list[i].to_type) && !function_of(w, &list[i]))
            return walk_refuse(w,
                               "%s: its KEEL_CONVERT isn't in the loaded file: the linker threw it "
                               "away",
                               plan_text(w->m, list[i].path));
    if (!w->run->call)
        return walk_refuse(w, "%s: nothing of a module may run here, and it has a KEEL_CONVERT",
                           plan_text(w->m, list[0].path));
    Pass pass = {.w = w, .type = plan_text(w->m, list[0].path)};
    Error why = {0};
    int rc = w->run->call(w->run->call_user, run_all, &pass, &why);
    if (rc)
        return walk_refuse(w, "%s: %s", pass.type, why.text);
    w->result->converted = pass.done;
    return 0;
}
